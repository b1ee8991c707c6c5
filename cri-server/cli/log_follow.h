/* Reads a container's log file to its end, or follows it over rotation until the container is over.
 *
 * Rotation means that the file is renamed and a new one appears under its name: what is left in the old one
 * is read first. Waits by inotify, with a slow poll beside it for file systems that have none. Blocks the
 * caller.
 */
#pragma once

#include <gio/gio.h>

#include "cri-server/cli/cri_log.h"

/* Whether nothing is written to the log any more. A failure ends the following. Also asked at once when the
 * cancellable is cancelled: it fails with CANCELLED then, or resets the cancellable to go on. */
typedef gboolean (*LogOverFunc)(gpointer data, gboolean *ret_over, GError **error);

typedef struct {
    const char *path;
    CriLogOptions options;
    gint64 tail;         /* the last so many lines; -1: all */
    LogOverFunc is_over; /* NULL: read to the end and return */
    gpointer over_data;
    gint64 over_interval_ms; /* how often is_over is asked while the log is silent; 0: 250 */
    GCancellable *cancellable;
} LogFollow;

/* A missing file is NOT_FOUND, or waited for while following. CANCELLED when it was cancelled and
 * nothing is followed. *ret_malformed (may be NULL): lines that were not in the format. */
gboolean log_follow(const LogFollow *follow, guint64 *ret_malformed, GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a container's log file to its end, or follows it over rotation until the container is over. Blocks
 * the caller. */
#pragma once

#include <gio/gio.h>

#include "cri-server/cli/cri_log.h"

/* Reports whether the log is complete; an error ends the following. It is also called at once when the
 * cancellable is cancelled: it then fails with CANCELLED, or resets the cancellable to go on. */
typedef gboolean (*LogOverFunc)(gpointer data, gboolean *ret_over, GError **error);

typedef struct {
    const char *path;
    CriLogOptions options;
    gint64 tail;         /* only this many of the last lines; -1: all */
    LogOverFunc is_over; /* NULL: read to the end and return */
    gpointer over_data;
    gint64 over_interval_ms; /* how often is_over is called while the log is silent; 0: 250 */
    GCancellable *cancellable;
} LogFollow;

/* ret_malformed (may be NULL): the number of lines that were not in the format.
 * Errors: NOT_FOUND for a missing file, which is waited for while following; CANCELLED when the cancellable
 * was cancelled and the log is not followed. */
gboolean log_follow(const LogFollow *follow, guint64 *ret_malformed, GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a container's log in the CRI format and recovers what the container wrote:
 *
 *     2024-05-01T12:00:00.123456789Z stdout P a part of a line
 *
 *     2024-05-01T12:00:00.123456790Z stdout F and its end
 *
 * Parts (P) are joined. The caller feeds bytes as it reads them from the file, and lines come out at once,
 * so memory is bounded by the longest line that is accepted (1 MiB; the runtime splits lines at 16 KiB). The
 * file may contain anything: a line in another format is dropped and counted.
 *
 * Threads: a reader belongs to one thread.
 */
#pragma once

#include <glib.h>

typedef struct {
    const char *timestamp; /* borrowed from the line, not NUL-terminated */
    gsize timestamp_length;
    const char *text;
    gsize text_length;
    gboolean is_stderr;
    gboolean is_partial;
} CriLogLine;

/* line has no '\n'. Return: FALSE when the line is not in the format. */
gboolean cri_log_parse(const char *line, gsize length, CriLogLine *ret_line);

/* Return: FALSE with *error ends the reading, for example when the terminal is gone. */
typedef gboolean (*CriLogWriteFunc)(gboolean is_stderr, const char *bytes, gsize length, gpointer data,
                                    GError **error);

typedef struct {
    gboolean timestamps;   /* before each joined line */
    gint64 since_ns;       /* drop lines that began earlier; 0: none */
    guint64 skip_lines;    /* drop this many joined lines first */
    CriLogWriteFunc write; /* NULL: count lines only */
    gpointer data;
} CriLogOptions;

typedef struct CriLogReader CriLogReader;
CriLogReader *cri_log_reader_new(const CriLogOptions *options);
void cri_log_reader_free(CriLogReader *reader); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CriLogReader, cri_log_reader_free)

gboolean cri_log_reader_feed(CriLogReader *reader, const char *bytes, gsize length, GError **error);
/* Starts a new file after a rotation; drops an unfinished line of the old one. */
void cri_log_reader_restart(CriLogReader *reader);

/* Return: the joined lines that began so far, counted after since_ns and before skip_lines apply. */
guint64 cri_log_reader_lines(const CriLogReader *reader);
guint64 cri_log_reader_malformed(const CriLogReader *reader);

/* A container's log in the CRI format, turned back into what the container wrote.
 *
 *     2024-05-01T12:00:00.123456789Z stdout P a part of a line
 *     2024-05-01T12:00:00.123456790Z stdout F and its end
 *
 * P parts are joined. Bytes are fed as they are read from the file and come out at once, so memory is bounded
 * by the longest single line that is accepted (1 MiB; the runtime splits at 16 KiB). The file may hold
 * anything: a line that is not of this form is dropped and counted. Not thread-safe.
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

/* line: without its '\n'. FALSE when it is not of the format. */
gboolean cri_log_parse(const char *line, gsize length, CriLogLine *ret_line);

/* FALSE with *error ends the reading (the terminal is gone). */
typedef gboolean (*CriLogWriteFunc)(gboolean is_stderr, const char *bytes, gsize length, gpointer data,
                                    GError **error);

typedef struct {
    gboolean timestamps;   /* before each joined line */
    gint64 since_ns;       /* lines that began before are left out; 0: all */
    guint64 skip_lines;    /* so many joined lines are left out first */
    CriLogWriteFunc write; /* NULL: only count */
    gpointer data;
} CriLogOptions;

typedef struct CriLogReader CriLogReader;
CriLogReader *cri_log_reader_new(const CriLogOptions *options);
void cri_log_reader_free(CriLogReader *reader); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CriLogReader, cri_log_reader_free)

gboolean cri_log_reader_feed(CriLogReader *reader, const char *bytes, gsize length, GError **error);
/* The file goes on elsewhere (it was rotated): an unfinished line of the file is dropped. */
void cri_log_reader_restart(CriLogReader *reader);

/* Joined lines that began so far, after since_ns and before skip_lines were applied. */
guint64 cri_log_reader_lines(const CriLogReader *reader);
guint64 cri_log_reader_malformed(const CriLogReader *reader);

/* The small JSON texts of remote command streams: the outcome on the error stream (a Kubernetes v1.Status)
 * and the terminal sizes on the resize stream. Pure. */
#pragma once

#include <glib.h>

/* Callers free the texts. message: what went wrong. */
char *status_exit_code(int exit_code);
char *status_failure(const char *message);

/* Terminal sizes come as {"Width":80,"Height":24}, one after the other, cut anywhere. */
typedef struct {
    char text[256];
    gsize length;
} ResizeReader;

/* TRUE when the bytes completed at least one size: the last one counts. Nonsense is skipped. */
gboolean resize_reader_feed(ResizeReader *reader, const guint8 *bytes, gsize length, guint *ret_columns,
                            guint *ret_rows);

/* SPDX-License-Identifier: Apache-2.0 */
/* Writes and reads the JSON texts of remote command streams: the outcome on the error stream (a Kubernetes
 * v1.Status) and the terminal sizes on the resize stream. Pure. */
#pragma once

#include <glib.h>

/* Return: the text, which the caller frees. */
char *status_exit_code(int exit_code);
char *status_failure(const char *message);

/* Reads terminal sizes such as {"Width":80,"Height":24}, one after the other and in pieces of any length. */
typedef struct {
    char text[256];
    gsize length;
} ResizeReader;

/* Return: TRUE when the bytes completed at least one size; the last one is returned. Invalid text is skipped.
 */
gboolean resize_reader_feed(ResizeReader *reader, const guint8 *bytes, gsize length, guint *ret_columns,
                            guint *ret_rows);

/* SPDX-License-Identifier: Apache-2.0 */
/* Writes and reads the JSON texts of remote command streams: the outcome on the error stream (a Kubernetes
 * v1.Status) and the terminal sizes on the resize stream. Pure. */
#pragma once

#include <glib.h>

/* Return: the Status for the end of a process, and for a failure of crivirt; the caller frees it. */
char *status_exit_code(int exit_code);
char *status_failure(const char *message);

/* Reads a sequence of terminal sizes such as {"Width":80,"Height":24}, in pieces of any length. Starts
 * zeroed. */
typedef struct {
    char text[256];
    gsize length;
} ResizeReader;

/* Return: TRUE when the bytes completed at least one size; the outputs are the last one. Invalid text is
 * skipped. */
gboolean resize_reader_feed(ResizeReader *reader, const guint8 *bytes, gsize length, guint *ret_columns,
                            guint *ret_rows);

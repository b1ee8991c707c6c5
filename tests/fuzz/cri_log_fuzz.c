/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile log file, read in two pieces with every option on. */
#include <stdint.h>
#include <stdlib.h>

#include "cri-server/cli/cri_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static gboolean swallow(gboolean is_stderr, const char *bytes, gsize length, gpointer data, GError **error)
{
    guint *sum = data;

    (void)error;
    for (gsize i = 0; i < length; i++)
        *sum += (guchar)bytes[i];
    return !is_stderr || length < 4096;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    guint sum = 0;
    CriLogOptions options = {
        .timestamps = TRUE, .since_ns = 1000000000, .skip_lines = 1, .write = swallow, .data = &sum};
    g_autoptr(CriLogReader) reader = cri_log_reader_new(&options);
    g_autoptr(GError) error = NULL;
    size_t first = size > 0 ? data[0] % size : 0;

    if (cri_log_reader_feed(reader, (const char *)data, first, &error))
        cri_log_reader_feed(reader, (const char *)data + first, size - first, &error);
    return 0;
}

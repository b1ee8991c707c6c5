/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile layer: decompression, tar, names, and the image that comes of it.
 *
 * A tar that is not compressed gets right checksums in its headers, because nearly every change of a header
 * would end at its checksum otherwise. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image-service/layers/layer.h"

enum { BLOCK = 512, SUM_AT = 148, SUM_BYTES = 8, SIZE_AT = 124, SIZE_BYTES = 12 };

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

static gboolean is_compressed(const guint8 *data, gsize size)
{
    return size >= 4 && ((data[0] == 0x1f && data[1] == 0x8b) || (data[0] == 0x28 && data[1] == 0xb5) ||
                         (data[1] == 0x2a && data[2] == 0x4d));
}

static void correct_checksum(guint8 *header)
{
    guint sum = 0;

    memset(header + SUM_AT, ' ', SUM_BYTES);
    for (guint i = 0; i < BLOCK; i++)
        sum += header[i];
    g_snprintf((char *)header + SUM_AT, SUM_BYTES - 1, "%06o", sum);
}

/* Of the content behind the header, in whole blocks. */
static gsize content_bytes(const guint8 *header)
{
    char digits[SIZE_BYTES + 1] = {0};
    guint64 bytes;

    memcpy(digits, header + SIZE_AT, SIZE_BYTES);
    bytes = g_ascii_strtoull(digits, NULL, 8);
    return bytes > 1 << 20 ? 0 : (gsize)(bytes + BLOCK - 1) / BLOCK * BLOCK;
}

static void correct_checksums(guint8 *tar, gsize size)
{
    for (gsize at = 0; size - at >= BLOCK; at += BLOCK + content_bytes(tar + at)) {
        if (tar[at] != 0)
            correct_checksum(tar + at);
        if (content_bytes(tar + at) > size - at - BLOCK)
            return;
    }
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    static const char *const nothing[] = {NULL};
    LayerSpec spec = {.max_bytes = 1 << 20, .max_entries = 1000, .max_memory_bytes = 4 << 20};
    LayerFiles files = {.blob_fd = memfd_create("blob", MFD_CLOEXEC),
                        .image_fd = memfd_create("image", MFD_CLOEXEC)};
    g_autoptr(LowerView) lower = lower_view_open(nothing, NULL);
    g_autoptr(LayerDraft) draft = NULL;
    g_autofree guint8 *blob = g_memdup2(data, size);

    if (!is_compressed(data, size))
        correct_checksums(blob, size);
    if (pwrite(files.blob_fd, blob, size, 0) == (ssize_t)size)
        draft = layer_read(&files, &spec, NULL, NULL);
    if (draft != NULL)
        layer_draft_finish(draft, lower, "sha256:key", NULL, NULL);
    close(files.blob_fd);
    close(files.image_fd);
    return 0;
}

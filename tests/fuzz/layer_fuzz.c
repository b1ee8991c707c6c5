/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile layer: decompression, tar, names, and the image that comes of it. */
#include <sys/mman.h>
#include <unistd.h>

#include "image-service/layers/layer.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    static const char *const nothing[] = {NULL};
    LayerSpec spec = {.max_bytes = 1 << 20, .max_entries = 1000};
    LayerFiles files = {.blob_fd = memfd_create("blob", MFD_CLOEXEC),
                        .image_fd = memfd_create("image", MFD_CLOEXEC)};
    g_autoptr(LowerView) lower = lower_view_open(nothing, NULL);
    g_autoptr(LayerDraft) draft = NULL;

    if (pwrite(files.blob_fd, data, size, 0) == (ssize_t)size)
        draft = layer_read(&files, &spec, NULL, NULL);
    if (draft != NULL)
        layer_draft_finish(draft, lower, "sha256:key", NULL, NULL);
    close(files.blob_fd);
    close(files.image_fd);
    return 0;
}

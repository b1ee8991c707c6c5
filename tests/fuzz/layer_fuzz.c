/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile layer: decompression, tar, names, and the image that comes of it. */
#include <sys/mman.h>
#include <unistd.h>

#include "image-service/layers/layer.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    LayerSpec spec = {.max_bytes = 1 << 20, .max_entries = 1000};
    int blob = memfd_create("blob", MFD_CLOEXEC);
    int image = memfd_create("image", MFD_CLOEXEC);

    if (pwrite(blob, data, size, 0) == (ssize_t)size)
        layer_write_image(blob, &spec, image, NULL, NULL, NULL, NULL);
    close(blob);
    close(image);
    return 0;
}

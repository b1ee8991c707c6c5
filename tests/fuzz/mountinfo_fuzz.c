/* SPDX-License-Identifier: Apache-2.0 */
/* Any mountinfo, whose names of mounts may be hostile: an emptyDir in memory that is found has all its parts.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "sandbox/volumes/memory_volume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Up to the first NUL: the path that is looked for; the rest is the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *path = g_strndup((const char *)data, size);
    size_t at = strlen(path) < size ? strlen(path) + 1 : size;
    g_autofree char *text = g_strndup((const char *)data + at, size - at);
    g_auto(MemoryVolume) volume = {0};
    g_autofree char *mountpoint = NULL;

    if (memory_volume_parse(text, makedev(0, 44), path, &volume, &mountpoint)) {
        if (mountpoint == NULL || volume.id == NULL || volume.sub_path == NULL || *volume.sub_path == '/')
            abort();
    } else if (mountpoint != NULL || volume.id != NULL || volume.sub_path != NULL) {
        abort();
    }
    return 0;
}

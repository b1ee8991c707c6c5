/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest of a checkpoint, which anyone may have written. */
#include <stddef.h>
#include <stdint.h>

#include "sandbox/checkpoint/checkpoint_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const inputs[] = {"format=2", "machine=<domain/>", NULL};
    g_autoptr(Checkpoint) checkpoint = checkpoint_new();
    g_autoptr(GError) error = NULL;
    CheckpointPrivate facts;

    if (checkpoint_manifest_parse((const char *)data, size, checkpoint, &facts, &error)) {
        G_GNUC_UNUSED g_autofree char *difference = checkpoint_difference(checkpoint, inputs);

        g_assert(error == NULL && checkpoint->containers->len > 0);
        g_assert(checkpoint->size.vcpus >= 1 && checkpoint->size.memory_bytes > 0);
    } else {
        g_assert(error != NULL);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON files of device vendors in /etc/cdi. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "sandbox/oci/cdi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Runtime__V1__ContainerConfig *config = malloc(sizeof(*config));
    gboolean found = FALSE;
    GError *error = NULL;
    const CdiFile file = {"fuzz", (const char *)data, size};
    const CdiDevice device = {"a/b", "c"};

    runtime__v1__container_config__init(config);
    g_assert(cdi_apply_file(config, &file, &device, &found, &error) == (error == NULL));
    g_clear_error(&error);
    runtime__v1__container_config__free_unpacked(config, NULL);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a registry or an archive sends: manifests, indexes, configurations, challenges. */
#include <stddef.h>
#include <stdint.h>

#include "image-service/content/manifest.h"
#include "image-service/registry/registry_auth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const Platform platform = {.architecture = "amd64"};
    const char *text = (const char *)data;
    g_autofree char *header = g_strndup(text, size);
    G_GNUC_UNUSED g_autoptr(GHashTable) bearer = registry_challenge_find(header, "Bearer");
    g_autoptr(Manifest) manifest = NULL;
    g_autoptr(ImageConfig) config = NULL;
    GError *errors[4] = {NULL};
    ManifestKind kind;
    g_autoptr(Descriptor) chosen = manifest_index_choose(text, size, &platform, &errors[2]);

    g_assert(manifest_kind(text, size, NULL, &kind, &errors[0]) == (errors[0] == NULL));
    g_assert(manifest_parse(text, size, &manifest, &errors[1]) == (manifest != NULL));
    g_assert((chosen != NULL) == (errors[2] == NULL));
    g_assert(image_config_parse(text, size, &config, &errors[3]) == (config != NULL));
    for (gsize i = 0; i < G_N_ELEMENTS(errors); i++)
        g_clear_error(&errors[i]);
    return 0;
}

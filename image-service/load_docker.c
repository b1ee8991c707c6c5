/* SPDX-License-Identifier: Apache-2.0 */
/* What docker save writes: image/tarexport of moby. */
#include <string.h>

#include "common/error.h"
#include "common/json.h"
#include "image-service/content/digest.h"
#include "image-service/load_found.h"

/* Names in such archives are "<hex>.json" or "blobs/sha256/<hex>". Return: the digest that the name holds,
 * which the content must have, or NULL. */
static char *digest_in_name(const char *name)
{
    g_autofree char *base = g_path_get_basename(name);
    g_autofree char *digest = NULL;

    if (g_str_has_suffix(base, ".json"))
        base[strlen(base) - strlen(".json")] = '\0';
    digest = g_strconcat("sha256:", base, NULL);
    return digest_is_valid(digest) ? g_steal_pointer(&digest) : NULL;
}

static gboolean load_saved_image(Load *load, const JsonValue *entry, GError **error)
{
    g_autoptr(FoundImage) found = found_image_new();
    g_auto(GStrv) layers = NULL;
    const JsonValue *config_value = json_require(entry, "Config", error);
    const char *config = NULL;

    if (config_value == NULL || !json_as_string(config_value, &config, error) ||
        !json_get_strv(entry, "RepoTags", G_MAXSIZE, &found->names, error) ||
        !json_get_strv(entry, "Layers", MANIFEST_MAX_LAYERS, &layers, error))
        return FALSE;
    found->config_name = g_strdup(config);
    found->config_digest = digest_in_name(config);
    for (char **layer = layers; layer != NULL && *layer != NULL; layer++)
        found_image_add_layer(found, g_strdup(*layer), NULL, NULL);
    return load_found(load, found, error);
}

gboolean load_docker(Load *load, GError **error)
{
    g_autoptr(GBytes) text = NULL;
    g_autoptr(JsonDocument) document = NULL;
    const JsonValue *images;

    if (!archive_files_read(load->files, "manifest.json", NULL, MANIFEST_MAX_BYTES, &text, error))
        return FALSE;
    document = json_document_parse(g_bytes_get_data(text, NULL), g_bytes_get_size(text), "manifest.json",
                                   &json_lenient, error);
    if (document == NULL)
        return FALSE;
    images = json_document_root(document);
    if (!json_is(images, JSON_ARRAY) || json_length(images) == 0 || json_length(images) > LOAD_MAX_IMAGES)
        return fail(error, STATUS_INVALID_ARGUMENT, "manifest.json is no list of 1 to %d images",
                    (int)LOAD_MAX_IMAGES);
    for (gsize i = 0; i < json_length(images); i++)
        if (!load_saved_image(load, json_at(images, i), error))
            return FALSE;
    return TRUE;
}

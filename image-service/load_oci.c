/* SPDX-License-Identifier: Apache-2.0 */
/* OCI layouts: https://github.com/opencontainers/image-spec/blob/main/image-layout.md */
#include <string.h>

#include "common/error.h"
#include "common/json.h"
#include "image-service/content/digest.h"
#include "image-service/load_found.h"

enum { MAX_INDEX_DEPTH = 4 };

#define ANNOTATION_IMAGE_NAME "io.containerd.image.name"
#define ANNOTATION_REF_NAME "org.opencontainers.image.ref.name"

/* The digest is a checked one. */
static char *blob_name(const char *digest)
{
    const char *colon = strchr(digest, ':');

    return g_strdup_printf("blobs/%.*s/%s", (int)(colon - digest), digest, colon + 1);
}

/* Follows a descriptor to one image; names are its references. */
static gboolean load_descriptor(Load *load, const Descriptor *descriptor, char **names, guint depth,
                                GError **error);

static gboolean load_manifest(Load *load, GBytes *text, const Descriptor *descriptor, char **names,
                              GError **error)
{
    g_autoptr(Manifest) manifest = NULL;
    g_autoptr(FoundImage) found = found_image_new();

    if (!manifest_parse(g_bytes_get_data(text, NULL), g_bytes_get_size(text), &manifest, error))
        return FALSE;
    found->names = g_strdupv(names);
    found->platform_is_known = descriptor->platform_is_known;
    found->config_digest = g_strdup(manifest->config->digest);
    found->config_name = blob_name(manifest->config->digest);
    for (guint i = 0; i < manifest->layers->len; i++) {
        const Descriptor *layer = g_ptr_array_index(manifest->layers, i);

        found_image_add_layer(found, blob_name(layer->digest), layer->media_type, layer->digest);
    }
    return load_found(load, found, error);
}

static gboolean load_index(Load *load, GBytes *text, char **names, guint depth, GError **error)
{
    g_autoptr(Descriptor) chosen = NULL;

    if (depth >= MAX_INDEX_DEPTH)
        return fail(error, STATUS_INVALID_ARGUMENT, "more than %d indexes are nested", (int)MAX_INDEX_DEPTH);
    chosen =
        manifest_index_choose(g_bytes_get_data(text, NULL), g_bytes_get_size(text), &load->platform, error);
    return chosen != NULL && load_descriptor(load, chosen, names, depth + 1, error);
}

static gboolean load_descriptor(Load *load, const Descriptor *descriptor, char **names, guint depth,
                                GError **error)
{
    g_autofree char *name = blob_name(descriptor->digest);
    g_autoptr(GBytes) text = NULL;
    ManifestKind kind;

    if (!archive_files_read(load->files, name, descriptor->digest, MANIFEST_MAX_BYTES, &text, error) ||
        !manifest_kind(g_bytes_get_data(text, NULL), g_bytes_get_size(text), descriptor->media_type, &kind,
                       error))
        return FALSE;
    return kind == MANIFEST_KIND_INDEX ? load_index(load, text, names, depth, error)
                                       : load_manifest(load, text, descriptor, names, error);
}

/* *ret_name: the name that an entry of index.json gives its image, NULL for none. */
static gboolean entry_name(const JsonValue *entry, const char **ret_name, GError **error)
{
    const JsonValue *annotations = NULL;
    const char *name = NULL;
    const char *reference = NULL;

    if (!json_get_object(entry, "annotations", &annotations, error) ||
        !json_get_string(annotations, ANNOTATION_IMAGE_NAME, &name, error) ||
        !json_get_string(annotations, ANNOTATION_REF_NAME, &reference, error))
        return FALSE;
    /* A mere tag names no repository. */
    if (name == NULL && reference != NULL && strpbrk(reference, "/:@") != NULL)
        name = reference;
    *ret_name = name;
    return TRUE;
}

static gboolean load_named_entry(Load *load, const JsonValue *entry, const char *entry_title, GError **error)
{
    g_autoptr(Descriptor) descriptor = NULL;
    const char *digest = "";
    const char *media_type = NULL;
    char *names[] = {(char *)entry_title, NULL};

    if (!json_get_string(entry, "digest", &digest, error) ||
        !json_get_string(entry, "mediaType", &media_type, error) ||
        !digest_check(digest, "index.json", error))
        return FALSE;
    descriptor = descriptor_new(media_type, digest, 0);
    return load_descriptor(load, descriptor, names, 0, error);
}

/* Entries with names are images each; when there are several and none has a name, they are one image for
 * several platforms. */
static gboolean load_entries(Load *load, const JsonValue *manifests, gboolean *ret_any_named, GError **error)
{
    gsize count = json_length(manifests);

    if (count == 0 || count > LOAD_MAX_IMAGES)
        return fail(error, STATUS_INVALID_ARGUMENT, "index.json has %zu images", count);
    *ret_any_named = FALSE;
    for (gsize i = 0; i < count; i++) {
        const JsonValue *entry = json_at(manifests, i);
        const char *name = NULL;

        if (!entry_name(entry, &name, error))
            return FALSE;
        if (name == NULL && count > 1)
            continue;
        *ret_any_named = TRUE;
        if (!load_named_entry(load, entry, name, error)) {
            g_prefix_error(error, "%s: ", name != NULL ? name : "the image");
            return FALSE;
        }
    }
    return TRUE;
}

gboolean load_oci(Load *load, GError **error)
{
    g_autoptr(GBytes) text = NULL;
    g_autoptr(JsonDocument) index = NULL;
    const JsonValue *manifests = NULL;
    gboolean any_named = FALSE;

    if (!archive_files_read(load->files, "index.json", NULL, MANIFEST_MAX_BYTES, &text, error))
        return FALSE;
    index = json_document_parse(g_bytes_get_data(text, NULL), g_bytes_get_size(text), "index.json",
                                &json_lenient, error);
    if (index == NULL ||
        !json_get_array(json_document_root(index), "manifests", G_MAXSIZE, &manifests, error) ||
        !load_entries(load, manifests, &any_named, error))
        return FALSE;
    return any_named || load_index(load, text, NULL, 0, error);
}

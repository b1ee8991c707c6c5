/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/content/manifest.h"

#include <string.h>

#include "common/error.h"
#include "common/json.h"
#include "image-service/content/digest.h"

#ifdef __clang_analyzer__
/* The analyser sees one file at a time: this tells it what the function returns. */
#define json_fail(...) ((void)(json_fail)(__VA_ARGS__), FALSE)
#endif

enum { MAX_INDEX_ENTRIES = 1000, MAX_PLATFORM_LIST_BYTES = 200 };

/* More than any layer has; sums of them cannot overflow. */
static const guint64 max_content_bytes = (guint64)1 << 40;

/* Descriptors */

Descriptor *descriptor_new(const char *media_type, const char *digest, guint64 size_bytes)
{
    Descriptor *descriptor = g_new0(Descriptor, 1);

    descriptor->media_type = g_strdup(media_type);
    descriptor->digest = g_strdup(digest);
    descriptor->size_bytes = size_bytes;
    return descriptor;
}

Descriptor *descriptor_copy(const Descriptor *descriptor)
{
    Descriptor *copy = descriptor_new(descriptor->media_type, descriptor->digest, descriptor->size_bytes);

    copy->platform_is_known = descriptor->platform_is_known;
    return copy;
}

void descriptor_free(Descriptor *descriptor)
{
    if (descriptor == NULL)
        return;
    g_free(descriptor->media_type);
    g_free(descriptor->digest);
    g_free(descriptor);
}

static gboolean parse_descriptor(const JsonValue *value, Descriptor **ret_descriptor, GError **error)
{
    const JsonValue *digest_value;
    const JsonValue *size_value;
    const char *media_type = NULL;
    const char *digest = NULL;
    guint64 size_bytes = 0;

    if (!json_is(value, JSON_OBJECT))
        return json_fail(value, error, "expected a descriptor, which is an object");
    digest_value = json_require(value, "digest", error);
    if (digest_value == NULL || !json_as_string(digest_value, &digest, error))
        return FALSE;
    if (!digest_is_valid(digest))
        return json_fail(digest_value, error, "\"%.160s\" is no sha256 or sha512 digest", digest);
    size_value = json_require(value, "size", error);
    if (size_value == NULL || !json_as_uint(size_value, max_content_bytes, &size_bytes, error) ||
        !json_get_string(value, "mediaType", &media_type, error))
        return FALSE;
    *ret_descriptor = descriptor_new(media_type, digest, size_bytes);
    return TRUE;
}

/* Documents */

static gboolean has_member(const JsonValue *object, const char *key)
{
    const JsonValue *member = json_member(object, key);

    return member != NULL && !json_is(member, JSON_NULL);
}

/* All witnesses (the header, mediaType, the members that there are) must agree on the type. Readers that
 * trusted different witnesses would see different images in the same bytes. */
static gboolean agree_on_type(const JsonValue *root, DocumentType *type, DocumentType witness, GError **error)
{
    if (*type != DOCUMENT_UNKNOWN && witness != DOCUMENT_UNKNOWN && *type != witness)
        return json_fail(root, error, "its content contradicts its media type");
    if (witness != DOCUMENT_UNKNOWN)
        *type = witness;
    return TRUE;
}

/* The schemaVersion of an index or manifest says nothing that its members do not say, and is ignored, as
 * containerd ignores it; that of a manifest of schema 1 comes with fsLayers. */
static gboolean check_document(const JsonValue *root, const char *media_type, DocumentType *ret_type,
                               GError **error)
{
    DocumentType type = media_type_document(media_type);
    gboolean is_index = has_member(root, "manifests");
    gboolean is_image = has_member(root, "layers") || has_member(root, "config");
    const char *own_type = NULL;

    if (!json_get_string(root, "mediaType", &own_type, error) ||
        !agree_on_type(root, &type, media_type_document(own_type), error))
        return FALSE;
    if (type == DOCUMENT_SCHEMA_1 || has_member(root, "fsLayers"))
        return fail(error, STATUS_UNIMPLEMENTED,
                    "Docker image manifest schema 1 is not supported: push the image again with a current "
                    "version of Docker");
    if (is_index == is_image)
        return json_fail(root, error, "it is neither an index nor an image manifest");
    if (!agree_on_type(root, &type, is_index ? DOCUMENT_INDEX : DOCUMENT_IMAGE, error))
        return FALSE;
    *ret_type = type;
    return TRUE;
}

static JsonDocument *parse_document(const char *data, gsize length, const char *media_type,
                                    DocumentType *ret_type, GError **error)
{
    static const JsonLimits limits = {.max_bytes = MANIFEST_MAX_BYTES, .last_key_counts = TRUE};
    g_autoptr(JsonDocument) document = json_document_parse(data, length, "manifest", &limits, error);
    const JsonValue *root = document != NULL ? json_document_object(document, error) : NULL;

    if (root == NULL || !check_document(root, media_type, ret_type, error))
        return NULL;
    return g_steal_pointer(&document);
}

gboolean manifest_kind(const char *data, gsize length, const char *media_type, ManifestKind *ret_kind,
                       GError **error)
{
    DocumentType type = DOCUMENT_UNKNOWN;
    g_autoptr(JsonDocument) document = parse_document(data, length, media_type, &type, error);

    if (document == NULL)
        return FALSE;
    *ret_kind = type == DOCUMENT_INDEX ? MANIFEST_KIND_INDEX : MANIFEST_KIND_IMAGE;
    return TRUE;
}

/* Indexes */

static gboolean read_platform(const JsonValue *entry, PlatformName *ret_name, GError **error)
{
    const JsonValue *object = NULL;
    PlatformName name = {NULL};

    if (!json_get_object(entry, "platform", &object, error) ||
        !json_get_string(object, "os", &name.os, error) ||
        !json_get_string(object, "architecture", &name.architecture, error) ||
        !json_get_string(object, "variant", &name.variant, error))
        return FALSE;
    *ret_name = name;
    return TRUE;
}

/* How well an entry suits, 0 for not at all. An entry that names no platform is the last resort: the
 * configuration of its image decides. */
static gboolean rate_entry(const JsonValue *entry, const Platform *platform, guint *ret_rating,
                           GError **error)
{
    enum { RATE_UNKNOWN_PLATFORM = 1 };
    const char *media_type = NULL;
    PlatformName name;
    DocumentType type;

    if (!json_get_string(entry, "mediaType", &media_type, error) || !read_platform(entry, &name, error))
        return FALSE;
    type = media_type_document(media_type);
    if (media_type != NULL && *media_type != '\0' && type != DOCUMENT_INDEX && type != DOCUMENT_IMAGE)
        *ret_rating = 0;
    else
        *ret_rating = platform_name_is_empty(&name) ? RATE_UNKNOWN_PLATFORM : platform_rate(platform, &name);
    return TRUE;
}

/* "linux/amd64, linux/arm64/v8": the platforms that an index has, for the message that misses one. */
static char *list_platforms(const JsonValue *entries)
{
    GString *list = g_string_new(NULL);

    for (gsize i = 0; i < json_length(entries) && list->len < MAX_PLATFORM_LIST_BYTES; i++) {
        PlatformName name;

        if (!read_platform(json_at(entries, i), &name, NULL) || name.os == NULL ||
            name.architecture == NULL || g_str_equal(name.os, "unknown") /* attestations */)
            continue;
        g_string_append_printf(list, "%s%.20s/%.20s", list->len > 0 ? ", " : "", name.os, name.architecture);
        if (name.variant != NULL && *name.variant != '\0')
            g_string_append_printf(list, "/%.20s", name.variant);
    }
    return g_string_free(list, FALSE);
}

static gboolean choose_entry(const JsonValue *root, const Platform *platform, Descriptor **ret_descriptor,
                             GError **error)
{
    g_autofree char *available = NULL;
    const JsonValue *entries = NULL;
    const JsonValue *best = NULL;
    PlatformName name;
    guint best_rating = 0;

    if (!json_get_array(root, "manifests", MAX_INDEX_ENTRIES, &entries, error))
        return FALSE;
    for (gsize i = 0; i < json_length(entries); i++) {
        const JsonValue *entry = json_at(entries, i);
        guint rating = 0;

        if (json_is(entry, JSON_NULL))
            continue;
        if (!json_is(entry, JSON_OBJECT))
            return json_fail(entry, error, "expected an object");
        if (!rate_entry(entry, platform, &rating, error))
            return FALSE;
        if (rating > best_rating) {
            best_rating = rating;
            best = entry;
        }
    }
    if (best != NULL) {
        if (!read_platform(best, &name, error) || !parse_descriptor(best, ret_descriptor, error))
            return FALSE;
        (*ret_descriptor)->platform_is_known = name.architecture != NULL && *name.architecture != '\0';
        return TRUE;
    }
    available = list_platforms(entries);
    return fail(error, STATUS_NOT_FOUND, "the image is not made for linux/%s%s%s (only for: %s)",
                platform->architecture, platform->variant != NULL ? "/" : "",
                platform->variant != NULL ? platform->variant : "", available);
}

Descriptor *manifest_index_choose(const char *data, gsize length, const Platform *platform, GError **error)
{
    DocumentType type = DOCUMENT_UNKNOWN;
    g_autoptr(JsonDocument) document = parse_document(data, length, NULL, &type, error);
    const JsonValue *root = document != NULL ? json_document_root(document) : NULL;
    Descriptor *chosen = NULL;

    if (root == NULL)
        return NULL;
    if (type != DOCUMENT_INDEX)
        json_fail(root, error, "expected an index");
    else
        choose_entry(root, platform, &chosen, error);
    return chosen;
}

/* Image manifests */

static gboolean parse_layers(const JsonValue *root, GPtrArray *layers, GError **error)
{
    const JsonValue *array = NULL;

    if (!json_get_array(root, "layers", G_MAXSIZE, &array, error))
        return FALSE;
    if (json_length(array) > MANIFEST_MAX_LAYERS)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the image has more than %d layers",
                    (int)MANIFEST_MAX_LAYERS);
    for (gsize i = 0; i < json_length(array); i++) {
        Descriptor *layer = NULL;
        LayerFormat format;

        if (!parse_descriptor(json_at(array, i), &layer, error))
            return FALSE;
        g_ptr_array_add(layers, layer);
        if (!media_type_layer(layer->media_type, &format, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean parse_image_manifest(const JsonValue *root, Manifest *manifest, GError **error)
{
    const JsonValue *config = json_require(root, "config", error);

    if (config == NULL || !parse_descriptor(config, &manifest->config, error))
        return FALSE;
    if (manifest->config->size_bytes == 0 || manifest->config->size_bytes > IMAGE_CONFIG_MAX_BYTES)
        return json_fail(config, error, "%" G_GUINT64_FORMAT " is no possible size of a configuration",
                         manifest->config->size_bytes);
    return media_type_check_config(manifest->config->media_type, error) &&
           parse_layers(root, manifest->layers, error);
}

gboolean manifest_parse(const char *data, gsize length, Manifest **ret_manifest, GError **error)
{
    DocumentType type = DOCUMENT_UNKNOWN;
    g_autoptr(JsonDocument) document = parse_document(data, length, NULL, &type, error);
    g_autoptr(Manifest) manifest = NULL;

    if (document == NULL)
        return FALSE;
    if (type != DOCUMENT_IMAGE)
        return json_fail(json_document_root(document), error, "expected an image manifest");
    manifest = g_new0(Manifest, 1);
    manifest->layers = g_ptr_array_new_with_free_func((GDestroyNotify)descriptor_free);
    if (!parse_image_manifest(json_document_root(document), manifest, error))
        return FALSE;
    *ret_manifest = g_steal_pointer(&manifest);
    return TRUE;
}

void manifest_free(Manifest *manifest)
{
    if (manifest == NULL)
        return;
    descriptor_free(manifest->config);
    g_clear_pointer(&manifest->layers, g_ptr_array_unref);
    g_free(manifest);
}

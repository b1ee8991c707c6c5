/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/content/manifest.h"

#include <string.h>

#include "common/error.h"
#include "image-service/content/digest.h"
#include "image-service/image_json.h"

enum { MAX_INDEX_ENTRIES = 1000 };

/* More than any layer has; sums of them cannot overflow. */
static const guint64 max_content_bytes = (guint64)1 << 40;

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
    return descriptor_new(descriptor->media_type, descriptor->digest, descriptor->size_bytes);
}

void descriptor_free(Descriptor *descriptor)
{
    if (descriptor == NULL)
        return;
    g_free(descriptor->media_type);
    g_free(descriptor->digest);
    g_free(descriptor);
}

static gboolean parse_descriptor(JsonValue *object, Descriptor **ret_descriptor, GError **error)
{
    const char *media_type = NULL;
    const char *digest = NULL;
    guint64 size_bytes = G_MAXUINT64;

    if (!image_json_string(object, "mediaType", &media_type, error) ||
        !image_json_string(object, "digest", &digest, error) ||
        !image_json_size(object, "size", &size_bytes, error))
        return FALSE;
    if (media_type == NULL || digest == NULL || size_bytes == G_MAXUINT64)
        return fail(error, STATUS_INVALID_ARGUMENT, "a descriptor needs mediaType, digest and size");
    if (!digest_check(digest, "digest", error))
        return FALSE;
    if (size_bytes > max_content_bytes)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "%s: a size of %" G_GUINT64_FORMAT " bytes is not possible", digest, size_bytes);
    *ret_descriptor = descriptor_new(media_type, digest, size_bytes);
    return TRUE;
}

typedef enum { TYPE_UNKNOWN, TYPE_INDEX, TYPE_IMAGE, TYPE_SCHEMA_1 } DocumentType;

/* "application/json; charset=utf-8" and the like say nothing. */
static DocumentType document_type(const char *media_type)
{
    static const struct {
        const char *name;
        DocumentType type;
    } types[] = {
        {MEDIA_TYPE_OCI_INDEX, TYPE_INDEX},
        {MEDIA_TYPE_DOCKER_LIST, TYPE_INDEX},
        {MEDIA_TYPE_OCI_MANIFEST, TYPE_IMAGE},
        {MEDIA_TYPE_DOCKER_MANIFEST, TYPE_IMAGE},
        {"application/vnd.docker.distribution.manifest.v1+json", TYPE_SCHEMA_1},
        {"application/vnd.docker.distribution.manifest.v1+prettyjws", TYPE_SCHEMA_1},
    };
    gsize length = media_type != NULL ? strcspn(media_type, "; ") : 0;

    for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
        if (length == strlen(types[i].name) && g_ascii_strncasecmp(media_type, types[i].name, length) == 0)
            return types[i].type;
    return TYPE_UNKNOWN;
}

/* The type that all witnesses agree on: header, mediaType, and which members there are. Readers that trusted
 * different witnesses would see different images in the same bytes. */
static gboolean agree_on_type(DocumentType *type, DocumentType witness, GError **error)
{
    if (*type != TYPE_UNKNOWN && witness != TYPE_UNKNOWN && *type != witness)
        return fail(error, STATUS_INVALID_ARGUMENT, "it contradicts its media type");
    if (witness != TYPE_UNKNOWN)
        *type = witness;
    return TRUE;
}

static gboolean check_document(JsonValue *root, const char *media_type, DocumentType *ret_type,
                               GError **error)
{
    DocumentType type = document_type(media_type);
    gboolean has_manifests = image_json_member(root, "manifests") != NULL;
    gboolean has_layers =
        image_json_member(root, "layers") != NULL || image_json_member(root, "config") != NULL;
    const char *own_type = NULL;
    guint64 schema_version = 0;

    if (!YAJL_IS_OBJECT(root))
        return fail(error, STATUS_INVALID_ARGUMENT, "it is no JSON object");
    if (!image_json_string(root, "mediaType", &own_type, error) ||
        !image_json_size(root, "schemaVersion", &schema_version, error) ||
        !agree_on_type(&type, document_type(own_type), error))
        return FALSE;
    if (type == TYPE_SCHEMA_1 || schema_version == 1)
        return fail(
            error, STATUS_UNIMPLEMENTED,
            "Docker image manifest schema 1 is not supported: push the image again with a current tool");
    if (schema_version != 2)
        return fail(error, STATUS_INVALID_ARGUMENT, "its schemaVersion is not 2");
    if (has_manifests == has_layers)
        return fail(error, STATUS_INVALID_ARGUMENT, "it is neither an index nor an image manifest");
    if (!agree_on_type(&type, has_manifests ? TYPE_INDEX : TYPE_IMAGE, error))
        return FALSE;
    *ret_type = type;
    return TRUE;
}

static JsonValue *parse_document(const char *data, gsize length, const char *media_type,
                                 DocumentType *ret_type, GError **error)
{
    g_autoptr(JsonValue) root = NULL;

    if (length > MANIFEST_MAX_BYTES) {
        fail(error, STATUS_INVALID_ARGUMENT, "the manifest is larger than %d bytes", (int)MANIFEST_MAX_BYTES);
        return NULL;
    }
    root = image_json_parse(data, length, "the manifest", error);
    if (root == NULL)
        return NULL;
    if (!check_document(root, media_type, ret_type, error)) {
        g_prefix_error(error, "bad manifest: ");
        return NULL;
    }
    return g_steal_pointer(&root);
}

gboolean manifest_kind(const char *data, gsize length, const char *media_type, ManifestKind *ret_kind,
                       GError **error)
{
    DocumentType type;
    g_autoptr(JsonValue) root = parse_document(data, length, media_type, &type, error);

    if (root == NULL)
        return FALSE;
    *ret_kind = type == TYPE_INDEX ? MANIFEST_KIND_INDEX : MANIFEST_KIND_IMAGE;
    return TRUE;
}

/* How well a variant suits, 0: not at all. An amd64 guest promises no more than v1, an arm64 guest v8; what
 * older arm variants lack, newer ones have. */
static guint rate_variant(const Platform *platform, const char *variant)
{
    const char *wanted = platform->variant;

    if (wanted == NULL)
        wanted = g_str_equal(platform->architecture, "arm64") ? "v8"
                 : g_str_equal(platform->architecture, "arm") ? "v7"
                                                              : "v1";
    if (variant == NULL || *variant == '\0')
        return 50;
    if (g_str_equal(variant, wanted))
        return 100;
    if (variant[0] == 'v' && wanted[0] == 'v' && g_ascii_isdigit(variant[1]) && variant[2] == '\0' &&
        g_ascii_isdigit(wanted[1]) && variant[1] < wanted[1] && !g_str_equal(platform->architecture, "arm64"))
        return (guint)(variant[1] - '0') + 10;
    return 0;
}

/* How well an index's entry suits, 0: not at all. */
static gboolean rate_entry(JsonValue *entry, const Platform *platform, guint *ret_rating, GError **error)
{
    const char *architecture = NULL;
    const char *os = NULL;
    const char *variant = NULL;
    const char *media_type = NULL;
    JsonValue *object;

    if (!image_json_string(entry, "mediaType", &media_type, error) ||
        !image_json_object(entry, "platform", &object, error))
        return FALSE;
    if (document_type(media_type) != TYPE_INDEX && document_type(media_type) != TYPE_IMAGE) {
        *ret_rating = 0;
        return TRUE;
    }
    /* Nothing said: the image's configuration will tell. */
    if (object == NULL) {
        *ret_rating = 1;
        return TRUE;
    }
    if (!image_json_string(object, "architecture", &architecture, error) ||
        !image_json_string(object, "os", &os, error) ||
        !image_json_string(object, "variant", &variant, error))
        return FALSE;
    *ret_rating = g_strcmp0(os, "linux") == 0 && g_strcmp0(architecture, platform->architecture) == 0
                      ? rate_variant(platform, variant)
                      : 0;
    return TRUE;
}

/* "linux/amd64, linux/arm64/v8": what there is, for the message that says what there is not. */
static char *list_platforms(JsonValue *entries)
{
    GString *list = g_string_new(NULL);

    for (gsize i = 0; i < entries->u.array.len && list->len < 200; i++) {
        JsonValue *platform = image_json_member(entries->u.array.values[i], "platform");
        const char *names[3] = {NULL};

        if (platform == NULL || !image_json_string(platform, "os", &names[0], NULL) ||
            !image_json_string(platform, "architecture", &names[1], NULL) ||
            !image_json_string(platform, "variant", &names[2], NULL) || names[0] == NULL || names[1] == NULL)
            continue;
        if (g_str_equal(names[0], "unknown")) /* attestations */
            continue;
        g_string_append_printf(list, "%s%.20s/%.20s", list->len > 0 ? ", " : "", names[0], names[1]);
        if (names[2] != NULL && *names[2] != '\0')
            g_string_append_printf(list, "/%.20s", names[2]);
    }
    return g_string_free(list, FALSE);
}

static gboolean choose_entry(JsonValue *root, const Platform *platform, Descriptor **ret_descriptor,
                             GError **error)
{
    g_autofree char *available = NULL;
    JsonValue *entries;
    JsonValue *best = NULL;
    guint best_rating = 0;

    if (!image_json_array(root, "manifests", &entries, error))
        return FALSE;
    if (entries->u.array.len > MAX_INDEX_ENTRIES)
        return fail(error, STATUS_INVALID_ARGUMENT, "the index has more than %d entries",
                    (int)MAX_INDEX_ENTRIES);
    for (gsize i = 0; i < entries->u.array.len; i++) {
        JsonValue *entry = entries->u.array.values[i];
        guint rating = 0;

        if (!YAJL_IS_OBJECT(entry))
            return fail(error, STATUS_INVALID_ARGUMENT, "an entry of the index is no object");
        if (!rate_entry(entry, platform, &rating, error))
            return FALSE;
        if (rating > best_rating) {
            best_rating = rating;
            best = entry;
        }
    }
    if (best != NULL)
        return parse_descriptor(best, ret_descriptor, error);
    available = list_platforms(entries);
    return fail(error, STATUS_NOT_FOUND, "the image is not made for linux/%s%s%s (only for: %s)",
                platform->architecture, platform->variant != NULL ? "/" : "",
                platform->variant != NULL ? platform->variant : "", available);
}

Descriptor *manifest_index_choose(const char *data, gsize length, const Platform *platform, GError **error)
{
    DocumentType type;
    g_autoptr(JsonValue) root = parse_document(data, length, NULL, &type, error);
    Descriptor *chosen = NULL;

    if (root == NULL)
        return NULL;
    if (type != TYPE_INDEX)
        fail(error, STATUS_INVALID_ARGUMENT, "bad manifest: an index was expected");
    else
        choose_entry(root, platform, &chosen, error);
    return chosen;
}

gboolean layer_format(const char *media_type, LayerFormat *ret_format, GError **error)
{
    static const struct {
        const char *name;
        LayerFormat format;
    } formats[] = {
        {"application/vnd.oci.image.layer.v1.tar", LAYER_TAR},
        {"application/vnd.oci.image.layer.v1.tar+gzip", LAYER_TAR_GZIP},
        {"application/vnd.oci.image.layer.v1.tar+zstd", LAYER_TAR_ZSTD},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar", LAYER_TAR},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", LAYER_TAR_GZIP},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", LAYER_TAR_ZSTD},
        {"application/vnd.docker.image.rootfs.diff.tar", LAYER_TAR},
        {"application/vnd.docker.image.rootfs.diff.tar.gzip", LAYER_TAR_GZIP},
        {"application/vnd.docker.image.rootfs.diff.tar.zstd", LAYER_TAR_ZSTD},
        {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", LAYER_TAR_GZIP},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(formats); i++)
        if (g_str_equal(media_type, formats[i].name)) {
            *ret_format = formats[i].format;
            return TRUE;
        }
    if (g_str_has_suffix(media_type, "+encrypted"))
        return fail(error, STATUS_UNIMPLEMENTED, "encrypted layers are not supported");
    return fail(error, STATUS_UNIMPLEMENTED, "layers of type \"%.120s\" are not supported", media_type);
}

/* Other artifacts (charts, signatures, …) live in registries too. */
static gboolean check_config_type(const char *media_type, GError **error)
{
    static const char *const types[] = {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
        "application/octet-stream", /* from Docker before 1.10 */
        NULL,
    };

    if (g_strv_contains(types, media_type))
        return TRUE;
    return fail(error, STATUS_UNIMPLEMENTED, "this is no container image but \"%.120s\"", media_type);
}

static gboolean parse_layers(JsonValue *root, GPtrArray *layers, GError **error)
{
    JsonValue *array;

    if (!image_json_array(root, "layers", &array, error))
        return FALSE;
    if (array == NULL || array->u.array.len == 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "the image has no layers");
    if (array->u.array.len > MANIFEST_MAX_LAYERS)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the image has more than %d layers",
                    (int)MANIFEST_MAX_LAYERS);
    for (gsize i = 0; i < array->u.array.len; i++) {
        Descriptor *layer = NULL;
        LayerFormat format;

        if (!parse_descriptor(array->u.array.values[i], &layer, error)) {
            g_prefix_error(error, "layer %zu: ", i);
            return FALSE;
        }
        g_ptr_array_add(layers, layer);
        if (!layer_format(layer->media_type, &format, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean parse_image_manifest(JsonValue *root, Manifest *manifest, GError **error)
{
    JsonValue *config;

    if (!image_json_object(root, "config", &config, error))
        return FALSE;
    if (config == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "it has no config");
    if (!parse_descriptor(config, &manifest->config, error)) {
        g_prefix_error(error, "config: ");
        return FALSE;
    }
    if (manifest->config->size_bytes == 0 || manifest->config->size_bytes > IMAGE_CONFIG_MAX_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT, "config: %" G_GUINT64_FORMAT " bytes is no possible size",
                    manifest->config->size_bytes);
    return check_config_type(manifest->config->media_type, error) &&
           parse_layers(root, manifest->layers, error);
}

gboolean manifest_parse(const char *data, gsize length, Manifest **ret_manifest, GError **error)
{
    DocumentType type;
    g_autoptr(JsonValue) root = parse_document(data, length, NULL, &type, error);
    g_autoptr(Manifest) manifest = g_new0(Manifest, 1);

    if (root == NULL)
        return FALSE;
    if (type != TYPE_IMAGE)
        return fail(error, STATUS_INVALID_ARGUMENT, "bad manifest: an image manifest was expected");
    manifest->layers = g_ptr_array_new_with_free_func((GDestroyNotify)descriptor_free);
    if (!parse_image_manifest(root, manifest, error)) {
        g_prefix_error(error, "bad manifest: ");
        return FALSE;
    }
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

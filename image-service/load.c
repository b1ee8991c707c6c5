/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/load.h"

#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "image-service/archive_files.h"
#include "image-service/content/digest.h"
#include "image-service/content/manifest.h"
#include "image-service/image_json.h"

enum { MAX_IMAGES = 256, MAX_INDEX_DEPTH = 4 };

#define INGEST_DIR "."
#define ANNOTATION_IMAGE_NAME "io.containerd.image.name"
#define ANNOTATION_REF_NAME "org.opencontainers.image.ref.name"

typedef struct {
    const PullContext *context;
    ArchiveFiles *files;
    const Deadline *deadline;
    Platform platform;
    GPtrArray *images; /* StoredImage */
} Load;

/* One image as it was found: where its parts are in the archive. */
typedef struct {
    char *config_name;
    char *config_digest; /* NULL: whatever it is (docker save) */
    GPtrArray *layers;   /* LayerFile */
    char **names;        /* references, not yet checked */
} Found;

typedef struct {
    char *name;
    char *media_type; /* NULL: not known */
    char *digest;     /* NULL: only the diff id tells (docker save) */
} LayerFile;

static void layer_file_free(gpointer data)
{
    LayerFile *layer = data;

    g_free(layer->name);
    g_free(layer->media_type);
    g_free(layer->digest);
    g_free(layer);
}

static Found *found_new(void)
{
    Found *found = g_new0(Found, 1);

    found->layers = g_ptr_array_new_with_free_func(layer_file_free);
    return found;
}

static void found_free(Found *found)
{
    g_free(found->config_name);
    g_free(found->config_digest);
    g_ptr_array_unref(found->layers);
    g_strfreev(found->names);
    g_free(found);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Found, found_free)

static void found_add_layer(Found *found, char *name, const char *media_type, const char *digest)
{
    LayerFile *layer = g_new0(LayerFile, 1);

    layer->name = name;
    layer->media_type = g_strdup(media_type);
    layer->digest = g_strdup(digest);
    g_ptr_array_add(found->layers, layer);
}

/* The digest is a checked one. */
static char *blob_name(const char *digest)
{
    const char *colon = strchr(digest, ':');

    return g_strdup_printf("blobs/%.*s/%s", (int)(colon - digest), digest, colon + 1);
}

/* One image into the store */

typedef struct {
    Load *load;
    const LayerFile *file;
} LayerLoad;

static gboolean fetch_layer(gpointer data, const Deadline *deadline, int *ret_fd, GError **error)
{
    const LayerLoad *layer = data;
    guint64 size;

    return archive_files_get(layer->load->files, layer->file->name, layer->file->digest, deadline, ret_fd,
                             &size, error);
}

static gboolean load_layer(Load *load, const LayerFile *file, const char *diff_id, guint64 *unpacked_bytes,
                           GError **error)
{
    LayerLoad loading = {load, file};
    LayerSpec spec = {.diff_id = diff_id,
                      .media_type = file->media_type,
                      .max_bytes = load->context->config->max_layer_bytes};
    LayerSource source = {fetch_layer, NULL, &loading};
    guint64 limit = load->context->config->max_image_bytes;
    g_autoptr(ImageLayer) layer = NULL;
    gboolean existed = FALSE;

    if (!layer_jobs_ensure(load->context->jobs, &spec, &source, load->deadline, &layer, &existed, error)) {
        g_prefix_error(error, "layer %s: ", file->name);
        return FALSE;
    }
    *unpacked_bytes += layer->size_bytes;
    return *unpacked_bytes <= limit ||
           fail(error, STATUS_RESOURCE_EXHAUSTED,
                "the image is larger than %" G_GUINT64_FORMAT " bytes unpacked", limit);
}

static gboolean load_layers(Load *load, const Found *found, const ImageConfig *config, GError **error)
{
    guint64 unpacked_bytes = 0;

    if (g_strv_length(config->diff_ids) != found->layers->len)
        return fail(error, STATUS_INVALID_ARGUMENT, "the image has %u layers, its configuration %u",
                    found->layers->len, g_strv_length(config->diff_ids));
    image_store_hold(load->context->store, load->context->holder, (const char *const *)config->diff_ids);
    for (guint i = 0; i < found->layers->len; i++)
        if (!load_layer(load, g_ptr_array_index(found->layers, i), config->diff_ids[i], &unpacked_bytes,
                        error))
            return FALSE;
    return TRUE;
}

static gboolean sum_sizes(Load *load, const Found *found, guint64 *ret_bytes, GError **error)
{
    guint64 bytes = 0;

    for (guint i = 0; i < found->layers->len; i++) {
        const LayerFile *file = g_ptr_array_index(found->layers, i);
        guint64 size;
        int fd;

        if (!archive_files_get(load->files, file->name, NULL, load->deadline, &fd, &size, error))
            return FALSE;
        close(fd);
        bytes += size;
    }
    *ret_bytes = bytes;
    return TRUE;
}

/* "docker.io/library/busybox:latest" for each name; one by digest says what the archive cannot promise. */
static gboolean check_names(char **names, char ***ret_tags, GError **error)
{
    g_autoptr(GStrvBuilder) tags = g_strv_builder_new();

    for (; names != NULL && *names != NULL; names++) {
        g_autoptr(Reference) reference = NULL;
        g_autofree char *tag = NULL;

        if (!reference_parse(*names, &reference, error))
            return FALSE;
        tag = reference_to_string(reference);
        if (reference->tag != NULL)
            g_strv_builder_add(tags, tag);
    }
    *ret_tags = g_strv_builder_end(tags);
    return TRUE;
}

static gboolean load_found(Load *load, const Found *found, GError **error)
{
    g_autoptr(StoredImage) stored = g_new0(StoredImage, 1);
    g_autoptr(ImageConfig) config = NULL;
    gsize length = 0;

    if (!check_names(found->names, &stored->tags, error) ||
        !archive_files_read(load->files, found->config_name, found->config_digest, IMAGE_CONFIG_MAX_BYTES,
                            &stored->config_json, &length, error) ||
        !image_config_parse(stored->config_json, length, &config, error) ||
        !image_config_check_platform(config, &load->platform, error) ||
        !sum_sizes(load, found, &stored->size_bytes, error) || !load_layers(load, found, config, error))
        return FALSE;
    stored->id = found->config_digest != NULL ? g_strdup(found->config_digest)
                                              : digest_of(stored->config_json, length);
    stored->size_bytes += length;
    stored->pulled_at_ns = g_get_real_time() * 1000;
    stored->diff_ids = g_strdupv(config->diff_ids);
    g_ptr_array_add(load->images, g_steal_pointer(&stored));
    return TRUE;
}

/* OCI layout */

static gboolean load_descriptor(Load *load, const Descriptor *descriptor, char **names, guint depth,
                                GError **error);

static gboolean load_manifest(Load *load, const char *data, gsize length, char **names, GError **error)
{
    g_autoptr(Manifest) manifest = NULL;
    g_autoptr(Found) found = found_new();

    if (!manifest_parse(data, length, &manifest, error))
        return FALSE;
    found->names = g_strdupv(names);
    found->config_digest = g_strdup(manifest->config->digest);
    found->config_name = blob_name(manifest->config->digest);
    for (guint i = 0; i < manifest->layers->len; i++) {
        const Descriptor *layer = g_ptr_array_index(manifest->layers, i);

        found_add_layer(found, blob_name(layer->digest), layer->media_type, layer->digest);
    }
    return load_found(load, found, error);
}

static gboolean load_index(Load *load, const char *data, gsize length, char **names, guint depth,
                           GError **error)
{
    g_autoptr(Descriptor) chosen = NULL;

    if (depth >= MAX_INDEX_DEPTH)
        return fail(error, STATUS_INVALID_ARGUMENT, "indexes are nested too deeply");
    chosen = manifest_index_choose(data, length, &load->platform, error);
    return chosen != NULL && load_descriptor(load, chosen, names, depth + 1, error);
}

static gboolean load_descriptor(Load *load, const Descriptor *descriptor, char **names, guint depth,
                                GError **error)
{
    g_autofree char *name = blob_name(descriptor->digest);
    g_autofree char *data = NULL;
    gsize length = 0;
    ManifestKind kind;

    if (!archive_files_read(load->files, name, descriptor->digest, MANIFEST_MAX_BYTES, &data, &length,
                            error) ||
        !manifest_kind(data, length, descriptor->media_type, &kind, error))
        return FALSE;
    return kind == MANIFEST_KIND_INDEX ? load_index(load, data, length, names, depth, error)
                                       : load_manifest(load, data, length, names, error);
}

/* The name that an entry of index.json gives its image; NULL for none. */
static gboolean entry_name(JsonValue *entry, const char **ret_name, GError **error)
{
    JsonValue *annotations;
    const char *name = NULL;
    const char *reference = NULL;

    if (!image_json_object(entry, "annotations", &annotations, error) ||
        (annotations != NULL && (!image_json_string(annotations, ANNOTATION_IMAGE_NAME, &name, error) ||
                                 !image_json_string(annotations, ANNOTATION_REF_NAME, &reference, error))))
        return FALSE;
    /* A mere tag names no repository. */
    if (name == NULL && reference != NULL && strpbrk(reference, "/:@") != NULL)
        name = reference;
    *ret_name = name;
    return TRUE;
}

static gboolean load_named_entry(Load *load, JsonValue *entry, const char *entry_title, GError **error)
{
    g_autoptr(Descriptor) descriptor = NULL;
    const char *digest = NULL;
    const char *media_type = NULL;
    char *names[] = {(char *)entry_title, NULL};

    if (!image_json_string(entry, "digest", &digest, error) ||
        !image_json_string(entry, "mediaType", &media_type, error) ||
        !digest_check(digest != NULL ? digest : "", "index.json", error))
        return FALSE;
    descriptor = descriptor_new(media_type, digest, 0);
    return load_descriptor(load, descriptor, names, 0, error);
}

/* Entries with names are images each; without any, they are one image for several platforms. */
static gboolean load_entries(Load *load, JsonValue *manifests, gboolean *ret_any_named, GError **error)
{
    gsize count = manifests != NULL ? manifests->u.array.len : 0;

    if (count == 0 || count > MAX_IMAGES)
        return fail(error, STATUS_INVALID_ARGUMENT, "index.json has %zu images", count);
    *ret_any_named = FALSE;
    for (gsize i = 0; i < count; i++) {
        JsonValue *entry = manifests->u.array.values[i];
        const char *name = NULL;

        if (!YAJL_IS_OBJECT(entry))
            return fail(error, STATUS_INVALID_ARGUMENT, "an entry of index.json is no object");
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

static gboolean load_oci(Load *load, GError **error)
{
    g_autofree char *data = NULL;
    g_autoptr(JsonValue) index = NULL;
    JsonValue *manifests = NULL;
    gboolean any_named = FALSE;
    gsize length = 0;

    if (!archive_files_read(load->files, "index.json", NULL, MANIFEST_MAX_BYTES, &data, &length, error))
        return FALSE;
    index = image_json_parse(data, length, "index.json", error);
    if (index == NULL || !image_json_array(index, "manifests", &manifests, error) ||
        !load_entries(load, manifests, &any_named, error))
        return FALSE;
    return any_named || load_index(load, data, length, NULL, 0, error);
}

/* docker save */

/* Names there are "<hex>.json" or "blobs/sha256/<hex>": what they promise is checked. */
static char *digest_in_name(const char *name)
{
    g_autofree char *base = g_path_get_basename(name);
    g_autofree char *digest = NULL;

    if (g_str_has_suffix(base, ".json"))
        base[strlen(base) - strlen(".json")] = '\0';
    digest = g_strconcat("sha256:", base, NULL);
    return digest_is_valid(digest) ? g_steal_pointer(&digest) : NULL;
}

static gboolean load_saved_image(Load *load, JsonValue *entry, GError **error)
{
    g_autoptr(Found) found = found_new();
    g_auto(GStrv) layers = NULL;
    const char *config = NULL;

    if (!YAJL_IS_OBJECT(entry))
        return fail(error, STATUS_INVALID_ARGUMENT, "an entry of manifest.json is no object");
    if (!image_json_string(entry, "Config", &config, error) ||
        !image_json_strv(entry, "RepoTags", &found->names, error) ||
        !image_json_strv(entry, "Layers", &layers, error))
        return FALSE;
    if (config == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "an entry of manifest.json has no Config");
    found->config_name = g_strdup(config);
    found->config_digest = digest_in_name(config);
    for (char **layer = layers; *layer != NULL; layer++)
        found_add_layer(found, g_strdup(*layer), NULL, NULL);
    return load_found(load, found, error);
}

static gboolean load_docker(Load *load, GError **error)
{
    g_autofree char *data = NULL;
    g_autoptr(JsonValue) images = NULL;
    gsize length = 0;

    if (!archive_files_read(load->files, "manifest.json", NULL, MANIFEST_MAX_BYTES, &data, &length, error))
        return FALSE;
    images = image_json_parse(data, length, "manifest.json", error);
    if (images == NULL)
        return FALSE;
    if (!YAJL_IS_ARRAY(images) || images->u.array.len == 0 || images->u.array.len > MAX_IMAGES)
        return fail(error, STATUS_INVALID_ARGUMENT, "manifest.json is no list of images");
    for (gsize i = 0; i < images->u.array.len; i++)
        if (!load_saved_image(load, images->u.array.values[i], error))
            return FALSE;
    return TRUE;
}

static gboolean load_all(Load *load, GError **error)
{
    if (archive_files_has(load->files, "oci-layout") || archive_files_has(load->files, "index.json"))
        return load_oci(load, error);
    if (archive_files_has(load->files, "manifest.json"))
        return load_docker(load, error);
    return fail(error, STATUS_INVALID_ARGUMENT,
                "neither an OCI layout (index.json) nor a docker save archive (manifest.json)");
}

gboolean load_images(const PullContext *context, const char *path, const Deadline *deadline,
                     GPtrArray **ret_images, GError **error)
{
    g_autofree char *ingest = image_store_ingest_path(context->store, INGEST_DIR);
    g_autoptr(ArchiveFiles) files =
        archive_files_open(path, ingest, context->config->max_image_bytes, deadline, error);
    g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func((GDestroyNotify)stored_image_free);
    Load load = {.context = context,
                 .files = files,
                 .deadline = deadline,
                 .platform = {.architecture = context->config->architecture},
                 .images = images};

    if (files == NULL || !load_all(&load, error)) {
        g_prefix_error(error, "%s: ", path);
        return FALSE;
    }
    *ret_images = g_steal_pointer(&images);
    return TRUE;
}

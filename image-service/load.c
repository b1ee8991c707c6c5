/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/load.h"

#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/string_table.h"
#include "image-service/archive_files.h"
#include "image-service/content/chain_id.h"
#include "image-service/content/digest.h"
#include "image-service/load_found.h"

#define INGEST_DIR "."

static void layer_file_free(gpointer data)
{
    LayerFile *layer = data;

    g_free(layer->name);
    g_free(layer->media_type);
    g_free(layer->digest);
    g_free(layer);
}

FoundImage *found_image_new(void)
{
    FoundImage *found = g_new0(FoundImage, 1);

    found->layers = g_ptr_array_new_with_free_func(layer_file_free);
    return found;
}

void found_image_free(FoundImage *found)
{
    if (found == NULL)
        return;
    g_free(found->config_name);
    g_free(found->config_digest);
    g_ptr_array_unref(found->layers);
    g_strfreev(found->names);
    g_free(found);
}

void found_image_add_layer(FoundImage *found, char *name, const char *media_type, const char *digest)
{
    LayerFile *layer = g_new0(LayerFile, 1);

    layer->name = name;
    layer->media_type = g_strdup(media_type);
    layer->digest = g_strdup(digest);
    g_ptr_array_add(found->layers, layer);
}

/* One image into the store */

typedef struct {
    Load *load;
    const LayerFile *file;
} LayerLoad;

static gboolean fetch_layer(gpointer data, const Deadline *deadline, int *ret_fd, GError **error)
{
    const LayerLoad *layer = data;

    return archive_files_get(layer->load->files, layer->file->name, layer->file->digest, deadline, ret_fd,
                             error);
}

/* Gets one layer on top of those below and adds it to them. */
static gboolean load_layer(Load *load, const LayerFile *file, const LayerPlace *place, GPtrArray *below,
                           GError **error)
{
    LayerLoad loading = {load, file};
    LayerWanted wanted = {
        .place = *place,
        .spec = {.diff_id = place->diff_id,
                 .media_type = file->media_type,
                 .max_bytes = load->context->config->max_layer_bytes,
                 .max_memory_bytes = load->context->config->max_layer_memory_bytes,
                 .max_time_ms = load->context->config->max_layer_time_ms},
        .source = {.fetch = fetch_layer, .data = &loading},
    };
    g_autoptr(LayerJob) job = layer_job_new(load->context->jobs, &wanted);
    ImageLayer *layer = NULL;

    if (!layer_job_read(job, load->deadline, error) ||
        !layer_job_finish(job, below, load->deadline, &layer, error)) {
        g_prefix_error(error, "layer %s: ", file->name);
        return FALSE;
    }
    g_ptr_array_add(below, layer);
    return TRUE;
}

/* Images of an archive may share layers, and all of it has one limit. */
static gboolean count_layer(Load *load, const ImageLayer *layer, GError **error)
{
    const guint64 limit = load->context->config->max_image_bytes;

    if (!g_hash_table_add(load->layer_keys, g_strdup(layer->key)))
        return TRUE;
    load->unpacked_bytes += layer->size_bytes;
    return load->unpacked_bytes <= limit ||
           fail(error, STATUS_RESOURCE_EXHAUSTED,
                "the layers of the archive are larger than %" G_GUINT64_FORMAT
                " bytes unpacked (images.max_image_size)",
                limit);
}

/* *ret_keys: of the image's layers, which are in the store. */
static gboolean load_layers(Load *load, const FoundImage *found, const ImageConfig *config, char ***ret_keys,
                            GError **error)
{
    g_auto(GStrv) chain_ids = chain_ids_of((const char *const *)config->diff_ids);
    g_autoptr(GPtrArray) layers = g_ptr_array_new_with_free_func((GDestroyNotify)image_layer_free);
    g_autoptr(GStrvBuilder) keys = g_strv_builder_new();

    if (g_strv_length(config->diff_ids) != found->layers->len)
        return fail(error, STATUS_INVALID_ARGUMENT, "the image has %u layers, its configuration %u",
                    found->layers->len, g_strv_length(config->diff_ids));
    image_store_hold(load->context->store, load->context->holder, (const char *const *)config->diff_ids);
    image_store_hold(load->context->store, load->context->holder, (const char *const *)chain_ids);
    for (guint i = 0; i < found->layers->len; i++) {
        LayerPlace place = {config->diff_ids[i], chain_ids[i]};
        const ImageLayer *layer;

        if (!load_layer(load, g_ptr_array_index(found->layers, i), &place, layers, error))
            return FALSE;
        layer = g_ptr_array_index(layers, i);
        g_strv_builder_add(keys, layer->key);
        if (!count_layer(load, layer, error))
            return FALSE;
    }
    *ret_keys = g_strv_builder_end(keys);
    return TRUE;
}

static gboolean sum_sizes(Load *load, const FoundImage *found, guint64 *ret_bytes, GError **error)
{
    guint64 bytes = 0;

    for (guint i = 0; i < found->layers->len; i++) {
        const LayerFile *file = g_ptr_array_index(found->layers, i);
        guint64 size;

        if (!archive_files_size(load->files, file->name, &size, error))
            return FALSE;
        bytes += size;
    }
    *ret_bytes = bytes;
    return TRUE;
}

/* *ret_tags: "docker.io/library/busybox:latest" for each name. A reference by digest is left out, because the
 * archive does not have the manifest of that digest. */
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

/* Reads and checks the configuration; *ret_text is it as it was. */
static gboolean read_config(Load *load, const FoundImage *found, GBytes **ret_text, ImageConfig **ret_config,
                            GError **error)
{
    g_autoptr(GBytes) text = NULL;
    g_autoptr(ImageConfig) config = NULL;

    if (!archive_files_read(load->files, found->config_name, found->config_digest, IMAGE_CONFIG_MAX_BYTES,
                            &text, error) ||
        !image_config_parse(g_bytes_get_data(text, NULL), g_bytes_get_size(text), &config, error) ||
        (!found->platform_is_known && !image_config_check_platform(config, &load->platform, error)))
        return FALSE;
    *ret_text = g_steal_pointer(&text);
    *ret_config = g_steal_pointer(&config);
    return TRUE;
}

gboolean load_found(Load *load, const FoundImage *found, GError **error)
{
    g_autoptr(StoredImage) stored = g_new0(StoredImage, 1);
    g_autoptr(ImageConfig) config = NULL;
    g_autoptr(GBytes) text = NULL;

    if (!check_names(found->names, &stored->tags, error) ||
        !read_config(load, found, &text, &config, error) ||
        !sum_sizes(load, found, &stored->size_bytes, error) ||
        !load_layers(load, found, config, &stored->layer_keys, error))
        return FALSE;
    stored->id = found->config_digest != NULL
                     ? g_strdup(found->config_digest)
                     : digest_of(g_bytes_get_data(text, NULL), g_bytes_get_size(text));
    stored->config_json = g_strdup(g_bytes_get_data(text, NULL));
    stored->size_bytes += g_bytes_get_size(text);
    stored->pulled_at_ns = g_get_real_time() * 1000;
    g_ptr_array_add(load->images, g_steal_pointer(&stored));
    return TRUE;
}

/* Formats */

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
    const ArchiveLimits limits = {.max_bytes = context->config->max_image_bytes,
                                  .max_memory_bytes = context->config->max_layer_memory_bytes,
                                  .max_time_ms = context->config->max_layer_time_ms};
    g_autoptr(ArchiveFiles) files = archive_files_open(path, ingest, &limits, deadline, error);
    g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func((GDestroyNotify)stored_image_free);
    g_autoptr(GHashTable) layer_keys = string_table_new(g_free, NULL);
    Load load = {.context = context,
                 .files = files,
                 .deadline = deadline,
                 .platform = {.architecture = context->config->architecture},
                 .images = images,
                 .layer_keys = layer_keys};

    if (files == NULL || !load_all(&load, error)) {
        g_prefix_error(error, "%s: ", path);
        return FALSE;
    }
    *ret_images = g_steal_pointer(&images);
    return TRUE;
}

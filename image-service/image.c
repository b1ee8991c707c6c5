/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/image.h"

#include <string.h>

#include "image-service/content/manifest.h"

Image *image_ref(Image *image)
{
    return g_atomic_rc_box_acquire(image);
}

static void image_clear(gpointer data)
{
    Image *image = data;

    g_free(image->id);
    g_strfreev(image->tags);
    g_strfreev(image->digests);
    g_ptr_array_unref(image->layers);
    g_free(image->architecture);
    g_free(image->user);
    g_free(image->working_dir);
    g_free(image->stop_signal);
    g_strfreev(image->entrypoint);
    g_strfreev(image->cmd);
    g_strfreev(image->environment);
    g_strfreev(image->volumes);
    g_hash_table_unref(image->labels);
    g_free(image->config_json);
}

void image_unref(Image *image)
{
    if (image != NULL)
        g_atomic_rc_box_release_full(image, image_clear);
}

static int compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static char **sorted_copy(char **strings)
{
    char **copy = strings != NULL ? g_strdupv(strings) : g_new0(char *, 1);

    qsort(copy, g_strv_length(copy), sizeof *copy, compare_strings);
    return copy;
}

Image *image_new(const StoredImage *stored, GPtrArray *layers, GError **error)
{
    g_autoptr(ImageConfig) config = NULL;
    Image *image;

    if (!image_config_parse(stored->config_json, strlen(stored->config_json), &config, error))
        return NULL;
    image = g_atomic_rc_box_new0(Image);
    image->id = g_strdup(stored->id);
    image->tags = sorted_copy(stored->tags);
    image->digests = sorted_copy(stored->digests);
    image->size_bytes = MAX(stored->size_bytes, 1);
    image->layers = g_ptr_array_ref(layers);
    image->pulled_at_ns = stored->pulled_at_ns;
    image->architecture = g_steal_pointer(&config->architecture);
    image->user = g_steal_pointer(&config->user);
    image->working_dir = g_steal_pointer(&config->working_dir);
    image->stop_signal = g_steal_pointer(&config->stop_signal);
    image->entrypoint = g_strdupv(config->entrypoint);
    image->cmd = g_strdupv(config->cmd);
    image->environment = g_strdupv(config->environment);
    image->volumes = g_strdupv(config->volumes);
    image->labels = g_hash_table_ref(config->labels);
    image->config_json = g_strdup(stored->config_json);
    return image;
}

Image *image_renamed(const Image *image, char **tags, char **digests)
{
    Image *copy = g_atomic_rc_box_new0(Image);

    *copy = *image;
    copy->id = g_strdup(image->id);
    copy->tags = sorted_copy(tags);
    copy->digests = sorted_copy(digests);
    copy->layers = g_ptr_array_ref(image->layers);
    copy->architecture = g_strdup(image->architecture);
    copy->user = g_strdup(image->user);
    copy->working_dir = g_strdup(image->working_dir);
    copy->stop_signal = g_strdup(image->stop_signal);
    copy->entrypoint = g_strdupv(image->entrypoint);
    copy->cmd = g_strdupv(image->cmd);
    copy->environment = g_strdupv(image->environment);
    copy->volumes = g_strdupv(image->volumes);
    copy->labels = g_hash_table_ref(image->labels);
    copy->config_json = g_strdup(image->config_json);
    return copy;
}

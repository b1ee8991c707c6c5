/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/image_service.h"

#include <malloc.h>
#include <string.h>

#include "common/error.h"
#include "common/log.h"
#include "common/metrics.h"
#include "image-service/content/digest.h"
#include "image-service/image.h"
#include "image-service/image_table.h"
#include "image-service/load.h"
#include "image-service/pull.h"
#include "image-service/registry/registry.h"

struct ImageService {
    char *root;
    char *architecture;
    ImageStore *store;
    LayerJobs *jobs;
    LayerOrigins *origins;
    GMutex publish_lock; /* before lock: the store and the tables change together */
    GMutex lock;
    GCond idle;
    ImageServiceConfig *config; /* protected by lock; an atomic rc box that owns its strings */
    ImageTable *table;
    guint active; /* pulls and loads */
    guint64 last_holder;
};

/* Opening */

static void image_free(gpointer data)
{
    image_unref(data);
}

static void layer_free(gpointer data)
{
    image_layer_free(data);
}

/* NULL when one is not in the store. */
static GPtrArray *find_layers(ImageStore *store, const char *const *keys, GError **error)
{
    g_autoptr(GPtrArray) layers = g_ptr_array_new_with_free_func(layer_free);

    for (; *keys != NULL; keys++) {
        ImageLayer *layer = image_store_find_layer(store, *keys);

        if (layer == NULL) {
            fail(error, STATUS_INTERNAL, "the file of layer %s is missing", *keys);
            return NULL;
        }
        g_ptr_array_add(layers, layer);
    }
    return g_steal_pointer(&layers);
}

/* Return: the keys of the image's layers in a new vector. */
static char **layer_keys_of(const Image *image)
{
    g_autoptr(GStrvBuilder) keys = g_strv_builder_new();

    for (guint i = 0; i < image->layers->len; i++)
        g_strv_builder_add(keys, ((const ImageLayer *)g_ptr_array_index(image->layers, i))->key);
    return g_strv_builder_end(keys);
}

static Image *image_from_store(ImageService *service, const StoredImage *stored, GError **error)
{
    g_autoptr(GPtrArray) layers = find_layers(service->store, (const char *const *)stored->layer_keys, error);

    return layers != NULL ? image_new(stored, layers, error) : NULL;
}

/* Calls matches() with each name of the image, tags first, until it returns TRUE. Return: whether it did. */
static gboolean any_name(const Image *image, gboolean (*matches)(const char *name, gconstpointer data),
                         gconstpointer data)
{
    char **const kinds[] = {image->tags, image->digests};
    gboolean found = FALSE;

    for (gsize kind = 0; kind < G_N_ELEMENTS(kinds) && !found; kind++)
        for (char **name = kinds[kind]; *name != NULL && !found; name++)
            found = matches(*name, data);
    return found;
}

typedef struct {
    ImageService *service;
    const Image *image;
} Origins;

static gboolean origin_add(const char *name, gconstpointer data)
{
    const Origins *origins = data;
    g_autoptr(Reference) reference = NULL;

    if (!reference_parse(name, &reference, NULL))
        return FALSE;
    for (guint i = 0; i < origins->image->layers->len; i++) {
        const ImageLayer *layer = g_ptr_array_index(origins->image->layers, i);

        layer_origins_add(origins->service->origins, layer->key, reference, NULL);
    }
    return FALSE;
}

/* The repositories of an image's names have shown that they have its layers. */
static void note_origins(ImageService *service, const Image *image)
{
    Origins origins = {service, image};

    any_name(image, origin_add, &origins);
}

static gboolean read_images(ImageService *service, GError **error)
{
    g_autoptr(GPtrArray) stored = NULL;

    if (!image_store_images(service->store, &stored, error))
        return FALSE;
    for (guint i = 0; i < stored->len; i++) {
        const StoredImage *record = g_ptr_array_index(stored, i);
        g_autoptr(GError) cause = NULL;
        g_autoptr(Image) image = image_from_store(service, record, &cause);

        /* It stays in the store, for a program that can read it. */
        if (image == NULL)
            log_warning(LOG_FIELDS("image", record->id), "an image is left out: %s", cause->message);
        else {
            image_table_put(service->table, image);
            note_origins(service, image);
        }
    }
    return TRUE;
}

static ImageServiceConfig *copy_config(const ImageServiceConfig *from)
{
    enum { DEFAULT_LAYERS = 3, DEFAULT_TIMEOUT_MS = 60000 };
    const guint64 gibibyte = 1ULL << 30;
    ImageServiceConfig *to = g_atomic_rc_box_new(ImageServiceConfig);

    *to = *from;
    to->root = NULL;
    to->hosts_dir = g_strdup(from->hosts_dir);
    to->auth_file = g_strdup(from->auth_file);
    to->architecture = g_strdup(from->architecture);
    to->max_parallel_layers = from->max_parallel_layers != 0 ? from->max_parallel_layers : DEFAULT_LAYERS;
    to->max_layer_bytes = from->max_layer_bytes != 0 ? from->max_layer_bytes : 32 * gibibyte;
    to->max_layer_memory_bytes =
        from->max_layer_memory_bytes != 0 ? from->max_layer_memory_bytes : LAYER_DEFAULT_MEMORY_BYTES;
    to->max_layer_time_ms = from->max_layer_time_ms != 0 ? from->max_layer_time_ms : LAYER_DEFAULT_TIME_MS;
    to->max_image_bytes = from->max_image_bytes != 0 ? from->max_image_bytes : 64 * gibibyte;
    to->progress_timeout_ms = from->progress_timeout_ms != 0 ? from->progress_timeout_ms : DEFAULT_TIMEOUT_MS;
    return to;
}

static void clear_config(gpointer data)
{
    ImageServiceConfig *config = data;

    g_free((char *)config->hosts_dir);
    g_free((char *)config->auth_file);
    g_free((char *)config->architecture);
}

static void config_release(ImageServiceConfig *config)
{
    g_atomic_rc_box_release_full(config, clear_config);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageServiceConfig, config_release)

/* Return: the configuration in force, which a pull or a load keeps to its end. */
static ImageServiceConfig *config_acquire(ImageService *service)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&service->lock);

    return g_atomic_rc_box_acquire(service->config);
}

void image_service_configure(ImageService *service, const ImageServiceConfig *config)
{
    ImageServiceConfig *next = copy_config(config);
    ImageServiceConfig *old;

    g_mutex_lock(&service->lock);
    old = service->config;
    service->config = next;
    g_mutex_unlock(&service->lock);
    config_release(old);
}

ImageService *image_service_open(const ImageServiceConfig *config, GError **error)
{
    ImageService *service = g_new0(ImageService, 1);

    service->config = copy_config(config);
    service->root = g_canonicalize_filename(config->root, NULL);
    service->architecture = g_strdup(config->architecture);
    g_mutex_init(&service->publish_lock);
    g_mutex_init(&service->lock);
    g_cond_init(&service->idle);
    service->table = image_table_new();
    service->origins = layer_origins_new();
    service->store = image_store_open(config->root, config->layers_gid, error);
    if (service->store != NULL)
        service->jobs = layer_jobs_new(service->store);
    if (service->store == NULL || !read_images(service, error)) {
        image_service_close(service);
        return NULL;
    }
    return service;
}

void image_service_close(ImageService *service)
{
    if (service == NULL)
        return;
    g_mutex_lock(&service->lock);
    while (service->active > 0)
        g_cond_wait(&service->idle, &service->lock);
    g_mutex_unlock(&service->lock);
    layer_jobs_free(service->jobs);
    layer_origins_free(service->origins);
    image_store_close(service->store);
    image_table_free(service->table);
    g_mutex_clear(&service->publish_lock);
    g_mutex_clear(&service->lock);
    g_cond_clear(&service->idle);
    config_release(service->config);
    g_free(service->root);
    g_free(service->architecture);
    g_free(service);
}

/* Pulling and loading */

static gboolean is_in_store(const char *key, gpointer data)
{
    g_autoptr(ImageLayer) layer = image_store_find_layer(data, key);

    return layer != NULL;
}

/* Return: a name under which this work holds layers. */
static char *work_begin(ImageService *service)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&service->lock);

    if (service->active++ == 0) {
        image_store_tidy_ingest(service->store);
        layer_origins_prune(service->origins, is_in_store, service->store);
    }
    return g_strdup_printf("pull:%" G_GUINT64_FORMAT, ++service->last_holder);
}

/* Layers that are complete stay for the next attempt, until image_service_collect() removes them. */
static void work_end(ImageService *service, const char *holder)
{
    image_store_release(service->store, holder, NULL);
    g_mutex_lock(&service->lock);
    service->active--;
    g_cond_broadcast(&service->idle);
    g_mutex_unlock(&service->lock);
    malloc_trim(0); /* pulls need much memory, and are rare */
}

static Image *lookup_id(ImageService *service, const char *id)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&service->lock);
    Image *image = image_table_by_id(service->table, id);

    return image != NULL ? image_ref(image) : NULL;
}

static char **strv_union(char **left, char **right)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

    for (char **string = left; string != NULL && *string != NULL; string++)
        g_strv_builder_add(builder, *string);
    for (char **string = right; string != NULL && *string != NULL; string++)
        if (left == NULL || !g_strv_contains((const char *const *)left, *string))
            g_strv_builder_add(builder, *string);
    return g_strv_builder_end(builder);
}

/* The image with its new names: with the layers that it has, or with those of stored when that is whole. */
static Image *make_image(ImageService *service, const Image *old, const StoredImage *stored, GError **error)
{
    g_auto(GStrv) tags = strv_union(old != NULL ? old->tags : NULL, stored->tags);
    g_auto(GStrv) digests = strv_union(old != NULL ? old->digests : NULL, stored->digests);
    g_autoptr(Image) image = NULL;

    if (stored->config_json == NULL && old == NULL) {
        fail(error, STATUS_ABORTED, "the image was removed while it was pulled");
        return NULL;
    }
    if (stored->config_json == NULL)
        return image_renamed(old, tags, digests);
    image = image_from_store(service, stored, error);
    return image != NULL ? image_renamed(image, tags, digests) : NULL;
}

/* The layers that an image had and has no longer. */
static void drop_old_layers(ImageService *service, const Image *old)
{
    g_auto(GStrv) keys = layer_keys_of(old);

    image_store_drop_unused(service->store, (const char *const *)keys);
}

/* Records a new image, or the names of one that is there (then only id and names of stored are set). */
static Image *publish_image(ImageService *service, const StoredImage *stored, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) publishing = g_mutex_locker_new(&service->publish_lock);
    g_autoptr(Image) old = lookup_id(service, stored->id);
    g_autoptr(Image) image = make_image(service, old, stored, error);

    if (image == NULL || !image_store_put_image(service->store, stored, error))
        return NULL;
    g_mutex_lock(&service->lock);
    image_table_put(service->table, image);
    g_mutex_unlock(&service->lock);
    note_origins(service, image);
    if (old != NULL && stored->config_json != NULL)
        drop_old_layers(service, old);
    return g_steal_pointer(&image);
}

typedef struct {
    ImageService *service;
    const char *holder;
    const Reference *reference;
} KnownQuery;

/* A registry of which the image has a name has shown that it has the image. */
static gboolean name_is_of_registry(const char *name, gconstpointer domain)
{
    gsize length = strlen(domain);

    return strncmp(name, domain, length) == 0 && name[length] == '/';
}

static gboolean name_has_digest(const char *name, gconstpointer digest)
{
    const char *at = strrchr(name, '@');

    return at != NULL && g_str_equal(at + 1, digest);
}

static void hold_image(ImageService *service, const char *holder, const Image *image)
{
    g_auto(GStrv) keys = layer_keys_of(image);

    image_store_hold(service->store, holder, (const char *const *)keys);
}

/* Whether all of the image's layers are as this version makes them; otherwise a pull makes them anew. */
static gboolean is_current(ImageService *service, const Image *image)
{
    g_auto(GStrv) keys = layer_keys_of(image);

    return image_store_has_current(service->store, (const char *const *)keys);
}

/* An image that names no architecture is for every one. */
static gboolean is_for_this_architecture(const ImageService *service, const Image *image)
{
    return image->architecture == NULL || g_strcmp0(image->architecture, service->architecture) == 0;
}

/* A manifest's digest stands for one image of a platform, whatever repository of the registry it came from.
 * Another registry's word that it has the manifest is not enough, because nothing shows that it has the
 * layers. */
static gboolean is_known(const char *digest, char **ret_id, gpointer data)
{
    const KnownQuery *query = data;
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&query->service->lock);
    g_autoptr(GPtrArray) images = image_table_list(query->service->table);

    for (guint i = 0; i < images->len; i++) {
        const Image *image = g_ptr_array_index(images, i);

        if (!any_name(image, name_has_digest, digest) ||
            !any_name(image, name_is_of_registry, query->reference->domain) ||
            !is_for_this_architecture(query->service, image) || !is_current(query->service, image))
            continue;
        hold_image(query->service, query->holder, image);
        *ret_id = g_strdup(image->id);
        return TRUE;
    }
    return FALSE;
}

/* The names that a pull gives: by tag the tag and what it is now, by digest only that. */
static void set_names(StoredImage *stored, const Reference *reference, const char *digest)
{
    g_autofree char *name = reference_to_string(reference);
    g_autofree char *by_digest = reference_with_digest(reference, digest);
    const char *const tags[] = {reference->tag != NULL ? name : NULL, NULL};
    const char *const digests[] = {by_digest, NULL};

    stored->tags = g_strdupv((char **)tags);
    stored->digests = g_strdupv((char **)digests);
}

static Image *pull_and_publish(ImageService *service, const PullContext *context, const PullRequest *request,
                               const Deadline *deadline, GError **error)
{
    g_auto(PullResult) result = {NULL};

    if (!pull_image(context, request, deadline, &result, error))
        return NULL;
    if (result.image == NULL) {
        result.image = g_new0(StoredImage, 1);
        result.image->id = g_steal_pointer(&result.known_id);
    }
    set_names(result.image, request->reference, result.digest);
    return publish_image(service, result.image, error);
}

static Metric pull_seconds =
    METRIC_SECONDS("crivirt_image_pull_seconds",
                   "Time that image pulls took, by result: OK or the code of the error.", "result");

gboolean image_service_pull(ImageService *service, const ImagePullRequest *request, const Deadline *deadline,
                            Image **ret_image, GError **error)
{
    g_autoptr(ImageServiceConfig) config = config_acquire(service);
    g_autoptr(Reference) reference = NULL;
    g_autofree char *holder = NULL;
    g_autofree char *name = NULL;
    g_autoptr(GError) cause = NULL;
    gint64 begin_us = g_get_monotonic_time();
    Image *image;

    if (!reference_parse(request->reference, &reference, error))
        return FALSE;
    name = reference_to_string(reference);
    holder = work_begin(service);
    PullContext context = {config, service->store, service->jobs, service->origins, holder};
    KnownQuery query = {service, holder, reference};
    PullRequest pull = {reference, request->auth,     is_known,
                        &query,    request->progress, request->progress_data};

    image = pull_and_publish(service, &context, &pull, deadline, &cause);
    work_end(service, holder);
    metric_observe_since(&pull_seconds, begin_us, image != NULL ? "OK" : status_name(error_status(cause)),
                         NULL);
    if (image == NULL) {
        if (strstr(cause->message, reference->repository) == NULL)
            g_prefix_error(&cause, "image %s: ", name);
        g_propagate_error(error, g_steal_pointer(&cause));
        return FALSE;
    }
    *ret_image = image;
    return TRUE;
}

static GPtrArray *load_and_publish(ImageService *service, const PullContext *context, const char *path,
                                   const Deadline *deadline, GError **error)
{
    g_autoptr(GPtrArray) images = g_ptr_array_new_with_free_func(image_free);
    g_autoptr(GPtrArray) stored = NULL;

    if (!load_images(context, path, deadline, &stored, error))
        return NULL;
    for (guint i = 0; i < stored->len; i++) {
        Image *image = publish_image(service, g_ptr_array_index(stored, i), error);

        if (image == NULL)
            return NULL;
        g_ptr_array_add(images, image);
    }
    return g_steal_pointer(&images);
}

gboolean image_service_load(ImageService *service, const char *path, const Deadline *deadline,
                            GPtrArray **ret_images, GError **error)
{
    g_autofree char *holder = work_begin(service);
    g_autoptr(ImageServiceConfig) config = config_acquire(service);
    PullContext context = {config, service->store, service->jobs, service->origins, holder};
    GPtrArray *images = load_and_publish(service, &context, path, deadline, error);

    work_end(service, holder);
    if (images == NULL)
        return FALSE;
    *ret_images = images;
    return TRUE;
}

/* Finding */

/* full_name: the name as a reference, NULL when it is none. *ret_image may be NULL. */
static gboolean look_up(ImageService *service, const char *name, const char *full_name, Image **ret_image,
                        GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&service->lock);
    Image *image = full_name != NULL ? image_table_by_name(service->table, full_name) : NULL;

    if (image == NULL)
        image = image_table_by_id(service->table, name);
    if (image == NULL && !image_table_by_prefix(service->table, name, &image, error))
        return FALSE;
    *ret_image = image != NULL ? image_ref(image) : NULL;
    return TRUE;
}

Image *image_service_find(ImageService *service, const char *name, GError **error)
{
    g_autoptr(Reference) reference = NULL;
    g_autofree char *full_name = NULL;
    Image *image = NULL;

    /* An id in full is no reference, and what is neither cannot be here. */
    if (reference_parse(name, &reference, NULL))
        full_name = reference_to_string(reference);
    return look_up(service, name, full_name, &image, error) ? image : NULL;
}

GPtrArray *image_service_list(ImageService *service)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&service->lock);

    return image_table_list(service->table);
}

/* Removing and keeping */

gboolean image_service_remove(ImageService *service, const char *name, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) publishing = g_mutex_locker_new(&service->publish_lock);
    g_autoptr(GError) cause = NULL;
    g_autoptr(Image) image = image_service_find(service, name, &cause);

    if (cause != NULL) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return FALSE;
    }
    if (image == NULL)
        return TRUE;
    if (!image_store_remove_image(service->store, image->id, error))
        return FALSE;
    g_mutex_lock(&service->lock);
    image_table_remove(service->table, image);
    g_mutex_unlock(&service->lock);
    drop_old_layers(service, image);
    return TRUE;
}

static char *pin_holder(const char *owner)
{
    return g_strconcat("pin:", owner, NULL);
}

void image_service_pin(ImageService *service, const char *owner, Image *image)
{
    g_autofree char *holder = pin_holder(owner);

    hold_image(service, holder, image);
}

void image_service_unpin(ImageService *service, const char *owner)
{
    g_autofree char *holder = pin_holder(owner);
    g_auto(GStrv) keys = NULL;

    image_store_release(service->store, holder, &keys);
    if (keys[0] != NULL)
        image_store_drop_unused(service->store, (const char *const *)keys);
}

gboolean image_service_pin_layers(ImageService *service, const char *owner, const char *const *keys,
                                  GPtrArray **ret_layers, GError **error)
{
    g_autofree char *holder = pin_holder(owner);
    GPtrArray *layers;

    image_store_hold(service->store, holder, keys);
    layers = find_layers(service->store, keys, error);
    if (layers == NULL) {
        image_store_release(service->store, holder, NULL);
        return FALSE;
    }
    *ret_layers = layers;
    return TRUE;
}

void image_service_collect(ImageService *service)
{
    image_store_drop_unused(service->store, NULL);
}

gboolean image_service_fs_usage(ImageService *service, ImageFsUsage *ret_usage, G_GNUC_UNUSED GError **error)
{
    ret_usage->mountpoint = g_strdup(service->root);
    image_store_usage(service->store, &ret_usage->used_bytes, &ret_usage->inodes_used);
    return TRUE;
}

gboolean image_service_check_credentials(ImageService *service, const char *registry,
                                         const RegistryAuth *auth, const Deadline *deadline, GError **error)
{
    g_autoptr(ImageServiceConfig) in_force = config_acquire(service);
    const RegistryConfig config = {.hosts_dir = in_force->hosts_dir,
                                   .progress_timeout_ms = in_force->progress_timeout_ms};
    g_autofree char *probe = g_strconcat(registry, "/probe", NULL);
    g_autoptr(Reference) reference = NULL;

    /* A name without a dot or a port is the first part of a repository on docker.io. */
    if (!reference_parse(probe, &reference, NULL) || !g_str_equal(reference->repository, "probe"))
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "\"%.200s\" is not the name of a registry, such as host:5000", registry);
    return registry_check_credentials(&config, reference->domain, auth, deadline, error);
}

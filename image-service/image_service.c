/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/image_service.h"

#include <malloc.h>
#include <string.h>

#include "common/error.h"
#include "common/log.h"
#include "common/metrics.h"
#include "image-service/content/digest.h"
#include "image-service/image.h"
#include "image-service/load.h"
#include "image-service/pull.h"

enum { MIN_PREFIX_DIGITS = 3 };

struct ImageService {
    ImageServiceConfig config; /* its strings are our own */
    ImageStore *store;
    LayerJobs *jobs;
    GMutex publish_lock; /* before lock: the store and the tables change together */
    GMutex lock;
    GCond idle;
    GHashTable *images; /* id to Image */
    GHashTable *names;  /* tag or digest reference to id */
    guint active;       /* pulls and loads */
    guint64 last_holder;
};

/* Tables */

static gboolean strv_has(char **strings, const char *string)
{
    return g_strv_contains((const char *const *)strings, string);
}

static char **strv_without(char **strings, const char *string)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

    for (; *strings != NULL; strings++)
        if (!g_str_equal(*strings, string))
            g_strv_builder_add(builder, *strings);
    return g_strv_builder_end(builder);
}

static char **strv_union(char **left, char **right)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

    for (char **string = left; string != NULL && *string != NULL; string++)
        g_strv_builder_add(builder, *string);
    for (char **string = right; string != NULL && *string != NULL; string++)
        if (left == NULL || !strv_has(left, *string))
            g_strv_builder_add(builder, *string);
    return g_strv_builder_end(builder);
}

/* Takes the image. With the lock held, as all of these. */
static void table_put(ImageService *service, Image *image)
{
    for (char **tag = image->tags; *tag != NULL; tag++)
        g_hash_table_replace(service->names, g_strdup(*tag), g_strdup(image->id));
    for (char **digest = image->digests; *digest != NULL; digest++)
        g_hash_table_replace(service->names, g_strdup(*digest), g_strdup(image->id));
    g_hash_table_replace(service->images, image->id, image);
}

/* A name has moved: the image that had it goes on without. */
static void table_take_name(ImageService *service, const char *name, const char *new_id)
{
    const char *old_id = g_hash_table_lookup(service->names, name);
    const Image *old = old_id != NULL ? g_hash_table_lookup(service->images, old_id) : NULL;
    g_auto(GStrv) tags = NULL;
    g_auto(GStrv) digests = NULL;

    if (old == NULL || g_str_equal(old_id, new_id))
        return;
    tags = strv_without(old->tags, name);
    digests = strv_without(old->digests, name);
    table_put(service, image_renamed(old, tags, digests));
}

static void table_remove(ImageService *service, const Image *image)
{
    for (char **tag = image->tags; *tag != NULL; tag++)
        g_hash_table_remove(service->names, *tag);
    for (char **digest = image->digests; *digest != NULL; digest++)
        g_hash_table_remove(service->names, *digest);
    g_hash_table_remove(service->images, image->id);
}

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
static GPtrArray *find_layers(ImageStore *store, const char *const *diff_ids, GError **error)
{
    g_autoptr(GPtrArray) layers = g_ptr_array_new_with_free_func(layer_free);

    for (; *diff_ids != NULL; diff_ids++) {
        ImageLayer *layer = image_store_find_layer(store, *diff_ids);

        if (layer == NULL) {
            fail(error, STATUS_INTERNAL, "the file of layer %s is missing", *diff_ids);
            return NULL;
        }
        g_ptr_array_add(layers, layer);
    }
    return g_steal_pointer(&layers);
}

static Image *image_from_store(ImageService *service, const StoredImage *stored, GError **error)
{
    g_autoptr(GPtrArray) layers = find_layers(service->store, (const char *const *)stored->diff_ids, error);

    return layers != NULL ? image_new(stored, layers, error) : NULL;
}

static gboolean read_images(ImageService *service, GError **error)
{
    g_autoptr(GPtrArray) stored = NULL;

    if (!image_store_images(service->store, &stored, error))
        return FALSE;
    for (guint i = 0; i < stored->len; i++) {
        const StoredImage *record = g_ptr_array_index(stored, i);
        g_autoptr(GError) cause = NULL;
        Image *image = image_from_store(service, record, &cause);

        /* Stays in the store, for a program that understands it. */
        if (image == NULL)
            log_warning(LOG_FIELDS("image", record->id), "an image is left out: %s", cause->message);
        else
            table_put(service, image);
    }
    return TRUE;
}

static void copy_config(ImageServiceConfig *to, const ImageServiceConfig *from)
{
    enum { DEFAULT_LAYERS = 3, DEFAULT_TIMEOUT_MS = 60000 };
    const guint64 gibibyte = 1ULL << 30;

    *to = *from;
    to->root = g_canonicalize_filename(from->root, NULL);
    to->hosts_dir = g_strdup(from->hosts_dir);
    to->auth_file = g_strdup(from->auth_file);
    to->architecture = g_strdup(from->architecture);
    to->max_parallel_layers = from->max_parallel_layers != 0 ? from->max_parallel_layers : DEFAULT_LAYERS;
    to->max_layer_bytes = from->max_layer_bytes != 0 ? from->max_layer_bytes : 32 * gibibyte;
    to->max_image_bytes = from->max_image_bytes != 0 ? from->max_image_bytes : 64 * gibibyte;
    to->progress_timeout_ms = from->progress_timeout_ms != 0 ? from->progress_timeout_ms : DEFAULT_TIMEOUT_MS;
}

ImageService *image_service_open(const ImageServiceConfig *config, GError **error)
{
    ImageService *service = g_new0(ImageService, 1);

    copy_config(&service->config, config);
    g_mutex_init(&service->publish_lock);
    g_mutex_init(&service->lock);
    g_cond_init(&service->idle);
    service->images = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, image_free);
    service->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    service->store = image_store_open(config->root, error);
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
    image_store_close(service->store);
    g_hash_table_unref(service->images);
    g_hash_table_unref(service->names);
    g_mutex_clear(&service->publish_lock);
    g_mutex_clear(&service->lock);
    g_cond_clear(&service->idle);
    g_free((char *)service->config.root);
    g_free((char *)service->config.hosts_dir);
    g_free((char *)service->config.auth_file);
    g_free((char *)service->config.architecture);
    g_free(service);
}

/* Pulling and loading */

/* A name under which this work holds layers. */
static char *work_begin(ImageService *service)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&service->lock);

    if (service->active++ == 0)
        image_store_tidy_ingest(service->store);
    return g_strdup_printf("pull:%" G_GUINT64_FORMAT, ++service->last_holder);
}

/* Layers that are complete stay for the next attempt, until image_service_collect(). */
static void work_end(ImageService *service, const char *holder)
{
    image_store_release(service->store, holder, NULL);
    g_mutex_lock(&service->lock);
    service->active--;
    g_cond_broadcast(&service->idle);
    g_mutex_unlock(&service->lock);
    malloc_trim(0); /* pulls need much, and seldom */
}

static void publish_in_tables(ImageService *service, Image *image)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&service->lock);

    for (char **tag = image->tags; *tag != NULL; tag++)
        table_take_name(service, *tag, image->id);
    for (char **digest = image->digests; *digest != NULL; digest++)
        table_take_name(service, *digest, image->id);
    table_put(service, image_ref(image));
}

static Image *lookup_id(ImageService *service, const char *id)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&service->lock);
    Image *image = g_hash_table_lookup(service->images, id);

    return image != NULL ? image_ref(image) : NULL;
}

/* Records a new image, or the names of one that is there (then only id and names of stored are used). */
static Image *publish(ImageService *service, const StoredImage *stored, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) publishing = g_mutex_locker_new(&service->publish_lock);
    g_autoptr(Image) old = lookup_id(service, stored->id);
    g_autoptr(Image) image = NULL;

    if (old != NULL) {
        g_auto(GStrv) tags = strv_union(old->tags, stored->tags);
        g_auto(GStrv) digests = strv_union(old->digests, stored->digests);

        image = image_renamed(old, tags, digests);
    } else if (stored->config_json != NULL) {
        image = image_from_store(service, stored, error);
    } else {
        fail(error, STATUS_ABORTED, "the image was removed while it was pulled");
    }
    if (image == NULL || !image_store_put_image(service->store, stored, error))
        return NULL;
    publish_in_tables(service, image);
    return g_steal_pointer(&image);
}

typedef struct {
    ImageService *service;
    const char *holder;
} KnownQuery;

static gboolean has_digest(const Image *image, const char *digest)
{
    for (char **name = image->digests; *name != NULL; name++) {
        const char *at = strrchr(*name, '@');

        if (at != NULL && g_str_equal(at + 1, digest))
            return TRUE;
    }
    return FALSE;
}

static void hold_image(ImageService *service, const char *holder, const Image *image)
{
    g_autoptr(GStrvBuilder) diff_ids = g_strv_builder_new();
    g_auto(GStrv) list = NULL;

    for (guint i = 0; i < image->layers->len; i++)
        g_strv_builder_add(diff_ids, ((const ImageLayer *)g_ptr_array_index(image->layers, i))->diff_id);
    list = g_strv_builder_end(diff_ids);
    image_store_hold(service->store, holder, (const char *const *)list);
}

/* A manifest's digest stands for one image of a platform, whatever repository it came from. */
static gboolean is_known(const char *digest, char **ret_id, gpointer data)
{
    const KnownQuery *query = data;
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&query->service->lock);
    GHashTableIter iterator;
    gpointer value;

    g_hash_table_iter_init(&iterator, query->service->images);
    while (g_hash_table_iter_next(&iterator, NULL, &value)) {
        const Image *image = value;

        if (!has_digest(image, digest) ||
            g_strcmp0(image->architecture, query->service->config.architecture) != 0)
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

static Image *pull_and_publish(ImageService *service, const PullContext *context, const Reference *reference,
                               const RegistryAuth *auth, const Deadline *deadline, ImageProgressFunc progress,
                               gpointer data, GError **error)
{
    KnownQuery query = {service, context->holder};
    g_autoptr(StoredImage) stored = NULL;
    g_autofree char *digest = NULL;
    g_autofree char *known_id = NULL;

    if (!pull_image(context, reference, auth, deadline, is_known, &query, progress, data, &digest, &known_id,
                    &stored, error))
        return NULL;
    if (stored == NULL) {
        stored = g_new0(StoredImage, 1);
        stored->id = g_steal_pointer(&known_id);
    }
    set_names(stored, reference, digest);
    return publish(service, stored, error);
}

static Metric pull_seconds = METRIC_SECONDS("crivirt_image_pull_seconds", "What pulls take.", "result");

gboolean image_service_pull(ImageService *service, const char *reference, const RegistryAuth *auth,
                            const Deadline *deadline, ImageProgressFunc progress, gpointer data,
                            Image **ret_image, GError **error)
{
    g_autoptr(Reference) parsed = NULL;
    g_autofree char *holder = NULL;
    g_autofree char *name = NULL;
    g_autoptr(GError) cause = NULL;
    gint64 begin_us = g_get_monotonic_time();
    Image *image;

    if (!reference_parse(reference, &parsed, error))
        return FALSE;
    name = reference_to_string(parsed);
    holder = work_begin(service);
    PullContext context = {&service->config, service->store, service->jobs, holder};

    image = pull_and_publish(service, &context, parsed, auth, deadline, progress, data, &cause);
    work_end(service, holder);
    metric_observe_since(&pull_seconds, begin_us, image != NULL ? "ok" : "failed", NULL);
    if (image == NULL) {
        if (strstr(cause->message, parsed->repository) == NULL)
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
        Image *image = publish(service, g_ptr_array_index(stored, i), error);

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
    PullContext context = {&service->config, service->store, service->jobs, holder};
    GPtrArray *images = load_and_publish(service, &context, path, deadline, error);

    work_end(service, holder);
    if (images == NULL)
        return FALSE;
    *ret_images = images;
    return TRUE;
}

/* Finding */

static gboolean is_hex(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789abcdef")] == '\0';
}

/* With the lock held. FALSE with an error when several images begin so. */
static gboolean find_by_prefix(ImageService *service, const char *name, Image **ret_image, GError **error)
{
    const char *digits = g_str_has_prefix(name, "sha256:") ? name + strlen("sha256:") : name;
    GHashTableIter iterator;
    gpointer id;
    gpointer image;
    Image *found = NULL;

    if (strlen(digits) < MIN_PREFIX_DIGITS || !is_hex(digits))
        return TRUE;
    g_hash_table_iter_init(&iterator, service->images);
    while (g_hash_table_iter_next(&iterator, &id, &image)) {
        if (!g_str_has_prefix(strchr(id, ':') + 1, digits))
            continue;
        if (found != NULL)
            return fail(error, STATUS_INVALID_ARGUMENT, "several images have an id that begins with \"%s\"",
                        name);
        found = image;
    }
    *ret_image = found;
    return TRUE;
}

/* full_name: the name as a reference, NULL when it is none. *ret_image may be NULL. */
static gboolean look_up(ImageService *service, const char *name, const char *full_name, Image **ret_image,
                        GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&service->lock);
    const char *id = full_name != NULL ? g_hash_table_lookup(service->names, full_name) : NULL;
    Image *image = g_hash_table_lookup(service->images, id != NULL ? id : name);

    if (image == NULL && !find_by_prefix(service, name, &image, error))
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
    GPtrArray *list = g_ptr_array_new_with_free_func(image_free);
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&service->lock);
    GHashTableIter iterator;
    gpointer image;

    g_hash_table_iter_init(&iterator, service->images);
    while (g_hash_table_iter_next(&iterator, NULL, &image))
        g_ptr_array_add(list, image_ref(image));
    return list;
}

/* Removing and keeping */

static void drop_layers_of(ImageService *service, const Image *image)
{
    g_autoptr(GStrvBuilder) diff_ids = g_strv_builder_new();
    g_auto(GStrv) list = NULL;

    for (guint i = 0; i < image->layers->len; i++)
        g_strv_builder_add(diff_ids, ((const ImageLayer *)g_ptr_array_index(image->layers, i))->diff_id);
    list = g_strv_builder_end(diff_ids);
    image_store_drop_unused(service->store, (const char *const *)list);
}

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
    table_remove(service, image);
    g_mutex_unlock(&service->lock);
    drop_layers_of(service, image);
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
    g_auto(GStrv) diff_ids = NULL;

    image_store_release(service->store, holder, &diff_ids);
    if (diff_ids[0] != NULL)
        image_store_drop_unused(service->store, (const char *const *)diff_ids);
}

gboolean image_service_pin_layers(ImageService *service, const char *owner, const char *const *diff_ids,
                                  GPtrArray **ret_layers, GError **error)
{
    g_autofree char *holder = pin_holder(owner);
    GPtrArray *layers;

    image_store_hold(service->store, holder, diff_ids);
    layers = find_layers(service->store, diff_ids, error);
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
    ret_usage->mountpoint = g_strdup(service->config.root);
    image_store_usage(service->store, &ret_usage->used_bytes, &ret_usage->inodes_used);
    return TRUE;
}

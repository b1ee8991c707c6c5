/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/pull.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/error.h"
#include "common/metrics.h"
#include "common/spans.h"
#include "common/string_table.h"
#include "image-service/content/chain_id.h"
#include "image-service/registry/registry.h"

enum { DEFAULT_PARALLEL_LAYERS = 3 };

/* What the threads of one pull share. */
typedef struct {
    const PullContext *context;
    const PullRequest *request;
    RegistryClient *client;
    const RegistryImage *image;
    char **chain_ids;
    GPtrArray *layers; /* LayerPull, lowest first */
    Deadline deadline; /* the caller's, and cancelled when one layer has failed */
    SpanContext span;  /* of the call */
    GMutex lock;       /* for what follows, and around progress() */
    GArray *queue;     /* guint: layers to read, the largest first */
    guint next;
    guint64 waiting_bytes;  /* memory of the layers that wait for those below */
    GError *error;          /* the first one */
    GMutex finish_lock;     /* for what follows; before lock */
    GPtrArray *finished;    /* ImageLayer: the lowest layers, which are in the store */
    guint64 unpacked_bytes; /* of these */
} Pull;

/* One layer. While it is taken its job belongs to the thread that reads it, then to the holder of
 * finish_lock. */
typedef struct {
    Pull *pull;
    const Descriptor *blob;
    const char *chain_id;
    char *partial; /* where its blob arrives; set once it is this pull that gets it */
    LayerJob *job;
    gboolean is_taken;     /* with the pull's lock held: a thread reads it, or will */
    guint64 waiting_bytes; /* its part of the pull's */
} LayerPull;

static void report_progress(Pull *pull, const Descriptor *blob, ImageProgressState state, guint64 done_bytes)
{
    ImageProgress progress = {blob->digest, state, done_bytes, blob->size_bytes};

    if (pull->request->progress == NULL)
        return;
    g_mutex_lock(&pull->lock);
    pull->request->progress(&progress, pull->request->progress_data);
    g_mutex_unlock(&pull->lock);
}

static void on_downloading(guint64 done_bytes, gpointer data)
{
    const LayerPull *layer = data;

    report_progress(layer->pull, layer->blob, IMAGE_PROGRESS_DOWNLOADING, done_bytes);
}

static void on_unpacking(guint64 done_bytes, gpointer data)
{
    const LayerPull *layer = data;

    report_progress(layer->pull, layer->blob, IMAGE_PROGRESS_UNPACKING, done_bytes);
}

/* The file's name holds both ids, so that an image that lies about one of them cannot spoil the download of
 * another image, and its repository, because what a download has left is for that repository only. */
static char *partial_path(const LayerPull *layer)
{
    enum { REPOSITORY_DIGITS = 32 };
    g_autofree char *repository = reference_name(layer->pull->request->reference);
    g_autofree char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, repository, -1);
    g_autofree char *name =
        g_strdup_printf("%s+%s+%.*s", layer->blob->digest, layer->chain_id, REPOSITORY_DIGITS, hash);

    return image_store_ingest_path(layer->pull->context->store, name);
}

static void trace_layer(const LayerPull *layer, const char *step, gint64 begin_us)
{
    const SpanNote note = {(char *)"crivirt.layer.digest", layer->blob->digest};

    span_add_part(&layer->pull->span, step, &note, begin_us);
}

static gboolean fetch_blob(gpointer data, const Deadline *deadline, int *ret_fd, GError **error)
{
    LayerPull *layer = data;
    const gint64 begin_us = g_get_monotonic_time();
    g_autofree char *path = partial_path(layer);
    BlobTarget target = {open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), on_downloading, layer};

    if (target.fd < 0)
        return fail_errno(error, errno, "cannot create %s", path);
    layer->partial = g_steal_pointer(&path);
    report_progress(layer->pull, layer->blob, IMAGE_PROGRESS_DOWNLOADING, 0);
    if (!registry_fetch_blob(layer->pull->client, layer->blob, &target, deadline, error)) {
        close(target.fd);
        return FALSE;
    }
    trace_layer(layer, "download", begin_us);
    if (lseek(target.fd, 0, SEEK_SET) != 0) {
        close(target.fd);
        return fail_errno(error, errno, "cannot rewind %s", layer->partial);
    }
    *ret_fd = target.fd;
    return TRUE;
}

static void have_layer(gpointer data, const char *key)
{
    const LayerPull *layer = data;
    const Pull *pull = layer->pull;

    layer_origins_add(pull->context->origins, key, pull->request->reference, layer->blob->digest);
}

static gboolean may_share_layer(gpointer data, const char *key, const Deadline *deadline)
{
    LayerPull *layer = data;
    const Pull *pull = layer->pull;
    LayerOrigins *origins = pull->context->origins;

    if (layer_origins_has_repository(origins, key, pull->request->reference))
        return TRUE;
    if (!layer_origins_has_blob(origins, key, pull->request->reference, layer->blob->digest) ||
        !registry_has_blob(pull->client, layer->blob, deadline))
        return FALSE;
    have_layer(layer, key);
    return TRUE;
}

/* Whether what has arrived is worth keeping for the next attempt. */
static gboolean may_resume(const GError *error)
{
    StatusCode status = error_status(error);

    return status == STATUS_UNAVAILABLE || status == STATUS_DEADLINE_EXCEEDED || status == STATUS_CANCELLED;
}

/* The end of a step of a layer: its partial blob is removed when it is read, or useless. */
static gboolean end_step(LayerPull *layer, gboolean done, GError *cause, GError **error)
{
    if (layer->partial != NULL && (done || !may_resume(cause)))
        unlink(layer->partial);
    g_clear_pointer(&layer->partial, g_free);
    if (!done)
        g_propagate_prefixed_error(error, cause, "layer %s: ", layer->blob->digest);
    return done;
}

/* The layer waits for those below with that much memory; 0: no longer. */
static void note_waiting(LayerPull *layer, guint64 bytes)
{
    Pull *pull = layer->pull;

    g_mutex_lock(&pull->lock);
    pull->waiting_bytes += bytes;
    pull->waiting_bytes -= layer->waiting_bytes;
    layer->waiting_bytes = bytes;
    g_mutex_unlock(&pull->lock);
}

static Metric pulled_layers =
    METRIC_COUNTER("crivirt_image_layers_total",
                   "Layers of pulled images, by outcome: existed on the node, downloaded.", "outcome");
static Metric pulled_bytes = METRIC_COUNTER("crivirt_image_layer_bytes_total",
                                            "Compressed bytes of these layers, by outcome.", "outcome");

static void count_layer(const LayerPull *layer, gboolean existed)
{
    const char *outcome = existed ? "existed" : "downloaded";

    metric_add(&pulled_layers, 1, outcome, NULL);
    metric_add(&pulled_bytes, (double)layer->blob->size_bytes, outcome, NULL);
}

/* With finish_lock held. */
static gboolean finish_layer(Pull *pull, LayerPull *layer, GError **error)
{
    guint64 limit = pull->context->config->max_image_bytes;
    ImageLayer *made = NULL;
    GError *cause = NULL;
    gboolean done = layer_job_finish(layer->job, pull->finished, &pull->deadline, &made, &cause);

    note_waiting(layer, 0);
    if (!end_step(layer, done, cause, error))
        return FALSE;
    g_ptr_array_add(pull->finished, made);
    pull->unpacked_bytes += made->size_bytes;
    if (pull->unpacked_bytes > limit)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "the image is larger than %" G_GUINT64_FORMAT " bytes unpacked (images.max_image_size)",
                    limit);
    count_layer(layer, layer_job_existed(layer->job));
    report_progress(pull, layer->blob,
                    layer_job_existed(layer->job) ? IMAGE_PROGRESS_EXISTS : IMAGE_PROGRESS_DONE,
                    layer->blob->size_bytes);
    return TRUE;
}

static gboolean is_being_read(Pull *pull, const LayerPull *layer)
{
    gboolean is_taken;

    g_mutex_lock(&pull->lock);
    is_taken = layer->is_taken;
    g_mutex_unlock(&pull->lock);
    return is_taken;
}

/* Finishes the layers that can be, from the lowest up. may_wait: all of them, waiting for other pulls. */
static gboolean finish_layers(Pull *pull, gboolean may_wait, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&pull->finish_lock);

    while (pull->finished->len < pull->layers->len) {
        LayerPull *layer = g_ptr_array_index(pull->layers, pull->finished->len);

        if (!may_wait && (is_being_read(pull, layer) || !layer_job_is_read(layer->job)))
            return TRUE;
        if (!finish_layer(pull, layer, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean read_layer(Pull *pull, LayerPull *layer, GError **error)
{
    const gint64 begin_us = g_get_monotonic_time();
    GError *cause = NULL;
    gboolean done = layer_job_read(layer->job, &pull->deadline, &cause);

    trace_layer(layer, "layer", begin_us);
    done = end_step(layer, done, cause, error);
    note_waiting(layer, layer_job_memory_bytes(layer->job));
    g_mutex_lock(&pull->lock);
    layer->is_taken = FALSE;
    g_mutex_unlock(&pull->lock);
    return done && finish_layers(pull, FALSE, error);
}

/* The next layer to read beside others. None while the names of layers that wait for those below fill the
 * memory of a layer: the others are read one by one then, from the lowest up, when they are finished. */
static LayerPull *take_next(Pull *pull)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&pull->lock);

    if (pull->error != NULL || pull->next >= pull->queue->len ||
        pull->waiting_bytes > pull->context->config->max_layer_memory_bytes)
        return NULL;
    return g_ptr_array_index(pull->layers, g_array_index(pull->queue, guint, pull->next++));
}

static void note_failure(Pull *pull, GError *error)
{
    g_mutex_lock(&pull->lock);
    if (pull->error == NULL)
        pull->error = error;
    else
        g_error_free(error);
    g_mutex_unlock(&pull->lock);
    g_cancellable_cancel(pull->deadline.cancellable);
}

static gpointer layer_thread(gpointer data)
{
    Pull *pull = data;
    LayerPull *layer;

    while ((layer = take_next(pull)) != NULL) {
        GError *error = NULL;

        if (!read_layer(pull, layer, &error))
            note_failure(pull, error);
    }
    return NULL;
}

static int compare_sizes(gconstpointer a, gconstpointer b, gpointer data)
{
    const GPtrArray *layers = data;
    const LayerPull *left = g_ptr_array_index(layers, *(const guint *)a);
    const LayerPull *right = g_ptr_array_index(layers, *(const guint *)b);

    return (left->blob->size_bytes < right->blob->size_bytes) -
           (left->blob->size_bytes > right->blob->size_bytes);
}

/* Each blob once; the largest first, so that none of them is left alone at the end. A layer that comes twice
 * is looked for again, or read again, when it is finished. */
static void queue_layers(Pull *pull)
{
    g_autoptr(GHashTable) seen = string_table_new(NULL, NULL);

    pull->queue = g_array_new(FALSE, FALSE, sizeof(guint));
    for (guint i = 0; i < pull->layers->len; i++)
        if (g_hash_table_add(seen, pull->image->config->diff_ids[i])) {
            ((LayerPull *)g_ptr_array_index(pull->layers, i))->is_taken = TRUE;
            g_array_append_val(pull->queue, i);
        }
    g_array_sort_with_data(pull->queue, compare_sizes, pull->layers);
}

static void layer_pull_free(gpointer data)
{
    LayerPull *layer = data;

    layer_job_free(layer->job);
    g_free(layer->partial);
    g_free(layer);
}

static void add_layer(Pull *pull, guint index)
{
    const PullContext *context = pull->context;
    LayerPull *layer = g_new0(LayerPull, 1);

    layer->pull = pull;
    layer->blob = g_ptr_array_index(pull->image->manifest->layers, index);
    layer->chain_id = pull->chain_ids[index];
    LayerWanted wanted = {
        .place = {pull->image->config->diff_ids[index], layer->chain_id},
        .spec = {.diff_id = pull->image->config->diff_ids[index],
                 .media_type = layer->blob->media_type,
                 .max_bytes = context->config->max_layer_bytes,
                 .max_memory_bytes = context->config->max_layer_memory_bytes,
                 .max_time_ms = context->config->max_layer_time_ms},
        .source = {fetch_blob, on_unpacking, may_share_layer, have_layer, layer},
    };

    layer->job = layer_job_new(context->jobs, &wanted);
    g_ptr_array_add(pull->layers, layer);
    report_progress(pull, layer->blob, IMAGE_PROGRESS_WAITING, 0);
}

static void read_layers_in_threads(Pull *pull)
{
    guint count = pull->context->config->max_parallel_layers;
    g_autoptr(GPtrArray) threads = g_ptr_array_new();

    count = MIN(count != 0 ? count : DEFAULT_PARALLEL_LAYERS, pull->queue->len);
    for (guint i = 1; i < count; i++)
        g_ptr_array_add(threads, g_thread_new("pull-layer", layer_thread, pull));
    layer_thread(pull);
    for (guint i = 0; i < threads->len; i++)
        g_thread_join(g_ptr_array_index(threads, i));
}

/* A pull that will not be tried again as it was leaves nothing behind. */
static void drop_partials(Pull *pull)
{
    for (guint i = 0; i < pull->layers->len; i++) {
        g_autofree char *path = partial_path(g_ptr_array_index(pull->layers, i));

        unlink(path);
    }
}

static void cancel_pull(G_GNUC_UNUSED GCancellable *caller, gpointer data)
{
    g_cancellable_cancel(data);
}

static void run_pull(Pull *pull)
{
    GError *error = NULL;

    for (guint i = 0; i < pull->image->manifest->layers->len; i++)
        add_layer(pull, i);
    queue_layers(pull);
    read_layers_in_threads(pull);
    if (pull->error == NULL && !finish_layers(pull, TRUE, &error))
        note_failure(pull, error);
    if (pull->error != NULL && !may_resume(pull->error))
        drop_partials(pull);
}

/* *ret_keys: of the image's layers, which are in the store. */
static gboolean pull_layers(Pull *pull, const Deadline *deadline, char ***ret_keys, GError **error)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    GCancellable *caller = deadline != NULL ? deadline->cancellable : NULL;
    g_autoptr(GStrvBuilder) keys = g_strv_builder_new();
    gulong handler = 0;

    pull->deadline.at_us = deadline != NULL ? deadline->at_us : G_MAXINT64;
    pull->deadline.cancellable = cancellable;
    if (caller != NULL)
        handler = g_cancellable_connect(caller, G_CALLBACK(cancel_pull), cancellable, NULL);
    g_mutex_init(&pull->lock);
    g_mutex_init(&pull->finish_lock);
    pull->layers = g_ptr_array_new_with_free_func(layer_pull_free);
    pull->finished = g_ptr_array_new_with_free_func((GDestroyNotify)image_layer_free);
    run_pull(pull);
    g_cancellable_disconnect(caller, handler);
    for (guint i = 0; i < pull->finished->len; i++)
        g_strv_builder_add(keys, ((const ImageLayer *)g_ptr_array_index(pull->finished, i))->key);
    g_array_unref(pull->queue);
    g_ptr_array_unref(pull->layers);
    g_ptr_array_unref(pull->finished);
    g_mutex_clear(&pull->lock);
    g_mutex_clear(&pull->finish_lock);
    if (pull->error != NULL) {
        g_propagate_error(error, pull->error);
        return FALSE;
    }
    *ret_keys = g_strv_builder_end(keys);
    return TRUE;
}

static gboolean sum_sizes(const Manifest *manifest, guint64 limit, guint64 *ret_bytes, GError **error)
{
    guint64 bytes = manifest->config->size_bytes;

    for (guint i = 0; i < manifest->layers->len; i++) {
        const Descriptor *blob = g_ptr_array_index(manifest->layers, i);

        if (blob->size_bytes > limit || bytes > limit)
            return fail(error, STATUS_RESOURCE_EXHAUSTED,
                        "the image is larger than %" G_GUINT64_FORMAT " bytes (images.max_image_size)",
                        limit);
        bytes += blob->size_bytes;
    }
    *ret_bytes = bytes;
    return TRUE;
}

static gboolean pull_new(Pull *pull, const Descriptor *resolved, const Deadline *deadline,
                         StoredImage **ret_image, GError **error)
{
    const PullContext *context = pull->context;
    Platform platform = {.architecture = context->config->architecture};
    g_autoptr(RegistryImage) image = NULL;
    g_autoptr(StoredImage) stored = g_new0(StoredImage, 1);
    const gint64 begin_us = g_get_monotonic_time();
    g_auto(GStrv) chain_ids = NULL;

    if (!registry_fetch_image(pull->client, resolved, &platform, deadline, &image, error))
        return FALSE;
    span_add_part(&pull->span, "manifest", NULL, begin_us);
    if (!sum_sizes(image->manifest, context->config->max_image_bytes, &stored->size_bytes, error))
        return FALSE;
    chain_ids = chain_ids_of((const char *const *)image->config->diff_ids);
    image_store_hold(context->store, context->holder, (const char *const *)image->config->diff_ids);
    image_store_hold(context->store, context->holder, (const char *const *)chain_ids);
    pull->image = image;
    pull->chain_ids = chain_ids;
    if (!pull_layers(pull, deadline, &stored->layer_keys, error))
        return FALSE;
    stored->id = g_strdup(image->manifest->config->digest);
    stored->config_json = g_strdup(image->config_json);
    stored->pulled_at_ns = g_get_real_time() * 1000;
    *ret_image = g_steal_pointer(&stored);
    return TRUE;
}

void pull_result_clear(PullResult *result)
{
    g_clear_pointer(&result->digest, g_free);
    g_clear_pointer(&result->known_id, g_free);
    g_clear_pointer(&result->image, stored_image_free);
}

gboolean pull_image(const PullContext *context, const PullRequest *request, const Deadline *deadline,
                    PullResult *ret_result, GError **error)
{
    RegistryConfig config = {.hosts_dir = context->config->hosts_dir,
                             .auth_file = context->config->auth_file,
                             .progress_timeout_ms = context->config->progress_timeout_ms};
    g_autoptr(RegistryClient) client = registry_client_new(&config, request->reference, request->auth, error);
    g_autoptr(Descriptor) resolved = NULL;
    g_auto(PullResult) result = {NULL};
    Pull pull = {.context = context, .request = request, .client = client, .span = span_context()};
    const gint64 begin_us = g_get_monotonic_time();

    if (client == NULL || !registry_resolve(client, deadline, &resolved, error))
        return FALSE;
    span_add_part(&pull.span, "resolve", NULL, begin_us);
    if (request->known(resolved->digest, &result.known_id, request->known_data)) {
        /* A tag was resolved by the registry; a digest was not asked for yet. */
        if (request->reference->digest != NULL && !registry_confirm(client, deadline, error))
            return FALSE;
    } else if (!pull_new(&pull, resolved, deadline, &result.image, error)) {
        return FALSE;
    }
    result.digest = g_strdup(resolved->digest);
    ret_result->digest = g_steal_pointer(&result.digest);
    ret_result->known_id = g_steal_pointer(&result.known_id);
    ret_result->image = g_steal_pointer(&result.image);
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/pull.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "image-service/registry/registry.h"

enum { DEFAULT_PARALLEL_LAYERS = 3 };

/* What the threads of one pull share. */
typedef struct {
    const PullContext *context;
    RegistryClient *client;
    const RegistryImage *image;
    Deadline deadline; /* the caller's, and cancelled when one layer has failed */
    ImageProgressFunc progress;
    gpointer progress_data;
    GMutex lock;   /* for what follows, and around progress() */
    GArray *queue; /* guint: layers to get, the largest first */
    guint next;
    guint64 unpacked_bytes;
    GError *error; /* the first one */
} Pull;

/* One layer on its thread. */
typedef struct {
    Pull *pull;
    const Descriptor *blob;
    const char *diff_id;
    char *partial; /* where its blob arrives; set once it is this pull that gets it */
} LayerPull;

static void report(Pull *pull, const Descriptor *blob, ImageProgressState state, guint64 done_bytes)
{
    ImageProgress progress = {blob->digest, state, done_bytes, blob->size_bytes};

    if (pull->progress == NULL)
        return;
    g_mutex_lock(&pull->lock);
    pull->progress(&progress, pull->progress_data);
    g_mutex_unlock(&pull->lock);
}

static void on_downloading(guint64 done_bytes, gpointer data)
{
    const LayerPull *layer = data;

    report(layer->pull, layer->blob, IMAGE_PROGRESS_DOWNLOADING, done_bytes);
}

static void on_unpacking(guint64 done_bytes, gpointer data)
{
    const LayerPull *layer = data;

    report(layer->pull, layer->blob, IMAGE_PROGRESS_UNPACKING, done_bytes);
}

/* The file's name holds both digests: one that lies about the other cannot spoil somebody else's download. */
static char *partial_path(const LayerPull *layer)
{
    g_autofree char *name = g_strdup_printf("%s+%s", layer->blob->digest, layer->diff_id);

    return image_store_ingest_path(layer->pull->context->store, name);
}

static gboolean fetch(gpointer data, const Deadline *deadline, int *ret_fd, GError **error)
{
    LayerPull *layer = data;
    g_autofree char *path = partial_path(layer);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0)
        return fail_errno(error, errno, "cannot create %s", path);
    layer->partial = g_steal_pointer(&path);
    BlobTarget target = {fd, on_downloading, layer};

    report(layer->pull, layer->blob, IMAGE_PROGRESS_DOWNLOADING, 0);
    if (!registry_fetch_blob(layer->pull->client, layer->blob, &target, deadline, error)) {
        close(fd);
        return FALSE;
    }
    if (lseek(fd, 0, SEEK_SET) != 0) {
        close(fd);
        return fail_errno(error, errno, "cannot rewind %s", layer->partial);
    }
    *ret_fd = fd;
    return TRUE;
}

/* Whether what has arrived is worth keeping for the next attempt. */
static gboolean may_resume(const GError *error)
{
    StatusCode status = error_status(error);

    return status == STATUS_UNAVAILABLE || status == STATUS_DEADLINE_EXCEEDED || status == STATUS_CANCELLED;
}

static gboolean count_unpacked(Pull *pull, guint64 bytes, GError **error)
{
    guint64 limit = pull->context->config->max_image_bytes;
    gboolean fits;

    g_mutex_lock(&pull->lock);
    pull->unpacked_bytes += bytes;
    fits = pull->unpacked_bytes <= limit;
    g_mutex_unlock(&pull->lock);
    return fits || fail(error, STATUS_RESOURCE_EXHAUSTED,
                        "the image is larger than %" G_GUINT64_FORMAT " bytes unpacked", limit);
}

static gboolean ensure_layer(LayerPull *layer, ImageLayer **ret_layer, gboolean *ret_existed, GError **error)
{
    const PullContext *context = layer->pull->context;
    LayerSpec spec = {.diff_id = layer->diff_id,
                      .media_type = layer->blob->media_type,
                      .max_bytes = context->config->max_layer_bytes};
    LayerSource source = {fetch, on_unpacking, layer};
    g_autoptr(GError) cause = NULL;
    gboolean done = layer_jobs_ensure(context->jobs, &spec, &source, &layer->pull->deadline, ret_layer,
                                      ret_existed, &cause);

    if (layer->partial != NULL && (done || !may_resume(cause)))
        unlink(layer->partial);
    g_clear_pointer(&layer->partial, g_free);
    if (!done) {
        g_propagate_prefixed_error(error, g_steal_pointer(&cause), "layer %s: ", layer->blob->digest);
        return FALSE;
    }
    return TRUE;
}

static gboolean pull_layer(Pull *pull, guint index, GError **error)
{
    LayerPull layer = {.pull = pull,
                       .blob = g_ptr_array_index(pull->image->manifest->layers, index),
                       .diff_id = pull->image->config->diff_ids[index]};
    g_autoptr(ImageLayer) made = NULL;
    gboolean existed = FALSE;

    if (!ensure_layer(&layer, &made, &existed, error) || !count_unpacked(pull, made->size_bytes, error))
        return FALSE;
    report(pull, layer.blob, existed ? IMAGE_PROGRESS_EXISTS : IMAGE_PROGRESS_DONE, layer.blob->size_bytes);
    return TRUE;
}

static gboolean take_next(Pull *pull, guint *ret_index)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&pull->lock);

    if (pull->error != NULL || pull->next >= pull->queue->len)
        return FALSE;
    *ret_index = g_array_index(pull->queue, guint, pull->next++);
    return TRUE;
}

static void pull_failed(Pull *pull, GError *error)
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
    guint index;

    while (take_next(pull, &index)) {
        GError *error = NULL;

        if (!pull_layer(pull, index, &error))
            pull_failed(pull, error);
    }
    return NULL;
}

static int compare_sizes(gconstpointer a, gconstpointer b, gpointer data)
{
    const GPtrArray *layers = data;
    const Descriptor *left = g_ptr_array_index(layers, *(const guint *)a);
    const Descriptor *right = g_ptr_array_index(layers, *(const guint *)b);

    return (left->size_bytes < right->size_bytes) - (left->size_bytes > right->size_bytes);
}

/* Each layer once; the largest first, so that none of them is left alone at the end. */
static GArray *queue_layers(const RegistryImage *image)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    GArray *queue = g_array_new(FALSE, FALSE, sizeof(guint));

    for (guint i = 0; i < image->manifest->layers->len; i++)
        if (g_hash_table_add(seen, image->config->diff_ids[i]))
            g_array_append_val(queue, i);
    g_array_sort_with_data(queue, compare_sizes, image->manifest->layers);
    return queue;
}

static void cancel(G_GNUC_UNUSED GCancellable *caller, gpointer data)
{
    g_cancellable_cancel(data);
}

static void run_threads(Pull *pull)
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
    for (guint i = 0; i < pull->image->manifest->layers->len; i++) {
        LayerPull layer = {.pull = pull,
                           .blob = g_ptr_array_index(pull->image->manifest->layers, i),
                           .diff_id = pull->image->config->diff_ids[i]};
        g_autofree char *path = partial_path(&layer);

        unlink(path);
    }
}

static gboolean pull_layers(Pull *pull, const Deadline *deadline, GError **error)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    GCancellable *caller = deadline != NULL ? deadline->cancellable : NULL;
    gulong handler = 0;

    pull->deadline.at_us = deadline != NULL ? deadline->at_us : G_MAXINT64;
    pull->deadline.cancellable = cancellable;
    if (caller != NULL)
        handler = g_cancellable_connect(caller, G_CALLBACK(cancel), cancellable, NULL);
    g_mutex_init(&pull->lock);
    pull->queue = queue_layers(pull->image);
    for (guint i = 0; i < pull->image->manifest->layers->len; i++)
        report(pull, g_ptr_array_index(pull->image->manifest->layers, i), IMAGE_PROGRESS_WAITING, 0);
    run_threads(pull);
    g_cancellable_disconnect(caller, handler);
    g_array_unref(pull->queue);
    g_mutex_clear(&pull->lock);
    if (pull->error != NULL) {
        if (!may_resume(pull->error))
            drop_partials(pull);
        g_propagate_error(error, pull->error);
        return FALSE;
    }
    return TRUE;
}

static gboolean sum_sizes(const Manifest *manifest, guint64 limit, guint64 *ret_bytes, GError **error)
{
    guint64 bytes = manifest->config->size_bytes;

    for (guint i = 0; i < manifest->layers->len; i++) {
        const Descriptor *blob = g_ptr_array_index(manifest->layers, i);

        if (blob->size_bytes > limit || bytes > limit)
            return fail(error, STATUS_RESOURCE_EXHAUSTED,
                        "the image is larger than %" G_GUINT64_FORMAT " bytes", limit);
        bytes += blob->size_bytes;
    }
    *ret_bytes = bytes;
    return TRUE;
}

static StoredImage *stored_image(const RegistryImage *image, guint64 size_bytes)
{
    StoredImage *stored = g_new0(StoredImage, 1);

    stored->id = g_strdup(image->manifest->config->digest);
    stored->config_json = g_strdup(image->config_json);
    stored->size_bytes = size_bytes;
    stored->pulled_at_ns = g_get_real_time() * 1000;
    stored->diff_ids = g_strdupv(image->config->diff_ids);
    return stored;
}

static gboolean pull_new(const PullContext *context, RegistryClient *client, const Descriptor *resolved,
                         const Deadline *deadline, ImageProgressFunc progress, gpointer progress_data,
                         StoredImage **ret_image, GError **error)
{
    Platform platform = {.architecture = context->config->architecture};
    g_autoptr(RegistryImage) image = NULL;
    Pull pull = {.context = context, .client = client, .progress = progress, .progress_data = progress_data};
    guint64 size_bytes = 0;

    if (!registry_fetch_image(client, resolved, &platform, deadline, &image, error) ||
        !sum_sizes(image->manifest, context->config->max_image_bytes, &size_bytes, error))
        return FALSE;
    pull.image = image;
    image_store_hold(context->store, context->holder, (const char *const *)image->config->diff_ids);
    if (!pull_layers(&pull, deadline, error))
        return FALSE;
    *ret_image = stored_image(image, size_bytes);
    return TRUE;
}

gboolean pull_image(const PullContext *context, const Reference *reference, const RegistryAuth *auth,
                    const Deadline *deadline, PullKnownFunc known, gpointer known_data,
                    ImageProgressFunc progress, gpointer progress_data, char **ret_digest,
                    char **ret_known_id, StoredImage **ret_image, GError **error)
{
    RegistryConfig config = {.hosts_dir = context->config->hosts_dir,
                             .auth_file = context->config->auth_file,
                             .progress_timeout_ms = context->config->progress_timeout_ms};
    g_autoptr(RegistryClient) client = registry_client_new(&config, reference, auth, error);
    g_autoptr(Descriptor) resolved = NULL;

    if (client == NULL || !registry_resolve(client, deadline, &resolved, error))
        return FALSE;
    if (!known(resolved->digest, ret_known_id, known_data) &&
        !pull_new(context, client, resolved, deadline, progress, progress_data, ret_image, error))
        return FALSE;
    *ret_digest = g_strdup(resolved->digest);
    return TRUE;
}

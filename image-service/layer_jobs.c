/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layer_jobs.h"

#include <unistd.h>

#include "common/error.h"

enum { WAIT_STEP_MS = 100 /* cancellables cannot wake a condition */ };

struct LayerJobs {
    ImageStore *store;
    GMutex lock;
    GCond ended;
    GHashTable *running; /* diff ids that somebody works on */
};

LayerJobs *layer_jobs_new(ImageStore *store)
{
    LayerJobs *jobs = g_new0(LayerJobs, 1);

    jobs->store = store;
    g_mutex_init(&jobs->lock);
    g_cond_init(&jobs->ended);
    jobs->running = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return jobs;
}

void layer_jobs_free(LayerJobs *jobs)
{
    if (jobs == NULL)
        return;
    g_hash_table_unref(jobs->running);
    g_mutex_clear(&jobs->lock);
    g_cond_clear(&jobs->ended);
    g_free(jobs);
}

/* Either the layer is there (*ret_layer), or it is now this caller's to make (NULL). */
static gboolean claim(LayerJobs *jobs, const char *diff_id, const Deadline *deadline, ImageLayer **ret_layer,
                      GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&jobs->lock);

    for (;;) {
        *ret_layer = image_store_find_layer(jobs->store, diff_id);
        if (*ret_layer != NULL)
            return TRUE;
        if (!g_hash_table_contains(jobs->running, diff_id)) {
            g_hash_table_add(jobs->running, g_strdup(diff_id));
            return TRUE;
        }
        if (!deadline_check(deadline, "waiting for another pull of the same layer", error))
            return FALSE;
        g_cond_wait_until(&jobs->ended, &jobs->lock,
                          g_get_monotonic_time() +
                              MIN(deadline_left_ms(deadline), WAIT_STEP_MS) * G_TIME_SPAN_MILLISECOND);
    }
}

static void give_up_claim(LayerJobs *jobs, const char *diff_id)
{
    g_mutex_lock(&jobs->lock);
    g_hash_table_remove(jobs->running, diff_id);
    g_cond_broadcast(&jobs->ended);
    g_mutex_unlock(&jobs->lock);
}

static gboolean unpack(LayerJobs *jobs, const LayerSpec *spec, const LayerSource *source, int blob_fd,
                       const Deadline *deadline, GError **error)
{
    g_autofree char *path = NULL;
    int image_fd = -1;
    gboolean done;

    if (!image_store_ingest_file(jobs->store, &path, &image_fd, error))
        return FALSE;
    done = layer_write_image(blob_fd, spec, image_fd, deadline, source->unpacking, source->data, error);
    if (done)
        done = image_store_add_layer(jobs->store, spec->diff_id, path, image_fd, error);
    else
        unlink(path);
    close(image_fd);
    return done;
}

static gboolean make_layer(LayerJobs *jobs, const LayerSpec *spec, const LayerSource *source,
                           const Deadline *deadline, GError **error)
{
    int blob_fd = -1;
    gboolean done;

    if (!source->fetch(source->data, deadline, &blob_fd, error))
        return FALSE;
    done = unpack(jobs, spec, source, blob_fd, deadline, error);
    close(blob_fd);
    return done;
}

gboolean layer_jobs_ensure(LayerJobs *jobs, const LayerSpec *spec, const LayerSource *source,
                           const Deadline *deadline, ImageLayer **ret_layer, gboolean *ret_existed,
                           GError **error)
{
    g_autoptr(ImageLayer) layer = NULL;
    gboolean existed;
    gboolean done = TRUE;

    if (!claim(jobs, spec->diff_id, deadline, &layer, error))
        return FALSE;
    existed = layer != NULL;
    if (!existed) {
        done = make_layer(jobs, spec, source, deadline, error);
        give_up_claim(jobs, spec->diff_id);
        layer = image_store_find_layer(jobs->store, spec->diff_id);
    }
    if (!done)
        return FALSE;
    if (layer == NULL)
        return fail(error, STATUS_INTERNAL, "layer %s vanished", spec->diff_id);
    *ret_layer = g_steal_pointer(&layer);
    *ret_existed = existed;
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layer_jobs.h"

#include <errno.h>
#include <unistd.h>

#include "common/error.h"
#include "common/string_table.h"

struct LayerJobs {
    ImageStore *store;
    GMutex lock;
    GCond ended;
    GHashTable *running; /* chain ids that a job works on */
};

struct LayerJob {
    LayerJobs *jobs;
    LayerWanted wanted;
    char *diff_id;
    char *chain_id;
    gboolean is_claimed; /* this job works on the layer */
    gboolean existed;
    ImageLayer *layer; /* it is in the store */
    LayerDraft *draft; /* it was read and waits for the layers below */
    char *path;        /* of the draft's file */
    int fd;            /* -1: none */
};

LayerJobs *layer_jobs_new(ImageStore *store)
{
    LayerJobs *jobs = g_new0(LayerJobs, 1);

    jobs->store = store;
    g_mutex_init(&jobs->lock);
    g_cond_init(&jobs->ended);
    jobs->running = string_table_new(g_free, NULL);
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

LayerJob *layer_job_new(LayerJobs *jobs, const LayerWanted *wanted)
{
    LayerJob *job = g_new0(LayerJob, 1);

    job->jobs = jobs;
    job->wanted = *wanted;
    job->diff_id = g_strdup(wanted->place.diff_id);
    job->chain_id = g_strdup(wanted->place.chain_id);
    job->wanted.place = (LayerPlace){job->diff_id, job->chain_id};
    job->fd = -1;
    return job;
}

/* Claims */

/* Makes the layer this job's to work on, unless another job works on it. */
static void try_claim_locked(LayerJob *job)
{
    LayerJobs *jobs = job->jobs;

    if (g_hash_table_contains(jobs->running, job->chain_id))
        return;
    g_hash_table_add(jobs->running, g_strdup(job->chain_id));
    job->is_claimed = TRUE;
}

static gboolean wait_for_claim(LayerJob *job, const Deadline *deadline, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->jobs->lock);

    for (;;) {
        try_claim_locked(job);
        if (job->is_claimed)
            return TRUE;
        if (!deadline_cond_wait(deadline, &job->jobs->ended, &job->jobs->lock,
                                "waiting for another pull of the same layer", error))
            return FALSE;
    }
}

static void drop_claim(LayerJob *job)
{
    if (!job->is_claimed)
        return;
    job->is_claimed = FALSE;
    g_mutex_lock(&job->jobs->lock);
    g_hash_table_remove(job->jobs->running, job->chain_id);
    g_cond_broadcast(&job->jobs->ended);
    g_mutex_unlock(&job->jobs->lock);
}

/* Takes the layer from the store when it is there and may be shared; the job needs its claim no more then. */
static void look_in_store(LayerJob *job, const Deadline *deadline)
{
    const LayerSource *source = &job->wanted.source;
    g_autoptr(ImageLayer) layer = image_store_find_layer_for(job->jobs->store, &job->wanted.place);

    if (layer == NULL ||
        (source->may_share != NULL && !source->may_share(source->data, layer->key, deadline)))
        return;
    job->layer = g_steal_pointer(&layer);
    job->existed = TRUE;
    drop_claim(job);
}

static void try_claim(LayerJob *job, const Deadline *deadline)
{
    g_mutex_lock(&job->jobs->lock);
    try_claim_locked(job);
    g_mutex_unlock(&job->jobs->lock);
    if (job->is_claimed)
        look_in_store(job, deadline);
}

static gboolean wait_and_claim(LayerJob *job, const Deadline *deadline, GError **error)
{
    if (!wait_for_claim(job, deadline, error))
        return FALSE;
    look_in_store(job, deadline);
    return TRUE;
}

static void drop_draft(LayerJob *job)
{
    g_clear_pointer(&job->draft, layer_draft_free);
    if (job->fd >= 0)
        close(job->fd);
    job->fd = -1;
    if (job->path != NULL)
        unlink(job->path);
    g_clear_pointer(&job->path, g_free);
}

void layer_job_free(LayerJob *job)
{
    if (job == NULL)
        return;
    drop_draft(job);
    drop_claim(job);
    image_layer_free(job->layer);
    g_free(job->diff_id);
    g_free(job->chain_id);
    g_free(job);
}

/* Steps */

static gboolean read_draft(LayerJob *job, const Deadline *deadline, GError **error)
{
    const LayerSource *source = &job->wanted.source;
    int blob_fd = -1;

    if (!source->fetch(source->data, deadline, &blob_fd, error))
        return FALSE;
    if (image_store_ingest_file(job->jobs->store, &job->path, &job->fd, error)) {
        LayerFiles files = {blob_fd, job->fd, source->unpacking, source->data};

        job->draft = layer_read(&files, &job->wanted.spec, deadline, error);
    }
    close(blob_fd);
    return job->draft != NULL;
}

static LowerView *open_below(const GPtrArray *below, GError **error)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    for (guint i = 0; i < below->len; i++)
        g_ptr_array_add(paths, ((const ImageLayer *)g_ptr_array_index(below, i))->path);
    g_ptr_array_add(paths, NULL);
    return lower_view_open((const char *const *)paths->pdata, error);
}

static gboolean add_draft(LayerJob *job, const GPtrArray *below, const Deadline *deadline, GError **error)
{
    ImageStore *store = job->jobs->store;
    gboolean is_self_contained = layer_draft_is_self_contained(job->draft);
    const char *key = is_self_contained ? job->diff_id : job->chain_id;
    g_autoptr(LowerView) lower = NULL;

    if (!is_self_contained && (lower = open_below(below, error)) == NULL)
        return FALSE;
    if (!layer_draft_finish(job->draft, lower, key, deadline, error) ||
        !image_store_add_layer(store, &job->wanted.place, is_self_contained, job->path, job->fd, error))
        return FALSE;
    job->layer = image_store_find_layer_for(store, &job->wanted.place);
    return job->layer != NULL || fail(error, STATUS_INTERNAL, "layer %s vanished", key);
}

/* A layer that was read although the store has it, because it had to be shown, has its diff id; the file that
 * pods share already stays. */
static gboolean finish_draft(LayerJob *job, const GPtrArray *below, const Deadline *deadline, GError **error)
{
    const LayerSource *source = &job->wanted.source;

    job->layer = image_store_find_layer_for(job->jobs->store, &job->wanted.place);
    if (job->layer == NULL && !add_draft(job, below, deadline, error))
        return FALSE;
    if (source->have != NULL)
        source->have(source->data, job->layer->key);
    return TRUE;
}

/* Ends the work on the layer, however it went. */
static gboolean end_work(LayerJob *job, gboolean done)
{
    drop_draft(job);
    drop_claim(job);
    return done;
}

gboolean layer_job_read(LayerJob *job, const Deadline *deadline, GError **error)
{
    try_claim(job, deadline);
    if (!job->is_claimed)
        return TRUE;
    if (!read_draft(job, deadline, error))
        return end_work(job, FALSE);
    if (layer_draft_is_self_contained(job->draft))
        return end_work(job, finish_draft(job, NULL, deadline, error));
    /* The contents are on their way to the disk while the layers below are read. */
    if (fdatasync(job->fd) != 0) {
        fail_errno(error, errno, "cannot sync %s", job->path);
        return end_work(job, FALSE);
    }
    return TRUE;
}

gboolean layer_job_is_read(const LayerJob *job)
{
    return job->layer != NULL || job->draft != NULL;
}

guint64 layer_job_memory_bytes(const LayerJob *job)
{
    return job->draft != NULL ? layer_draft_memory_bytes(job->draft) : 0;
}

gboolean layer_job_existed(const LayerJob *job)
{
    return job->existed;
}

gboolean layer_job_finish(LayerJob *job, const GPtrArray *below, const Deadline *deadline,
                          ImageLayer **ret_layer, GError **error)
{
    if (!layer_job_is_read(job) &&
        (!wait_and_claim(job, deadline, error) || (job->layer == NULL && !read_draft(job, deadline, error))))
        return end_work(job, FALSE);
    if (job->layer == NULL && !end_work(job, finish_draft(job, below, deadline, error)))
        return FALSE;
    *ret_layer = g_steal_pointer(&job->layer);
    return TRUE;
}

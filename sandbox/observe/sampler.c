/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/observe/sampler.h"

#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "sandbox/host/process_cost.h"
#include "sandbox/pods/pod.h"
#include "sandbox/volumes/share.h"

struct Sampler {
    GThreadPool *workers;
};

/* A caller that waits for a number of samples. */
typedef struct {
    gint references;
    GMutex lock;
    GCond changed;
    guint pending;
} Group;

typedef struct {
    Pod *pod;
    gboolean with_processes;
} Job;

/* ---- taking a sample ---- */

static gboolean pod_has_share(Pod *pod)
{
    gboolean has;

    g_mutex_lock(&pod->lock);
    has = pod->share_attached != 0;
    g_mutex_unlock(&pod->lock);
    return has;
}

/* An agent that is too old to report statistics is not an error. */
static gboolean sample_ask_guest(Pod *pod, gboolean with_processes, Sample *sample, GError **error)
{
    Crivirt__Agent__V1__StatsRequest stats = CRIVIRT__AGENT__V1__STATS_REQUEST__INIT;
    Deadline deadline = deadline_in_ms(SAMPLE_TIMEOUT_MS);
    g_autoptr(AgentConnection) agent = pod_agent(pod, error);
    g_autoptr(GError) problem = NULL;

    if (agent == NULL)
        return FALSE;
    stats.with_processes = with_processes;
    if (agent_stats(agent, &stats, &deadline, &sample->stats, &problem)) {
        sample->with_processes = with_processes;
        return TRUE;
    }
    if (problem->code == STATUS_UNIMPLEMENTED)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

gboolean sampler_read_node_cost(Pod *pod, guint64 *ret_cpu_ns, guint64 *ret_memory_bytes)
{
    pid_t vm = pod->platform->process(pod);
    pid_t server = pod_has_share(pod) ? share_server(pod->share_dir) : 0;
    ProcessCost cost;

    if (vm <= 0 || !process_cost_read(vm, &cost))
        return FALSE;
    *ret_cpu_ns = cost.cpu_ns;
    *ret_memory_bytes = cost.memory_bytes;
    if (server > 0 && process_cost_read_tree(server, &cost)) {
        *ret_cpu_ns += cost.cpu_ns;
        *ret_memory_bytes += cost.own_bytes;
    }
    return TRUE;
}

static Sample *sample_take(Pod *pod, gboolean with_processes, GError **error)
{
    Sample *sample = g_new0(Sample, 1);

    sample->references = 1;
    if (!sample_ask_guest(pod, with_processes, sample, error)) {
        sample_unref(sample);
        return NULL;
    }
    sample->at_ns = time_now_ns();
    sample->at_us = g_get_monotonic_time();
    sample->has_node_cost = sampler_read_node_cost(pod, &sample->node_cpu_ns, &sample->node_memory_bytes);
    return sample;
}

/* ---- groups ---- */

static void group_unref(Group *group)
{
    if (!g_atomic_int_dec_and_test(&group->references))
        return;
    g_mutex_clear(&group->lock);
    g_cond_clear(&group->changed);
    g_free(group);
}

static void group_one_done(gpointer data)
{
    Group *group = data;

    g_mutex_lock(&group->lock);
    if (--group->pending == 0)
        g_cond_signal(&group->changed);
    g_mutex_unlock(&group->lock);
    group_unref(group);
}

static Group *group_new(void)
{
    Group *group = g_new0(Group, 1);

    group->references = 1;
    g_mutex_init(&group->lock);
    g_cond_init(&group->changed);
    return group;
}

/* ---- the workers ---- */

static void sampler_job_run(gpointer data, gpointer unused)
{
    Job *job = data;
    g_autoptr(Pod) pod = job->pod;
    g_autoptr(GError) error = NULL;
    Sample *sample = sample_take(pod, job->with_processes, &error);
    GSList *waiting;

    (void)unused;
    g_mutex_lock(&pod->lock);
    if (sample != NULL)
        pod_samples_put_locked(&pod->samples, sample);
    else
        pod->samples.not_before_us = g_get_monotonic_time() + SAMPLE_BACKOFF_MS * G_GINT64_CONSTANT(1000);
    pod->samples.running = FALSE;
    waiting = g_steal_pointer(&pod->samples.waiting);
    g_mutex_unlock(&pod->lock);
    if (sample == NULL)
        log_debug(LOG_FIELDS("sandbox", pod->id), "the guest reported no statistics: %s", error->message);
    g_slist_free_full(waiting, group_one_done);
    g_free(job);
}

Sampler *sampler_new(void)
{
    Sampler *sampler = g_new0(Sampler, 1);

    sampler->workers = g_thread_pool_new(sampler_job_run, NULL, SAMPLER_WORKERS, FALSE, NULL);
    return sampler;
}

void sampler_free(Sampler *sampler)
{
    if (sampler == NULL)
        return;
    g_thread_pool_free(sampler->workers, FALSE, TRUE);
    g_free(sampler);
}

/* ---- requests ---- */

static gboolean sample_is_fresh_locked(const PodSamples *samples, gboolean with_processes, gint64 now_us)
{
    return samples->last != NULL &&
           now_us - samples->last->at_us < SAMPLE_FRESH_MS * G_TIME_SPAN_MILLISECOND &&
           (samples->last->with_processes || !with_processes || samples->last->stats == NULL);
}

enum { PREFETCH_PODS = 6 };

/* Pods of a long list are not in the processor's caches, and each lock waits for what was read before. */
static void pod_prefetch(const Pod *pod)
{
    __builtin_prefetch(&pod->lock, 1);
    __builtin_prefetch(&pod->state);
    __builtin_prefetch(&pod->hibernated);
    __builtin_prefetch(&pod->samples);
    __builtin_prefetch(&pod->containers);
    __builtin_prefetch(pod->config);
    __builtin_prefetch(pod->containers);
}

/* Starts a sample, or joins the one that is being taken. */
static void sampler_refresh_pod(Sampler *sampler, Pod *pod, gboolean with_processes, gint64 now_us,
                                Group *group)
{
    gboolean start;
    gboolean wanted;

    g_mutex_lock(&pod->lock);
    wanted = pod->state == POD_READY && !pod->hibernated && now_us >= pod->samples.not_before_us &&
             !sample_is_fresh_locked(&pod->samples, with_processes, now_us);
    start = wanted && !pod->samples.running;
    if (wanted) {
        pod->samples.running = TRUE;
        g_mutex_lock(&group->lock);
        group->pending++;
        g_mutex_unlock(&group->lock);
        g_atomic_int_inc(&group->references);
        pod->samples.waiting = g_slist_prepend(pod->samples.waiting, group);
    }
    g_mutex_unlock(&pod->lock);
    if (start) {
        Job *job = g_new(Job, 1);

        *job = (Job){pod_ref(pod), with_processes};
        g_thread_pool_push(sampler->workers, job, NULL);
    }
}

void sampler_refresh(Sampler *sampler, const GPtrArray *pods, gboolean with_processes,
                     const Deadline *deadline)
{
    Deadline bounded = deadline_sooner(deadline, SAMPLE_TIMEOUT_MS);
    const gint64 now_us = g_get_monotonic_time();
    Group *group = group_new();
    gboolean in_time = TRUE;

    for (guint i = 0; i < pods->len; i++) {
        if (i + PREFETCH_PODS < pods->len)
            pod_prefetch(pods->pdata[i + PREFETCH_PODS]);
        sampler_refresh_pod(sampler, pods->pdata[i], with_processes, now_us, group);
    }
    g_mutex_lock(&group->lock);
    while (in_time && group->pending > 0)
        in_time = deadline_cond_wait(&bounded, &group->changed, &group->lock, "waiting for guests", NULL);
    g_mutex_unlock(&group->lock);
    group_unref(group);
}

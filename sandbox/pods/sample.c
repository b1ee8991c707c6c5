/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/sample.h"

#include "sandbox/pods/pod.h"

enum { RATE_SHORTEST_US = 100 * 1000 };

Sample *sample_ref(Sample *sample)
{
    g_atomic_int_inc(&sample->references);
    return sample;
}

void sample_unref(Sample *sample)
{
    if (sample == NULL || !g_atomic_int_dec_and_test(&sample->references))
        return;
    agent_stats_response_free(sample->stats);
    g_free(sample);
}

void pod_samples_clear(PodSamples *samples)
{
    sample_unref(samples->last);
    sample_unref(samples->before);
}

void pod_samples_put_locked(PodSamples *samples, Sample *sample)
{
    const gint64 span_us =
        samples->last != NULL && samples->before != NULL ? samples->last->at_us - samples->before->at_us : 0;

    /* Two callers in quick succession must not leave a span too short for a rate. */
    if (samples->before == NULL || span_us >= SAMPLE_RATE_MIN_MS * G_TIME_SPAN_MILLISECOND) {
        sample_unref(samples->before);
        samples->before = samples->last;
    } else {
        sample_unref(samples->last);
    }
    samples->last = sample;
}

void sample_pair_clear(SamplePair *pair)
{
    sample_unref(pair->last);
    sample_unref(pair->before);
}

SamplePair pod_sample(Pod *pod)
{
    SamplePair pair;

    g_mutex_lock(&pod->lock);
    pair.last = pod->samples.last != NULL ? sample_ref(pod->samples.last) : NULL;
    pair.before = pod->samples.before != NULL ? sample_ref(pod->samples.before) : NULL;
    g_mutex_unlock(&pod->lock);
    return pair;
}

const Crivirt__Agent__V1__ContainerUsage *sample_container(const Sample *sample, const char *id)
{
    if (sample == NULL || sample->stats == NULL)
        return NULL;
    for (size_t i = 0; i < sample->stats->n_containers; i++)
        if (g_str_equal(sample->stats->containers[i]->id, id))
            return sample->stats->containers[i];
    return NULL;
}

gboolean sample_rate(const SamplePair *pair, guint64 before, guint64 last, guint64 *ret_per_second)
{
    gint64 span_us = pair->before != NULL ? pair->last->at_us - pair->before->at_us : 0;

    if (span_us < RATE_SHORTEST_US || last < before)
        return FALSE;
    *ret_per_second = (guint64)((double)(last - before) * G_USEC_PER_SEC / (double)span_us);
    return TRUE;
}

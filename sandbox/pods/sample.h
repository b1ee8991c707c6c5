/* SPDX-License-Identifier: Apache-2.0 */
/* What pods use, as it was when their guests were last asked: the figures of a guest's agent, and the cost of
 * the pod to the node. observe/sampler.h takes the samples.
 *
 * A sample never changes. The guest is hostile: its figures are shown as they are, and its names are used
 * only where they are those of a container that the pod has.
 *
 * Threads: a pod's samples are accessed under pod->lock; a sample that is referenced may be read anywhere.
 */
#pragma once

#include <glib.h>

#include "agent.pb-c.h"

enum { SAMPLE_RATE_MIN_MS = 1000 }; /* rates are taken over at least so long, where there is such a sample */

typedef struct Pod Pod;

typedef struct {
    gint references;
    gint64 at_ns;                             /* wall clock */
    gint64 at_us;                             /* monotonic */
    Crivirt__Agent__V1__StatsResponse *stats; /* NULL: the agent has none */
    gboolean with_processes;
    gboolean has_node_cost;
    guint64 node_cpu_ns;       /* of QEMU, and so of the guest, and of the file server */
    guint64 node_memory_bytes; /* QEMU's resident set, which contains the guest's memory, and the file
                                  server's own memory */
} Sample;

/* A pod's samples, and the state of the sampler's work on it. */
typedef struct {
    Sample *last;
    Sample *before; /* for rates */
    gboolean running;
    gint64 not_before_us; /* monotonic */
    GSList *waiting;      /* for the sample that is being taken (sampler.c) */
} PodSamples;

/* Two samples, referenced; before may be NULL. */
typedef struct {
    Sample *last;
    Sample *before;
} SamplePair;

Sample *sample_ref(Sample *sample);
void sample_unref(Sample *sample); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Sample, sample_unref)

void pod_samples_clear(PodSamples *samples);
/* Makes it the last sample, and takes it over. pod->lock is held. */
void pod_samples_put_locked(PodSamples *samples, Sample *sample);

/* Return: the pod's last samples, which the caller clears; both NULL when there are none. */
SamplePair pod_sample(Pod *pod);
void sample_pair_clear(SamplePair *pair);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SamplePair, sample_pair_clear)

/* Return: the container's part; NULL: the sample has none. */
const Crivirt__Agent__V1__ContainerUsage *sample_container(const Sample *sample, const char *id);
/* How much a counter grew per second between two samples, in its own unit. Return: FALSE when the samples are
 * too near to each other to tell, or the counter started again. */
gboolean sample_rate(const SamplePair *pair, guint64 before, guint64 last, guint64 *ret_per_second);

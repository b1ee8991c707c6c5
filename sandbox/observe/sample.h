/* What pods use, as it was when they were last asked: figures of the guest's agent, and what it costs the
 * node.
 *
 * Nobody polls: a guest is asked when somebody wants to know and the last sample is older than
 * SAMPLE_FRESH_MS, all guests of a list at once (SAMPLER_WORKERS), each for at most SAMPLE_TIMEOUT_MS. One
 * that does not answer in time keeps its last sample and is left alone for SAMPLE_BACKOFF_MS, so that a hung
 * guest delays nobody twice.
 *
 * A sample never changes. The guest is hostile: its figures are shown as they are, and its names are used
 * only where they are those of a container that the pod has.
 */
#pragma once

#include "agent.pb-c.h"
#include "common/deadline.h"

enum {
    SAMPLER_WORKERS = 32,
    SAMPLE_FRESH_MS = 500,
    SAMPLE_TIMEOUT_MS = 2000,
    SAMPLE_BACKOFF_MS = 15 * 1000,
    SAMPLE_RATE_MIN_MS = 1000, /* rates are taken over at least so long, where there is such a sample */
};

typedef struct Pod Pod;
typedef struct Sampler Sampler;

typedef struct {
    gint references;
    gint64 at_ns;                                   /* wall clock */
    gint64 at_us;                                   /* monotonic */
    Crivirt__Agent__V1__Response *response;         /* owns stats; NULL: an agent that knows none */
    const Crivirt__Agent__V1__StatsResponse *stats; /* NULL likewise */
    gboolean with_processes;
    gboolean has_node_cost;
    guint64 node_cpu_ns;       /* QEMU's, and so the guest's, and the file server's */
    guint64 node_memory_bytes; /* QEMU's resident set, of which the guest's memory is a part, and the file
                                  server's own memory */
} Sample;

/* A pod's, under its lock. */
typedef struct {
    Sample *last;
    Sample *before; /* for rates */
    gboolean running;
    gint64 not_before_us; /* monotonic */
    GSList *waiting;      /* of those who wait for the one that runs (sample.c) */
} PodSamples;

void pod_samples_clear(PodSamples *samples);

/* A pair of samples, referenced; before may be NULL. */
typedef struct {
    Sample *last;
    Sample *before;
} SamplePair;

Sampler *sampler_new(void);
void sampler_free(Sampler *sampler); /* waits for what it has begun; takes NULL */

/* Asks those pods of the array that are ready and whose last sample is not fresh; waits for them, at most
 * SAMPLE_TIMEOUT_MS. */
void sampler_refresh(Sampler *sampler, const GPtrArray *pods, gboolean with_processes,
                     const Deadline *deadline);

/* The pod's last sample; both NULL when there is none. */
SamplePair pod_sample(Pod *pod);
void sample_pair_clear(SamplePair *pair);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SamplePair, sample_pair_clear)

Sample *sample_ref(Sample *sample);
void sample_unref(Sample *sample); /* takes NULL */

/* Puts a new sample into a pod's: takes it over. Locked by the caller. */
void pod_samples_put(PodSamples *samples, Sample *sample);

/* The container's part; NULL when it has none. */
const Crivirt__Agent__V1__ContainerUsage *sample_container(const Sample *sample, const char *id);
/* How much per second, in the same unit, a counter grew between two samples; FALSE when they are too near to
 * each other to tell, or the counter began anew. */
gboolean sample_rate(const SamplePair *pair, guint64 before, guint64 last, guint64 *ret_per_second);

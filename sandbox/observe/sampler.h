/* SPDX-License-Identifier: Apache-2.0 */
/* Takes samples of what pods use (pods/sample.h).
 *
 * Nothing is polled: a guest is asked when a client asks and the last sample is older than SAMPLE_FRESH_MS.
 * All guests of a list are asked at once (SAMPLER_WORKERS), each for at most SAMPLE_TIMEOUT_MS. A guest that
 * does not answer in time keeps its last sample and is not asked for SAMPLE_BACKOFF_MS, so that a hung guest
 * delays no client twice.
 *
 * Threads: any.
 */
#pragma once

#include "common/deadline.h"
#include "sandbox/pods/sample.h"

enum {
    SAMPLER_WORKERS = 32,
    SAMPLE_FRESH_MS = 500,
    SAMPLE_TIMEOUT_MS = 2000,
    SAMPLE_BACKOFF_MS = 15 * 1000,
};

typedef struct Sampler Sampler;

Sampler *sampler_new(void);
/* Waits for the samples that are being taken. Takes NULL. */
void sampler_free(Sampler *sampler);

/* Asks those pods of the array that are ready and whose last sample is not fresh, and waits for their
 * answers, at most for SAMPLE_TIMEOUT_MS. */
void sampler_refresh(Sampler *sampler, const GPtrArray *pods, gboolean with_processes,
                     const Deadline *deadline);

/* Adds up the cost of QEMU and of the file server of the pod's volumes. The server's shared memory is the
 * guest's, and counts once. Return: FALSE when the pod has no VM. */
gboolean sampler_read_node_cost(Pod *pod, guint64 *ret_cpu_ns, guint64 *ret_memory_bytes);

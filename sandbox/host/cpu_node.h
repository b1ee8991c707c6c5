/* SPDX-License-Identifier: Apache-2.0 */
/* The processor of this node, as far as guests can have it.
 *
 * The facts are found once in a process: a change of the processor needs another boot, and one of KVM's
 * parameters the end of all guests. Threads: any.
 */
#pragma once

#include "sandbox/host/cpu_baseline.h"

/* Sets *ret_baseline to the processor of guests that have the option cpu with that value: NULL for
 * CPU_HOST; else a baseline, which is valid for ever. Errors: those of cpu_baseline_new(), UNAVAILABLE when
 * KVM does not answer, INVALID_ARGUMENT where guests are not x86-64. */
gboolean cpu_node_baseline(const char *name, gboolean accelerated, const CpuBaseline **ret_baseline,
                           GError **error);

/* The time stamp counter of guests with KVM. */
typedef struct {
    guint khz;       /* 0: there is none, or KVM does not answer */
    gboolean scales; /* guests can have another rate than the node */
} CpuTimeStamp;

CpuTimeStamp cpu_node_time_stamp(void);

/* SPDX-License-Identifier: Apache-2.0 */
/* Builds the CRI's pod and container configurations from the options of `crivirt run`. Pure, except that it
 * reads --env-file.
 *
 * Memory and CPU limits are set on the pod too, because the daemon derives the size of the VM from them.
 */
#pragma once

#include "api.pb-c.h"
#include "common/arena.h"
#include "cri-server/cli/options.h"

extern const OptionSpec run_options[];

typedef struct {
    const char *name;      /* of the pod and of its container */
    const char *uid;       /* of the pod */
    const char *log_root;  /* absolute */
    const char *directory; /* base of relative volume sources */
    gboolean is_watched;   /* a process of crivirt ends the pod with its container */
} RunIdentity;

typedef struct {
    Runtime__V1__PodSandboxConfig *pod;
    Runtime__V1__ContainerConfig *container;
} RunSpec;

/* Ownership: the configurations live in the arena. Errors: USAGE_ERROR naming the option. */
gboolean run_spec_build(const Options *options, const RunIdentity *identity, Arena *arena, RunSpec *ret_spec,
                        GError **error);

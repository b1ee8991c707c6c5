/* The options of `crivirt run` as the CRI's pod and container configurations. Pure but for --env-file.
 *
 * Memory and CPU limits are set on the pod too: the daemon sizes the virtual machine from them.
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
    const char *directory; /* what relative volume sources are taken from */
} RunIdentity;

typedef struct {
    Runtime__V1__PodSandboxConfig *pod;
    Runtime__V1__ContainerConfig *container;
} RunSpec;

/* Memory is the arena's. USAGE_ERROR names the option that is wrong. */
gboolean run_spec_build(const Options *options, const RunIdentity *identity, Arena *arena, RunSpec *ret_spec,
                        GError **error);

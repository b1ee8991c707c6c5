/* SPDX-License-Identifier: Apache-2.0 */
/* UpdateContainer: sets new limits for a container through `crun update`. */
#include <stdio.h>

#include "agent/guest/call.h"
#include "agent/guest/container.h"
#include "agent/guest/crun.h"
#include "agent/guest/job.h"
#include "agent/guest/paths.h"
#include "agent/guest/sysfile.h"

static void update_done(void *data, Job *job, const Fault *failure)
{
    Container *container = data;
    Call *call = container->active;
    UpdateContainerResponse result = CRIVIRT__AGENT__V1__UPDATE_CONTAINER_RESPONSE__INIT;

    if (failure != NULL)
        call_fail(call, failure);
    else
        reply_update_container(call, &result);
    container_leave(container);
}

static bool update_start(Container *container, const UpdateContainerRequest *request, Fault *ret_fault)
{
    char path[192], option[224];
    const Piece piece = {request->resources.data, request->resources.len};

    snprintf(path, sizeof path, CONTAINERS_DIR "/%s/update.json", container->id);
    snprintf(option, sizeof option, "--resources=%s", path);
    const char *const argv[] = {CRUN_PATH, CRUN_CGROUPS, crun_root, "update", option, container->id, NULL};
    const JobSpec spec = {.argv = argv, .with_log = true, .failing = "crun update"};
    return file_put(path, 0600, &piece, 1, ret_fault) && job_start(&spec, update_done, container, ret_fault);
}

void op_update_container(Call *call)
{
    const UpdateContainerRequest *request = call->request->update_container;
    Container *container = container_require(request->id, call);
    Fault error;

    if (container == NULL)
        return;
    if (!container_enter(container, call))
        return;
    if (!update_start(container, request, &error)) {
        call_fail(call, &error);
        container_leave(container);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/pod_oom.h"

#include "common/child.h"
#include "sandbox/pod/pod_resources.h"
#include "sandbox/volumes/share.h"

enum { SCORE_MOST = 1000 };

static gint64 score_of(const Runtime__V1__LinuxContainerResources *resources)
{
    return resources != NULL ? resources->oom_score_adj : 0;
}

static gint64 containers_score_locked(Pod *pod)
{
    g_autoptr(GPtrArray) containers = pod_container_resources_locked(pod, NULL);
    gint64 least = SCORE_MOST;

    for (guint i = 0; i < containers->len; i++)
        least = MIN(least, score_of(containers->pdata[i]));
    return containers->len != 0 ? least : 0;
}

int pod_oom_score(Pod *pod)
{
    gint64 score;

    g_mutex_lock(&pod->lock);
    score = score_of(pod->config->linux != NULL ? pod->config->linux->resources : NULL);
    if (score == 0)
        score = containers_score_locked(pod);
    g_mutex_unlock(&pod->lock);
    return (int)CLAMP(score, POD_OOM_SCORE_LEAST, SCORE_MOST);
}

void pod_oom_follow(Pod *pod)
{
    const int score = pod_oom_score(pod);

    if (pod->platform->on_node)
        return;
    child_adjust(vmm_pid(pod->manager->vmm, pod->id), CHILD_QEMU, score);
    child_adjust(share_server(pod->share_dir), CHILD_VIRTIOFSD, score);
}

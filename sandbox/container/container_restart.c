/* SPDX-License-Identifier: Apache-2.0 */
/* Restart, which the CRI does not have: the steps that a kubelet takes, with the configuration that the
 * daemon has kept. */
#include "common/error.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"

/* Return: the configuration of the next attempt, which protobuf-c's allocator frees. */
static Runtime__V1__ContainerConfig *next_config(Container *container)
{
    Runtime__V1__ContainerConfig *config;

    g_mutex_lock(&container->pod->lock);
    config = (Runtime__V1__ContainerConfig *)cri_dup(&container->config->base);
    g_mutex_unlock(&container->pod->lock);
    config->metadata->attempt++;
    return config;
}

gboolean container_restart(SandboxManager *manager, const char *id, gint64 timeout_s,
                           const Deadline *deadline, char **ret_id, GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, id, error);
    Runtime__V1__CreateContainerRequest create = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
    g_autofree char *next_id = NULL;
    gboolean good;

    if (container == NULL)
        return FALSE;
    if (pod_state(container->pod) != POD_READY)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "sandbox %s of container %s is not ready, and cannot be started again",
                    container->pod->id, container->id);
    if (!container_stop(manager, container->id, timeout_s, deadline, error))
        return FALSE;
    create.pod_sandbox_id = container->pod->id;
    create.config = next_config(container);
    create.sandbox_config = container->pod->config;
    good = container_create(manager, &create, deadline, &next_id, error) &&
           container_start(manager, next_id, deadline, error) &&
           container_remove(manager, container->id, deadline, error);
    runtime__v1__container_config__free_unpacked(create.config, NULL);
    if (good)
        *ret_id = g_steal_pointer(&next_id);
    else if (next_id != NULL)
        container_remove(manager, next_id, deadline, NULL);
    return good;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/pod_resources.h"

#include "common/lock_assert.h"

typedef Runtime__V1__LinuxContainerResources Resources;

GPtrArray *pod_container_resources_locked(Pod *pod, const PodChange *change)
{
    static const Resources none = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    GPtrArray *all = g_ptr_array_new();
    GHashTableIter iter;
    gpointer value;

    LOCK_ASSERT_HELD(&pod->lock);
    g_hash_table_iter_init(&iter, pod->containers);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const Container *container = value;
        const Runtime__V1__LinuxContainerConfig *config = container->config->linux;
        const Resources *resources = config != NULL ? config->resources : NULL;

        if (change != NULL && change->container == container)
            resources = change->resources;
        else if (container->state == CONTAINER_EXITED_STATE)
            continue;
        g_ptr_array_add(all, (gpointer)(resources != NULL ? resources : &none));
    }
    return all;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/inventory.h"

#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "common/string_table.h"
#include "cri-server/cli/ref.h"
#include "crivirt.pb-c.h"

gboolean inventory_pod_is_ours(const Runtime__V1__PodSandbox *pod)
{
    if (pod == NULL || pod->metadata == NULL)
        return FALSE;
    for (size_t i = 0; i < pod->n_labels; i++)
        if (strcmp(pod->labels[i]->key, RUN_LABEL) == 0 &&
            strcmp(pod->labels[i]->value, RUN_LABEL_VALUE) == 0)
            return TRUE;
    return FALSE;
}

gboolean inventory_pod_is_watched(const Runtime__V1__PodSandbox *pod)
{
    for (size_t i = 0; i < pod->n_annotations; i++)
        if (strcmp(pod->annotations[i]->key, WATCHED_ANNOTATION) == 0)
            return TRUE;
    return FALSE;
}

static const char *pod_name(const Runtime__V1__PodSandbox *pod)
{
    return pod->metadata != NULL ? pod->metadata->name : "";
}

static const char *container_name(const Runtime__V1__Container *container)
{
    return container->metadata != NULL ? container->metadata->name : "";
}

static const Runtime__V1__PodSandbox *pod_of(const Runtime__V1__ListPodSandboxResponse *pods, const char *id)
{
    for (size_t i = 0; i < pods->n_items; i++)
        if (strcmp(pods->items[i]->id, id) == 0)
            return pods->items[i];
    return NULL;
}

static const char *shown_name(Arena *arena, const InventoryContainer *row)
{
    if (row->pod == NULL)
        return container_name(row->container);
    /* It has the pod's name; one that was restored under another name still has that of the saved pod. */
    if (inventory_pod_is_ours(row->pod))
        return pod_name(row->pod);
    return arena_printf(arena, "%s/%s", pod_name(row->pod), container_name(row->container));
}

static int newer_container(const void *left, const void *right)
{
    gint64 a = ((const InventoryContainer *)left)->container->created_at;
    gint64 b = ((const InventoryContainer *)right)->container->created_at;

    return (a < b) - (a > b);
}

static int newer_pod(const void *left, const void *right)
{
    gint64 a = (*(Runtime__V1__PodSandbox *const *)left)->created_at;
    gint64 b = (*(Runtime__V1__PodSandbox *const *)right)->created_at;

    return (a < b) - (a > b);
}

/* The list of containers has no mounts. A container that was removed meanwhile uses nothing. */
static gboolean add_mounted_images(Cli *cli, const char *id, GHashTable *ids, GError **error)
{
    Runtime__V1__ContainerStatusRequest request = RUNTIME__V1__CONTAINER_STATUS_REQUEST__INIT;
    const Runtime__V1__ContainerStatusResponse *answer;
    g_autoptr(GError) problem = NULL;

    request.container_id = (char *)id;
    answer = cli_runtime_call(cli, "ContainerStatus", &request.base, CLI_CALL_MS, &problem);
    if (answer == NULL && !g_error_matches(problem, CRIVIRT_ERROR, STATUS_NOT_FOUND)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    for (size_t i = 0; answer != NULL && answer->status != NULL && i < answer->status->n_mounts; i++) {
        const Runtime__V1__ImageSpec *image = answer->status->mounts[i]->image;

        if (image != NULL && *image->image_ref != '\0')
            g_hash_table_add(ids, g_strdup(image->image_ref));
    }
    return TRUE;
}

GHashTable *inventory_used_images(Cli *cli, const Inventory *inventory, GError **error)
{
    g_autoptr(GHashTable) ids = string_table_new(g_free, NULL);

    for (gsize i = 0; i < inventory->n_containers; i++) {
        const Runtime__V1__Container *container = inventory->containers[i].container;

        g_hash_table_add(ids, g_strdup(container->image_id));
        if (!add_mounted_images(cli, container->id, ids, error))
            return NULL;
    }
    return g_steal_pointer(&ids);
}

const Inventory *inventory_load(Cli *cli, GError **error)
{
    Runtime__V1__ListContainersRequest list_containers = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    Runtime__V1__ListPodSandboxRequest list_pods = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    const Runtime__V1__ListContainersResponse *containers =
        cli_runtime_call(cli, "ListContainers", &list_containers.base, CLI_CALL_MS, error);
    const Runtime__V1__ListPodSandboxResponse *pods =
        containers != NULL ? cli_runtime_call(cli, "ListPodSandbox", &list_pods.base, CLI_CALL_MS, error)
                           : NULL;
    Inventory *inventory;

    if (pods == NULL)
        return NULL;
    inventory = arena_new0(cli->arena, Inventory, 1);
    inventory->n_containers = containers->n_containers;
    inventory->containers = arena_new0(cli->arena, InventoryContainer, containers->n_containers);
    for (size_t i = 0; i < containers->n_containers; i++) {
        InventoryContainer *row = &inventory->containers[i];

        row->container = containers->containers[i];
        row->pod = pod_of(pods, row->container->pod_sandbox_id);
        row->name = shown_name(cli->arena, row);
    }
    inventory->n_pods = pods->n_items;
    inventory->pods = pods->items;
    if (inventory->n_containers > 1)
        qsort(inventory->containers, inventory->n_containers, sizeof *inventory->containers, newer_container);
    if (inventory->n_pods > 1)
        qsort((void *)inventory->pods, inventory->n_pods, sizeof(Runtime__V1__PodSandbox *), newer_pod);
    return inventory;
}

GHashTable *inventory_hibernated(Cli *cli, GError **error)
{
    const Crivirt__V1__ListHibernatedPodsRequest request = CRIVIRT__V1__LIST_HIBERNATED_PODS_REQUEST__INIT;
    g_autoptr(GError) failure = NULL;
    const Crivirt__V1__ListHibernatedPodsResponse *response =
        cli_own_call(cli, "ListHibernatedPods", &request.base, CLI_CALL_MS, &failure);
    GHashTable *ids;

    if (response == NULL && !g_error_matches(failure, CRIVIRT_ERROR, STATUS_UNIMPLEMENTED)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    ids = string_table_new(NULL, NULL);
    arena_hold(cli->arena, ids, (GDestroyNotify)g_hash_table_unref);
    for (size_t i = 0; response != NULL && i < response->n_pod_sandbox_ids; i++)
        g_hash_table_add(ids, response->pod_sandbox_ids[i]);
    return ids;
}

const InventoryContainer *inventory_container(Cli *cli, const Inventory *inventory, const char *text,
                                              GError **error)
{
    RefCandidate *candidates = arena_new0(cli->arena, RefCandidate, inventory->n_containers + 1);
    gsize index = 0;

    for (gsize i = 0; i < inventory->n_containers; i++) {
        const InventoryContainer *row = &inventory->containers[i];

        candidates[i] = (RefCandidate){
            .id = row->container->id,
            .name = row->name,
            .other = inventory_pod_is_ours(row->pod) ? row->name : container_name(row->container),
            .group = row->container->pod_sandbox_id,
            .attempt = row->container->metadata != NULL ? row->container->metadata->attempt : 0,
        };
    }
    if (!ref_pick(candidates, inventory->n_containers, "container", text, &index, error))
        return NULL;
    return &inventory->containers[index];
}

const Runtime__V1__PodSandbox *inventory_pod(Cli *cli, const Inventory *inventory, const char *text,
                                             GError **error)
{
    RefCandidate *candidates = arena_new0(cli->arena, RefCandidate, inventory->n_pods + 1);
    gsize index = 0;

    for (gsize i = 0; i < inventory->n_pods; i++) {
        const Runtime__V1__PodSandbox *pod = inventory->pods[i];
        const char *namespace = pod->metadata != NULL ? pod->metadata->namespace_ : "";
        const char *uid = pod->metadata != NULL ? pod->metadata->uid : pod->id;

        candidates[i] = (RefCandidate){
            .id = pod->id,
            .name = pod_name(pod),
            .other = arena_printf(cli->arena, "%s/%s", namespace, pod_name(pod)),
            .group = uid,
            .attempt = pod->metadata != NULL ? pod->metadata->attempt : 0,
        };
    }
    if (!ref_pick(candidates, inventory->n_pods, "pod", text, &index, error))
        return NULL;
    return inventory->pods[index];
}

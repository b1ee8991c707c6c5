/* SPDX-License-Identifier: Apache-2.0 */
/* CreateContainer: checks the request, attaches layers, devices and volumes, and creates the container in
 * the guest. */

#include <string.h>

#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/container/container_remove.h"
#include "sandbox/container/container_vfio.h"
#include "sandbox/container/container_volumes.h"
#include "sandbox/container/create_message.h"
#include "sandbox/oci/cdi.h"
#include "sandbox/pod/guest_delete.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/events.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/pod_turn.h"
#include "sandbox/sandbox.h"

enum { CREATE_TIMEOUT_MS = 60 * 1000 }; /* enough for a busy guest */

/* ---- the request ---- */

static gboolean create_request_check(const Runtime__V1__CreateContainerRequest *request, GError **error)
{
    const Runtime__V1__ContainerConfig *config = request->config;

    if (config == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "config is missing");
    if (config->metadata == NULL || *config->metadata->name == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.metadata.name is missing");
    if (config->image == NULL || *config->image->image == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.image.image is missing");
    if (*config->image->image == '/')
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "config.image.image: \"%s\" is a path, and no container is made from one; a pod goes on from "
            "the archive of a checkpoint by RestorePod, or by `crivirt restore %s`",
            config->image->image, config->image->image);
    if (strstr(config->log_path, "..") != NULL)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.log_path: \"%s\" leads out of the pod's log directory", config->log_path);
    return TRUE;
}

/* Return: the container with that name and attempt, referenced; NULL when there is none. */
static Container *container_find_by_metadata(Pod *pod, const Runtime__V1__ContainerMetadata *metadata)
{
    Container *found = NULL;
    GHashTableIter iter;
    gpointer value;

    g_mutex_lock(&pod->lock);
    g_hash_table_iter_init(&iter, pod->containers);
    while (found == NULL && g_hash_table_iter_next(&iter, NULL, &value)) {
        Container *container = value;

        if (g_str_equal(container->config->metadata->name, metadata->name) &&
            container->config->metadata->attempt == metadata->attempt)
            found = container_ref(container);
    }
    g_mutex_unlock(&pod->lock);
    return found;
}

static char **image_layer_keys(const Image *image)
{
    g_autoptr(GPtrArray) ids = g_ptr_array_new();

    for (guint i = 0; i < image->layers->len; i++)
        g_ptr_array_add(ids, g_strdup(((ImageLayer *)image->layers->pdata[i])->key));
    g_ptr_array_add(ids, NULL);
    return (char **)g_ptr_array_steal(ids, NULL);
}

/* ---- in the guest ---- */

/* Records a phase of the start that has ended. Return: the time, at which the next phase begins. */
static gint64 create_trace_phase(const Container *container, TracePhase phase, gint64 begin_us)
{
    trace_add(container->pod->trace, phase, container->config->metadata->name, begin_us);
    return g_get_monotonic_time();
}

static void container_record_user(Container *container,
                                  const Crivirt__Agent__V1__CreateContainerResponse *created)
{
    g_mutex_lock(&container->pod->lock);
    container->uid = created->uid;
    container->gid = created->gid;
    for (size_t i = 0; i < created->n_groups; i++) {
        gint64 group = created->groups[i];

        g_array_append_val(container->groups, group);
    }
    container->state = CONTAINER_CREATED_STATE;
    g_mutex_unlock(&container->pod->lock);
}

static gboolean create_in_guest(Container *container, const Image *image, const Deadline *deadline,
                                GError **error)
{
    Crivirt__Agent__V1__CreateContainerRequest create = CRIVIRT__AGENT__V1__CREATE_CONTAINER_REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, CREATE_TIMEOUT_MS);
    g_autoptr(Arena) arena = arena_new();
    g_autoptr(GArray) layers = NULL;
    ContainerVolumes volumes;
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, error);
    gint64 begin_us = g_get_monotonic_time();
    g_autoptr(AgentCreateContainerResponse) response = NULL;

    if (agent == NULL ||
        !container->pod->platform->attach_layers(container->pod, image->layers, deadline, &layers, error))
        return FALSE;
    begin_us = create_trace_phase(container, TRACE_ATTACH, begin_us);
    if (!container_vfio_attach(container, deadline, error) ||
        !container_volumes_attach(container, image, deadline, arena, &volumes, &create, error))
        return FALSE;
    begin_us = create_trace_phase(container, TRACE_VOLUMES, begin_us);
    if (!create_message_build(container, image, &volumes, layers, arena, &create, error))
        return FALSE;
    if (!agent_create_container(agent, &create, &bounded, &response, error)) {
        container_volumes_explain(container, &volumes, error);
        return FALSE;
    }
    create_trace_phase(container, TRACE_CREATE_CONTAINER, begin_us);
    container_record_user(container, response);
    return TRUE;
}

/* ---- the RPC ---- */

static gboolean container_create_new(Pod *pod, const Runtime__V1__CreateContainerRequest *request,
                                     const Image *image, const Deadline *deadline, Container **ret_container,
                                     GError **error)
{
    g_autofree char *id = id_new();
    g_auto(GStrv) diff_ids = image_layer_keys(image);
    g_autoptr(Container) container =
        container_new(pod, id, NULL, cri_dup(&request->config->base), image->id, diff_ids, time_now_ns());
    g_autoptr(Settings) settings = live_settings_get(pod->manager->live);
    g_autoptr(GError) forget_error = NULL;

    image_service_pin(pod->manager->images, container->id, (Image *)image);
    if (!manager_add_container(pod->manager, container, error)) {
        image_service_unpin(pod->manager->images, container->id);
        return FALSE;
    }
    if (cdi_apply(container->config, settings->guest.cdi_spec_dirs, error) &&
        container_save(container, error) &&
        pod->platform->fit(pod, NULL, "config.linux.resources", FALSE, deadline, error) &&
        create_in_guest(container, image, deadline, error) && container_save(container, error)) {
        *ret_container = g_steal_pointer(&container);
        return TRUE;
    }
    pod_explain(pod, error);
    container_delete_in_guest(container);
    if (!container_forget(container, NULL, &forget_error))
        log_error(LOG_FIELDS("container", container->id), "cannot undo a failed create: %s",
                  forget_error->message);
    return FALSE;
}

gboolean container_create(SandboxManager *manager, const Runtime__V1__CreateContainerRequest *request,
                          const Deadline *deadline, char **ret_id, GError **error)
{
    g_autoptr(Pod) pod = NULL;
    g_autoptr(Container) container = NULL;
    g_autoptr(Image) image = NULL;
    g_autoptr(AgentConnection) agent = NULL;
    g_autoptr(PodTurn) turn = NULL;
    gboolean good = TRUE;

    if (!create_request_check(request, error))
        return FALSE;
    pod = manager_find_pod(manager, request->pod_sandbox_id, error);
    turn = pod != NULL ? pod_turn_take(pod, POD_TURN_CHANGE, deadline, error) : NULL;
    agent = turn != NULL ? pod_agent(pod, error) : NULL;
    if (agent == NULL ||
        !semaphore_acquire(&pod->create_job, deadline,
                           "waiting for another container of the sandbox to be created", error))
        return FALSE;
    container = container_find_by_metadata(pod, request->config->metadata);
    if (container != NULL && container_state(container) != CONTAINER_CREATED_STATE) {
        good =
            fail(error, STATUS_ALREADY_EXISTS, "sandbox %s already has a container %s, attempt %u: %s",
                 pod->id, request->config->metadata->name, request->config->metadata->attempt, container->id);
    } else if (container == NULL) {
        image = image_service_find(manager->images, request->config->image->image, error);
        good = image != NULL;
        if (!good && (error == NULL || *error == NULL))
            fail(error, STATUS_NOT_FOUND, "image %s is not on this node", request->config->image->image);
        good = good && container_create_new(pod, request, image, deadline, &container, error);
    }
    semaphore_release(&pod->create_job);
    if (!good) {
        g_prefix_error(error, "container %s: ", request->config->metadata->name);
        return FALSE;
    }
    log_info(LOG_FIELDS("container", container->id, "sandbox", pod->id), "container %s created",
             request->config->metadata->name);
    container_announce(container, EVENT(CREATED));
    *ret_id = g_strdup(container->id);
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/container/create_message.h"

#include <string.h>
#include <sys/utsname.h>

#include "agent/wire/wire.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/settings/pod_defaults.h"
#include "sandbox/oci/seccomp_profile.h"
#include "sandbox/pod/host_pod.h"
#include "sandbox/pod/host_request.h"
#include "sandbox/pod/pod_cgroup.h"
#include "sandbox/pods/pod_table.h"

/* Reads the Localhost profile that the container asks for. *ret_text, which the caller frees, stays NULL
 * when it asks for none. */
static gboolean seccomp_read(const Runtime__V1__ContainerConfig *config, char **ret_text, GError **error)
{
    const Runtime__V1__LinuxContainerSecurityContext *security =
        config->linux != NULL ? config->linux->security_context : NULL;
    const char *path;

    if (security == NULL || security->privileged || security->seccomp == NULL ||
        security->seccomp->profile_type != RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost)
        return TRUE;
    path = security->seccomp->localhost_ref;
    if (g_str_has_prefix(path, "localhost/"))
        path += strlen("localhost/");
    if (*path != '/')
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context.seccomp.localhost_ref: \"%s\" is not absolute", path);
    if (file_read(path, SECCOMP_PROFILE_MAX_BYTES, ret_text, NULL, error))
        return TRUE;
    g_prefix_error(error, "linux.security_context.seccomp: ");
    return FALSE;
}

/* Finds the running container whose PID namespace this one is to join. *ret_target, which is referenced,
 * stays NULL when it asks for none. */
static gboolean target_find(Container *container, Container **ret_target, GError **error)
{
    const char *id = oci_spec_target(container->config);
    g_autoptr(Container) target = NULL;

    if (id == NULL)
        return TRUE;
    target = *id != '\0' ? manager_find_container(container->pod->manager, id, NULL) : NULL;
    if (target == NULL || target->pod != container->pod)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context.namespace_options.target_id: sandbox %s has no container \"%s\"",
                    container->pod->id, id);
    if (container_state(target) != CONTAINER_RUNNING_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "linux.security_context.namespace_options.target_id: container %s is not running",
                    target->id);
    *ret_target = g_steal_pointer(&target);
    return TRUE;
}

static void user_set_groups(Crivirt__Agent__V1__User *user, const Runtime__V1__ContainerConfig *config,
                            Arena *arena)
{
    const Runtime__V1__LinuxContainerSecurityContext *security =
        config->linux != NULL ? config->linux->security_context : NULL;

    if (security == NULL)
        return;
    user->n_groups = security->n_supplemental_groups;
    user->groups = arena_new0(arena, uint32_t, user->n_groups);
    for (size_t i = 0; i < user->n_groups; i++)
        user->groups[i] = (uint32_t)security->supplemental_groups[i];
}

/* The lower one of the limits that the pod's cgroup on the node and the handler have. */
static guint64 pids_max(const Pod *pod, const Handler *handler)
{
    guint64 of_node = pod_cgroup_pids_max(pod);
    guint64 of_handler = handler != NULL ? handler->max_processes : 0;

    return of_node == 0 || (of_handler != 0 && of_handler < of_node) ? of_handler : of_node;
}

/* What the handler gives to its pods' containers. The agent of a pod that an older crivirt started takes none
 * of it. */
static gboolean set_defaults(Container *container, const Handler *handler, Arena *arena,
                             Crivirt__Agent__V1__CreateContainerRequest *create, GError **error)
{
    Pod *pod = container->pod;
    g_autoptr(AgentConnection) agent = pod_agent(pod, error);
    char *text = NULL;
    gsize length = 0;

    if (agent == NULL)
        return FALSE;
    if (!agent_connection_check_protocol(agent, WIRE_PROTOCOL_GUEST, "", NULL))
        return TRUE;
    if (!pod->platform->on_node)
        create->pod_pids_max = pids_max(pod, handler);
    if (handler == NULL || *handler->time_zone == '\0')
        return TRUE;
    if (!time_zone_read(handler->time_zone, &text, &length, error)) {
        g_prefix_error(error, "handlers.%s.time_zone: ", handler->name);
        return FALSE;
    }
    arena_hold(arena, text, g_free);
    create->localtime = (ProtobufCBinaryData){.len = length, .data = (guint8 *)text};
    return TRUE;
}

gboolean create_message_build(Container *container, const Image *image, const ContainerVolumes *volumes,
                              const GArray *layers, Arena *arena,
                              Crivirt__Agent__V1__CreateContainerRequest *create, GError **error)
{
    g_autofree char *seccomp = NULL;
    g_autoptr(Container) target = NULL;
    g_autoptr(GArray) devices = NULL;
    g_autofree char *cgroup = NULL;
    OciNode on_node;
    struct utsname node;
    OciSpecInput input = {
        .container_id = container->id,
        .pod = container->pod->config,
        .config = container->config,
        .image = image,
        .mount_sources = volumes->sources,
        .anonymous = volumes->anonymous,
        .n_anonymous = volumes->n_anonymous,
        .blocks = volumes->blocks,
        .n_blocks = volumes->n_blocks,
        .architecture = uname(&node) == 0 ? node.machine : "",
    };
    const Handler *handler = handler_find(container->pod->settings->handlers, container->pod->handler, NULL);
    Crivirt__Agent__V1__User *user = arena_new0(arena, Crivirt__Agent__V1__User, 1);
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;

    if (!seccomp_read(container->config, &seccomp, error) || !target_find(container, &target, error) ||
        !set_defaults(container, handler, arena, create, error))
        return FALSE;
    input.handler = handler;
    input.has_localtime = create->localtime.len > 0;
    if (container->pod->platform->on_node) {
        if (!node_devices_collect(container->config, &devices, error))
            return FALSE;
        cgroup = host_pod_container_cgroup(container);
        on_node = (OciNode){.cgroup = cgroup,
                            .devices = devices,
                            .capabilities = node_capabilities(),
                            .least_oom_score_adj = node_least_oom_score_adj(
                                node_capabilities(), container->pod->platform->process(container->pod))};
        input.node = &on_node;
    }
    input.seccomp_profile = seccomp;
    input.target_container_id = target != NULL ? target->guest_id : NULL;
    if (!oci_spec_build(&input, &before, &after, error) || !oci_spec_user(&input, user, error) ||
        !oci_spec_stop_signal(&input, &container->stop_signal, error))
        return FALSE;
    user_set_groups(user, container->config, arena);
    create->n_layers = layers->len;
    create->layers = container_disks(layers, arena);
    create->id = container->id;
    create->user = user;
    create->spec_before_user =
        (ProtobufCBinaryData){.len = strlen(before), .data = (guint8 *)arena_strdup(arena, before)};
    create->spec_after_user =
        (ProtobufCBinaryData){.len = strlen(after), .data = (guint8 *)arena_strdup(arena, after)};
    create->tty = container->config->tty;
    create->stdin = container->config->stdin;
    create->stdin_once = container->config->stdin_once;
    create->shared_pid = oci_spec_shares_pid(&input);
    return TRUE;
}

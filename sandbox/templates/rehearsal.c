/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/templates/rehearsal.h"

#include <string.h>
#include <sys/utsname.h>

#include "common/error.h"
#include "common/log.h"
#include "sandbox/agent/agent_calls.h"
#include "sandbox/oci/oci_spec.h"

#define PROGRAM "/init" /* the agent, in the guest and in the container */
#define CONTAINER_ID "rehearsal"
#define EXEC_ID "command"

/* Options of the agent's program: one waits for its end, one does nothing when no tree follows it. */
#define WAIT_OPTION "--wait"
#define NOTHING_OPTION "--remove-tree"

/* ---- the configuration, as a kubelet would request it ---- */

typedef struct {
    Runtime__V1__PodSandboxConfig pod;
    Runtime__V1__ContainerMetadata metadata;
    Runtime__V1__SecurityProfile seccomp;
    Runtime__V1__NamespaceOption namespaces;
    Runtime__V1__LinuxContainerSecurityContext security;
    Runtime__V1__LinuxContainerConfig linux;
    Runtime__V1__ContainerConfig config;
    Runtime__V1__Mount mount;
    Runtime__V1__Mount *mounts[1];
    OciMountSource sources[1];
    char *command[2];
    char *nothing[1];
    Image image;
    OciSpecInput input;
    struct utsname node;
} Rehearsal;

static void rehearsal_describe(Rehearsal *rehearsal)
{
    *rehearsal = (Rehearsal){.command = {(char *)PROGRAM, (char *)WAIT_OPTION}};
    runtime__v1__pod_sandbox_config__init(&rehearsal->pod);
    runtime__v1__container_metadata__init(&rehearsal->metadata);
    runtime__v1__security_profile__init(&rehearsal->seccomp);
    runtime__v1__namespace_option__init(&rehearsal->namespaces);
    runtime__v1__linux_container_security_context__init(&rehearsal->security);
    runtime__v1__linux_container_config__init(&rehearsal->linux);
    runtime__v1__container_config__init(&rehearsal->config);
    runtime__v1__mount__init(&rehearsal->mount);
    rehearsal->seccomp.profile_type = RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__RuntimeDefault;
    rehearsal->security.seccomp = &rehearsal->seccomp;
    rehearsal->namespaces.pid = RUNTIME__V1__NAMESPACE_MODE__CONTAINER; /* as the kubelet asks for */
    rehearsal->security.namespace_options = &rehearsal->namespaces;
    rehearsal->linux.security_context = &rehearsal->security;
    rehearsal->mount.container_path = rehearsal->mount.host_path = (char *)PROGRAM;
    rehearsal->mount.readonly = TRUE;
    rehearsal->mounts[0] = &rehearsal->mount;
    rehearsal->sources[0].path = PROGRAM;
    rehearsal->config.metadata = &rehearsal->metadata;
    rehearsal->config.linux = &rehearsal->linux;
    rehearsal->config.command = rehearsal->command;
    rehearsal->config.n_command = G_N_ELEMENTS(rehearsal->command);
    rehearsal->config.mounts = rehearsal->mounts;
    rehearsal->config.n_mounts = G_N_ELEMENTS(rehearsal->mounts);
    rehearsal->image = (Image){.id = (char *)"",
                               .entrypoint = rehearsal->nothing,
                               .cmd = rehearsal->nothing,
                               .environment = rehearsal->nothing,
                               .volumes = rehearsal->nothing};
    rehearsal->input =
        (OciSpecInput){.container_id = CONTAINER_ID,
                       .pod = &rehearsal->pod,
                       .config = &rehearsal->config,
                       .image = &rehearsal->image,
                       .mount_sources = rehearsal->sources,
                       .architecture = uname(&rehearsal->node) == 0 ? rehearsal->node.machine : ""};
}

/* ---- the container ---- */

static gboolean rehearse_create(AgentConnection *agent, const Deadline *deadline, GError **error)
{
    AgentCreateContainerRequest create = CRIVIRT__AGENT__V1__CREATE_CONTAINER_REQUEST__INIT;
    Crivirt__Agent__V1__User user = CRIVIRT__AGENT__V1__USER__INIT;
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    Rehearsal rehearsal;

    rehearsal_describe(&rehearsal);
    if (!oci_spec_build(&rehearsal.input, &before, &after, error) ||
        !oci_spec_user(&rehearsal.input, &user, error))
        return FALSE;
    create.id = (char *)CONTAINER_ID;
    create.user = &user;
    create.spec_before_user = (ProtobufCBinaryData){.len = strlen(before), .data = (guint8 *)before};
    create.spec_after_user = (ProtobufCBinaryData){.len = strlen(after), .data = (guint8 *)after};
    create.rehearsal = TRUE;
    return agent_create_container(agent, &create, deadline, NULL, error);
}

static gboolean rehearse_start(AgentConnection *agent, const Deadline *deadline, GError **error)
{
    AgentStartContainerRequest start = CRIVIRT__AGENT__V1__START_CONTAINER_REQUEST__INIT;

    start.id = (char *)CONTAINER_ID;
    return agent_start_container(agent, &start, deadline, NULL, error);
}

static gboolean rehearse_exec(AgentConnection *agent, const Deadline *deadline, GError **error)
{
    char *args[] = {(char *)PROGRAM, (char *)NOTHING_OPTION};
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
    AgentExecRequest exec = CRIVIRT__AGENT__V1__EXEC_REQUEST__INIT;

    process.container_id = (char *)CONTAINER_ID;
    process.exec_id = (char *)EXEC_ID;
    exec.process = &process;
    exec.args = args;
    exec.n_args = G_N_ELEMENTS(args);
    return agent_exec(agent, &exec, deadline, NULL, error);
}

static gboolean rehearse_delete(AgentConnection *agent, const Deadline *deadline, GError **error)
{
    AgentDeleteContainerRequest delete = CRIVIRT__AGENT__V1__DELETE_CONTAINER_REQUEST__INIT;

    delete.id = (char *)CONTAINER_ID;
    return agent_delete_container(agent, &delete, deadline, NULL, error);
}

/* A guest in which the container cannot be created has nothing of it, so it is as good as one that has not
 * rehearsed. An older agent takes the container for one of a pod, which the guest does not have yet. */
static gboolean is_harmless(const GError *problem)
{
    if (problem->code == STATUS_INTERNAL || problem->code == STATUS_INVALID_ARGUMENT)
        log_warning(LOG_NO_FIELDS, "a VM of the pool cannot rehearse a container: %s", problem->message);
    return problem->code == STATUS_INTERNAL || problem->code == STATUS_INVALID_ARGUMENT ||
           problem->code == STATUS_FAILED_PRECONDITION;
}

gboolean guest_rehearse(AgentConnection *agent, const Deadline *deadline, GError **error)
{
    g_autoptr(GError) problem = NULL;

    if (!rehearse_create(agent, deadline, &problem)) {
        if (is_harmless(problem))
            return TRUE;
    } else if (rehearse_start(agent, deadline, &problem) && rehearse_exec(agent, deadline, &problem) &&
               rehearse_delete(agent, deadline, &problem)) {
        return TRUE;
    }
    g_propagate_prefixed_error(error, g_steal_pointer(&problem), "cannot rehearse a container: ");
    return FALSE;
}

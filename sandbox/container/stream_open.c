/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/container/stream_open.h"

#include "agent/wire/wire.h"
#include "common/error.h"
#include "sandbox/container/container_pause.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/pod_turn.h"
#include "sandbox/pods/stream_sessions.h"

typedef enum { TO_ATTACH, TO_EXEC, TO_EXEC_IN_GUEST } Purpose;

/* Return: the container, referenced, in a state that allows the session; NULL with an error. */
static Container *container_to_open(SandboxManager *manager, const char *id, Purpose purpose, GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, id, error);
    ContainerState state;

    if (container == NULL)
        return NULL;
    state = container_state(container);
    if (state != CONTAINER_RUNNING_STATE && (purpose != TO_ATTACH || state != CONTAINER_CREATED_STATE)) {
        fail(error, STATUS_FAILED_PRECONDITION, "container %s is not running", container->id);
        return NULL;
    }
    if (purpose == TO_EXEC && container_is_paused(container)) {
        fail(error, STATUS_FAILED_PRECONDITION, "container %s is paused: crivirt unpause lets it go on",
             container->id);
        return NULL;
    }
    if (purpose == TO_EXEC_IN_GUEST && container->pod->platform->on_node) {
        fail(error, STATUS_FAILED_PRECONDITION,
             "container %s is one of a host pod, which has no guest: its kernel is the node's",
             container->id);
        return NULL;
    }
    return g_steal_pointer(&container);
}

static gboolean check_container(SandboxManager *manager, const char *container_id, Purpose purpose,
                                char **ret_sandbox_id, GError **error)
{
    g_autoptr(Container) container = container_to_open(manager, container_id, purpose, error);

    if (container == NULL || !pod_check_ready(container->pod, error))
        return FALSE;
    *ret_sandbox_id = g_strdup(container->pod->id);
    return TRUE;
}

gboolean stream_session_check_exec(SandboxManager *manager, const char *container_id, gboolean in_guest,
                                   char **ret_sandbox_id, GError **error)
{
    return check_container(manager, container_id, in_guest ? TO_EXEC_IN_GUEST : TO_EXEC, ret_sandbox_id,
                           error);
}

gboolean stream_session_check_attach(SandboxManager *manager, const char *container_id, char **ret_sandbox_id,
                                     GError **error)
{
    return check_container(manager, container_id, TO_ATTACH, ret_sandbox_id, error);
}

StreamSession *stream_session_exec(SandboxManager *manager, const StreamSessionExec *exec,
                                   const StreamSessionClient *client, const Deadline *deadline,
                                   GError **error)
{
    g_autoptr(Container) container =
        container_to_open(manager, exec->container_id, exec->in_guest ? TO_EXEC_IN_GUEST : TO_EXEC, error);
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
    Crivirt__Agent__V1__ExecRequest message = CRIVIRT__AGENT__V1__EXEC_REQUEST__INIT;
    g_autoptr(AgentConnection) agent = NULL;
    g_autoptr(PodTurn) turn =
        container != NULL ? pod_turn_take(container->pod, POD_TURN_USE, deadline, error) : NULL;
    StreamSession *session;
    Deadline start;

    if (turn == NULL)
        return NULL;
    session = stream_session_new(STREAM_SESSION_EXEC, container->pod, container, exec->with_input, client);
    process.container_id = container->guest_id;
    process.exec_id = (char *)stream_session_exec_id(session);
    message.process = &process;
    message.args = (char **)exec->args;
    message.n_args = exec->n_args;
    message.tty = exec->tty;
    message.stdin = exec->with_input;
    message.columns = exec->columns;
    message.rows = exec->rows;
    message.in_guest = exec->in_guest;
    stream_session_register(session);
    agent = stream_session_starter(session, deadline, &start, error);
    if (agent != NULL &&
        (!exec->in_guest || agent_connection_check_protocol(agent, WIRE_PROTOCOL_GUEST,
                                                            "a command in the guest itself", error)) &&
        agent_exec(agent, &message, &start, NULL, error))
        return session;
    stream_session_close(session); /* hangs up a process that starts late */
    return NULL;
}

StreamSession *stream_session_attach(SandboxManager *manager, const char *container_id, gboolean with_input,
                                     const StreamSessionClient *client, const Deadline *deadline,
                                     GError **error)
{
    g_autoptr(Container) container = container_to_open(manager, container_id, TO_ATTACH, error);
    g_autoptr(PodTurn) turn =
        container != NULL ? pod_turn_take(container->pod, POD_TURN_USE, deadline, error) : NULL;
    g_autoptr(AgentConnection) agent = turn != NULL ? pod_agent(container->pod, error) : NULL;
    StreamSession *session;
    ContainerState state;

    if (agent == NULL)
        return NULL;
    session = stream_session_new(STREAM_SESSION_ATTACH, container->pod, container, with_input, client);
    if (!stream_session_check_agent(session, agent, error)) {
        stream_session_unref(session);
        return NULL;
    }
    stream_session_register(session);
    /* The container may have ended before the session was registered, which then was not notified. */
    state = container_state(container);
    if (state != CONTAINER_RUNNING_STATE && state != CONTAINER_CREATED_STATE)
        stream_session_finish(session, container->exit_code, NULL);
    return session;
}

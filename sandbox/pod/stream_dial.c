/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/stream_dial.h"

#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/pod_turn.h"
#include "sandbox/pods/stream_sessions.h"

gboolean stream_session_check_sandbox(SandboxManager *manager, const char *sandbox_id, char **ret_sandbox_id,
                                      GError **error)
{
    g_autoptr(Pod) pod = manager_find_pod(manager, sandbox_id, error);

    if (pod == NULL || !pod_check_ready(pod, error))
        return FALSE;
    *ret_sandbox_id = g_strdup(pod->id);
    return TRUE;
}

StreamSession *stream_session_dial(SandboxManager *manager, const char *sandbox_id, guint16 port,
                                   const StreamSessionClient *client, const Deadline *deadline,
                                   GError **error)
{
    g_autoptr(Pod) pod = manager_find_pod(manager, sandbox_id, error);
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
    Crivirt__Agent__V1__DialRequest message = CRIVIRT__AGENT__V1__DIAL_REQUEST__INIT;
    g_autoptr(AgentConnection) agent = NULL;
    g_autoptr(PodTurn) turn = pod != NULL ? pod_turn_take(pod, POD_TURN_USE, deadline, error) : NULL;
    StreamSession *session;
    Deadline start;

    if (turn == NULL)
        return NULL;
    session = stream_session_new(STREAM_SESSION_DIAL, pod, NULL, TRUE, client);
    process.exec_id = (char *)stream_session_exec_id(session);
    message.process = &process;
    message.port = port;
    stream_session_register(session);
    agent = stream_session_starter(session, deadline, &start, error);
    if (agent != NULL && agent_dial(agent, &message, &start, NULL, error))
        return session;
    stream_session_close(session);
    return NULL;
}

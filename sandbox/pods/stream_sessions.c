/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/stream_sessions.h"

/* ---- finding them ---- */

/* Return: the session of that process, referenced; NULL: there is none, or the guest names another container
 * than the session's. */
static StreamSession *session_find(Pod *pod, const Crivirt__Agent__V1__ProcessId *process)
{
    StreamSession *session;

    g_mutex_lock(&pod->lock);
    session = g_hash_table_lookup(pod->sessions, process->exec_id);
    if (session != NULL && !stream_session_is_of(session, process->container_id))
        session = NULL;
    if (session != NULL)
        stream_session_ref(session);
    g_mutex_unlock(&pod->lock);
    return session;
}

/* Return: the sessions of attached clients, referenced; the array frees them. */
static GPtrArray *sessions_attached(Container *container)
{
    GPtrArray *sessions = g_ptr_array_new_with_free_func((GDestroyNotify)stream_session_unref);

    g_mutex_lock(&container->pod->lock);
    for (guint i = 0; i < container->attached->len; i++)
        g_ptr_array_add(sessions, stream_session_ref(container->attached->pdata[i]));
    g_mutex_unlock(&container->pod->lock);
    return sessions;
}

/* Return: the execs and connections of the pod, or of one of its containers, referenced; the array frees
 * them. */
static GPtrArray *sessions_of(Pod *pod, const Container *container)
{
    GPtrArray *sessions = g_ptr_array_new_with_free_func((GDestroyNotify)stream_session_unref);
    GHashTableIter iter;
    gpointer session;

    g_mutex_lock(&pod->lock);
    g_hash_table_iter_init(&iter, pod->sessions);
    while (g_hash_table_iter_next(&iter, NULL, &session))
        if (container == NULL || stream_session_is_of(session, container->guest_id))
            g_ptr_array_add(sessions, stream_session_ref(session));
    g_mutex_unlock(&pod->lock);
    return sessions;
}

/* ---- what the agent reports of execs and connections ---- */

gboolean stream_sessions_output(Pod *pod, const Crivirt__Agent__V1__Output *output)
{
    StreamSession *session = session_find(pod, output->process);

    if (session != NULL)
        stream_session_receive(session, output);
    stream_session_unref(session);
    return session != NULL;
}

gboolean stream_sessions_exited(Pod *pod, const Crivirt__Agent__V1__Exited *exited)
{
    StreamSession *session = session_find(pod, exited->process);

    if (session != NULL)
        stream_session_exited(session, exited->exit_code);
    stream_session_unref(session);
    return session != NULL;
}

void stream_sessions_input_acked(Pod *pod, const Crivirt__Agent__V1__InputAck *ack)
{
    StreamSession *session = session_find(pod, ack->process);

    if (session != NULL)
        stream_session_input_acked(session, ack->offset);
    stream_session_unref(session);
}

void stream_sessions_resume(Pod *pod)
{
    g_autoptr(GPtrArray) sessions = sessions_of(pod, NULL);

    for (guint i = 0; i < sessions->len; i++)
        stream_session_resume_input(sessions->pdata[i]);
}

void stream_sessions_wake(Pod *pod)
{
    g_autoptr(GPtrArray) sessions = sessions_of(pod, NULL);

    for (guint i = 0; i < sessions->len; i++)
        stream_session_wake(sessions->pdata[i]);
}

/* ---- what it reports of a container's first process ---- */

void stream_sessions_attached_output(Container *container, const Crivirt__Agent__V1__Output *output)
{
    const gboolean is_stderr = output->stream == CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR;
    const StreamSessionStream stream = is_stderr ? STREAM_SESSION_STDERR : STREAM_SESSION_STDOUT;
    const guint64 end_offset = output->offset + output->data.len;
    g_autoptr(GPtrArray) sessions = sessions_attached(container);

    for (guint i = 0; i < sessions->len; i++) {
        /* A session begins where the container is now; what the agent sends again is older. */
        stream_session_skip_to(sessions->pdata[i], stream, MAX(output->offset, container->seen[stream]));
        stream_session_receive(sessions->pdata[i], output);
    }
    container->seen[stream] = MAX(container->seen[stream], end_offset);
}

void stream_sessions_attached_exited(Container *container, gint32 exit_code)
{
    g_autoptr(GPtrArray) sessions = sessions_attached(container);

    for (guint i = 0; i < sessions->len; i++)
        stream_session_finish(sessions->pdata[i], exit_code, NULL);
}

void stream_sessions_attached_input_acked(Container *container, guint64 offset)
{
    g_autoptr(GPtrArray) sessions = sessions_attached(container);

    guest_input_acked(container->input, offset);
    for (guint i = 0; i < sessions->len; i++)
        stream_session_wake(sessions->pdata[i]);
}

/* ---- the end of a container or a guest ---- */

static void sessions_fail(const GPtrArray *sessions, const char *why)
{
    for (guint i = 0; i < sessions->len; i++)
        stream_session_finish(sessions->pdata[i], 0, why);
}

void stream_sessions_fail_container(Container *container, const char *why)
{
    g_autoptr(GPtrArray) sessions = sessions_of(container->pod, container);
    g_autoptr(GPtrArray) attached = sessions_attached(container);

    sessions_fail(sessions, why);
    sessions_fail(attached, why);
}

void stream_sessions_fail(Pod *pod, const char *why)
{
    g_autoptr(GPtrArray) sessions = sessions_of(pod, NULL);
    g_autoptr(GPtrArray) containers = pod_containers(pod);

    sessions_fail(sessions, why);
    for (guint i = 0; i < containers->len; i++)
        stream_sessions_fail_container(containers->pdata[i], why);
}

void stream_sessions_end(Pod *pod, const char *why)
{
    g_autoptr(GPtrArray) sessions = sessions_of(pod, NULL);

    for (guint i = 0; i < sessions->len; i++)
        stream_session_hang_up(sessions->pdata[i]);
    stream_sessions_fail(pod, why);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* ExecSync: runs a command in a container, collects its output, and returns when it has ended. */

#include <signal.h>
#include <string.h>

#include "common/error.h"
#include "sandbox/container/stream_open.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/pod.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/pod_turn.h"
#include "sandbox/sandbox.h"

enum {
    /* The CRI's limit for each stream. Further output is read and dropped, so that the command never blocks.
     */
    MAX_STREAM_BYTES = 16 << 20,
    /* Both streams together have to fit into one response. */
    MAX_ANSWER_BYTES = (16 << 20) - (64 << 10),
    KILLED_TIMEOUT_MS = 5 * 1000,
};

/* Wakes the RPC's thread when the stream session has changed. */
typedef struct {
    GMutex lock;
    GCond changed;
    gboolean woken;
} Waiter;

static void waiter_wake(gpointer data)
{
    Waiter *waiter = data;

    g_mutex_lock(&waiter->lock);
    waiter->woken = TRUE;
    g_cond_signal(&waiter->changed);
    g_mutex_unlock(&waiter->lock);
}

static gboolean waiter_wait(Waiter *waiter, const Deadline *deadline, GError **error)
{
    gboolean good = TRUE;

    g_mutex_lock(&waiter->lock);
    while (good && !waiter->woken)
        good = deadline_cond_wait(deadline, &waiter->changed, &waiter->lock, "waiting for the command to end",
                                  error);
    waiter->woken = FALSE;
    g_mutex_unlock(&waiter->lock);
    return good;
}

static void exec_read_stream(StreamSession *session, StreamSessionStream stream, GByteArray *bytes)
{
    guint8 buffer[16 << 10];
    gsize length;

    while ((length = stream_session_read(session, stream, buffer, sizeof buffer)) > 0)
        g_byte_array_append(bytes, buffer, (guint)MIN(length, MAX_STREAM_BYTES - bytes->len));
}

/* Kills the command with all processes that it has started, and waits for its end, so that a client that
 * gets the time-out finds the command gone. */
static void exec_kill_and_wait(StreamSession *session, Waiter *waiter, GByteArray *const streams[2])
{
    Deadline deadline = deadline_in_ms(KILLED_TIMEOUT_MS);
    StreamSessionEnd end;

    stream_session_signal(session, SIGKILL);
    do {
        exec_read_stream(session, STREAM_SESSION_STDOUT, streams[0]);
        exec_read_stream(session, STREAM_SESSION_STDERR, streams[1]);
    } while (!stream_session_ended(session, &end) && waiter_wait(waiter, &deadline, NULL));
}

static gboolean exec_collect_until_end(Pod *pod, StreamSession *session, Waiter *waiter,
                                       GByteArray *const streams[2], const Deadline *deadline,
                                       gint32 *ret_exit_code, GError **error)
{
    StreamSessionEnd end;

    for (;;) {
        exec_read_stream(session, STREAM_SESSION_STDOUT, streams[0]);
        exec_read_stream(session, STREAM_SESSION_STDERR, streams[1]);
        if (stream_session_ended(session, &end))
            break;
        /* The command gets the signal when the guest can run again. */
        if (!pod_check_blocked(pod, "waiting for the command to end", error)) {
            stream_session_signal(session, SIGKILL);
            return FALSE;
        }
        if (!waiter_wait(waiter, deadline, error)) {
            exec_kill_and_wait(session, waiter, streams);
            return FALSE;
        }
    }
    if (end.failure != NULL)
        return fail(error, STATUS_UNAVAILABLE, "%s", end.failure);
    *ret_exit_code = end.exit_code;
    return TRUE;
}

static ProtobufCBinaryData answer_take_stream(Arena *arena, const GByteArray *stream, gsize limit)
{
    ProtobufCBinaryData data = {.len = MIN(stream->len, limit)};

    data.data = arena_alloc(arena, MAX(data.len, 1));
    if (data.len > 0)
        memcpy(data.data, stream->data, data.len);
    return data;
}

/* The command's time limit does not apply to its start: an abandoned start would go on without a caller. */
static gboolean exec_start_and_run(const Container *container, const StreamSessionExec *exec,
                                   const Deadline *deadline, const Deadline *limit,
                                   GByteArray *const streams[2], gint32 *ret_exit_code, GError **error)
{
    Waiter waiter = {0};
    StreamSessionClient client = {waiter_wake, &waiter};
    StreamSession *session;
    gboolean good;

    g_mutex_init(&waiter.lock);
    g_cond_init(&waiter.changed);
    session = stream_session_exec(container->pod->manager, exec, &client, deadline, error);
    good = session != NULL &&
           exec_collect_until_end(container->pod, session, &waiter, streams, limit, ret_exit_code, error);
    stream_session_close(session);
    g_mutex_clear(&waiter.lock);
    g_cond_clear(&waiter.changed);
    return good;
}

static Deadline exec_limit(const Runtime__V1__ExecSyncRequest *request, const Deadline *deadline)
{
    if (request->timeout > 0)
        return deadline_sooner(deadline, MIN(request->timeout, G_MAXINT / 1000) * 1000);
    return deadline != NULL ? *deadline : deadline_sooner(NULL, G_MAXINT);
}

gboolean container_exec_sync(SandboxManager *manager, const Runtime__V1__ExecSyncRequest *request,
                             const Deadline *deadline, Arena *arena,
                             Runtime__V1__ExecSyncResponse *ret_response, GError **error)
{
    g_autoptr(GByteArray) output = g_byte_array_new();
    g_autoptr(GByteArray) errors = g_byte_array_new();
    GByteArray *const streams[2] = {output, errors};
    g_autoptr(Container) container = manager_find_container(manager, request->container_id, error);
    StreamSessionExec exec = {.args = request->cmd, .n_args = request->n_cmd};
    g_autoptr(PodTurn) turn = NULL;
    Deadline limit = exec_limit(request, deadline);
    gint32 exit_code = 0;

    if (container == NULL)
        return FALSE;
    if (request->n_cmd == 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "cmd: there is no command to run");
    turn = pod_turn_take(container->pod, POD_TURN_EXEC, deadline, error);
    if (turn == NULL)
        return FALSE;
    exec.container_id = container->id;
    if (!exec_start_and_run(container, &exec, deadline, &limit, streams, &exit_code, error)) {
        pod_explain(container->pod, error);
        g_prefix_error(error, "exec in container %s: ", container->id);
        return FALSE;
    }
    /* Each stream may have at least half of the response, however much the other one has. */
    ret_response->stderr = answer_take_stream(
        arena, errors, MAX(MAX_ANSWER_BYTES / 2, MAX_ANSWER_BYTES - MIN(output->len, MAX_ANSWER_BYTES)));
    ret_response->stdout = answer_take_stream(arena, output, MAX_ANSWER_BYTES - ret_response->stderr.len);
    ret_response->exit_code = exit_code;
    return TRUE;
}

/* ExecSync: runs a command in a container, collects what it writes, and answers when it has ended. */

#include <signal.h>
#include <string.h>

#include "common/error.h"
#include "sandbox/pod.h"

enum {
    /* The CRI's cap on each stream; more is read and dropped, so that the process never blocks on it. */
    MAX_STREAM_BYTES = 16 << 20,
    /* Both together have to fit into one answer. */
    MAX_ANSWER_BYTES = (16 << 20) - (64 << 10),
    START_TIMEOUT_MS = 60 * 1000,
    KILL_TIMEOUT_MS = 5 * 1000,
};

struct ExecSession {
    char id[33];
    GByteArray *streams[2];
    guint64 offsets[2]; /* of the next byte; repeated ones are skipped */
    gboolean exited;
    gint32 exit_code;
    char *failure; /* why it will never exit */
};

/* ---- from the link; pod->lock protects the session ---- */

gboolean exec_session_output(Container *container, const Crivirt__Agent__V1__Output *output)
{
    int stream = output->stream == CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR ? 1 : 0;
    ExecSession *session;

    g_mutex_lock(&container->pod->lock);
    session = g_hash_table_lookup(container->execs, output->process->exec_id);
    if (session != NULL && output->offset <= session->offsets[stream] &&
        output->offset + output->data.len > session->offsets[stream]) {
        gsize skip = session->offsets[stream] - output->offset;
        gsize fresh = output->data.len - skip;

        g_byte_array_append(session->streams[stream], output->data.data + skip,
                            (guint)MIN(fresh, MAX_STREAM_BYTES - session->streams[stream]->len));
        session->offsets[stream] += fresh;
    }
    g_mutex_unlock(&container->pod->lock);
    return session != NULL;
}

gboolean exec_session_exited(Container *container, const Crivirt__Agent__V1__Exited *exited)
{
    ExecSession *session;

    g_mutex_lock(&container->pod->lock);
    session = g_hash_table_lookup(container->execs, exited->process->exec_id);
    if (session != NULL) {
        session->exited = TRUE;
        session->exit_code = exited->exit_code;
        g_cond_broadcast(&container->pod->changed);
    }
    g_mutex_unlock(&container->pod->lock);
    return session != NULL;
}

void exec_sessions_fail(Container *container, const char *why)
{
    GHashTableIter iter;
    gpointer value;

    g_mutex_lock(&container->pod->lock);
    g_hash_table_iter_init(&iter, container->execs);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        ExecSession *session = value;

        if (session->failure == NULL)
            session->failure = g_strdup(why);
    }
    g_cond_broadcast(&container->pod->changed);
    g_mutex_unlock(&container->pod->lock);
}

/* ---- the call ---- */

static void session_register(Container *container, ExecSession *session)
{
    g_autofree char *id = manager_new_id();

    g_strlcpy(session->id, id, sizeof session->id);
    session->streams[0] = g_byte_array_new();
    session->streams[1] = g_byte_array_new();
    g_mutex_lock(&container->pod->lock);
    g_hash_table_insert(container->execs, session->id, session);
    g_mutex_unlock(&container->pod->lock);
}

static void session_unregister(Container *container, ExecSession *session)
{
    g_mutex_lock(&container->pod->lock);
    g_hash_table_remove(container->execs, session->id);
    g_mutex_unlock(&container->pod->lock);
    g_byte_array_unref(session->streams[0]);
    g_byte_array_unref(session->streams[1]);
    g_free(session->failure);
}

static Crivirt__Agent__V1__ProcessId session_process(const Container *container, ExecSession *session)
{
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;

    process.container_id = container->id;
    process.exec_id = session->id;
    return process;
}

static gboolean session_start(Container *container, ExecSession *session, Link *link,
                              const Runtime__V1__ExecSyncRequest *request, const Deadline *deadline,
                              GError **error)
{
    Crivirt__Agent__V1__ProcessId process = session_process(container, session);
    Crivirt__Agent__V1__ExecRequest exec = CRIVIRT__AGENT__V1__EXEC_REQUEST__INIT;
    Crivirt__Agent__V1__Request call = CRIVIRT__AGENT__V1__REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, START_TIMEOUT_MS);
    Crivirt__Agent__V1__Response *response;

    exec.process = &process;
    exec.args = request->cmd;
    exec.n_args = request->n_cmd;
    call.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_EXEC;
    call.exec = &exec;
    if (!link_call(link, &call, &bounded, &response, error))
        return FALSE;
    crivirt__agent__v1__response__free_unpacked(response, NULL);
    return TRUE;
}

/* Past its time: the process must not go on. */
static void session_kill(Container *container, ExecSession *session, Link *link)
{
    Crivirt__Agent__V1__ProcessId process = session_process(container, session);
    Crivirt__Agent__V1__SignalRequest kill = CRIVIRT__AGENT__V1__SIGNAL_REQUEST__INIT;
    Crivirt__Agent__V1__Request call = CRIVIRT__AGENT__V1__REQUEST__INIT;
    Deadline bounded = deadline_in_ms(KILL_TIMEOUT_MS);
    Crivirt__Agent__V1__Response *response;

    kill.process = &process;
    kill.signal = SIGKILL;
    kill.all = TRUE; /* what a shell has started ends with it */
    call.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_SIGNAL;
    call.signal = &kill;
    if (link_call(link, &call, &bounded, &response, NULL))
        crivirt__agent__v1__response__free_unpacked(response, NULL);
}

static gboolean session_wait(Container *container, ExecSession *session, const Deadline *deadline,
                             GError **error)
{
    gboolean good = TRUE;

    g_mutex_lock(&container->pod->lock);
    while (good && !session->exited) {
        if (session->failure != NULL)
            good = fail(error, STATUS_UNAVAILABLE, "%s", session->failure);
        else
            good = deadline_cond_wait(deadline, &container->pod->changed, &container->pod->lock,
                                      "waiting for the command to end", error);
    }
    g_mutex_unlock(&container->pod->lock);
    return good;
}

static ProtobufCBinaryData stream_take(Arena *arena, const GByteArray *stream, gsize limit)
{
    ProtobufCBinaryData data = {.len = MIN(stream->len, limit)};

    data.data = arena_alloc(arena, MAX(data.len, 1));
    if (data.len > 0)
        memcpy(data.data, stream->data, data.len);
    return data;
}

static void answer_fill(Container *container, const ExecSession *session, Arena *arena,
                        Runtime__V1__ExecSyncResponse *response)
{
    g_mutex_lock(&container->pod->lock);
    response->stdout = stream_take(arena, session->streams[0], MAX_ANSWER_BYTES);
    response->stderr = stream_take(arena, session->streams[1], MAX_ANSWER_BYTES - response->stdout.len);
    response->exit_code = session->exit_code;
    g_mutex_unlock(&container->pod->lock);
}

gboolean container_exec_sync(SandboxManager *manager, const Runtime__V1__ExecSyncRequest *request,
                             const Deadline *deadline, Arena *arena,
                             Runtime__V1__ExecSyncResponse *ret_response, GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, request->container_id, error);
    g_autoptr(Link) link = NULL;
    ExecSession session = {0};
    Deadline limit;
    gboolean good;

    if (container == NULL)
        return FALSE;
    if (request->n_cmd == 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "cmd: there is no command to run");
    if (container_state(container) != CONTAINER_RUNNING_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION, "container %s is not running", container->id);
    link = pod_link(container->pod, error);
    if (link == NULL)
        return FALSE;
    session_register(container, &session);
    good = session_start(container, &session, link, request, deadline, error);
    if (good) {
        /* The command's own time begins when it runs. */
        limit = deadline_sooner(deadline, request->timeout > 0 ? MIN(request->timeout, G_MAXINT / 1000) * 1000
                                                               : G_MAXINT);
        good = session_wait(container, &session, &limit, error);
    }
    if (good)
        answer_fill(container, &session, arena, ret_response);
    else
        session_kill(container, &session, link); /* also one that is still being started */
    if (!good)
        g_prefix_error(error, "exec in container %s: ", container->id);
    session_unregister(container, &session);
    return good;
}

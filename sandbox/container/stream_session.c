
#include "sandbox/container/stream_session.h"

#include <string.h>

#include "agent/wire/wire.h"
#include "common/error.h"
#include "common/ids.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/guest_input.h"
#include "sandbox/pods/pod.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/stream_sessions.h"

typedef Crivirt__Agent__V1__Request Request;
typedef Crivirt__Agent__V1__Response Response;

enum {
    /* The agent starts a few at a time, and gives each a minute from when its turn has come; an agent that
     * does not answer is noticed by its link. */
    START_TIMEOUT_MS = 15 * 60 * 1000,
    /* Acknowledging each read would be as much work for the guest as what it sent. */
    ACK_BYTES = WIRE_WINDOW_BYTES / 4,
};

typedef struct {
    GByteArray *bytes;
    gsize read;       /* of bytes */
    guint64 received; /* offset of the next byte from the guest; repeated ones are skipped */
    guint64 acked;
} Pipe;

typedef enum { KIND_EXEC, KIND_ATTACH, KIND_DIAL } Kind;

struct StreamSession {
    gint references;
    Kind kind;
    char id[33]; /* exec id; empty: the container's first process */
    Pod *pod;
    Container *container; /* NULL: a connection */
    gboolean with_input;
    GuestInput *input;

    GMutex lock; /* taken after the pod's */
    StreamSessionClient client;
    gboolean closed;
    Pipe pipes[2];
    gsize skipped_bytes; /* an attached terminal's client was too slow for them */
    gboolean ended;
    gint32 exit_code;
    char *failure;
};

/* ---- life ---- */

static StreamSession *stream_session_new(Kind kind, Pod *pod, Container *container,
                                         const StreamSessionClient *client)
{
    StreamSession *session = g_new0(StreamSession, 1);

    session->references = 1;
    session->kind = kind;
    session->pod = pod_ref(pod);
    session->container = container != NULL ? container_ref(container) : NULL;
    session->client = *client;
    session->pipes[0].bytes = g_byte_array_new();
    session->pipes[1].bytes = g_byte_array_new();
    g_mutex_init(&session->lock);
    if (kind == KIND_ATTACH) {
        session->input = guest_input_ref(container->input);
    } else {
        g_autofree char *id = id_new();

        g_strlcpy(session->id, id, sizeof session->id);
        session->input = guest_input_new(pod, container != NULL ? container->id : "", session->id);
    }
    return session;
}

StreamSession *stream_session_ref(StreamSession *session)
{
    g_atomic_int_inc(&session->references);
    return session;
}

void stream_session_unref(StreamSession *session)
{
    if (session == NULL || !g_atomic_int_dec_and_test(&session->references))
        return;
    guest_input_unref(session->input);
    g_byte_array_unref(session->pipes[0].bytes);
    g_byte_array_unref(session->pipes[1].bytes);
    g_mutex_clear(&session->lock);
    container_unref(session->container);
    pod_unref(session->pod);
    g_free(session->failure);
    g_free(session);
}

/* The tables hold no reference: stream_session_close() takes it out of them. */
static void stream_session_register(StreamSession *session)
{
    g_mutex_lock(&session->pod->lock);
    if (session->kind == KIND_ATTACH)
        g_ptr_array_add(session->container->attached, session);
    else
        g_hash_table_insert(session->pod->sessions, session->id, session);
    g_mutex_unlock(&session->pod->lock);
}

static void stream_session_unregister(StreamSession *session)
{
    g_mutex_lock(&session->pod->lock);
    if (session->kind == KIND_ATTACH)
        g_ptr_array_remove_fast(session->container->attached, session);
    else
        g_hash_table_remove(session->pod->sessions, session->id);
    g_mutex_unlock(&session->pod->lock);
}

/* Locked. */
static void wake(StreamSession *session)
{
    if (!session->closed)
        session->client.wake(session->client.data);
}

/* ---- from the link ---- */

/* What a client of a terminal missed. Locked. */
static void tell_skipped(StreamSession *session)
{
    g_autofree char *text =
        g_strdup_printf("\r\n[crivirt: %zu bytes are not shown: this terminal is too slow for them]\r\n",
                        session->skipped_bytes);

    g_byte_array_append(session->pipes[0].bytes, (const guint8 *)text, (guint)strlen(text));
    session->skipped_bytes = 0;
}

/* Locked. */
static void end(StreamSession *session, gint32 exit_code, const char *failure)
{
    if (session->ended)
        return;
    if (session->skipped_bytes > 0)
        tell_skipped(session);
    session->ended = TRUE;
    session->exit_code = exit_code;
    session->failure = g_strdup(failure);
    wake(session);
}

/* Locked. */
static void take_attached(StreamSession *session, Pipe *pipe, const guint8 *data, gsize length)
{
    gsize unread = pipe->bytes->len - pipe->read;

    if (unread + length <= STREAM_SESSION_ATTACH_BYTES && session->skipped_bytes == 0)
        g_byte_array_append(pipe->bytes, data, (guint)length);
    else if (session->container->config->tty)
        session->skipped_bytes += length;
    else
        end(session, 0, "this client reads too slowly for the container's output, and was detached");
}

/* Locked. An agent that sends more than its window breaks the protocol. */
static void take_windowed(StreamSession *session, Pipe *pipe, const guint8 *data, gsize length)
{
    if (pipe->bytes->len - pipe->read + length > 2 * (gsize)WIRE_WINDOW_BYTES)
        end(session, 0, "the guest's agent sent more than it may");
    else
        g_byte_array_append(pipe->bytes, data, (guint)length);
}

static void stream_session_take(StreamSession *session, const Crivirt__Agent__V1__Output *output)
{
    Pipe *pipe = &session->pipes[output->stream == CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR ? 1 : 0];
    guint64 end_offset = output->offset + output->data.len;

    g_mutex_lock(&session->lock);
    if (!session->ended && output->offset <= pipe->received && end_offset > pipe->received) {
        gsize skip = (gsize)(pipe->received - output->offset);

        pipe->received = end_offset;
        if (session->kind == KIND_ATTACH)
            take_attached(session, pipe, output->data.data + skip, output->data.len - skip);
        else
            take_windowed(session, pipe, output->data.data + skip, output->data.len - skip);
        wake(session);
    }
    g_mutex_unlock(&session->lock);
}

/* Referenced; NULL when there is none, or the guest names another container than its own. */
static StreamSession *lookup(Pod *pod, const Crivirt__Agent__V1__ProcessId *process)
{
    StreamSession *session;

    g_mutex_lock(&pod->lock);
    session = g_hash_table_lookup(pod->sessions, process->exec_id);
    if (session != NULL &&
        !g_str_equal(session->container != NULL ? session->container->id : "", process->container_id))
        session = NULL;
    if (session != NULL)
        stream_session_ref(session);
    g_mutex_unlock(&pod->lock);
    return session;
}

gboolean stream_sessions_output(Pod *pod, const Crivirt__Agent__V1__Output *output)
{
    StreamSession *session = lookup(pod, output->process);

    if (session != NULL)
        stream_session_take(session, output);
    stream_session_unref(session);
    return session != NULL;
}

/* How it ended, unless it ended well; NULL for a process, whose exit code says it. */
static char *connection_failure(const StreamSession *session, gint32 error_number)
{
    if (session->kind != KIND_DIAL || error_number == 0)
        return NULL;
    return g_strdup_printf("the connection was broken: %s", g_strerror(error_number));
}

gboolean stream_sessions_exited(Pod *pod, const Crivirt__Agent__V1__Exited *exited)
{
    StreamSession *session = lookup(pod, exited->process);
    gboolean known = session != NULL;

    if (known) {
        g_autofree char *failure = connection_failure(session, exited->exit_code);

        g_mutex_lock(&session->lock);
        end(session, exited->exit_code, failure);
        g_mutex_unlock(&session->lock);
    }
    stream_session_unref(session);
    return known;
}

/* Who is attached, referenced. */
static GPtrArray *attached_sessions(Container *container)
{
    GPtrArray *sessions = g_ptr_array_new_with_free_func((GDestroyNotify)stream_session_unref);

    g_mutex_lock(&container->pod->lock);
    for (guint i = 0; i < container->attached->len; i++)
        g_ptr_array_add(sessions, stream_session_ref(container->attached->pdata[i]));
    g_mutex_unlock(&container->pod->lock);
    return sessions;
}

void stream_sessions_attached_output(Container *container, const Crivirt__Agent__V1__Output *output)
{
    int stream = output->stream == CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR ? 1 : 0;
    guint64 end_offset = output->offset + output->data.len;
    g_autoptr(GPtrArray) sessions = attached_sessions(container);

    for (guint i = 0; i < sessions->len; i++) {
        StreamSession *session = sessions->pdata[i];

        /* It begins where the container is now; what the agent sends again is older. */
        g_mutex_lock(&session->lock);
        session->pipes[stream].received =
            MAX(session->pipes[stream].received, MAX(output->offset, container->seen[stream]));
        g_mutex_unlock(&session->lock);
        stream_session_take(session, output);
    }
    container->seen[stream] = MAX(container->seen[stream], end_offset);
}

void stream_sessions_attached_exited(Container *container, gint32 exit_code)
{
    g_autoptr(GPtrArray) sessions = attached_sessions(container);

    for (guint i = 0; i < sessions->len; i++) {
        StreamSession *session = sessions->pdata[i];

        g_mutex_lock(&session->lock);
        end(session, exit_code, NULL);
        g_mutex_unlock(&session->lock);
    }
}

/* Sessions of the pod, or of one of its containers, but for attached ones; referenced. */
static GPtrArray *stream_sessions_of(Pod *pod, const Container *container)
{
    GPtrArray *sessions = g_ptr_array_new_with_free_func((GDestroyNotify)stream_session_unref);
    GHashTableIter iter;
    gpointer value;

    g_mutex_lock(&pod->lock);
    g_hash_table_iter_init(&iter, pod->sessions);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (container == NULL || ((StreamSession *)value)->container == container)
            g_ptr_array_add(sessions, stream_session_ref(value));
    g_mutex_unlock(&pod->lock);
    return sessions;
}

static void fail_all(GPtrArray *sessions, const char *why)
{
    for (guint i = 0; i < sessions->len; i++) {
        StreamSession *session = sessions->pdata[i];

        g_mutex_lock(&session->lock);
        end(session, 0, why);
        g_mutex_unlock(&session->lock);
    }
}

void stream_sessions_fail_container(Container *container, const char *why)
{
    g_autoptr(GPtrArray) sessions = stream_sessions_of(container->pod, container);
    g_autoptr(GPtrArray) attached = attached_sessions(container);

    fail_all(sessions, why);
    fail_all(attached, why);
}

void stream_sessions_fail(Pod *pod, const char *why)
{
    g_autoptr(GPtrArray) sessions = stream_sessions_of(pod, NULL);
    g_autoptr(GPtrArray) containers = pod_containers(pod);

    fail_all(sessions, why);
    for (guint i = 0; i < containers->len; i++)
        stream_sessions_fail_container(containers->pdata[i], why);
}

static void wake_all(GPtrArray *sessions)
{
    for (guint i = 0; i < sessions->len; i++) {
        StreamSession *session = sessions->pdata[i];

        g_mutex_lock(&session->lock);
        wake(session);
        g_mutex_unlock(&session->lock);
    }
}

void stream_sessions_input_acked(Pod *pod, const Crivirt__Agent__V1__InputAck *ack)
{
    StreamSession *session = lookup(pod, ack->process);

    if (session == NULL)
        return;
    guest_input_acked(session->input, ack->offset);
    g_mutex_lock(&session->lock);
    wake(session);
    g_mutex_unlock(&session->lock);
    stream_session_unref(session);
}

void stream_sessions_attached_input_acked(Container *container, guint64 offset)
{
    g_autoptr(GPtrArray) sessions = attached_sessions(container);

    guest_input_acked(container->input, offset);
    wake_all(sessions);
}

void stream_sessions_resume(Pod *pod)
{
    g_autoptr(GPtrArray) sessions = stream_sessions_of(pod, NULL);

    for (guint i = 0; i < sessions->len; i++)
        guest_input_resume(((StreamSession *)sessions->pdata[i])->input, G_MAXUINT64);
}

/* ---- making them ---- */

/* An agent that never says what has been written would leave input waiting for ever. */
static gboolean check_agent(const StreamSession *session, AgentConnection *agent, GError **error)
{
    if (!session->with_input)
        return TRUE;
    return agent_connection_check_protocol(agent, WIRE_PROTOCOL_INPUT_WINDOW,
                                           session->kind == KIND_DIAL ? "port-forward" : "standard input",
                                           error);
}

static gboolean start(StreamSession *session, Request *request, const Deadline *deadline, GError **error)
{
    g_autoptr(AgentConnection) agent = pod_agent(session->pod, error);
    Deadline bounded = deadline_sooner(deadline, START_TIMEOUT_MS);
    Response *response;

    if (agent == NULL || !check_agent(session, agent, error) ||
        !agent_connection_call(agent, request, &bounded, &response, error))
        return FALSE;
    crivirt__agent__v1__response__free_unpacked(response, NULL);
    return TRUE;
}

static Container *find_container(SandboxManager *manager, const char *id, gboolean to_attach, GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, id, error);
    ContainerState state;

    if (container == NULL)
        return NULL;
    state = container_state(container);
    if (state != CONTAINER_RUNNING_STATE && (!to_attach || state != CONTAINER_CREATED_STATE)) {
        fail(error, STATUS_FAILED_PRECONDITION, "container %s is not running", container->id);
        return NULL;
    }
    return g_steal_pointer(&container);
}

gboolean stream_session_check_container(SandboxManager *manager, const char *container_id, gboolean to_attach,
                                        GError **error)
{
    g_autoptr(Container) container = find_container(manager, container_id, to_attach, error);
    g_autoptr(AgentConnection) agent = container != NULL ? pod_agent(container->pod, error) : NULL;

    return agent != NULL;
}

gboolean stream_session_check_sandbox(SandboxManager *manager, const char *sandbox_id, GError **error)
{
    g_autoptr(Pod) pod = manager_find_pod(manager, sandbox_id, error);
    g_autoptr(AgentConnection) agent = pod != NULL ? pod_agent(pod, error) : NULL;

    return agent != NULL;
}

StreamSession *stream_session_exec(SandboxManager *manager, const StreamSessionExec *exec,
                                   const StreamSessionClient *client, const Deadline *deadline,
                                   GError **error)
{
    g_autoptr(Container) container = find_container(manager, exec->container_id, FALSE, error);
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
    Crivirt__Agent__V1__ExecRequest message = CRIVIRT__AGENT__V1__EXEC_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    StreamSession *session;

    if (container == NULL)
        return NULL;
    session = stream_session_new(KIND_EXEC, container->pod, container, client);
    session->with_input = exec->with_input;
    process.container_id = container->id;
    process.exec_id = session->id;
    message.process = &process;
    message.args = (char **)exec->args;
    message.n_args = exec->n_args;
    message.tty = exec->tty;
    message.stdin = exec->with_input;
    message.columns = exec->columns;
    message.rows = exec->rows;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_EXEC;
    request.exec = &message;
    stream_session_register(session);
    if (start(session, &request, deadline, error))
        return session;
    stream_session_close(session); /* a late start is hung up */
    return NULL;
}

StreamSession *stream_session_attach(SandboxManager *manager, const char *container_id, gboolean with_input,
                                     const StreamSessionClient *client, GError **error)
{
    g_autoptr(Container) container = find_container(manager, container_id, TRUE, error);
    g_autoptr(AgentConnection) agent = container != NULL ? pod_agent(container->pod, error) : NULL;
    StreamSession *session;

    if (agent == NULL)
        return NULL;
    session = stream_session_new(KIND_ATTACH, container->pod, container, client);
    session->with_input = with_input;
    if (!check_agent(session, agent, error)) {
        stream_session_unref(session);
        return NULL;
    }
    stream_session_register(session);
    /* It may have ended before it could tell us. */
    if (container_state(container) != CONTAINER_RUNNING_STATE &&
        container_state(container) != CONTAINER_CREATED_STATE) {
        g_mutex_lock(&session->lock);
        end(session, container->exit_code, NULL);
        g_mutex_unlock(&session->lock);
    }
    return session;
}

StreamSession *stream_session_dial(SandboxManager *manager, const char *sandbox_id, guint16 port,
                                   const StreamSessionClient *client, const Deadline *deadline,
                                   GError **error)
{
    g_autoptr(Pod) pod = manager_find_pod(manager, sandbox_id, error);
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
    Crivirt__Agent__V1__DialRequest message = CRIVIRT__AGENT__V1__DIAL_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    StreamSession *session;

    if (pod == NULL)
        return NULL;
    session = stream_session_new(KIND_DIAL, pod, NULL, client);
    session->with_input = TRUE;
    process.exec_id = session->id;
    message.process = &process;
    message.port = port;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_DIAL;
    request.dial = &message;
    stream_session_register(session);
    if (start(session, &request, deadline, error))
        return session;
    stream_session_close(session);
    return NULL;
}

void stream_session_close(StreamSession *session)
{
    gboolean runs;

    if (session == NULL)
        return;
    stream_session_unregister(session);
    g_mutex_lock(&session->lock);
    session->closed = TRUE;
    runs = !session->ended;
    g_mutex_unlock(&session->lock);
    if (session->kind != KIND_ATTACH && runs)
        guest_input_hang_up(session->input);
    else if (session->kind == KIND_ATTACH && runs)
        stream_session_write_end(session);
    stream_session_unref(session);
}

/* ---- using them ---- */

static void ack(StreamSession *session, StreamSessionStream stream, guint64 offset)
{
    g_autoptr(AgentConnection) agent = pod_any_agent(session->pod);

    if (agent != NULL)
        agent_connection_send_ack(agent, session->container != NULL ? session->container->id : "",
                                  session->id,
                                  stream == STREAM_SESSION_STDERR ? CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR
                                                                  : CRIVIRT__AGENT__V1__STREAM__STREAM_STDOUT,
                                  offset, FALSE);
}

gsize stream_session_read(StreamSession *session, StreamSessionStream stream, void *buffer, gsize room)
{
    Pipe *pipe = &session->pipes[stream];
    guint64 used = 0;
    gsize length;

    g_mutex_lock(&session->lock);
    length = MIN(room, pipe->bytes->len - pipe->read);
    if (length > 0)
        memcpy(buffer, pipe->bytes->data + pipe->read, length);
    pipe->read += length;
    if (pipe->read == pipe->bytes->len) {
        g_byte_array_set_size(pipe->bytes, 0);
        pipe->read = 0;
        if (session->skipped_bytes > 0)
            tell_skipped(session);
    }
    if (session->kind != KIND_ATTACH) {
        guint64 done = pipe->received - (pipe->bytes->len - pipe->read);

        if (done - pipe->acked >= ACK_BYTES)
            used = pipe->acked = done;
    }
    g_mutex_unlock(&session->lock);
    if (used > 0)
        ack(session, stream, used);
    return length;
}

gsize stream_session_write(StreamSession *session, const void *data, gsize length)
{
    return session->with_input ? guest_input_write(session->input, data, length) : length;
}

void stream_session_write_end(StreamSession *session)
{
    const Runtime__V1__ContainerConfig *config;

    if (!session->with_input)
        return;
    if (session->kind != KIND_ATTACH) {
        guest_input_end(session->input);
        return;
    }
    config = session->container->config;
    if (config->stdin_once)
        guest_input_end(session->input);
    if (config->stdin_once && !config->tty)
        return;
    /* Others may attach later, and go on where this client ended: it has detached. */
    g_mutex_lock(&session->lock);
    end(session, 0, NULL);
    g_mutex_unlock(&session->lock);
}

static Crivirt__Agent__V1__ProcessId process_of(StreamSession *session)
{
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;

    process.container_id = session->container != NULL ? session->container->id : (char *)"";
    process.exec_id = session->id;
    return process;
}

static void send_request(StreamSession *session, Request *request)
{
    g_autoptr(AgentConnection) agent = pod_any_agent(session->pod);

    if (agent != NULL)
        agent_connection_send_request(agent, request);
}

void stream_session_resize(StreamSession *session, guint columns, guint rows)
{
    Crivirt__Agent__V1__ProcessId process = process_of(session);
    Crivirt__Agent__V1__ResizeRequest resize = CRIVIRT__AGENT__V1__RESIZE_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;

    resize.process = &process;
    resize.columns = columns;
    resize.rows = rows;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_RESIZE;
    request.resize = &resize;
    send_request(session, &request);
}

void stream_session_signal(StreamSession *session, int signal_number)
{
    Crivirt__Agent__V1__ProcessId process = process_of(session);
    Crivirt__Agent__V1__SignalRequest kill = CRIVIRT__AGENT__V1__SIGNAL_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;

    kill.process = &process;
    kill.signal = signal_number;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_SIGNAL;
    request.signal = &kill;
    send_request(session, &request);
}

gboolean stream_session_ended(StreamSession *session, StreamSessionEnd *ret_end)
{
    gboolean over;

    g_mutex_lock(&session->lock);
    over = session->ended && session->pipes[0].bytes->len == 0 && session->pipes[1].bytes->len == 0;
    if (over)
        *ret_end = (StreamSessionEnd){session->exit_code, session->failure};
    g_mutex_unlock(&session->lock);
    return over;
}

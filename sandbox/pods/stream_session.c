/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/stream_session.h"

#include <string.h>

#include "agent/wire/wire.h"
#include "common/ids.h"
#include "sandbox/pods/stream_sessions.h"

enum {
    /* The agent starts a few processes at a time, and gives each a minute from when its turn has come. An
     * agent that does not answer is noticed by its connection. */
    START_TIMEOUT_MS = 15 * 60 * 1000,
    /* Acknowledging each read would be as much work for the guest as what it sent. */
    ACK_BYTES = WIRE_WINDOW_BYTES / 4,
    /* Beyond this the agent breaks the protocol, because it sends more than its window. */
    MAX_WINDOWED_BYTES = 2 * WIRE_WINDOW_BYTES,
    NOTICE_BYTES = 128, /* room for the notice about output that was skipped */
};

/* Output that waits for the client. */
typedef struct {
    ByteRing bytes;
    guint64 received; /* offset of the next byte from the guest; repeated ones are skipped */
    guint64 acked;
} OutputQueue;

struct StreamSession {
    gint references;
    StreamSessionKind kind;
    char id[33]; /* of an exec or a connection; empty: the container's first process */
    Pod *pod;
    Container *container; /* NULL: a connection */
    gboolean with_input;
    GuestInput *input;

    GMutex lock; /* taken after the pod's */
    StreamSessionClient client;
    gboolean closed;
    OutputQueue queues[2]; /* by StreamSessionStream */
    gsize skipped_bytes;   /* an attached terminal's client was too slow for them */
    gboolean ended;
    gint32 exit_code;
    char *failure;
};

/* ---- life ---- */

StreamSession *stream_session_new(StreamSessionKind kind, Pod *pod, Container *container, gboolean with_input,
                                  const StreamSessionClient *client)
{
    StreamSession *session = g_new0(StreamSession, 1);

    g_assert(kind == STREAM_SESSION_DIAL || container != NULL);
    session->references = 1;
    session->kind = kind;
    session->pod = pod_ref(pod);
    session->container = container != NULL ? container_ref(container) : NULL;
    session->with_input = with_input;
    session->client = *client;
    for (gsize i = 0; i < G_N_ELEMENTS(session->queues); i++)
        byte_ring_init(&session->queues[i].bytes,
                       NOTICE_BYTES + (gsize)(kind == STREAM_SESSION_ATTACH ? STREAM_SESSION_ATTACH_BYTES
                                                                            : MAX_WINDOWED_BYTES));
    g_mutex_init(&session->lock);
    if (kind == STREAM_SESSION_ATTACH) {
        session->input = guest_input_ref(container->input);
    } else {
        g_autofree char *id = id_new();

        g_strlcpy(session->id, id, sizeof session->id);
        session->input = guest_input_new(pod, container != NULL ? container->guest_id : "", session->id);
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
    byte_ring_clear(&session->queues[0].bytes);
    byte_ring_clear(&session->queues[1].bytes);
    g_mutex_clear(&session->lock);
    container_unref(session->container);
    pod_unref(session->pod);
    g_free(session->failure);
    g_free(session);
}

void stream_session_register(StreamSession *session)
{
    g_mutex_lock(&session->pod->lock);
    if (session->kind == STREAM_SESSION_ATTACH)
        g_ptr_array_add(session->container->attached, session);
    else
        g_hash_table_insert(session->pod->sessions, session->id, session);
    g_mutex_unlock(&session->pod->lock);
}

static void stream_session_unregister(StreamSession *session)
{
    g_mutex_lock(&session->pod->lock);
    if (session->kind == STREAM_SESSION_ATTACH)
        g_ptr_array_remove_fast(session->container->attached, session);
    else
        g_hash_table_remove(session->pod->sessions, session->id);
    g_cond_broadcast(&session->pod->changed);
    g_mutex_unlock(&session->pod->lock);
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
    if (session->kind != STREAM_SESSION_ATTACH && runs)
        guest_input_hang_up(session->input);
    else if (session->kind == STREAM_SESSION_ATTACH && runs)
        stream_session_write_end(session);
    stream_session_unref(session);
}

void stream_session_hang_up(StreamSession *session)
{
    if (session->kind != STREAM_SESSION_ATTACH)
        guest_input_hang_up(session->input);
}

/* ---- its process ---- */

const char *stream_session_exec_id(const StreamSession *session)
{
    return session->id;
}

static const char *session_container_id(const StreamSession *session)
{
    return session->container != NULL ? session->container->guest_id : "";
}

gboolean stream_session_is_of(const StreamSession *session, const char *container_id)
{
    return g_str_equal(session_container_id(session), container_id);
}

gboolean stream_session_check_agent(const StreamSession *session, AgentConnection *agent, GError **error)
{
    if (!session->with_input)
        return TRUE;
    return agent_connection_check_protocol(
        agent, WIRE_PROTOCOL_INPUT_WINDOW,
        session->kind == STREAM_SESSION_DIAL ? "port-forward" : "standard input", error);
}

AgentConnection *stream_session_starter(const StreamSession *session, const Deadline *deadline,
                                        Deadline *ret_deadline, GError **error)
{
    g_autoptr(AgentConnection) agent = pod_agent(session->pod, error);

    if (agent == NULL || !stream_session_check_agent(session, agent, error))
        return NULL;
    *ret_deadline = deadline_sooner(deadline, START_TIMEOUT_MS);
    return g_steal_pointer(&agent);
}

/* ---- from the agent ---- */

static void session_wake_locked(StreamSession *session)
{
    if (!session->closed)
        session->client.wake(session->client.data);
}

void stream_session_wake(StreamSession *session)
{
    g_mutex_lock(&session->lock);
    session_wake_locked(session);
    g_mutex_unlock(&session->lock);
}

/* Tells the client of a terminal how much output it missed. */
static void session_report_skipped_locked(StreamSession *session)
{
    g_autofree char *text =
        g_strdup_printf("\r\n[crivirt: %zu bytes are not shown: this terminal is too slow for them]\r\n",
                        session->skipped_bytes);

    byte_ring_push(&session->queues[0].bytes, text, strlen(text));
    session->skipped_bytes = 0;
}

static void session_finish_locked(StreamSession *session, gint32 exit_code, const char *failure)
{
    if (session->ended)
        return;
    if (session->skipped_bytes > 0)
        session_report_skipped_locked(session);
    session->ended = TRUE;
    session->exit_code = exit_code;
    session->failure = g_strdup(failure);
    session_wake_locked(session);
}

void stream_session_finish(StreamSession *session, gint32 exit_code, const char *failure)
{
    g_mutex_lock(&session->lock);
    session_finish_locked(session, exit_code, failure);
    g_mutex_unlock(&session->lock);
}

void stream_session_exited(StreamSession *session, gint32 number)
{
    g_autofree char *failure = NULL;

    /* A process's exit code is its result; a connection that ended well has the number 0. */
    if (session->kind == STREAM_SESSION_DIAL && number != 0)
        failure = g_strdup_printf("the connection was broken: %s", g_strerror(number));
    stream_session_finish(session, number, failure);
}

/* Return: FALSE when the queue has no room for these bytes and a notice. */
static gboolean queue_push(OutputQueue *queue, const guint8 *data, gsize length)
{
    return byte_ring_room(&queue->bytes) >= length + NOTICE_BYTES &&
           byte_ring_push(&queue->bytes, data, length);
}

static void session_queue_attached_locked(StreamSession *session, OutputQueue *queue, const guint8 *data,
                                          gsize length)
{
    if (session->skipped_bytes == 0 && queue_push(queue, data, length))
        return;
    if (session->container->config->tty)
        session->skipped_bytes += length;
    else
        session_finish_locked(session, 0,
                              "this client reads too slowly for the container's output, and was detached");
}

/* An agent that sends more than its window breaks the protocol. */
static void session_queue_windowed_locked(StreamSession *session, OutputQueue *queue, const guint8 *data,
                                          gsize length)
{
    if (!queue_push(queue, data, length))
        session_finish_locked(session, 0, "the guest's agent sent more than its window allows");
}

static StreamSessionStream stream_of(const Crivirt__Agent__V1__Output *output)
{
    return output->stream == CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR ? STREAM_SESSION_STDERR
                                                                       : STREAM_SESSION_STDOUT;
}

void stream_session_receive(StreamSession *session, const Crivirt__Agent__V1__Output *output)
{
    OutputQueue *queue = &session->queues[stream_of(output)];
    guint64 end_offset = output->offset + output->data.len;

    g_mutex_lock(&session->lock);
    if (!session->ended && output->offset <= queue->received && end_offset > queue->received) {
        gsize skip = (gsize)(queue->received - output->offset);

        queue->received = end_offset;
        if (session->kind == STREAM_SESSION_ATTACH)
            session_queue_attached_locked(session, queue, output->data.data + skip, output->data.len - skip);
        else
            session_queue_windowed_locked(session, queue, output->data.data + skip, output->data.len - skip);
        session_wake_locked(session);
    }
    g_mutex_unlock(&session->lock);
}

void stream_session_skip_to(StreamSession *session, StreamSessionStream stream, guint64 offset)
{
    OutputQueue *queue = &session->queues[stream];

    g_mutex_lock(&session->lock);
    queue->received = MAX(queue->received, offset);
    g_mutex_unlock(&session->lock);
}

void stream_session_input_acked(StreamSession *session, guint64 offset)
{
    guest_input_acked(session->input, offset);
    stream_session_wake(session);
}

void stream_session_resume_input(StreamSession *session)
{
    guest_input_resume(session->input, G_MAXUINT64);
}

/* ---- for the client ---- */

static void session_acknowledge(StreamSession *session, StreamSessionStream stream, guint64 offset)
{
    g_autoptr(AgentConnection) agent = pod_any_agent(session->pod);

    if (agent != NULL)
        agent_connection_send_ack(agent, session_container_id(session), session->id,
                                  stream == STREAM_SESSION_STDERR ? CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR
                                                                  : CRIVIRT__AGENT__V1__STREAM__STREAM_STDOUT,
                                  offset, FALSE);
}

gsize stream_session_read(StreamSession *session, StreamSessionStream stream, void *buffer, gsize room)
{
    OutputQueue *queue = &session->queues[stream];
    guint64 used = 0;
    gsize length;

    g_mutex_lock(&session->lock);
    length = byte_ring_take(&queue->bytes, buffer, room);
    if (queue->bytes.length == 0 && session->skipped_bytes > 0)
        session_report_skipped_locked(session);
    if (session->kind != STREAM_SESSION_ATTACH) {
        guint64 done = queue->received - queue->bytes.length;

        if (done - queue->acked >= ACK_BYTES)
            used = queue->acked = done;
    }
    g_mutex_unlock(&session->lock);
    if (used > 0)
        session_acknowledge(session, stream, used);
    return length;
}

gsize stream_session_write(StreamSession *session, const void *data, gsize length)
{
    return session->with_input ? guest_input_write(session->input, data, length) : length;
}

gsize stream_session_write_ring(StreamSession *session, ByteRing *ring)
{
    const guint8 *bytes = NULL;
    gsize total = 0;
    gsize taken;

    do {
        gsize length = byte_ring_peek(ring, 0, &bytes);

        taken = length > 0 ? stream_session_write(session, bytes, length) : 0;
        byte_ring_skip(ring, taken);
        total += taken;
    } while (taken > 0);
    return total;
}

void stream_session_write_end(StreamSession *session)
{
    const Runtime__V1__ContainerConfig *config;

    if (!session->with_input)
        return;
    if (session->kind != STREAM_SESSION_ATTACH) {
        guest_input_end(session->input);
        return;
    }
    config = session->container->config;
    if (config->stdin_once)
        guest_input_end(session->input);
    if (config->stdin_once && !config->tty)
        return;
    /* This client has detached; others may attach later, and go on where it ended. */
    stream_session_finish(session, 0, NULL);
}

static Crivirt__Agent__V1__ProcessId session_process(StreamSession *session)
{
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;

    process.container_id = (char *)session_container_id(session);
    process.exec_id = session->id;
    return process;
}

void stream_session_resize(StreamSession *session, guint columns, guint rows)
{
    Crivirt__Agent__V1__ProcessId process = session_process(session);
    Crivirt__Agent__V1__ResizeRequest resize = CRIVIRT__AGENT__V1__RESIZE_REQUEST__INIT;
    g_autoptr(AgentConnection) agent = pod_any_agent(session->pod);

    resize.process = &process;
    resize.columns = columns;
    resize.rows = rows;
    if (agent != NULL)
        agent_resize_post(agent, &resize);
}

void stream_session_signal(StreamSession *session, int signal_number)
{
    Crivirt__Agent__V1__ProcessId process = session_process(session);
    Crivirt__Agent__V1__SignalRequest kill = CRIVIRT__AGENT__V1__SIGNAL_REQUEST__INIT;
    g_autoptr(AgentConnection) agent = pod_any_agent(session->pod);

    kill.process = &process;
    kill.signal = signal_number;
    kill.all = TRUE;
    if (agent != NULL)
        agent_signal_post(agent, &kill);
}

gboolean stream_session_ended(StreamSession *session, StreamSessionEnd *ret_end)
{
    gboolean over;

    g_mutex_lock(&session->lock);
    over = session->ended && session->queues[0].bytes.length == 0 && session->queues[1].bytes.length == 0;
    if (over)
        *ret_end = (StreamSessionEnd){session->exit_code, session->failure};
    g_mutex_unlock(&session->lock);
    return over;
}

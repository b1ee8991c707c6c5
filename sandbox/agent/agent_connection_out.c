/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon sends to a guest's agent. Messages are packed into the queue of the connection; what the
 * socket does not accept at once is written by the loop's thread.
 */
#include <assert.h>
#include <errno.h>
#include <glib-unix.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/error.h"
#include "common/log.h"
#include "common/source.h"
#include "sandbox/agent/agent_connection_private.h"

/* Input is refused before other messages, which leaves room for requests and acknowledgements. */
enum { MAX_QUEUED_INPUT_BYTES = 4 << 20 };

/* ---- the queue ---- */

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data);

static void start_writer(gpointer data)
{
    AgentConnection *agent = data;

    g_mutex_lock(&agent->lock);
    if (agent->fd >= 0 && !agent->closed && agent->writer == NULL) {
        agent->writer = g_unix_fd_source_new(agent->fd, G_IO_OUT);
        loop_thread_add(agent->all->loop, agent->writer, (GSourceFunc)(void (*)(void))on_writable, agent);
    }
    g_mutex_unlock(&agent->lock);
    agent_connection_unref(agent);
}

/* Return: how much of the queue may be written. */
static gsize writable_bytes_locked(const AgentConnection *agent)
{
    return agent->held ? agent->held_bytes : agent->queue.length;
}

/* Writes as much as the socket accepts now. */
static void flush_queue_locked(AgentConnection *agent)
{
    const guint8 *bytes = NULL;

    LOCK_ASSERT_HELD(&agent->lock);
    while (writable_bytes_locked(agent) > 0) {
        gsize length = MIN(byte_ring_peek(&agent->queue, 0, &bytes), writable_bytes_locked(agent));
        ssize_t put = send(agent->fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno != EAGAIN)
            shutdown(agent->fd, SHUT_RDWR); /* the reader sees the end, also of a half that was closed */
        if (put <= 0)
            break;
        byte_ring_skip(&agent->queue, (gsize)put);
        if (agent->held)
            agent->held_bytes -= (gsize)put;
    }
}

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data)
{
    AgentConnection *agent = data;
    gboolean more;

    (void)fd;
    (void)condition;
    g_mutex_lock(&agent->lock);
    if (agent->fd >= 0)
        flush_queue_locked(agent);
    more = agent->fd >= 0 && writable_bytes_locked(agent) > 0 && (condition & (G_IO_ERR | G_IO_HUP)) == 0;
    if (!more) {
        agent->writing = FALSE;
        source_drop(&agent->writer);
    }
    g_mutex_unlock(&agent->lock);
    return more ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

void agent_queue_write_locked(AgentConnection *agent)
{
    LOCK_ASSERT_HELD(&agent->lock);
    if (agent->writing || agent->fd < 0)
        return;
    flush_queue_locked(agent);
    if (writable_bytes_locked(agent) > 0) {
        agent->writing = TRUE;
        loop_thread_after(agent->all->loop, 0, start_writer, agent_connection_ref(agent));
    }
}

/* What one message adds to the queue at most: its bytes, and what is around each of its parts. */
enum {
    PART_OVERHEAD_BYTES = 64,
    MESSAGE_PARTS = WIRE_MAX_MESSAGE_BYTES / WIRE_PART_BYTES + 1,
    MESSAGE_ROOM_BYTES = WIRE_MAX_MESSAGE_BYTES + MESSAGE_PARTS * PART_OVERHEAD_BYTES,
    SYNC_ROOM_BYTES = WIRE_MAX_FRAME_BYTES + WIRE_SYNC_BYTES,
};

static_assert(AGENT_QUEUE_BYTES + MESSAGE_ROOM_BYTES + SYNC_ROOM_BYTES <= AGENT_QUEUE_LIMIT_BYTES,
              "a message that is accepted fits the queue, whatever the guest reads");

/* The ring has room, as asserted above. Without it a frame would be cut off, after which only a new
 * connection helps; the reader sees its end. */
static void push_to_queue_locked(AgentConnection *agent, const void *data, gsize length)
{
    LOCK_ASSERT_HELD(&agent->lock);
    if (!byte_ring_push(&agent->queue, data, length)) {
        log_error(LOG_NO_FIELDS, "%s: no room for a message to the agent; the connection is closed",
                  agent->socket_path);
        shutdown(agent->fd, SHUT_RDWR);
        return;
    }
    agent_queue_write_locked(agent);
}

/* Queues the message as one frame. */
static void push_frame_locked(AgentConnection *agent, const ToGuest *message, gsize length)
{
    g_autofree guint8 *payload = g_malloc(MAX(length, 1));
    guint8 header[WIRE_HEADER_BYTES];

    crivirt__agent__v1__to_guest__pack(message, payload);
    wire_header_encode(payload, length, agent->protocol, header);
    push_to_queue_locked(agent, header, sizeof header);
    push_to_queue_locked(agent, payload, length);
}

/* Queues the message as several frames, each with a part of it. */
static void push_parts_locked(AgentConnection *agent, const ToGuest *message, gsize length)
{
    g_autofree guint8 *whole = g_malloc(length);

    crivirt__agent__v1__to_guest__pack(message, whole);
    for (gsize at = 0; at < length; at += WIRE_PART_BYTES) {
        Crivirt__Agent__V1__Part part = CRIVIRT__AGENT__V1__PART__INIT;
        ToGuest piece = CRIVIRT__AGENT__V1__TO_GUEST__INIT;

        part.data = (ProtobufCBinaryData){.len = MIN(length - at, WIRE_PART_BYTES), .data = whole + at};
        part.last = at + part.data.len == length;
        piece.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_PART;
        piece.part = &part;
        push_frame_locked(agent, &piece, crivirt__agent__v1__to_guest__get_packed_size(&piece));
    }
}

gboolean agent_message_send_locked(AgentConnection *agent, const ToGuest *message, GError **error)
{
    gsize length = crivirt__agent__v1__to_guest__get_packed_size(message);
    gsize limit = agent->protocol >= WIRE_PROTOCOL_PARTS ? WIRE_MAX_MESSAGE_BYTES : WIRE_MAX_FRAME_BYTES;

    LOCK_ASSERT_HELD(&agent->lock);
    if (length > limit)
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "cannot send a request of %zu bytes to the guest's agent: the limit of its channel is %zu bytes",
            length, limit);
    /* One message may be longer than this limit, so it counts only what waits already. */
    if (agent->queue.length > AGENT_QUEUE_BYTES)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "cannot send to the guest's agent: it does not read, and %d MiB wait for it already",
                    AGENT_QUEUE_BYTES >> 20);
    if (length > WIRE_MAX_FRAME_BYTES)
        push_parts_locked(agent, message, length);
    else
        push_frame_locked(agent, message, length);
    return TRUE;
}

/* ---- the start of a connection ---- */

void agent_sync_send_locked(AgentConnection *agent)
{
    guint8 sync[WIRE_SYNC_BYTES];

    LOCK_ASSERT_HELD(&agent->lock);
    if (!agent->fresh) {
        /* The last connection may have ended within a frame: the padding completes that frame. */
        g_autofree guint8 *padding = g_malloc0(WIRE_MAX_FRAME_BYTES);

        push_to_queue_locked(agent, padding, WIRE_MAX_FRAME_BYTES);
    }
    wire_sync_encode(agent->nonce, sync);
    push_to_queue_locked(agent, sync, sizeof sync);
}

gboolean agent_hello_send(AgentConnection *agent)
{
    Crivirt__Agent__V1__HelloRequest hello = CRIVIRT__AGENT__V1__HELLO_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;
    gboolean sent;

    hello.protocol_version = WIRE_PROTOCOL_VERSION;
    hello.daemon_id = agent->all->daemon_id;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_HELLO;
    request.hello = &hello;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST;
    message.request = &request;
    g_mutex_lock(&agent->lock);
    sent = agent_message_send_locked(agent, &message, NULL);
    g_mutex_unlock(&agent->lock);
    return sent;
}

/* ---- messages without a response ---- */

guint64 agent_request_send_locked(AgentConnection *agent, Request *request)
{
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;

    LOCK_ASSERT_HELD(&agent->lock);
    request->id = agent->next_id++;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST;
    message.request = request;
    agent_message_send_locked(agent, &message, NULL);
    return request->id;
}

void agent_ping_send_locked(AgentConnection *agent)
{
    Crivirt__Agent__V1__PingRequest ping = CRIVIRT__AGENT__V1__PING_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    const gint64 asked_ns = clock_read_ns(CLOCK_BOOTTIME);

    LOCK_ASSERT_HELD(&agent->lock);
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_PING;
    request.ping = &ping;
    heartbeat_asked(&agent->heart, g_get_monotonic_time());
    agent_clock_asked_locked(agent, asked_ns, agent_request_send_locked(agent, &request));
}

static void send_if_ready(AgentConnection *agent, const ToGuest *message)
{
    g_mutex_lock(&agent->lock);
    if (agent->ready && !agent->closed && agent->abandoned == NULL)
        agent_message_send_locked(agent, message, NULL);
    g_mutex_unlock(&agent->lock);
}

static Crivirt__Agent__V1__ProcessId make_process_id(const char *container_id, const char *exec_id)
{
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;

    process.container_id = (char *)container_id;
    process.exec_id = (char *)(exec_id != NULL ? exec_id : "");
    return process;
}

void agent_connection_send_ack(AgentConnection *agent, const char *container_id, const char *exec_id,
                               Crivirt__Agent__V1__Stream stream, guint64 offset, gboolean exited)
{
    Crivirt__Agent__V1__ProcessId process = make_process_id(container_id, exec_id);
    Crivirt__Agent__V1__Ack ack = CRIVIRT__AGENT__V1__ACK__INIT;
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;

    ack.process = &process;
    ack.stream = stream;
    ack.offset = offset;
    ack.exited = exited;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_ACK;
    message.ack = &ack;
    send_if_ready(agent, &message);
}

gboolean agent_connection_send_input(AgentConnection *agent, const Crivirt__Agent__V1__Input *input)
{
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;
    gboolean sent = FALSE;

    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_INPUT;
    message.input = (Crivirt__Agent__V1__Input *)input;
    g_mutex_lock(&agent->lock);
    if (agent->ready && !agent->closed && agent->abandoned == NULL &&
        agent->queue.length < MAX_QUEUED_INPUT_BYTES)
        sent = agent_message_send_locked(agent, &message, NULL);
    g_mutex_unlock(&agent->lock);
    return sent;
}

void agent_connection_send_request(AgentConnection *agent, Request *request)
{
    g_mutex_lock(&agent->lock);
    if (agent->ready && !agent->closed && agent->abandoned == NULL)
        agent_request_send_locked(agent, request);
    g_mutex_unlock(&agent->lock);
}

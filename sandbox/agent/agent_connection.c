#include "sandbox/agent/agent_connection.h"

#include <errno.h>
#include <glib-unix.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/wire/wire.h"
#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/source.h"
#include "sandbox/agent/heartbeat.h"

typedef Crivirt__Agent__V1__Request Request;
typedef Crivirt__Agent__V1__Response Response;
typedef Crivirt__Agent__V1__ToGuest ToGuest;
typedef Crivirt__Agent__V1__FromGuest FromGuest;

enum {
    RECONNECT_MS = 50,
    /* A guest that does not echo a sync within this time gets another one. */
    SYNC_RETRY_MS = 5000,
    /* What may wait to be written before calls are refused: a guest that reads nothing must not eat our
       memory. */
    MAX_QUEUED_BYTES = 8 << 20,
    /* Of one message from the guest; an honest one is a frame and a little. */
    MAX_UNPACKED_BYTES = 4 << 20,
    /* Input leaves room for requests and acknowledgements. */
    MAX_QUEUED_INPUT_BYTES = 4 << 20,
};

struct AgentConnections {
    LoopThread *loop;
    guint64 daemon_id; /* for Hello */
    gint64 silence_limit_ms;
    GSource *watch; /* NULL: no limit */

    /* The loop's thread only. */
    GPtrArray *open; /* AgentConnection, borrowed */
    gint64 watched_us;
};

/* A request that waits for its response. */
typedef struct {
    Response *response;
    gboolean done; /* without a response: the link failed */
} PendingCall;

struct AgentConnection {
    gint references;
    AgentConnections *all;
    char *socket_path;
    AgentEvents events;
    gpointer data;

    GMutex lock;
    GCond changed;
    int fd; /* -1: not connected */
    gboolean fresh;
    gboolean closed;
    gboolean ready;
    guint32 protocol; /* what the agent speaks, when ready */
    char *abandoned;  /* why the guest is known to be gone */
    char *silent;     /* why calls fail for now: it does not answer */
    Heartbeat heart;
    guint64 nonce;
    guint64 next_id;
    GHashTable *pending; /* &id → PendingCall on its caller's stack */
    GByteArray *queue;   /* not written yet */
    gboolean writing;    /* the loop watches for room */

    /* The loop's thread only. */
    GSource *reader;
    GSource *writer;
    GSource *timer;
    WireDecoder *decoder;
    gboolean synced;
};

static void connection_start(AgentConnection *agent);

/* ---- the connections of one daemon ---- */

static gboolean on_watch(gpointer data);

AgentConnections *agent_connections_new(LoopThread *loop, gint64 silence_limit_ms)
{
    AgentConnections *connections = g_new0(AgentConnections, 1);

    connections->loop = loop;
    random_fill(&connections->daemon_id, sizeof connections->daemon_id);
    connections->open = g_ptr_array_new();
    connections->silence_limit_ms = silence_limit_ms;
    if (silence_limit_ms > 0) {
        connections->watched_us = g_get_monotonic_time();
        connections->watch =
            loop_thread_add(loop, g_timeout_source_new((guint)heartbeat_interval_ms(silence_limit_ms)),
                            on_watch, connections);
    }
    return connections;
}

void agent_connections_free(AgentConnections *connections)
{
    if (connections == NULL)
        return;
    source_drop(&connections->watch);
    g_ptr_array_unref(connections->open);
    g_free(connections);
}

/* ---- writing ---- */

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data);

static void writer_start(gpointer data)
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

/* Writes what the socket takes now. Locked. */
static void queue_flush(AgentConnection *agent)
{
    gsize written = 0;

    while (written < agent->queue->len) {
        ssize_t put = send(agent->fd, agent->queue->data + written, agent->queue->len - written,
                           MSG_NOSIGNAL | MSG_DONTWAIT);

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            break; /* a broken connection is noticed, and handled, by the reader */
        written += (gsize)put;
    }
    if (written > 0)
        g_byte_array_remove_range(agent->queue, 0, (guint)written);
}

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data)
{
    AgentConnection *agent = data;
    gboolean more;

    (void)fd;
    (void)condition;
    g_mutex_lock(&agent->lock);
    if (agent->fd >= 0)
        queue_flush(agent);
    more = agent->fd >= 0 && agent->queue->len > 0 && (condition & (G_IO_ERR | G_IO_HUP)) == 0;
    if (!more) {
        agent->writing = FALSE;
        source_drop(&agent->writer);
    }
    g_mutex_unlock(&agent->lock);
    return more ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/* Locked. */
static void queue_push(AgentConnection *agent, const void *data, gsize length)
{
    g_byte_array_append(agent->queue, data, (guint)length);
    if (agent->writing)
        return;
    queue_flush(agent);
    if (agent->queue->len > 0) {
        agent->writing = TRUE;
        loop_thread_after(agent->all->loop, 0, writer_start, agent_connection_ref(agent));
    }
}

/* Locked; FALSE when the message can not be sent now. */
static gboolean message_send(AgentConnection *agent, const ToGuest *message, GError **error)
{
    gsize length = crivirt__agent__v1__to_guest__get_packed_size(message);
    guint8 header[WIRE_HEADER_BYTES];
    g_autofree guint8 *payload = NULL;

    if (length > WIRE_MAX_FRAME_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "the request to the guest has %zu bytes, more than the channel's limit of %d", length,
                    WIRE_MAX_FRAME_BYTES);
    if (agent->queue->len + length > MAX_QUEUED_BYTES)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the guest does not read what it is sent");
    payload = g_malloc(MAX(length, 1));
    crivirt__agent__v1__to_guest__pack(message, payload);
    wire_header_encode(payload, length, agent->protocol, header);
    queue_push(agent, header, sizeof header);
    queue_push(agent, payload, length);
    return TRUE;
}

/* ---- the connection ---- */

static gboolean on_reconnect(gpointer data)
{
    AgentConnection *agent = data;

    source_drop(&agent->timer);
    connection_start(agent);
    return G_SOURCE_REMOVE;
}

/* Fails every call that waits. Locked. */
static void pending_fail(AgentConnection *agent)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, agent->pending);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        ((PendingCall *)value)->done = TRUE;
    g_hash_table_remove_all(agent->pending);
    g_cond_broadcast(&agent->changed);
}

/* The loop's thread. */
static void connection_drop(AgentConnection *agent, gboolean again)
{
    source_drop(&agent->reader);
    source_drop(&agent->writer);
    source_drop(&agent->timer);
    g_mutex_lock(&agent->lock);
    if (agent->fd >= 0)
        close(agent->fd);
    agent->fd = -1;
    agent->ready = FALSE;
    agent->writing = FALSE;
    heartbeat_asked(&agent->heart, g_get_monotonic_time());
    g_byte_array_set_size(agent->queue, 0);
    pending_fail(agent);
    again = again && !agent->closed && agent->abandoned == NULL;
    g_mutex_unlock(&agent->lock);
    wire_decoder_free(agent->decoder);
    agent->decoder = NULL;
    agent->synced = FALSE;
    if (again)
        agent->timer =
            loop_thread_add(agent->all->loop, g_timeout_source_new(RECONNECT_MS), on_reconnect, agent);
}

/* Locked. */
static void sync_send(AgentConnection *agent)
{
    guint8 sync[WIRE_SYNC_BYTES];

    if (!agent->fresh) {
        /* Whatever frame the last connection was cut in runs out in these. */
        g_autofree guint8 *padding = g_malloc0(WIRE_MAX_FRAME_BYTES);

        queue_push(agent, padding, WIRE_MAX_FRAME_BYTES);
    }
    wire_sync_encode(agent->nonce, sync);
    queue_push(agent, sync, sizeof sync);
}

static gboolean on_sync_timeout(gpointer data)
{
    AgentConnection *agent = data;
    gboolean booting;

    g_mutex_lock(&agent->lock);
    booting = agent->fresh;
    g_mutex_unlock(&agent->lock);
    if (booting)
        return G_SOURCE_CONTINUE; /* it waits in the socket until the guest opens its port */
    source_drop(&agent->timer);
    connection_drop(agent, TRUE);
    return G_SOURCE_REMOVE;
}

static gboolean hello_send(AgentConnection *agent)
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
    sent = message_send(agent, &message, NULL);
    g_mutex_unlock(&agent->lock);
    return sent;
}

/* Locked. */
static void life_note(AgentConnection *agent)
{
    heartbeat_heard(&agent->heart, g_get_monotonic_time());
    g_clear_pointer(&agent->silent, g_free);
}

static Metric reconnects =
    METRIC_COUNTER("crivirt_agent_reconnects_total", "Connections to agents after their first.", NULL);

static void response_take(AgentConnection *agent, FromGuest *message)
{
    Response *response = message->response;
    PendingCall *call;
    gint64 id = (gint64)response->id;

    if (id == 0) { /* the Hello */
        if (response->result_case != CRIVIRT__AGENT__V1__RESPONSE__RESULT_HELLO)
            return;
        agent->events.ready(response->hello, agent->data);
        g_mutex_lock(&agent->lock);
        if (!agent->fresh)
            metric_add(&reconnects, 1, NULL, NULL);
        agent->ready = TRUE;
        agent->protocol = response->hello->protocol_version;
        agent->fresh = FALSE;
        life_note(agent);
        g_cond_broadcast(&agent->changed);
        g_mutex_unlock(&agent->lock);
        return;
    }
    g_mutex_lock(&agent->lock);
    call = g_hash_table_lookup(agent->pending, &id);
    if (call != NULL) {
        call->response = g_steal_pointer(&message->response);
        message->body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY__NOT_SET;
        call->done = TRUE;
        g_hash_table_remove(agent->pending, &id);
        g_cond_broadcast(&agent->changed);
    }
    g_mutex_unlock(&agent->lock);
}

/* Many small sub-messages take much more memory unpacked than packed, and the guest decides how many there
 * are. What is allocated is malloc's, so it can outlive the budget and be freed without it. */
typedef struct {
    ProtobufCAllocator allocator;
    gsize left;
} Budget;

static void *budget_alloc(void *data, size_t size)
{
    Budget *budget = data;

    if (size > budget->left)
        return NULL;
    budget->left -= size;
    return malloc(size);
}

static void budget_free(void *data, void *pointer)
{
    (void)data;
    free(pointer);
}

/* A message whose sub-message is missing would be a NULL below: protobuf-c sets both or neither. */
static gboolean frame_take(AgentConnection *agent, const WireItem *item)
{
    Budget budget = {{budget_alloc, budget_free, &budget}, MAX_UNPACKED_BYTES};
    FromGuest *message =
        crivirt__agent__v1__from_guest__unpack(&budget.allocator, item->payload_length, item->payload);

    if (message == NULL)
        return FALSE;
    g_mutex_lock(&agent->lock);
    if (agent->ready)
        life_note(agent);
    g_mutex_unlock(&agent->lock);
    switch (message->body_case) {
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE:
        response_take(agent, message);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_OUTPUT:
        if (message->output->process != NULL)
            agent->events.output(message->output, agent->data);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_EXITED:
        if (message->exited->process != NULL)
            agent->events.exited(message->exited, agent->data);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_INPUT_ACK:
        if (message->input_ack->process != NULL)
            agent->events.input_ack(message->input_ack, agent->data);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_NOTICE:
        agent->events.notice(message->notice->message, agent->data);
        break;
    default:
        break; /* of a newer agent */
    }
    crivirt__agent__v1__from_guest__free_unpacked(message, NULL);
    return TRUE;
}

static gboolean bytes_take(AgentConnection *agent, const guint8 *data, size_t length)
{
    while (length > 0) {
        WireItem item;

        switch (wire_decoder_next(agent->decoder, &data, &length, &item)) {
        case WIRE_MORE:
            break;
        case WIRE_SYNC:
            if (item.nonce != agent->nonce)
                break; /* the answer to an earlier connection's */
            agent->synced = TRUE;
            source_drop(&agent->timer);
            if (!hello_send(agent))
                return FALSE;
            break;
        case WIRE_FRAME:
            if (agent->synced && !frame_take(agent, &item))
                return FALSE;
            break;
        case WIRE_BAD:
            if (agent->synced)
                return FALSE;
            break;
        }
    }
    return TRUE;
}

static gboolean on_readable(gint fd, GIOCondition condition, gpointer data)
{
    AgentConnection *agent = data;
    guint8 buffer[65536];
    ssize_t got = TEMP_FAILURE_RETRY(recv(fd, buffer, sizeof buffer, MSG_DONTWAIT));

    (void)condition;
    if (got < 0 && errno == EAGAIN)
        return G_SOURCE_CONTINUE;
    if (got <= 0 || !bytes_take(agent, buffer, (size_t)got)) {
        connection_drop(agent, TRUE);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

/* ---- whether it lives ---- */

/* Any answer will do, and what came before it, too: nobody waits for this one. Locked. */
static void ping_send(AgentConnection *agent)
{
    Crivirt__Agent__V1__PingRequest ping = CRIVIRT__AGENT__V1__PING_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;

    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_PING;
    request.ping = &ping;
    request.id = agent->next_id++;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST;
    message.request = &request;
    heartbeat_asked(&agent->heart, g_get_monotonic_time());
    message_send(agent, &message, NULL);
}

static char *silence_text(const AgentConnection *agent, gint64 now_us)
{
    return g_strdup_printf("the guest's agent does not answer (for %" G_GINT64_FORMAT
                           " s): the guest hangs, or "
                           "the node is too busy to let it run",
                           (now_us - agent->heart.asked_us) / G_USEC_PER_SEC);
}

/* What is to be done about its silence. Locked. */
static void silence_handle(AgentConnection *agent, HeartbeatState state, gint64 now_us)
{
    switch (state) {
    case HEARTBEAT_FINE:
        break;
    case HEARTBEAT_ASK:
        if (agent->ready)
            ping_send(agent);
        break;
    case HEARTBEAT_SILENT:
    case HEARTBEAT_DEAD:
        g_free(agent->silent);
        agent->silent = silence_text(agent, now_us);
        pending_fail(agent);
        break;
    }
}

static void connection_bury(AgentConnection *agent, gint64 now_us)
{
    /* Only this thread changes it. */
    gboolean dead = agent->events.dead == NULL || agent->events.dead(agent->silent, agent->data);

    g_mutex_lock(&agent->lock);
    if (dead && agent->abandoned == NULL)
        agent->abandoned = g_strdup(agent->silent);
    else
        agent->heart.asked_us = now_us;
    g_mutex_unlock(&agent->lock);
}

/* A guest that boots is silent, and has a limit of its own. */
static void connection_watch(AgentConnection *agent, gint64 now_us, gboolean was_asleep)
{
    HeartbeatState state = HEARTBEAT_FINE;

    g_mutex_lock(&agent->lock);
    if (was_asleep && agent->heart.asked_us != 0)
        agent->heart.asked_us = now_us;
    if (!agent->fresh && !agent->closed && agent->abandoned == NULL)
        state = heartbeat_look(&agent->heart, agent->all->silence_limit_ms,
                               g_hash_table_size(agent->pending) > 0, now_us);
    silence_handle(agent, state, now_us);
    g_mutex_unlock(&agent->lock);
    if (state == HEARTBEAT_DEAD)
        connection_bury(agent, now_us);
}

/* One timer looks at all links. When it comes late this process did not run, and answers wait to be read:
 * that is not the guests' silence. */
static gboolean on_watch(gpointer data)
{
    AgentConnections *all = data;
    gint64 now_us = g_get_monotonic_time();
    gint64 late_us = 3 * heartbeat_interval_ms(all->silence_limit_ms) * 1000;

    for (guint i = 0; i < all->open->len; i++)
        connection_watch(all->open->pdata[i], now_us, now_us - all->watched_us > late_us);
    all->watched_us = now_us;
    return G_SOURCE_CONTINUE;
}

/* A Unix stream socket's connect() does not wait. The path may be longer than sun_path: it is reached through
 * /proc/self/fd of its directory by nobody here; run directories are kept short instead. */
static int socket_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof address.sun_path)
        return -1;
    strcpy(address.sun_path, path); /* NOLINT: the length has been checked */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The loop's thread. */
static void connection_start(AgentConnection *agent)
{
    int fd;

    g_mutex_lock(&agent->lock);
    if (agent->closed || agent->abandoned != NULL || agent->fd >= 0) {
        g_mutex_unlock(&agent->lock);
        return;
    }
    fd = socket_connect(agent->socket_path);
    if (fd >= 0) {
        agent->fd = fd;
        random_fill(&agent->nonce, sizeof agent->nonce);
        sync_send(agent);
    }
    g_mutex_unlock(&agent->lock);
    if (fd < 0) {
        agent->timer =
            loop_thread_add(agent->all->loop, g_timeout_source_new(RECONNECT_MS), on_reconnect, agent);
        return;
    }
    agent->decoder = wire_decoder_new();
    agent->reader = g_unix_fd_source_new(fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
    loop_thread_add(agent->all->loop, agent->reader, (GSourceFunc)(void (*)(void))on_readable, agent);
    agent->timer =
        loop_thread_add(agent->all->loop, g_timeout_source_new(SYNC_RETRY_MS), on_sync_timeout, agent);
}

/* ---- public ---- */

AgentConnection *agent_connection_ref(AgentConnection *agent)
{
    g_atomic_int_inc(&agent->references);
    return agent;
}

void agent_connection_unref(AgentConnection *agent)
{
    if (agent == NULL || !g_atomic_int_dec_and_test(&agent->references))
        return;
    g_hash_table_unref(agent->pending);
    g_byte_array_unref(agent->queue);
    g_mutex_clear(&agent->lock);
    g_cond_clear(&agent->changed);
    g_free(agent->abandoned);
    g_free(agent->silent);
    g_free(agent->socket_path);
    g_free(agent);
}

static void open_on_loop(gpointer data)
{
    AgentConnection *agent = data;

    g_ptr_array_add(agent->all->open, agent);
    connection_start(agent);
    agent_connection_unref(agent);
}

AgentConnection *agent_connection_open(AgentConnections *connections, const char *socket_path, gboolean fresh,
                                       const AgentEvents *events, gpointer data)
{
    AgentConnection *agent = g_new0(AgentConnection, 1);

    agent->references = 1;
    agent->all = connections;
    agent->socket_path = g_strdup(socket_path);
    agent->fresh = fresh;
    agent->events = *events;
    agent->data = data;
    agent->fd = -1;
    agent->next_id = 1;
    heartbeat_asked(&agent->heart, g_get_monotonic_time());
    agent->pending = g_hash_table_new(g_int64_hash, g_int64_equal);
    agent->queue = g_byte_array_new();
    g_mutex_init(&agent->lock);
    g_cond_init(&agent->changed);
    loop_thread_after(connections->loop, 0, open_on_loop, agent_connection_ref(agent));
    return agent;
}

typedef struct {
    AgentConnection *agent;
    GMutex lock;
    GCond changed;
    gboolean done;
} CloseCall;

static void close_on_loop(gpointer data)
{
    CloseCall *call = data;

    g_ptr_array_remove_fast(call->agent->all->open, call->agent);
    connection_drop(call->agent, FALSE);
    g_mutex_lock(&call->lock);
    call->done = TRUE;
    g_cond_signal(&call->changed);
    g_mutex_unlock(&call->lock);
}

void agent_connection_close(AgentConnection *agent)
{
    CloseCall call = {.agent = agent};

    g_mutex_lock(&agent->lock);
    agent->closed = TRUE;
    g_mutex_unlock(&agent->lock);
    g_mutex_init(&call.lock);
    g_cond_init(&call.changed);
    loop_thread_after(agent->all->loop, 0, close_on_loop, &call);
    g_mutex_lock(&call.lock);
    while (!call.done)
        g_cond_wait(&call.changed, &call.lock);
    g_mutex_unlock(&call.lock);
    g_mutex_clear(&call.lock);
    g_cond_clear(&call.changed);
}

void agent_connection_abandon(AgentConnection *agent, const char *reason)
{
    g_mutex_lock(&agent->lock);
    if (agent->abandoned == NULL)
        agent->abandoned = g_strdup(reason);
    pending_fail(agent);
    g_mutex_unlock(&agent->lock);
}

/* Why nothing can be said to the guest any more. Locked. */
static gboolean fail_gone(const AgentConnection *agent, GError **error)
{
    return fail(error, STATUS_UNAVAILABLE, "%s",
                agent->abandoned != NULL ? agent->abandoned
                : agent->silent != NULL  ? agent->silent
                                         : "the connection to the guest's agent was closed");
}

gboolean agent_connection_check_protocol(AgentConnection *agent, guint32 version, const char *what,
                                         GError **error)
{
    guint32 spoken;
    gboolean ready;

    g_mutex_lock(&agent->lock);
    ready = agent->ready;
    spoken = agent->protocol;
    g_mutex_unlock(&agent->lock);
    if (!ready || spoken >= version) /* one that is not connected is found out by the call itself */
        return TRUE;
    return fail(
        error, STATUS_FAILED_PRECONDITION,
        "%s needs a pod whose agent speaks version %u of the protocol; this one was started by an older "
        "crivirt and speaks version %u",
        what, version, spoken);
}

gboolean agent_connection_is_connected(AgentConnection *agent)
{
    struct pollfd other = {.events = POLLRDHUP};
    gboolean connected;

    g_mutex_lock(&agent->lock);
    other.fd = agent->fd;
    connected = other.fd >= 0 && poll(&other, 1, 0) == 0;
    g_mutex_unlock(&agent->lock);
    return connected;
}

gboolean agent_connection_wait_ready(AgentConnection *agent, const Deadline *deadline, GError **error)
{
    gboolean ready = TRUE;

    g_mutex_lock(&agent->lock);
    while (ready && !agent->ready) {
        if (agent->closed || agent->abandoned != NULL || agent->silent != NULL)
            ready = fail_gone(agent, error);
        else
            ready = deadline_cond_wait(deadline, &agent->changed, &agent->lock,
                                       "waiting for the guest's agent", error);
    }
    g_mutex_unlock(&agent->lock);
    return ready;
}

static gboolean response_check(Response *response, int op_case, GError **error)
{
    const Crivirt__Agent__V1__Failure *failure = response->failure;
    g_autofree char *message = NULL;

    if (failure == NULL && (int)response->result_case == op_case)
        return TRUE;
    if (failure == NULL)
        return fail(error, STATUS_INTERNAL,
                    "the guest's agent answered another operation than was asked for");
    message = g_utf8_make_valid(failure->message, -1);
    return fail(error,
                failure->status > 0 && failure->status <= STATUS_UNAUTHENTICATED ? (StatusCode)failure->status
                                                                                 : STATUS_INTERNAL,
                "%s", message);
}

gboolean agent_connection_call(AgentConnection *agent, Request *request, const Deadline *deadline,
                               Response **ret_response, GError **error)
{
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;
    PendingCall call = {NULL, FALSE};
    gint64 id;
    gboolean good;

    if (!agent_connection_wait_ready(agent, deadline, error))
        return FALSE;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST;
    message.request = request;
    g_mutex_lock(&agent->lock);
    if (!agent->ready || agent->closed || agent->abandoned != NULL || agent->silent != NULL) {
        fail_gone(agent, error);
        g_mutex_unlock(&agent->lock);
        return FALSE;
    }
    id = (gint64)agent->next_id++;
    request->id = (guint64)id;
    g_hash_table_insert(agent->pending, &id, &call);
    good = message_send(agent, &message, error);
    while (good && !call.done)
        good = deadline_cond_wait(deadline, &agent->changed, &agent->lock, "waiting for the guest's agent",
                                  error);
    g_hash_table_remove(agent->pending, &id);
    if (good && call.response == NULL)
        good = fail_gone(agent, error);
    g_mutex_unlock(&agent->lock);
    /* The operations have the same numbers in both oneofs (ops.def). */
    if (good)
        good = response_check(call.response, (int)request->op_case, error);
    if (good)
        *ret_response = call.response;
    else if (call.response != NULL)
        crivirt__agent__v1__response__free_unpacked(call.response, NULL);
    return good;
}

static void send_quietly(AgentConnection *agent, const ToGuest *message)
{
    g_mutex_lock(&agent->lock);
    if (agent->ready && !agent->closed && agent->abandoned == NULL)
        message_send(agent, message, NULL);
    g_mutex_unlock(&agent->lock);
}

static Crivirt__Agent__V1__ProcessId process_id(const char *container_id, const char *exec_id)
{
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;

    process.container_id = (char *)container_id;
    process.exec_id = (char *)(exec_id != NULL ? exec_id : "");
    return process;
}

void agent_connection_send_ack(AgentConnection *agent, const char *container_id, const char *exec_id,
                               Crivirt__Agent__V1__Stream stream, guint64 offset, gboolean exited)
{
    Crivirt__Agent__V1__ProcessId process = process_id(container_id, exec_id);
    Crivirt__Agent__V1__Ack ack = CRIVIRT__AGENT__V1__ACK__INIT;
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;

    ack.process = &process;
    ack.stream = stream;
    ack.offset = offset;
    ack.exited = exited;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_ACK;
    message.ack = &ack;
    send_quietly(agent, &message);
}

gboolean agent_connection_send_input(AgentConnection *agent, const Crivirt__Agent__V1__Input *input)
{
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;
    gboolean sent = FALSE;

    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_INPUT;
    message.input = (Crivirt__Agent__V1__Input *)input;
    g_mutex_lock(&agent->lock);
    if (agent->ready && !agent->closed && agent->abandoned == NULL &&
        agent->queue->len < MAX_QUEUED_INPUT_BYTES)
        sent = message_send(agent, &message, NULL);
    g_mutex_unlock(&agent->lock);
    return sent;
}

void agent_connection_send_request(AgentConnection *agent, Request *request)
{
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;

    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST;
    message.request = request;
    g_mutex_lock(&agent->lock);
    if (agent->ready && !agent->closed && agent->abandoned == NULL) {
        request->id = agent->next_id++; /* not among those that wait */
        message_send(agent, &message, NULL);
    }
    g_mutex_unlock(&agent->lock);
}

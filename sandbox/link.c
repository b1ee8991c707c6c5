#include "sandbox/link.h"

#include <errno.h>
#include <glib-unix.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/wire/wire.h"
#include "common/error.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/source.h"
#include "sandbox/heartbeat.h"

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

struct LinkLoop {
    GMainContext *context;
    GMainLoop *loop;
    GThread *thread;
    guint64 daemon_id; /* for Hello */
    gint64 silence_limit_ms;

    /* The thread's only. */
    GPtrArray *links;
    GSource *watch;
    gint64 watched_us;
};

/* A request that waits for its response. */
typedef struct {
    Response *response;
    gboolean done; /* without a response: the link failed */
} PendingCall;

struct Link {
    gint references;
    LinkLoop *loop;
    char *socket_path;
    LinkEvents events;
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

static void connection_start(Link *link);

/* ---- the loop ---- */

static gpointer loop_run(gpointer data)
{
    LinkLoop *loop = data;

    g_main_context_push_thread_default(loop->context);
    g_main_loop_run(loop->loop);
    g_main_context_pop_thread_default(loop->context);
    return NULL;
}

static gboolean on_watch(gpointer data);

LinkLoop *link_loop_new(gint64 silence_limit_ms)
{
    LinkLoop *loop = g_new0(LinkLoop, 1);

    if (getrandom(&loop->daemon_id, sizeof loop->daemon_id, 0) != sizeof loop->daemon_id)
        loop->daemon_id = (guint64)g_get_monotonic_time();
    loop->context = g_main_context_new();
    loop->loop = g_main_loop_new(loop->context, FALSE);
    loop->links = g_ptr_array_new();
    loop->silence_limit_ms = silence_limit_ms;
    if (silence_limit_ms > 0) {
        loop->watch = g_timeout_source_new((guint)heartbeat_interval_ms(silence_limit_ms));
        loop->watched_us = g_get_monotonic_time();
        g_source_set_callback(loop->watch, on_watch, loop, NULL);
        g_source_attach(loop->watch, loop->context);
    }
    loop->thread = g_thread_new("links", loop_run, loop);
    return loop;
}

static GSource *loop_add(LinkLoop *loop, GSource *source, GSourceFunc function, gpointer data)
{
    g_source_set_callback(source, function, data, NULL);
    g_source_attach(source, loop->context);
    return source;
}

static gboolean loop_quit(gpointer data)
{
    g_main_loop_quit(((LinkLoop *)data)->loop);
    return G_SOURCE_REMOVE;
}

void link_loop_free(LinkLoop *loop)
{
    if (loop == NULL)
        return;
    /* By way of the loop itself: one that has not begun to run yet would not notice otherwise. */
    g_source_unref(loop_add(loop, g_idle_source_new(), loop_quit, loop));
    g_thread_join(loop->thread);
    source_drop(&loop->watch);
    g_ptr_array_unref(loop->links);
    g_main_loop_unref(loop->loop);
    g_main_context_unref(loop->context);
    g_free(loop);
}

typedef struct {
    void (*function)(gpointer data);
    gpointer data;
} LaterCall;

static gboolean later_run(gpointer data)
{
    LaterCall *later = data;

    later->function(later->data);
    return G_SOURCE_REMOVE;
}

void link_loop_after(LinkLoop *loop, guint delay_ms, void (*function)(gpointer data), gpointer data)
{
    GSource *source = delay_ms == 0 ? g_idle_source_new() : g_timeout_source_new(delay_ms);
    LaterCall *later = g_new(LaterCall, 1);

    *later = (LaterCall){function, data};
    g_source_set_callback(source, later_run, later, g_free);
    g_source_attach(source, loop->context);
    g_source_unref(source);
}

typedef struct {
    void (*function)(gpointer data);
    gpointer data;
    GDestroyNotify destroy;
    int fd;
} ProcessWatch;

static gboolean on_process_end(gint fd, GIOCondition condition, gpointer data)
{
    ProcessWatch *watch = data;

    (void)fd, (void)condition;
    watch->function(watch->data);
    return G_SOURCE_REMOVE;
}

static void process_watch_free(gpointer data)
{
    ProcessWatch *watch = data;

    close(watch->fd);
    watch->destroy(watch->data);
    g_free(watch);
}

gboolean link_loop_watch_process(LinkLoop *loop, pid_t pid, void (*function)(gpointer data), gpointer data,
                                 GDestroyNotify destroy)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    ProcessWatch *watch;
    GSource *source;

    if (fd < 0) {
        int problem = errno;

        destroy(data);
        errno = problem;
        return FALSE;
    }
    watch = g_new(ProcessWatch, 1);
    *watch = (ProcessWatch){function, data, destroy, fd};
    source = g_unix_fd_source_new(fd, G_IO_IN);
    g_source_set_callback(source, (GSourceFunc)(void (*)(void))on_process_end, watch, process_watch_free);
    g_source_attach(source, loop->context);
    g_source_unref(source);
    return TRUE;
}

/* ---- writing ---- */

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data);

static void writer_start(gpointer data)
{
    Link *link = data;

    g_mutex_lock(&link->lock);
    if (link->fd >= 0 && !link->closed && link->writer == NULL) {
        link->writer = g_unix_fd_source_new(link->fd, G_IO_OUT);
        loop_add(link->loop, link->writer, (GSourceFunc)(void (*)(void))on_writable, link);
    }
    g_mutex_unlock(&link->lock);
    link_unref(link);
}

/* Writes what the socket takes now. Locked. */
static void queue_flush(Link *link)
{
    gsize written = 0;

    while (written < link->queue->len) {
        ssize_t put = send(link->fd, link->queue->data + written, link->queue->len - written,
                           MSG_NOSIGNAL | MSG_DONTWAIT);

        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            break; /* a broken connection is noticed, and handled, by the reader */
        written += (gsize)put;
    }
    if (written > 0)
        g_byte_array_remove_range(link->queue, 0, (guint)written);
}

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data)
{
    Link *link = data;
    gboolean more;

    (void)fd;
    (void)condition;
    g_mutex_lock(&link->lock);
    if (link->fd >= 0)
        queue_flush(link);
    more = link->fd >= 0 && link->queue->len > 0 && (condition & (G_IO_ERR | G_IO_HUP)) == 0;
    if (!more) {
        link->writing = FALSE;
        source_drop(&link->writer);
    }
    g_mutex_unlock(&link->lock);
    return more ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/* Locked. */
static void queue_push(Link *link, const void *data, gsize length)
{
    g_byte_array_append(link->queue, data, (guint)length);
    if (link->writing)
        return;
    queue_flush(link);
    if (link->queue->len > 0) {
        link->writing = TRUE;
        link_loop_after(link->loop, 0, writer_start, link_ref(link));
    }
}

/* Locked; FALSE when the message can not be sent now. */
static gboolean message_send(Link *link, const ToGuest *message, GError **error)
{
    gsize length = crivirt__agent__v1__to_guest__get_packed_size(message);
    guint8 header[WIRE_HEADER_BYTES];
    g_autofree guint8 *payload = NULL;

    if (length > WIRE_MAX_FRAME_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "the request to the guest has %zu bytes, more than the channel's limit of %d", length,
                    WIRE_MAX_FRAME_BYTES);
    if (link->queue->len + length > MAX_QUEUED_BYTES)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the guest does not read what it is sent");
    payload = g_malloc(MAX(length, 1));
    crivirt__agent__v1__to_guest__pack(message, payload);
    wire_header_encode(payload, length, link->protocol, header);
    queue_push(link, header, sizeof header);
    queue_push(link, payload, length);
    return TRUE;
}

/* ---- the connection ---- */

static gboolean on_reconnect(gpointer data)
{
    Link *link = data;

    source_drop(&link->timer);
    connection_start(link);
    return G_SOURCE_REMOVE;
}

/* Fails every call that waits. Locked. */
static void pending_fail(Link *link)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, link->pending);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        ((PendingCall *)value)->done = TRUE;
    g_hash_table_remove_all(link->pending);
    g_cond_broadcast(&link->changed);
}

/* The loop's thread. */
static void connection_drop(Link *link, gboolean again)
{
    source_drop(&link->reader);
    source_drop(&link->writer);
    source_drop(&link->timer);
    g_mutex_lock(&link->lock);
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    link->ready = FALSE;
    link->writing = FALSE;
    heartbeat_asked(&link->heart, g_get_monotonic_time());
    g_byte_array_set_size(link->queue, 0);
    pending_fail(link);
    again = again && !link->closed && link->abandoned == NULL;
    g_mutex_unlock(&link->lock);
    wire_decoder_free(link->decoder);
    link->decoder = NULL;
    link->synced = FALSE;
    if (again)
        link->timer = loop_add(link->loop, g_timeout_source_new(RECONNECT_MS), on_reconnect, link);
}

/* Locked. */
static void sync_send(Link *link)
{
    guint8 sync[WIRE_SYNC_BYTES];

    if (!link->fresh) {
        /* Whatever frame the last connection was cut in runs out in these. */
        g_autofree guint8 *padding = g_malloc0(WIRE_MAX_FRAME_BYTES);

        queue_push(link, padding, WIRE_MAX_FRAME_BYTES);
    }
    wire_sync_encode(link->nonce, sync);
    queue_push(link, sync, sizeof sync);
}

static gboolean on_sync_timeout(gpointer data)
{
    Link *link = data;
    gboolean booting;

    g_mutex_lock(&link->lock);
    booting = link->fresh;
    g_mutex_unlock(&link->lock);
    if (booting)
        return G_SOURCE_CONTINUE; /* it waits in the socket until the guest opens its port */
    source_drop(&link->timer);
    connection_drop(link, TRUE);
    return G_SOURCE_REMOVE;
}

static gboolean hello_send(Link *link)
{
    Crivirt__Agent__V1__HelloRequest hello = CRIVIRT__AGENT__V1__HELLO_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;
    gboolean sent;

    hello.protocol_version = WIRE_PROTOCOL_VERSION;
    hello.daemon_id = link->loop->daemon_id;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_HELLO;
    request.hello = &hello;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST;
    message.request = &request;
    g_mutex_lock(&link->lock);
    sent = message_send(link, &message, NULL);
    g_mutex_unlock(&link->lock);
    return sent;
}

/* Locked. */
static void life_note(Link *link)
{
    heartbeat_heard(&link->heart, g_get_monotonic_time());
    g_clear_pointer(&link->silent, g_free);
}

static Metric reconnects =
    METRIC_COUNTER("crivirt_agent_reconnects_total", "Connections to agents after their first.", NULL);

static void response_take(Link *link, FromGuest *message)
{
    Response *response = message->response;
    PendingCall *call;
    gint64 id = (gint64)response->id;

    if (id == 0) { /* the Hello */
        if (response->result_case != CRIVIRT__AGENT__V1__RESPONSE__RESULT_HELLO)
            return;
        link->events.ready(response->hello, link->data);
        g_mutex_lock(&link->lock);
        if (!link->fresh)
            metric_add(&reconnects, 1, NULL, NULL);
        link->ready = TRUE;
        link->protocol = response->hello->protocol_version;
        link->fresh = FALSE;
        life_note(link);
        g_cond_broadcast(&link->changed);
        g_mutex_unlock(&link->lock);
        return;
    }
    g_mutex_lock(&link->lock);
    call = g_hash_table_lookup(link->pending, &id);
    if (call != NULL) {
        call->response = g_steal_pointer(&message->response);
        message->body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY__NOT_SET;
        call->done = TRUE;
        g_hash_table_remove(link->pending, &id);
        g_cond_broadcast(&link->changed);
    }
    g_mutex_unlock(&link->lock);
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
static gboolean frame_take(Link *link, const WireItem *item)
{
    Budget budget = {{budget_alloc, budget_free, &budget}, MAX_UNPACKED_BYTES};
    FromGuest *message =
        crivirt__agent__v1__from_guest__unpack(&budget.allocator, item->payload_length, item->payload);

    if (message == NULL)
        return FALSE;
    g_mutex_lock(&link->lock);
    if (link->ready)
        life_note(link);
    g_mutex_unlock(&link->lock);
    switch (message->body_case) {
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE:
        response_take(link, message);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_OUTPUT:
        if (message->output->process != NULL)
            link->events.output(message->output, link->data);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_EXITED:
        if (message->exited->process != NULL)
            link->events.exited(message->exited, link->data);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_INPUT_ACK:
        if (message->input_ack->process != NULL)
            link->events.input_ack(message->input_ack, link->data);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_NOTICE:
        link->events.notice(message->notice->message, link->data);
        break;
    default:
        break; /* of a newer agent */
    }
    crivirt__agent__v1__from_guest__free_unpacked(message, NULL);
    return TRUE;
}

static gboolean bytes_take(Link *link, const guint8 *data, size_t length)
{
    while (length > 0) {
        WireItem item;

        switch (wire_decoder_next(link->decoder, &data, &length, &item)) {
        case WIRE_MORE:
            break;
        case WIRE_SYNC:
            if (item.nonce != link->nonce)
                break; /* the answer to an earlier connection's */
            link->synced = TRUE;
            source_drop(&link->timer);
            if (!hello_send(link))
                return FALSE;
            break;
        case WIRE_FRAME:
            if (link->synced && !frame_take(link, &item))
                return FALSE;
            break;
        case WIRE_BAD:
            if (link->synced)
                return FALSE;
            break;
        }
    }
    return TRUE;
}

static gboolean on_readable(gint fd, GIOCondition condition, gpointer data)
{
    Link *link = data;
    guint8 buffer[65536];
    ssize_t got = TEMP_FAILURE_RETRY(recv(fd, buffer, sizeof buffer, MSG_DONTWAIT));

    (void)condition;
    if (got < 0 && errno == EAGAIN)
        return G_SOURCE_CONTINUE;
    if (got <= 0 || !bytes_take(link, buffer, (size_t)got)) {
        connection_drop(link, TRUE);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

/* ---- whether it lives ---- */

/* Any answer will do, and what came before it, too: nobody waits for this one. Locked. */
static void ping_send(Link *link)
{
    Crivirt__Agent__V1__PingRequest ping = CRIVIRT__AGENT__V1__PING_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;

    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_PING;
    request.ping = &ping;
    request.id = link->next_id++;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST;
    message.request = &request;
    heartbeat_asked(&link->heart, g_get_monotonic_time());
    message_send(link, &message, NULL);
}

static char *silence_text(const Link *link, gint64 now_us)
{
    return g_strdup_printf("the guest's agent does not answer (for %" G_GINT64_FORMAT
                           " s): the guest hangs, or "
                           "the node is too busy to let it run",
                           (now_us - link->heart.asked_us) / G_USEC_PER_SEC);
}

/* What is to be done about its silence. Locked. */
static void silence_handle(Link *link, HeartbeatState state, gint64 now_us)
{
    switch (state) {
    case HEARTBEAT_FINE:
        break;
    case HEARTBEAT_ASK:
        if (link->ready)
            ping_send(link);
        break;
    case HEARTBEAT_SILENT:
    case HEARTBEAT_DEAD:
        g_free(link->silent);
        link->silent = silence_text(link, now_us);
        pending_fail(link);
        break;
    }
}

static void link_bury(Link *link, gint64 now_us)
{
    /* Only this thread changes it. */
    gboolean dead = link->events.dead == NULL || link->events.dead(link->silent, link->data);

    g_mutex_lock(&link->lock);
    if (dead && link->abandoned == NULL)
        link->abandoned = g_strdup(link->silent);
    else
        link->heart.asked_us = now_us;
    g_mutex_unlock(&link->lock);
}

/* A guest that boots is silent, and has a limit of its own. */
static void link_watch(Link *link, gint64 now_us, gboolean was_asleep)
{
    HeartbeatState state = HEARTBEAT_FINE;

    g_mutex_lock(&link->lock);
    if (was_asleep && link->heart.asked_us != 0)
        link->heart.asked_us = now_us;
    if (!link->fresh && !link->closed && link->abandoned == NULL)
        state = heartbeat_look(&link->heart, link->loop->silence_limit_ms,
                               g_hash_table_size(link->pending) > 0, now_us);
    silence_handle(link, state, now_us);
    g_mutex_unlock(&link->lock);
    if (state == HEARTBEAT_DEAD)
        link_bury(link, now_us);
}

/* One timer looks at all links. When it comes late this process did not run, and answers wait to be read:
 * that is not the guests' silence. */
static gboolean on_watch(gpointer data)
{
    LinkLoop *loop = data;
    gint64 now_us = g_get_monotonic_time();
    gint64 late_us = 3 * heartbeat_interval_ms(loop->silence_limit_ms) * 1000;

    for (guint i = 0; i < loop->links->len; i++)
        link_watch(loop->links->pdata[i], now_us, now_us - loop->watched_us > late_us);
    loop->watched_us = now_us;
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
static void connection_start(Link *link)
{
    int fd;

    g_mutex_lock(&link->lock);
    if (link->closed || link->abandoned != NULL || link->fd >= 0) {
        g_mutex_unlock(&link->lock);
        return;
    }
    fd = socket_connect(link->socket_path);
    if (fd >= 0) {
        link->fd = fd;
        if (getrandom(&link->nonce, sizeof link->nonce, 0) != sizeof link->nonce)
            link->nonce ^= (guint64)g_get_monotonic_time();
        sync_send(link);
    }
    g_mutex_unlock(&link->lock);
    if (fd < 0) {
        link->timer = loop_add(link->loop, g_timeout_source_new(RECONNECT_MS), on_reconnect, link);
        return;
    }
    link->decoder = wire_decoder_new();
    link->reader = g_unix_fd_source_new(fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
    loop_add(link->loop, link->reader, (GSourceFunc)(void (*)(void))on_readable, link);
    link->timer = loop_add(link->loop, g_timeout_source_new(SYNC_RETRY_MS), on_sync_timeout, link);
}

/* ---- public ---- */

Link *link_ref(Link *link)
{
    g_atomic_int_inc(&link->references);
    return link;
}

void link_unref(Link *link)
{
    if (link == NULL || !g_atomic_int_dec_and_test(&link->references))
        return;
    g_hash_table_unref(link->pending);
    g_byte_array_unref(link->queue);
    g_mutex_clear(&link->lock);
    g_cond_clear(&link->changed);
    g_free(link->abandoned);
    g_free(link->silent);
    g_free(link->socket_path);
    g_free(link);
}

static void open_on_loop(gpointer data)
{
    Link *link = data;

    g_ptr_array_add(link->loop->links, link);
    connection_start(link);
    link_unref(link);
}

Link *link_open(LinkLoop *loop, const char *socket_path, gboolean fresh, const LinkEvents *events,
                gpointer data)
{
    Link *link = g_new0(Link, 1);

    link->references = 1;
    link->loop = loop;
    link->socket_path = g_strdup(socket_path);
    link->fresh = fresh;
    link->events = *events;
    link->data = data;
    link->fd = -1;
    link->next_id = 1;
    heartbeat_asked(&link->heart, g_get_monotonic_time());
    link->pending = g_hash_table_new(g_int64_hash, g_int64_equal);
    link->queue = g_byte_array_new();
    g_mutex_init(&link->lock);
    g_cond_init(&link->changed);
    link_loop_after(loop, 0, open_on_loop, link_ref(link));
    return link;
}

typedef struct {
    Link *link;
    GMutex lock;
    GCond changed;
    gboolean done;
} CloseCall;

static void close_on_loop(gpointer data)
{
    CloseCall *call = data;

    g_ptr_array_remove_fast(call->link->loop->links, call->link);
    connection_drop(call->link, FALSE);
    g_mutex_lock(&call->lock);
    call->done = TRUE;
    g_cond_signal(&call->changed);
    g_mutex_unlock(&call->lock);
}

void link_close(Link *link)
{
    CloseCall call = {.link = link};

    g_mutex_lock(&link->lock);
    link->closed = TRUE;
    g_mutex_unlock(&link->lock);
    g_mutex_init(&call.lock);
    g_cond_init(&call.changed);
    link_loop_after(link->loop, 0, close_on_loop, &call);
    g_mutex_lock(&call.lock);
    while (!call.done)
        g_cond_wait(&call.changed, &call.lock);
    g_mutex_unlock(&call.lock);
    g_mutex_clear(&call.lock);
    g_cond_clear(&call.changed);
}

void link_abandon(Link *link, const char *reason)
{
    g_mutex_lock(&link->lock);
    if (link->abandoned == NULL)
        link->abandoned = g_strdup(reason);
    pending_fail(link);
    g_mutex_unlock(&link->lock);
}

/* Why nothing can be said to the guest any more. Locked. */
static gboolean fail_gone(const Link *link, GError **error)
{
    return fail(error, STATUS_UNAVAILABLE, "%s",
                link->abandoned != NULL ? link->abandoned
                : link->silent != NULL  ? link->silent
                                        : "the connection to the guest's agent was closed");
}

gboolean link_check_protocol(Link *link, guint32 version, const char *what, GError **error)
{
    guint32 spoken;
    gboolean ready;

    g_mutex_lock(&link->lock);
    ready = link->ready;
    spoken = link->protocol;
    g_mutex_unlock(&link->lock);
    if (!ready || spoken >= version) /* one that is not connected is found out by the call itself */
        return TRUE;
    return fail(
        error, STATUS_FAILED_PRECONDITION,
        "%s needs a pod whose agent speaks version %u of the protocol; this one was started by an older "
        "crivirt and speaks version %u",
        what, version, spoken);
}

gboolean link_is_connected(Link *link)
{
    struct pollfd other = {.events = POLLRDHUP};
    gboolean connected;

    g_mutex_lock(&link->lock);
    other.fd = link->fd;
    connected = other.fd >= 0 && poll(&other, 1, 0) == 0;
    g_mutex_unlock(&link->lock);
    return connected;
}

gboolean link_wait_ready(Link *link, const Deadline *deadline, GError **error)
{
    gboolean ready = TRUE;

    g_mutex_lock(&link->lock);
    while (ready && !link->ready) {
        if (link->closed || link->abandoned != NULL || link->silent != NULL)
            ready = fail_gone(link, error);
        else
            ready = deadline_cond_wait(deadline, &link->changed, &link->lock, "waiting for the guest's agent",
                                       error);
    }
    g_mutex_unlock(&link->lock);
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

gboolean link_call(Link *link, Request *request, const Deadline *deadline, Response **ret_response,
                   GError **error)
{
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;
    PendingCall call = {NULL, FALSE};
    gint64 id;
    gboolean good;

    if (!link_wait_ready(link, deadline, error))
        return FALSE;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST;
    message.request = request;
    g_mutex_lock(&link->lock);
    if (!link->ready || link->closed || link->abandoned != NULL || link->silent != NULL) {
        fail_gone(link, error);
        g_mutex_unlock(&link->lock);
        return FALSE;
    }
    id = (gint64)link->next_id++;
    request->id = (guint64)id;
    g_hash_table_insert(link->pending, &id, &call);
    good = message_send(link, &message, error);
    while (good && !call.done)
        good =
            deadline_cond_wait(deadline, &link->changed, &link->lock, "waiting for the guest's agent", error);
    g_hash_table_remove(link->pending, &id);
    if (good && call.response == NULL)
        good = fail_gone(link, error);
    g_mutex_unlock(&link->lock);
    /* The operations have the same numbers in both oneofs (ops.def). */
    if (good)
        good = response_check(call.response, (int)request->op_case, error);
    if (good)
        *ret_response = call.response;
    else if (call.response != NULL)
        crivirt__agent__v1__response__free_unpacked(call.response, NULL);
    return good;
}

static void send_quietly(Link *link, const ToGuest *message)
{
    g_mutex_lock(&link->lock);
    if (link->ready && !link->closed && link->abandoned == NULL)
        message_send(link, message, NULL);
    g_mutex_unlock(&link->lock);
}

static Crivirt__Agent__V1__ProcessId process_id(const char *container_id, const char *exec_id)
{
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;

    process.container_id = (char *)container_id;
    process.exec_id = (char *)(exec_id != NULL ? exec_id : "");
    return process;
}

void link_send_ack(Link *link, const char *container_id, const char *exec_id,
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
    send_quietly(link, &message);
}

gboolean link_send_input(Link *link, const Crivirt__Agent__V1__Input *input)
{
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;
    gboolean sent = FALSE;

    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_INPUT;
    message.input = (Crivirt__Agent__V1__Input *)input;
    g_mutex_lock(&link->lock);
    if (link->ready && !link->closed && link->abandoned == NULL && link->queue->len < MAX_QUEUED_INPUT_BYTES)
        sent = message_send(link, &message, NULL);
    g_mutex_unlock(&link->lock);
    return sent;
}

void link_send_request(Link *link, Request *request)
{
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;

    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST;
    message.request = request;
    g_mutex_lock(&link->lock);
    if (link->ready && !link->closed && link->abandoned == NULL) {
        request->id = link->next_id++; /* not among those that wait */
        message_send(link, &message, NULL);
    }
    g_mutex_unlock(&link->lock);
}

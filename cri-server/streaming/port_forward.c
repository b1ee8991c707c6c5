/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/port_forward.h"

#include <string.h>

#include "common/byte_ring.h"
#include "common/error.h"
#include "common/string_table.h"
#include "sandbox/pod/stream_dial.h"

enum {
    COPY_BYTES = 32 << 10,
    /* Bytes that may wait for all connections of one client. When they are reached, the client is not read,
     * which stops all its forwarded connections, because they share one. */
    MAX_INPUT_BYTES = 1 << 20,
};

typedef struct {
    StreamUser user; /* must be the first member */
    gint references;
    StreamLoop *loop;
    ForwardRequest *request;
    Peer *peer; /* NULL after the client has disconnected */
    gboolean has_channels;
    GHashTable *by_stream;  /* stream id → Forward */
    GHashTable *by_request; /* requestID → Forward, until both its streams are open */
    gsize input_bytes;      /* that wait for all connections */
} PortForward;

typedef struct {
    gint references; /* held by each entry of by_stream and by_request, by a dial, and by a posted copy */
    PortForward *owner;
    guint16 port;
    char *request_id;
    gboolean has_data, has_error;
    guint32 data, error;
    GSource *pairing_timeout; /* runs until both streams are open */
    StreamSession *session;
    gboolean is_over;
    gint copy_posted;
    GCancellable *over; /* fires with is_over */
    ByteRing input;
    gboolean input_ends, input_ended;
} Forward;

void forward_request_free(ForwardRequest *request)
{
    g_free(request->sandbox_id);
    g_array_unref(request->ports);
    g_free(request);
}

static PortForward *port_forward_ref(PortForward *owner)
{
    g_atomic_int_inc(&owner->references);
    return owner;
}

static void port_forward_unref(PortForward *owner)
{
    if (!g_atomic_int_dec_and_test(&owner->references))
        return;
    g_hash_table_unref(owner->by_stream);
    g_hash_table_unref(owner->by_request);
    forward_request_free(owner->request);
    g_free(owner);
}

static Forward *forward_new(PortForward *owner, guint16 port, const char *request_id)
{
    Forward *forward = g_new0(Forward, 1);

    forward->references = 1;
    forward->owner = port_forward_ref(owner);
    forward->port = port;
    forward->request_id = g_strdup(request_id);
    forward->over = g_cancellable_new();
    byte_ring_init(&forward->input, MAX_INPUT_BYTES + PEER_BURST_BYTES);
    return forward;
}

static Forward *forward_ref(Forward *forward)
{
    g_atomic_int_inc(&forward->references);
    return forward;
}

static void forward_unref(gpointer data)
{
    Forward *forward = data;

    if (!g_atomic_int_dec_and_test(&forward->references))
        return;
    byte_ring_clear(&forward->input);
    g_object_unref(forward->over);
    g_free(forward->request_id);
    port_forward_unref(forward->owner);
    g_free(forward);
}

/* ---- one connection ---- */

static void cancel_pairing_timeout(Forward *forward)
{
    if (forward->pairing_timeout == NULL)
        return;
    g_source_destroy(forward->pairing_timeout);
    g_clear_pointer(&forward->pairing_timeout, g_source_unref);
}

/* Records how many bytes wait now, and stops or resumes reading the client accordingly. */
static void input_changed(Forward *forward, gsize before)
{
    PortForward *owner = forward->owner;

    owner->input_bytes += forward->input.length - before;
    if (owner->peer != NULL)
        peer_hold(owner->peer, owner->input_bytes >= MAX_INPUT_BYTES);
}

static void input_drop(Forward *forward)
{
    gsize before = forward->input.length;

    byte_ring_clear(&forward->input);
    input_changed(forward, before);
}

static void forward_end(Forward *forward, const char *problem)
{
    PortForward *owner = forward->owner;

    if (forward->is_over)
        return;
    forward->is_over = TRUE;
    g_cancellable_cancel(forward->over); /* a dial that waits for the guest */
    input_drop(forward);
    cancel_pairing_timeout(forward);
    stream_session_close(g_steal_pointer(&forward->session));
    forward_ref(forward);
    if (*forward->request_id != '\0' &&
        g_hash_table_lookup(owner->by_request, forward->request_id) == forward)
        g_hash_table_remove(owner->by_request, forward->request_id);
    if (owner->peer == NULL) {
        forward_unref(forward);
        return;
    }
    if (problem != NULL && forward->has_error)
        peer_send(owner->peer, forward->error, problem, strlen(problem));
    if (forward->has_error)
        peer_end(owner->peer, forward->error);
    if (forward->has_data)
        peer_end(owner->peer, forward->data);
    if (forward->has_error)
        g_hash_table_remove(owner->by_stream, GUINT_TO_POINTER(forward->error));
    if (forward->has_data)
        g_hash_table_remove(owner->by_stream, GUINT_TO_POINTER(forward->data));
    if (owner->has_channels && g_hash_table_size(owner->by_stream) == 0)
        peer_finish(owner->peer); /* a client cannot open further channels */
    forward_unref(forward);
}

static void forward_fail(Forward *forward, const char *why)
{
    g_autofree char *problem = g_strdup_printf("error forwarding port %u to pod %s: %s", forward->port,
                                               forward->owner->request->sandbox_id, why);

    forward_end(forward, problem);
}

static void forward_copy_output(Forward *forward)
{
    guint8 buffer[COPY_BYTES];
    gsize length;

    do {
        gsize room = peer_room(forward->owner->peer, forward->data);

        length =
            stream_session_read(forward->session, STREAM_SESSION_STDOUT, buffer, MIN(room, sizeof buffer));
        if (length > 0)
            peer_send(forward->owner->peer, forward->data, buffer, length);
    } while (length > 0);
}

static void forward_copy_input(Forward *forward)
{
    gsize before = forward->input.length;
    gsize taken = stream_session_write_ring(forward->session, &forward->input);

    input_changed(forward, before);
    if (forward->owner->peer != NULL)
        peer_took(forward->owner->peer, forward->data, taken);
    if (forward->input.length == 0 && forward->input_ends && !forward->input_ended) {
        forward->input_ended = TRUE;
        stream_session_write_end(forward->session);
    }
}

static void forward_copy(Forward *forward)
{
    StreamSessionEnd end;

    if (forward->session == NULL || forward->owner->peer == NULL)
        return;
    forward_copy_output(forward);
    forward_copy_input(forward);
    if (!stream_session_ended(forward->session, &end))
        return;
    if (end.failure != NULL)
        forward_fail(forward, end.failure);
    else
        forward_end(forward, NULL);
}

static void on_forward_session_ready(gpointer data)
{
    Forward *forward = data;

    g_atomic_int_set(&forward->copy_posted, 0);
    forward_copy(forward);
    forward_unref(forward);
}

/* Called by the stream session on any thread. At most one call is posted at a time. */
static void post_forward_copy(gpointer data)
{
    Forward *forward = data;

    if (g_atomic_int_compare_and_exchange(&forward->copy_posted, 0, 1))
        stream_loop_post(forward->owner->loop, on_forward_session_ready, forward_ref(forward));
}

typedef struct {
    Forward *forward;
    StreamSession *session;
    GError *error;
} Dial;

static void on_port_dialed(gpointer data)
{
    Dial *dial = data;
    Forward *forward = dial->forward;

    if (forward->is_over || forward->owner->peer == NULL) {
        stream_session_close(dial->session);
    } else if (dial->session == NULL) {
        forward_fail(forward, dial->error->message);
    } else {
        forward->session = dial->session;
        forward_copy(forward);
    }
    g_clear_error(&dial->error);
    g_free(dial);
    forward_unref(forward);
}

/* Called on a thread of the starters' pool, because it waits for the guest. */
static void dial_port(gpointer data)
{
    Dial *dial = data;
    PortForward *owner = dial->forward->owner;
    StreamSessionClient client = {post_forward_copy, dial->forward};
    const Deadline deadline = {.at_us = G_MAXINT64, .cancellable = dial->forward->over};

    if (deadline_check(&deadline, "waiting for other connections to the sandbox", &dial->error))
        dial->session = stream_session_dial(owner->loop->sandboxes, owner->request->sandbox_id,
                                            dial->forward->port, &client, &deadline, &dial->error);
    stream_loop_post(owner->loop, on_port_dialed, dial);
}

static void forward_dial(Forward *forward)
{
    Dial *dial = g_new0(Dial, 1);

    dial->forward = forward_ref(forward);
    stream_loop_start(forward->owner->loop, forward->owner->request->sandbox_id, dial_port, dial);
}

/* ---- the client ---- */

static gboolean parse_port(const char *text, guint16 *ret_port)
{
    guint64 number;

    if (text == NULL || !g_ascii_string_to_unsigned(text, 10, 1, G_MAXUINT16, &number, NULL))
        return FALSE;
    *ret_port = (guint16)number;
    return TRUE;
}

static void on_pairing_timeout(gpointer data)
{
    forward_fail(data, "the client did not open both streams of the connection in time");
}

/* Return: the connection that a new stream belongs to, which is created for the first of its two streams;
 * NULL when the two streams name different ports. */
static Forward *find_or_create_forward(PortForward *owner, const char *request_id, guint16 port)
{
    Forward *forward = g_hash_table_lookup(owner->by_request, request_id);

    if (forward != NULL)
        return forward->port == port ? forward : NULL;
    forward = forward_new(owner, port, request_id);
    g_hash_table_insert(owner->by_request, forward->request_id, forward);
    forward->pairing_timeout =
        stream_loop_after(owner->loop, owner->loop->creation_ms, on_pairing_timeout, forward);
    return forward;
}

static gboolean on_opened(guint32 stream, GHashTable *headers, gpointer data)
{
    PortForward *owner = data;
    const char *type = g_hash_table_lookup(headers, "streamtype");
    const char *request_id = g_hash_table_lookup(headers, "requestid");
    gboolean is_data = g_strcmp0(type, "data") == 0;
    Forward *forward;
    guint16 port;

    if (request_id == NULL || (!is_data && g_strcmp0(type, "error") != 0) ||
        !parse_port(g_hash_table_lookup(headers, "port"), &port))
        return FALSE;
    forward = find_or_create_forward(owner, request_id, port);
    if (forward == NULL || (is_data ? forward->has_data : forward->has_error))
        return FALSE;
    *(is_data ? &forward->has_data : &forward->has_error) = TRUE;
    *(is_data ? &forward->data : &forward->error) = stream;
    g_hash_table_insert(owner->by_stream, GUINT_TO_POINTER(stream), forward_ref(forward));
    if (forward->has_data && forward->has_error) {
        cancel_pairing_timeout(forward);
        forward_dial(forward);
        g_hash_table_remove(owner->by_request, request_id);
    }
    return TRUE;
}

static void on_received(guint32 stream, const guint8 *bytes, gsize length, gpointer data)
{
    PortForward *owner = data;
    Forward *forward = g_hash_table_lookup(owner->by_stream, GUINT_TO_POINTER(stream));
    gsize before;

    if (forward == NULL || stream != forward->data || forward->input_ends)
        return;
    before = forward->input.length;
    if (!byte_ring_push(&forward->input, bytes, length)) {
        peer_drop(owner->peer);
        return;
    }
    input_changed(forward, before);
    if (forward->session != NULL)
        forward_copy_input(forward);
}

/* Clients half-close the error stream at once, because they never write there, so only the end of the data
 * stream counts. */
static void on_ended(guint32 stream, gboolean reset, gpointer data)
{
    PortForward *owner = data;
    Forward *forward = g_hash_table_lookup(owner->by_stream, GUINT_TO_POINTER(stream));

    if (forward == NULL || (forward->has_data && stream != forward->data))
        return;
    if (reset) {
        forward_end(forward, NULL);
        return;
    }
    forward->input_ends = forward->has_data;
    if (forward->session != NULL)
        forward_copy_input(forward);
}

static GPtrArray *all_forwards(PortForward *owner)
{
    GPtrArray *forwards = g_ptr_array_new_with_free_func(forward_unref);
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, owner->by_stream);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        g_ptr_array_add(forwards, forward_ref(value));
    return forwards;
}

static void on_writable(gpointer data)
{
    g_autoptr(GPtrArray) forwards = all_forwards(data);

    for (guint i = 0; i < forwards->len; i++)
        forward_copy(forwards->pdata[i]);
}

static void on_gone(gpointer data)
{
    PortForward *owner = data;
    g_autoptr(GPtrArray) forwards = all_forwards(owner);

    owner->peer = NULL;
    for (guint i = 0; i < forwards->len; i++)
        forward_end(forwards->pdata[i], NULL);
    stream_loop_leave(owner->loop, &owner->user);
    g_hash_table_remove_all(owner->by_request);
    g_hash_table_remove_all(owner->by_stream);
    port_forward_unref(owner);
}

static const PeerEvents peer_events = {.opened = on_opened,
                                       .received = on_received,
                                       .ended = on_ended,
                                       .writable = on_writable,
                                       .gone = on_gone};

static void port_forward_stop(StreamUser *user, const char *why)
{
    PortForward *owner = (PortForward *)user;
    g_autoptr(GPtrArray) forwards = all_forwards(owner);

    for (guint i = 0; i < forwards->len; i++)
        forward_end(forwards->pdata[i], why);
    if (owner->peer != NULL)
        peer_finish(owner->peer);
}

static void port_forward_drop(StreamUser *user)
{
    PortForward *owner = (PortForward *)user;

    if (owner->peer != NULL)
        peer_drop(owner->peer);
}

/* The server's first message on either channel is the port's number in little-endian order. */
static void open_channels(PortForward *owner)
{
    for (guint i = 0; i < owner->request->ports->len; i++) {
        guint16 port = g_array_index(owner->request->ports, guint16, i);
        guint8 number[2] = {(guint8)port, (guint8)(port >> 8)};
        Forward *forward = forward_new(owner, port, "");

        forward->data = 2 * i;
        forward->error = 2 * i + 1;
        forward->has_data = forward->has_error = TRUE;
        g_hash_table_insert(owner->by_stream, GUINT_TO_POINTER(forward->data), forward_ref(forward));
        g_hash_table_insert(owner->by_stream, GUINT_TO_POINTER(forward->error), forward_ref(forward));
        peer_send(owner->peer, forward->data, number, sizeof number);
        peer_send(owner->peer, forward->error, number, sizeof number);
        forward_dial(forward);
        forward_unref(forward);
    }
}

void port_forward_serve(StreamLoop *loop, ForwardRequest *request, const PeerConfig *peer,
                        const guint8 *first, gsize n_first)
{
    PortForward *owner = g_new0(PortForward, 1);

    owner->user.stop = port_forward_stop;
    owner->user.drop = port_forward_drop;
    owner->references = 1;
    owner->loop = loop;
    owner->request = request;
    owner->by_stream = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, forward_unref);
    owner->by_request = string_table_new(NULL, forward_unref);
    stream_loop_join(loop, &owner->user);
    owner->has_channels = peer->kind == PEER_CHANNELS || peer->kind == PEER_CHANNELS_BASE64;
    peer_start(peer, first, n_first, &peer_events, owner, &owner->peer);
    if (owner->has_channels)
        open_channels(owner);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/stream_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/random.h>
#include <wslay/wslay.h>

#include "common/error.h"
#include "cri-server/cli/stream_socket.h"

enum {
    MAX_ANSWER_BYTES = 16 << 10,
    MAX_QUEUED_BYTES = 256 << 10,
    MAX_MESSAGE_BYTES = 16 << 20,
    CHANNEL_CLOSE = 255,
};

struct StreamClient {
    StreamSocket *socket;
    StreamReceived received;
    gpointer data;
    GError *failure;   /* of received */
    GByteArray *early; /* received with the answer */
    wslay_event_context_ptr websocket;
};

/* ---- the upgrade ---- */

static char *make_request(const char *path, const char *host, const char *protocol)
{
    guint8 nonce[16];
    g_autofree char *key = NULL;

    if (getrandom(nonce, sizeof nonce, 0) != sizeof nonce)
        g_error("cannot get random bytes from the kernel");
    key = g_base64_encode(nonce, sizeof nonce);
    return g_strdup_printf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                           "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n"
                           "Sec-WebSocket-Protocol: %s\r\n\r\n",
                           path, host, key, protocol);
}

/* Reads the answer up to the empty line, and keeps the bytes after it. */
static gboolean read_answer(StreamClient *client, GError **error)
{
    g_autoptr(GByteArray) answer = g_byte_array_new();
    guint8 buffer[4096];
    char *end;

    for (;;) {
        ssize_t n = stream_socket_read(client->socket, buffer, sizeof buffer);

        if (n < 0)
            return fail_errno(error, errno, "cannot wait for crivirtd's streaming server");
        if (n == 0 || answer->len > MAX_ANSWER_BYTES)
            return fail(error, STATUS_UNAVAILABLE, "crivirtd's streaming server did not answer");
        g_byte_array_append(answer, buffer, (guint)n);
        end = g_strstr_len((char *)answer->data, answer->len, "\r\n\r\n");
        if (end != NULL)
            break;
    }
    if (!g_str_has_prefix((char *)answer->data, "HTTP/1.1 101 ")) {
        g_autofree char *line = g_strndup((char *)answer->data, strcspn((char *)answer->data, "\r\n"));

        return fail(error, STATUS_UNAVAILABLE, "crivirtd's streaming server refused: %s", line);
    }
    end += 4;
    g_byte_array_append(client->early, (guint8 *)end, answer->len - (guint)(end - (char *)answer->data));
    return TRUE;
}

static gboolean upgrade(StreamClient *client, const StreamAddress *address, const char *protocol,
                        GError **error)
{
    g_autoptr(GUri) uri = g_uri_parse(address->url, G_URI_FLAGS_NONE, error);
    g_autofree char *request = NULL;

    if (uri == NULL)
        return FALSE;
    client->socket =
        stream_socket_open(g_uri_get_host(uri), (guint16)g_uri_get_port(uri), address->certificate, error);
    if (client->socket == NULL)
        return FALSE;
    request = make_request(g_uri_get_path(uri), g_uri_get_host(uri), protocol);
    if (stream_socket_write(client->socket, request, strlen(request)) != (ssize_t)strlen(request))
        return fail_errno(error, errno, "cannot send the request to crivirtd's streaming server");
    if (!read_answer(client, error))
        return FALSE;
    stream_socket_unblock(client->socket);
    return TRUE;
}

/* ---- messages ---- */

static ssize_t on_read(wslay_event_context_ptr context, uint8_t *buffer, size_t room, int flags, void *data)
{
    StreamClient *client = data;
    ssize_t n;

    (void)flags;
    if (client->early->len > 0) {
        n = (ssize_t)MIN(room, client->early->len);
        memcpy(buffer, client->early->data, (size_t)n);
        g_byte_array_remove_range(client->early, 0, (guint)n);
        return n;
    }
    n = stream_socket_read(client->socket, buffer, room);
    if (n <= 0)
        wslay_event_set_error(context,
                              n < 0 && errno == EAGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return n > 0 ? n : -1;
}

static ssize_t on_write(wslay_event_context_ptr context, const uint8_t *bytes, size_t length, int flags,
                        void *data)
{
    StreamClient *client = data;
    ssize_t n = stream_socket_write(client->socket, bytes, length);

    (void)flags;
    if (n < 0)
        wslay_event_set_error(context, errno == EAGAIN ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return n;
}

static int on_mask(wslay_event_context_ptr context, uint8_t *mask, size_t length, void *data)
{
    (void)context;
    (void)data;
    return getrandom(mask, length, 0) == (ssize_t)length ? 0 : -1;
}

static void on_message(wslay_event_context_ptr context, const struct wslay_event_on_msg_recv_arg *message,
                       void *data)
{
    StreamClient *client = data;

    (void)context;
    if (wslay_is_ctrl_frame(message->opcode) || message->msg_length < 2 || client->failure != NULL)
        return;
    client->received(message->msg[0], message->msg + 1, message->msg_length - 1, client->data,
                     &client->failure);
}

StreamClient *stream_client_open(const StreamAddress *address, const char *protocol, StreamReceived received,
                                 gpointer data, GError **error)
{
    const struct wslay_event_callbacks callbacks = {.recv_callback = on_read,
                                                    .send_callback = on_write,
                                                    .genmask_callback = on_mask,
                                                    .on_msg_recv_callback = on_message};
    StreamClient *client = g_new0(StreamClient, 1);

    client->received = received;
    client->data = data;
    client->early = g_byte_array_new();
    if (wslay_event_context_client_init(&client->websocket, &callbacks, client) != 0)
        g_error("out of memory");
    wslay_event_config_set_max_recv_msg_length(client->websocket, MAX_MESSAGE_BYTES);
    if (!upgrade(client, address, protocol, error)) {
        error_adopt(error);
        stream_client_close(client);
        return NULL;
    }
    return client;
}

void stream_client_close(StreamClient *client)
{
    if (client == NULL)
        return;
    wslay_event_context_free(client->websocket);
    stream_socket_close(client->socket);
    g_byte_array_unref(client->early);
    g_clear_error(&client->failure);
    g_free(client);
}

gboolean stream_client_has_room(const StreamClient *client)
{
    return wslay_event_get_queued_msg_length(client->websocket) < MAX_QUEUED_BYTES;
}

void stream_client_send(StreamClient *client, guint channel, const void *bytes, gsize length)
{
    g_autofree guint8 *text = g_malloc(length + 1);
    const struct wslay_event_msg message = {WSLAY_BINARY_FRAME, text, length + 1};

    text[0] = (guint8)channel;
    memcpy(text + 1, bytes, length);
    wslay_event_queue_msg(client->websocket, &message);
}

void stream_client_end(StreamClient *client, guint channel)
{
    guint8 number = (guint8)channel;

    stream_client_send(client, CHANNEL_CLOSE, &number, 1);
}

GPollFD stream_client_poll(StreamClient *client)
{
    return (GPollFD){stream_socket_fd(client->socket),
                     (gushort)(POLLIN | (wslay_event_want_write(client->websocket) ? POLLOUT : 0)),
                     (gushort)(client->early->len > 0 ? POLLIN : 0)};
}

gboolean stream_client_work(StreamClient *client, gushort revents, gboolean *ret_over, GError **error)
{
    gboolean broken = FALSE;

    if ((revents & ~POLLOUT) != 0 || client->early->len > 0)
        broken = wslay_event_recv(client->websocket) != 0;
    if (!broken)
        broken = wslay_event_send(client->websocket) != 0;
    if (client->failure != NULL) {
        g_propagate_error(error, g_steal_pointer(&client->failure));
        return FALSE;
    }
    if (wslay_event_get_close_received(client->websocket)) {
        *ret_over = TRUE;
        return TRUE;
    }
    if (broken)
        return fail(error, STATUS_UNAVAILABLE, "the connection to crivirtd broke");
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/negotiate.h"

#include <string.h>

typedef struct {
    gboolean is_websocket, forwards;
    StreamProtocol protocol;
} SupportedProtocol;

static const SupportedProtocol supported[] = {
    {FALSE, FALSE, {PEER_SPDY, 4, "v4.channel.k8s.io"}},
    {FALSE, FALSE, {PEER_SPDY, 3, "v3.channel.k8s.io"}},
    {FALSE, FALSE, {PEER_SPDY, 2, "v2.channel.k8s.io"}},
    {FALSE, FALSE, {PEER_SPDY, 1, "channel.k8s.io"}},
    {FALSE, TRUE, {PEER_SPDY, 1, "portforward.k8s.io"}},
    {TRUE, FALSE, {PEER_CHANNELS, 5, "v5.channel.k8s.io"}},
    {TRUE, FALSE, {PEER_CHANNELS, 4, "v4.channel.k8s.io"}},
    {TRUE, FALSE, {PEER_CHANNELS_BASE64, 4, "v4.base64.channel.k8s.io"}},
    {TRUE, FALSE, {PEER_CHANNELS, 1, "channel.k8s.io"}},
    {TRUE, FALSE, {PEER_CHANNELS_BASE64, 1, "base64.channel.k8s.io"}},
    {TRUE, TRUE, {PEER_TUNNEL, 1, "SPDY/3.1+portforward.k8s.io"}},
    {TRUE, TRUE, {PEER_CHANNELS, 5, "v5.channel.k8s.io"}},
    {TRUE, TRUE, {PEER_CHANNELS, 4, "v4.channel.k8s.io"}},
    {TRUE, TRUE, {PEER_CHANNELS_BASE64, 4, "v4.base64.channel.k8s.io"}},
};

gboolean negotiate_protocol(StreamKind kind, gboolean is_websocket, const char *const *offered,
                            StreamProtocol *ret_protocol)
{
    gboolean forwards = kind == STREAM_PORT_FORWARD;

    if (offered[0] == NULL && is_websocket && !forwards) {
        *ret_protocol = (StreamProtocol){PEER_CHANNELS, 1, ""};
        return TRUE;
    }
    for (; *offered != NULL; offered++) {
        for (gsize i = 0; i < G_N_ELEMENTS(supported); i++) {
            if (supported[i].is_websocket != is_websocket || supported[i].forwards != forwards ||
                strcmp(supported[i].protocol.protocol, *offered) != 0)
                continue;
            *ret_protocol = supported[i].protocol;
            return TRUE;
        }
    }
    return FALSE;
}

/* Return: the value of Sec-WebSocket-Accept (RFC 6455, 4.2.2); the caller frees it. */
static char *websocket_accept_value(const char *key)
{
    g_autofree char *text = g_strconcat(key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", NULL);
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA1);
    guint8 digest[20];
    gsize length = sizeof digest;

    g_checksum_update(checksum, (const guchar *)text, -1);
    g_checksum_get_digest(checksum, digest, &length);
    return g_base64_encode(digest, length);
}

static const char *const kind_names[] = {
    [STREAM_EXEC] = "exec", [STREAM_ATTACH] = "attach", [STREAM_PORT_FORWARD] = "portforward"};

const char *negotiate_kind_name(StreamKind kind)
{
    return kind_names[kind];
}

static gboolean parse_path(const char *path, StreamKind *ret_kind, const char **ret_token)
{
    for (gsize i = 0; i < G_N_ELEMENTS(kind_names); i++) {
        gsize length = strlen(kind_names[i]);

        if (path[0] != '/' || strncmp(path + 1, kind_names[i], length) != 0 || path[1 + length] != '/')
            continue;
        *ret_kind = (StreamKind)i;
        *ret_token = path + length + 2;
        return TRUE;
    }
    return FALSE;
}

static gboolean is_websocket(const HttpRequest *request)
{
    return http_request_has_word(request, "upgrade", "websocket");
}

/* Return: whether the request has what RFC 6455, 4.2.1 demands. */
static gboolean asks_for_websocket(const HttpRequest *request)
{
    return g_str_equal(request->method, "GET") && http_request_header(request, "sec-websocket-key") != NULL &&
           g_strcmp0(http_request_header(request, "sec-websocket-version"), "13") == 0;
}

int negotiate_upgrade(const HttpRequest *request, StreamUpgrade *ret_upgrade, const char **ret_problem)
{
    gboolean websocket = is_websocket(request);
    g_auto(GStrv) offered =
        http_request_words(request, websocket ? "sec-websocket-protocol" : "x-stream-protocol-version");
    StreamUpgrade upgrade;

    if (!parse_path(request->path, &upgrade.kind, &upgrade.token)) {
        *ret_problem = "unknown path: the server has /exec/TOKEN, /attach/TOKEN and /portforward/TOKEN";
        return 404;
    }
    if ((!websocket && !http_request_has_word(request, "upgrade", "SPDY/3.1")) ||
        !http_request_has_word(request, "connection", "Upgrade") ||
        (websocket && !asks_for_websocket(request))) {
        *ret_problem = "the request must ask for an upgrade to SPDY/3.1 or WebSocket";
        return 400;
    }
    if (!negotiate_protocol(upgrade.kind, websocket, (const char *const *)offered, &upgrade.protocol)) {
        *ret_problem =
            "the server supports none of the offered protocols (supported: v1 to v4.channel.k8s.io and "
            "portforward.k8s.io over SPDY; v4 and v5.channel.k8s.io and "
            "SPDY/3.1+portforward.k8s.io over WebSocket)";
        return 403;
    }
    *ret_upgrade = upgrade;
    return 0;
}

char *negotiate_answer(const HttpRequest *request, const StreamUpgrade *upgrade)
{
    GString *head = g_string_new("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n");

    if (is_websocket(request)) {
        g_autofree char *accept = websocket_accept_value(http_request_header(request, "sec-websocket-key"));

        g_string_append_printf(head, "Upgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n", accept);
        if (*upgrade->protocol.protocol != '\0')
            g_string_append_printf(head, "Sec-WebSocket-Protocol: %s\r\n", upgrade->protocol.protocol);
    } else {
        g_string_append_printf(head, "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: %s\r\n",
                               upgrade->protocol.protocol);
    }
    g_string_append(head, "\r\n");
    return g_string_free(head, FALSE);
}

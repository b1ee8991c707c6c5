#include "cri-server/streaming/negotiate.h"

#include <string.h>

typedef struct {
    gboolean is_websocket, forwards;
    StreamProtocol protocol;
} Served;

static const Served served[] = {
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
        for (gsize i = 0; i < G_N_ELEMENTS(served); i++) {
            if (served[i].is_websocket != is_websocket || served[i].forwards != forwards ||
                strcmp(served[i].protocol.protocol, *offered) != 0)
                continue;
            *ret_protocol = served[i].protocol;
            return TRUE;
        }
    }
    return FALSE;
}

char **negotiate_split(const GPtrArray *headers)
{
    GPtrArray *words = g_ptr_array_new();

    for (guint i = 0; i < headers->len; i++) {
        g_auto(GStrv) parts = g_strsplit(headers->pdata[i], ",", -1);

        for (char **part = parts; *part != NULL; part++)
            if (*g_strstrip(*part) != '\0')
                g_ptr_array_add(words, g_strdup(*part));
    }
    g_ptr_array_add(words, NULL);
    return (char **)g_ptr_array_free(words, FALSE);
}

char *negotiate_websocket_accept(const char *key)
{
    g_autofree char *text = g_strconcat(key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", NULL);
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA1);
    guint8 digest[20];
    gsize length = sizeof digest;

    g_checksum_update(checksum, (const guchar *)text, -1);
    g_checksum_get_digest(checksum, digest, &length);
    return g_base64_encode(digest, length);
}

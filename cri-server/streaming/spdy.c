/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/spdy.h"

#include <string.h>
#include <zlib.h>

#include "common/error.h"
#include "common/string_table.h"
#include "cri-server/streaming/spdy_dictionary.h"

enum {
    VERSION = 3,
    FRAME_HEADER_BYTES = 8,
    FLAG_FIN = 1,
    INITIAL_WINDOW = 64 << 10,
    MAX_HEADERS = 100,
};

typedef enum {
    SYN_STREAM = 1,
    SYN_REPLY = 2,
    RST_STREAM = 3,
    SETTINGS = 4,
    PING = 6,
    GOAWAY = 7,
    HEADERS = 8,
    WINDOW_UPDATE = 9,
} FrameType;

enum {
    RST_PROTOCOL_ERROR = 1,
    RST_INVALID_STREAM = 2,
    RST_REFUSED_STREAM = 3,
    RST_CANCEL = 5,
    RST_FLOW_CONTROL_ERROR = 7
};
enum { SETTINGS_INITIAL_WINDOW_SIZE = 7 };

typedef struct {
    guint32 id;
    gboolean we_ended, they_ended;
    gint64 send_window;
    gint64 waiting; /* bytes that were received and not used yet */
    gint64 used;    /* bytes that were used and not yet reported by a WINDOW_UPDATE */
} Stream;

struct Spdy {
    SpdyEvents events;
    gpointer data;
    GHashTable *streams; /* &id → Stream */
    guint32 last_stream; /* the highest id that the client has opened */
    gboolean keeps_windows;
    gint64 initial_window;
    z_stream inflater, deflater;

    guint8 header[FRAME_HEADER_BYTES];
    gsize header_length;
    GByteArray *control; /* payload of the control frame that is being read */
    gsize payload_left;  /* of the frame that is being read */
    guint32 data_stream; /* of the data frame that is being read */
    gboolean discards;   /* the stream of the data frame is closed */
};

static guint32 read_u32(const guint8 *bytes)
{
    return (guint32)bytes[0] << 24 | (guint32)bytes[1] << 16 | (guint32)bytes[2] << 8 | bytes[3];
}

static void write_u32(guint8 *bytes, guint32 value)
{
    bytes[0] = (guint8)(value >> 24);
    bytes[1] = (guint8)(value >> 16);
    bytes[2] = (guint8)(value >> 8);
    bytes[3] = (guint8)value;
}

Spdy *spdy_new(const SpdyEvents *events, gpointer data)
{
    Spdy *spdy = g_new0(Spdy, 1);

    spdy->events = *events;
    spdy->data = data;
    spdy->streams = g_hash_table_new_full(g_int_hash, g_int_equal, NULL, g_free);
    spdy->control = g_byte_array_new();
    spdy->initial_window = INITIAL_WINDOW;
    if (inflateInit(&spdy->inflater) != Z_OK || deflateInit(&spdy->deflater, Z_BEST_SPEED) != Z_OK ||
        deflateSetDictionary(&spdy->deflater, spdy_dictionary, sizeof spdy_dictionary) != Z_OK)
        g_error("zlib cannot be initialised");
    return spdy;
}

void spdy_free(Spdy *spdy)
{
    if (spdy == NULL)
        return;
    inflateEnd(&spdy->inflater);
    deflateEnd(&spdy->deflater);
    g_byte_array_unref(spdy->control);
    g_hash_table_unref(spdy->streams);
    g_free(spdy);
}

/* ---- sending ---- */

static void send_control(Spdy *spdy, FrameType type, guint8 flags, const guint8 *payload, gsize length)
{
    g_autofree guint8 *frame = g_malloc(FRAME_HEADER_BYTES + length);

    write_u32(frame, 0x80000000u | VERSION << 16 | type);
    write_u32(frame + 4, (guint32)flags << 24 | (guint32)length);
    memcpy(frame + FRAME_HEADER_BYTES, payload, length);
    spdy->events.output(frame, FRAME_HEADER_BYTES + length, spdy->data);
}

static void send_pair(Spdy *spdy, FrameType type, guint32 first, guint32 second)
{
    guint8 payload[8];

    write_u32(payload, first);
    write_u32(payload + 4, second);
    send_control(spdy, type, 0, payload, sizeof payload);
}

/* The header block is empty: clients only wait for the reply and do not read its headers. */
static void send_reply(Spdy *spdy, guint32 stream)
{
    static guint8 no_headers[4];
    guint8 payload[4 + 64];

    write_u32(payload, stream);
    spdy->deflater.next_in = no_headers;
    spdy->deflater.avail_in = sizeof no_headers;
    spdy->deflater.next_out = payload + 4;
    spdy->deflater.avail_out = sizeof payload - 4;
    deflate(&spdy->deflater, Z_SYNC_FLUSH);
    send_control(spdy, SYN_REPLY, 0, payload, sizeof payload - spdy->deflater.avail_out);
}

static void send_data(Spdy *spdy, guint32 stream, const guint8 *bytes, gsize length, guint8 flags)
{
    guint8 header[FRAME_HEADER_BYTES];

    write_u32(header, stream);
    write_u32(header + 4, (guint32)flags << 24 | (guint32)length);
    spdy->events.output(header, sizeof header, spdy->data);
    if (length > 0)
        spdy->events.output(bytes, length, spdy->data);
}

static Stream *stream_find(Spdy *spdy, guint32 id)
{
    return g_hash_table_lookup(spdy->streams, &id);
}

/* Frees the stream when both sides have ended it. */
static void stream_free_if_ended(Spdy *spdy, Stream *stream)
{
    if (stream->we_ended && stream->they_ended)
        g_hash_table_remove(spdy->streams, &stream->id);
}

gboolean spdy_keeps_windows(const Spdy *spdy)
{
    return spdy->keeps_windows;
}

void spdy_took(Spdy *spdy, guint32 id, gsize length)
{
    Stream *stream = stream_find(spdy, id);

    if (stream == NULL || length == 0)
        return;
    stream->waiting -= (gint64)length;
    stream->used += (gint64)length;
    if (!spdy->keeps_windows || stream->they_ended)
        return;
    send_pair(spdy, WINDOW_UPDATE, id, (guint32)stream->used);
    stream->used = 0;
}

gsize spdy_room(Spdy *spdy, guint32 id)
{
    const Stream *stream = stream_find(spdy, id);

    if (stream == NULL || stream->we_ended)
        return 0;
    if (!spdy->keeps_windows)
        return G_MAXSIZE;
    return stream->send_window > 0 ? (gsize)stream->send_window : 0;
}

void spdy_send(Spdy *spdy, guint32 id, const guint8 *bytes, gsize length)
{
    Stream *stream = stream_find(spdy, id);

    if (stream == NULL || stream->we_ended)
        return;
    stream->send_window -= (gint64)length;
    while (length > 0) {
        gsize part = MIN(length, (gsize)SPDY_DATA_BYTES);

        send_data(spdy, id, bytes, part, 0);
        bytes += part;
        length -= part;
    }
}

void spdy_end(Spdy *spdy, guint32 id)
{
    Stream *stream = stream_find(spdy, id);

    if (stream == NULL || stream->we_ended)
        return;
    send_data(spdy, id, NULL, 0, FLAG_FIN);
    stream->we_ended = TRUE;
    stream_free_if_ended(spdy, stream);
}

void spdy_reset(Spdy *spdy, guint32 id)
{
    if (stream_find(spdy, id) == NULL)
        return;
    send_pair(spdy, RST_STREAM, id, RST_CANCEL);
    g_hash_table_remove(spdy->streams, &id);
}

void spdy_goaway(Spdy *spdy)
{
    send_pair(spdy, GOAWAY, spdy->last_stream, 0);
}

/* ---- header blocks ---- */

/* Every block is inflated, also one that is not used, because the state of the compression spans all blocks
 * of the connection. */
static gboolean inflate_block(Spdy *spdy, const guint8 *block, gsize length, GByteArray *plain,
                              GError **error)
{
    guint8 buffer[4096];
    int result;

    spdy->inflater.next_in = (Bytef *)block;
    spdy->inflater.avail_in = (uInt)length;
    do {
        spdy->inflater.next_out = buffer;
        spdy->inflater.avail_out = sizeof buffer;
        result = inflate(&spdy->inflater, Z_SYNC_FLUSH);
        if (result == Z_NEED_DICT) {
            result = inflateSetDictionary(&spdy->inflater, spdy_dictionary, sizeof spdy_dictionary);
            if (result == Z_OK)
                continue;
        }
        if (result != Z_OK && result != Z_BUF_ERROR)
            return fail(error, STATUS_INVALID_ARGUMENT, "a header block cannot be inflated");
        g_byte_array_append(plain, buffer, (guint)(sizeof buffer - spdy->inflater.avail_out));
        if (plain->len > SPDY_MAX_HEADER_BYTES)
            return fail(error, STATUS_INVALID_ARGUMENT, "a header block is larger than %d bytes",
                        SPDY_MAX_HEADER_BYTES);
    } while (spdy->inflater.avail_in > 0 || spdy->inflater.avail_out == 0);
    return TRUE;
}

static gboolean read_string(const GByteArray *plain, gsize *at, char **ret_string, GError **error)
{
    gsize length;

    if (plain->len - *at < 4)
        return fail(error, STATUS_INVALID_ARGUMENT, "a header block is truncated");
    length = read_u32(plain->data + *at);
    *at += 4;
    if (length > plain->len - *at)
        return fail(error, STATUS_INVALID_ARGUMENT, "a header block is truncated");
    *ret_string = g_strndup((const char *)plain->data + *at, length);
    *at += length;
    return TRUE;
}

static gboolean parse_headers(const GByteArray *plain, GHashTable *headers, GError **error)
{
    gsize at = 4;
    guint32 count;

    if (plain->len < 4)
        return fail(error, STATUS_INVALID_ARGUMENT, "a header block is truncated");
    count = read_u32(plain->data);
    if (count > MAX_HEADERS)
        return fail(error, STATUS_INVALID_ARGUMENT, "a stream has %u headers, more than %d", count,
                    MAX_HEADERS);
    for (guint32 i = 0; i < count; i++) {
        g_autofree char *name = NULL;
        g_autofree char *value = NULL;

        if (!read_string(plain, &at, &name, error) || !read_string(plain, &at, &value, error))
            return FALSE;
        g_hash_table_replace(headers, g_ascii_strdown(name, -1), g_steal_pointer(&value));
    }
    return TRUE;
}

static GHashTable *decode_headers(Spdy *spdy, const guint8 *block, gsize length, GError **error)
{
    g_autoptr(GByteArray) plain = g_byte_array_new();
    g_autoptr(GHashTable) headers = string_table_new(g_free, g_free);

    if (!inflate_block(spdy, block, length, plain, error) || !parse_headers(plain, headers, error))
        return NULL;
    return g_steal_pointer(&headers);
}

/* ---- receiving ---- */

static void stream_client_ended(Spdy *spdy, Stream *stream)
{
    guint32 id = stream->id;

    if (stream->they_ended)
        return;
    stream->they_ended = TRUE;
    spdy->events.ended(id, FALSE, spdy->data);
    stream = stream_find(spdy, id); /* the event may have freed the stream */
    if (stream != NULL)
        stream_free_if_ended(spdy, stream);
}

static Stream *stream_add(Spdy *spdy, guint32 id)
{
    Stream *stream = g_new0(Stream, 1);

    stream->id = id;
    stream->send_window = spdy->initial_window;
    g_hash_table_insert(spdy->streams, &stream->id, stream);
    return stream;
}

static gboolean handle_syn_stream(Spdy *spdy, guint8 flags, const guint8 *payload, gsize length,
                                  GError **error)
{
    g_autoptr(GHashTable) headers = NULL;
    Stream *stream;
    guint32 id;

    if (length < 10)
        return fail(error, STATUS_INVALID_ARGUMENT, "a SYN_STREAM frame has the wrong length of %zu bytes",
                    length);
    id = read_u32(payload) & 0x7fffffff;
    headers = decode_headers(spdy, payload + 10, length - 10, error);
    if (headers == NULL)
        return FALSE;
    if (id % 2 == 0 || id <= spdy->last_stream)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "stream %u cannot be opened: its id is even or not higher than the last one", id);
    spdy->last_stream = id;
    if (g_hash_table_size(spdy->streams) >= SPDY_MAX_STREAMS) {
        send_pair(spdy, RST_STREAM, id, RST_REFUSED_STREAM);
        return TRUE;
    }
    stream_add(spdy, id);
    send_reply(spdy, id);
    if (!spdy->events.opened(id, headers, spdy->data)) {
        spdy_reset(spdy, id);
        return TRUE;
    }
    stream = stream_find(spdy, id);
    if (stream != NULL && (flags & FLAG_FIN) != 0)
        stream_client_ended(spdy, stream);
    return TRUE;
}

static void handle_reset(Spdy *spdy, guint32 id)
{
    if (stream_find(spdy, id) == NULL)
        return;
    g_hash_table_remove(spdy->streams, &id);
    spdy->events.ended(id, TRUE, spdy->data);
}

/* Records that the client honours windows, and reports the bytes that were used before that was known. */
static void note_client_honours_windows(Spdy *spdy)
{
    GHashTableIter iter;
    gpointer value;

    if (spdy->keeps_windows)
        return;
    spdy->keeps_windows = TRUE;
    g_hash_table_iter_init(&iter, spdy->streams);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Stream *stream = value;

        if (stream->used > 0)
            send_pair(spdy, WINDOW_UPDATE, stream->id, (guint32)MIN(stream->used, (gint64)G_MAXINT32));
        stream->used = 0;
    }
}

static void reset_stream(Spdy *spdy, guint32 id, guint32 status)
{
    send_pair(spdy, RST_STREAM, id, status);
    g_hash_table_remove(spdy->streams, &id);
    spdy->events.ended(id, TRUE, spdy->data);
}

static void handle_window_update(Spdy *spdy, guint32 id, guint32 delta)
{
    Stream *stream = stream_find(spdy, id);

    note_client_honours_windows(spdy);
    if (stream == NULL)
        return;
    stream->send_window += delta;
    if (stream->send_window > G_MAXINT32)
        reset_stream(spdy, id, RST_FLOW_CONTROL_ERROR);
}

static void handle_initial_window(Spdy *spdy, guint32 bytes)
{
    GHashTableIter iter;
    gpointer value;
    gint64 change = (gint64)MIN(bytes, (guint32)G_MAXINT32) - spdy->initial_window;

    note_client_honours_windows(spdy);
    spdy->initial_window += change;
    g_hash_table_iter_init(&iter, spdy->streams);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Stream *stream = value;

        stream->send_window = MIN(stream->send_window + change, (gint64)G_MAXINT32);
    }
}

static gboolean handle_settings(Spdy *spdy, const guint8 *payload, gsize length, GError **error)
{
    if (length < 4 || (length - 4) / 8 != read_u32(payload) || (length - 4) % 8 != 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "a SETTINGS frame has the wrong length of %zu bytes",
                    length);
    for (gsize at = 4; at < length; at += 8)
        if ((read_u32(payload + at) & 0xffffff) == SETTINGS_INITIAL_WINDOW_SIZE)
            handle_initial_window(spdy, read_u32(payload + at + 4));
    return TRUE;
}

static gboolean handle_headers(Spdy *spdy, guint8 flags, const guint8 *payload, gsize length, GError **error)
{
    g_autoptr(GHashTable) headers = length >= 4 ? decode_headers(spdy, payload + 4, length - 4, error) : NULL;
    Stream *stream;

    if (length < 4)
        return fail(error, STATUS_INVALID_ARGUMENT, "a HEADERS frame has the wrong length of %zu bytes",
                    length);
    if (headers == NULL)
        return FALSE;
    stream = stream_find(spdy, read_u32(payload) & 0x7fffffff);
    if (stream != NULL && (flags & FLAG_FIN) != 0)
        stream_client_ended(spdy, stream);
    return TRUE;
}

static gboolean handle_control_frame(Spdy *spdy, GError **error)
{
    const guint8 *payload = spdy->control->data;
    gsize length = spdy->control->len;
    guint8 flags = spdy->header[4];
    guint16 type = (guint16)(read_u32(spdy->header) & 0xffff);

    switch (type) {
    case SYN_STREAM:
        return handle_syn_stream(spdy, flags, payload, length, error);
    case HEADERS:
    case SYN_REPLY:
        return handle_headers(spdy, flags, payload, length, error);
    case SETTINGS:
        return handle_settings(spdy, payload, length, error);
    case RST_STREAM:
    case WINDOW_UPDATE:
        if (length != 8)
            return fail(error, STATUS_INVALID_ARGUMENT,
                        "a frame of type %u has the wrong length of %zu bytes", type, length);
        if (type == RST_STREAM)
            handle_reset(spdy, read_u32(payload) & 0x7fffffff);
        else
            handle_window_update(spdy, read_u32(payload) & 0x7fffffff, read_u32(payload + 4) & 0x7fffffff);
        return TRUE;
    case PING:
        if (length != 4)
            return fail(error, STATUS_INVALID_ARGUMENT, "a PING frame has the wrong length of %zu bytes",
                        length);
        send_control(spdy, PING, 0, payload, length);
        return TRUE;
    default: /* a GOAWAY needs no answer, because the client closes the connection; unknown types are ignored
              */
        return TRUE;
    }
}

static void handle_data(Spdy *spdy, const guint8 *bytes, gsize length)
{
    Stream *stream = stream_find(spdy, spdy->data_stream);

    if (spdy->discards || stream == NULL || length == 0)
        return;
    stream->waiting += (gint64)length;
    if (spdy->keeps_windows && stream->waiting > INITIAL_WINDOW)
        reset_stream(spdy, stream->id, RST_FLOW_CONTROL_ERROR);
    else
        spdy->events.received(spdy->data_stream, bytes, length, spdy->data);
}

static gboolean begin_frame(Spdy *spdy, GError **error)
{
    guint32 word = read_u32(spdy->header);
    const Stream *stream;

    spdy->payload_left = read_u32(spdy->header + 4) & 0xffffff;
    if ((word & 0x80000000u) != 0) {
        if ((word >> 16 & 0x7fff) != VERSION)
            return fail(error, STATUS_INVALID_ARGUMENT, "SPDY version %u is not supported",
                        word >> 16 & 0x7fff);
        if (spdy->payload_left > SPDY_MAX_FRAME_BYTES)
            return fail(error, STATUS_INVALID_ARGUMENT,
                        "a control frame of %zu bytes exceeds the limit of %d", spdy->payload_left,
                        SPDY_MAX_FRAME_BYTES);
        g_byte_array_set_size(spdy->control, 0);
        return TRUE;
    }
    spdy->data_stream = word;
    stream = stream_find(spdy, word);
    spdy->discards = stream == NULL || stream->they_ended;
    if (word == 0 || word > spdy->last_stream)
        return fail(error, STATUS_INVALID_ARGUMENT, "data arrived for stream %u, which was never opened",
                    word);
    return TRUE;
}

static gboolean end_frame(Spdy *spdy, GError **error)
{
    Stream *stream;

    spdy->header_length = 0;
    if ((spdy->header[0] & 0x80) != 0)
        return handle_control_frame(spdy, error);
    stream = stream_find(spdy, spdy->data_stream);
    if (stream != NULL && (spdy->header[4] & FLAG_FIN) != 0)
        stream_client_ended(spdy, stream);
    return TRUE;
}

/* Consumes bytes up to the end of the current frame at most. */
static gboolean feed_frame_part(Spdy *spdy, const guint8 **bytes, gsize *length, GError **error)
{
    gsize part;

    if (spdy->header_length < FRAME_HEADER_BYTES) {
        part = MIN(*length, FRAME_HEADER_BYTES - spdy->header_length);
        memcpy(spdy->header + spdy->header_length, *bytes, part);
        spdy->header_length += part;
        *bytes += part;
        *length -= part;
        if (spdy->header_length < FRAME_HEADER_BYTES)
            return TRUE;
        if (!begin_frame(spdy, error))
            return FALSE;
    }
    part = MIN(*length, spdy->payload_left);
    if ((spdy->header[0] & 0x80) != 0)
        g_byte_array_append(spdy->control, *bytes, (guint)part);
    else
        handle_data(spdy, *bytes, part);
    *bytes += part;
    *length -= part;
    spdy->payload_left -= part;
    return spdy->payload_left > 0 || end_frame(spdy, error);
}

gboolean spdy_feed(Spdy *spdy, const guint8 *bytes, gsize length, GError **error)
{
    while (length > 0) {
        if (!feed_frame_part(spdy, &bytes, &length, error)) {
            send_pair(spdy, GOAWAY, spdy->last_stream, RST_PROTOCOL_ERROR);
            return FALSE;
        }
    }
    return TRUE;
}

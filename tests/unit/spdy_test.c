/* SPDX-License-Identifier: Apache-2.0 */
/* SPDY of the streaming server, with frames that the test makes. */
#include <string.h>
#include <zlib.h>

#include "common/error.h"
#include "cri-server/streaming/spdy.h"
#include "cri-server/streaming/spdy_dictionary.h"
#include "tests/unit/harness.h"

typedef struct {
    Spdy *spdy;
    GString *log;    /* what happened, in words */
    GByteArray *out; /* what it sent */
    z_stream deflater;
    gboolean refuses;
} Fixture;

static gboolean on_opened(guint32 stream, GHashTable *headers, gpointer data)
{
    Fixture *fixture = data;
    const char *type = g_hash_table_lookup(headers, "streamtype");

    g_string_append_printf(fixture->log, "open %u %s;", stream, type != NULL ? type : "?");
    return !fixture->refuses;
}

static void on_received(guint32 stream, const guint8 *bytes, gsize length, gpointer data)
{
    Fixture *fixture = data;

    g_string_append_printf(fixture->log, "data %u %.*s;", stream, (int)length, (const char *)bytes);
}

static void on_ended(guint32 stream, gboolean reset, gpointer data)
{
    Fixture *fixture = data;

    g_string_append_printf(fixture->log, "%s %u;", reset ? "reset" : "end", stream);
}

static void on_output(const guint8 *bytes, gsize length, gpointer data)
{
    g_byte_array_append(((Fixture *)data)->out, bytes, (guint)length);
}

static void fixture_init(Fixture *fixture)
{
    static const SpdyEvents events = {on_opened, on_received, on_ended, on_output};

    memset(fixture, 0, sizeof *fixture);
    fixture->log = g_string_new(NULL);
    fixture->out = g_byte_array_new();
    fixture->spdy = spdy_new(&events, fixture);
    deflateInit(&fixture->deflater, Z_BEST_COMPRESSION);
    deflateSetDictionary(&fixture->deflater, spdy_dictionary, sizeof spdy_dictionary);
}

static void fixture_clear(Fixture *fixture)
{
    spdy_free(fixture->spdy);
    deflateEnd(&fixture->deflater);
    g_string_free(fixture->log, TRUE);
    g_byte_array_unref(fixture->out);
}

static void put_u32(GByteArray *bytes, guint32 value)
{
    guint32 big_endian = GUINT32_TO_BE(value);

    g_byte_array_append(bytes, (guint8 *)&big_endian, 4);
}

static GByteArray *control(guint16 type, guint8 flags, const GByteArray *payload)
{
    GByteArray *frame = g_byte_array_new();

    put_u32(frame, 0x80030000u | type);
    put_u32(frame, (guint32)flags << 24 | payload->len);
    g_byte_array_append(frame, payload->data, payload->len);
    return frame;
}

static GByteArray *syn_stream(Fixture *fixture, guint32 stream, const char *name, const char *value,
                              gboolean fin)
{
    g_autoptr(GByteArray) plain = g_byte_array_new();
    g_autoptr(GByteArray) payload = g_byte_array_new();
    guint8 block[512];

    put_u32(plain, 1);
    put_u32(plain, (guint32)strlen(name));
    g_byte_array_append(plain, (const guint8 *)name, (guint)strlen(name));
    put_u32(plain, (guint32)strlen(value));
    g_byte_array_append(plain, (const guint8 *)value, (guint)strlen(value));
    fixture->deflater.next_in = plain->data;
    fixture->deflater.avail_in = plain->len;
    fixture->deflater.next_out = block;
    fixture->deflater.avail_out = sizeof block;
    deflate(&fixture->deflater, Z_SYNC_FLUSH);
    put_u32(payload, stream);
    put_u32(payload, 0);
    g_byte_array_append(payload, (const guint8 *)"\0\0", 2);
    g_byte_array_append(payload, block, (guint)(sizeof block - fixture->deflater.avail_out));
    return control(1, fin ? 1 : 0, payload);
}

static GByteArray *data_frame(guint32 stream, const char *text, gboolean fin)
{
    GByteArray *frame = g_byte_array_new();

    put_u32(frame, stream);
    put_u32(frame, (fin ? 1u << 24 : 0) | (guint32)strlen(text));
    g_byte_array_append(frame, (const guint8 *)text, (guint)strlen(text));
    return frame;
}

static GByteArray *pair_frame(guint16 type, guint32 first, guint32 second)
{
    g_autoptr(GByteArray) payload = g_byte_array_new();

    put_u32(payload, first);
    put_u32(payload, second);
    return control(type, 0, payload);
}

/* Frees the frame. */
static gboolean feed(Fixture *fixture, GByteArray *frame, GError **error)
{
    gboolean good = spdy_feed(fixture->spdy, frame->data, frame->len, error);

    g_byte_array_unref(frame);
    return good;
}

static void serves_streams(void)
{
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    TEST_OK(feed(&fixture, syn_stream(&fixture, 1, "streamType", "error", FALSE), &error), error);
    TEST_OK(feed(&fixture, syn_stream(&fixture, 3, "StreamType", "stdin", FALSE), &error), error);
    TEST_OK(feed(&fixture, data_frame(3, "hello", FALSE), &error), error);
    TEST_OK(feed(&fixture, data_frame(3, "", TRUE), &error), error);
    TEST_OK(feed(&fixture, pair_frame(3, 1, 5), &error), error);
    CU_ASSERT_STRING_EQUAL(fixture.log->str, "open 1 error;open 3 stdin;data 3 hello;end 3;reset 1;");
    CU_ASSERT_EQUAL(spdy_room(fixture.spdy, 1), 0);
    CU_ASSERT_EQUAL(spdy_room(fixture.spdy, 3), G_MAXSIZE);
    fixture_clear(&fixture);
}

static void takes_bytes_one_by_one(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) all = g_byte_array_new();
    GByteArray *frames[2];
    Fixture fixture;

    fixture_init(&fixture);
    frames[0] = syn_stream(&fixture, 1, "streamtype", "data", FALSE);
    frames[1] = data_frame(1, "x", TRUE);
    for (int i = 0; i < 2; i++) {
        g_byte_array_append(all, frames[i]->data, frames[i]->len);
        g_byte_array_unref(frames[i]);
    }
    for (guint i = 0; i < all->len; i++)
        TEST_OK(spdy_feed(fixture.spdy, all->data + i, 1, &error), error);
    CU_ASSERT_STRING_EQUAL(fixture.log->str, "open 1 data;data 1 x;end 1;");
    fixture_clear(&fixture);
}

static void answers_pings(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) payload = g_byte_array_new();
    g_autoptr(GByteArray) expected = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    put_u32(payload, 7);
    expected = control(6, 0, payload);
    TEST_OK(feed(&fixture, control(6, 0, payload), &error), error);
    CU_ASSERT_EQUAL(fixture.out->len, expected->len);
    CU_ASSERT_EQUAL(memcmp(fixture.out->data, expected->data, expected->len), 0);
    fixture_clear(&fixture);
}

static void keeps_windows_of_who_has_them(void)
{
    static const guint8 bytes[1000];
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    TEST_OK(feed(&fixture, syn_stream(&fixture, 1, "streamtype", "data", FALSE), &error), error);
    spdy_send(fixture.spdy, 1, bytes, sizeof bytes);
    TEST_OK(feed(&fixture, pair_frame(9, 1, 500), &error), error);
    CU_ASSERT_EQUAL(spdy_room(fixture.spdy, 1), 65536 - 1000 + 500);
    fixture_clear(&fixture);
}

static GByteArray *initial_window(guint32 bytes)
{
    g_autoptr(GByteArray) payload = g_byte_array_new();

    put_u32(payload, 1);
    put_u32(payload, 7);
    put_u32(payload, bytes);
    return control(4, 0, payload);
}

/* Bytes that were sent on open streams count, so a window may become negative. */
static void initial_windows_change(void)
{
    static const guint8 bytes[1000];
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    TEST_OK(feed(&fixture, syn_stream(&fixture, 1, "streamtype", "data", FALSE), &error), error);
    spdy_send(fixture.spdy, 1, bytes, sizeof bytes);
    CU_ASSERT_FALSE(spdy_keeps_windows(fixture.spdy));
    TEST_OK(feed(&fixture, initial_window(400), &error), error);
    CU_ASSERT_TRUE(spdy_keeps_windows(fixture.spdy));
    CU_ASSERT_EQUAL(spdy_room(fixture.spdy, 1), 0);
    TEST_OK(feed(&fixture, syn_stream(&fixture, 3, "streamtype", "data", FALSE), &error), error);
    CU_ASSERT_EQUAL(spdy_room(fixture.spdy, 3), 400);
    TEST_OK(feed(&fixture, pair_frame(9, 1, 599), &error), error);
    CU_ASSERT_EQUAL(spdy_room(fixture.spdy, 1), 0);
    TEST_OK(feed(&fixture, pair_frame(9, 1, 2), &error), error);
    CU_ASSERT_EQUAL(spdy_room(fixture.spdy, 1), 1);
    TEST_OK(feed(&fixture, initial_window(0xffffffff), &error), error);
    CU_ASSERT_EQUAL(spdy_room(fixture.spdy, 3), G_MAXINT32);
    fixture_clear(&fixture);
}

static void windows_do_not_overflow(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) reset = pair_frame(3, 1, 7);
    Fixture fixture;

    fixture_init(&fixture);
    TEST_OK(feed(&fixture, syn_stream(&fixture, 1, "streamtype", "data", FALSE), &error), error);
    TEST_OK(feed(&fixture, syn_stream(&fixture, 3, "streamtype", "error", FALSE), &error), error);
    g_byte_array_set_size(fixture.out, 0);
    TEST_OK(feed(&fixture, pair_frame(9, 1, 0x7fffffff), &error), error);
    CU_ASSERT_STRING_EQUAL(fixture.log->str, "open 1 data;open 3 error;reset 1;");
    CU_ASSERT_EQUAL(fixture.out->len, reset->len);
    CU_ASSERT_EQUAL(memcmp(fixture.out->data, reset->data, reset->len), 0);
    CU_ASSERT_EQUAL(spdy_room(fixture.spdy, 3), 65536);
    TEST_OK(feed(&fixture, pair_frame(9, 1, 1), &error), error); /* the stream no longer exists */
    TEST_OK(feed(&fixture, pair_frame(9, 99, 1), &error), error);
    fixture_clear(&fixture);
}

/* Bytes that were consumed before the client showed that it uses windows are credited then. A client that
 * sends more than its window is refused. */
static void gives_credit(void)
{
    g_autofree char *window = g_strnfill(65536, 'x');
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) expected = pair_frame(9, 1, 5);
    Fixture fixture;

    fixture_init(&fixture);
    TEST_OK(feed(&fixture, syn_stream(&fixture, 1, "streamtype", "data", FALSE), &error), error);
    TEST_OK(feed(&fixture, data_frame(1, "hello", FALSE), &error), error);
    g_byte_array_set_size(fixture.out, 0);
    spdy_took(fixture.spdy, 1, 5);
    CU_ASSERT_EQUAL(fixture.out->len, 0);
    TEST_OK(feed(&fixture, initial_window(1000), &error), error);
    CU_ASSERT_EQUAL(fixture.out->len, expected->len);
    CU_ASSERT_EQUAL(memcmp(fixture.out->data, expected->data, expected->len), 0);
    g_string_truncate(fixture.log, 0);
    TEST_OK(feed(&fixture, data_frame(1, window, FALSE), &error), error);
    spdy_took(fixture.spdy, 1, 65535);
    CU_ASSERT_NOT_EQUAL(fixture.log->str[0], 'r');
    TEST_OK(feed(&fixture, data_frame(1, window, FALSE), &error), error);
    CU_ASSERT_TRUE(g_str_has_suffix(fixture.log->str, "reset 1;"));
    fixture_clear(&fixture);
}

static void ends_and_resets(void)
{
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    TEST_OK(feed(&fixture, syn_stream(&fixture, 1, "streamtype", "data", TRUE), &error), error);
    spdy_end(fixture.spdy, 1);
    CU_ASSERT_EQUAL(spdy_room(fixture.spdy, 1), 0);
    fixture.refuses = TRUE;
    TEST_OK(feed(&fixture, syn_stream(&fixture, 3, "streamtype", "data", FALSE), &error), error);
    CU_ASSERT_EQUAL(spdy_room(fixture.spdy, 3), 0);
    TEST_OK(feed(&fixture, data_frame(3, "late", FALSE), &error), error);
    CU_ASSERT_STRING_EQUAL(fixture.log->str, "open 1 data;end 1;open 3 data;");
    fixture_clear(&fixture);
}

static void refuses(GByteArray *frame, Fixture *fixture, const char *text)
{
    g_autoptr(GError) error = NULL;

    TEST_FAILS(feed(fixture, frame, &error), error, STATUS_INVALID_ARGUMENT, text);
}

static void refuses_nonsense(void)
{
    g_autoptr(GByteArray) junk = g_byte_array_new();
    g_autoptr(GByteArray) large = g_byte_array_new();
    Fixture fixture;

    fixture_init(&fixture);
    refuses(data_frame(5, "x", FALSE), &fixture, "never opened");
    fixture_clear(&fixture);
    fixture_init(&fixture);
    g_byte_array_append(junk, (const guint8 *)"\0\0\0\1\0\0\0\0\0\0nonsense", 18);
    refuses(control(1, 0, junk), &fixture, "inflated");
    fixture_clear(&fixture);
    fixture_init(&fixture);
    refuses(syn_stream(&fixture, 2, "a", "b", FALSE), &fixture, "cannot be opened");
    fixture_clear(&fixture);
    fixture_init(&fixture);
    g_byte_array_set_size(large, SPDY_MAX_FRAME_BYTES + 1);
    refuses(control(4, 0, large), &fixture, "control frame of");
    fixture_clear(&fixture);
}

int main(void)
{
    static const TestCase cases[] = {
        {"streams open, carry bytes, end and are reset", serves_streams},
        {"frames may be cut anywhere", takes_bytes_one_by_one},
        {"a ping is answered with itself", answers_pings},
        {"a client that uses windows is sent no more than they allow", keeps_windows_of_who_has_them},
        {"a client may change its initial window, also of streams that are open", initial_windows_change},
        {"a window that overflows ends its stream only", windows_do_not_overflow},
        {"a client that uses windows gets credit for the bytes that were consumed, and may not send more",
         gives_credit},
        {"a stream that ended or was refused accepts no more data", ends_and_resets},
        {"invalid frames are refused", refuses_nonsense},
    };

    return test_main("spdy", cases, G_N_ELEMENTS(cases));
}

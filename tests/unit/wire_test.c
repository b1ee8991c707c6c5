/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/wire/wire.h"

#include <string.h>

#include "agent.pb-c.h"
#include "tests/unit/harness.h"

/* Decodes bytes in pieces. Return: a letter for each event (S sync, F frame, B bad). */
typedef struct {
    GString *events;
    GByteArray *payloads;
    guint64 nonce;
} Seen;

static Seen feed(WireDecoder *decoder, const GByteArray *bytes, gsize piece)
{
    Seen seen = {.events = g_string_new(NULL), .payloads = g_byte_array_new()};
    for (gsize at = 0; at < bytes->len; at += piece) {
        const guint8 *data = bytes->data + at;
        size_t length = MIN(piece, bytes->len - at);
        while (length > 0) {
            WireItem item;
            switch (wire_decoder_next(decoder, &data, &length, &item)) {
            case WIRE_SYNC:
                g_string_append_c(seen.events, 'S');
                seen.nonce = item.nonce;
                break;
            case WIRE_FRAME:
                g_string_append_c(seen.events, 'F');
                g_byte_array_append(seen.payloads, item.payload, (guint)item.payload_length);
                break;
            case WIRE_BAD:
                g_string_append_c(seen.events, 'B');
                break;
            case WIRE_MORE:
                break;
            }
        }
    }
    return seen;
}

static void expect(const GByteArray *bytes, gsize piece, const char *events, const char *payloads)
{
    WireDecoder *decoder = wire_decoder_new();
    Seen seen = feed(decoder, bytes, piece);
    CU_ASSERT_STRING_EQUAL(seen.events->str, events);
    CU_ASSERT_EQUAL(seen.payloads->len, strlen(payloads));
    CU_ASSERT_TRUE(memcmp(seen.payloads->data, payloads, MIN(strlen(payloads), seen.payloads->len)) == 0);
    g_string_free(seen.events, TRUE);
    g_byte_array_free(seen.payloads, TRUE);
    wire_decoder_free(decoder);
}

static void append_sync(GByteArray *bytes, guint64 nonce)
{
    guint8 sync[WIRE_SYNC_BYTES];
    wire_sync_encode(nonce, sync);
    g_byte_array_append(bytes, sync, sizeof sync);
}

static void append_frame_for(GByteArray *bytes, const char *payload, guint32 peer_protocol)
{
    guint8 header[WIRE_HEADER_BYTES];
    wire_header_encode((const guint8 *)payload, strlen(payload), peer_protocol, header);
    g_byte_array_append(bytes, header, sizeof header);
    g_byte_array_append(bytes, (const guint8 *)payload, (guint)strlen(payload));
}

static void append_frame(GByteArray *bytes, const char *payload)
{
    append_frame_for(bytes, payload, 0);
}

static void append_zeros(GByteArray *bytes, gsize count)
{
    g_autofree guint8 *zeros = g_malloc0(count);
    g_byte_array_append(bytes, zeros, (guint)count);
}

static void reads_frames_in_any_pieces(void)
{
    static const gsize pieces[] = {1, 2, 3, 7, 8, 9, 24, 25, 31, 1000};
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    append_sync(bytes, 7);
    append_frame(bytes, "first");
    append_frame_for(bytes, "second, and longer than eight bytes", WIRE_PROTOCOL_QUICK_SUM);
    append_frame(bytes, "3");
    for (gsize i = 0; i < G_N_ELEMENTS(pieces); i++)
        expect(bytes, pieces[i], "SFFF", "firstsecond, and longer than eight bytes3");
}

static void tells_the_nonce(void)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    WireDecoder *decoder = wire_decoder_new();
    append_sync(bytes, G_GUINT64_CONSTANT(0xfedcba9876543210));
    Seen seen = feed(decoder, bytes, 5);
    CU_ASSERT_TRUE(seen.nonce == G_GUINT64_CONSTANT(0xfedcba9876543210));
    g_string_free(seen.events, TRUE);
    g_byte_array_free(seen.payloads, TRUE);
    wire_decoder_free(decoder);
}

static void has_a_known_checksum(void)
{
    guint8 header[WIRE_HEADER_BYTES];
    wire_header_encode((const guint8 *)"123456789", 9, WIRE_PROTOCOL_QUICK_SUM - 1, header);
    CU_ASSERT_TRUE(memcmp(header, "\x09\0\0\0\x26\x39\xf4\xcb", 8) == 0); /* CRC-32's check value */
}

static guint32 quick_sum(const guint8 *data, gsize length)
{
    guint8 header[WIRE_HEADER_BYTES];
    guint32 sum;
    wire_header_encode(data, length, WIRE_PROTOCOL_QUICK_SUM, header);
    memcpy(&sum, header + 4, sizeof sum);
    return GUINT32_FROM_LE(sum);
}

static void notices_each_bit(void)
{
    guint8 data[100];
    for (guint i = 0; i < sizeof data; i++)
        data[i] = (guint8)i;
    CU_ASSERT_EQUAL(quick_sum((const guint8 *)"123456789", 9), 0x4f31c56u);
    CU_ASSERT_EQUAL(quick_sum(data, sizeof data), 0xf7cfcf3au);
    for (guint bit = 0; bit < 8 * sizeof data; bit++) {
        data[bit / 8] ^= (guint8)(1 << bit % 8);
        CU_ASSERT_NOT_EQUAL(quick_sum(data, sizeof data), 0xf7cfcf3au);
        data[bit / 8] ^= (guint8)(1 << bit % 8);
    }
    for (gsize cut = 1; cut < sizeof data; cut++) { /* the position is lost */
        CU_ASSERT_NOT_EQUAL(quick_sum(data + cut, sizeof data - cut), 0xf7cfcf3au);
        CU_ASSERT_NOT_EQUAL(quick_sum(data, sizeof data - cut), 0xf7cfcf3au);
    }
}

static void drops_everything_before_a_sync(void)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    guint8 sync[WIRE_SYNC_BYTES];
    append_frame(bytes, "before");
    wire_sync_encode(1, sync);
    g_byte_array_append(bytes, sync, 9); /* a false start */
    append_sync(bytes, 2);
    append_frame(bytes, "after");
    for (gsize piece = 1; piece < 60; piece++)
        expect(bytes, piece, "SF", "after");
}

static void skips_padding(void)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    append_sync(bytes, 1);
    append_zeros(bytes, 4);
    append_frame(bytes, "one");
    append_zeros(bytes, 400);
    append_frame(bytes, "two");
    expect(bytes, 10, "SFF", "onetwo");
}

static void finds_the_next_daemon_behind_a_cut_frame(void)
{
    g_autoptr(GByteArray) frame = g_byte_array_new();
    append_frame(frame, "this frame is cut somewhere");
    for (guint cut = 0; cut < frame->len; cut++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        append_sync(bytes, 1);
        g_byte_array_append(bytes, frame->data, cut);
        append_zeros(bytes, WIRE_MAX_FRAME_BYTES);
        append_sync(bytes, 2);
        append_frame(bytes, "new");
        expect(bytes, 4096, cut == 0 ? "SSF" : "SBSF", "new");
    }
}

static void refuses_damage(void)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    append_sync(bytes, 1);
    append_frame(bytes, "payload");
    bytes->data[bytes->len - 1] ^= 1;
    append_frame(bytes, "lost, being out of step");
    append_sync(bytes, 2);
    append_frame(bytes, "new");
    expect(bytes, 13, "SBSF", "new");
}

static void refuses_a_length_beyond_the_limit(void)
{
    static const guint8 too_long[] = {1, 0, 0x10, 0, 0, 0, 0, 0};
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    append_sync(bytes, 1);
    g_byte_array_append(bytes, too_long, sizeof too_long);
    append_sync(bytes, 2);
    append_frame(bytes, "new");
    expect(bytes, 6, "SBSF", "new");
}

static void takes_the_longest_frame(void)
{
    g_autofree char *payload = g_strnfill(WIRE_MAX_FRAME_BYTES, 'x');
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    append_sync(bytes, 1);
    append_frame(bytes, payload);
    expect(bytes, 65536, "SF", payload);
}

static void starts_anew_after_a_reset(void)
{
    WireDecoder *decoder = wire_decoder_new();
    g_autoptr(GByteArray) half = g_byte_array_new();
    g_autoptr(GByteArray) rest = g_byte_array_new();
    append_sync(half, 1);
    append_frame(half, "cut off");
    g_byte_array_set_size(half, half->len - 3);
    append_sync(rest, 2);
    append_frame(rest, "whole");

    Seen before = feed(decoder, half, 10);
    wire_decoder_reset(decoder);
    Seen after = feed(decoder, rest, 10);
    CU_ASSERT_STRING_EQUAL(before.events->str, "S");
    CU_ASSERT_STRING_EQUAL(after.events->str, "SF");
    g_string_free(before.events, TRUE);
    g_string_free(after.events, TRUE);
    g_byte_array_free(before.payloads, TRUE);
    g_byte_array_free(after.payloads, TRUE);
    wire_decoder_free(decoder);
}

/* The number in a row of ops.def is the field number of the message in both oneofs. */
static void operations_and_messages_agree(void)
{
#define AGENT_OP(op, Name, number)                                                                           \
    {                                                                                                        \
        const ProtobufCFieldDescriptor *request =                                                            \
            protobuf_c_message_descriptor_get_field(&crivirt__agent__v1__request__descriptor, number);       \
        const ProtobufCFieldDescriptor *response =                                                           \
            protobuf_c_message_descriptor_get_field(&crivirt__agent__v1__response__descriptor, number);      \
        CU_ASSERT_PTR_NOT_NULL_FATAL(request);                                                               \
        CU_ASSERT_PTR_NOT_NULL_FATAL(response);                                                              \
        CU_ASSERT_STRING_EQUAL(request->name, #op);                                                          \
        CU_ASSERT_STRING_EQUAL(response->name, #op);                                                         \
        CU_ASSERT_PTR_EQUAL(request->descriptor, &crivirt__agent__v1__##op##_request__descriptor);           \
        CU_ASSERT_PTR_EQUAL(response->descriptor, &crivirt__agent__v1__##op##_response__descriptor);         \
        operations++;                                                                                        \
    }
    guint operations = 0;
#include "agent/wire/ops.def"
#undef AGENT_OP
    CU_ASSERT_EQUAL(operations + 1, crivirt__agent__v1__request__descriptor.n_fields);
    CU_ASSERT_EQUAL(operations + 2, crivirt__agent__v1__response__descriptor.n_fields);
}

int main(void)
{
    static const TestCase cases[] = {
        {"frames are read, in whatever pieces they come", reads_frames_in_any_pieces},
        {"a sync gives its nonce", tells_the_nonce},
        {"the checksum is the usual CRC-32", has_a_known_checksum},
        {"the Fletcher sum, for peers that support it, detects each changed bit and each cut",
         notices_each_bit},
        {"everything before a sync is dropped", drops_everything_before_a_sync},
        {"padding between frames is skipped", skips_padding},
        {"the next daemon's padding completes a frame that was cut anywhere",
         finds_the_next_daemon_behind_a_cut_frame},
        {"after a damaged frame the decoder looks for a sync", refuses_damage},
        {"after a length beyond the limit the decoder looks for a sync", refuses_a_length_beyond_the_limit},
        {"a frame of the greatest length is read", takes_the_longest_frame},
        {"a reset decoder looks for a sync", starts_anew_after_a_reset},
        {"ops.def and agent.proto agree", operations_and_messages_agree},
    };
    return test_main("wire", cases, G_N_ELEMENTS(cases));
}

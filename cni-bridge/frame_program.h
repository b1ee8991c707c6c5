/* SPDX-License-Identifier: Apache-2.0 */
/* A program of classic BPF that judges a frame from its Ethernet header on, as it is written: what
 * own_frames.c and wake_frames.c have in common.
 *
 * frame_program_new() makes an empty one, and frame_program_take() returns the code and releases the rest.
 * The accumulator A holds what was loaded last. A load beyond the end of the frame ends the program with 0.
 * The functions in between are inline, so that their short names stay with the files that write programs.
 *
 * Errors: INVALID_ARGUMENT for an address that is not one, or more addresses than a program has room for.
 * Pure. */
#pragma once

#include <arpa/inet.h>
#include <glib.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <string.h>

#include "cni-bridge/cni.h"
#include "common/error.h"

enum { FRAME_PROGRAM_WORDS = 4 /* of an IPv6 address */ };

/* Where fields are in a frame. */
enum {
    PROTOCOL = 2 * ETH_ALEN,

    IPV4_LENGTH = ETH_HLEN + 2,
    IPV4_FRAGMENT = ETH_HLEN + 6,
    IPV4_PROTOCOL = ETH_HLEN + 9,
    IPV4_SOURCE = ETH_HLEN + 12,
    IPV4_DESTINATION = ETH_HLEN + 16,

    IPV6_LENGTH = ETH_HLEN + 4, /* of what follows the header */
    IPV6_NEXT_HEADER = ETH_HLEN + 6,
    IPV6_HOP_LIMIT = ETH_HLEN + 7,
    IPV6_SOURCE = ETH_HLEN + 8,
    IPV6_DESTINATION = ETH_HLEN + 24,
    IPV6_PAYLOAD = ETH_HLEN + 40,
};

enum { IPV4_OFFSET_BITS = 0x1fff };

typedef struct {
    guint32 words[FRAME_PROGRAM_WORDS]; /* IPv4: the first */
} FrameAddress;

typedef struct {
    GArray *code;   /* struct sock_filter */
    guint32 accept; /* what the program returns for a frame that passes, and for another one */
    guint32 refuse;
    guint32 mac[2]; /* its first four bytes, its last two */
    GArray *ipv4;   /* FrameAddress */
    GArray *ipv6;
} FrameProgram;

/* ---- instructions; the accumulator A holds what was loaded last ---- */

static inline void emit_jump(FrameProgram *program, guint16 code, guint32 value, guint8 if_true,
                             guint8 if_false)
{
    struct sock_filter instruction = {.code = code, .jt = if_true, .jf = if_false, .k = value};

    g_array_append_val(program->code, instruction);
}

static inline void emit(FrameProgram *program, guint16 code, guint32 value)
{
    emit_jump(program, code, value, 0, 0);
}

static inline void load_byte(FrameProgram *program, guint32 at)
{
    emit(program, BPF_LD | BPF_B | BPF_ABS, at);
}

static inline void load_half(FrameProgram *program, guint32 at)
{
    emit(program, BPF_LD | BPF_H | BPF_ABS, at);
}

static inline void load_word(FrameProgram *program, guint32 at)
{
    emit(program, BPF_LD | BPF_W | BPF_ABS, at);
}

static inline void mask(FrameProgram *program, guint32 bits)
{
    emit(program, BPF_ALU | BPF_AND | BPF_K, bits);
}

static inline void accept_frame(FrameProgram *program)
{
    emit(program, BPF_RET | BPF_K, program->accept);
}

static inline void refuse_frame(FrameProgram *program)
{
    emit(program, BPF_RET | BPF_K, program->refuse);
}

static inline void require(FrameProgram *program, guint32 value)
{
    emit_jump(program, BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0);
    refuse_frame(program);
}

static inline void refuse(FrameProgram *program, guint32 value)
{
    emit_jump(program, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    refuse_frame(program);
}

/* A jump whose end is not known yet. Its reach is that of any program, unlike that of a condition. */
static inline guint jump_ahead(FrameProgram *program)
{
    emit(program, BPF_JMP | BPF_JA, 0);
    return program->code->len - 1;
}

static inline void jump_ends_here(FrameProgram *program, guint jump)
{
    g_array_index(program->code, struct sock_filter, jump).k = program->code->len - jump - 1;
}

/* What is emitted until end() runs only when A has that value. Return: what end() takes. */
static inline guint when(FrameProgram *program, guint32 value)
{
    emit_jump(program, BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0);
    return jump_ahead(program);
}

static inline void end(FrameProgram *program, guint block)
{
    jump_ends_here(program, block);
}

/* ---- addresses ---- */

static inline void require_own_mac(FrameProgram *program, guint32 at)
{
    load_word(program, at);
    require(program, program->mac[0]);
    load_half(program, at + 4);
    require(program, program->mac[1]);
}

/* After a difference the other words of the address and the jump to the end are passed over. */
static inline void compare(FrameProgram *program, const FrameAddress *address, guint words, guint32 at)
{
    for (guint i = 0; i < words; i++) {
        load_word(program, at + 4 * i);
        emit_jump(program, BPF_JMP | BPF_JEQ | BPF_K, address->words[i], 0, (guint8)(2 * (words - i) - 1));
    }
}

static inline void require_own_address(FrameProgram *program, const GArray *addresses, guint words,
                                       guint32 at)
{
    g_autoptr(GArray) jumps = g_array_new(FALSE, FALSE, sizeof(guint));

    for (guint i = 0; i < addresses->len; i++) {
        guint jump;

        compare(program, &g_array_index(addresses, FrameAddress, i), words, at);
        jump = jump_ahead(program);
        g_array_append_val(jumps, jump);
    }
    refuse_frame(program);
    for (guint i = 0; i < jumps->len; i++)
        jump_ends_here(program, g_array_index(jumps, guint, i));
}

static inline void require_own_ipv4(FrameProgram *program, guint32 at)
{
    require_own_address(program, program->ipv4, 1, at);
}

static inline void require_own_ipv6(FrameProgram *program, guint32 at)
{
    require_own_address(program, program->ipv6, FRAME_PROGRAM_WORDS, at);
}

/* Of IP. */
static inline void require_version(FrameProgram *program, guint32 version)
{
    load_byte(program, ETH_HLEN);
    mask(program, 0xf0);
    require(program, version << 4);
}

/* The kernel has taken the first tag out of the frame; a second one is an unknown protocol. */
static inline void require_no_tag(FrameProgram *program)
{
    load_byte(program, (guint32)(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT));
    require(program, 0);
}

static inline guint32 big_endian(const guint8 *bytes, gsize length)
{
    guint32 value = 0;

    for (gsize i = 0; i < length; i++)
        value = value << 8 | bytes[i];
    return value;
}

static inline gboolean add_address(FrameProgram *program, const CniAddress *from, GError **error)
{
    g_autofree char *text = g_strndup(from->address, strcspn(from->address, "/"));
    guint8 bytes[sizeof(struct in6_addr)] = {0};
    FrameAddress address;

    if (inet_pton(from->ipv6 ? AF_INET6 : AF_INET, text, bytes) != 1)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%.64s\" is not an address", from->address);
    for (guint i = 0; i < FRAME_PROGRAM_WORDS; i++)
        address.words[i] = big_endian(bytes + (gsize)4 * i, 4);
    g_array_append_val(from->ipv6 ? program->ipv6 : program->ipv4, address);
    return TRUE;
}

/* That follows from the MAC address (RFC 4291, appendix A). */
static inline void add_link_local(FrameProgram *program, const guint8 mac[ETH_ALEN])
{
    const guint8 identifier[] = {mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
    const FrameAddress address = {
        .words = {0xfe800000, 0, big_endian(identifier, 4), big_endian(identifier + 4, 4)}};

    g_array_append_val(program->ipv6, address);
}

/* addresses (CniAddress): the pod's, to which the link-local one of the MAC address is added. */
static inline gboolean add_addresses(FrameProgram *program, const guint8 mac[ETH_ALEN],
                                     const GPtrArray *addresses, GError **error)
{
    for (guint i = 0; i < addresses->len; i++)
        if (!add_address(program, addresses->pdata[i], error))
            return FALSE;
    add_link_local(program, mac);
    program->mac[0] = big_endian(mac, 4);
    program->mac[1] = big_endian(mac + 4, 2);
    return TRUE;
}

/* ---- the whole ---- */

static inline FrameProgram frame_program_new(guint32 accept, guint32 refuse)
{
    return (FrameProgram){
        .code = g_array_new(FALSE, FALSE, sizeof(struct sock_filter)),
        .accept = accept,
        .refuse = refuse,
        .ipv4 = g_array_new(FALSE, FALSE, sizeof(FrameAddress)),
        .ipv6 = g_array_new(FALSE, FALSE, sizeof(FrameAddress)),
    };
}

/* written: FALSE: *error is set. Return: the code, which the caller unrefs; NULL. */
static inline GArray *frame_program_take(FrameProgram *program, gboolean written, GError **error)
{
    const guint n_addresses = program->ipv4->len + program->ipv6->len; /* with the link-local one */

    g_array_unref(program->ipv4);
    g_array_unref(program->ipv6);
    if (written && program->code->len <= BPF_MAXINSNS)
        return program->code;
    if (written)
        fail(error, STATUS_INVALID_ARGUMENT, "the pod has %u addresses, more than a filter can check",
             n_addresses - 1);
    g_array_unref(program->code);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/wake_frames.h"

#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <netinet/icmp6.h>

#include "cni-bridge/frame_program.h"

enum {
    KEEP_ALL = 0x40000, /* more than a frame has */

    TCP_DATA_OFFSET = 12, /* from the TCP header on */
    TCP_FLAGS = 13,
    TCP_SYN = 0x02,
    TCP_RST = 0x04,
    TCP_ACK = 0x10,

    SCTP_FIRST_CHUNK = 12, /* from the SCTP header on: DATA is 0, INIT is 1 (RFC 9260) */
    SCTP_INIT = 1,

    LENGTH_CELL = 0, /* of the program's memory */
};

/* The length of the IPv4 header. For IPv6, whose header has one length, it is 0. */
static void load_header_length(FrameProgram *program, gboolean ipv6)
{
    if (ipv6)
        emit(program, BPF_LDX | BPF_IMM, 0);
    else
        emit(program, BPF_LDX | BPF_B | BPF_MSH, ETH_HLEN);
}

/* at: from the header of the transport protocol on; X holds the length of an IPv4 header. */
static void load_transport_byte(FrameProgram *program, gboolean ipv6, guint32 at)
{
    emit(program, BPF_LD | BPF_B | BPF_IND, (ipv6 ? IPV6_PAYLOAD : ETH_HLEN) + at);
}

static void check_tcp(FrameProgram *program, gboolean ipv6)
{
    guint opening;

    load_header_length(program, ipv6);
    load_half(program, ipv6 ? IPV6_LENGTH : IPV4_LENGTH);
    emit(program, BPF_ALU | BPF_SUB | BPF_X, 0);
    emit(program, BPF_ST, LENGTH_CELL);
    load_transport_byte(program, ipv6, TCP_FLAGS);
    emit_jump(program, BPF_JMP | BPF_JSET | BPF_K, TCP_RST, 0, 1);
    refuse_frame(program);
    mask(program, TCP_SYN | TCP_ACK);
    opening = when(program, TCP_SYN);
    accept_frame(program);
    end(program, opening);

    load_transport_byte(program, ipv6, TCP_DATA_OFFSET); /* its upper half, in words of four bytes */
    mask(program, 0xf0);
    emit(program, BPF_ALU | BPF_RSH | BPF_K, 2);
    emit(program, BPF_MISC | BPF_TAX, 0);
    emit(program, BPF_LD | BPF_MEM, LENGTH_CELL);
    emit_jump(program, BPF_JMP | BPF_JGT | BPF_X, 0, 1, 0);
    refuse_frame(program);
    accept_frame(program);
}

static void check_udp(FrameProgram *program, gboolean ipv6)
{
    (void)ipv6;
    accept_frame(program);
}

static void check_sctp(FrameProgram *program, gboolean ipv6)
{
    load_header_length(program, ipv6);
    load_transport_byte(program, ipv6, SCTP_FIRST_CHUNK);
    emit_jump(program, BPF_JMP | BPF_JGT | BPF_K, SCTP_INIT, 0, 1);
    refuse_frame(program);
    accept_frame(program);
}

/* Called after the program has loaded the protocol. */
static void check_transport(FrameProgram *program, gboolean ipv6)
{
    static const struct {
        guint8 protocol;
        void (*check)(FrameProgram *program, gboolean ipv6);
    } checks[] = {{IPPROTO_TCP, check_tcp}, {IPPROTO_UDP, check_udp}, {IPPROTO_SCTP, check_sctp}};

    for (gsize i = 0; i < G_N_ELEMENTS(checks); i++) {
        guint block = when(program, checks[i].protocol);

        checks[i].check(program, ipv6);
        end(program, block);
    }
    refuse_frame(program);
}

static void check_ipv4(FrameProgram *program)
{
    require_version(program, 4);
    require_own_ipv4(program, IPV4_DESTINATION);
    load_half(program, IPV4_FRAGMENT);
    mask(program, IPV4_OFFSET_BITS);
    require(program, 0);
    load_byte(program, IPV4_PROTOCOL);
    check_transport(program, FALSE);
}

static void check_ipv6(FrameProgram *program)
{
    require_version(program, 6);
    require_own_ipv6(program, IPV6_DESTINATION);
    load_byte(program, IPV6_NEXT_HEADER);
    check_transport(program, TRUE);
}

static void wake_program_write(FrameProgram *program)
{
    guint block;

    require_no_tag(program);
    load_byte(program, (guint32)(SKF_AD_OFF + SKF_AD_PKTTYPE));
    require(program, PACKET_HOST);
    load_half(program, PROTOCOL);
    block = when(program, ETH_P_IP);
    check_ipv4(program);
    end(program, block);
    require(program, ETH_P_IPV6);
    check_ipv6(program);
}

GArray *wake_frames_program(const guint8 mac[ETH_ALEN], const GPtrArray *addresses, GError **error)
{
    FrameProgram program = frame_program_new(KEEP_ALL, 0);
    gboolean good = add_addresses(&program, mac, addresses, error);

    if (good)
        wake_program_write(&program);
    return frame_program_take(&program, good, error);
}

GArray *answer_frames_program(void)
{
    FrameProgram program = frame_program_new(TC_ACT_OK, TC_ACT_SHOT);
    guint block;

    require_no_tag(&program);
    load_half(&program, PROTOCOL);
    block = when(&program, ETH_P_ARP);
    accept_frame(&program);
    end(&program, block);
    require(&program, ETH_P_IPV6);
    load_byte(&program, IPV6_NEXT_HEADER);
    require(&program, IPPROTO_ICMPV6);
    load_byte(&program, IPV6_PAYLOAD);
    block = when(&program, ND_NEIGHBOR_SOLICIT);
    accept_frame(&program);
    end(&program, block);
    require(&program, ND_NEIGHBOR_ADVERT);
    accept_frame(&program);
    return frame_program_take(&program, TRUE, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/own_frames.h"

#include <netinet/icmp6.h>

#include "cni-bridge/frame_program.h"

/* Where more fields are in a frame. */
enum {
    SOURCE_MAC = ETH_ALEN,

    ARP_FORMAT = ETH_HLEN,
    ARP_LENGTHS = ETH_HLEN + 4,
    ARP_SENDER_MAC = ETH_HLEN + 8,
    ARP_SENDER_IP = ETH_HLEN + 14,

    IPV6_FRAGMENTED = IPV6_PAYLOAD + 8, /* the payload of a first fragment */
    NEIGHBOUR_TARGET = IPV6_PAYLOAD + 8,

    UDP_DESTINATION = 2, /* from the UDP header on */
};

enum {
    ARP_ETHERNET_IPV4 = 1 << 16 | ETH_P_IP, /* type of hardware, of protocol */
    ARP_LENGTHS_6_4 = ETH_ALEN << 8 | 4,
    IPV6_OFFSET_BITS = 0xfff8,
    DHCP_CLIENT_PORT = 68,
    DHCPV6_CLIENT_PORT = 546,
    MAX_HOP_LIMIT = 255,
    NEXT_HEADER_HIP = 139,   /* RFC 7401 */
    NEXT_HEADER_SHIM6 = 140, /* RFC 5533 */
};

/* What follows one of these is not where the program looks for it. */
static const guint8 extension_headers[] = {IPPROTO_HOPOPTS, IPPROTO_ROUTING,  IPPROTO_FRAGMENT,
                                           IPPROTO_AH,      IPPROTO_DSTOPTS,  IPPROTO_MH,
                                           NEXT_HEADER_HIP, NEXT_HEADER_SHIM6};

typedef FrameProgram Program;

/* ---- ARP, IPv4 ---- */

static void check_arp(Program *program)
{
    load_word(program, ARP_FORMAT);
    require(program, ARP_ETHERNET_IPV4);
    load_half(program, ARP_LENGTHS);
    require(program, ARP_LENGTHS_6_4);
    require_own_mac(program, ARP_SENDER_MAC);
    require_own_ipv4(program, ARP_SENDER_IP);
    accept_frame(program);
}

static void check_ipv4(Program *program)
{
    guint udp;
    guint first;

    require_version(program, 4);
    require_own_ipv4(program, IPV4_SOURCE);
    load_byte(program, IPV4_PROTOCOL);
    udp = when(program, IPPROTO_UDP);
    load_half(program, IPV4_FRAGMENT);
    mask(program, IPV4_OFFSET_BITS);
    first = when(program, 0);
    emit(program, BPF_LDX | BPF_B | BPF_MSH, ETH_HLEN); /* the length of the header */
    emit(program, BPF_LD | BPF_H | BPF_IND, ETH_HLEN + UDP_DESTINATION);
    refuse(program, DHCP_CLIENT_PORT);
    end(program, first);
    end(program, udp);
    accept_frame(program);
}

/* ---- IPv6 ---- */

/* A becomes 0 for "::" and something else for any other address. */
static void load_whether_specified(Program *program, guint32 at)
{
    load_word(program, at);
    for (guint i = 1; i < FRAME_PROGRAM_WORDS; i++) {
        emit(program, BPF_MISC | BPF_TAX, 0);
        load_word(program, at + 4 * i);
        emit(program, BPF_ALU | BPF_OR | BPF_X, 0);
    }
}

/* From "::" come the question whether an address is taken (RFC 4862) and reports of groups (RFC 3590), which
 * have the extension header that is checked for all. */
static void check_unspecified_source(Program *program)
{
    guint question;

    load_byte(program, IPV6_NEXT_HEADER);
    question = when(program, IPPROTO_ICMPV6);
    load_byte(program, IPV6_PAYLOAD);
    require(program, ND_NEIGHBOR_SOLICIT);
    require_own_ipv6(program, NEIGHBOUR_TARGET);
    accept_frame(program);
    end(program, question);
    require(program, IPPROTO_HOPOPTS);
}

static void check_icmpv6(Program *program)
{
    guint advertisement;

    load_byte(program, IPV6_PAYLOAD);
    refuse(program, ND_ROUTER_ADVERT);
    refuse(program, ND_REDIRECT);
    advertisement = when(program, ND_NEIGHBOR_ADVERT);
    require_own_ipv6(program, NEIGHBOUR_TARGET);
    end(program, advertisement);
    accept_frame(program);
}

static void check_dhcpv6(Program *program, guint32 udp_header)
{
    load_half(program, udp_header + UDP_DESTINATION);
    refuse(program, DHCPV6_CLIENT_PORT);
    accept_frame(program);
}

static void refuse_discovery_hop_limit(Program *program)
{
    load_byte(program, IPV6_HOP_LIMIT);
    refuse(program, MAX_HOP_LIMIT);
}

static void refuse_extension_headers(Program *program)
{
    for (gsize i = 0; i < G_N_ELEMENTS(extension_headers); i++)
        refuse(program, extension_headers[i]);
}

static void check_group_report(Program *program)
{
    load_byte(program, IPV6_PAYLOAD);
    require(program, IPPROTO_ICMPV6);
    refuse_discovery_hop_limit(program);
    accept_frame(program);
}

/* Without its first fragment a packet is never put together again. */
static void check_fragment(Program *program)
{
    guint first;
    guint udp;

    refuse_discovery_hop_limit(program);
    load_half(program, IPV6_PAYLOAD + 2);
    mask(program, IPV6_OFFSET_BITS);
    first = when(program, 0);
    load_byte(program, IPV6_PAYLOAD);
    refuse_extension_headers(program);
    udp = when(program, IPPROTO_UDP);
    check_dhcpv6(program, IPV6_FRAGMENTED);
    end(program, udp);
    end(program, first);
    accept_frame(program);
}

static void check_ipv6(Program *program)
{
    static const struct {
        guint8 next_header;
        void (*check)(Program *program);
    } checks[] = {{IPPROTO_ICMPV6, check_icmpv6},
                  {IPPROTO_HOPOPTS, check_group_report},
                  {IPPROTO_FRAGMENT, check_fragment}};
    guint block;
    guint specified;

    require_version(program, 6);
    load_whether_specified(program, IPV6_SOURCE);
    block = when(program, 0);
    check_unspecified_source(program);
    specified = jump_ahead(program);
    end(program, block);
    require_own_ipv6(program, IPV6_SOURCE);
    jump_ends_here(program, specified);

    load_byte(program, IPV6_NEXT_HEADER);
    for (gsize i = 0; i < G_N_ELEMENTS(checks); i++) {
        block = when(program, checks[i].next_header);
        checks[i].check(program);
        end(program, block);
    }
    block = when(program, IPPROTO_UDP);
    check_dhcpv6(program, IPV6_PAYLOAD);
    end(program, block);
    refuse_extension_headers(program);
    accept_frame(program);
}

/* ---- the whole ---- */

static void program_write(Program *program)
{
    static const struct {
        guint16 protocol;
        void (*check)(Program *program);
    } checks[] = {{ETH_P_IP, check_ipv4}, {ETH_P_IPV6, check_ipv6}, {ETH_P_ARP, check_arp}};

    require_no_tag(program);
    require_own_mac(program, SOURCE_MAC);
    load_half(program, PROTOCOL);
    for (gsize i = 0; i < G_N_ELEMENTS(checks); i++) {
        guint block = when(program, checks[i].protocol);

        checks[i].check(program);
        end(program, block);
    }
    refuse_frame(program);
}

GArray *own_frames_program(const guint8 mac[ETH_ALEN], const GPtrArray *addresses, GError **error)
{
    Program program = frame_program_new(OWN_FRAMES_ACCEPT, 0);
    gboolean good = add_addresses(&program, mac, addresses, error);
    GArray *code;

    if (good)
        program_write(&program);
    code = frame_program_take(&program, good, error);
    if (good && code == NULL)
        g_prefix_error(error, "set own_addresses_only = false: ");
    return code;
}

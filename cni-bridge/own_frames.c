/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/own_frames.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <string.h>

#include "cni-bridge/cni.h"
#include "common/error.h"

/* Where fields are in a frame. */
enum {
    SOURCE_MAC = ETH_ALEN,
    PROTOCOL = 2 * ETH_ALEN,

    ARP_FORMAT = ETH_HLEN,
    ARP_LENGTHS = ETH_HLEN + 4,
    ARP_SENDER_MAC = ETH_HLEN + 8,
    ARP_SENDER_IP = ETH_HLEN + 14,

    IPV4_FRAGMENT = ETH_HLEN + 6,
    IPV4_PROTOCOL = ETH_HLEN + 9,
    IPV4_SOURCE = ETH_HLEN + 12,

    IPV6_NEXT_HEADER = ETH_HLEN + 6,
    IPV6_HOP_LIMIT = ETH_HLEN + 7,
    IPV6_SOURCE = ETH_HLEN + 8,
    IPV6_PAYLOAD = ETH_HLEN + 40,
    IPV6_FRAGMENTED = IPV6_PAYLOAD + 8, /* the payload of a first fragment */
    NEIGHBOUR_TARGET = IPV6_PAYLOAD + 8,

    UDP_DESTINATION = 2, /* from the UDP header on */
};

enum {
    ARP_ETHERNET_IPV4 = 1 << 16 | ETH_P_IP, /* type of hardware, of protocol */
    ARP_LENGTHS_6_4 = ETH_ALEN << 8 | 4,
    IPV4_OFFSET_BITS = 0x1fff,
    IPV6_OFFSET_BITS = 0xfff8,
    DHCP_CLIENT_PORT = 68,
    DHCPV6_CLIENT_PORT = 546,
    MAX_HOP_LIMIT = 255,
    WORDS = 4,               /* of an IPv6 address */
    NEXT_HEADER_HIP = 139,   /* RFC 7401 */
    NEXT_HEADER_SHIM6 = 140, /* RFC 5533 */
};

/* What follows one of these is not where the program looks for it. */
static const guint8 extension_headers[] = {IPPROTO_HOPOPTS, IPPROTO_ROUTING,  IPPROTO_FRAGMENT,
                                           IPPROTO_AH,      IPPROTO_DSTOPTS,  IPPROTO_MH,
                                           NEXT_HEADER_HIP, NEXT_HEADER_SHIM6};

typedef struct {
    guint32 words[WORDS]; /* IPv4: the first */
} Address;

typedef struct {
    GArray *code;   /* struct sock_filter */
    guint32 mac[2]; /* its first four bytes, its last two */
    GArray *ipv4;   /* Address */
    GArray *ipv6;
} Program;

/* ---- instructions; the accumulator A holds what was loaded last ---- */

static void emit_jump(Program *program, guint16 code, guint32 value, guint8 if_true, guint8 if_false)
{
    struct sock_filter instruction = {.code = code, .jt = if_true, .jf = if_false, .k = value};

    g_array_append_val(program->code, instruction);
}

static void emit(Program *program, guint16 code, guint32 value)
{
    emit_jump(program, code, value, 0, 0);
}

static void load_byte(Program *program, guint32 at)
{
    emit(program, BPF_LD | BPF_B | BPF_ABS, at);
}

static void load_half(Program *program, guint32 at)
{
    emit(program, BPF_LD | BPF_H | BPF_ABS, at);
}

static void load_word(Program *program, guint32 at)
{
    emit(program, BPF_LD | BPF_W | BPF_ABS, at);
}

static void mask(Program *program, guint32 bits)
{
    emit(program, BPF_ALU | BPF_AND | BPF_K, bits);
}

static void accept_frame(Program *program)
{
    emit(program, BPF_RET | BPF_K, OWN_FRAMES_ACCEPT);
}

static void refuse_frame(Program *program)
{
    emit(program, BPF_RET | BPF_K, 0);
}

static void require(Program *program, guint32 value)
{
    emit_jump(program, BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0);
    refuse_frame(program);
}

static void refuse(Program *program, guint32 value)
{
    emit_jump(program, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    refuse_frame(program);
}

/* A jump whose end is not known yet. Its reach is that of any program, unlike that of a condition. */
static guint jump_ahead(Program *program)
{
    emit(program, BPF_JMP | BPF_JA, 0);
    return program->code->len - 1;
}

static void jump_ends_here(Program *program, guint jump)
{
    g_array_index(program->code, struct sock_filter, jump).k = program->code->len - jump - 1;
}

/* What is emitted until end() runs only when A has that value. Return: what end() takes. */
static guint when(Program *program, guint32 value)
{
    emit_jump(program, BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0);
    return jump_ahead(program);
}

static void end(Program *program, guint block)
{
    jump_ends_here(program, block);
}

/* ---- addresses ---- */

static void require_own_mac(Program *program, guint32 at)
{
    load_word(program, at);
    require(program, program->mac[0]);
    load_half(program, at + 4);
    require(program, program->mac[1]);
}

/* After a difference the other words of the address and the jump to the end are passed over. */
static void compare(Program *program, const Address *address, guint words, guint32 at)
{
    for (guint i = 0; i < words; i++) {
        load_word(program, at + 4 * i);
        emit_jump(program, BPF_JMP | BPF_JEQ | BPF_K, address->words[i], 0, (guint8)(2 * (words - i) - 1));
    }
}

static void require_own_address(Program *program, const GArray *addresses, guint words, guint32 at)
{
    g_autoptr(GArray) jumps = g_array_new(FALSE, FALSE, sizeof(guint));

    for (guint i = 0; i < addresses->len; i++) {
        guint jump;

        compare(program, &g_array_index(addresses, Address, i), words, at);
        jump = jump_ahead(program);
        g_array_append_val(jumps, jump);
    }
    refuse_frame(program);
    for (guint i = 0; i < jumps->len; i++)
        jump_ends_here(program, g_array_index(jumps, guint, i));
}

static void require_own_ipv4(Program *program, guint32 at)
{
    require_own_address(program, program->ipv4, 1, at);
}

static void require_own_ipv6(Program *program, guint32 at)
{
    require_own_address(program, program->ipv6, WORDS, at);
}

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

static void require_version(Program *program, guint32 version)
{
    load_byte(program, ETH_HLEN);
    mask(program, 0xf0);
    require(program, version << 4);
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
    for (guint i = 1; i < WORDS; i++) {
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

    /* The kernel has taken the first tag out of the frame; a second one is an unknown protocol. */
    load_byte(program, (guint32)(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT));
    require(program, 0);
    require_own_mac(program, SOURCE_MAC);
    load_half(program, PROTOCOL);
    for (gsize i = 0; i < G_N_ELEMENTS(checks); i++) {
        guint block = when(program, checks[i].protocol);

        checks[i].check(program);
        end(program, block);
    }
    refuse_frame(program);
}

static guint32 big_endian(const guint8 *bytes, gsize length)
{
    guint32 value = 0;

    for (gsize i = 0; i < length; i++)
        value = value << 8 | bytes[i];
    return value;
}

static gboolean add_address(Program *program, const CniAddress *from, GError **error)
{
    g_autofree char *text = g_strndup(from->address, strcspn(from->address, "/"));
    guint8 bytes[sizeof(struct in6_addr)] = {0};
    Address address;

    if (inet_pton(from->ipv6 ? AF_INET6 : AF_INET, text, bytes) != 1)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%.64s\" is not an address", from->address);
    for (guint i = 0; i < WORDS; i++)
        address.words[i] = big_endian(bytes + (gsize)4 * i, 4);
    g_array_append_val(from->ipv6 ? program->ipv6 : program->ipv4, address);
    return TRUE;
}

static void add_link_local(Program *program, const guint8 mac[ETH_ALEN])
{
    const guint8 identifier[] = {mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
    const Address address = {
        .words = {0xfe800000, 0, big_endian(identifier, 4), big_endian(identifier + 4, 4)}};

    g_array_append_val(program->ipv6, address);
}

static gboolean add_addresses(Program *program, const guint8 mac[ETH_ALEN], const GPtrArray *addresses,
                              GError **error)
{
    for (guint i = 0; i < addresses->len; i++)
        if (!add_address(program, addresses->pdata[i], error))
            return FALSE;
    add_link_local(program, mac);
    return TRUE;
}

static gboolean program_build(Program *program, const guint8 mac[ETH_ALEN], const GPtrArray *addresses,
                              GError **error)
{
    if (!add_addresses(program, mac, addresses, error))
        return FALSE;
    program_write(program);
    return program->code->len <= BPF_MAXINSNS ||
           fail(error, STATUS_INVALID_ARGUMENT,
                "the pod has %u addresses, more than a filter can check (set own_addresses_only = false?)",
                addresses->len);
}

GArray *own_frames_program(const guint8 mac[ETH_ALEN], const GPtrArray *addresses, GError **error)
{
    Program program = {
        .code = g_array_new(FALSE, FALSE, sizeof(struct sock_filter)),
        .mac = {big_endian(mac, 4), big_endian(mac + 4, 2)},
        .ipv4 = g_array_new(FALSE, FALSE, sizeof(Address)),
        .ipv6 = g_array_new(FALSE, FALSE, sizeof(Address)),
    };
    gboolean built = program_build(&program, mac, addresses, error);

    g_array_unref(program.ipv4);
    g_array_unref(program.ipv6);
    if (built)
        return program.code;
    g_array_unref(program.code);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest gets out with the filter of own_frames.h, on a real tap, a real veth and the kernel's filters.
 */
#include "cni-bridge/own_frames.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cni-bridge/cni.h"
#include "cni-bridge/podnet.h"
#include "common/error.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_frame.h"
#include "tests/unit/test_wire.h"

enum { FRAME_WAIT_MS = 2000, ROUNDS = 50, FRAMES = 300 };

/* The pod's interface, and another one of the network. */
#define OWN_MAC "02:00:00:00:00:07"
static const guint8 own_mac[ETH_ALEN] = {2, 0, 0, 0, 0, 7};
static const guint8 other_mac[ETH_ALEN] = {2, 0, 0, 0, 0, 8};
static const guint8 broadcast[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

#define OWN_4 "10.232.0.2"
#define OWN_SECOND_4 "10.232.0.3"
#define OTHER_4 "10.232.0.1"
#define OWN_6 "fd00:232::2"
#define OWN_LINK_LOCAL "fe80::ff:fe00:7"
#define OTHER_6 "fd00:232::1"
#define OTHER_LINK_LOCAL "fe80::ff:fe00:8"
#define ALL_NODES "ff02::1"

static char *netns;
static int guest;
static int host;

/* ---- frames ---- */

static Frame ethernet(const guint8 *source, guint16 protocol)
{
    Frame frame = {.length = 0};

    put(&frame, broadcast, ETH_ALEN);
    put(&frame, source, ETH_ALEN);
    put_half(&frame, protocol);
    return frame;
}

static Frame arp(const guint8 *sender_mac, const char *sender_ip)
{
    static const guint8 format[] = {0, 1, 8, 0, ETH_ALEN, 4, 0, 2}; /* an answer */
    Frame frame = ethernet(own_mac, ETH_P_ARP);

    put(&frame, format, sizeof format);
    put(&frame, sender_mac, ETH_ALEN);
    put_ip(&frame, sender_ip);
    put_zeros(&frame, ETH_ALEN);
    put_ip(&frame, OTHER_4);
    return frame;
}

/* words: the length of the header in words of 32 bits. offset: of the fragment, in units of 8 bytes. */
static Frame ipv4_packet(const char *source, guint8 words, guint8 protocol, guint16 offset)
{
    Frame frame = ethernet(own_mac, ETH_P_IP);

    put_byte(&frame, 0x40 | words);
    put_zeros(&frame, 5);
    put_half(&frame, offset);
    put_byte(&frame, 64);
    put_byte(&frame, protocol);
    put_half(&frame, 0);
    put_ip(&frame, source);
    put_ip(&frame, OTHER_4);
    put_zeros(&frame, (gsize)4 * (words - 5));
    return frame;
}

static Frame ipv4(const char *source)
{
    Frame frame = ipv4_packet(source, 5, IPPROTO_ICMP, 0);

    put_zeros(&frame, 64);
    return frame;
}

static Frame ipv6_packet(const char *source, guint8 next_header, guint8 hop_limit)
{
    Frame frame = ethernet(own_mac, ETH_P_IPV6);

    put_byte(&frame, 0x60);
    put_zeros(&frame, 5);
    put_byte(&frame, next_header);
    put_byte(&frame, hop_limit);
    put_ip(&frame, source);
    put_ip(&frame, ALL_NODES);
    return frame;
}

static Frame ipv6(const char *source)
{
    Frame frame = ipv6_packet(source, IPPROTO_ICMPV6, 64);

    put_byte(&frame, ICMP6_ECHO_REQUEST);
    put_zeros(&frame, 63);
    return frame;
}

static void put_discovery(Frame *frame, guint8 type, const char *target)
{
    put_byte(frame, type);
    put_zeros(frame, 7);
    put_ip(frame, target);
}

static Frame discovery(const char *source, guint8 type, const char *target)
{
    Frame frame = ipv6_packet(source, IPPROTO_ICMPV6, 255);

    put_discovery(&frame, type, target);
    return frame;
}

/* An extension header of eight bytes. */
static void put_extension(Frame *frame, guint8 next_header)
{
    put_byte(frame, next_header);
    put_zeros(frame, 7);
}

/* The fragment's own header is eight bytes as well. */
static void put_fragment(Frame *frame, guint8 next_header, guint16 offset)
{
    put_byte(frame, next_header);
    put_byte(frame, 0);
    put_half(frame, (guint16)(offset << 3 | 1));
    put_zeros(frame, 4);
}

static void put_udp(Frame *frame, guint16 destination)
{
    put_half(frame, 4000);
    put_half(frame, destination);
    put_zeros(frame, 4 + 32);
}

/* The options by which a host reports its groups. */
static Frame group_report(const char *source)
{
    Frame frame = ipv6_packet(source, IPPROTO_HOPOPTS, 1);

    put_extension(&frame, IPPROTO_ICMPV6);
    put_byte(&frame, 143);
    put_zeros(&frame, 27);
    return frame;
}

/* ---- what arrives ---- */

static void guest_send(const Frame *frame)
{
    guint8 packet[WIRE_VNET_HEADER_BYTES + FRAME_BYTES] = {0};

    memcpy(packet + WIRE_VNET_HEADER_BYTES, frame->bytes, frame->length);
    CU_ASSERT_EQUAL(write(guest, packet, WIRE_VNET_HEADER_BYTES + frame->length),
                    (ssize_t)(WIRE_VNET_HEADER_BYTES + frame->length));
}

static gboolean is_frame(const guint8 *buffer, ssize_t length, const Frame *frame)
{
    return length == (ssize_t)frame->length && memcmp(buffer, frame->bytes, frame->length) == 0;
}

/* Frames keep their order, so that one which has not arrived before the mark has been refused. */
static gboolean passes(const Frame *frame)
{
    static guint16 count;
    Frame mark = ipv4(OWN_4);
    gboolean arrived = FALSE;

    put_half(&mark, ++count);
    guest_send(frame);
    guest_send(&mark);
    for (;;) {
        struct pollfd polled = {.fd = host, .events = POLLIN};
        guint8 buffer[FRAME_BYTES];
        ssize_t length;

        if (poll(&polled, 1, FRAME_WAIT_MS) <= 0) {
            CU_FAIL("the mark does not arrive");
            return arrived;
        }
        length = read(host, buffer, sizeof buffer);
        if (is_frame(buffer, length, &mark))
            return arrived;
        arrived = arrived || is_frame(buffer, length, frame);
    }
}

static gboolean sends(Frame frame)
{
    return passes(&frame);
}

static GPtrArray *pod_addresses(void)
{
    static CniAddress addresses[] = {{.address = (char *)OWN_4 "/24"},
                                     {.address = (char *)OWN_6 "/64", .ipv6 = TRUE},
                                     {.address = (char *)OWN_SECOND_4 "/32"}};
    GPtrArray *array = g_ptr_array_new();

    for (gsize i = 0; i < G_N_ELEMENTS(addresses); i++)
        g_ptr_array_add(array, &addresses[i]);
    return array;
}

static void filter_install(gboolean own_only)
{
    g_autoptr(GPtrArray) addresses = pod_addresses();
    g_autoptr(GError) error = NULL;

    redirect_install(netns, "eth0", WIRE_TAP, own_only ? addresses : NULL, &error);
    g_assert_no_error(error);
}

/* ---- tests ---- */

static void own_frames_pass(void)
{
    Frame large = ipv4(OWN_4);

    CU_ASSERT_TRUE(sends(arp(own_mac, OWN_4)));
    CU_ASSERT_TRUE(sends(arp(own_mac, OWN_SECOND_4)));
    CU_ASSERT_TRUE(sends(ipv4(OWN_4)));
    CU_ASSERT_TRUE(sends(ipv4(OWN_SECOND_4)));
    CU_ASSERT_TRUE(sends(ipv6(OWN_6)));
    CU_ASSERT_TRUE(sends(ipv6(OWN_LINK_LOCAL)));
    put_zeros(&large, ETH_HLEN + 1500 - large.length);
    CU_ASSERT_TRUE(passes(&large));
}

static void discovery_passes(void)
{
    CU_ASSERT_TRUE(sends(discovery(OWN_6, ND_NEIGHBOR_SOLICIT, OTHER_6)));
    CU_ASSERT_TRUE(sends(discovery(OWN_6, ND_NEIGHBOR_ADVERT, OWN_6)));
    CU_ASSERT_TRUE(sends(discovery(OWN_LINK_LOCAL, ND_NEIGHBOR_ADVERT, OWN_LINK_LOCAL)));
    CU_ASSERT_TRUE(sends(discovery("::", ND_NEIGHBOR_SOLICIT, OWN_6)));
    CU_ASSERT_TRUE(sends(discovery("::", ND_NEIGHBOR_SOLICIT, OWN_LINK_LOCAL)));
    CU_ASSERT_TRUE(sends(discovery(OWN_LINK_LOCAL, ND_ROUTER_SOLICIT, "::")));
    CU_ASSERT_TRUE(sends(group_report(OWN_LINK_LOCAL)));
    CU_ASSERT_TRUE(sends(group_report("::")));
}

static void fragments_and_udp_pass(void)
{
    Frame frame = ipv4_packet(OWN_4, 5, IPPROTO_UDP, 0);

    put_udp(&frame, 53);
    CU_ASSERT_TRUE(passes(&frame));
    frame = ipv4_packet(OWN_4, 5, IPPROTO_UDP, 100); /* no first fragment: these are no ports */
    put_udp(&frame, 68);
    CU_ASSERT_TRUE(passes(&frame));
    frame = ipv6_packet(OWN_6, IPPROTO_UDP, 64);
    put_udp(&frame, 53);
    CU_ASSERT_TRUE(passes(&frame));
    frame = ipv6_packet(OWN_6, IPPROTO_FRAGMENT, 64);
    put_fragment(&frame, IPPROTO_UDP, 0);
    put_udp(&frame, 53);
    CU_ASSERT_TRUE(passes(&frame));
    frame = ipv6_packet(OWN_6, IPPROTO_FRAGMENT, 64);
    put_fragment(&frame, IPPROTO_UDP, 100);
    put_udp(&frame, 546);
    CU_ASSERT_TRUE(passes(&frame));
    frame = ipv6_packet(OWN_6, IPPROTO_FRAGMENT, 64);
    put_fragment(&frame, IPPROTO_ICMPV6, 0);
    put_zeros(&frame, 1000);
    CU_ASSERT_TRUE(passes(&frame));
}

static void other_mac_is_refused(void)
{
    Frame frames[] = {arp(own_mac, OWN_4), ipv4(OWN_4), ipv6(OWN_6), ipv6(OWN_LINK_LOCAL)};

    for (gsize i = 0; i < G_N_ELEMENTS(frames); i++)
        for (gsize at = 0; at < ETH_ALEN; at++) {
            Frame changed = frames[i];

            changed.bytes[ETH_ALEN + at] ^= 8;
            CU_ASSERT_FALSE(passes(&changed));
        }
}

static void other_arp_is_refused(void)
{
    Frame frame = arp(own_mac, OWN_4);

    CU_ASSERT_FALSE(sends(arp(own_mac, OTHER_4)));
    CU_ASSERT_FALSE(sends(arp(own_mac, "0.0.0.0")));
    CU_ASSERT_FALSE(sends(arp(other_mac, OWN_4)));
    frame.bytes[ETH_HLEN + 4] = 8; /* with longer MAC addresses, the fields are elsewhere */
    CU_ASSERT_FALSE(passes(&frame));
    frame = arp(own_mac, OWN_4);
    frame.bytes[ETH_HLEN + 1] = 6; /* IEEE 802 */
    CU_ASSERT_FALSE(passes(&frame));
}

static void other_ipv4_is_refused(void)
{
    Frame frame = ipv4(OWN_4);

    CU_ASSERT_FALSE(sends(ipv4(OTHER_4)));
    CU_ASSERT_FALSE(sends(ipv4("10.232.0.4")));
    CU_ASSERT_FALSE(sends(ipv4("0.0.0.0")));
    CU_ASSERT_FALSE(sends(ipv4("127.0.0.1")));
    CU_ASSERT_FALSE(sends(ipv4("169.254.1.1")));
    frame.bytes[ETH_HLEN] = 0x65;
    CU_ASSERT_FALSE(passes(&frame));
}

static void other_ipv6_is_refused(void)
{
    static const char *const others[] = {OTHER_6,
                                         OTHER_LINK_LOCAL,
                                         "fe80::1",
                                         "fd00:232::ff:fe00:7",
                                         "::",
                                         "::1",
                                         "::ffff:10.232.0.2",
                                         "fd00:232::1:0:0:2",
                                         ALL_NODES};
    Frame frame = ipv6(OWN_6);

    for (gsize i = 0; i < G_N_ELEMENTS(others); i++)
        CU_ASSERT_FALSE(sends(ipv6(others[i])));
    for (guint i = 0; i < 16; i++) {
        frame = ipv6(OWN_6);
        frame.bytes[ETH_HLEN + 8 + i] ^= 0x10;
        CU_ASSERT_FALSE(passes(&frame));
    }
    frame = ipv6(OWN_6);
    frame.bytes[ETH_HLEN] = 0x40;
    CU_ASSERT_FALSE(passes(&frame));
}

static void other_neighbours_are_refused(void)
{
    CU_ASSERT_FALSE(sends(discovery(OWN_6, ND_NEIGHBOR_ADVERT, OTHER_6)));
    CU_ASSERT_FALSE(sends(discovery(OWN_LINK_LOCAL, ND_NEIGHBOR_ADVERT, "fe80::1")));
    CU_ASSERT_FALSE(sends(discovery("::", ND_NEIGHBOR_ADVERT, OWN_6)));
    CU_ASSERT_FALSE(sends(discovery("::", ND_NEIGHBOR_SOLICIT, OTHER_6)));
    CU_ASSERT_FALSE(sends(discovery("::", ND_ROUTER_SOLICIT, "::")));
}

static void routers_are_refused(void)
{
    CU_ASSERT_FALSE(sends(discovery(OWN_LINK_LOCAL, ND_ROUTER_ADVERT, "::")));
    CU_ASSERT_FALSE(sends(discovery(OWN_6, ND_ROUTER_ADVERT, "::")));
    CU_ASSERT_FALSE(sends(discovery(OWN_LINK_LOCAL, ND_REDIRECT, OTHER_6)));
}

/* Neighbour discovery behind whatever can precede it, with the hop limit without which it counts for nothing.
 */
static void hidden_discovery_is_refused(void)
{
    static const guint8 headers[] = {
        IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS, IPPROTO_AH, IPPROTO_MH, 139, 140};

    for (gsize i = 0; i < G_N_ELEMENTS(headers); i++) {
        Frame frame = ipv6_packet(OWN_LINK_LOCAL, headers[i], 255);

        put_extension(&frame, IPPROTO_ICMPV6);
        put_discovery(&frame, ND_ROUTER_ADVERT, "::");
        CU_ASSERT_FALSE(passes(&frame));
    }
    for (guint16 offset = 0; offset < 2; offset++) {
        Frame frame = ipv6_packet(OWN_LINK_LOCAL, IPPROTO_FRAGMENT, 255);

        put_fragment(&frame, IPPROTO_ICMPV6, offset);
        put_discovery(&frame, ND_ROUTER_ADVERT, "::");
        CU_ASSERT_FALSE(passes(&frame));
    }
}

static void dhcp_servers_are_refused(void)
{
    for (guint8 words = 5; words < 16; words += 5) {
        Frame frame = ipv4_packet(OWN_4, words, IPPROTO_UDP, 0);

        put_udp(&frame, 68);
        CU_ASSERT_FALSE(passes(&frame));
        frame.bytes[ETH_HLEN + 6] = 0x20; /* a first fragment */
        CU_ASSERT_FALSE(passes(&frame));
    }
}

static void dhcpv6_servers_are_refused(void)
{
    static const guint8 headers[] = {IPPROTO_DSTOPTS, IPPROTO_ROUTING, IPPROTO_HOPOPTS};
    Frame frame = ipv6_packet(OWN_LINK_LOCAL, IPPROTO_UDP, 64);

    put_udp(&frame, 546);
    CU_ASSERT_FALSE(passes(&frame));
    frame = ipv6_packet(OWN_LINK_LOCAL, IPPROTO_FRAGMENT, 64);
    put_fragment(&frame, IPPROTO_UDP, 0);
    put_udp(&frame, 546);
    CU_ASSERT_FALSE(passes(&frame));
    for (gsize i = 0; i < G_N_ELEMENTS(headers); i++) {
        frame = ipv6_packet(OWN_LINK_LOCAL, headers[i], 64);
        put_extension(&frame, IPPROTO_UDP);
        put_udp(&frame, 546);
        CU_ASSERT_FALSE(passes(&frame));
        frame = ipv6_packet(OWN_LINK_LOCAL, IPPROTO_FRAGMENT, 64);
        put_fragment(&frame, headers[i], 0);
        put_extension(&frame, IPPROTO_UDP);
        put_udp(&frame, 546);
        CU_ASSERT_FALSE(passes(&frame));
    }
}

static void other_protocols_are_refused(void)
{
    static const guint16 protocols[] = {ETH_P_PPP_DISC, ETH_P_LLDP, ETH_P_PAE, ETH_P_RARP, ETH_P_MPLS_UC,
                                        ETH_P_PAUSE,    0x88b5,     38 /* a length: spanning tree */};

    for (gsize i = 0; i < G_N_ELEMENTS(protocols); i++) {
        Frame frame = ethernet(own_mac, protocols[i]);

        put_zeros(&frame, 100);
        CU_ASSERT_FALSE(passes(&frame));
    }
}

static void vlan_tags_are_refused(void)
{
    static const guint16 tags[] = {ETH_P_8021Q, ETH_P_8021AD};

    for (gsize i = 0; i < G_N_ELEMENTS(tags); i++)
        for (guint16 id = 0; id < 2; id++) {
            const Frame whole = ipv4(OWN_4);
            Frame tagged = ethernet(own_mac, tags[i]);

            put_half(&tagged, id);
            put(&tagged, whole.bytes + 2 * ETH_ALEN, whole.length - 2 * ETH_ALEN);
            CU_ASSERT_FALSE(passes(&tagged));
        }
}

/* Up to the last byte that the filter looks at. */
static void cut_frames_are_refused(void)
{
    Frame frames[] = {arp(own_mac, OWN_4), ipv4(OWN_4), ipv6(OWN_6),
                      discovery(OWN_6, ND_NEIGHBOR_ADVERT, OWN_6)};
    static const gsize looked_at[] = {ETH_HLEN + 18, ETH_HLEN + 16, ETH_HLEN + 41, ETH_HLEN + 64};

    for (gsize i = 0; i < G_N_ELEMENTS(frames); i++) {
        gsize whole = frames[i].length;

        CU_ASSERT_TRUE(passes(&frames[i]));
        for (gsize length = ETH_HLEN; length < looked_at[i]; length++) {
            frames[i].length = length;
            CU_ASSERT_FALSE(passes(&frames[i]));
        }
        frames[i].length = whole;
    }
}

static guint dropped(void)
{
    g_autofree char *output = NULL;
    g_autofree char *command =
        g_strdup_printf("nsenter --net=%s tc -s qdisc show dev " WIRE_TAP " ingress", netns);
    const char *found;

    CU_ASSERT_TRUE(g_spawn_command_line_sync(command, &output, NULL, NULL, NULL));
    found = output != NULL ? strstr(output, "dropped ") : NULL;
    return found != NULL ? (guint)g_ascii_strtoull(found + strlen("dropped "), NULL, 10) : 0;
}

static void refused_frames_are_counted(void)
{
    guint before = dropped();

    CU_ASSERT_FALSE(sends(ipv4(OTHER_4)));
    CU_ASSERT_EQUAL(dropped(), before + 1);
    CU_ASSERT_TRUE(sends(ipv4(OWN_4)));
    CU_ASSERT_EQUAL(dropped(), before + 1);
}

static void filter_is_changed_in_place(void)
{
    Frame unknown = ethernet(other_mac, 0x88b5);

    filter_install(FALSE);
    CU_ASSERT_TRUE(sends(ipv4(OTHER_4)));
    CU_ASSERT_TRUE(sends(arp(other_mac, OTHER_4)));
    CU_ASSERT_TRUE(sends(discovery(OWN_6, ND_ROUTER_ADVERT, "::")));
    put_zeros(&unknown, 100);
    CU_ASSERT_TRUE(passes(&unknown));
    filter_install(TRUE);
    filter_install(TRUE);
    CU_ASSERT_FALSE(sends(ipv4(OTHER_4)));
    CU_ASSERT_TRUE(sends(ipv4(OWN_4)));
}

static void a_pod_without_addresses_is_silent(void)
{
    g_autoptr(GPtrArray) none = g_ptr_array_new();
    g_autoptr(GArray) program = NULL;
    g_autoptr(GError) error = NULL;

    program = own_frames_program(own_mac, none, &error);
    CU_ASSERT_PTR_NOT_NULL(program);
    CU_ASSERT_PTR_NULL(error);
}

static void addresses_have_a_limit(void)
{
    g_autoptr(GPtrArray) addresses = g_ptr_array_new();
    CniAddress one = {.address = (char *)OWN_6 "/64", .ipv6 = TRUE};
    CniAddress wrong = {.address = (char *)"10.232.0.300/24"};
    g_autoptr(GArray) program = NULL;
    g_autoptr(GError) error = NULL;

    for (guint i = 0; i < 64; i++)
        g_ptr_array_add(addresses, &one);
    program = own_frames_program(own_mac, addresses, &error);
    CU_ASSERT_PTR_NOT_NULL(program);
    for (guint i = 0; i < 1000; i++)
        g_ptr_array_add(addresses, &one);
    TEST_FAILS(own_frames_program(own_mac, addresses, &error), error, STATUS_INVALID_ARGUMENT,
               "the pod has 1064 addresses");
    g_ptr_array_set_size(addresses, 0);
    g_ptr_array_add(addresses, &wrong);
    TEST_FAILS(own_frames_program(own_mac, addresses, &error), error, STATUS_INVALID_ARGUMENT,
               "10.232.0.300");
}

/* The least time, because this is not alone on the node. */
static void time_frames(const Frame *frame, gint64 *least_us)
{
    guint8 buffer[FRAME_BYTES];
    gint64 begin_us = g_get_monotonic_time();

    for (guint i = 0; i < FRAMES; i++)
        guest_send(frame);
    *least_us = MIN(*least_us, g_get_monotonic_time() - begin_us);
    while (recv(host, buffer, sizeof buffer, MSG_DONTWAIT) > 0)
        continue;
}

static void cost_is_printed(void)
{
    const Frame frames[] = {ipv4(OWN_4), ipv6(OWN_6)};
    static const char *const names[] = {"IPv4", "IPv6"};

    for (gsize i = 0; i < G_N_ELEMENTS(frames); i++) {
        gint64 all_us = G_MAXINT64;
        gint64 own_us = G_MAXINT64;

        for (guint round = 0; round < ROUNDS; round++) {
            filter_install(FALSE);
            time_frames(&frames[i], &all_us);
            filter_install(TRUE);
            time_frames(&frames[i], &own_us);
        }
        CU_ASSERT_TRUE(passes(&frames[i]));
        printf("     from tap to veth, %s, with the filter: %.3f of the time without it (%.2f us)\n",
               names[i], (double)own_us / (double)all_us, (double)all_us / FRAMES);
    }
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a pod's own ARP, IPv4 and IPv6 frames pass", own_frames_pass},
        {"neighbour discovery for the pod's own addresses, and reports of groups, pass", discovery_passes},
        {"UDP and fragments pass", fragments_and_udp_pass},
        {"a frame with another MAC address is refused", other_mac_is_refused},
        {"ARP in the name of another is refused", other_arp_is_refused},
        {"IPv4 from another address is refused", other_ipv4_is_refused},
        {"IPv6 from another address is refused", other_ipv6_is_refused},
        {"neighbour advertisements and duplicate address detection for another's address are refused",
         other_neighbours_are_refused},
        {"router advertisements and redirects are refused", routers_are_refused},
        {"neighbour discovery behind extension headers and in fragments is refused",
         hidden_discovery_is_refused},
        {"answers of a DHCP server are refused", dhcp_servers_are_refused},
        {"answers of a DHCPv6 server are refused", dhcpv6_servers_are_refused},
        {"protocols other than ARP, IPv4 and IPv6 are refused", other_protocols_are_refused},
        {"frames with VLAN tags are refused", vlan_tags_are_refused},
        {"frames that end before what is checked are refused", cut_frames_are_refused},
        {"refused frames are counted", refused_frames_are_counted},
        {"the filter can be removed and installed again", filter_is_changed_in_place},
        {"a filter for no address can be made", a_pod_without_addresses_is_silent},
        {"more addresses than a filter has room for, and what is no address, are refused with a reason",
         addresses_have_a_limit},
        {"the cost of the filter for a frame is printed", cost_is_printed},
    };
    int code = wire_isolate("own_frames");

    if (code != 0)
        return code;
    netns = wire_netns_path("own");
    guest = wire_make(netns);
    g_assert_true(wire_run("nsenter --net=%s ip link set dev eth0 address " OWN_MAC, netns));
    host = wire_packet_open("pv0");
    filter_install(TRUE);
    code = test_main_args("own_frames", cases, G_N_ELEMENTS(cases), argc, argv);
    close(host);
    wire_remove(netns, guest);
    g_free(netns);
    return code;
}

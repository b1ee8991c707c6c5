/* SPDX-License-Identifier: Apache-2.0 */
/* What a hibernated pod's interface takes note of, answers, and passes on, with a real veth, a real tap and
 * the kernel's filters (wake_frames.h, wake_socket.h, redirect_suspend()). */
#include "cni-bridge/wake_frames.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cni-bridge/cni.h"
#include "cni-bridge/podnet.h"
#include "cni-bridge/wake_socket.h"
#include "common/error.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_frame.h"
#include "tests/unit/test_wire.h"

enum { WAIT_MS = 5000, QUIET_MS = 200, SYN = 2, RST = 4, ACK = 16, FIN = 1, PSH = 8 };

#define OWN_MAC "02:00:00:00:00:07"
static const guint8 own_mac[ETH_ALEN] = {2, 0, 0, 0, 0, 7};
static const guint8 other_mac[ETH_ALEN] = {2, 0, 0, 0, 0, 8};
static const guint8 broadcast[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

#define OWN_4 "10.232.0.2"
#define OTHER_4 "10.232.0.9"
#define OWN_6 "fd00:232::2"
#define OWN_LINK_LOCAL "fe80::ff:fe00:7"
#define OTHER_6 "fd00:232::9"

static char *netns;
static int guest;
static int host;
static int watch;

/* ---- frames ---- */

static Frame ethernet(const guint8 *to, guint16 protocol)
{
    Frame frame = {.length = 0};

    put(&frame, to, ETH_ALEN);
    put(&frame, other_mac, ETH_ALEN);
    put_half(&frame, protocol);
    return frame;
}

/* options: bytes of them in an IPv4 header, a multiple of 4. offset: of a fragment, with its flags. */
static Frame ipv4(const char *to, guint8 protocol, gsize payload, gsize options, guint16 offset)
{
    Frame frame = ethernet(own_mac, ETH_P_IP);

    put_byte(&frame, (guint8)(0x45 + options / 4));
    put_byte(&frame, 0);
    put_half(&frame, (guint16)(20 + options + payload));
    put_half(&frame, 0);
    put_half(&frame, offset);
    put_byte(&frame, 64);
    put_byte(&frame, protocol);
    put_half(&frame, 0);
    put_ip(&frame, OTHER_4);
    put_ip(&frame, to);
    put_zeros(&frame, options);
    return frame;
}

static Frame ipv6(const char *to, guint8 next_header, gsize payload)
{
    Frame frame = ethernet(own_mac, ETH_P_IPV6);

    put_byte(&frame, 0x60);
    put_zeros(&frame, 3);
    put_half(&frame, (guint16)payload);
    put_byte(&frame, next_header);
    put_byte(&frame, 255);
    put_ip(&frame, OTHER_6);
    put_ip(&frame, to);
    return frame;
}

static Frame packet(const char *to, guint8 protocol, gsize payload, gsize options)
{
    return strchr(to, ':') != NULL ? ipv6(to, protocol, payload) : ipv4(to, protocol, payload, options, 0);
}

static void put_tcp(Frame *frame, guint8 flags, gsize options, gsize data)
{
    put_zeros(frame, 12);
    put_byte(frame, (guint8)((5 + options / 4) << 4));
    put_byte(frame, flags);
    put_zeros(frame, 6 + options + data);
}

static Frame tcp(const char *to, guint8 flags, gsize options, gsize data)
{
    Frame frame = packet(to, IPPROTO_TCP, 20 + options + data, options);

    put_tcp(&frame, flags, options, data);
    return frame;
}

static Frame transport(const char *to, guint8 protocol, gsize at, guint8 value)
{
    Frame frame = packet(to, protocol, 64, 0);
    gsize begin = frame.length;

    put_zeros(&frame, 64);
    frame.bytes[begin + at] = value;
    return frame;
}

static Frame sctp(const char *to, guint8 chunk)
{
    return transport(to, IPPROTO_SCTP, 12, chunk);
}

/* ---- what is kept ---- */

static void host_send(const Frame *frame)
{
    CU_ASSERT_EQUAL(send(host, frame->bytes, frame->length, 0), (ssize_t)frame->length);
}

/* Return: whether the socket keeps a frame; the frame is taken out of it. Frames keep their order, and the
 * mark is always kept. */
static gboolean keeps(Frame frame)
{
    const Frame mark = transport(OWN_4, IPPROTO_UDP, 20, 7);
    guint8 buffer[sizeof(struct virtio_net_hdr) + FRAME_BYTES];
    guint n = 0;

    host_send(&frame);
    host_send(&mark);
    for (;;) {
        struct pollfd polled = {.fd = watch, .events = POLLIN};
        ssize_t length;

        if (poll(&polled, 1, WAIT_MS) <= 0) {
            CU_FAIL("the mark does not arrive");
            return FALSE;
        }
        length = recv(watch, buffer, sizeof buffer, 0) - (ssize_t)sizeof(struct virtio_net_hdr);
        if (length == (ssize_t)mark.length &&
            memcmp(buffer + sizeof(struct virtio_net_hdr), mark.bytes, mark.length) == 0)
            return n > 0;
        n++;
    }
}

static GPtrArray *pod_addresses(void)
{
    static CniAddress addresses[] = {{.address = (char *)OWN_4 "/24"},
                                     {.address = (char *)OWN_6 "/64", .ipv6 = TRUE}};
    GPtrArray *array = g_ptr_array_new();

    for (gsize i = 0; i < G_N_ELEMENTS(addresses); i++)
        g_ptr_array_add(array, &addresses[i]);
    return array;
}

static int watch_open(void)
{
    g_autoptr(GPtrArray) addresses = pod_addresses();
    g_autoptr(GError) error = NULL;
    int fd = wake_socket_open(netns, "eth0", addresses, &error);

    g_assert_no_error(error);
    return fd;
}

static const char *const own[] = {OWN_4, OWN_6, OWN_LINK_LOCAL};

static void requests_are_kept(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(own); i++) {
        CU_ASSERT_TRUE(keeps(tcp(own[i], SYN, 0, 0)));
        CU_ASSERT_TRUE(keeps(tcp(own[i], SYN, 20, 0)));
        CU_ASSERT_TRUE(keeps(tcp(own[i], ACK, 0, 1)));
        CU_ASSERT_TRUE(keeps(tcp(own[i], ACK | PSH, 12, 1000)));
        CU_ASSERT_TRUE(keeps(tcp(own[i], ACK | FIN, 12, 1)));
        CU_ASSERT_TRUE(keeps(transport(own[i], IPPROTO_UDP, 0, 0)));
        CU_ASSERT_TRUE(keeps(sctp(own[i], 0)));
        CU_ASSERT_TRUE(keeps(sctp(own[i], 1)));
    }
    CU_ASSERT_TRUE(keeps(ipv4(OWN_4, IPPROTO_UDP, 0, 0, 0x2000))); /* a first fragment */
}

static void upkeep_of_connections_is_not_kept(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(own); i++) {
        CU_ASSERT_FALSE(keeps(tcp(own[i], ACK, 0, 0)));
        CU_ASSERT_FALSE(keeps(tcp(own[i], ACK, 12, 0)));
        CU_ASSERT_FALSE(keeps(tcp(own[i], ACK | FIN, 12, 0)));
        CU_ASSERT_FALSE(keeps(tcp(own[i], SYN | ACK, 20, 0)));
        CU_ASSERT_FALSE(keeps(tcp(own[i], RST, 0, 0)));
        CU_ASSERT_FALSE(keeps(tcp(own[i], RST | ACK, 0, 10)));
        CU_ASSERT_FALSE(keeps(sctp(own[i], 4))); /* HEARTBEAT */
        CU_ASSERT_FALSE(keeps(sctp(own[i], 255)));
    }
}

static void noise_is_not_kept(void)
{
    static const char *const others[] = {OTHER_4, "10.232.0.255", "224.0.0.1", OTHER_6, "ff02::1", "fe80::9"};
    Frame frame;

    for (gsize i = 0; i < G_N_ELEMENTS(others); i++) {
        CU_ASSERT_FALSE(keeps(tcp(others[i], SYN, 0, 0)));
        CU_ASSERT_FALSE(keeps(transport(others[i], IPPROTO_UDP, 0, 0)));
    }
    for (gsize i = 0; i < G_N_ELEMENTS(own); i++) {
        const guint8 *const macs[] = {broadcast, other_mac};

        CU_ASSERT_FALSE(keeps(transport(own[i], IPPROTO_ICMP, 0, 8)));
        CU_ASSERT_FALSE(keeps(transport(own[i], IPPROTO_ICMPV6, 0, ICMP6_ECHO_REQUEST)));
        CU_ASSERT_FALSE(keeps(transport(own[i], IPPROTO_ICMPV6, 0, ND_NEIGHBOR_SOLICIT)));
        CU_ASSERT_FALSE(keeps(transport(own[i], IPPROTO_FRAGMENT, 0, IPPROTO_UDP)));
        for (gsize j = 0; j < G_N_ELEMENTS(macs); j++) {
            frame = tcp(own[i], SYN, 0, 0);
            memcpy(frame.bytes, macs[j], ETH_ALEN);
            CU_ASSERT_FALSE(keeps(frame));
        }
        frame = tcp(own[i], SYN, 0, 0);
        frame.length -= 8; /* without its flags */
        CU_ASSERT_FALSE(keeps(frame));
    }
    CU_ASSERT_FALSE(keeps(ipv4(OWN_4, IPPROTO_UDP, 0, 0, 100))); /* a later fragment */
    frame = ethernet(own_mac, ETH_P_ARP);
    put_zeros(&frame, 60);
    CU_ASSERT_FALSE(keeps(frame));
    frame = ethernet(own_mac, ETH_P_8021Q);
    put_half(&frame, 5);
    put(&frame, tcp(OWN_4, SYN, 0, 0).bytes + 12, 42);
    CU_ASSERT_FALSE(keeps(frame));
}

static void wrong_addresses_are_refused(void)
{
    CniAddress wrong = {.address = (char *)"10.0.0/8"};
    g_autoptr(GPtrArray) addresses = g_ptr_array_new();
    g_autoptr(GError) error = NULL;

    g_ptr_array_add(addresses, &wrong);
    CU_ASSERT_PTR_NULL(wake_frames_program(own_mac, addresses, &error));
    CU_ASSERT_TRUE(g_error_matches(error, CRIVIRT_ERROR, STATUS_INVALID_ARGUMENT));
}

/* ---- what is answered ---- */

/* Return: whether the address refuses a connection, as a kernel does that owns it. */
static gboolean address_refuses(const char *address)
{
    gboolean ipv6 = strchr(address, ':') != NULL;
    struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(9)};
    struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
    int fd = socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pollfd polled = {.fd = fd, .events = POLLOUT};
    int problem = 0;
    socklen_t size = sizeof problem;

    inet_pton(ipv6 ? AF_INET6 : AF_INET, address, ipv6 ? (void *)&to6.sin6_addr : (void *)&to4.sin_addr);
    CU_ASSERT_EQUAL(
        connect(fd, ipv6 ? (struct sockaddr *)&to6 : (struct sockaddr *)&to4, ipv6 ? sizeof to6 : sizeof to4),
        -1);
    poll(&polled, 1, QUIET_MS);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size);
    close(fd);
    return problem == ECONNREFUSED;
}

/* A connection asks for the neighbour first. */
static gboolean neighbour_is_found(const char *address)
{
    wire_run("ip neigh flush dev pv0");
    CU_ASSERT_FALSE(address_refuses(address));
    return wire_run("ip neigh show %s | grep -q " OWN_MAC, address);
}

static void the_namespace_answers_for_the_addresses_alone(void)
{
    static const char *const addresses[] = {OWN_4, OWN_6};
    g_autoptr(GError) error = NULL;

    CU_ASSERT_TRUE(address_refuses(OWN_4));
    CU_ASSERT_TRUE(address_refuses(OWN_6));
    TEST_OK(redirect_suspend(netns, "eth0", &error), error);
    for (gsize i = 0; i < G_N_ELEMENTS(addresses); i++)
        CU_ASSERT_TRUE(neighbour_is_found(addresses[i]));
    TEST_OK(redirect_install(netns, "eth0", WIRE_TAP, NULL, &error), error);
    CU_ASSERT_FALSE(neighbour_is_found(OWN_4)); /* that is the guest's to do now */
    TEST_OK(redirect_suspend(netns, "eth0", &error), error);
    TEST_OK(redirect_suspend(netns, "eth0", &error), error);
    CU_ASSERT_TRUE(neighbour_is_found(OWN_4));
}

/* ---- what is passed on ---- */

static int udp_socket(void)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = inet_addr(OWN_4)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    CU_ASSERT_EQUAL(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Return: the last byte of the next datagram that the guest gets; -1: none comes. */
static int datagram_arrives(void)
{
    guint8 buffer[WIRE_VNET_HEADER_BYTES + FRAME_BYTES];

    for (;;) {
        struct pollfd polled = {.fd = guest, .events = POLLIN};
        const guint8 *frame = buffer + WIRE_VNET_HEADER_BYTES;
        ssize_t length;

        if (poll(&polled, 1, QUIET_MS) <= 0)
            return -1;
        length = read(guest, buffer, sizeof buffer);
        if (length > WIRE_VNET_HEADER_BYTES + 42 && frame[12] == 8 && frame[13] == 0 &&
            frame[23] == IPPROTO_UDP)
            return buffer[length - 1];
    }
}

static void kept_frames_are_passed_on_in_order_and_once(void)
{
    g_autoptr(GError) error = NULL;
    int fd = udp_socket();
    struct pollfd polled = {.fd = watch, .events = POLLIN};

    wake_socket_drain(watch);
    TEST_OK(redirect_suspend(netns, "eth0", &error), error);
    for (guint8 i = 1; i <= 3; i++)
        CU_ASSERT_EQUAL(send(fd, &i, 1, 0), 1);
    CU_ASSERT_EQUAL(poll(&polled, 1, WAIT_MS), 1);
    g_usleep((gulong)QUIET_MS * 1000);
    TEST_OK(wake_socket_pause(watch, &error), error);
    TEST_OK(redirect_install(netns, "eth0", WIRE_TAP, NULL, &error), error);
    CU_ASSERT_EQUAL(send(fd, "\x4", 1, 0), 1); /* is not kept any more, and goes its usual way */
    CU_ASSERT_EQUAL(datagram_arrives(), 4);
    CU_ASSERT_EQUAL(wake_socket_pass_on(watch, netns, WIRE_TAP, &error), 3);
    CU_ASSERT_PTR_NULL(error);
    for (int i = 1; i <= 3; i++)
        CU_ASSERT_EQUAL(datagram_arrives(), i);
    CU_ASSERT_EQUAL(datagram_arrives(), -1);
    close(fd);
}

static void the_queue_is_bounded_and_can_be_drained(void)
{
    int fd = watch_open();
    int sender = udp_socket();
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    guint8 data[1400] = {0};
    guint8 buffer[FRAME_BYTES];
    guint n = 0;

    for (guint i = 0; i < 3000; i++)
        send(sender, data, sizeof data, 0);
    CU_ASSERT_EQUAL(poll(&polled, 1, WAIT_MS), 1);
    while (recv(fd, buffer, sizeof buffer, 0) > 0)
        n++;
    CU_ASSERT_TRUE(n > 20 && n < 1000);
    send(sender, data, sizeof data, 0);
    CU_ASSERT_EQUAL(poll(&polled, 1, WAIT_MS), 1);
    wake_socket_drain(fd);
    CU_ASSERT_EQUAL(poll(&polled, 1, 0), 0);
    close(sender);
    close(fd);
}

static void missing_ends_are_refused(void)
{
    g_autoptr(GPtrArray) addresses = pod_addresses();
    g_autofree char *missing = wire_netns_path("missing");
    g_autoptr(GError) error = NULL;

    CU_ASSERT_EQUAL(wake_socket_open(missing, "eth0", addresses, &error), -1);
    CU_ASSERT_TRUE(g_error_matches(error, CRIVIRT_ERROR, STATUS_NOT_FOUND));
    g_clear_error(&error);
    CU_ASSERT_EQUAL(wake_socket_open(netns, "eth7", addresses, &error), -1);
    CU_ASSERT_TRUE(g_error_matches(error, CRIVIRT_ERROR, STATUS_NOT_FOUND));
    g_clear_error(&error);
    CU_ASSERT_EQUAL(wake_socket_pass_on(watch, netns, "pt7", &error), 0);
    CU_ASSERT_TRUE(g_error_matches(error, CRIVIRT_ERROR, STATUS_NOT_FOUND));
    g_clear_error(&error);
    TEST_FAILS(redirect_suspend(netns, "eth7", &error), error, STATUS_NOT_FOUND, "eth7");
}

static void wire_begin(void)
{
    netns = wire_netns_path("wake");
    guest = wire_make(netns);
    g_assert_true(wire_run("nsenter --net=%s sh -c 'ip link set eth0 down; ip link set eth0 address " OWN_MAC
                           "; ip link set eth0 up; ip addr add " OWN_6 "/64 dev eth0 nodad' &&"
                           "ip addr add 10.232.0.1/24 dev pv0 && ip addr add fd00:232::1/64 dev pv0 nodad",
                           netns));
    host = wire_packet_open("pv0");
    watch = watch_open();
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"what asks something of the pod is kept", requests_are_kept},
        {"what keeps connections alive or ends them is not kept", upkeep_of_connections_is_not_kept},
        {"frames for others, discovery, pings and damaged frames are not kept", noise_is_not_kept},
        {"a filter for what is not an address is refused", wrong_addresses_are_refused},
        {"the namespace answers ARP and neighbour discovery, and nothing else",
         the_namespace_answers_for_the_addresses_alone},
        {"kept frames reach the guest once and in order", kept_frames_are_passed_on_in_order_and_once},
        {"the queue is bounded, and can be drained", the_queue_is_bounded_and_can_be_drained},
        {"a namespace or an interface that is missing is named", missing_ends_are_refused},
    };
    int code = wire_isolate("wake_frames");

    if (code != 0)
        return code;
    wire_begin();
    code = test_main_args("wake_frames", cases, G_N_ELEMENTS(cases), argc, argv);
    close(watch);
    close(host);
    wire_remove(netns, guest);
    return code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces, taps and the redirect, on real kernel objects in namespaces of the test's own. */
#include "cni-bridge/link_peer.h"
#include "cni-bridge/podnet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_wire.h"

enum { FRAME_WAIT_US = 2000000 };

static guint mounts_below(const char *path)
{
    g_autofree char *text = NULL;
    guint count = 0;

    g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL);
    for (const char *at = text; (at = strstr(at, path)) != NULL; at++)
        count++;
    return count;
}

static void namespaces_come_and_go(void)
{
    g_autofree char *one = wire_netns_path("one");
    g_autofree char *two = wire_netns_path("two");
    struct stat before;
    struct stat after;
    g_autoptr(GError) error = NULL;

    stat("/proc/thread-self/ns/net", &before);
    CU_ASSERT_FALSE(netns_exists(one));
    TEST_OK(netns_create(one, &error), error);
    TEST_OK(netns_create(two, &error), error);
    CU_ASSERT_TRUE(netns_exists(one));
    CU_ASSERT_TRUE(wire_run("nsenter --net=%s ip -4 addr show dev lo up | grep -q 127.0.0.1", one));
    TEST_FAILS(netns_create(one, &error), error, STATUS_ALREADY_EXISTS, one);
    CU_ASSERT_TRUE(netns_exists(one));
    TEST_OK(netns_delete(one, &error), error);
    TEST_OK(netns_delete(one, &error), error);
    CU_ASSERT_FALSE(netns_exists(one));
    CU_ASSERT_TRUE(netns_exists(two));
    TEST_OK(netns_delete(two, &error), error);
    CU_ASSERT_EQUAL(mounts_below(wire_directory()), 0);
    stat("/proc/thread-self/ns/net", &after);
    CU_ASSERT_EQUAL(before.st_ino, after.st_ino);
}

static void namespace_file_of_a_crash_is_used(void)
{
    g_autofree char *path = wire_netns_path("crashed");
    g_autoptr(GError) error = NULL;

    CU_ASSERT_TRUE(wire_run("mkdir -p %s/netns; touch %s", wire_directory(), path));
    CU_ASSERT_FALSE(netns_exists(path));
    TEST_OK(netns_create(path, &error), error);
    CU_ASSERT_TRUE(netns_exists(path));
    TEST_OK(netns_delete(path, &error), error);
}

/* A mount namespace made earlier, as a CNI daemon's container has. */
static void namespaces_reach_other_mount_namespaces(void)
{
    g_autofree char *keeper = wire_netns_path("keeper");
    g_autofree char *path = wire_netns_path("seen");
    g_autofree char *pid_file = g_build_filename(wire_directory(), "pid", NULL);
    g_autoptr(GError) error = NULL;

    TEST_OK(netns_create(keeper, &error), error);
    CU_ASSERT_TRUE(
        wire_run("unshare -m --propagation unchanged sh -c 'echo $$ > %s; exec sleep 30' >/dev/null 2>&1 & "
                 "while [ ! -s %s ]; do sleep 0.05; done",
                 pid_file, pid_file));
    TEST_OK(netns_create(path, &error), error);
    CU_ASSERT_TRUE(wire_run("grep -q %s /proc/$(cat %s)/mountinfo", path, pid_file));
    TEST_OK(netns_delete(path, &error), error);
    CU_ASSERT_FALSE(wire_run("grep -q %s /proc/$(cat %s)/mountinfo", path, pid_file));
    CU_ASSERT_TRUE(wire_run("kill $(cat %s)", pid_file));
    TEST_OK(netns_delete(keeper, &error), error);
}

static gpointer make_and_delete(gpointer data)
{
    g_autofree char *name = g_strdup_printf("many-%u", GPOINTER_TO_UINT(data));
    g_autofree char *path = wire_netns_path(name);
    guint failures = 0;

    for (guint i = 0; i < 10; i++)
        if (!netns_create(path, NULL) || !netns_exists(path) || !netns_delete(path, NULL))
            failures++;
    return GUINT_TO_POINTER(failures);
}

static void threads_make_namespaces_at_once(void)
{
    GThread *threads[4];

    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("test", make_and_delete, GUINT_TO_POINTER(i));
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        CU_ASSERT_PTR_NULL(g_thread_join(threads[i]));
    CU_ASSERT_EQUAL(mounts_below(wire_directory()), 0);
}

static void taps_are_known_by_their_mark(void)
{
    g_autoptr(GPtrArray) ours = NULL;
    g_autoptr(GPtrArray) nobodys = NULL;
    g_autoptr(GError) error = NULL;

    TEST_OK(tap_create("pt0", 0, "crivirt-one", &error), error);
    TEST_OK(tap_create("pt1", 0, "crivirt-other", &error), error);
    TEST_OK(tap_list("crivirt-one", &ours, &error), error);
    CU_ASSERT_EQUAL_FATAL(ours->len, 1);
    CU_ASSERT_STRING_EQUAL(ours->pdata[0], "pt0");
    TEST_OK(tap_list("crivirt", &nobodys, &error), error);
    CU_ASSERT_EQUAL(nobodys->len, 0);
    TEST_OK(tap_delete("pt0", "", &error), error);
    TEST_OK(tap_delete("pt1", "", &error), error);
}

static void taps_come_move_and_go(void)
{
    g_autofree char *path = wire_netns_path("tap");
    g_autofree char *missing = wire_netns_path("missing");
    g_autoptr(GError) error = NULL;

    TEST_OK(netns_create(path, &error), error);
    TEST_OK(tap_create("pt0", 64055, "one", &error), error);
    TEST_FAILS(tap_create("pt0", 0, "one", &error), error, STATUS_ALREADY_EXISTS, "pt0");
    TEST_FAILS(tap_create("a-name-that-is-too-long", 0, "one", &error), error, STATUS_INVALID_ARGUMENT,
               "is not an interface name");
    CU_ASSERT_TRUE(
        wire_run("ip -d link show pt0 | grep -q 'persist on.*vnet_hdr on\\|vnet_hdr on.*persist on'"));
    CU_ASSERT_TRUE(wire_run("ip tuntap | grep -q 'pt0:.*user 64055'"));
    TEST_OK(tap_move("pt0", path, 1380, &error), error);
    TEST_OK(tap_move("pt0", path, 1390, &error), error);
    CU_ASSERT_TRUE(wire_run("nsenter --net=%s ip link show dev pt0 up | grep -q 'mtu 1390'", path));
    CU_ASSERT_FALSE(wire_run("nsenter --net=%s ip -6 addr show dev pt0 | grep -q fe80", path));
    TEST_FAILS(tap_move("pt1", path, 0, &error), error, STATUS_NOT_FOUND, "pt1");
    TEST_FAILS(tap_move("pt0", missing, 0, &error), error, STATUS_NOT_FOUND, missing);
    TEST_OK(tap_delete("pt0", path, &error), error);
    TEST_OK(tap_delete("pt0", path, &error), error);
    TEST_OK(tap_delete("pt0", missing, &error), error);
    TEST_OK(tap_delete("pt0", "", &error), error);
    TEST_OK(netns_delete(path, &error), error);
}

static void attachments_to_the_node_are_seen(void)
{
    g_autofree char *path = wire_netns_path("peer");
    g_autoptr(GError) error = NULL;
    LinkPeer attached;
    LinkPeer detached;

    TEST_OK(netns_create(path, &error), error);
    TEST_FAILS(link_peer_read(path, "eth0", &attached, &error), error, STATUS_NOT_FOUND, "eth0");
    CU_ASSERT_TRUE(wire_run("ip link add pb0 type bridge"));
    CU_ASSERT_TRUE(wire_run("ip link add pv0 master pb0 type veth peer name pv1"));
    CU_ASSERT_TRUE(wire_run("ip link set pv1 netns %s name eth0", path));
    TEST_OK(link_peer_read(path, "eth0", &attached, &error), error);
    CU_ASSERT_TRUE(wire_run("test $(cat /sys/class/net/pv0/ifindex) = %d", attached.ifindex));
    CU_ASSERT_TRUE(wire_run("test $(cat /sys/class/net/pb0/ifindex) = %d", attached.master));
    CU_ASSERT_TRUE(wire_run("ip link del pb0"));
    TEST_OK(link_peer_read(path, "eth0", &detached, &error), error);
    CU_ASSERT_EQUAL(detached.ifindex, attached.ifindex);
    CU_ASSERT_EQUAL(detached.master, 0);
    CU_ASSERT_TRUE(wire_run("ip link del pv0"));
    TEST_FAILS(link_peer_read(path, "eth0", &attached, &error), error, STATUS_NOT_FOUND, "eth0");
    TEST_FAILS(link_peer_read(path, "lo", &attached, &error), error, STATUS_NOT_FOUND, "lo");
    TEST_OK(netns_delete(path, &error), error);
    TEST_FAILS(link_peer_read(path, "eth0", &attached, &error), error, STATUS_NOT_FOUND, path);
}

/* A frame of that type, recognisable by its tag. */
static gsize frame_make(guint8 *frame, guint16 type, const char *tag, gsize payload)
{
    static const guint8 addresses[12] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7};

    memcpy(frame, addresses, sizeof addresses);
    frame[12] = (guint8)(type >> 8);
    frame[13] = (guint8)type;
    memset(frame + ETH_HLEN, 0, payload);
    for (gsize i = 0; tag[i] != '\0'; i++)
        frame[ETH_HLEN + i] = (guint8)tag[i];
    return ETH_HLEN + payload;
}

/* Skips frames of others, such as the neighbour discovery of the veth. */
static gboolean frame_arrives(int fd, gsize header, const guint8 *frame, gsize length)
{
    guint8 buffer[4096];
    gint64 end = g_get_monotonic_time() + FRAME_WAIT_US;

    while (g_get_monotonic_time() < end) {
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        ssize_t got;

        if (poll(&polled, 1, 100) <= 0)
            continue;
        got = read(fd, buffer, sizeof buffer);
        if (got == (ssize_t)(header + length) && memcmp(buffer + header, frame, length) == 0)
            return TRUE;
    }
    return FALSE;
}

static void frames_pass(int guest, int host, guint16 type, gsize payload)
{
    guint8 packet[WIRE_VNET_HEADER_BYTES + 2048] = {0};
    guint8 *frame = packet + WIRE_VNET_HEADER_BYTES;
    gsize length = frame_make(frame, type, "to the guest", payload);

    CU_ASSERT_EQUAL(send(host, frame, length, 0), (ssize_t)length);
    CU_ASSERT_TRUE(frame_arrives(guest, WIRE_VNET_HEADER_BYTES, frame, length));
    length = frame_make(frame, type, "from the guest", payload);
    CU_ASSERT_EQUAL(write(guest, packet, WIRE_VNET_HEADER_BYTES + length),
                    (ssize_t)(WIRE_VNET_HEADER_BYTES + length));
    CU_ASSERT_TRUE(frame_arrives(host, 0, frame, length));
}

static void check_all_frames(int guest)
{
    static const guint16 types[] = {ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, ETH_P_PPP_DISC, ETH_P_LLDP, 0x88b5};
    int host = wire_packet_open("pv0");

    for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
        frames_pass(guest, host, types[i], 100);
    frames_pass(guest, host, 0x88b5, 1500);
    close(host);
}

static void frames_pass_both_ways(void)
{
    g_autofree char *path = wire_netns_path("wire");
    g_autoptr(GError) error = NULL;
    int guest = wire_make(path);

    TEST_OK(redirect_install(path, "eth0", "pt0", NULL, &error), error);
    check_all_frames(guest);
    TEST_OK(redirect_install(path, "eth0", "pt0", NULL, &error), error);
    check_all_frames(guest);
    CU_ASSERT_TRUE(
        wire_run("test $(nsenter --net=%s tc filter show dev eth0 ingress | grep -c mirred) = 1", path));
    wire_remove(path, guest);
}

/* Whether the address refuses a connection, as a kernel does that owns it. */
static gboolean address_answers(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pollfd polled = {.fd = fd, .events = POLLOUT};
    int problem = 0;
    socklen_t size = sizeof problem;

    inet_pton(AF_INET, address, &to.sin_addr);
    CU_ASSERT_EQUAL(connect(fd, (struct sockaddr *)&to, sizeof to), -1);
    poll(&polled, 1, 1000);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size);
    close(fd);
    return problem == ECONNREFUSED;
}

static void the_namespace_is_deaf(void)
{
    g_autofree char *path = wire_netns_path("deaf");
    g_autoptr(GError) error = NULL;
    int guest = wire_make(path);

    CU_ASSERT_TRUE(wire_run("ip addr add 10.232.0.1/24 dev pv0"));
    CU_ASSERT_TRUE(address_answers("10.232.0.2"));
    TEST_OK(redirect_install(path, "eth0", "pt0", NULL, &error), error);
    CU_ASSERT_FALSE(address_answers("10.232.0.2"));
    CU_ASSERT_TRUE(wire_run("nsenter --net=%s ip addr show dev eth0 | grep -q 10.232.0.2", path));
    wire_remove(path, guest);
}

static void frames_pass_a_plugins_qdisc(void)
{
    g_autofree char *path = wire_netns_path("clsact");
    g_autoptr(GError) error = NULL;
    int guest = wire_make(path);

    CU_ASSERT_TRUE(wire_run("nsenter --net=%s tc qdisc add dev eth0 clsact", path));
    TEST_OK(redirect_install(path, "eth0", "pt0", NULL, &error), error);
    check_all_frames(guest);
    wire_remove(path, guest);
}

static void redirect_needs_both_ends(void)
{
    g_autofree char *path = wire_netns_path("ends");
    g_autoptr(GError) error = NULL;

    TEST_FAILS(redirect_install(path, "eth0", "pt0", NULL, &error), error, STATUS_NOT_FOUND, path);
    TEST_OK(netns_create(path, &error), error);
    TEST_FAILS(redirect_install(path, "eth0", "pt0", NULL, &error), error, STATUS_NOT_FOUND,
               "interface eth0");
    TEST_FAILS(redirect_install(path, "lo", "pt0", NULL, &error), error, STATUS_NOT_FOUND, "interface pt0");
    TEST_OK(netns_delete(path, &error), error);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a namespace is made with lo up, and deleted with its mounts", namespaces_come_and_go},
        {"the file that a crash left is used for the namespace", namespace_file_of_a_crash_is_used},
        {"a namespace appears in, and disappears from, mount namespaces that are older",
         namespaces_reach_other_mount_namespaces},
        {"threads make and delete namespaces at the same time", threads_make_namespaces_at_once},
        {"a tap is made, moved, set up and deleted, and each may be repeated", taps_come_move_and_go},
        {"what an interface of a namespace is attached to on the node is seen, and its end",
         attachments_to_the_node_are_seen},
        {"only taps with the owner tag are found", taps_are_known_by_their_mark},
        {"frames of every kind pass both ways, installed once or twice", frames_pass_both_ways},
        {"the kernel of the namespace no longer answers, and keeps the addresses", the_namespace_is_deaf},
        {"frames pass where a plugin has put a qdisc of its own", frames_pass_a_plugins_qdisc},
        {"a redirect without one of its ends is refused", redirect_needs_both_ends},
    };
    int code = wire_isolate("podnet");

    if (code != 0)
        return code;
    return test_main_args("podnet", cases, G_N_ELEMENTS(cases), argc, argv);
}

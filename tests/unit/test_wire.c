/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test_wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cni-bridge/podnet.h"
#include "tests/unit/harness.h"

static char *directory;

/* Outside of a test CUnit has nothing that could fail. */
static void must(gboolean done, GError *error)
{
    g_assert_no_error(error);
    g_assert_true(done);
}

int wire_isolate(const char *suite)
{
    if (geteuid() != 0) {
        printf("skip %s: needs root\n", suite);
        return WIRE_SKIPPED;
    }
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        printf("skip %s: cannot make namespaces: %s\n", suite, g_strerror(errno));
        return WIRE_SKIPPED;
    }
    /* sysfs shows the namespace in which it was mounted. */
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    wire_run("ip link set lo up");
    directory = test_directory();
    return 0;
}

gboolean wire_run(const char *format, ...)
{
    g_autofree char *command = NULL;
    const char *argv[] = {"/bin/sh", "-c", NULL, NULL};
    va_list list;
    int status = -1;

    va_start(list, format);
    command = g_strdup_vprintf(format, list);
    va_end(list);
    argv[2] = command;
    return g_spawn_sync(NULL, (char **)(void *)argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL,
                        &status, NULL) &&
           status == 0;
}

char *wire_netns_path(const char *name)
{
    return g_build_filename(directory, "netns", name, NULL);
}

const char *wire_directory(void)
{
    return directory;
}

static int tap_open(const char *name)
{
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)};
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    g_strlcpy(request.ifr_name, name, IFNAMSIZ);
    g_assert_cmpint(ioctl(fd, TUNSETIFF, &request), ==, 0);
    return fd;
}

int wire_make(const char *netns_path)
{
    g_autoptr(GError) error = NULL;
    int guest;

    must(netns_create(netns_path, &error), error);
    g_assert_true(
        wire_run("ip link add pv0 type veth peer name eth0 netns %s && ip link set pv0 up", netns_path));
    g_assert_true(wire_run("nsenter --net=%s sh -c 'ip link set eth0 up; ip addr add 10.232.0.2/24 dev eth0'",
                           netns_path));
    must(tap_create(WIRE_TAP, 0, "one", &error), error);
    guest = tap_open(WIRE_TAP);
    must(tap_move(WIRE_TAP, netns_path, 1500, &error), error);
    return guest;
}

void wire_remove(const char *netns_path, int guest)
{
    g_autoptr(GError) error = NULL;

    must(tap_delete(WIRE_TAP, netns_path, &error), error);
    close(guest);
    wire_run("ip link del pv0");
    must(netns_delete(netns_path, &error), error);
}

int wire_packet_open(const char *ifname)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));

    address.sll_ifindex = (int)if_nametoindex(ifname);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    return fd;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/wake_socket.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cni-bridge/netlink.h"
#include "cni-bridge/podnet.h"
#include "cni-bridge/wake_frames.h"
#include "common/error.h"

enum {
    QUEUE_BYTES = 256 << 10, /* of the kernel's memory, for each hibernated pod that is sent something */
    PACKET_BYTES = 80 << 10, /* more than a frame that the kernel has merged, with its vnet header */
    PASS_ON_MAX = 4096,      /* more than the queue holds */
    VNET_HEADER_ROOM = 64,
};

static gboolean option_set(int fd, int level, int name, int value, const char *what, GError **error)
{
    return setsockopt(fd, level, name, &value, sizeof value) == 0 ||
           fail_errno(error, errno, "cannot set %s of a packet socket", what);
}

/* Before it is bound, a socket of no protocol gets no frames, so that none comes in without the filter. */
static gboolean filter_attach(int fd, struct sock_filter *code, guint length, GError **error)
{
    const struct sock_fprog program = {.len = (unsigned short)length, .filter = code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0 ||
           fail_errno(error, errno, "cannot attach the filter of a packet socket");
}

static gboolean bind_to(int fd, int ifindex, guint16 protocol, GError **error)
{
    const struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(protocol),
        .sll_ifindex = ifindex,
    };

    return bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 ||
           fail_errno(error, errno, "cannot bind a packet socket");
}

/* The vnet header says what of a packet's checksum and segments is left to do: packets of this node's own
 * programs have neither yet. */
static int socket_new(GError **error)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        fail_errno(error, errno, "cannot open a packet socket");
        return -1;
    }
    if (option_set(fd, SOL_PACKET, PACKET_VNET_HDR, 1, "PACKET_VNET_HDR", error) &&
        option_set(fd, SOL_SOCKET, SO_RCVBUF, QUEUE_BYTES, "SO_RCVBUF", error))
        return fd;
    close(fd);
    return -1;
}

static gboolean socket_open(gpointer ret_fd, GError **error)
{
    *(int *)ret_fd = socket_new(error);
    return *(int *)ret_fd >= 0;
}

/* What a socket of the namespace is opened for. */
static NetlinkLink *link_find(const char *netns_path, const char *ifname, GError **error)
{
    g_autoptr(NetlinkSocket) netlink = netlink_open(netns_path, error);

    return netlink != NULL ? netlink_link_get(netlink, ifname, error) : NULL;
}

static GArray *filter_for(NetlinkLink *link, const GPtrArray *addresses, GError **error)
{
    struct nl_addr *mac = rtnl_link_get_addr(link);

    if (mac == NULL || nl_addr_get_len(mac) != ETH_ALEN) {
        fail(error, STATUS_INTERNAL, "interface %s has no Ethernet address", rtnl_link_get_name(link));
        return NULL;
    }
    return wake_frames_program(nl_addr_get_binary_addr(mac), addresses, error);
}

int wake_socket_open(const char *netns_path, const char *ifname, const GPtrArray *addresses, GError **error)
{
    g_autoptr(NetlinkLink) link = link_find(netns_path, ifname, error);
    g_autoptr(GArray) filter = link != NULL ? filter_for(link, addresses, error) : NULL;
    int fd;

    if (filter == NULL || !netns_run(netns_path, socket_open, &fd, error))
        return -1;
    if (filter_attach(fd, (struct sock_filter *)(void *)filter->data, filter->len, error) &&
        bind_to(fd, rtnl_link_get_ifindex(link), ETH_P_ALL, error))
        return fd;
    close(fd);
    return -1;
}

gboolean wake_socket_pause(int fd, GError **error)
{
    struct sock_filter refuse = BPF_STMT(BPF_RET | BPF_K, 0);

    return filter_attach(fd, &refuse, 1, error);
}

/* A frame that the tap does not take is lost, as it would be on a wire. */
static guint pass_on(int from, int to)
{
    g_autofree guint8 *packet = g_malloc(PACKET_BYTES);
    guint n = 0;

    for (guint i = 0; i < PASS_ON_MAX; i++) {
        ssize_t length = recv(from, packet, PACKET_BYTES, MSG_TRUNC);

        if (length < 0)
            break;
        if (length <= PACKET_BYTES && send(to, packet, (size_t)length, 0) == length)
            n++;
    }
    return n;
}

guint wake_socket_pass_on(int fd, const char *netns_path, const char *tap, GError **error)
{
    g_autoptr(NetlinkLink) link = link_find(netns_path, tap, error);
    guint n = 0;
    int to;

    if (link == NULL || !netns_run(netns_path, socket_open, &to, error))
        return 0;
    if (bind_to(to, rtnl_link_get_ifindex(link), 0, error))
        n = pass_on(fd, to);
    close(to);
    return n;
}

void wake_socket_drain(int fd)
{
    guint8 begin[VNET_HEADER_ROOM]; /* the rest of a frame is dropped */

    for (guint i = 0; i < PASS_ON_MAX && recv(fd, begin, sizeof begin, MSG_TRUNC) >= 0; i++)
        continue;
}

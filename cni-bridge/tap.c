/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/route/link.h>
#include <netlink/route/link/inet6.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cni-bridge/netlink.h"
#include "cni-bridge/podnet.h"
#include "common/error.h"

static gboolean tap_mark(const char *name, const char *owner_tag, GError **error)
{
    g_autoptr(NetlinkSocket) netlink = netlink_open("", error);
    g_autoptr(NetlinkLink) link = netlink != NULL ? netlink_link_get(netlink, name, error) : NULL;
    g_autoptr(NetlinkLink) change = NULL;
    int result;

    if (link == NULL)
        return FALSE;
    change = rtnl_link_alloc();
    rtnl_link_set_ifalias(change, owner_tag);
    result = rtnl_link_change(netlink, link, change, 0);
    return result >= 0 || netlink_fail(error, result, "cannot owner_tag tap %s", name);
}

static gboolean tap_configure(int fd, const char *name, guint owner, const char *owner_tag, GError **error)
{
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL)};

    if (*name == '\0' || g_strlcpy(request.ifr_name, name, IFNAMSIZ) >= IFNAMSIZ)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not an interface name", name);
    if (ioctl(fd, TUNSETIFF, &request) != 0) {
        if (errno == EBUSY)
            return fail(error, STATUS_ALREADY_EXISTS, "interface %s exists already", name);
        return fail_errno(error, errno, "cannot make tap %s", name);
    }
    if (ioctl(fd, TUNSETOWNER, (unsigned long)owner) != 0)
        return fail_errno(error, errno, "cannot give tap %s to user %u", name, owner);
    if (!tap_mark(name, owner_tag, error))
        return FALSE;
    /* This comes last: until here, closing fd deletes the tap. */
    if (ioctl(fd, TUNSETPERSIST, 1UL) != 0)
        return fail_errno(error, errno, "cannot keep tap %s", name);
    return TRUE;
}

typedef struct {
    const char *name;
    guint owner;
    const char *owner_tag;
    gboolean good;
    GError *error;
} TapJob;

static gpointer tap_thread(gpointer data)
{
    TapJob *job = data;
    int fd = unshare(CLONE_FILES) == 0 ? open("/dev/net/tun", O_RDWR | O_CLOEXEC) : -1;

    if (fd < 0) {
        fail_errno(&job->error, errno, "cannot open /dev/net/tun");
        return NULL;
    }
    job->good = tap_configure(fd, job->name, job->owner, job->owner_tag, &job->error);
    close(fd);
    return NULL;
}

/* Runs in a thread with a table of files of its own: a child that another thread starts just now, a CNI
 * plugin, would have the tap open as well until it executes its program, and QEMU would find it busy. */
gboolean tap_create(const char *name, guint owner, const char *owner_tag, GError **error)
{
    TapJob job = {.name = name, .owner = owner, .owner_tag = owner_tag};

    g_thread_join(g_thread_new("tap", tap_thread, &job));
    if (job.error != NULL)
        g_propagate_error(error, job.error);
    return job.good;
}

gboolean tap_list(const char *owner_tag, GPtrArray **ret_names, GError **error)
{
    g_autoptr(NetlinkSocket) netlink = netlink_open("", error);
    struct nl_cache *links;
    GPtrArray *names;
    int result;

    if (netlink == NULL)
        return FALSE;
    result = rtnl_link_alloc_cache(netlink, AF_UNSPEC, &links);
    if (result < 0)
        return netlink_fail(error, result, "cannot list the interfaces");
    names = g_ptr_array_new_with_free_func(g_free);
    for (struct nl_object *one = nl_cache_get_first(links); one != NULL; one = nl_cache_get_next(one)) {
        NetlinkLink *link = (NetlinkLink *)one;

        if (g_strcmp0(rtnl_link_get_ifalias(link), owner_tag) == 0)
            g_ptr_array_add(names, g_strdup(rtnl_link_get_name(link)));
    }
    nl_cache_free(links);
    *ret_names = names;
    return TRUE;
}

static gboolean tap_send(NetlinkSocket *netlink, const char *name, const char *netns_path, GError **error)
{
    g_autoptr(NetlinkLink) link = netlink_link_get(netlink, name, error);
    g_autoptr(NetlinkLink) change = NULL;
    int netns_fd;
    int result;

    if (link == NULL)
        return FALSE;
    netns_fd = open(netns_path, O_RDONLY | O_CLOEXEC);
    if (netns_fd < 0)
        return fail_errno(error, errno, "cannot open network namespace %s", netns_path);
    change = rtnl_link_alloc();
    rtnl_link_set_ns_fd(change, netns_fd);
    result = rtnl_link_change(netlink, link, change, 0);
    close(netns_fd);
    if (result < 0)
        return netlink_fail(error, result, "cannot move tap %s to %s", name, netns_path);
    return TRUE;
}

/* The tap is a wire: the namespace's kernel must not send frames of its own on it. Where IPv6 is compiled out
 * there is nothing to silence. */
static void tap_silence(NetlinkSocket *netlink, NetlinkLink *link)
{
    g_autoptr(NetlinkLink) change = rtnl_link_alloc();

    if (rtnl_link_inet6_set_addr_gen_mode(change, IN6_ADDR_GEN_MODE_NONE) == 0)
        rtnl_link_change(netlink, link, change, 0);
}

gboolean tap_move(const char *name, const char *netns_path, guint mtu, GError **error)
{
    g_autoptr(NetlinkSocket) outside = netlink_open("", error);
    g_autoptr(NetlinkSocket) inside = outside != NULL ? netlink_open(netns_path, error) : NULL;
    g_autoptr(NetlinkLink) link = NULL;
    g_autoptr(GError) problem = NULL;

    if (inside == NULL)
        return FALSE;
    /* A move that was interrupted is finished here: the tap may be in the namespace already. */
    if (!tap_send(outside, name, netns_path, &problem) && problem->code != STATUS_NOT_FOUND) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    link = netlink_link_get(inside, name, error);
    if (link == NULL)
        return FALSE;
    tap_silence(inside, link);
    return netlink_link_set_up(inside, name, mtu, error);
}

gboolean tap_delete(const char *name, const char *netns_path, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autoptr(NetlinkSocket) netlink = netlink_open(netns_path, &problem);
    g_autoptr(NetlinkLink) link = netlink != NULL ? netlink_link_get(netlink, name, &problem) : NULL;
    int result;

    if (link == NULL) {
        if (problem->code == STATUS_NOT_FOUND)
            return TRUE;
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    result = rtnl_link_delete(netlink, link);
    if (result < 0 && result != -NLE_OBJ_NOTFOUND && result != -NLE_NODEV)
        return netlink_fail(error, result, "cannot delete tap %s", name);
    return TRUE;
}

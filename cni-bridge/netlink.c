/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <sched.h>
#include <unistd.h>

#include "common/error.h"

gboolean netlink_fail(GError **error, int result, const char *format, ...)
{
    StatusCode code = STATUS_INTERNAL;
    g_autofree char *doing = NULL;
    va_list args;

    va_start(args, format);
    doing = g_strdup_vprintf(format, args);
    va_end(args);
    if (result == -NLE_OBJ_NOTFOUND || result == -NLE_NODEV)
        code = STATUS_NOT_FOUND;
    else if (result == -NLE_EXIST)
        code = STATUS_ALREADY_EXISTS;
    else if (result == -NLE_PERM || result == -NLE_NOACCESS)
        code = STATUS_PERMISSION_DENIED;
    return fail(error, code, "%s: %s", doing, nl_geterror(result));
}

static NetlinkSocket *socket_connect(GError **error)
{
    g_autoptr(NetlinkSocket) netlink = nl_socket_alloc();
    int result;

    if (netlink == NULL) {
        fail(error, STATUS_RESOURCE_EXHAUSTED, "no memory for a netlink socket");
        return NULL;
    }
    result = nl_connect(netlink, NETLINK_ROUTE);
    if (result < 0) {
        netlink_fail(error, result, "cannot open a netlink socket");
        return NULL;
    }
    return g_steal_pointer(&netlink);
}

typedef struct {
    int netns_fd;
    NetlinkSocket *netlink;
    GError *error;
} OpenJob;

/* Runs in a thread of its own, because it leaves the namespace of its thread. */
static gpointer open_inside(gpointer data)
{
    OpenJob *job = data;

    if (setns(job->netns_fd, CLONE_NEWNET) == 0)
        job->netlink = socket_connect(&job->error);
    else
        fail_errno(&job->error, errno, "cannot enter the network namespace");
    return NULL;
}

NetlinkSocket *netlink_open(const char *netns_path, GError **error)
{
    OpenJob job = {0};
    GThread *thread;

    if (*netns_path == '\0')
        return socket_connect(error);
    job.netns_fd = open(netns_path, O_RDONLY | O_CLOEXEC);
    if (job.netns_fd < 0) {
        fail_errno(error, errno, "cannot open network namespace %s", netns_path);
        return NULL;
    }
    thread = g_thread_try_new("netns", open_inside, &job, &job.error);
    if (thread != NULL)
        g_thread_join(thread);
    close(job.netns_fd);
    if (job.netlink == NULL) {
        error_adopt(&job.error);
        g_propagate_prefixed_error(error, job.error, "%s: ", netns_path);
    }
    return job.netlink;
}

void netlink_close(NetlinkSocket *netlink)
{
    if (netlink != NULL)
        nl_socket_free(netlink);
}

void netlink_link_free(NetlinkLink *link)
{
    if (link != NULL)
        rtnl_link_put(link);
}

NetlinkLink *netlink_link_get(NetlinkSocket *netlink, const char *name, GError **error)
{
    NetlinkLink *link = NULL;
    int result = rtnl_link_get_kernel(netlink, 0, name, &link);

    if (result < 0) {
        netlink_fail(error, result, "cannot find interface %s", name);
        return NULL;
    }
    return link;
}

gboolean netlink_link_set_up(NetlinkSocket *netlink, const char *name, guint mtu, GError **error)
{
    g_autoptr(NetlinkLink) link = netlink_link_get(netlink, name, error);
    g_autoptr(NetlinkLink) change = NULL;
    int result;

    if (link == NULL)
        return FALSE;
    change = rtnl_link_alloc();
    rtnl_link_set_flags(change, IFF_UP);
    if (mtu != 0)
        rtnl_link_set_mtu(change, mtu);
    result = rtnl_link_change(netlink, link, change, 0);
    if (result < 0)
        return netlink_fail(error, result, "cannot set interface %s up", name);
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/netlink.h"

#include <linux/netlink.h>
#include <net/if.h>
#include <netlink/netlink.h>

#include "cni-bridge/podnet.h"
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

static gboolean open_inside(gpointer data, GError **error)
{
    NetlinkSocket **netlink = data;

    *netlink = socket_connect(error);
    return *netlink != NULL;
}

NetlinkSocket *netlink_open(const char *netns_path, GError **error)
{
    NetlinkSocket *netlink = NULL;

    if (*netns_path == '\0')
        return socket_connect(error);
    return netns_run(netns_path, open_inside, &netlink, error) ? netlink : NULL;
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

/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/link_peer.h"

#include "cni-bridge/netlink.h"
#include "common/error.h"

gboolean link_peer_read(const char *netns_path, const char *ifname, LinkPeer *ret_peer, GError **error)
{
    g_autoptr(NetlinkSocket) inside = netlink_open(netns_path, error);
    g_autoptr(NetlinkLink) link = inside != NULL ? netlink_link_get(inside, ifname, error) : NULL;
    g_autoptr(NetlinkSocket) node = link != NULL ? netlink_open("", error) : NULL;
    g_autoptr(NetlinkLink) peer = NULL;
    int ifindex;

    if (node == NULL)
        return FALSE;
    ifindex = rtnl_link_get_link(link);
    if (ifindex == 0 || rtnl_link_get_kernel(node, ifindex, NULL, &peer) < 0)
        return fail(error, STATUS_NOT_FOUND, "%s is attached to nothing on the node", ifname);
    *ret_peer = (LinkPeer){.ifindex = ifindex, .master = rtnl_link_get_master(peer)};
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/link_state.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include "cni-bridge/cni_result.h"
#include "cni-bridge/netlink.h"

enum { IPV6_DEFAULT_METRIC = 1024 };

void link_state_clear(LinkState *state)
{
    g_clear_pointer(&state->mac, g_free);
    g_clear_pointer(&state->routes, g_ptr_array_unref);
}

static char *address_text(struct nl_addr *address)
{
    char text[INET6_ADDRSTRLEN];

    if (inet_ntop(nl_addr_get_family(address), nl_addr_get_binary_addr(address), text, sizeof text) == NULL)
        return NULL;
    return g_strdup(text);
}

static char *destination_text(struct rtnl_route *route)
{
    struct nl_addr *destination = rtnl_route_get_dst(route);
    g_autofree char *address = NULL;

    /* A default route may have a destination without bytes. */
    if (destination == NULL || nl_addr_get_prefixlen(destination) == 0)
        return g_strdup(rtnl_route_get_family(route) == AF_INET6 ? "::/0" : "0.0.0.0/0");
    address = address_text(destination);
    return address != NULL ? g_strdup_printf("%s/%u", address, nl_addr_get_prefixlen(destination)) : NULL;
}

/* The routes that the guest cannot find out by itself: those of addresses come with the addresses, those of
 * router advertisements reach it as advertisements. */
static gboolean route_is_wanted(struct rtnl_route *route)
{
    guint8 protocol = rtnl_route_get_protocol(route);

    return rtnl_route_get_table(route) == RT_TABLE_MAIN && rtnl_route_get_type(route) == RTN_UNICAST &&
           protocol != RTPROT_KERNEL && protocol != RTPROT_RA && rtnl_route_get_nnexthops(route) == 1 &&
           (rtnl_route_get_family(route) == AF_INET || rtnl_route_get_family(route) == AF_INET6);
}

static CniRoute *route_convert(struct rtnl_route *route, struct rtnl_nexthop *hop)
{
    g_autofree char *destination = destination_text(route);
    struct nl_addr *via = rtnl_route_nh_get_gateway(hop);
    g_autofree char *gateway = via != NULL ? address_text(via) : NULL;
    guint32 metric = rtnl_route_get_priority(route);
    guint32 mtu = 0;

    if (destination == NULL)
        return NULL;
    if (rtnl_route_get_metric(route, RTAX_MTU, &mtu) < 0)
        mtu = 0;
    if (rtnl_route_get_family(route) == AF_INET6 && metric == IPV6_DEFAULT_METRIC)
        metric = 0;
    return cni_route_copy(
        &(CniRoute){.destination = destination, .gateway = gateway, .mtu = mtu, .metric = metric});
}

typedef struct {
    int ifindex;
    GPtrArray *routes;
    gboolean on_link; /* which half is collected now */
} Collection;

static void route_collect(struct nl_object *object, void *data)
{
    struct rtnl_route *route = (struct rtnl_route *)object;
    Collection *collection = data;
    struct rtnl_nexthop *hop;
    CniRoute *converted;

    if (!route_is_wanted(route))
        return;
    hop = rtnl_route_nexthop_n(route, 0);
    if (rtnl_route_nh_get_ifindex(hop) != collection->ifindex)
        return;
    converted = route_convert(route, hop);
    if (converted != NULL && (converted->gateway == NULL) == collection->on_link)
        g_ptr_array_add(collection->routes, converted);
    else
        cni_route_free(converted);
}

/* A gateway can be on a route of its own: that one must be installed before. */
static GPtrArray *routes_read(NetlinkSocket *netlink, int ifindex, GError **error)
{
    Collection collection = {.ifindex = ifindex, .on_link = TRUE};
    struct nl_cache *cache = NULL;
    int result = rtnl_route_alloc_cache(netlink, AF_UNSPEC, 0, &cache);

    if (result < 0) {
        netlink_fail(error, result, "cannot list routes");
        return NULL;
    }
    collection.routes = g_ptr_array_new_with_free_func(cni_route_free);
    nl_cache_foreach(cache, route_collect, &collection);
    collection.on_link = FALSE;
    nl_cache_foreach(cache, route_collect, &collection);
    nl_cache_free(cache);
    return collection.routes;
}

gboolean link_state_read(const char *netns_path, const char *ifname, LinkState *ret_state, GError **error)
{
    g_autoptr(NetlinkSocket) netlink = netlink_open(netns_path, error);
    g_autoptr(NetlinkLink) link = netlink != NULL ? netlink_link_get(netlink, ifname, error) : NULL;
    GPtrArray *routes = link != NULL ? routes_read(netlink, rtnl_link_get_ifindex(link), error) : NULL;
    char mac[64];

    if (routes == NULL)
        return FALSE;
    nl_addr2str(rtnl_link_get_addr(link), mac, sizeof mac);
    *ret_state = (LinkState){.mac = g_strdup(mac), .mtu = rtnl_link_get_mtu(link), .routes = routes};
    return TRUE;
}

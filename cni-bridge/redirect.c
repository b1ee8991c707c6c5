/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <netlink/errno.h>
#include <netlink/route/act/mirred.h>
#include <netlink/route/action.h>
#include <netlink/route/classifier.h>
#include <netlink/route/cls/u32.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/tc.h>

#include "cni-bridge/netlink.h"
#include "cni-bridge/podnet.h"
#include "common/error.h"

/* Before all filters of plugins: every frame goes to the guest. */
enum { REDIRECT_PRIORITY = 1 };

/* TC_H_CLSACT equals TC_H_INGRESS: this parent is the ingress hook of both qdiscs. */
static const guint32 inward_hook = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS);

/* An ingress qdisc that a plugin has made is used. */
static gboolean ingress_ensure(NetlinkSocket *netlink, NetlinkLink *link, GError **error)
{
    struct rtnl_qdisc *qdisc = rtnl_qdisc_alloc();
    int result;

    rtnl_tc_set_link(TC_CAST(qdisc), link);
    rtnl_tc_set_parent(TC_CAST(qdisc), TC_H_INGRESS);
    rtnl_tc_set_handle(TC_CAST(qdisc), TC_H_MAKE(TC_H_INGRESS, 0));
    result = rtnl_tc_set_kind(TC_CAST(qdisc), "ingress");
    if (result == 0)
        result = rtnl_qdisc_add(netlink, qdisc, NLM_F_CREATE | NLM_F_EXCL);
    rtnl_qdisc_put(qdisc);
    if (result < 0 && result != -NLE_EXIST)
        return netlink_fail(error, result,
                            "cannot make an ingress qdisc on %s (load the kernel module sch_ingress?)",
                            rtnl_link_get_name(link));
    return TRUE;
}

static struct rtnl_cls *filter_new(NetlinkLink *link)
{
    struct rtnl_cls *filter = rtnl_cls_alloc();

    rtnl_tc_set_link(TC_CAST(filter), link);
    rtnl_tc_set_parent(TC_CAST(filter), inward_hook);
    rtnl_cls_set_prio(filter, REDIRECT_PRIORITY);
    rtnl_cls_set_protocol(filter, ETH_P_ALL);
    return filter;
}

/* Removes what an interrupted installation left; usually there is nothing. */
static void filter_remove(NetlinkSocket *netlink, NetlinkLink *link)
{
    struct rtnl_cls *filter = filter_new(link);

    rtnl_cls_delete(netlink, filter, 0);
    rtnl_cls_put(filter);
}

static struct rtnl_act *redirect_action_new(NetlinkLink *to)
{
    struct rtnl_act *action = rtnl_act_alloc();

    if (action == NULL || rtnl_tc_set_kind(TC_CAST(action), "mirred") < 0) {
        if (action != NULL)
            rtnl_act_put(action);
        return NULL;
    }
    rtnl_mirred_set_action(action, TCA_EGRESS_REDIR);
    rtnl_mirred_set_policy(action, TC_ACT_STOLEN);
    rtnl_mirred_set_ifindex(action, (guint32)rtnl_link_get_ifindex(to));
    return action;
}

/* Every frame that arrives at from leaves through to. */
static gboolean redirect_frames(NetlinkSocket *netlink, NetlinkLink *from, NetlinkLink *to, GError **error)
{
    struct rtnl_cls *filter;
    struct rtnl_act *action;
    int result;

    if (!ingress_ensure(netlink, from, error))
        return FALSE;
    filter_remove(netlink, from);
    filter = filter_new(from);
    result = rtnl_tc_set_kind(TC_CAST(filter), "u32");
    if (result == 0)
        result = rtnl_u32_add_key_uint32(filter, 0, 0, 0, 0);
    if (result == 0)
        result = rtnl_u32_set_cls_terminal(filter);
    action = redirect_action_new(to);
    if (result == 0)
        result = action != NULL ? rtnl_u32_add_action(filter, action) : -NLE_NOMEM;
    if (result == 0)
        result = rtnl_cls_add(netlink, filter, NLM_F_CREATE | NLM_F_EXCL);
    if (action != NULL)
        rtnl_act_put(action);
    rtnl_cls_put(filter);
    if (result < 0)
        return netlink_fail(
            error, result,
            "cannot redirect frames from %s to %s (load the kernel modules cls_u32 and act_mirred?)",
            rtnl_link_get_name(from), rtnl_link_get_name(to));
    return TRUE;
}

gboolean redirect_install(const char *netns_path, const char *ifname, const char *tap, GError **error)
{
    g_autoptr(NetlinkSocket) netlink = netlink_open(netns_path, error);
    g_autoptr(NetlinkLink) outer = netlink != NULL ? netlink_link_get(netlink, ifname, error) : NULL;
    g_autoptr(NetlinkLink) inner = outer != NULL ? netlink_link_get(netlink, tap, error) : NULL;

    if (inner == NULL)
        return FALSE;
    /* A frame that fits one end must fit the other; the tap may have been moved before ADD chose the MTU. */
    return netlink_link_set_up(netlink, tap, rtnl_link_get_mtu(outer), error) &&
           redirect_frames(netlink, outer, inner, error) && redirect_frames(netlink, inner, outer, error);
}

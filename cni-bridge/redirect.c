/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/act/mirred.h>
#include <netlink/route/action.h>
#include <netlink/route/classifier.h>
#include <netlink/route/cls/u32.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/tc.h>

#include "cni-bridge/netlink.h"
#include "cni-bridge/own_frames.h"
#include "cni-bridge/podnet.h"
#include "cni-bridge/wake_frames.h"
#include "common/error.h"

/* Before all filters of plugins: no other filter gets a frame. What is behind the redirect gets the frames
 * that it does not take: of the tap those that are not the pod's own, of eth0 all while there is no redirect.
 */
enum { REDIRECT_PRIORITY = 1, REST_PRIORITY };

/* Room for what a message about a program has beside the program. */
enum { PROGRAM_MESSAGE_BYTES = 1024 };

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

static struct rtnl_cls *filter_new(NetlinkLink *link, guint16 priority)
{
    struct rtnl_cls *filter = rtnl_cls_alloc();

    rtnl_tc_set_link(TC_CAST(filter), link);
    rtnl_tc_set_parent(TC_CAST(filter), inward_hook);
    rtnl_cls_set_prio(filter, priority);
    rtnl_cls_set_protocol(filter, ETH_P_ALL);
    return filter;
}

/* Removes what an interrupted installation left; usually there is nothing. */
static void filter_remove(NetlinkSocket *netlink, NetlinkLink *link, guint16 priority)
{
    struct rtnl_cls *filter = filter_new(link, priority);

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

/* Every frame that the filter gets leaves through to. */
static int add_match_all(NetlinkSocket *netlink, NetlinkLink *from, struct rtnl_act *action)
{
    struct rtnl_cls *filter = filter_new(from, REDIRECT_PRIORITY);
    int result = rtnl_tc_set_kind(TC_CAST(filter), "u32");

    if (result == 0)
        result = rtnl_u32_add_key_uint32(filter, 0, 0, 0, 0);
    if (result == 0)
        result = rtnl_u32_set_cls_terminal(filter);
    if (result == 0)
        result = rtnl_u32_add_action(filter, action);
    if (result == 0)
        result = rtnl_cls_add(netlink, filter, NLM_F_CREATE | NLM_F_EXCL);
    rtnl_cls_put(filter);
    return result;
}

/* Every frame that arrives at from leaves through to. */
static gboolean redirect_all(NetlinkSocket *netlink, NetlinkLink *from, NetlinkLink *to, GError **error)
{
    struct rtnl_act *action = redirect_action_new(to);
    int result = action != NULL ? add_match_all(netlink, from, action) : -NLE_NOMEM;

    if (action != NULL)
        rtnl_act_put(action);
    if (result < 0)
        return netlink_fail(
            error, result,
            "cannot redirect frames from %s to %s (load the kernel modules cls_u32 and act_mirred?)",
            rtnl_link_get_name(from), rtnl_link_get_name(to));
    return TRUE;
}

/* libnl has no class for BPF filters. Without an action what the program returns is one (TC_ACT_…). */
static int put_program(struct nl_msg *message, const struct sock_filter *code, guint length,
                       struct rtnl_act *action)
{
    struct nlattr *options = nla_nest_start(message, TCA_OPTIONS);

    if (options == NULL || nla_put_u16(message, TCA_BPF_OPS_LEN, (guint16)length) < 0 ||
        nla_put(message, TCA_BPF_OPS, (int)(length * sizeof *code), code) < 0)
        return -NLE_NOMEM;
    if (action != NULL ? rtnl_act_fill(message, TCA_BPF_ACT, action) < 0
                       : nla_put_u32(message, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT) < 0)
        return -NLE_NOMEM;
    return nla_nest_end(message, options);
}

static struct nl_msg *program_message_new(NetlinkLink *link, guint16 priority, gsize code_bytes)
{
    const struct tcmsg header = {
        .tcm_family = AF_UNSPEC,
        .tcm_ifindex = rtnl_link_get_ifindex(link),
        .tcm_parent = inward_hook,
        .tcm_info = TC_H_MAKE((guint32)priority << 16, htons(ETH_P_ALL)),
    };
    struct nl_msg *message = nlmsg_alloc_size(code_bytes + PROGRAM_MESSAGE_BYTES);

    if (message == NULL)
        return NULL;
    if (nlmsg_put(message, NL_AUTO_PORT, NL_AUTO_SEQ, RTM_NEWTFILTER, 0, NLM_F_CREATE | NLM_F_EXCL) == NULL ||
        nlmsg_append(message, (void *)&header, sizeof header, NLMSG_ALIGNTO) < 0 ||
        nla_put_string(message, TCA_KIND, "bpf") < 0) {
        nlmsg_free(message);
        return NULL;
    }
    return message;
}

static int add_program(NetlinkSocket *netlink, NetlinkLink *link, guint16 priority,
                       const struct sock_filter *code, guint length, struct rtnl_act *action)
{
    struct nl_msg *message = program_message_new(link, priority, length * sizeof *code);
    int result = message != NULL ? put_program(message, code, length, action) : -NLE_NOMEM;

    if (result >= 0)
        return nl_send_sync(netlink, message); /* frees it */
    if (message != NULL)
        nlmsg_free(message);
    return result;
}

/* The qdisc counts what this filter refuses as dropped. */
static int add_refuse_rest(NetlinkSocket *netlink, NetlinkLink *from)
{
    const struct sock_filter refuse[] = {BPF_STMT(BPF_RET | BPF_K, TC_ACT_SHOT)};

    return add_program(netlink, from, REST_PRIORITY, refuse, G_N_ELEMENTS(refuse), NULL);
}

/* The pod's own frames that arrive at from leave through to; all others are dropped. */
static gboolean redirect_program(NetlinkSocket *netlink, NetlinkLink *from, NetlinkLink *to,
                                 const GArray *code, GError **error)
{
    struct rtnl_act *action = redirect_action_new(to);
    int result = action != NULL ? add_refuse_rest(netlink, from) : -NLE_NOMEM;

    if (result >= 0)
        result = add_program(netlink, from, REDIRECT_PRIORITY, (const struct sock_filter *)(void *)code->data,
                             code->len, action);
    if (action != NULL)
        rtnl_act_put(action);
    if (result < 0)
        return netlink_fail(error, result,
                            "cannot filter frames from %s to %s (load the kernel modules cls_bpf and "
                            "act_mirred, or set network.own_addresses_only = false?)",
                            rtnl_link_get_name(from), rtnl_link_get_name(to));
    return TRUE;
}

static gboolean redirect_own(NetlinkSocket *netlink, NetlinkLink *from, NetlinkLink *to,
                             const GPtrArray *addresses, GError **error)
{
    struct nl_addr *mac = rtnl_link_get_addr(to);
    g_autoptr(GArray) code = NULL;

    if (mac == NULL || nl_addr_get_len(mac) != ETH_ALEN)
        return fail(error, STATUS_INTERNAL, "interface %s has no Ethernet address", rtnl_link_get_name(to));
    code = own_frames_program(nl_addr_get_binary_addr(mac), addresses, error);
    return code != NULL && redirect_program(netlink, from, to, code, error);
}

static gboolean redirect_inward(NetlinkSocket *netlink, NetlinkLink *outer, NetlinkLink *inner,
                                GError **error)
{
    if (!ingress_ensure(netlink, outer, error))
        return FALSE;
    filter_remove(netlink, outer, REDIRECT_PRIORITY);
    return redirect_all(netlink, outer, inner, error);
}

static gboolean redirect_outward(NetlinkSocket *netlink, NetlinkLink *inner, NetlinkLink *outer,
                                 const GPtrArray *own_addresses, GError **error)
{
    if (!ingress_ensure(netlink, inner, error))
        return FALSE;
    filter_remove(netlink, inner, REDIRECT_PRIORITY);
    filter_remove(netlink, inner, REST_PRIORITY);
    if (own_addresses == NULL)
        return redirect_all(netlink, inner, outer, error);
    return redirect_own(netlink, inner, outer, own_addresses, error);
}

gboolean redirect_install(const char *netns_path, const char *ifname, const char *tap,
                          const GPtrArray *own_addresses, GError **error)
{
    g_autoptr(NetlinkSocket) netlink = netlink_open(netns_path, error);
    g_autoptr(NetlinkLink) outer = netlink != NULL ? netlink_link_get(netlink, ifname, error) : NULL;
    g_autoptr(NetlinkLink) inner = outer != NULL ? netlink_link_get(netlink, tap, error) : NULL;

    if (inner == NULL)
        return FALSE;
    /* A frame that fits one end must fit the other; the tap may have been moved before ADD chose the MTU. */
    return netlink_link_set_up(netlink, tap, rtnl_link_get_mtu(outer), error) &&
           redirect_inward(netlink, outer, inner, error) &&
           redirect_outward(netlink, inner, outer, own_addresses, error);
}

gboolean redirect_suspend(const char *netns_path, const char *ifname, GError **error)
{
    g_autoptr(NetlinkSocket) netlink = netlink_open(netns_path, error);
    g_autoptr(NetlinkLink) link = netlink != NULL ? netlink_link_get(netlink, ifname, error) : NULL;
    g_autoptr(GArray) code = answer_frames_program();
    int result;

    if (link == NULL || !ingress_ensure(netlink, link, error))
        return FALSE;
    result = add_program(netlink, link, REST_PRIORITY, (const struct sock_filter *)(void *)code->data,
                         code->len, NULL);
    if (result < 0 && result != -NLE_EXIST)
        return netlink_fail(error, result,
                            "cannot let the namespace answer for %s (load the kernel module cls_bpf?)",
                            ifname);
    filter_remove(netlink, link, REDIRECT_PRIORITY);
    return TRUE;
}

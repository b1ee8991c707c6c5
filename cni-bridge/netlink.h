/* SPDX-License-Identifier: Apache-2.0 */
/* rtnetlink in any network namespace (libnl-3, libnl-route-3).
 *
 * A socket stays in the namespace in which it was made. So a short-lived thread enters the namespace and
 * makes the socket, and the caller's thread uses it from its own namespace. The caller owns sockets and
 * links. A socket belongs to one thread at a time.
 */
#pragma once

#include <glib.h>
#include <netlink/route/link.h>

typedef struct nl_sock NetlinkSocket;
typedef struct rtnl_link NetlinkLink;

/* Opens a socket in the namespace at that path ("": the caller's own). NOT_FOUND when there is none. */
NetlinkSocket *netlink_open(const char *netns_path, GError **error);
void netlink_close(NetlinkSocket *netlink); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NetlinkSocket, netlink_close)

void netlink_link_free(NetlinkLink *link); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(NetlinkLink, netlink_link_free)

/* Return: the present state of an interface; NULL with NOT_FOUND when there is none. */
NetlinkLink *netlink_link_get(NetlinkSocket *netlink, const char *name, GError **error);
/* Sets the interface up and, when it is not 0, its MTU. */
gboolean netlink_link_set_up(NetlinkSocket *netlink, const char *name, guint mtu, GError **error);

/* Sets *error for a libnl result below 0, with libnl's message after ours. Return: FALSE. */
gboolean netlink_fail(GError **error, int result, const char *format, ...) G_GNUC_PRINTF(3, 4);

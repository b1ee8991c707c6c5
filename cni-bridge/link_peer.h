/* SPDX-License-Identifier: Apache-2.0 */
/* Where an interface of a pod's namespace is attached on the node: the other end of a veth, or the interface
 * below a macvlan. */
#pragma once

#include <glib.h>

typedef struct {
    int ifindex; /* in the daemon's own namespace */
    int master;  /* the ifindex of its bridge; 0: none */
} LinkPeer;

/* NOT_FOUND when there is no such namespace, no such interface, or nothing on the node that it is attached
 * to. Any thread. */
gboolean link_peer_read(const char *netns_path, const char *ifname, LinkPeer *ret_peer, GError **error);

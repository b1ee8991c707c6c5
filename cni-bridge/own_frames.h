/* SPDX-License-Identifier: Apache-2.0 */
/* The packet filter that lets only a pod's own frames out of its VM.
 *
 * own_frames_program() takes the MAC address of the pod's interface and the pod's addresses (CniAddress), and
 * returns a classic BPF program (struct sock_filter) for a frame from its Ethernet header on. The program
 * returns 0 for a frame that is refused, also for one that is too short for what it claims to be, and
 * OWN_FRAMES_ACCEPT for one that passes:
 *
 *   - the source MAC address is the interface's, and there is no VLAN tag;
 *   - ARP (RFC 826): the sender is the interface's MAC address and an IPv4 address of the pod;
 *   - IPv4: the source is an address of the pod, and the packet is not for a DHCP client's port;
 *   - IPv6: the source is an address of the pod or the link-local address that follows from the MAC address
 *     (RFC 4291, appendix A); "::" only asks whether one of these is taken, or joins groups. Neighbour
 *     advertisements are for these addresses only. There are no router advertisements, no redirects, and
 *     nothing for a DHCP client's port. Neighbour discovery (RFC 4861) requires a hop limit of 255, so
 * packets with that limit have no extension header in which it could hide (RFC 7113); of the others, only
 * fragments, and the option by which a host joins groups, have one;
 *   - any other protocol is refused.
 *
 * Ownership: the caller unrefs the array. Errors: INVALID_ARGUMENT for an address that is not one, or more
 * addresses than a program has room for. Pure.
 */
#pragma once

#include <glib.h>
#include <linux/if_ether.h>

enum { OWN_FRAMES_ACCEPT = 1 };

GArray *own_frames_program(const guint8 mac[ETH_ALEN], const GPtrArray *addresses, GError **error);

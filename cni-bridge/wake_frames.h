/* SPDX-License-Identifier: Apache-2.0 */
/* Which frames matter while a pod is hibernated: programs of classic BPF (struct sock_filter) for a frame
 * from its Ethernet header on.
 *
 * wake_frames_program() is the filter of a packet socket. It accepts what somebody sends to the pod and waits
 * for: an untagged frame to the interface's own MAC address, with IPv4 or IPv6 to an address of the pod
 * (CniAddress, or the link-local one of the MAC address), that is no later fragment, has no extension header,
 * and is
 *
 *   - TCP: a new connection (SYN without ACK), or data for an open one; not what keeps a connection alive,
 * ends or resets it;
 *   - UDP: any;
 *   - SCTP: a new association (INIT), or data.
 *
 * So no broadcast, ARP, neighbour discovery or ping wakes a pod. Its result is how much of a frame is kept:
 * all, or 0.
 *
 * answer_frames_program() is a filter of tc with direct action, at the interface's ingress. It lets ARP,
 * neighbour solicitations and neighbour advertisements pass to the namespace's own kernel, which has the
 * pod's addresses and answers for them with the same MAC address; it drops all else, so that this kernel
 * neither refuses connections nor answers pings. A frame that is too short for what it claims to be passes,
 * and the kernel drops it.
 *
 * Ownership: the caller unrefs the array. Errors: INVALID_ARGUMENT for an address that is not one, or more
 * addresses than a program has room for. Pure.
 */
#pragma once

#include <glib.h>
#include <linux/if_ether.h>

GArray *wake_frames_program(const guint8 mac[ETH_ALEN], const GPtrArray *addresses, GError **error);
GArray *answer_frames_program(void);

/* SPDX-License-Identifier: Apache-2.0 */
/* The network of a guest that no pod owns yet, made in advance.
 *
 * Most CNI plugins do not look at the pod. Where the configuration has only such (cni_config_ignores_pods()),
 * the guest's id, which becomes the pod's, is all that ADD needs, and a pod that takes the guest need not
 * wait for it. A pod with host ports or limits of bandwidth has its own ADD.
 *
 * The guest's entry in the journal (guest_journal.h) has what DEL needs from before ADD begins. Ownership:
 * the network on the node belongs to the guest's id; a GuestNetwork is what is known of it. Threads: any, one
 * at a time for a guest. Errors: those of CNI and the network namespace.
 */
#pragma once

#include "cni-bridge/cni.h"
#include "cni-bridge/link_peer.h"
#include "sandbox/templates/guest_environment.h"

typedef struct GuestNetwork {
    CniResult *result;
    char *config;  /* cni_network_text() of the network */
    LinkPeer peer; /* of the guest's interface */
} GuestNetwork;

void guest_network_free(GuestNetwork *network); /* takes NULL; what is on the node stays */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GuestNetwork, guest_network_free)

/* Return: a reference to the present network if it can be made in advance; else NULL. */
CniNetwork *guest_network_plan(const GuestEnvironment *env);
/* Makes the network namespace and calls ADD. A failure is undone. */
GuestNetwork *guest_network_make(const GuestEnvironment *env, const char *id, CniNetwork *plan,
                                 const Deadline *deadline, GError **error);
/* Return: whether the network is still attached to the node as ADD has left it. Somebody may have removed the
 * bridge, for example, which the ADD of a new pod makes again. */
gboolean guest_network_is_intact(const GuestEnvironment *env, const char *id, const GuestNetwork *network);
/* Undoes it by the journal. Success when there is nothing to undo. */
gboolean guest_network_remove(const GuestEnvironment *env, const char *id, const Deadline *deadline,
                              GError **error);

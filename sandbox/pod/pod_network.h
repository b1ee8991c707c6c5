/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's network: the CNI attachment made from the pod's specification, and the contents of hostname, hosts
 * and resolv.conf. */
#pragma once

#include "sandbox/pods/pod.h"
#include "sandbox/templates/guest_network.h"

/* Return: whether ADD needs nothing of the pod but its id with plugins that do not look at the pod: it has
 * neither host ports nor limits of bandwidth. */
gboolean pod_network_is_ordinary(const Runtime__V1__PodSandboxConfig *config);
/* Gives the network that its VM has to a new pod, which owns it. */
void pod_network_take(Pod *pod, GuestNetwork *network);
/* Return: that network, once, the caller's; NULL: the pod needs an ADD. */
CniResult *pod_network_taken(Pod *pod);

gboolean pod_network_add(Pod *pod, const Deadline *deadline, CniResult **ret_network, GError **error);
/* Return: whether only frames with the pod's own addresses leave its VM: the setting of its handler, or of
 * the daemon when the handler was removed since the pod was made. */
gboolean pod_network_is_filtered(const Pod *pod);
/* Calls DEL, also when the namespace is gone and when ADD may have been under way. Success when there is
 * nothing to undo. */
gboolean pod_network_del(Pod *pod, const Deadline *deadline, GError **error);

/* Records the network in the pod: its addresses, and what DEL needs. */
void pod_network_record(Pod *pod, const CniResult *network);

/* Return: the recorded addresses (CniAddress), which the array owns. */
GPtrArray *pod_network_addresses(Pod *pod);
/* Leads frames to and from the tap of a pod whose network was recorded before, and whose VM is another one.
 */
gboolean pod_network_redirect(Pod *pod, GError **error);

/* Calls DEL with the present configuration for a VM that no pod has a record of. Failures are logged. */
void pod_network_del_orphan(SandboxManager *manager, const char *id);
/* Calls GC of CNI 1.1, so that plugins release what they hold for attachments that belong to no sandbox. It
 * may be called only while no ADD can begin. Failures are logged. */
void pod_network_collect(SandboxManager *manager);

/* Return: the pod's hostname, else the node's, which the caller frees. */
char *pod_network_hostname(const Pod *pod);
/* Return: resolv.conf from the pod's DNS configuration, else the network's, else the node's file, which the
 * caller frees. network NULL: the node's own. */
char *pod_network_resolv_conf(const Pod *pod, const CniResult *network);
char *pod_network_hosts(const CniResult *network, const char *hostname);

/* A pod's network as CNI and the guest's files see it: the attachment made from the pod's specification, and
 * what goes into hostname, hosts and resolv.conf. Internal to this folder. */
#pragma once

#include "sandbox/pods/pod.h"


gboolean pod_network_add(Pod *pod, const Deadline *deadline, CniResult **ret_network, GError **error);
/* Also when the namespace is gone, and when ADD may have been under way; nothing to undo is success. */
gboolean pod_network_del(Pod *pod, const Deadline *deadline, GError **error);

/* Makes it the pod's: addresses, and what DEL will need. */
void pod_network_record(Pod *pod, const CniResult *network);

/* DEL for a pod that only its guest is left of, with the configuration of now. Best effort; logs. */
void pod_network_del_stray(SandboxManager *manager, const char *id);
/* GC of CNI 1.1: plugins give up what they hold for attachments that are no sandbox's. Only while no ADD can
 * begin. Best effort; logs. */
void pod_network_collect(SandboxManager *manager);

/* The pod's, else the node's. The caller frees these three. */
char *pod_network_hostname(const Pod *pod);
/* From the pod's DNS configuration, else the network's, else the node's file. A network of NULL is the node's
 * own. */
char *pod_network_resolv_conf(const Pod *pod, const CniResult *network);
char *pod_network_hosts(const CniResult *network, const char *hostname);

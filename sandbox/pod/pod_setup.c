/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/pod_setup.h"

#include "common/arena.h"
#include "sandbox/pod/pod_network.h"
#include "sandbox/pod/setup_message.h"

enum { SETUP_TIMEOUT_MS = 30 * 1000 };

/* For a host pod CNI has configured the interfaces in the network namespace that the containers use. */
gboolean pod_setup(Pod *pod, const CniResult *network, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, SETUP_TIMEOUT_MS);
    g_autoptr(Arena) arena = arena_new();
    g_autofree char *hostname = pod_network_hostname(pod);
    g_autofree char *resolv_conf = pod_network_resolv_conf(pod, network);
    g_autofree char *hosts = pod_network_hosts(network, hostname);
    const Handler *handler = handler_find(pod->settings->handlers, pod->handler, NULL);
    const SetupContent content = {
        .sandbox_id = pod->id,
        .config = pod->config,
        .sysctls = handler != NULL && !pod->platform->on_node ? handler->sysctls : NULL,
        .hostname = hostname,
        .resolv_conf = resolv_conf,
        .hosts = hosts,
        .guest_network = pod->platform->on_node ? NULL : network,
        .fixed_addresses = pod_network_is_filtered(pod),
    };

    return agent_setup(pod->agent, setup_message_build(&content, arena), &bounded, NULL, error);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/pod_setup.h"

#include "common/arena.h"
#include "sandbox/pod/pod_network.h"
#include "sandbox/pod/setup_message.h"

enum { SETUP_TIMEOUT_MS = 30 * 1000 };

/* For a host pod CNI has configured the interfaces in the network namespace that the containers use. */
static AgentSetupRequest *pod_setup_message(Pod *pod, const CniResult *network, gboolean restored,
                                            Arena *arena)
{
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
        .restored = restored,
    };

    return setup_message_build(&content, arena);
}

gboolean pod_setup(Pod *pod, const CniResult *network, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, SETUP_TIMEOUT_MS);
    g_autoptr(Arena) arena = arena_new();

    return agent_setup(pod->agent, pod_setup_message(pod, network, FALSE, arena), &bounded, NULL, error);
}

/* ---- from a checkpoint ---- */

gboolean pod_delete_unsaved(Pod *pod, const Checkpoint *checkpoint, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, SETUP_TIMEOUT_MS);

    for (guint i = 0; i < checkpoint->others->len; i++) {
        Crivirt__Agent__V1__DeleteContainerRequest delete =
            CRIVIRT__AGENT__V1__DELETE_CONTAINER_REQUEST__INIT;

        delete.id = checkpoint->others->pdata[i];
        if (!agent_delete_container(pod->agent, &delete, &bounded, NULL, error))
            return FALSE;
    }
    return TRUE;
}

gboolean pod_setup_restored(Pod *pod, const CniResult *network, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, SETUP_TIMEOUT_MS);
    g_autoptr(Arena) arena = arena_new();
    Crivirt__Agent__V1__RestoreRequest restore = CRIVIRT__AGENT__V1__RESTORE_REQUEST__INIT;

    restore.setup = pod_setup_message(pod, network, TRUE, arena);
    return agent_restore(pod->agent, &restore, &bounded, NULL, error);
}

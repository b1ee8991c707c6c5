/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/templates/guest_network.h"

#include <string.h>

#include "cni-bridge/cni_cache.h"
#include "cni-bridge/podnet.h"
#include "common/log.h"
#include "sandbox/templates/guest_journal.h"

void guest_network_free(GuestNetwork *network)
{
    if (network == NULL)
        return;
    cni_result_free(network->result);
    g_free(network->config);
    g_free(network);
}

CniNetwork *guest_network_plan(const GuestEnvironment *env)
{
    g_autoptr(CniNetwork) network =
        *env->prepared_plugins != NULL ? cni_cache_get(env->networks, NULL) : NULL;

    return network != NULL && cni_network_ignores_pods(network, env->prepared_plugins)
               ? g_steal_pointer(&network)
               : NULL;
}

/* ---- the journal's text: "CONFIGURATION\0RESULT\0"; no result while ADD is under way ---- */

static gboolean journal_note(const GuestEnvironment *env, const char *id, const char *config,
                             const char *result, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);

    g_string_append_len(text, config, (gssize)strlen(config) + 1);
    if (result != NULL)
        g_string_append_len(text, result, (gssize)strlen(result) + 1);
    return guest_journal_write(env, id, text->str, text->len, error);
}

/* text ends with a NUL, whatever the file contains. */
static const char *noted_result(const char *text, gsize length)
{
    const gsize config = strlen(text) + 1;

    return config < length ? text + config : NULL;
}

/* ---- attaching ---- */

enum {
    N_ARGS = 5,
    /* Undoing must not be cut short by the deadline whose passing made it necessary. */
    UNDO_MS = 20 * 1000,
};

/* Fills args, which the attachment borrows as it does the others. */
static CniAttachment attachment_of(const char *id, const char *path, const char *args[N_ARGS])
{
    args[0] = "IgnoreUnknown";
    args[1] = "1";
    args[2] = "K8S_POD_INFRA_CONTAINER_ID";
    args[3] = id;
    args[4] = NULL;
    return (CniAttachment){.container_id = id,
                           .netns_path = netns_exists(path) ? path : "",
                           .ifname = GUEST_INTERFACE,
                           .args = args};
}

/* An ADD that fails has called DEL, and logged what that could not undo. */
static gboolean attach(const GuestEnvironment *env, const char *id, const char *path, CniNetwork *plan,
                       GuestNetwork *network, const Deadline *deadline, GError **error)
{
    const char *args[N_ARGS];
    const CniAttachment attachment = attachment_of(id, path, args);

    if (cni_network_add(plan, &attachment, deadline, &network->result, error))
        return TRUE;
    if (netns_delete(path, NULL))
        guest_journal_write(env, id, "", 0, NULL);
    return FALSE;
}

static gboolean attachment_note(const GuestEnvironment *env, const char *id, const char *path,
                                GuestNetwork *network, GError **error)
{
    g_autoptr(GError) problem = NULL;
    Deadline undo;

    if (journal_note(env, id, network->config, network->result->json, error) &&
        link_peer_read(path, GUEST_INTERFACE, &network->peer, error))
        return TRUE;
    undo = deadline_in_ms(UNDO_MS);
    if (!guest_network_remove(env, id, &undo, &problem))
        log_warning(LOG_FIELDS("guest", id), "while undoing its network: %s", problem->message);
    return FALSE;
}

GuestNetwork *guest_network_make(const GuestEnvironment *env, const char *id, CniNetwork *plan,
                                 const Deadline *deadline, GError **error)
{
    g_autoptr(GuestNetwork) network = g_new0(GuestNetwork, 1);
    g_autofree char *path = guest_netns_path(env, id);

    network->config = cni_network_text(plan);
    if (journal_note(env, id, network->config, NULL, error) && netns_create(path, error) &&
        attach(env, id, path, plan, network, deadline, error) &&
        attachment_note(env, id, path, network, error))
        return g_steal_pointer(&network);
    return NULL;
}

gboolean guest_network_is_intact(const GuestEnvironment *env, const char *id, const GuestNetwork *network)
{
    g_autofree char *path = guest_netns_path(env, id);
    LinkPeer peer;

    return link_peer_read(path, GUEST_INTERFACE, &peer, NULL) && peer.ifindex == network->peer.ifindex &&
           peer.master == network->peer.master;
}

/* ---- detaching ---- */

static gboolean detach(const GuestEnvironment *env, const char *id, const char *text, gsize length,
                       const Deadline *deadline, GError **error)
{
    const char *args[N_ARGS];
    g_autofree char *path = guest_netns_path(env, id);
    CniAttachment attachment = attachment_of(id, path, args);
    g_autoptr(CniNetwork) network = cni_network_from_text(text, env->cni_plugin_dirs, error);

    if (network == NULL)
        return FALSE;
    attachment.cached_result = noted_result(text, length);
    return cni_network_del(network, &attachment, deadline, error) && netns_delete(path, error);
}

gboolean guest_network_remove(const GuestEnvironment *env, const char *id, const Deadline *deadline,
                              GError **error)
{
    g_autofree char *text = NULL;
    gsize length;

    if (!guest_journal_read(env, id, &text, &length, error))
        return FALSE;
    return *text == '\0' ||
           (detach(env, id, text, length, deadline, error) && guest_journal_write(env, id, "", 0, error));
}

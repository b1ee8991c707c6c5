/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/cni.h"

#include <string.h>

#include "cni-bridge/cni_config.h"
#include "cni-bridge/cni_exec.h"
#include "cni-bridge/cni_output_json.h"
#include "cni-bridge/cni_result.h"
#include "cni-bridge/link_state.h"
#include "cni-bridge/podnet.h"
#include "common/error.h"
#include "common/log.h"

/* Undoing must not be cut short by the deadline whose passing made it necessary. */
enum { UNDO_MS = 30000 };

struct CniNetwork {
    gatomicrefcount references;
    CniConfig *config;
    char **plugin_dirs;
};

/* Takes config, which may be NULL, over. */
static CniNetwork *network_new(CniConfig *config, const char *const *plugin_dirs)
{
    CniNetwork *network;

    if (config == NULL)
        return NULL;
    network = g_new0(CniNetwork, 1);
    g_atomic_ref_count_init(&network->references);
    network->config = config;
    network->plugin_dirs = g_strdupv((char **)(void *)plugin_dirs);
    return network;
}

CniNetwork *cni_network_load(const char *config_dir, const char *const *plugin_dirs, GError **error)
{
    return network_new(cni_config_load(config_dir, error), plugin_dirs);
}

CniNetwork *cni_network_from_text(const char *text, const char *const *plugin_dirs, GError **error)
{
    return network_new(cni_config_from_text(text, error), plugin_dirs);
}

char *cni_network_text(const CniNetwork *network)
{
    return cni_config_to_text(network->config);
}

CniNetwork *cni_network_ref(CniNetwork *network)
{
    g_atomic_ref_count_inc(&network->references);
    return network;
}

void cni_network_unref(CniNetwork *network)
{
    if (network == NULL || !g_atomic_ref_count_dec(&network->references))
        return;
    cni_config_free(network->config);
    g_strfreev(network->plugin_dirs);
    g_free(network);
}

const char *cni_network_name(const CniNetwork *network)
{
    return network->config->name;
}

gboolean cni_network_ignores_pods(const CniNetwork *network, const char *const *types)
{
    return cni_config_ignores_pods(network->config, types);
}

static CniCall network_call(const CniNetwork *network, const char *command, guint index,
                            const CniAttachment *attachment)
{
    return (CniCall){.command = command,
                     .config = network->config,
                     .plugin = g_ptr_array_index(network->config->plugins, index),
                     .plugin_dirs = (const char *const *)network->plugin_dirs,
                     .attachment = attachment};
}

/* One ADD or DEL through the list. */
typedef struct {
    const CniNetwork *network;
    const CniAttachment *attachment;
    const Deadline *deadline;
    char *previous;    /* what the last plugin of an ADD printed, in the version of the network; NULL: nothing
                          yet */
    CniOutput *output; /* the same, parsed */
} CniRun;

static void run_clear(CniRun *run)
{
    g_free(run->previous);
    cni_output_free(run->output);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CniRun, run_clear)

/* DEL from plugin number count - 1 down to the first. Each must be able to delete what does not exist, so one
 * failure does not stop the rest. */
static gboolean plugins_del(const CniRun *run, guint count, GError **error)
{
    const CniNetwork *network = run->network;
    g_autoptr(GError) first = NULL;

    for (guint i = count; i-- > 0;) {
        CniCall call = network_call(network, "DEL", i, run->attachment);
        g_autoptr(GError) problem = NULL;

        call.previous = network->config->version >= CNI_VERSION_0_4_0 ? run->previous : NULL;
        if (!cni_exec(&call, run->deadline, NULL, NULL, &problem) && first == NULL)
            first = g_steal_pointer(&problem);
    }
    if (first == NULL)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&first));
    return FALSE;
}

/* The plugin's output replaces that of the plugin before it. */
static gboolean plugin_add(CniRun *run, guint index, GError **error)
{
    const CniConfig *config = run->network->config;
    CniCall call = network_call(run->network, "ADD", index, run->attachment);
    g_autofree char *printed = NULL;
    CniOutput *parsed;
    gsize length = 0;

    call.previous = run->previous;
    if (!cni_exec(&call, run->deadline, &printed, &length, error))
        return FALSE;
    parsed = cni_output_parse(printed, length, config->version, error);
    if (parsed == NULL) {
        g_prefix_error(error, "network %s: plugin %s, ADD: ", config->name, call.plugin->type);
        return FALSE;
    }
    run_clear(run);
    run->output = parsed;
    run->previous = cni_output_json(parsed, config->version);
    return TRUE;
}

/* The interface counts, not what plugins print about it: some leave out routes or the MTU. */
static gboolean result_complete(CniResult *result, const CniAttachment *attachment, GError **error)
{
    g_auto(LinkState) state = {0};

    if (!netns_exists(attachment->netns_path))
        return TRUE;
    if (!link_state_read(attachment->netns_path, attachment->ifname, &state, error))
        return FALSE;
    g_free(result->mac);
    result->mac = g_steal_pointer(&state.mac);
    result->mtu = state.mtu;
    g_ptr_array_unref(result->routes);
    result->routes = g_steal_pointer(&state.routes);
    return TRUE;
}

static CniResult *result_make(const CniRun *run, GError **error)
{
    g_autoptr(CniResult) result = cni_output_result(run->output, run->attachment->ifname, error);

    if (result == NULL || !result_complete(result, run->attachment, error)) {
        g_prefix_error(error, "network %s: after ADD: ", run->network->config->name);
        return NULL;
    }
    return g_steal_pointer(&result);
}

/* The plugin that failed is called too: one that was killed could not tidy up after itself. */
static void add_undo(CniRun *run, guint tried)
{
    Deadline deadline = deadline_in_ms(UNDO_MS);
    g_autoptr(GError) problem = NULL;

    run->deadline = &deadline;
    if (!plugins_del(run, tried, &problem))
        log_warning(LOG_FIELDS("container", run->attachment->container_id), "while undoing CNI ADD: %s",
                    problem->message);
    run->deadline = NULL;
}

gboolean cni_network_add(CniNetwork *network, const CniAttachment *attachment, const Deadline *deadline,
                         CniResult **ret_result, GError **error)
{
    g_auto(CniRun) run = {.network = network, .attachment = attachment, .deadline = deadline};
    CniResult *result = NULL;
    gboolean good = TRUE;
    guint tried = 0;

    if (!cni_exec_check_attachment(attachment, error))
        return FALSE;
    while (good && tried < network->config->plugins->len)
        good = plugin_add(&run, tried++, error);
    if (good)
        result = result_make(&run, error);
    if (result == NULL) {
        add_undo(&run, tried);
        return FALSE;
    }
    *ret_result = result;
    return TRUE;
}

/* The cached result as prevResult; NULL in *ret_previous when there is none. */
static gboolean cached_previous(const CniNetwork *network, const CniAttachment *attachment,
                                char **ret_previous, GError **error)
{
    const char *cached = attachment->cached_result;
    g_autoptr(CniOutput) output = NULL;

    if (cached == NULL)
        return TRUE;
    output = cni_output_parse(cached, strlen(cached), network->config->version, error);
    if (output == NULL) {
        g_prefix_error(error, "network %s: cached result: ", network->config->name);
        return FALSE;
    }
    *ret_previous = cni_output_json(output, network->config->version);
    return TRUE;
}

gboolean cni_network_del(CniNetwork *network, const CniAttachment *attachment, const Deadline *deadline,
                         GError **error)
{
    g_auto(CniRun) run = {.network = network, .attachment = attachment, .deadline = deadline};
    g_autoptr(GError) problem = NULL;

    if (!cni_exec_check_attachment(attachment, error))
        return FALSE;
    /* Better to delete without it than not to delete. */
    if (!cached_previous(network, attachment, &run.previous, &problem))
        log_warning(LOG_FIELDS("container", attachment->container_id),
                    "DEL goes on without the result of ADD: %s", problem->message);
    return plugins_del(&run, network->config->plugins->len, error);
}

void cni_end_orphans(const char *container_id)
{
    cni_exec_end_orphans(container_id);
}

gboolean cni_network_check(CniNetwork *network, const CniAttachment *attachment, const Deadline *deadline,
                           GError **error)
{
    g_autofree char *previous = NULL;

    if (!cni_exec_check_attachment(attachment, error))
        return FALSE;
    if (network->config->version < CNI_VERSION_0_4_0 || network->config->disable_check)
        return TRUE;
    if (!cached_previous(network, attachment, &previous, error))
        return FALSE;
    if (previous == NULL)
        return fail(error, STATUS_FAILED_PRECONDITION, "network %s: CHECK needs the result of ADD",
                    network->config->name);
    for (guint i = 0; i < network->config->plugins->len; i++) {
        CniCall call = network_call(network, "CHECK", i, attachment);

        call.previous = previous;
        if (!cni_exec(&call, deadline, NULL, NULL, error))
            return FALSE;
    }
    return TRUE;
}

gboolean cni_network_status(CniNetwork *network, const Deadline *deadline, GError **error)
{
    g_autoptr(GError) problem = NULL;
    gboolean good = TRUE;

    for (guint i = 0; good && i < network->config->plugins->len; i++) {
        CniCall call = network_call(network, "STATUS", i, NULL);
        g_autofree char *path = cni_exec_find(&call, &problem);

        good = path != NULL;
        if (good && network->config->version >= CNI_VERSION_1_1_0)
            good = cni_exec(&call, deadline, NULL, NULL, &problem);
    }
    if (good)
        return TRUE;
    /* Whatever went wrong, the network cannot take an ADD now. */
    if (problem->code == STATUS_INTERNAL)
        problem->code = STATUS_UNAVAILABLE;
    g_propagate_error(error, g_steal_pointer(&problem));
    return FALSE;
}

gboolean cni_network_gc(CniNetwork *network, const char *const *container_ids, const char *ifname,
                        const Deadline *deadline, GError **error)
{
    g_autoptr(GError) first = NULL;

    if (network->config->version < CNI_VERSION_1_1_0 || network->config->disable_gc)
        return TRUE;
    for (guint i = 0; i < network->config->plugins->len; i++) {
        CniCall call = network_call(network, "GC", i, NULL);
        g_autoptr(GError) problem = NULL;

        call.valid_attachments = container_ids;
        call.valid_ifname = ifname;
        if (!cni_exec(&call, deadline, NULL, NULL, &problem) && first == NULL)
            first = g_steal_pointer(&problem);
    }
    if (first == NULL)
        return TRUE;
    g_propagate_error(error, g_steal_pointer(&first));
    return FALSE;
}

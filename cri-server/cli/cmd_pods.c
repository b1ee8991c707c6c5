/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt pods, rmp. */
#include "common/error.h"
#include "common/json_writer.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/human.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/text_table.h"

static const Runtime__V1__PodSandboxMetadata *metadata_of(const Runtime__V1__PodSandbox *pod)
{
    static const Runtime__V1__PodSandboxMetadata none = RUNTIME__V1__POD_SANDBOX_METADATA__INIT;

    return pod->metadata != NULL ? pod->metadata : &none;
}

static gboolean is_ready(const Runtime__V1__PodSandbox *pod)
{
    return pod->state == RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY;
}

/* hibernated: inventory_hibernated(). */
static const char *state_of(const Runtime__V1__PodSandbox *pod, GHashTable *hibernated)
{
    if (g_hash_table_contains(hibernated, pod->id))
        return "Hibernated";
    return is_ready(pod) ? "Ready" : "NotReady";
}

static void add_table_row(TextTable *table, const Runtime__V1__PodSandbox *pod, GHashTable *hibernated,
                          gboolean whole_ids)
{
    const Runtime__V1__PodSandboxMetadata *metadata = metadata_of(pod);
    g_autofree char *id = whole_ids ? g_strdup(pod->id) : human_short_id(pod->id);
    g_autofree char *created = human_ago(pod->created_at, human_now_ns());
    g_autofree char *attempt = g_strdup_printf("%u", metadata->attempt);

    text_table_add(table,
                   TEXT_ROW(id, created, state_of(pod, hibernated), metadata->name, metadata->namespace_,
                            attempt, *pod->runtime_handler != '\0' ? pod->runtime_handler : "(default)"));
}

static void add_json_row(JsonWriter *json, const Runtime__V1__PodSandbox *pod, GHashTable *hibernated)
{
    g_autofree char *state = g_ascii_strdown(state_of(pod, hibernated), -1);
    const Runtime__V1__PodSandboxMetadata *metadata = metadata_of(pod);
    g_autofree char *created = human_rfc3339(pod->created_at);

    json_writer_open_object(json, NULL);
    json_writer_string(json, "id", pod->id);
    json_writer_string(json, "name", metadata->name);
    json_writer_string(json, "namespace", metadata->namespace_);
    json_writer_string(json, "uid", metadata->uid);
    json_writer_int(json, "attempt", metadata->attempt);
    json_writer_string(json, "state", state);
    json_writer_string(json, "createdAt", created);
    json_writer_string(json, "runtimeHandler", pod->runtime_handler);
    json_writer_open_object(json, "labels");
    for (size_t i = 0; i < pod->n_labels; i++)
        json_writer_string(json, pod->labels[i]->key, pod->labels[i]->value);
    json_writer_close_object(json);
    json_writer_close_object(json);
}

static char *format_ids(const Inventory *inventory, gboolean whole_ids)
{
    GString *text = g_string_new(NULL);

    for (gsize i = 0; i < inventory->n_pods; i++) {
        g_autofree char *id =
            whole_ids ? g_strdup(inventory->pods[i]->id) : human_short_id(inventory->pods[i]->id);

        g_string_append_printf(text, "%s\n", id);
    }
    return g_string_free(text, FALSE);
}

static char *format_table(const Inventory *inventory, GHashTable *hibernated, gboolean whole_ids)
{
    g_autoptr(TextTable) table =
        text_table_new(TEXT_ROW("POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME"));

    for (gsize i = 0; i < inventory->n_pods; i++)
        add_table_row(table, inventory->pods[i], hibernated, whole_ids);
    return text_table_format(table);
}

static char *format_json(const Inventory *inventory, GHashTable *hibernated)
{
    g_autoptr(JsonWriter) json = json_writer_new_indented();

    json_writer_open_array(json, NULL);
    for (gsize i = 0; i < inventory->n_pods; i++)
        add_json_row(json, inventory->pods[i], hibernated);
    json_writer_close_array(json);
    return json_writer_copy(json);
}

static gboolean pods_command(Cli *cli, GError **error)
{
    const Inventory *inventory = inventory_load(cli, error);
    gboolean whole_ids = options_flag(cli->options, "no-trunc");
    g_autofree char *text = NULL;
    GHashTable *hibernated;

    if (inventory == NULL)
        return FALSE;
    if (options_flag(cli->options, "quiet")) {
        text = format_ids(inventory, whole_ids);
        return cli_print(text, error);
    }
    hibernated = inventory_hibernated(cli, error);
    if (hibernated == NULL)
        return FALSE;
    text = cli->json ? format_json(inventory, hibernated) : format_table(inventory, hibernated, whole_ids);
    return cli_print(text, error);
}

static const OptionSpec pods_options[] = {
    {"quiet", 'q', OPTION_FLAG, NULL, "print only ids"},
    {"no-trunc", 0, OPTION_FLAG, NULL, "print full ids"},
    {NULL},
};

const Command command_pods = {
    .name = "pods",
    .group = "Pods",
    .usage = "[OPTIONS]",
    .help = "List pods",
    .options = pods_options,
    .lists = TRUE,
    .run = pods_command,
};

static gboolean remove_one(Cli *cli, const char *name, GError **error)
{
    const Inventory *inventory = inventory_load(cli, error);
    const Runtime__V1__PodSandbox *pod =
        inventory != NULL ? inventory_pod(cli, inventory, name, error) : NULL;

    if (pod == NULL)
        return FALSE;
    if (is_ready(pod) && !options_flag(cli->options, "force"))
        return fail(error, STATUS_FAILED_PRECONDITION, "the pod is running: use -f to stop and remove it");
    return pod_remove(cli, pod->id, pod_log_directory(pod), error);
}

static gboolean rmp_command(Cli *cli, GError **error)
{
    for (const char *const *name = options_operands(cli->options); *name != NULL; name++) {
        g_autofree char *line = g_strdup_printf("%s\n", *name);

        if (!remove_one(cli, *name, error)) {
            g_prefix_error(error, "%s: ", *name);
            return FALSE;
        }
        if (!cli_print(line, error))
            return FALSE;
    }
    return TRUE;
}

static const OptionSpec rmp_options[] = {
    {"force", 'f', OPTION_FLAG, NULL, "stop it first if it runs"},
    {NULL},
};

const Command command_rmp = {
    .name = "rmp",
    .group = "Pods",
    .usage = "[OPTIONS] POD...",
    .help = "Remove pods with their containers",
    .options = rmp_options,
    .min_operands = 1,
    .max_operands = -1,
    .run = rmp_command,
};

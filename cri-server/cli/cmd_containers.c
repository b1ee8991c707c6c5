/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt ps, stop, rm. */
#include <string.h>

#include "common/error.h"
#include "common/json_writer.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/human.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/text_table.h"
#include "cri-server/cli/values.h"

typedef Runtime__V1__ContainerState State;
#define STATE(name) RUNTIME__V1__CONTAINER_STATE__CONTAINER_##name

static const char *state_name(State state)
{
    switch (state) {
    case STATE(CREATED):
        return "created";
    case STATE(RUNNING):
        return "running";
    case STATE(EXITED):
        return "exited";
    default:
        return "unknown";
    }
}

/* --- ps ------------------------------------------------------------------------------------------------ */

typedef struct {
    const char *state; /* NULL: any */
    const char *name;  /* part of the name */
    const char *id;    /* prefix of the id */
    const char *pod;   /* the pod's name, or a prefix of its id */
    GPtrArray *labels; /* "key" or "key=value" */
} Filter;

static gboolean read_filter(Filter *filter, const char *text, GError **error)
{
    const char *equals = strchr(text, '=');
    gsize length = equals != NULL ? (gsize)(equals - text) : 0;
    const char *value = equals != NULL ? equals + 1 : "";

    if (length == 6 && strncmp(text, "status", length) == 0)
        filter->state = value;
    else if (length == 4 && strncmp(text, "name", length) == 0)
        filter->name = value;
    else if (length == 2 && strncmp(text, "id", length) == 0)
        filter->id = value;
    else if (length == 3 && strncmp(text, "pod", length) == 0)
        filter->pod = value;
    else if (length == 5 && strncmp(text, "label", length) == 0)
        g_ptr_array_add(filter->labels, (gpointer)value);
    else
        return usage_fail(
            error, "invalid value for --filter: \"%s\" is not status=, name=, id=, pod= or label=", text);
    return TRUE;
}

static gboolean read_filters(Cli *cli, Filter *filter, GError **error)
{
    for (const char *const *text = options_list(cli->options, "filter"); *text != NULL; text++)
        if (!read_filter(filter, *text, error))
            return FALSE;
    if (filter->state == NULL && !options_flag(cli->options, "all"))
        filter->state = "running";
    return TRUE;
}

static gboolean has_label(const Runtime__V1__Container *container, const char *wanted)
{
    for (size_t i = 0; i < container->n_labels; i++) {
        g_autofree char *pair =
            g_strconcat(container->labels[i]->key, "=", container->labels[i]->value, NULL);

        if (strcmp(pair, wanted) == 0 || strcmp(container->labels[i]->key, wanted) == 0)
            return TRUE;
    }
    return FALSE;
}

static gboolean pod_matches(const InventoryContainer *row, const char *wanted)
{
    return g_str_has_prefix(row->container->pod_sandbox_id, wanted) ||
           (row->pod != NULL && row->pod->metadata != NULL && strcmp(row->pod->metadata->name, wanted) == 0);
}

static gboolean matches(const Filter *filter, const InventoryContainer *row)
{
    if (filter->state != NULL && strcmp(filter->state, state_name(row->container->state)) != 0)
        return FALSE;
    if (filter->name != NULL && strstr(row->name, filter->name) == NULL)
        return FALSE;
    if (filter->id != NULL && !g_str_has_prefix(row->container->id, filter->id))
        return FALSE;
    if (filter->pod != NULL && !pod_matches(row, filter->pod))
        return FALSE;
    for (guint i = 0; i < filter->labels->len; i++)
        if (!has_label(row->container, g_ptr_array_index(filter->labels, i)))
            return FALSE;
    return TRUE;
}

/* The CRI has no such state; crivirtd gives the reason. */
static gboolean runs_with_reason(const Runtime__V1__ContainerStatus *status, const char *reason)
{
    return status->state == STATE(RUNNING) && strcmp(status->reason, reason) == 0;
}

static gboolean is_paused(const Runtime__V1__ContainerStatus *status)
{
    return runs_with_reason(status, "Paused");
}

static gboolean is_hibernated(const Runtime__V1__ContainerStatus *status)
{
    return runs_with_reason(status, "Hibernated");
}

static const char *up_note(const Runtime__V1__ContainerStatus *status)
{
    if (is_hibernated(status))
        return " (Hibernated)";
    return is_paused(status) ? " (Paused)" : "";
}

/* Return: the state as crivirt shows it, of which the CRI has not all. */
static const char *shown_state(const Runtime__V1__ContainerStatus *status)
{
    if (is_hibernated(status))
        return "hibernated";
    return is_paused(status) ? "paused" : state_name(status->state);
}

/* "Up 3 minutes", "Exited (0) 2 hours ago" */
static char *status_text(const Runtime__V1__ContainerStatus *status)
{
    gint64 now_ns = human_now_ns();
    g_autofree char *duration = NULL;
    g_autofree char *ago = NULL;

    switch (status->state) {
    case STATE(RUNNING):
        duration = human_duration(now_ns - status->started_at);
        return g_strconcat("Up ", duration, up_note(status), NULL);
    case STATE(EXITED):
        ago = human_ago(status->finished_at, now_ns);
        return g_strdup_printf("Exited (%d) %s", status->exit_code, ago);
    case STATE(CREATED):
        return g_strdup("Created");
    default:
        return g_strdup("Unknown");
    }
}

static const char *image_of(const Runtime__V1__Container *container)
{
    const Runtime__V1__ImageSpec *image = container->image;

    if (image == NULL)
        return container->image_ref;
    return *image->user_specified_image != '\0' ? image->user_specified_image : image->image;
}

static void add_table_row(TextTable *table, const InventoryContainer *row,
                          const Runtime__V1__ContainerStatus *status, gboolean whole_ids)
{
    g_autofree char *id = whole_ids ? g_strdup(row->container->id) : human_short_id(row->container->id);
    g_autofree char *pod =
        whole_ids ? g_strdup(row->container->pod_sandbox_id) : human_short_id(row->container->pod_sandbox_id);
    g_autofree char *created = human_ago(row->container->created_at, human_now_ns());
    g_autofree char *state = status_text(status);

    text_table_add(table, TEXT_ROW(id, image_of(row->container), created, state, pod, row->name));
}

static void add_json_row(JsonWriter *json, const InventoryContainer *row,
                         const Runtime__V1__ContainerStatus *status)
{
    g_autofree char *created = human_rfc3339(status->created_at);
    g_autofree char *started = human_rfc3339(status->started_at);
    g_autofree char *finished = human_rfc3339(status->finished_at);

    json_writer_open_object(json, NULL);
    json_writer_string(json, "id", row->container->id);
    json_writer_string(json, "name", row->name);
    json_writer_string(json, "podId", row->container->pod_sandbox_id);
    json_writer_string(json, "podName",
                       row->pod != NULL && row->pod->metadata != NULL ? row->pod->metadata->name : "");
    json_writer_string(json, "podNamespace",
                       row->pod != NULL && row->pod->metadata != NULL ? row->pod->metadata->namespace_ : "");
    json_writer_int(json, "attempt",
                    row->container->metadata != NULL ? row->container->metadata->attempt : 0);
    json_writer_string(json, "image", image_of(row->container));
    json_writer_string(json, "imageId", row->container->image_id);
    json_writer_string(json, "state", shown_state(status));
    json_writer_int(json, "exitCode", status->exit_code);
    json_writer_string(json, "reason", status->reason);
    json_writer_string(json, "createdAt", created);
    json_writer_string(json, "startedAt", started);
    json_writer_string(json, "finishedAt", finished);
    json_writer_open_object(json, "labels");
    for (size_t i = 0; i < row->container->n_labels; i++)
        json_writer_string(json, row->container->labels[i]->key, row->container->labels[i]->value);
    json_writer_close_object(json);
    json_writer_close_object(json);
}

static gboolean print_ids(const Inventory *inventory, const Filter *filter, gboolean whole_ids,
                          GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (gsize i = 0; i < inventory->n_containers; i++) {
        const char *id = inventory->containers[i].container->id;
        g_autofree char *shown = whole_ids ? g_strdup(id) : human_short_id(id);

        if (matches(filter, &inventory->containers[i]))
            g_string_append_printf(text, "%s\n", shown);
    }
    return cli_print(text->str, error);
}

static gboolean print_containers(Cli *cli, const Inventory *inventory, const Filter *filter, GError **error)
{
    g_autoptr(TextTable) table =
        text_table_new(TEXT_ROW("CONTAINER ID", "IMAGE", "CREATED", "STATUS", "POD ID", "NAMES"));
    g_autoptr(JsonWriter) json = json_writer_new_indented();
    g_autofree char *text = NULL;

    json_writer_open_array(json, NULL);
    for (gsize i = 0; i < inventory->n_containers; i++) {
        const InventoryContainer *row = &inventory->containers[i];
        g_autoptr(GError) failure = NULL;
        const Runtime__V1__ContainerStatus *status;

        if (!matches(filter, row))
            continue;
        status = container_status(cli, row->container->id, &failure);
        if (g_error_matches(failure, CRIVIRT_ERROR, STATUS_NOT_FOUND))
            continue; /* the container was removed since the list was made */
        if (status == NULL) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        }
        add_table_row(table, row, status, options_flag(cli->options, "no-trunc"));
        add_json_row(json, row, status);
    }
    json_writer_close_array(json);
    text = cli->json ? json_writer_copy(json) : text_table_format(table);
    return cli_print(text, error);
}

static gboolean ps_command(Cli *cli, GError **error)
{
    g_autoptr(GPtrArray) labels = g_ptr_array_new();
    Filter filter = {.labels = labels};
    const Inventory *inventory;

    if (!read_filters(cli, &filter, error))
        return FALSE;
    inventory = inventory_load(cli, error);
    if (inventory == NULL)
        return FALSE;
    if (options_flag(cli->options, "quiet"))
        return print_ids(inventory, &filter, options_flag(cli->options, "no-trunc"), error);
    return print_containers(cli, inventory, &filter, error);
}

static const OptionSpec ps_options[] = {
    {"all", 'a', OPTION_FLAG, NULL, "also show containers that do not run"},
    {"quiet", 'q', OPTION_FLAG, NULL, "print only ids"},
    {"no-trunc", 0, OPTION_FLAG, NULL, "print full ids"},
    {"filter", 'f', OPTION_LIST, "KEY=VALUE",
     "status=running|exited|created, name=, id=, pod=, label=KEY[=VALUE]"},
    {NULL},
};

const Command command_ps = {
    .name = "ps",
    .group = "Containers",
    .usage = "[OPTIONS]",
    .help = "List containers",
    .details =
        "Containers made by \"crivirt run\" have a name of their own; all others are shown as POD/CONTAINER.",
    .options = ps_options,
    .lists = TRUE,
    .run = ps_command,
};

/* --- stop, rm ------------------------------------------------------------------------------------------ */

/* A pod made by `run` exists for its one container. */
static gboolean stop_one(Cli *cli, const InventoryContainer *row, GError **error)
{
    gint64 timeout_s = 0;

    if (!value_parse_seconds(options_value(cli->options, "time", "10"), &timeout_s, error))
        return usage_blame(error, "time");
    return container_stop(cli, row->container->id, timeout_s, error) &&
           (!inventory_pod_is_ours(row->pod) || pod_stop(cli, row->pod->id, error));
}

static gboolean stop_command(Cli *cli, GError **error)
{
    return containers_for_each(cli, stop_one, error);
}

static const OptionSpec stop_options[] = {
    {"time", 't', OPTION_VALUE, "SECONDS", "seconds to wait before killing it (default 10)"},
    {NULL},
};

const Command command_stop = {
    .name = "stop",
    .group = "Containers",
    .usage = "[OPTIONS] CONTAINER...",
    .help = "Stop containers",
    .details = "A pod made by \"crivirt run\" is stopped with its container; its VM ends.",
    .options = stop_options,
    .min_operands = 1,
    .max_operands = -1,
    .run = stop_command,
};

static gboolean remove_one(Cli *cli, const InventoryContainer *row, GError **error)
{
    gboolean force = options_flag(cli->options, "force");

    if (row->container->state == STATE(RUNNING) && !force)
        return fail(error, STATUS_FAILED_PRECONDITION, "it is running; stop it first, or use -f");
    if (force && !container_stop(cli, row->container->id, 0, error))
        return FALSE;
    if (inventory_pod_is_ours(row->pod))
        return pod_remove(cli, row->pod->id, pod_log_directory(row->pod), error);
    return container_remove(cli, row->container->id, error);
}

static gboolean rm_command(Cli *cli, GError **error)
{
    return containers_for_each(cli, remove_one, error);
}

static const OptionSpec rm_options[] = {
    {"force", 'f', OPTION_FLAG, NULL, "kill it first if it runs"},
    {NULL},
};

const Command command_rm = {
    .name = "rm",
    .group = "Containers",
    .usage = "[OPTIONS] CONTAINER...",
    .help = "Remove containers",
    .details = "A pod made by \"crivirt run\" is removed with its container and its logs.",
    .options = rm_options,
    .min_operands = 1,
    .max_operands = -1,
    .run = rm_command,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt stats. */
#include <unistd.h>

#include "common/error.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/human.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/proto_json.h"
#include "cri-server/cli/text_table.h"

enum { REFRESH_MS = 2000, FIRST_RATE_MS = 1000 };

typedef Runtime__V1__UInt64Value Value;

static guint64 value_of(const Value *value)
{
    return value != NULL ? value->value : 0;
}

static char *size_cell(const Value *value)
{
    return value != NULL ? human_size(value->value) : g_strdup("--");
}

static char *cpu_cell(const Runtime__V1__CpuUsage *cpu)
{
    if (cpu == NULL || cpu->usage_nano_cores == NULL)
        return g_strdup("--");
    return g_strdup_printf("%.2f%%", (double)cpu->usage_nano_cores->value / 1e7);
}

/* ---- containers ---- */

static const char *name_of(const Inventory *inventory, const char *id)
{
    for (gsize i = 0; i < inventory->n_containers; i++)
        if (g_str_equal(inventory->containers[i].container->id, id))
            return inventory->containers[i].name;
    return "";
}

static void add_container(TextTable *table, const Inventory *inventory,
                          const Runtime__V1__ContainerStats *stats)
{
    const Runtime__V1__MemoryUsage *memory = stats->memory;
    g_autofree char *id = human_short_id(stats->attributes->id);
    g_autofree char *cpu = cpu_cell(stats->cpu);
    g_autofree char *used = size_cell(memory != NULL ? memory->working_set_bytes : NULL);
    g_autofree char *limit =
        memory != NULL && memory->available_bytes != NULL
            ? human_size(value_of(memory->available_bytes) + value_of(memory->working_set_bytes))
            : g_strdup("--");
    g_autofree char *disk =
        size_cell(stats->writable_layer != NULL ? stats->writable_layer->used_bytes : NULL);

    text_table_add(table, TEXT_ROW(id, name_of(inventory, stats->attributes->id), cpu, used, limit, disk));
}

static gboolean is_measured(const Runtime__V1__ContainerStats *stats)
{
    return stats->cpu != NULL || stats->memory != NULL;
}

static const Runtime__V1__ListContainerStatsResponse *ask_containers(Cli *cli, GError **error)
{
    Runtime__V1__ListContainerStatsRequest request = RUNTIME__V1__LIST_CONTAINER_STATS_REQUEST__INIT;

    return cli_runtime_call(cli, "ListContainerStats", &request.base, CLI_CALL_MS, error);
}

static char *show_containers(Cli *cli, GError **error)
{
    const Runtime__V1__ListContainerStatsResponse *list = ask_containers(cli, error);
    const Inventory *inventory = list != NULL ? inventory_load(cli, error) : NULL;
    g_autoptr(TextTable) table =
        text_table_new(TEXT_ROW("CONTAINER ID", "NAME", "CPU %", "MEMORY", "LIMIT", "DISK"));
    g_autoptr(JsonWriter) json = NULL;

    if (inventory == NULL)
        return NULL;
    if (cli->json) {
        json = json_writer_new_indented();
        proto_json_message(json, NULL, &list->base);
        return json_writer_copy(json);
    }
    for (size_t i = 0; i < list->n_stats; i++)
        if (is_measured(list->stats[i]))
            add_container(table, inventory, list->stats[i]);
    return text_table_format(table);
}

/* ---- pods ---- */

static void add_pod(TextTable *table, const Runtime__V1__PodSandboxStats *stats)
{
    static const Runtime__V1__LinuxPodSandboxStats none = RUNTIME__V1__LINUX_POD_SANDBOX_STATS__INIT;
    const Runtime__V1__LinuxPodSandboxStats *figures = stats->linux != NULL ? stats->linux : &none;
    const Runtime__V1__PodSandboxMetadata *metadata = stats->attributes->metadata;
    const Runtime__V1__NetworkInterfaceUsage *network =
        figures->network != NULL ? figures->network->default_interface : NULL;
    g_autofree char *id = human_short_id(stats->attributes->id);
    g_autofree char *cpu = cpu_cell(figures->cpu);
    g_autofree char *memory = size_cell(figures->memory != NULL ? figures->memory->working_set_bytes : NULL);
    g_autofree char *received = size_cell(network != NULL ? network->rx_bytes : NULL);
    g_autofree char *sent = size_cell(network != NULL ? network->tx_bytes : NULL);
    g_autofree char *processes = g_strdup_printf(
        "%" G_GUINT64_FORMAT, value_of(figures->process != NULL ? figures->process->process_count : NULL));

    text_table_add(table, TEXT_ROW(id, metadata != NULL ? metadata->name : "",
                                   metadata != NULL ? metadata->namespace_ : "", cpu, memory, received, sent,
                                   processes));
}

static char *show_pods(Cli *cli, GError **error)
{
    Runtime__V1__ListPodSandboxStatsRequest request = RUNTIME__V1__LIST_POD_SANDBOX_STATS_REQUEST__INIT;
    const Runtime__V1__ListPodSandboxStatsResponse *list =
        cli_runtime_call(cli, "ListPodSandboxStats", &request.base, CLI_CALL_MS, error);
    g_autoptr(TextTable) table = text_table_new(
        TEXT_ROW("POD ID", "NAME", "NAMESPACE", "CPU %", "MEMORY", "RECEIVED", "SENT", "PROCESSES"));
    g_autoptr(JsonWriter) json = NULL;

    if (list == NULL)
        return NULL;
    if (cli->json) {
        json = json_writer_new_indented();
        proto_json_message(json, NULL, &list->base);
        return json_writer_copy(json);
    }
    for (size_t i = 0; i < list->n_stats; i++)
        add_pod(table, list->stats[i]);
    return text_table_format(table);
}

/* ---- the command ---- */

static gboolean pause_for(Cli *cli, int milliseconds, GError **error)
{
    GPollFD watched;

    if (g_cancellable_make_pollfd(cli->interrupt, &watched)) {
        g_poll(&watched, 1, milliseconds);
        g_cancellable_release_fd(cli->interrupt);
    }
    return !g_cancellable_is_cancelled(cli->interrupt) || fail(error, STATUS_CANCELLED, "interrupted");
}

/* The arena is emptied for each display, because the command may run for days. */
static gboolean show_once(Cli *cli, gboolean clear, GError **error)
{
    g_autoptr(Arena) arena = arena_new();
    Arena *outer = cli->arena;
    g_autofree char *text = NULL;

    cli->arena = arena;
    text = options_flag(cli->options, "pods") ? show_pods(cli, error) : show_containers(cli, error);
    cli->arena = outer;
    return text != NULL && (!clear || cli_print("\033[H\033[J", error)) && cli_print(text, error);
}

static gboolean stats_command(Cli *cli, GError **error)
{
    gboolean clear = !cli->json && isatty(STDOUT_FILENO);

    /* A rate needs two samples. */
    if (ask_containers(cli, error) == NULL || !pause_for(cli, FIRST_RATE_MS, error) ||
        !show_once(cli, clear && !options_flag(cli->options, "no-stream"), error))
        return FALSE;
    while (!options_flag(cli->options, "no-stream"))
        if (!pause_for(cli, REFRESH_MS, error) || !show_once(cli, clear, error))
            return FALSE;
    return TRUE;
}

static const OptionSpec stats_options[] = {
    {"no-stream", 0, OPTION_FLAG, NULL, "show the values once and exit"},
    {"pods", 'p', OPTION_FLAG, NULL, "show pods, and what their VMs use on this node"},
    {NULL},
};

const Command command_stats = {
    .name = "stats",
    .group = "Containers",
    .usage = "[OPTIONS]",
    .help = "Show the resource use of running containers",
    .details =
        "MEMORY of a container is its working set in the guest; of a pod, the memory that its VM takes\n"
        "on this node, with the guest's kernel and page cache.",
    .options = stats_options,
    .lists = TRUE,
    .run = stats_command,
};

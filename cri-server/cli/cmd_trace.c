/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt trace. */
#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/terminal.h"
#include "cri-server/cli/trace_view.h"

enum { USUAL_COLUMNS = 100 };

/* The trace is part of the CRI's verbose status, so any client can get it. */
static const char *ask_trace(Cli *cli, const char *name, GError **error)
{
    Runtime__V1__PodSandboxStatusRequest request = RUNTIME__V1__POD_SANDBOX_STATUS_REQUEST__INIT;
    const Runtime__V1__PodSandboxStatusResponse *status;
    const Inventory *inventory = inventory_load(cli, error);
    const Runtime__V1__PodSandbox *pod =
        inventory != NULL ? inventory_pod(cli, inventory, name, error) : NULL;

    if (pod == NULL)
        return NULL;
    request.pod_sandbox_id = pod->id;
    request.verbose = TRUE;
    status = cli_runtime_call(cli, "PodSandboxStatus", &request.base, CLI_CALL_MS, error);
    if (status == NULL)
        return NULL;
    for (size_t i = 0; i < status->n_info; i++)
        if (g_str_equal(status->info[i]->key, "trace"))
            return status->info[i]->value;
    fail(error, STATUS_UNIMPLEMENTED, "the daemon's status has no trace");
    return NULL;
}

static gboolean print_timeline(const char *trace, GError **error)
{
    g_autoptr(TraceView) view = trace_view_parse(trace, error);
    g_autofree char *text = NULL;
    guint columns;
    guint rows;

    if (view == NULL)
        return FALSE;
    if (!terminal_size(&columns, &rows))
        columns = USUAL_COLUMNS;
    text = trace_view_format(view, columns, g_get_charset(NULL));
    return cli_print(text, error);
}

static gboolean trace_command(Cli *cli, GError **error)
{
    const char *file = options_value(cli->options, "output", NULL);
    const char *trace = ask_trace(cli, options_operands(cli->options)[0], error);
    g_autofree char *line = NULL;

    if (trace == NULL)
        return FALSE;
    if (file != NULL)
        return file_write_atomic(file, trace, strlen(trace), 0644, error);
    if (!options_flag(cli->options, "json"))
        return print_timeline(trace, error);
    line = g_strconcat(trace, "\n", NULL);
    return cli_print(line, error);
}

static const OptionSpec trace_options[] = {
    {"json", 0, OPTION_FLAG, NULL, "print trace events, as Perfetto and chrome://tracing read them"},
    {"output", 'o', OPTION_VALUE, "FILE", "write them to a file"},
    {NULL},
};

const Command command_trace = {
    .name = "trace",
    .group = "Pods",
    .usage = "[OPTIONS] POD",
    .help = "Show how long each phase of a pod's start took",
    .details =
        "Phases of the pod: queue (for other guests that start), create (the VM), restore (of which\n"
        "load: the template's memory) or boot, grow (beyond the size of the template), network (CNI,\n"
        "beside them), setup (the agent). Phases of each container: attach (layers), volumes, create,\n"
        "start. The daemon keeps them in memory as long as the pod exists, and drops the oldest of\n"
        "the containers when many have started.",
    .options = trace_options,
    .min_operands = 1,
    .max_operands = 1,
    .run = trace_command,
};

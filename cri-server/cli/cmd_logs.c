/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt logs. */
#include <string.h>

#include "common/error.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/human.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/log_output.h"
#include "cri-server/cli/values.h"

static const InventoryContainer *first_operand(Cli *cli, GError **error)
{
    const Inventory *inventory = inventory_load(cli, error);

    if (inventory == NULL)
        return NULL;
    return inventory_container(cli, inventory, options_operands(cli->options)[0], error);
}

static gboolean read_options(Cli *cli, LogOutput *output, GError **error)
{
    const char *tail = options_value(cli->options, "tail", "all");
    const char *since = options_value(cli->options, "since", NULL);

    output->tail = -1;
    if (strcmp(tail, "all") != 0 && !value_parse_count(tail, &output->tail, error))
        return usage_blame(error, "tail");
    if (since != NULL && !value_parse_since(since, human_now_ns(), &output->since_ns, error))
        return usage_blame(error, "since");
    output->follow = options_flag(cli->options, "follow");
    output->timestamps = options_flag(cli->options, "timestamps");
    return TRUE;
}

static gboolean logs_command(Cli *cli, GError **error)
{
    LogOutput output = {0};
    const InventoryContainer *row;
    const Runtime__V1__ContainerStatus *status;

    if (!read_options(cli, &output, error))
        return FALSE;
    row = first_operand(cli, error);
    status = row != NULL ? container_status(cli, row->container->id, error) : NULL;
    if (status == NULL)
        return FALSE;
    if (*status->log_path == '\0')
        return fail(error, STATUS_FAILED_PRECONDITION, "container %s has no log file", row->name);
    output.container_id = row->container->id;
    output.path = status->log_path;
    return log_output(cli, &output, error);
}

static const OptionSpec logs_options[] = {
    {"follow", 'f', OPTION_FLAG, NULL, "follow the log until the container ends"},
    {"tail", 'n', OPTION_VALUE, "N", "only the last N lines (default all)"},
    {"timestamps", 't', OPTION_FLAG, NULL, "show when each line was written"},
    {"since", 0, OPTION_VALUE, "TIME", "only lines since this time: 10m, 1h30m, 2024-05-01T12:00:00Z"},
    {NULL},
};

const Command command_logs = {
    .name = "logs",
    .group = "Containers",
    .usage = "[OPTIONS] CONTAINER",
    .help = "Show what a container wrote",
    .details =
        "Prints the container's stdout on stdout and its stderr on stderr. Reads the log file on this node.",
    .options = logs_options,
    .min_operands = 1,
    .max_operands = 1,
    .run = logs_command,
};

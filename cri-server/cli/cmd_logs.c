/* crivirt logs, exec. */
#include <stdio.h>
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
        return fail(error, STATUS_FAILED_PRECONDITION, "container %s was made without a log file", row->name);
    output.container_id = row->container->id;
    output.path = status->log_path;
    return log_output(cli, &output, error);
}

static const OptionSpec logs_options[] = {
    {"follow", 'f', OPTION_FLAG, NULL, "go on until the container ends"},
    {"tail", 'n', OPTION_VALUE, "N", "only the last N lines (default all)"},
    {"timestamps", 't', OPTION_FLAG, NULL, "show when each line was written"},
    {"since", 0, OPTION_VALUE, "TIME", "only lines since then: 10m, 1h30m, 2024-05-01T12:00:00Z"},
    {NULL},
};

const Command command_logs = {
    .name = "logs",
    .group = "Containers",
    .usage = "[OPTIONS] CONTAINER",
    .help = "Show what a container wrote",
    .details = "Its stdout comes on stdout, its stderr on stderr. The log file is read on this machine.",
    .options = logs_options,
    .min_operands = 1,
    .max_operands = 1,
    .run = logs_command,
};

/* --- exec ---------------------------------------------------------------------------------------------- */

static gboolean write_all(FILE *stream, const ProtobufCBinaryData *bytes)
{
    return bytes->len == 0 ||
           (fwrite(bytes->data, 1, bytes->len, stream) == bytes->len && fflush(stream) == 0);
}

static gboolean exec_in(Cli *cli, const char *id, gint64 timeout_s, GError **error)
{
    Runtime__V1__ExecSyncRequest request = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
    const char *const *words = options_operands(cli->options) + 1;
    const Runtime__V1__ExecSyncResponse *response;

    request.container_id = (char *)id;
    request.cmd = (char **)(void *)words;
    request.n_cmd = options_n_operands(cli->options) - 1;
    request.timeout = timeout_s;
    response = cli_runtime_call(cli, "ExecSync", &request.base,
                                timeout_s == 0 ? CLI_NO_LIMIT_MS : CLI_CALL_MS + timeout_s * 1000, error);
    if (response == NULL)
        return FALSE;
    if (!write_all(stdout, &response->stdout) || !write_all(stderr, &response->stderr))
        return fail(error, STATUS_CANCELLED, "nobody reads the output");
    cli->exit_code = response->exit_code;
    return TRUE;
}

static gboolean exec_command(Cli *cli, GError **error)
{
    gint64 timeout_s = 0;
    const InventoryContainer *row;

    if (options_flag(cli->options, "interactive") || options_flag(cli->options, "tty"))
        return usage_fail(error,
                          "-i (--interactive) and -t (--tty) are not possible yet: crivirtd cannot stream "
                          "a terminal so far");
    if (!value_parse_seconds(options_value(cli->options, "timeout", "0"), &timeout_s, error))
        return usage_blame(error, "timeout");
    row = first_operand(cli, error);
    if (row == NULL)
        return FALSE;
    if (!exec_in(cli, row->container->id, timeout_s, error)) {
        cli->exit_code = program_failure_exit_code((*error)->message);
        g_prefix_error(error, "cannot run %s in %s: ", options_operands(cli->options)[1], row->name);
        return FALSE;
    }
    return TRUE;
}

static const OptionSpec exec_options[] = {
    {"timeout", 0, OPTION_VALUE, "SECONDS", "kill it after so long (default 0: never)"},
    {"interactive", 'i', OPTION_FLAG, NULL, "not possible yet"},
    {"tty", 't', OPTION_FLAG, NULL, "not possible yet"},
    {NULL},
};

const Command command_exec = {
    .name = "exec",
    .group = "Containers",
    .usage = "[OPTIONS] CONTAINER COMMAND [ARG...]",
    .help = "Run a command in a running container",
    .details = "What it writes is shown when it has ended. Exits with its exit code, or with 125 when "
               "crivirtd failed,\n"
               "126 when the command cannot be run, 127 when it is not there.",
    .options = exec_options,
    .min_operands = 2,
    .max_operands = -1,
    .ends_at_operand = TRUE,
    .error_exit = EXIT_DAEMON,
    .run = exec_command,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt exec, attach. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/stream_run.h"
#include "cri-server/cli/values.h"

static const InventoryContainer *find_container(Cli *cli, const char *name, GError **error)
{
    const Inventory *inventory = inventory_load(cli, error);

    return inventory != NULL ? inventory_container(cli, inventory, name, error) : NULL;
}

/* --- exec ---------------------------------------------------------------------------------------------- */

static gboolean write_all(FILE *stream, const ProtobufCBinaryData *bytes)
{
    return bytes->len == 0 ||
           (fwrite(bytes->data, 1, bytes->len, stream) == bytes->len && fflush(stream) == 0);
}

/* With a time-out: only ExecSync has one, and it returns the output at the end. */
static gboolean exec_sync(Cli *cli, const char *id, gint64 timeout_s, GError **error)
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
        return fail(error, STATUS_CANCELLED, "cannot write the output: its reader has closed it");
    cli->exit_code = response->exit_code;
    return TRUE;
}

static gboolean exec_streamed(Cli *cli, const char *id, GError **error)
{
    gboolean input = options_flag(cli->options, "interactive");
    gboolean tty = options_flag(cli->options, "tty");
    StreamRun run = {
        .in_fd = input ? STDIN_FILENO : -1, .out_fd = STDOUT_FILENO, .err_fd = STDERR_FILENO, .tty = tty};
    StreamAddress address;

    return stream_exec_address(cli, id, options_operands(cli->options) + 1, input, tty, &address, error) &&
           stream_run(cli, &address, &run, error);
}

static gboolean exec_in(Cli *cli, const char *id, gint64 timeout_s, GError **error)
{
    g_autoptr(GError) failure = NULL;
    gboolean plain = !options_flag(cli->options, "interactive") && !options_flag(cli->options, "tty");

    if (timeout_s > 0)
        return exec_sync(cli, id, timeout_s, error);
    if (exec_streamed(cli, id, &failure))
        return TRUE;
    /* Without streams: for a daemon that serves none. */
    if (plain && g_error_matches(failure, CRIVIRT_ERROR, STATUS_UNIMPLEMENTED))
        return exec_sync(cli, id, timeout_s, error);
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}

static gboolean exec_command(Cli *cli, GError **error)
{
    gint64 timeout_s = 0;
    const InventoryContainer *row;

    if (!value_parse_seconds(options_value(cli->options, "timeout", "0"), &timeout_s, error))
        return usage_blame(error, "timeout");
    if (timeout_s > 0 && (options_flag(cli->options, "interactive") || options_flag(cli->options, "tty")))
        return usage_fail(error, "--timeout does not go with -i or -t");
    row = find_container(cli, options_operands(cli->options)[0], error);
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
    {"interactive", 'i', OPTION_FLAG, NULL, "pass standard input to the program"},
    {"tty", 't', OPTION_FLAG, NULL, "give the program a terminal"},
    {"timeout", 0, OPTION_VALUE, "SECONDS", "kill the command after this time (default 0: never)"},
    {NULL},
};

const Command command_exec = {
    .name = "exec",
    .group = "Containers",
    .usage = "[OPTIONS] CONTAINER COMMAND [ARG...]",
    .help = "Run a command in a running container",
    .details =
        "Exits with its exit code, or with 125 when crivirtd failed, 126 when the command cannot be run,\n"
        "127 when it does not exist. Shows the output as it is written, or at the end with --timeout.\n"
        "\n"
        "  crivirt exec -it web sh\n"
        "  crivirt exec -i web sh -c 'cat > /tmp/file' < file",
    .options = exec_options,
    .min_operands = 2,
    .max_operands = -1,
    .ends_at_operand = TRUE,
    .error_exit = EXIT_DAEMON,
    .run = exec_command,
};

/* --- attach -------------------------------------------------------------------------------------------- */

static gboolean attach_command(Cli *cli, GError **error)
{
    const InventoryContainer *row = find_container(cli, options_operands(cli->options)[0], error);
    gboolean input = !options_flag(cli->options, "no-stdin");
    gboolean tty = options_flag(cli->options, "tty");
    StreamRun run = {.in_fd = input ? STDIN_FILENO : -1,
                     .out_fd = STDOUT_FILENO,
                     .err_fd = STDERR_FILENO,
                     .tty = tty && input};
    StreamAddress address;

    return row != NULL && stream_attach_address(cli, row->container->id, input, tty, &address, error) &&
           stream_run(cli, &address, &run, error);
}

static const OptionSpec attach_options[] = {
    {"tty", 't', OPTION_FLAG, NULL, "the container has a terminal (it was run with -t)"},
    {"no-stdin", 0, OPTION_FLAG, NULL, "only show output"},
    {NULL},
};

const Command command_attach = {
    .name = "attach",
    .group = "Containers",
    .usage = "[OPTIONS] CONTAINER",
    .help = "Connect to a container's input and output",
    .details =
        "Shows output from now on; \"crivirt logs\" shows earlier output. With -t, Ctrl-P Ctrl-Q detaches;\n"
        "otherwise the end of the input or Ctrl-C does. The container goes on.",
    .options = attach_options,
    .min_operands = 1,
    .max_operands = 1,
    .run = attach_command,
};

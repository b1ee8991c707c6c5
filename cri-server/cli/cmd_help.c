/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt help. */
#include "cri-server/cli/commands.h"
#include "cri-server/cli/pages.h"

static gboolean help_command(Cli *cli, GError **error)
{
    const char *const *operands = options_operands(cli->options);
    const Command *command = operands[0] != NULL ? command_find(operands[0]) : NULL;
    g_autofree char *text = NULL;

    if (operands[0] != NULL && command == NULL)
        return usage_fail(error, "\"%s\" is not a command", operands[0]);
    if (options_flag(cli->options, "man"))
        text = page_crivirt();
    else
        text = command != NULL ? command_help_text(command) : command_list_text();
    return cli_print(text, error);
}

static const OptionSpec help_options[] = {
    {"man", 0, OPTION_FLAG, NULL, "print the manual page instead: crivirt help --man | man -l -"},
    {NULL},
};

const Command command_help = {
    .name = "help",
    .group = "Everything",
    .usage = "[COMMAND]",
    .help = "Explain a command",
    .options = help_options,
    .max_operands = 1,
    .run = help_command,
};

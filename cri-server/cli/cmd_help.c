/* crivirt help, and what shell completion asks. */
#include <string.h>

#include "cri-server/cli/commands.h"

static gboolean help_command(Cli *cli, GError **error)
{
    const char *const *operands = options_operands(cli->options);
    const Command *command = operands[0] != NULL ? command_find(operands[0]) : NULL;
    g_autofree char *text = NULL;

    if (operands[0] != NULL && command == NULL)
        return usage_fail(error, "\"%s\" is not a command", operands[0]);
    if (options_flag(cli->options, "man"))
        text = command_man_page();
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

static void append_names(GString *text, const OptionSpec *const *tables)
{
    for (; *tables != NULL; tables++)
        for (const OptionSpec *option = *tables; option->name != NULL; option++)
            g_string_append_printf(text, "--%s\n", option->name);
}

/* Without an operand the commands, with one that command's options; the shell picks what fits. */
static gboolean complete_command(Cli *cli, GError **error)
{
    const char *name = options_operands(cli->options)[0];
    const Command *command = name != NULL ? command_find(name) : NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    const OptionSpec *tables[4];

    if (name == NULL) {
        for (gsize i = 0; commands[i] != NULL; i++)
            if (commands[i]->group != NULL)
                g_string_append_printf(text, "%s\n", commands[i]->name);
    } else if (command != NULL) {
        command_option_tables(command, tables);
        append_names(text, tables);
    }
    return cli_print(text->str, error);
}

const Command command_complete = {
    .name = "__complete",
    .usage = "[COMMAND]",
    .help = "Print the words that may follow, for shell completion",
    .max_operands = 1,
    .run = complete_command,
};

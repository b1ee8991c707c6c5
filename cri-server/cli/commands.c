/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/commands.h"

#include <string.h>

/* clang-format off */
const Command *const commands[] = {
    &command_run,
    &command_create,
    &command_start,
    &command_restart,
    &command_ps,
    &command_logs,
    &command_stats,
    &command_exec,
    &command_attach,
    &command_cp,
    &command_stop,
    &command_kill,
    &command_pause,
    &command_unpause,
    &command_wait,
    &command_top,
    &command_rm,
    &command_pods,
    &command_port_forward,
    &command_rmp,
    &command_hibernate,
    &command_wake,
    &command_checkpoint,
    &command_restore,
    &command_shell,
    &command_dmesg,
    &command_trace,
    &command_images,
    &command_pull,
    &command_load,
    &command_login,
    &command_logout,
    &command_rmi,
    &command_inspect,
    &command_events,
    &command_gc,
    &command_prune,
    &command_system,
    &command_support,
    &command_doctor,
    &command_info,
    &command_version,
    &command_help,
    &command_reap,
    &command_unpack,
    &command_complete,
    &command_generate,
    NULL,
};
/* clang-format on */

const OptionSpec command_global_options[] = {
    {"socket", 'H', OPTION_VALUE, "PATH",
     "crivirtd's socket (default /run/crivirt/crivirtd.sock, or $CRIVIRT_SOCKET)"},
    {"log-dir", 0, OPTION_VALUE, "DIR",
     "log directory of pods made by run (default /var/log/crivirt/pods, or $CRIVIRT_LOG_DIR)"},
    {"help", 'h', OPTION_FLAG, NULL, "show this help"},
    {NULL},
};

static const OptionSpec list_options[] = {
    {"format", 0, OPTION_VALUE, "table|json", "how to print (default table)"},
    {"json", 0, OPTION_FLAG, NULL, "short for --format json"},
    {NULL},
};

const Command *command_find(const char *name)
{
    for (gsize i = 0; commands[i] != NULL; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

void command_option_tables(const Command *command, const OptionSpec *ret_tables[4])
{
    gsize n = 0;

    if (command->options != NULL)
        ret_tables[n++] = command->options;
    if (command->lists)
        ret_tables[n++] = list_options;
    ret_tables[n++] = command_global_options;
    ret_tables[n] = NULL;
}

/* --- help ---------------------------------------------------------------------------------------------- */

char *option_spec_title(const OptionSpec *option)
{
    g_autofree char *letter = option->letter != 0 ? g_strdup_printf("-%c, ", option->letter) : NULL;

    return g_strconcat(letter != NULL ? letter : "    ", "--", option->name, option->value != NULL ? " " : "",
                       option->value != NULL ? option->value : "", NULL);
}

static void append_options(GString *text, const char *title, const OptionSpec *options)
{
    enum { HELP_COLUMN = 30 };

    g_string_append_printf(text, "\n%s:\n", title);
    for (; options->name != NULL; options++) {
        g_autofree char *name = option_spec_title(options);

        g_string_append_printf(text, "  %-*s %s\n", HELP_COLUMN, name, options->help);
    }
}

char *command_help_text(const Command *command)
{
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "Usage:  crivirt %s%s%s\n\n%s\n", command->name,
                           *command->usage != '\0' ? " " : "", command->usage, command->help);
    if (command->details != NULL)
        g_string_append_printf(text, "\n%s\n", command->details);
    if (command->options != NULL)
        append_options(text, "Options", command->options);
    if (command->lists)
        append_options(text, "Output", list_options);
    append_options(text, "Global options", command_global_options);
    return g_string_free(text, FALSE);
}

char *command_list_text(void)
{
    GString *text = g_string_new("Usage:  crivirt [OPTIONS] COMMAND\n\n"
                                 "Runs containers in pods, each pod in a VM of its own\n");
    const char *group = NULL;

    for (gsize i = 0; commands[i] != NULL; i++) {
        if (commands[i]->group == NULL)
            continue;
        if (g_strcmp0(group, commands[i]->group) != 0)
            g_string_append_printf(text, "\n%s:\n", commands[i]->group);
        group = commands[i]->group;
        g_string_append_printf(text, "  %-12s %s\n", commands[i]->name, commands[i]->help);
    }
    append_options(text, "Options", command_global_options);
    g_string_append(text, "\n\"crivirt COMMAND --help\" explains a command.\n");
    return g_string_free(text, FALSE);
}

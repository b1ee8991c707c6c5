#include "cri-server/cli/commands.h"

#include <string.h>

/* A row each. */
/* clang-format off */
const Command *const commands[] = {
    &command_run,
    &command_ps,
    &command_logs,
    &command_stats,
    &command_exec,
    &command_attach,
    &command_cp,
    &command_stop,
    &command_rm,
    &command_pods,
    &command_port_forward,
    &command_rmp,
    &command_trace,
    &command_images,
    &command_pull,
    &command_load,
    &command_rmi,
    &command_inspect,
    &command_events,
    &command_gc,
    &command_doctor,
    &command_info,
    &command_version,
    &command_help,
    &command_reap,
    &command_complete,
    NULL,
};
/* clang-format on */

const OptionSpec command_global_options[] = {
    {"socket", 'H', OPTION_VALUE, "PATH",
     "crivirtd's socket (default /run/crivirt/crivirtd.sock, or $CRIVIRT_SOCKET)"},
    {"log-dir", 0, OPTION_VALUE, "DIR",
     "where pods made by run keep their logs (default /var/log/crivirt/pods, or $CRIVIRT_LOG_DIR)"},
    {"help", 'h', OPTION_FLAG, NULL, "show this help"},
    {NULL},
};

static const OptionSpec list_options[] = {
    {"format", 0, OPTION_VALUE, "table|json", "how to print (default table)"},
    {"json", 0, OPTION_FLAG, NULL, "the same as --format json"},
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

/* "-m, --memory SIZE" */
static char *option_title(const OptionSpec *option)
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
        g_autofree char *name = option_title(options);

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
    append_options(text, "Everywhere", command_global_options);
    return g_string_free(text, FALSE);
}

/* Calls func for the commands of one group after the other, in the order of the table. */
static void for_each_group(void (*group)(GString *, const char *), void (*row)(GString *, const Command *),
                           GString *text)
{
    const char *last = NULL;

    for (gsize i = 0; commands[i] != NULL; i++) {
        if (commands[i]->group == NULL)
            continue;
        if (last == NULL || strcmp(last, commands[i]->group) != 0)
            group(text, commands[i]->group);
        last = commands[i]->group;
        row(text, commands[i]);
    }
}

static void list_group(GString *text, const char *name)
{
    g_string_append_printf(text, "\n%s:\n", name);
}

static void list_row(GString *text, const Command *command)
{
    g_string_append_printf(text, "  %-12s %s\n", command->name, command->help);
}

char *command_list_text(void)
{
    GString *text = g_string_new("Usage:  crivirt [OPTIONS] COMMAND\n\n"
                                 "Runs containers in pods, each pod a virtual machine of its own\n");

    for_each_group(list_group, list_row, text);
    append_options(text, "Options", command_global_options);
    g_string_append(text, "\n\"crivirt COMMAND --help\" says more about a command.\n");
    return g_string_free(text, FALSE);
}

/* --- the manual page ----------------------------------------------------------------------------------- */

/* roff reads "\", "-" and a leading "." or "'" as its own. */
static void append_roff(GString *text, const char *plain)
{
    gboolean line_start = TRUE;

    for (; *plain != '\0'; plain++) {
        if (line_start && (*plain == '.' || *plain == '\''))
            g_string_append(text, "\\&");
        if (*plain == '\\')
            g_string_append(text, "\\e");
        else if (*plain == '-')
            g_string_append(text, "\\-");
        else
            g_string_append_c(text, *plain);
        line_start = *plain == '\n';
    }
}

static void man_options(GString *text, const OptionSpec *options)
{
    for (; options != NULL && options->name != NULL; options++) {
        g_autofree char *title = option_title(options);

        g_string_append(text, ".TP\n.B ");
        append_roff(text, g_strstrip(title));
        g_string_append_c(text, '\n');
        append_roff(text, options->help);
        g_string_append_c(text, '\n');
    }
}

static void man_group(GString *text, const char *name)
{
    g_string_append(text, ".SH ");
    for (; *name != '\0'; name++)
        g_string_append_c(text, g_ascii_toupper(*name));
    g_string_append_c(text, '\n');
}

static void man_row(GString *text, const Command *command)
{
    g_string_append_printf(text, ".SS crivirt %s ", command->name);
    append_roff(text, command->usage);
    g_string_append_c(text, '\n');
    append_roff(text, command->help);
    g_string_append(text, ".\n");
    if (command->details != NULL) {
        g_string_append(text, ".PP\n.nf\n");
        append_roff(text, command->details);
        g_string_append(text, "\n.fi\n");
    }
    man_options(text, command->options);
    man_options(text, command->lists ? list_options : NULL);
}

char *command_man_page(void)
{
    GString *text = g_string_new(".TH CRIVIRT 1 \"\" \"crivirt " CRIVIRT_VERSION "\" \"User commands\"\n"
                                 ".SH NAME\ncrivirt \\- run containers in pods that are virtual machines\n"
                                 ".SH SYNOPSIS\n.B crivirt\n[OPTIONS] COMMAND [ARG...]\n"
                                 ".SH OPTIONS\n");

    man_options(text, command_global_options);
    for_each_group(man_group, man_row, text);
    g_string_append(text,
                    ".SH EXIT STATUS\n"
                    "0 when all went well, 1 for an error, 2 for wrong usage. "
                    ".BR run and .BR exec\nexit with the code of the program in the container; 125 when "
                    "the daemon failed, 126 when the\nprogram cannot be run, 127 when it is not there.\n");
    return g_string_free(text, FALSE);
}

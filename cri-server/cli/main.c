/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt: the command line of crivirtd. */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "common/bundle.h"
#include "common/error.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/interrupt.h"

enum { EXIT_ERROR = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

#define DEFAULT_SOCKET "/run/crivirt/crivirtd.sock"
#define DEFAULT_LOG_ROOT "/var/log/crivirt/pods"

/* Return: the value of the command's own option, or of the one before the command, or of the environment. */
static const char *setting_value(const Options *own, const Options *global, const char *name,
                                 const char *environment, const char *fallback)
{
    const char *value = g_getenv(environment);

    if (value == NULL || *value == '\0')
        value = fallback;
    return options_value(own, name, options_value(global, name, value));
}

static gboolean check_operands(const Command *command, guint n_operands, GError **error)
{
    if ((int)n_operands < command->min_operands)
        return usage_fail(error, "%s needs %s; usage: crivirt %s %s", command->name,
                          command->min_operands == 1 ? "an argument" : "more arguments", command->name,
                          command->usage);
    if (command->max_operands >= 0 && (int)n_operands > command->max_operands)
        return usage_fail(error, "too many arguments for %s; usage: crivirt %s %s", command->name,
                          command->name, command->usage);
    return TRUE;
}

static int report_failure(const Command *command, const GError *error)
{
    if (error->domain == USAGE_ERROR) {
        cli_warn("%s", error->message);
        if (command != NULL)
            fprintf(stderr, "See \"crivirt %s --help\".\n", command->name);
        else
            fprintf(stderr, "See \"crivirt --help\".\n");
        return EXIT_USAGE;
    }
    if (g_error_matches(error, CRIVIRT_ERROR, STATUS_CANCELLED))
        return EXIT_INTERRUPTED;
    cli_warn("%s", error->message);
    return command != NULL && command->error_exit != 0 ? command->error_exit : EXIT_ERROR;
}

static int run_command(const Command *command, const Options *own, const Options *global)
{
    g_autoptr(Arena) arena = arena_new();
    g_autoptr(GError) error = NULL;
    Cli cli = {
        .options = own,
        .socket_path = setting_value(own, global, "socket", "CRIVIRT_SOCKET", DEFAULT_SOCKET),
        .log_root = setting_value(own, global, "log-dir", "CRIVIRT_LOG_DIR", DEFAULT_LOG_ROOT),
        .json = options_flag(own, "json") || g_str_equal(options_value(own, "format", "table"), "json"),
        .arena = arena,
    };
    gboolean good;
    int result;

    if (!check_operands(command, options_n_operands(own), &error))
        return report_failure(command, error);
    cli.interrupt = interrupt_start();
    good = command->run(&cli, &error);
    grpc_client_close(cli.client);
    if (good)
        return cli.exit_code;
    result = report_failure(command, error);
    /* A command may have set a more precise exit code (126, 127). */
    return cli.exit_code != 0 && result != EXIT_USAGE && result != EXIT_INTERRUPTED ? cli.exit_code : result;
}

static int show_help(const Command *command)
{
    g_autofree char *text = command != NULL ? command_help_text(command) : command_list_text();

    fputs(text, stdout);
    return 0;
}

static int dispatch(const char *const *argv, GError **error, const Command **ret_command)
{
    static const OptionSpec program_options[] = {{"version", 'v', OPTION_FLAG, NULL, "show the version"},
                                                 {NULL}};
    const OptionSpec *tables[] = {command_global_options, program_options, NULL};
    g_autoptr(Options) global = options_parse(tables, TRUE, argv, error);
    const OptionSpec *own_tables[4];
    g_autoptr(Options) own = NULL;
    const char *const *words;

    if (global == NULL)
        return -1;
    words = options_operands(global);
    if (options_flag(global, "version")) {
        puts("crivirt " CRIVIRT_VERSION);
        return 0;
    }
    if (words[0] == NULL)
        return show_help(NULL);
    *ret_command = command_find(words[0]);
    if (*ret_command == NULL) {
        usage_fail(error, "\"%s\" is not a command", words[0]);
        return -1;
    }
    if (options_flag(global, "help"))
        return show_help(*ret_command);
    command_option_tables(*ret_command, own_tables);
    own = options_parse(own_tables, (*ret_command)->ends_at_operand, words + 1, error);
    if (own == NULL)
        return -1;
    if (options_flag(own, "help"))
        return show_help(*ret_command);
    return run_command(*ret_command, own, global);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    const Command *command = NULL;
    int result;

    bundle_prepare_environment();
    setlocale(LC_CTYPE, ""); /* the terminal's characters; numbers keep their format */
    result = dispatch((const char *const *)argv + MIN(argc, 1), &error, &command);
    return error != NULL ? report_failure(command, error) : result;
}

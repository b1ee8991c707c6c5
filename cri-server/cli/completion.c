/* SPDX-License-Identifier: Apache-2.0 */
/* The shells' completions: commands, their options, the values of options that allow a few words, and the
 * names of containers, pods and images, which the script asks crivirt for (`crivirt __complete --names
 * COMMAND`). */
#include <string.h>

#include "cri-server/cli/commands.h"
#include "cri-server/cli/pages.h"

/* Calls func for each option of a command; for NULL, for those of crivirt itself. */
typedef void (*OptionFunc)(GString *text, const Command *command, const OptionSpec *option);
static void for_each_option(GString *text, const Command *command, OptionFunc func)
{
    const OptionSpec *tables[4] = {command_global_options, NULL};

    if (command != NULL)
        command_option_tables(command, tables);
    for (gsize i = 0; tables[i] != NULL; i++)
        for (const OptionSpec *option = tables[i]; option->name != NULL; option++)
            func(text, command, option);
}

typedef void (*CommandFunc)(GString *text, const Command *command);
static void for_each_command(GString *text, CommandFunc func)
{
    for (gsize i = 0; commands[i] != NULL; i++)
        if (commands[i]->group != NULL)
            func(text, commands[i]);
}

/* Return: "always missing never", or NULL when the option takes any value or none; the caller frees it. */
static char *option_choices(const OptionSpec *option)
{
    char *choices =
        option->value != NULL && strchr(option->value, '|') != NULL ? g_strdup(option->value) : NULL;

    return choices != NULL ? g_strdelimit(choices, "|", ' ') : NULL;
}

/* Appends text in single quotes, escaped so that bash, zsh and fish accept it. */
static void append_quoted(GString *text, const char *plain)
{
    g_autofree char *quoted = g_shell_quote(plain);

    g_string_append(text, quoted);
}

/* ---- bash ---- */

static void bash_option(GString *text, const Command *command, const OptionSpec *option)
{
    (void)command;
    g_string_append_printf(text, " --%s", option->name);
}

static void bash_command(GString *text, const Command *command)
{
    g_string_append_printf(text, "    %s) words='", command->name);
    for_each_option(text, command, bash_option);
    g_string_append(text, "' ;;\n");
}

static void bash_choice(GString *text, const Command *command, const OptionSpec *option)
{
    g_autofree char *choices = option_choices(option);

    if (choices != NULL)
        g_string_append_printf(text, "    '%s --%s') words='%s' ;;\n", command->name, option->name, choices);
}

static void bash_choices(GString *text, const Command *command)
{
    for_each_option(text, command, bash_choice);
}

static void bash_name(GString *text, const Command *command)
{
    g_string_append_printf(text, " %s", command->name);
}

char *completion_bash(void)
{
    GString *text =
        g_string_new("# bash completion for crivirt, generated from its table of commands\n"
                     "\n"
                     "_crivirt() {\n"
                     "    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}\n"
                     "    local command='' words='' i\n"
                     "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                     "        case ${COMP_WORDS[i]} in\n"
                     "        -H | --socket | --log-dir) ((i++)) ;;\n"
                     "        -*) ;;\n"
                     "        *)\n"
                     "            command=${COMP_WORDS[i]}\n"
                     "            break\n"
                     "            ;;\n"
                     "        esac\n"
                     "    done\n"
                     "    if [ -z \"$command\" ]; then\n"
                     "        words='--version");

    for_each_option(text, NULL, bash_option);
    for_each_command(text, bash_name);
    g_string_append(text, "'\n"
                          "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
                          "        return\n"
                          "    fi\n"
                          "    case \"$command $previous\" in\n");
    for_each_command(text, bash_choices);
    g_string_append(text, "    esac\n"
                          "    if [ -n \"$words\" ]; then\n"
                          "        mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
                          "        return\n"
                          "    fi\n"
                          "    if [[ $word != -* ]]; then\n"
                          "        words=$(crivirt __complete --names \"$command\" 2>/dev/null)\n"
                          "        mapfile -t COMPREPLY < <(compgen -o default -W \"$words\" -- \"$word\")\n"
                          "        return\n"
                          "    fi\n"
                          "    case $command in\n");
    for_each_command(text, bash_command);
    g_string_append(text, "    esac\n"
                          "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
                          "}\n"
                          "complete -F _crivirt crivirt\n");
    return g_string_free(text, FALSE);
}

/* ---- zsh ---- */

/* Appends a text in which zsh's functions give brackets and colons a meaning. */
static void zsh_append(GString *out, const char *plain)
{
    for (; *plain != '\0'; plain++) {
        if (strchr("[]:\\", *plain) != NULL)
            g_string_append_c(out, '\\');
        g_string_append_c(out, *plain);
    }
}

static void zsh_option(GString *text, const Command *command, const OptionSpec *option)
{
    g_autoptr(GString) spec = g_string_new(option->kind == OPTION_LIST ? "*" : NULL);
    g_autofree char *choices = option_choices(option);

    (void)command;
    g_string_append_printf(spec, "--%s[", option->name);
    zsh_append(spec, option->help);
    g_string_append_c(spec, ']');
    if (option->value != NULL) {
        g_string_append_c(spec, ':');
        zsh_append(spec, option->value);
        if (choices != NULL)
            g_string_append_printf(spec, ":(%s)", choices);
        else
            g_string_append(spec, ":_files");
    }
    g_string_append(text, " \\\n        ");
    append_quoted(text, spec->str);
}

static void zsh_describe(GString *text, const Command *command)
{
    g_autoptr(GString) line = g_string_new(command->name);

    g_string_append_c(line, ':');
    zsh_append(line, command->help);
    g_string_append(text, "\n        ");
    append_quoted(text, line->str);
}

static void zsh_command(GString *text, const Command *command)
{
    g_string_append_printf(text, "    %s)\n      _arguments -s", command->name);
    for_each_option(text, command, zsh_option);
    g_string_append_printf(text, " \\\n        '*:argument:_crivirt_names %s'\n      ;;\n", command->name);
}

char *completion_zsh(void)
{
    GString *text = g_string_new("#compdef crivirt\n"
                                 "# zsh completion for crivirt, generated from its table of commands\n"
                                 "\n"
                                 "_crivirt_names() {\n"
                                 "  local -a names\n"
                                 "  names=(${(f)\"$(crivirt __complete --names $1 2>/dev/null)\"})\n"
                                 "  (( $#names )) && compadd -a names || _files\n"
                                 "}\n"
                                 "\n"
                                 "_crivirt() {\n"
                                 "  local curcontext=$curcontext state\n"
                                 "  local -a commands\n"
                                 "  commands=(");

    for_each_command(text, zsh_describe);
    g_string_append(text, "\n  )\n  _arguments -C '(- *)--version[show the version]'");
    for_each_option(text, NULL, zsh_option);
    g_string_append(text, " \\\n        '1: :->command' '*:: :->arguments'\n"
                          "  if [[ $state == command ]]; then\n"
                          "    _describe command commands\n"
                          "    return\n"
                          "  fi\n"
                          "  [[ $state == arguments ]] || return\n"
                          "  case $words[1] in\n");
    for_each_command(text, zsh_command);
    g_string_append(text, "  esac\n}\n\n_crivirt \"$@\"\n");
    return g_string_free(text, FALSE);
}

/* ---- fish ---- */

static void fish_option(GString *text, const Command *command, const OptionSpec *option)
{
    g_autofree char *choices = option_choices(option);

    g_string_append(text, "complete -c crivirt");
    if (command != NULL)
        g_string_append_printf(text, " -n '__fish_seen_subcommand_from %s'", command->name);
    g_string_append_printf(text, " -l %s", option->name);
    if (option->letter != 0)
        g_string_append_printf(text, " -s %c", option->letter);
    if (choices != NULL)
        g_string_append_printf(text, " -x -a '%s'", choices);
    else if (option->value != NULL)
        g_string_append(text, " -r");
    g_string_append(text, " -d ");
    append_quoted(text, option->help);
    g_string_append_c(text, '\n');
}

static void fish_command(GString *text, const Command *command)
{
    g_string_append_printf(text, "\ncomplete -c crivirt -f -n __fish_use_subcommand -a %s -d ",
                           command->name);
    append_quoted(text, command->help);
    g_string_append_printf(text,
                           "\ncomplete -c crivirt -n '__fish_seen_subcommand_from %s' "
                           "-a '(crivirt __complete --names %s 2>/dev/null)'\n",
                           command->name, command->name);
    for_each_option(text, command, fish_option);
}

char *completion_fish(void)
{
    GString *text = g_string_new("# fish completion for crivirt, generated from its table of commands\n"
                                 "\n"
                                 "complete -c crivirt -l version -s v -d 'show the version'\n");

    for_each_option(text, NULL, fish_option);
    for_each_command(text, fish_command);
    return g_string_free(text, FALSE);
}

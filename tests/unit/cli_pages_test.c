/* SPDX-License-Identifier: Apache-2.0 */
/* The manual pages and the completions: complete, and accepted by the programs that read them. */
#include <string.h>

#include "common/process.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/pages.h"
#include "cri-server/config/handler_config.h"
#include "cri-server/config/option_table.h"
#include "tests/unit/harness.h"

/* roff writes "-" as "\-". */
static char *plain_text(char *roff)
{
    g_autofree char *page = roff;
    g_auto(GStrv) parts = g_strsplit(page, "\\-", 0);

    return g_strjoinv("-", parts);
}

static void expect_in(const char *text, const char *word)
{
    if (strstr(text, word) == NULL)
        g_printerr("missing: %s\n", word);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, word));
}

static void expect_options(const char *text, const Command *command, const char *format)
{
    const OptionSpec *tables[4];

    command_option_tables(command, tables);
    for (gsize i = 0; tables[i] != NULL; i++)
        for (const OptionSpec *option = tables[i]; option->name != NULL; option++) {
            g_autofree char *word = g_strdup_printf("%s%s", format, option->name);

            expect_in(text, word);
        }
}

static void documents_every_command(void)
{
    g_autofree char *page = plain_text(page_crivirt());

    for (gsize i = 0; commands[i] != NULL; i++) {
        g_autofree char *title = g_strdup_printf(".SS crivirt %s", commands[i]->name);

        if (commands[i]->group == NULL)
            continue;
        expect_in(page, title);
        expect_options(page, commands[i], "--");
    }
}

static void documents_every_option(void)
{
    g_autofree char *daemon = plain_text(page_crivirtd());
    g_autofree char *file = plain_text(page_crivirt_toml());
    gsize n_handler_rows;
    const Option *handler_rows = handler_options(&n_handler_rows);

    for (gsize i = 0; i < N_OPTIONS; i++) {
        g_autofree char *flag = g_strdup_printf("\n.B --%s ", option_rows[i].flag);
        g_autofree char *key = g_strdup_printf("\n.B %s = ", option_rows[i].key);
        g_autofree char *section = g_strdup_printf("\n.SS [%s]\n", option_rows[i].section);

        expect_in(daemon, flag);
        expect_in(file, key);
        expect_in(file, section);
    }
    for (gsize i = 0; i < n_handler_rows; i++) {
        g_autofree char *key = g_strdup_printf("\n.B %s = ", handler_rows[i].key);

        expect_in(strstr(file, ".SH HANDLERS"), key);
    }
    expect_in(daemon, "--check-config");
}

static void completes_every_command(void)
{
    char *(*const scripts[])(void) = {completion_bash, completion_zsh, completion_fish};
    const char *const formats[] = {"--", "--", "-l "};

    for (gsize s = 0; s < G_N_ELEMENTS(scripts); s++) {
        g_autofree char *script = scripts[s]();

        for (gsize i = 0; commands[i] != NULL; i++) {
            g_autofree char *bash = g_strdup_printf("    %s) words=", commands[i]->name);
            g_autofree char *zsh = g_strdup_printf("    %s)\n", commands[i]->name);
            g_autofree char *fish = g_strdup_printf("-a %s -d ", commands[i]->name);

            if (commands[i]->group == NULL)
                continue;
            expect_in(script, s == 0 ? bash : s == 1 ? zsh : fish);
            expect_options(script, commands[i], formats[s]);
        }
        expect_in(script, "always missing never");
    }
}

/* Runs a program over a file with that text, if the program is installed. It must succeed and print nothing
 * on stderr.
 */
static void accepted_by(const char *const *program, const char *name, char *(*make)(void))
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autofree char *installed = g_find_program_in_path(program[0]);
    g_autofree char *text = make();
    g_autofree char *out = NULL;
    g_autofree char *complaints = NULL;
    const char *argv[8] = {NULL};
    gsize n = 0;
    int status = -1;

    if (installed == NULL)
        return;
    g_file_set_contents(path, text, -1, NULL);
    while (program[n] != NULL) {
        argv[n] = program[n];
        n++;
    }
    argv[n] = path;
    CU_ASSERT_TRUE_FATAL(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out,
                                      &complaints, &status, NULL));
    if (status != 0 || *complaints != '\0')
        g_printerr("%s %s: %s%s\n", program[0], name, complaints, out);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT_STRING_EQUAL(complaints, "");
}

static void pages_are_well_formed(void)
{
    const char *const man[] = {"man", "--warnings", "-l", "-E", "UTF-8", NULL};
    const char *const mandoc[] = {"mandoc", "-T", "lint", "-W", "warning", NULL};

    g_setenv("MANROFFSEQ", "", TRUE);
    g_setenv("MANWIDTH", "80", TRUE);
    accepted_by(man, "crivirt.1", page_crivirt);
    accepted_by(man, "crivirtd.8", page_crivirtd);
    accepted_by(man, "crivirt.toml.5", page_crivirt_toml);
    accepted_by(mandoc, "crivirt.1", page_crivirt);
    accepted_by(mandoc, "crivirtd.8", page_crivirtd);
    accepted_by(mandoc, "crivirt.toml.5", page_crivirt_toml);
}

static void scripts_are_well_formed(void)
{
    accepted_by((const char *const[]){"bash", "-n", NULL}, "crivirt", completion_bash);
    accepted_by((const char *const[]){"zsh", "-n", NULL}, "_crivirt", completion_zsh);
    accepted_by((const char *const[]){"fish", "-n", NULL}, "crivirt.fish", completion_fish);
}

/* Loads the bash script and completes a command line. Return: the words; the caller frees them. */
static char *bash_completes(const char *const *words)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "crivirt", NULL);
    g_autofree char *script = completion_bash();
    g_autofree char *line = g_strjoinv(" ", (char **)words);
    g_autofree char *code =
        g_strdup_printf(". %s; COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _crivirt; "
                        "echo \" ${COMPREPLY[*]} \"",
                        path, line);
    const char *argv[] = {"bash", "-c", code, NULL};
    char *out = NULL;

    g_file_set_contents(path, script, -1, NULL);
    CU_ASSERT_TRUE_FATAL(
        g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, NULL, NULL, NULL));
    return out;
}

static void bash_finds_the_words(void)
{
    g_autofree char *command = bash_completes((const char *const[]){"crivirt", "do", NULL});
    g_autofree char *option =
        bash_completes((const char *const[]){"crivirt", "-H", "/s", "run", "--pu", NULL});
    g_autofree char *choice = bash_completes((const char *const[]){"crivirt", "run", "--pull", "m", NULL});

    CU_ASSERT_STRING_EQUAL(command, " doctor \n");
    CU_ASSERT_PTR_NOT_NULL(strstr(option, " --pull "));
    CU_ASSERT_STRING_EQUAL(choice, " missing \n");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"crivirt(1) documents every command and option", documents_every_command},
        {"crivirtd(8) and crivirt.toml(5) document every option", documents_every_option},
        {"the completions contain every command and option", completes_every_command},
        {"man and mandoc accept the pages", pages_are_well_formed},
        {"bash, zsh and fish accept the completions", scripts_are_well_formed},
        {"bash completes commands, options and choices", bash_finds_the_words},
    };

    return test_main_args("pages", cases, G_N_ELEMENTS(cases), argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/options.h"

#include <string.h>

#include "cri-server/cli/commands.h"
#include "cri-server/cli/pages.h"
#include "tests/unit/harness.h"

static const OptionSpec table[] = {
    {"all", 'a', OPTION_FLAG, NULL, ""},           {"quiet", 'q', OPTION_FLAG, NULL, ""},
    {"env", 'e', OPTION_LIST, "NAME", ""},         {"memory", 'm', OPTION_VALUE, "SIZE", ""},
    {"pull", 0, OPTION_VALUE, "always|never", ""}, {NULL},
};
static const OptionSpec *const tables[] = {table, NULL};

#define PARSE(end, error, ...) options_parse(tables, (end), (const char *const[]){__VA_ARGS__, NULL}, (error))

static void reads_all_forms(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) options =
        PARSE(FALSE, &error, "-aq", "-e", "A=1", "-eB=2", "--env=C=3", "-m=1g", "--pull", "never", "x");

    TEST_OK(options, error);
    CU_ASSERT_TRUE(options_flag(options, "all") && options_flag(options, "quiet"));
    CU_ASSERT_STRING_EQUAL(options_list(options, "env")[0], "A=1");
    CU_ASSERT_STRING_EQUAL(options_list(options, "env")[1], "B=2");
    CU_ASSERT_STRING_EQUAL(options_list(options, "env")[2], "C=3");
    CU_ASSERT_PTR_NULL(options_list(options, "env")[3]);
    CU_ASSERT_STRING_EQUAL(options_value(options, "memory", ""), "1g");
    CU_ASSERT_STRING_EQUAL(options_value(options, "pull", ""), "never");
    CU_ASSERT_EQUAL(options_n_operands(options), 1);
}

static void stops_at_the_image(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) options = PARSE(TRUE, &error, "-a", "busybox", "ls", "-q", "--nonsense");

    TEST_OK(options, error);
    CU_ASSERT_FALSE(options_flag(options, "quiet"));
    CU_ASSERT_EQUAL(options_n_operands(options), 4);
    CU_ASSERT_STRING_EQUAL(options_operands(options)[3], "--nonsense");
}

static void mixes_operands_and_options(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) options = PARSE(FALSE, &error, "x", "-a", "--", "-q");

    TEST_OK(options, error);
    CU_ASSERT_TRUE(options_flag(options, "all"));
    CU_ASSERT_FALSE(options_flag(options, "quiet"));
    CU_ASSERT_STRING_EQUAL(options_operands(options)[1], "-q");
}

static void last_value_wins(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) options = PARSE(FALSE, &error, "-m", "1g", "-m", "2g", "--all", "--all=false");

    TEST_OK(options, error);
    CU_ASSERT_STRING_EQUAL(options_value(options, "memory", ""), "2g");
    CU_ASSERT_FALSE(options_flag(options, "all"));
    CU_ASSERT_PTR_NULL(options_value(options, "pull", NULL));
    CU_ASSERT_PTR_NULL(options_list(options, "env")[0]);
}

static void expect_usage_error(const char *const *argv, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Options) options = options_parse(tables, FALSE, argv, &error);

    CU_ASSERT_PTR_NULL(options);
    CU_ASSERT_PTR_NOT_NULL_FATAL(error);
    CU_ASSERT_EQUAL(error->domain, USAGE_ERROR);
    CU_ASSERT_PTR_NOT_NULL(strstr(error->message, text));
}

static void names_what_is_wrong(void)
{
    expect_usage_error((const char *const[]){"--nope", NULL}, "--nope");
    expect_usage_error((const char *const[]){"--nope=3", NULL}, "unknown option --nope");
    expect_usage_error((const char *const[]){"-az", NULL}, "-z");
    expect_usage_error((const char *const[]){"--memory", NULL}, "--memory needs a value (SIZE)");
    expect_usage_error((const char *const[]){"-m", NULL}, "-m (--memory) needs a value");
    expect_usage_error((const char *const[]){"--all=maybe", NULL}, "--all is a flag");
    expect_usage_error((const char *const[]){"--pull", "often", NULL}, "not one of always|never");
}

/* The table of commands itself. */
static void commands_agree_with_their_help(void)
{
    for (gsize i = 0; commands[i] != NULL; i++) {
        const Command *command = commands[i];
        g_autofree char *help = command_help_text(command);
        const OptionSpec *all[4];

        CU_ASSERT_PTR_EQUAL(command_find(command->name), command);
        CU_ASSERT_PTR_NOT_NULL(strstr(help, command->name));
        CU_ASSERT_PTR_NOT_NULL(command->run);
        command_option_tables(command, all);
        for (gsize k = 0; all[k] != NULL; k++)
            for (const OptionSpec *spec = all[k]; spec->name != NULL; spec++) {
                CU_ASSERT_EQUAL(spec->value == NULL, spec->kind == OPTION_FLAG);
                CU_ASSERT_PTR_NOT_NULL(strstr(help, spec->name));
            }
    }
}

static void no_letter_is_used_twice(void)
{
    for (gsize i = 0; commands[i] != NULL; i++) {
        gboolean seen[256] = {FALSE};
        const OptionSpec *all[4];

        command_option_tables(commands[i], all);
        for (gsize k = 0; all[k] != NULL; k++)
            for (const OptionSpec *spec = all[k]; spec->name != NULL; spec++) {
                CU_ASSERT_FALSE(spec->letter != 0 && seen[(guchar)spec->letter]);
                seen[(guchar)spec->letter] = TRUE;
            }
    }
}

static void manual_page_has_every_command(void)
{
    g_autofree char *roff = page_crivirt();
    g_auto(GStrv) parts = g_strsplit(roff, "\\-", 0); /* roff's hyphen */
    g_autofree char *page = g_strjoinv("-", parts);

    for (gsize i = 0; commands[i] != NULL; i++) {
        g_autofree char *title = g_strdup_printf(".SS crivirt %s ", commands[i]->name);

        CU_ASSERT_EQUAL(strstr(page, title) != NULL, commands[i]->group != NULL);
    }
}

int main(void)
{
    static const TestCase cases[] = {
        {"options are read in their short, long and joined forms", reads_all_forms},
        {"the options of run end at the image", stops_at_the_image},
        {"operands and options of other commands may be mixed", mixes_operands_and_options},
        {"the last value of a repeated option is used", last_value_wins},
        {"the message names an option that does not exist or has a wrong value", names_what_is_wrong},
        {"every command and option is in its help", commands_agree_with_their_help},
        {"no letter stands for two options of a command", no_letter_is_used_twice},
        {"the manual page has every command", manual_page_has_every_command},
    };
    return test_main("cli_options", cases, G_N_ELEMENTS(cases));
}

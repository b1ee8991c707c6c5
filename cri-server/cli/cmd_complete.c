/* SPDX-License-Identifier: Apache-2.0 */
/* The hidden commands that completion scripts call, and that the build calls to generate them and the manual
 * pages. */
#include <string.h>

#include "cri-server/cli/commands.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/pages.h"

static void append_options(GString *text, const Command *command)
{
    const OptionSpec *tables[4];

    command_option_tables(command, tables);
    for (gsize i = 0; tables[i] != NULL; i++)
        for (const OptionSpec *option = tables[i]; option->name != NULL; option++)
            g_string_append_printf(text, "--%s\n", option->name);
}

static void append_commands(GString *text)
{
    for (gsize i = 0; commands[i] != NULL; i++)
        if (commands[i]->group != NULL)
            g_string_append_printf(text, "%s\n", commands[i]->name);
}

static gboolean append_inventory(GString *text, Cli *cli, gboolean containers, gboolean pods, GError **error)
{
    const Inventory *inventory = containers || pods ? inventory_load(cli, error) : NULL;

    if (!containers && !pods)
        return TRUE;
    if (inventory == NULL)
        return FALSE;
    for (gsize i = 0; containers && i < inventory->n_containers; i++)
        g_string_append_printf(text, "%s\n", inventory->containers[i].name);
    for (gsize i = 0; pods && i < inventory->n_pods; i++)
        if (inventory->pods[i]->metadata != NULL)
            g_string_append_printf(text, "%s\n", inventory->pods[i]->metadata->name);
    return TRUE;
}

static gboolean append_images(GString *text, Cli *cli, GError **error)
{
    Runtime__V1__ListImagesRequest request = RUNTIME__V1__LIST_IMAGES_REQUEST__INIT;
    const Runtime__V1__ListImagesResponse *list =
        cli_image_call(cli, "ListImages", &request.base, CLI_CALL_MS, error);

    for (size_t i = 0; list != NULL && i < list->n_images; i++)
        for (size_t j = 0; j < list->images[i]->n_repo_tags; j++)
            g_string_append_printf(text, "%s\n", list->images[i]->repo_tags[j]);
    return list != NULL;
}

/* The first operand in the usage says what the names are. */
static gboolean append_names(GString *text, Cli *cli, const Command *command, GError **error)
{
    const char *usage = command->usage;
    gboolean any;

    if (g_str_has_prefix(usage, "[OPTIONS] "))
        usage += strlen("[OPTIONS] ");
    usage += *usage == '[';
    if (g_str_has_prefix(usage, "COMMAND")) {
        append_commands(text);
        return TRUE;
    }
    any = g_str_has_prefix(usage, "NAME");
    return append_inventory(text, cli, any || g_str_has_prefix(usage, "CONTAINER"),
                            any || g_str_has_prefix(usage, "POD"), error) &&
           ((!any && !g_str_has_prefix(usage, "IMAGE")) || append_images(text, cli, error));
}

static gboolean complete_command(Cli *cli, GError **error)
{
    const char *name = options_operands(cli->options)[0];
    const Command *command = name != NULL ? command_find(name) : NULL;
    g_autoptr(GString) text = g_string_new(NULL);

    if (name == NULL)
        append_commands(text);
    else if (command != NULL && !options_flag(cli->options, "names"))
        append_options(text, command);
    else if (command != NULL && !append_names(text, cli, command, error))
        return FALSE;
    return cli_print(text->str, error);
}

static const OptionSpec complete_options[] = {
    {"names", 0, OPTION_FLAG, NULL, "print what the command's operand may be, instead of its options"},
    {NULL},
};

const Command command_complete = {
    .name = "__complete",
    .usage = "[--names] [COMMAND]",
    .help = "Print the commands, or the options or operands of one, for shell completion",
    .options = complete_options,
    .max_operands = 1,
    .run = complete_command,
};

static gboolean generate_command(Cli *cli, GError **error)
{
    static const struct {
        const char *name;
        char *(*make)(void);
    } files[] = {
        {"crivirt.1", page_crivirt}, {"crivirtd.8", page_crivirtd}, {"crivirt.toml.5", page_crivirt_toml},
        {"bash", completion_bash},   {"zsh", completion_zsh},       {"fish", completion_fish},
    };
    const char *name = options_operands(cli->options)[0];

    for (gsize i = 0; i < G_N_ELEMENTS(files); i++)
        if (g_str_equal(files[i].name, name)) {
            g_autofree char *text = files[i].make();

            return cli_print(text, error);
        }
    return usage_fail(error, "\"%s\" is none of the files that can be generated", name);
}

const Command command_generate = {
    .name = "__generate",
    .usage = "crivirt.1|crivirtd.8|crivirt.toml.5|bash|zsh|fish",
    .help = "Print a manual page or a completion script (used by the build)",
    .min_operands = 1,
    .max_operands = 1,
    .run = generate_command,
};

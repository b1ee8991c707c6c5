/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/pages.h"

#include <string.h>

#include "cri-server/cli/commands.h"
#include "cri-server/cli/roff.h"
#include "cri-server/config/config.h"
#include "cri-server/config/handler_config.h"
#include "cri-server/config/option_table.h"

/* Of the release; fixed, so that builds are reproducible. */
#define PAGE_DATE "2026-11-29"

static GString *page_new(const char *name, const char *section, const char *summary)
{
    GString *page = g_string_new(".\\\" Generated from crivirt's own tables.\n");
    g_autofree char *title = g_ascii_strup(name, -1);

    g_string_append_printf(page, ".TH %s %s \"" PAGE_DATE "\" \"crivirt " CRIVIRT_VERSION "\" \"crivirt\"\n",
                           title, section);
    g_string_append(page, ".SH NAME\n");
    g_string_append_printf(page, "%s \\- %s\n", name, summary);
    return page;
}

static void append_files(GString *page)
{
    roff_macro(page, "SH", "FILES");
    roff_entry(page, CONFIG_DEFAULT_PATH, "Configuration of crivirtd: see crivirt.toml(5).");
    roff_entry(page, "/run/crivirt/crivirtd.sock", "Socket on which crivirtd serves the CRI.");
    roff_entry(page, "/var/lib/crivirt", "Images, and the pods' disks and records.");
}

/* ---- crivirt(1) ---- */

static void append_options(GString *page, const OptionSpec *options)
{
    for (; options->name != NULL; options++) {
        g_autofree char *title = option_spec_title(options);

        roff_entry(page, g_strstrip(title), options->help);
    }
}

static void append_command(GString *page, const Command *command)
{
    g_autofree char *title = g_strdup_printf("crivirt %s %s", command->name, command->usage);
    const OptionSpec *tables[4];

    roff_macro(page, "SS", g_strchomp(title));
    roff_append(page, command->help);
    g_string_append(page, ".\n");
    if (command->details != NULL) {
        g_string_append(page, ".PP\n.nf\n"); /* details have line breaks and tables of their own */
        roff_append(page, command->details);
        g_string_append(page, "\n.fi\n");
    }
    command_option_tables(command, tables);
    for (gsize i = 0; tables[i] != NULL; i++)
        if (tables[i] != command_global_options)
            append_options(page, tables[i]);
}

char *page_crivirt(void)
{
    GString *page = page_new("crivirt", "1", "run containers in pods, each pod in a VM of its own");
    const char *group = NULL;

    g_string_append(page, ".SH SYNOPSIS\n.B crivirt\n[OPTIONS] COMMAND [ARG...]\n");
    roff_macro(page, "SH", "OPTIONS");
    append_options(page, command_global_options);
    for (gsize i = 0; commands[i] != NULL; i++) {
        g_autofree char *heading = NULL;

        if (commands[i]->group == NULL)
            continue;
        if (g_strcmp0(group, commands[i]->group) != 0) {
            heading = g_ascii_strup(commands[i]->group, -1);
            roff_macro(page, "SH", heading);
        }
        group = commands[i]->group;
        append_command(page, commands[i]);
    }
    roff_macro(page, "SH", "EXIT STATUS");
    roff_append(page,
                "0 on success, 1 after an error, 2 for wrong usage.\n"
                "run and exec exit with the code of the program in the container; with 125 when the daemon "
                "failed,\n126 when the program cannot be run, and 127 when it does not exist.\n");
    append_files(page);
    roff_macro(page, "SH", "SEE ALSO");
    roff_append(page, "crivirtd(8), crivirt.toml(5)\n");
    return g_string_free(page, FALSE);
}

/* ---- crivirtd(8) ---- */

static void append_flags(GString *page)
{
    static const struct {
        const char *flag;
        char letter;
        const char *value;
        const char *help;
    } flags[] = {
#define CONFIG_COMMAND(flag, letter, kind, field, value, help) {flag, letter, value, help},
#include "cri-server/config/config_commands.def"
    };

    for (gsize i = 0; i < G_N_ELEMENTS(flags); i++) {
        const OptionSpec spec = {.name = flags[i].flag, .letter = flags[i].letter, .value = flags[i].value};
        g_autofree char *title = option_spec_title(&spec);
        g_autofree char *help = g_strconcat(flags[i].help, ".", NULL);

        roff_entry(page, g_strstrip(title), help);
    }
    for (gsize i = 0; i < N_OPTIONS; i++) {
        g_autofree char *title =
            g_strdup_printf("--%s %s", option_rows[i].flag, option_metavar(&option_rows[i]));
        g_autofree char *help =
            g_strdup_printf("%s Key %s in section [%s]. Default: %s. %s", option_rows[i].help,
                            option_rows[i].key, option_rows[i].section,
                            *option_rows[i].default_text != '\0' ? option_rows[i].default_text : "empty",
                            option_when_text(&option_rows[i]));

        roff_entry(page, title, help);
    }
}

char *page_crivirtd(void)
{
    GString *page = page_new("crivirtd", "8", "Kubernetes CRI daemon that runs each pod in a VM");

    g_string_append(page, ".SH SYNOPSIS\n.B crivirtd\n[OPTIONS]\n");
    roff_macro(page, "SH", "DESCRIPTION");
    roff_append(
        page, "crivirtd serves the Kubernetes Container Runtime Interface (CRI v1) on a unix socket and runs "
              "each pod\nin a QEMU/KVM VM, which it manages through libvirt. A kubelet, crictl(1) and "
              "crivirt(1) are its clients.\nIt must run as root. Pods keep running while it is stopped or "
              "replaced.\n");
    roff_macro(page, "SH", "OPTIONS");
    roff_append(page,
                "Each option below is also a key of the configuration file; a flag overrides the file.\n");
    append_flags(page);
    roff_macro(page, "SH", "SIGNALS");
    roff_entry(page, "SIGTERM, SIGINT",
               "Stop the daemon; pods keep running. A second signal ends it at once.");
    roff_entry(
        page, "SIGHUP",
        "Read the configuration again. The log lists what has changed, and what needs a restart of the "
        "daemon. A file with an error changes nothing.");
    roff_macro(page, "SH", "EXIT STATUS");
    roff_append(page,
                "0 after a stop by a signal, 1 when the daemon could not start or serve, 2 for a bad command "
                "line or\nconfiguration.\n");
    append_files(page);
    roff_macro(page, "SH", "SEE ALSO");
    roff_append(page, "crivirt.toml(5), crivirt(1)\n");
    return g_string_free(page, FALSE);
}

/* ---- crivirt.toml(5) ---- */

static void append_key(GString *page, const Option *option, const char *standard)
{
    g_autofree char *title = g_strdup_printf("%s = %s", option->key, standard);
    g_autofree char *allowed = option_allowed(option);

    roff_entry(page, title, option->help);
    if (*allowed != '\0') {
        g_autofree char *sentence = g_strdup_printf("Allowed: %s.\n", allowed);

        roff_append(page, sentence);
    }
    if (option->flag != NULL) {
        g_autofree char *sentence = g_strdup_printf("Flag: --%s.\n", option->flag);

        roff_append(page, sentence);
    }
    roff_append(page, option_when_text(option));
    roff_append(page, "\n");
}

static void append_handlers(GString *page)
{
    gsize n_rows;
    const Option *rows = handler_options(&n_rows);

    roff_macro(page, "SH", "HANDLERS");
    roff_append(
        page, "A handler is a way in which this node runs pods. A RuntimeClass names one; the default is vm. "
              "A key that\n[handlers.NAME] leaves out has the value of the general option that is shown as "
              "its default.\n");
    for (gsize i = 0; i < n_rows; i++)
        if (*rows[i].default_text == '=') {
            append_key(page, &rows[i], rows[i].default_text + 1);
        } else {
            g_auto(OptionDefault) standard = option_default(&rows[i]);
            g_autofree char *text = option_to_toml(&rows[i], standard.value);

            append_key(page, &rows[i], text);
        }
}

char *page_crivirt_toml(void)
{
    GString *page = page_new("crivirt.toml", "5", "configuration of crivirtd");

    roff_macro(page, "SH", "DESCRIPTION");
    roff_append(page, CONFIG_DEFAULT_PATH
                " is a TOML file. Each key below is shown with its default. crivirtd refuses "
                "unknown sections, keys\nand values, and names the line. To check the file "
                "and this node: crivirtd --check-config.\n"
                "Files " CONFIG_DEFAULT_PATH CONFIG_DROP_IN_SUFFIX
                "/*.toml are read after it in the order of their names; each overrides, key by key,\n"
                "what was read before. To apply a change: systemctl reload crivirtd.\n");
    roff_macro(page, "SH", "KEYS");
    for (gsize i = 0; i < N_OPTIONS; i++) {
        g_auto(OptionDefault) standard = option_default(&option_rows[i]);
        g_autofree char *text = option_to_toml(&option_rows[i], standard.value);

        if (option_starts_section(i)) {
            g_autofree char *section = g_strdup_printf("[%s]", option_rows[i].section);

            roff_macro(page, "SS", section);
        }
        append_key(page, &option_rows[i], text);
    }
    append_handlers(page);
    append_files(page);
    roff_macro(page, "SH", "SEE ALSO");
    roff_append(page, "crivirtd(8), crivirt(1)\n");
    return g_string_free(page, FALSE);
}

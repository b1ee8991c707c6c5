/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt doctor. */
#include "common/json_writer.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/doctor.h"

static const char *verdict_name(DoctorVerdict verdict)
{
    static const char *const names[] = {
        [DOCTOR_GOOD] = "ok", [DOCTOR_WARNING] = "warning", [DOCTOR_BAD] = "MISSING"};

    return names[verdict];
}

static char *format_text(const GPtrArray *findings)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < findings->len; i++) {
        const DoctorFinding *finding = findings->pdata[i];

        g_string_append_printf(text, "%-8s %s: %s\n", verdict_name(finding->verdict), finding->subject,
                               finding->finding);
        if (finding->remedy != NULL)
            g_string_append_printf(text, "         remedy: %s\n", finding->remedy);
    }
    return g_string_free(text, FALSE);
}

static char *format_json(const GPtrArray *findings)
{
    g_autoptr(JsonWriter) json = json_writer_new_indented();

    json_writer_open_array(json, NULL);
    for (guint i = 0; i < findings->len; i++) {
        const DoctorFinding *finding = findings->pdata[i];

        json_writer_open_object(json, NULL);
        json_writer_string(json, "subject", finding->subject);
        json_writer_string(json, "verdict", verdict_name(finding->verdict));
        json_writer_string(json, "finding", finding->finding);
        json_writer_string(json, "remedy", finding->remedy);
        json_writer_close_object(json);
    }
    json_writer_close_array(json);
    return json_writer_copy(json);
}

static Settings *load_config(const Cli *cli, GError **error)
{
    const char *path = options_value(cli->options, "config", NULL);
    g_autofree char *option = path != NULL ? g_strdup_printf("--config=%s", path) : NULL;
    char *argv[] = {(char *)"crivirtd", option, NULL};
    ConfigAction action;

    return config_load(option != NULL ? 2 : 1, argv, &action, error);
}

static gboolean doctor_command(Cli *cli, GError **error)
{
    g_autoptr(Settings) settings = load_config(cli, error);
    g_autoptr(GPtrArray) findings = NULL;
    g_autofree char *text = NULL;

    if (settings == NULL)
        return FALSE;
    findings = doctor_examine(settings);
    for (guint i = 0; i < findings->len; i++)
        if (((DoctorFinding *)findings->pdata[i])->verdict == DOCTOR_BAD)
            cli->exit_code = 1;
    text = cli->json ? format_json(findings) : format_text(findings);
    return cli_print(text, error);
}

static const OptionSpec doctor_options[] = {
    {"config", 'c', OPTION_VALUE, "FILE", "crivirtd's configuration (default " CONFIG_DEFAULT_PATH ")"},
    {NULL},
};

const Command command_doctor = {
    .name = "doctor",
    .group = "Everything",
    .usage = "[OPTIONS]",
    .help = "Check what this node lacks for running pods",
    .details = "Checks the node itself and needs no running crivirtd. The exit code is 1 when something is "
               "missing that\n"
               "every pod needs.",
    .options = doctor_options,
    .lists = TRUE,
    .run = doctor_command,
};

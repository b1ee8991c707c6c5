/* SPDX-License-Identifier: Apache-2.0 */
/* Prints a configuration as TOML and as JSON. */
#include "common/json_writer.h"
#include "cri-server/config/config.h"
#include "cri-server/config/handler_config.h"
#include "cri-server/config/option_table.h"

/* ---- TOML ---- */

static void append_comment(GString *out, const Option *option)
{
    g_autofree char *allowed = option_allowed(option);

    g_string_append_printf(out, "\n# %s\n", option->help);
    if (*allowed != '\0')
        g_string_append_printf(out, "# Allowed: %s.\n", allowed);
    g_string_append_printf(out, "# Flag: --%s. %s\n", option->flag, option_when_text(option));
}

char *config_to_toml(const Settings *settings)
{
    GString *out = g_string_new(
        "# Configuration of crivirtd (" CONFIG_DEFAULT_PATH ").\n"
        "# Options that are commented out show their defaults. Each option has a flag, which "
        "overrides this file.\n"
        "# Files " CONFIG_DEFAULT_PATH CONFIG_DROP_IN_SUFFIX
        "/*.toml are read after this one, and override it.\n"
        "# Check a change with: crivirtd --check-config; apply it with: systemctl reload crivirtd\n");

    for (gsize i = 0; i < N_OPTIONS; i++) {
        const Option *option = &option_rows[i];
        g_auto(OptionDefault) standard = option_default(option);
        g_autofree char *text =
            option_to_toml(option, settings != NULL ? option_field(option, settings) : standard.value);

        if (option_starts_section(i))
            g_string_append_printf(out, "\n[%s]\n", option->section);
        append_comment(out, option);
        g_string_append_printf(out, "%s%s = %s\n", settings == NULL ? "#" : "", option->key, text);
    }
    handler_configs_to_toml(settings != NULL ? settings->handlers : NULL, out);
    return g_string_free(out, FALSE);
}

/* ---- JSON ---- */

static void write_option(JsonWriter *json, const Option *option, gconstpointer field)
{
    g_autofree char *text = NULL;

    if (option->type == OPTION_TYPE_BOOL) {
        json_writer_bool(json, option->key, *(const gboolean *)field);
    } else if (option->type == OPTION_TYPE_COUNT) {
        json_writer_uint(json, option->key, *(const guint *)field);
    } else if (option->type == OPTION_TYPE_LIST) {
        json_writer_strings(json, option->key, *(const char *const *const *)field, -1);
    } else {
        text = option_to_text(option, field);
        json_writer_string(json, option->key, text);
    }
}

static void write_handlers(JsonWriter *json, const GPtrArray *handlers)
{
    gsize n_rows;
    const Option *rows = handler_options(&n_rows);

    json_writer_open_object(json, "handlers");
    for (guint h = 0; h < handlers->len; h++) {
        const Handler *handler = handlers->pdata[h];

        json_writer_open_object(json, handler->name);
        for (gsize i = 0; i < n_rows; i++)
            write_option(json, &rows[i], handler_option_field(&rows[i], handler));
        json_writer_close_object(json);
    }
    json_writer_close_object(json);
}

char *config_to_json(const Settings *settings)
{
    g_autoptr(JsonWriter) json = json_writer_new();

    json_writer_open_object(json, NULL);
    for (gsize i = 0; i < N_OPTIONS; i++) {
        if (option_starts_section(i)) {
            if (i > 0)
                json_writer_close_object(json);
            json_writer_open_object(json, option_rows[i].section);
        }
        write_option(json, &option_rows[i], option_field(&option_rows[i], settings));
    }
    json_writer_close_object(json);
    write_handlers(json, settings->handlers);
    json_writer_close_object(json);
    return json_writer_copy(json);
}

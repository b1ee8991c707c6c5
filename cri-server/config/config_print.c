/* SPDX-License-Identifier: Apache-2.0 */
/* Prints a configuration as TOML and as JSON. */
#include "cri-server/config/config.h"
#include "cri-server/config/handler_config.h"
#include "cri-server/config/option_table.h"

#include <string.h>
#include <yajl/yajl_gen.h>

/* ---- TOML ---- */

static void append_comment(GString *out, const Option *option)
{
    g_autofree char *allowed = option_allowed(option);

    g_string_append_printf(out, "\n# %s\n", option->help);
    if (*allowed != '\0')
        g_string_append_printf(out, "# Allowed: %s.\n", allowed);
    g_string_append_printf(out, "# Flag: --%s\n", option->flag);
}

char *config_to_toml(const Settings *settings)
{
    GString *out =
        g_string_new("# Configuration of crivirtd (" CONFIG_DEFAULT_PATH ").\n"
                     "# Options that are commented out show their defaults. Each option has a flag, which "
                     "overrides this file.\n"
                     "# Check a change with: crivirtd --check-config\n");

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

static void generate_string(yajl_gen json, const char *text)
{
    yajl_gen_string(json, (const unsigned char *)text, strlen(text));
}

static void generate_value(yajl_gen json, const Option *option, gconstpointer field)
{
    g_autofree char *text = option_to_text(option, field);

    if (option->type == OPTION_TYPE_BOOL) {
        yajl_gen_bool(json, *(const gboolean *)field);
    } else if (option->type == OPTION_TYPE_COUNT) {
        yajl_gen_number(json, text, strlen(text));
    } else if (option->type == OPTION_TYPE_LIST) {
        yajl_gen_array_open(json);
        for (char **item = *(char ***)(gpointer)field; *item != NULL; item++)
            generate_string(json, *item);
        yajl_gen_array_close(json);
    } else {
        generate_string(json, text);
    }
}

static void generate_handlers(yajl_gen json, const GPtrArray *handlers)
{
    gsize n_rows;
    const Option *rows = handler_options(&n_rows);

    generate_string(json, "handlers");
    yajl_gen_map_open(json);
    for (guint h = 0; h < handlers->len; h++) {
        const Handler *handler = handlers->pdata[h];

        generate_string(json, handler->name);
        yajl_gen_map_open(json);
        for (gsize i = 0; i < n_rows; i++) {
            generate_string(json, rows[i].key);
            generate_value(json, &rows[i], handler_option_field(&rows[i], handler));
        }
        yajl_gen_map_close(json);
    }
    yajl_gen_map_close(json);
}

char *config_to_json(const Settings *settings)
{
    yajl_gen json = yajl_gen_alloc(NULL);
    const unsigned char *text = NULL;
    size_t length = 0;
    char *copy;

    yajl_gen_map_open(json);
    for (gsize i = 0; i < N_OPTIONS; i++) {
        if (option_starts_section(i)) {
            if (i > 0)
                yajl_gen_map_close(json);
            generate_string(json, option_rows[i].section);
            yajl_gen_map_open(json);
        }
        generate_string(json, option_rows[i].key);
        generate_value(json, &option_rows[i], option_field(&option_rows[i], settings));
    }
    yajl_gen_map_close(json);
    generate_handlers(json, settings->handlers);
    yajl_gen_map_close(json);
    yajl_gen_get_buf(json, &text, &length);
    copy = g_strndup((const char *)text, length);
    yajl_gen_free(json);
    return copy;
}

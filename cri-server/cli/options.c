/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/options.h"

#include <stdarg.h>
#include <string.h>

#include "common/string_table.h"

G_DEFINE_QUARK(crivirt - usage - error - quark, usage_error)

struct Options {
    GHashTable *values; /* option name (borrowed from the table) -> GPtrArray of strings */
    GPtrArray *operands;
};

gboolean(usage_fail)(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (error != NULL)
        *error = g_error_new_valist(USAGE_ERROR, 0, format, args);
    va_end(args);
    return FALSE;
}

gboolean usage_blame(GError **error, const char *option)
{
    if (error != NULL && *error != NULL) {
        GError *usage = g_error_new(USAGE_ERROR, 0, "invalid value for --%s: %s", option, (*error)->message);

        g_error_free(*error);
        *error = usage;
    }
    return FALSE;
}

static const OptionSpec *find_by_name(const OptionSpec *const *tables, const char *name, gsize length)
{
    for (; *tables != NULL; tables++)
        for (const OptionSpec *spec = *tables; spec->name != NULL; spec++)
            if (strlen(spec->name) == length && strncmp(spec->name, name, length) == 0)
                return spec;
    return NULL;
}

static const OptionSpec *find_by_letter(const OptionSpec *const *tables, char letter)
{
    for (; *tables != NULL; tables++)
        for (const OptionSpec *spec = *tables; spec->name != NULL; spec++)
            if (spec->letter == letter)
                return spec;
    return NULL;
}

/* "always|missing|never" is a list of choices; "SIZE" and "HOST:PORT" are only names. */
static gboolean check_choice(const OptionSpec *spec, const char *value, GError **error)
{
    g_auto(GStrv) choices = NULL;

    if (spec->value == NULL || strchr(spec->value, '|') == NULL)
        return TRUE;
    choices = g_strsplit(spec->value, "|", -1);
    if (g_strv_contains((const char *const *)choices, value))
        return TRUE;
    return usage_fail(error, "invalid value for --%s: \"%s\" is not one of %s", spec->name, value,
                      spec->value);
}

static gboolean add_value(Options *options, const OptionSpec *spec, const char *value, GError **error)
{
    GPtrArray *values = g_hash_table_lookup(options->values, spec->name);

    if (!check_choice(spec, value, error))
        return FALSE;
    if (values == NULL) {
        values = g_ptr_array_new_with_free_func(g_free);
        g_hash_table_insert(options->values, (gpointer)spec->name, values);
    }
    if (values->len > 0)
        g_ptr_array_remove_index(values, values->len - 1); /* the NULL at the end */
    if (spec->kind != OPTION_LIST)
        g_ptr_array_set_size(values, 0);
    g_ptr_array_add(values, g_strdup(value));
    g_ptr_array_add(values, NULL);
    return TRUE;
}

static gboolean add_flag(Options *options, const OptionSpec *spec, const char *value, GError **error)
{
    if (value != NULL && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
        return usage_fail(error, "--%s is a flag and allows only the values true and false", spec->name);
    return add_value(options, spec, value != NULL ? value : "true", error);
}

/* --name, --name=value or --name value; *cursor moves past what was used. */
static gboolean parse_long(Options *options, const OptionSpec *const *tables, const char *const **cursor,
                           GError **error)
{
    const char *name = **cursor + 2;
    const char *equals = strchr(name, '=');
    gsize length = equals != NULL ? (gsize)(equals - name) : strlen(name);
    const OptionSpec *spec = find_by_name(tables, name, length);
    const char *value = equals != NULL ? equals + 1 : NULL;

    if (spec == NULL)
        return usage_fail(error, "unknown option --%.*s", (int)length, name);
    (*cursor)++;
    if (spec->kind == OPTION_FLAG)
        return add_flag(options, spec, value, error);
    if (value == NULL) {
        if (**cursor == NULL)
            return usage_fail(error, "--%s needs a value (%s)", spec->name, spec->value);
        value = *(*cursor)++;
    }
    return add_value(options, spec, value, error);
}

/* -a, -aq, -n5, -n=5, -n 5 */
static gboolean parse_short(Options *options, const OptionSpec *const *tables, const char *const **cursor,
                            GError **error)
{
    const char *letters = **cursor + 1;

    (*cursor)++;
    for (; *letters != '\0'; letters++) {
        const OptionSpec *spec = find_by_letter(tables, *letters);
        const char *value = letters + 1;

        if (spec == NULL)
            return usage_fail(error, "unknown option -%c", *letters);
        if (spec->kind == OPTION_FLAG) {
            if (!add_flag(options, spec, NULL, error))
                return FALSE;
            continue;
        }
        if (*value == '=')
            value++;
        else if (*value == '\0') {
            if (**cursor == NULL)
                return usage_fail(error, "-%c (--%s) needs a value (%s)", spec->letter, spec->name,
                                  spec->value);
            value = *(*cursor)++;
        }
        return add_value(options, spec, value, error);
    }
    return TRUE;
}

static gboolean parse_words(Options *options, const OptionSpec *const *tables, gboolean end_at_operand,
                            const char *const *argv, GError **error)
{
    gboolean options_over = FALSE;

    while (*argv != NULL) {
        if (!options_over && strcmp(*argv, "--") == 0) {
            options_over = TRUE;
            argv++;
        } else if (options_over || **argv != '-' || (*argv)[1] == '\0') {
            g_ptr_array_add(options->operands, g_strdup(*argv++));
            options_over = options_over || end_at_operand;
        } else if ((*argv)[1] == '-') {
            if (!parse_long(options, tables, &argv, error))
                return FALSE;
        } else if (!parse_short(options, tables, &argv, error)) {
            return FALSE;
        }
    }
    g_ptr_array_add(options->operands, NULL);
    return TRUE;
}

Options *options_parse(const OptionSpec *const *tables, gboolean end_at_operand, const char *const *argv,
                       GError **error)
{
    g_autoptr(Options) options = g_new0(Options, 1);

    options->values = string_table_new(NULL, (GDestroyNotify)g_ptr_array_unref);
    options->operands = g_ptr_array_new_with_free_func(g_free);
    if (!parse_words(options, tables, end_at_operand, argv, error))
        return NULL;
    return g_steal_pointer(&options);
}

void options_free(Options *options)
{
    if (options == NULL)
        return;
    g_hash_table_unref(options->values);
    g_ptr_array_unref(options->operands);
    g_free(options);
}

gboolean options_flag(const Options *options, const char *name)
{
    return strcmp(options_value(options, name, "false"), "true") == 0;
}

const char *options_value(const Options *options, const char *name, const char *fallback)
{
    const GPtrArray *values = g_hash_table_lookup(options->values, name);

    return values != NULL ? g_ptr_array_index(values, values->len - 2) : fallback;
}

const char *const *options_list(const Options *options, const char *name)
{
    static const char *const empty[] = {NULL};
    const GPtrArray *values = g_hash_table_lookup(options->values, name);

    return values != NULL ? (const char *const *)values->pdata : empty;
}

const char *const *options_operands(const Options *options)
{
    return (const char *const *)options->operands->pdata;
}

guint options_n_operands(const Options *options)
{
    return options->operands->len - 1;
}

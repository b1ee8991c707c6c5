/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/config/option_value.h"

#include "common/bundle.h"
#include "common/error.h"
#include "cri-server/config/listen_address.h"

#include <string.h>

typedef struct {
    const char *suffix;
    guint64 factor;
} Unit;

/* From the largest; a value is printed in the first unit that divides it. */
static const Unit size_units[] = {{"TiB", G_GUINT64_CONSTANT(1) << 40},
                                  {"GiB", 1 << 30},
                                  {"MiB", 1 << 20},
                                  {"KiB", 1 << 10},
                                  {"B", 1},
                                  {NULL, 0}};
static const Unit duration_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0}};
static const Unit count_units[] = {{"", 1}, {NULL, 0}};

static const Unit *option_units(const Option *option)
{
    if (option->type == OPTION_TYPE_SIZE)
        return size_units;
    return option->type == OPTION_TYPE_DURATION ? duration_units : count_units;
}

static gboolean parse_number(const Unit *units, const char *text, guint64 *ret_number)
{
    char *end = NULL;
    guint64 number;

    if (!g_ascii_isdigit(*text))
        return FALSE;
    number = g_ascii_strtoull(text, &end, 10);
    for (; units->suffix != NULL; units++)
        if (g_str_equal(end, units->suffix))
            return g_uint64_checked_mul(ret_number, number, units->factor);
    return FALSE;
}

static char *format_number(const Unit *units, guint64 number)
{
    /* Every unit divides 0; print "0s" and "0B". */
    while (number % units->factor != 0 || (number == 0 && units->factor > 1000))
        units++;
    return g_strdup_printf("%" G_GUINT64_FORMAT "%s", number / units->factor, units->suffix);
}

static void store_number(const Option *option, guint64 number, gpointer field)
{
    if (option->type == OPTION_TYPE_COUNT)
        *(guint *)field = (guint)number;
    else if (option->type == OPTION_TYPE_DURATION)
        *(gint64 *)field = (gint64)number;
    else
        *(guint64 *)field = number;
}

static guint64 load_number(const Option *option, gconstpointer field)
{
    if (option->type == OPTION_TYPE_COUNT)
        return *(const guint *)field;
    if (option->type == OPTION_TYPE_DURATION)
        return (guint64) * (const gint64 *)field;
    return *(const guint64 *)field;
}

static gboolean set_number(const Option *option, const char *text, gpointer field)
{
    g_auto(GStrv) limits = g_strsplit(option->limits, "..", 2);
    const Unit *units = option_units(option);
    guint64 number;
    guint64 least;
    guint64 most;

    g_assert(parse_number(units, limits[0], &least) && parse_number(units, limits[1], &most));
    if (!parse_number(units, text, &number) || number < least || number > most)
        return FALSE;
    store_number(option, number, field);
    return TRUE;
}

static gboolean is_choice(const Option *option, const char *text)
{
    g_auto(GStrv) choices = g_strsplit(option->limits, "|", 0);

    return g_strv_contains((const char *const *)choices, text);
}

static gboolean is_path(const Option *option, const char *text)
{
    return *text == '\0' ? g_str_equal(option->limits, "?") : g_path_is_absolute(text);
}

static gboolean is_address(const char *text)
{
    g_autoptr(GSocketAddress) address = *text != '\0' ? listen_address_parse(text, NULL) : NULL;

    return *text == '\0' || address != NULL;
}

static gboolean is_item(const Option *option, const char *text)
{
    if (g_str_equal(option->limits, "*"))
        return *text != '\0';
    return *option->limits != '\0' ? is_choice(option, text) : g_path_is_absolute(text);
}

static gboolean is_list(const Option *option, char **items)
{
    for (; *items != NULL; items++)
        if (!is_item(option, *items))
            return FALSE;
    return TRUE;
}

static gboolean set_bool(const char *text, gboolean *field)
{
    gboolean value = g_str_equal(text, "true");

    if (!value && !g_str_equal(text, "false"))
        return FALSE;
    *field = value;
    return TRUE;
}

static gboolean set_list(const Option *option, char **list, char ***field)
{
    if (!is_list(option, list)) {
        g_strfreev(list);
        return FALSE;
    }
    g_strfreev(*field);
    *field = list;
    return TRUE;
}

static gboolean set_string(const char *text, char **field)
{
    g_free(*field);
    *field = g_strdup(text);
    return TRUE;
}

static gboolean set_any(const Option *option, const char *text, gpointer field)
{
    switch (option->type) {
    case OPTION_TYPE_STRING:
        return set_string(text, field);
    case OPTION_TYPE_PATH:
        return is_path(option, text) && set_string(text, field);
    case OPTION_TYPE_CHOICE:
        return is_choice(option, text) && set_string(text, field);
    case OPTION_TYPE_ADDRESS:
        return is_address(text) && set_string(text, field);
    case OPTION_TYPE_LIST:
        return set_list(option, g_strsplit(text, ",", 0), field);
    case OPTION_TYPE_BOOL:
        return set_bool(text, field);
    case OPTION_TYPE_COUNT:
    case OPTION_TYPE_SIZE:
    case OPTION_TYPE_DURATION:
        return set_number(option, text, field);
    }
    return FALSE;
}

static gboolean fail_value(const Option *option, const char *text, GError **error)
{
    g_autofree char *allowed = option_allowed(option);

    return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not allowed; allowed: %s", text, allowed);
}

gboolean option_set_text(const Option *option, const char *text, gpointer field, GError **error)
{
    return set_any(option, text, field) || fail_value(option, text, error);
}

static gboolean set_toml_list(const Option *option, const TomlTable *table, char ***field, GError **error)
{
    char **list = NULL;

    if (!toml_get_strv(table, option->key, &list, error))
        return FALSE;
    return set_list(option, list, field) || fail_value(option, option->key, error);
}

gboolean option_set_toml(const Option *option, const TomlTable *table, gpointer field, GError **error)
{
    g_autofree char *text = NULL;
    gint64 number = 0;

    if (option->type == OPTION_TYPE_BOOL)
        return toml_get_bool(table, option->key, field, error);
    if (option->type == OPTION_TYPE_LIST)
        return set_toml_list(option, table, field, error);
    if (option->type == OPTION_TYPE_COUNT) {
        if (!toml_get_int(table, option->key, &number, error))
            return FALSE;
        text = g_strdup_printf("%" G_GINT64_FORMAT, number);
    } else if (!toml_get_string(table, option->key, &text, error)) {
        return FALSE;
    }
    return option_set_text(option, text, field, error);
}

void option_clear(const Option *option, gpointer field)
{
    if (option->type == OPTION_TYPE_LIST)
        g_clear_pointer((char ***)field, g_strfreev);
    else if (option->type == OPTION_TYPE_STRING || option->type == OPTION_TYPE_PATH ||
             option->type == OPTION_TYPE_CHOICE || option->type == OPTION_TYPE_ADDRESS)
        g_clear_pointer((char **)field, g_free);
}

char *option_to_text(const Option *option, gconstpointer field)
{
    switch (option->type) {
    case OPTION_TYPE_LIST:
        return g_strjoinv(",", *(char ***)(gpointer)field);
    case OPTION_TYPE_BOOL:
        return g_strdup(*(const gboolean *)field ? "true" : "false");
    case OPTION_TYPE_COUNT:
    case OPTION_TYPE_SIZE:
    case OPTION_TYPE_DURATION:
        return format_number(option_units(option), load_number(option, field));
    default:
        return g_strdup(*(char *const *)field);
    }
}

/* A TOML basic string. */
static void append_quoted(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            g_string_append_printf(out, "\\%c", *text);
        else if ((guchar)*text < 0x20 || *text == 0x7f)
            g_string_append_printf(out, "\\u%04X", (guint)(guchar)*text);
        else
            g_string_append_c(out, *text);
    }
    g_string_append_c(out, '"');
}

char *option_to_toml(const Option *option, gconstpointer field)
{
    GString *out = g_string_new(NULL);

    if (option->type == OPTION_TYPE_LIST) {
        g_string_append_c(out, '[');
        for (char **item = *(char ***)(gpointer)field; *item != NULL; item++) {
            append_quoted(out, *item);
            g_string_append(out, item[1] != NULL ? ", " : "");
        }
        g_string_append_c(out, ']');
    } else {
        g_autofree char *text = option_to_text(option, field);

        if (option->type == OPTION_TYPE_COUNT || option->type == OPTION_TYPE_BOOL)
            g_string_append(out, text);
        else
            append_quoted(out, text);
    }
    return g_string_free(out, FALSE);
}

char *option_allowed(const Option *option)
{
    g_auto(GStrv) parts = NULL;

    switch (option->type) {
    case OPTION_TYPE_PATH:
        return g_strdup(*option->limits == '?' ? "an absolute path, or nothing" : "an absolute path");
    case OPTION_TYPE_LIST:
        if (g_str_equal(option->limits, "*"))
            return g_strdup("words");
        if (*option->limits == '\0')
            return g_strdup("absolute paths");
        parts = g_strsplit(option->limits, "|", 0);
        return g_strjoinv(", ", parts);
    case OPTION_TYPE_ADDRESS:
        return g_strdup("an IP address and a port, such as 127.0.0.1:9099 or :9099, or nothing");
    case OPTION_TYPE_CHOICE:
        parts = g_strsplit(option->limits, "|", 0);
        return g_strjoinv(", ", parts);
    case OPTION_TYPE_COUNT:
    case OPTION_TYPE_SIZE:
    case OPTION_TYPE_DURATION:
        parts = g_strsplit(option->limits, "..", 2);
        return g_strjoinv(" to ", parts);
    case OPTION_TYPE_BOOL:
        return g_strdup("true, false");
    case OPTION_TYPE_STRING:
        break;
    }
    return g_strdup("");
}

const char *option_when_text(const Option *option)
{
    return option->when == OPTION_RELOAD ? "A reload applies a change."
                                         : "A change needs a restart of crivirtd.";
}

const char *option_metavar(const Option *option)
{
    static const char *const names[] = {
        [OPTION_TYPE_STRING] = "TEXT",   [OPTION_TYPE_PATH] = "PATH",
        [OPTION_TYPE_CHOICE] = "NAME",   [OPTION_TYPE_LIST] = "PATH,PATH",
        [OPTION_TYPE_COUNT] = "N",       [OPTION_TYPE_SIZE] = "SIZE",
        [OPTION_TYPE_DURATION] = "TIME", [OPTION_TYPE_ADDRESS] = "ADDRESS:PORT",
        [OPTION_TYPE_BOOL] = "BOOL",
    };

    return names[option->type];
}

gboolean option_set_default(const Option *option, gpointer field, GError **error)
{
    g_auto(GStrv) paths = NULL;
    g_autofree char *text = NULL;

    if (option->type != OPTION_TYPE_PATH && option->type != OPTION_TYPE_LIST)
        return option_set_text(option, option->default_text, field, error);
    paths = g_strsplit(option->default_text, ",", -1);
    for (guint i = 0; paths[i] != NULL; i++) {
        char *path = bundle_path(paths[i]);

        g_free(paths[i]);
        paths[i] = path;
    }
    text = g_strjoinv(",", paths);
    return option_set_text(option, text, field, error);
}

OptionDefault option_default(const Option *option)
{
    /* Large enough for a field of any type. */
    OptionDefault standard = {option, g_new0(guint64, 1)};

    option_set_default(option, standard.value, NULL);
    return standard;
}

void option_default_clear(OptionDefault *standard)
{
    option_clear(standard->option, standard->value);
    g_free(standard->value);
}

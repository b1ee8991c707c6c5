/* SPDX-License-Identifier: Apache-2.0 */
#include "common/toml_table.h"

#include "common/error.h"
#include "common/string_table.h"
#include "common/toml_scan.h"

void toml_value_free(gpointer data)
{
    TomlValue *value = data;

    if (value->kind == TOML_STRING)
        g_free(value->as.string);
    else if (value->kind == TOML_ARRAY)
        g_ptr_array_unref(value->as.array);
    else if (value->kind == TOML_TABLE)
        toml_free(value->as.table);
    g_free(value);
}

TomlTable *toml_table_new(const TomlTable *parent, char *source, char *path, TomlTableOrigin origin)
{
    TomlTable *table = g_new0(TomlTable, 1);

    table->source = g_ref_string_acquire(source);
    table->path = path;
    table->depth = parent != NULL ? parent->depth + 1 : 0;
    table->origin = origin;
    table->keys = g_ptr_array_new_with_free_func(g_free);
    table->values = string_table_new(NULL, toml_value_free);
    return table;
}

void toml_free(TomlTable *root)
{
    if (root == NULL)
        return;
    g_hash_table_unref(root->values);
    g_ptr_array_unref(root->keys);
    g_ref_string_release(root->source);
    g_free(root->path);
    g_free(root);
}

TomlValue *toml_value_new(TomlKind kind, guint line)
{
    TomlValue *value = g_new0(TomlValue, 1);

    value->kind = kind;
    value->line = line;
    return value;
}

TomlValue *toml_table_find(const TomlTable *table, const char *key)
{
    return g_hash_table_lookup(table->values, key);
}

void toml_table_add(TomlTable *table, const char *key, TomlValue *value)
{
    char *owned = g_strdup(key);

    g_ptr_array_add(table->keys, owned);
    g_hash_table_insert(table->values, owned, value);
}

char *toml_path_join(const char *parent, const char *key)
{
    const char *quote = toml_key_is_bare(key) ? "" : "\"";

    return g_strdup_printf("%s%s%s%s%s", parent, *parent != '\0' ? "." : "", quote, key, quote);
}

/* ---- reading it ---- */

static char *place_at(const TomlTable *table, const char *key, guint line)
{
    g_autofree char *path = toml_path_join(table->path, key);

    return g_strdup_printf("%s:%u: %s", table->source, line, path);
}

static gboolean fail_value(const TomlTable *table, const char *key, guint line, GError **error,
                           const char *what)
{
    g_autofree char *place = place_at(table, key, line);

    return fail(error, STATUS_INVALID_ARGUMENT, "%s %s", place, what);
}

/* *ret_value is NULL when the key is absent. Return: FALSE when the value has another type. */
static gboolean find_kind(const TomlTable *table, const char *key, TomlKind kind, const TomlValue **ret_value,
                          GError **error)
{
    static const char *const wanted[] = {
        [TOML_STRING] = "must be a string", [TOML_INT] = "must be an integer",
        [TOML_DOUBLE] = "must be a number", [TOML_BOOL] = "must be true or false",
        [TOML_ARRAY] = "must be an array",  [TOML_TABLE] = "must be a table",
    };
    const TomlValue *value = toml_table_find(table, key);

    if (value != NULL && value->kind != kind)
        return fail_value(table, key, value->line, error, wanted[kind]);
    *ret_value = value;
    return TRUE;
}

gboolean toml_get_string(const TomlTable *table, const char *key, char **ret, GError **error)
{
    const TomlValue *value = NULL;

    if (!find_kind(table, key, TOML_STRING, &value, error))
        return FALSE;
    if (value != NULL)
        *ret = g_strdup(value->as.string);
    return TRUE;
}

gboolean toml_get_int(const TomlTable *table, const char *key, gint64 *ret, GError **error)
{
    const TomlValue *value = NULL;

    if (!find_kind(table, key, TOML_INT, &value, error))
        return FALSE;
    if (value != NULL)
        *ret = value->as.integer;
    return TRUE;
}

gboolean toml_get_bool(const TomlTable *table, const char *key, gboolean *ret, GError **error)
{
    const TomlValue *value = NULL;

    if (!find_kind(table, key, TOML_BOOL, &value, error))
        return FALSE;
    if (value != NULL)
        *ret = value->as.boolean;
    return TRUE;
}

gboolean toml_get_double(const TomlTable *table, const char *key, double *ret, GError **error)
{
    const TomlValue *value = toml_table_find(table, key);

    /* An integer is accepted where a float is expected: 2 means 2.0. */
    if (value != NULL && value->kind == TOML_INT) {
        *ret = (double)value->as.integer;
        return TRUE;
    }
    if (!find_kind(table, key, TOML_DOUBLE, &value, error))
        return FALSE;
    if (value != NULL)
        *ret = value->as.real;
    return TRUE;
}

gboolean toml_get_strv(const TomlTable *table, const char *key, char ***ret, GError **error)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    const TomlValue *value = NULL;

    if (!find_kind(table, key, TOML_ARRAY, &value, error))
        return FALSE;
    if (value == NULL)
        return TRUE;
    for (guint i = 0; i < value->as.array->len; i++) {
        const TomlValue *element = g_ptr_array_index(value->as.array, i);

        if (element->kind != TOML_STRING)
            return fail_value(table, key, element->line, error, "must hold strings only");
        g_strv_builder_add(builder, element->as.string);
    }
    *ret = g_strv_builder_end(builder);
    return TRUE;
}

/* Return: the strings of a string or of an array of strings, which the caller frees; NULL for any other
 * value. */
static char **strings_of(const TomlValue *value)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

    if (value->kind == TOML_STRING)
        g_strv_builder_add(builder, value->as.string);
    else if (value->kind != TOML_ARRAY)
        return NULL;
    for (guint i = 0; value->kind == TOML_ARRAY && i < value->as.array->len; i++) {
        const TomlValue *element = g_ptr_array_index(value->as.array, i);

        if (element->kind != TOML_STRING)
            return NULL;
        g_strv_builder_add(builder, element->as.string);
    }
    return g_strv_builder_end(builder);
}

gboolean toml_get_strvs(const TomlTable *table, const char *key, GPtrArray **ret, GError **error)
{
    g_autoptr(GPtrArray) vectors = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    const TomlValue *value = toml_table_find(table, key);
    guint length = 1;

    if (value == NULL)
        return TRUE;
    if (value->kind == TOML_ARRAY)
        length = value->as.array->len;
    for (guint i = 0; i < length; i++) {
        const TomlValue *element = value->kind == TOML_ARRAY ? g_ptr_array_index(value->as.array, i) : value;
        char **strings = strings_of(element);

        if (strings == NULL)
            return fail_value(table, key, element->line, error, "must be a string or an array of strings");
        g_ptr_array_add(vectors, strings);
    }
    *ret = g_steal_pointer(&vectors);
    return TRUE;
}

const TomlTable *toml_get_table(const TomlTable *table, const char *key, GError **error)
{
    const TomlValue *value = NULL;

    if (!find_kind(table, key, TOML_TABLE, &value, error) || value == NULL)
        return NULL;
    return value->as.table;
}

gboolean toml_get_tables(const TomlTable *table, const char *key, GPtrArray **ret, GError **error)
{
    g_autoptr(GPtrArray) tables = g_ptr_array_new();
    const TomlValue *value = NULL;

    if (!find_kind(table, key, TOML_ARRAY, &value, error))
        return FALSE;
    for (guint i = 0; value != NULL && i < value->as.array->len; i++) {
        const TomlValue *element = g_ptr_array_index(value->as.array, i);

        if (element->kind != TOML_TABLE)
            return fail_value(table, key, element->line, error, "must hold tables only");
        g_ptr_array_add(tables, element->as.table);
    }
    *ret = g_steal_pointer(&tables);
    return TRUE;
}

gboolean toml_has(const TomlTable *table, const char *key)
{
    return toml_table_find(table, key) != NULL;
}

const char **toml_keys(const TomlTable *table)
{
    const char **keys = g_new0(const char *, table->keys->len + 1);

    for (guint i = 0; i < table->keys->len; i++)
        keys[i] = g_ptr_array_index(table->keys, i);
    return keys;
}

guint toml_line(const TomlTable *table, const char *key)
{
    const TomlValue *value = toml_table_find(table, key);

    return value != NULL ? value->line : 0;
}

char *toml_place(const TomlTable *table, const char *key)
{
    return place_at(table, key, toml_line(table, key));
}

const char *toml_path(const TomlTable *table)
{
    return table->path;
}

gboolean toml_check_keys(const TomlTable *table, const char *const *known, GError **error)
{
    for (guint i = 0; i < table->keys->len; i++) {
        const char *key = g_ptr_array_index(table->keys, i);

        if (!g_strv_contains(known, key))
            return fail_value(table, key, toml_line(table, key), error, "is not a known setting");
    }
    return TRUE;
}

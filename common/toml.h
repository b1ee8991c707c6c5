/* SPDX-License-Identifier: Apache-2.0 */
/* A reader for the part of TOML 1.0 (https://toml.io/en/v1.0.0) that configuration files use.
 *
 * Supported: comments; bare, quoted and dotted keys; [table], [table."quoted key"] and [[array of tables]];
 * basic, literal and multi-line strings; integers (decimal, 0x, 0o, 0b, underscores); floats; booleans;
 * arrays; inline tables. Dates and times are refused with a message. A duplicate key is an error. Every error
 * names the source, the line and the key. A parsed document is immutable, so any thread may read it.
 */
#pragma once

#include <glib.h>

typedef struct TomlTable TomlTable;

/* The root table; source_name appears in messages. INVALID_ARGUMENT for bad text. */
TomlTable *toml_parse(const char *text, gsize length, const char *source_name, GError **error);
TomlTable *toml_parse_file(const char *path, GError **error);
/* Frees a root table and all that is in it; takes NULL. Tables got from it are borrowed. */
void toml_free(TomlTable *root);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TomlTable, toml_free)

/* The getters leave *ret alone when the key is absent, and fail only when its value has another type. Strings
 * and arrays are the caller's. */
gboolean toml_get_string(const TomlTable *table, const char *key, char **ret, GError **error);
gboolean toml_get_int(const TomlTable *table, const char *key, gint64 *ret, GError **error);
gboolean toml_get_bool(const TomlTable *table, const char *key, gboolean *ret, GError **error);
gboolean toml_get_double(const TomlTable *table, const char *key, double *ret, GError **error);
/* An array of strings as a NULL-terminated vector. */
gboolean toml_get_strv(const TomlTable *table, const char *key, char ***ret, GError **error);

/* A string, an array of strings, or an array of both strings and arrays of strings: elements of *ret, which
 * is untouched when the key is absent, are char **, freed by the array. "x" reads as ["x"], "y" in it as
 * ["y"]. */
gboolean toml_get_strvs(const TomlTable *table, const char *key, GPtrArray **ret, GError **error);

/* NULL when absent (no error) or when it is no table (error). */
const TomlTable *toml_get_table(const TomlTable *table, const char *key, GError **error);
/* Elements are borrowed const TomlTable *; an empty array when absent. */
gboolean toml_get_tables(const TomlTable *table, const char *key, GPtrArray **ret, GError **error);

gboolean toml_has(const TomlTable *table, const char *key);
/* Keys in the order of the file; NULL-terminated; the strings are borrowed, free the vector with g_free(). */
const char **toml_keys(const TomlTable *table);
/* Return: the line of a key, for messages; 0 when it is absent. */
guint toml_line(const TomlTable *table, const char *key);
/* Dotted path of the table from the root ("registry.mirrors"), "" for the root; borrowed. */
const char *toml_path(const TomlTable *table);
/* INVALID_ARGUMENT naming the first key that is not in known (NULL-terminated). */
gboolean toml_check_keys(const TomlTable *table, const char *const *known, GError **error);

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

/* Parse a text or a file; source_name appears in messages. Return: the root table, which the caller frees
 * with toml_free(); NULL with INVALID_ARGUMENT for invalid text, with the status of the errno for a file that
 * cannot be read. */
TomlTable *toml_parse(const char *text, gsize length, const char *source_name, GError **error);
TomlTable *toml_parse_file(const char *path, GError **error);
/* Frees a root table and all tables of the document, which the getters lend; accepts NULL. */
void toml_free(TomlTable *root);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TomlTable, toml_free)

/* The getters leave *ret alone when the key is absent, and fail only when its value has another type. The
 * caller frees strings and arrays. */
gboolean toml_get_string(const TomlTable *table, const char *key, char **ret, GError **error);
gboolean toml_get_int(const TomlTable *table, const char *key, gint64 *ret, GError **error);
gboolean toml_get_bool(const TomlTable *table, const char *key, gboolean *ret, GError **error);
gboolean toml_get_double(const TomlTable *table, const char *key, double *ret, GError **error);
/* *ret gets an array of strings as a NULL-terminated vector. */
gboolean toml_get_strv(const TomlTable *table, const char *key, char ***ret, GError **error);

/* Reads a string, an array of strings, or an array of strings and arrays of strings. *ret gets an array of
 * char **, which the array frees, and is untouched when the key is absent. The string "x" is read as ["x"],
 * and so is one within the array. */
gboolean toml_get_strvs(const TomlTable *table, const char *key, GPtrArray **ret, GError **error);

/* Return: the table, borrowed; NULL when the key is absent (no error) or has another type (error). */
const TomlTable *toml_get_table(const TomlTable *table, const char *key, GError **error);
/* *ret gets an array of borrowed const TomlTable *, which is empty when the key is absent. */
gboolean toml_get_tables(const TomlTable *table, const char *key, GPtrArray **ret, GError **error);

gboolean toml_has(const TomlTable *table, const char *key);
/* Return: the keys in the order of the file, NULL-terminated. The strings are borrowed; the caller frees the
 * vector with g_free(). */
const char **toml_keys(const TomlTable *table);
/* Return: the line of a key, for messages; 0 when it is absent. */
guint toml_line(const TomlTable *table, const char *key);
/* Return: "FILE:LINE: KEY" with the whole path of the key, for messages about it; the caller frees it. */
char *toml_place(const TomlTable *table, const char *key);
/* Return: the dotted path of the table from the root ("registry.mirrors"), "" for the root; borrowed. */
const char *toml_path(const TomlTable *table);
/* Return: FALSE when a key is not in known (NULL-terminated); the error is INVALID_ARGUMENT and names the
 * first. */
gboolean toml_check_keys(const TomlTable *table, const char *const *known, GError **error);

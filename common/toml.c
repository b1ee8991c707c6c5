/* SPDX-License-Identifier: Apache-2.0 */
#include "common/toml.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/toml_scan.h"
#include "common/toml_table.h"

/* Bounds the recursion of parsing and of freeing. */
enum { MAX_DEPTH = 64, MAX_FILE_BYTES = 1 << 20 };

static gboolean parse_value(TomlScanner *scanner, TomlTable *owner, const char *path, guint depth,
                            TomlValue **ret_value, GError **error);

/* Reads the parts of a dotted key, and the spaces around it. */
static gboolean parse_key(TomlScanner *scanner, GPtrArray **ret_parts, GError **error)
{
    g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(g_free);

    do {
        char *part = NULL;

        toml_scan_space(scanner);
        if (!toml_scan_key(scanner, &part, error))
            return FALSE;
        g_ptr_array_add(parts, part);
        toml_scan_space(scanner);
    } while (toml_scan_accept(scanner, '.'));
    *ret_parts = g_steal_pointer(&parts);
    return TRUE;
}

static TomlTable *table_add_child(const TomlScanner *scanner, TomlTable *parent, const char *key,
                                  TomlTableOrigin origin, GError **error)
{
    TomlValue *value;

    if (parent->depth >= MAX_DEPTH) {
        toml_scan_fail(scanner, error, "tables are nested too deeply");
        return NULL;
    }
    value = toml_value_new(TOML_TABLE, scanner->line);
    value->as.table = toml_table_new(parent, parent->source, toml_path_join(parent->path, key), origin);
    toml_table_add(parent, key, value);
    return value->as.table;
}

/* Adds the next [[table]] to an array. Return: the table, which the array owns. */
static TomlTable *array_add_table(const TomlScanner *scanner, TomlTable *parent, const char *key,
                                  GPtrArray *array)
{
    g_autofree char *path = toml_path_join(parent->path, key);
    TomlValue *value = toml_value_new(TOML_TABLE, scanner->line);

    value->as.table = toml_table_new(parent, parent->source, g_strdup_printf("%s[%u]", path, array->len),
                                     TOML_TABLE_DEFINED);
    g_ptr_array_add(array, value);
    return value->as.table;
}

static TomlTable *fail_duplicate(const TomlScanner *scanner, const TomlTable *table, const char *key,
                                 const TomlValue *first, GError **error)
{
    g_autofree char *path = toml_path_join(table->path, key);

    toml_scan_fail(scanner, error, "%s is defined already, in line %u", path, first->line);
    return NULL;
}

/* Follows one part of a header's key, and makes the table when there is none. Return: the table; NULL when
 * the key has another value. */
static TomlTable *header_step(const TomlScanner *scanner, TomlTable *table, const char *key, GError **error)
{
    TomlValue *value = toml_table_find(table, key);

    if (value == NULL)
        return table_add_child(scanner, table, key, TOML_TABLE_IMPLICIT, error);
    if (value->kind == TOML_ARRAY && value->from_header)
        value = g_ptr_array_index(value->as.array, value->as.array->len - 1);
    if (value->kind != TOML_TABLE || value->as.table->origin == TOML_TABLE_INLINE)
        return fail_duplicate(scanner, table, key, value, error);
    return value->as.table;
}

static TomlTable *header_define(const TomlScanner *scanner, TomlTable *table, const char *key, GError **error)
{
    TomlValue *value = toml_table_find(table, key);

    if (value == NULL)
        return table_add_child(scanner, table, key, TOML_TABLE_DEFINED, error);
    if (value->kind != TOML_TABLE || value->as.table->origin != TOML_TABLE_IMPLICIT)
        return fail_duplicate(scanner, table, key, value, error);
    value->as.table->origin = TOML_TABLE_DEFINED;
    value->line = scanner->line;
    return value->as.table;
}

static TomlTable *header_append(const TomlScanner *scanner, TomlTable *table, const char *key, GError **error)
{
    TomlValue *value = toml_table_find(table, key);

    if (value != NULL && (value->kind != TOML_ARRAY || !value->from_header))
        return fail_duplicate(scanner, table, key, value, error);
    if (table->depth >= MAX_DEPTH) {
        toml_scan_fail(scanner, error, "tables are nested too deeply");
        return NULL;
    }
    if (value == NULL) {
        value = toml_value_new(TOML_ARRAY, scanner->line);
        value->from_header = TRUE;
        value->as.array = g_ptr_array_new_with_free_func(toml_value_free);
        toml_table_add(table, key, value);
    }
    return array_add_table(scanner, table, key, value->as.array);
}

/* Reads [a.b] or [[a.b]]. Return: the table that the following lines fill. */
static TomlTable *parse_header(TomlScanner *scanner, TomlTable *root, GError **error)
{
    g_autoptr(GPtrArray) parts = NULL;
    TomlTable *table = root;
    gboolean is_array;
    const char *last;

    scanner->at++;
    is_array = toml_scan_accept(scanner, '[');
    if (!parse_key(scanner, &parts, error))
        return NULL;
    if (!toml_scan_accept(scanner, ']') || (is_array && !toml_scan_accept(scanner, ']'))) {
        toml_scan_fail(scanner, error, "the table's header is not closed");
        return NULL;
    }
    for (guint i = 0; table != NULL && i + 1 < parts->len; i++)
        table = header_step(scanner, table, g_ptr_array_index(parts, i), error);
    if (table == NULL)
        return NULL;
    last = g_ptr_array_index(parts, parts->len - 1);
    table = (is_array ? header_append : header_define)(scanner, table, last, error);
    return table != NULL && toml_scan_line_end(scanner, error) ? table : NULL;
}

/* Follows one part of a dotted key. A dotted key may only add to a table that a dotted key made. */
static TomlTable *dotted_step(const TomlScanner *scanner, TomlTable *table, const char *key, GError **error)
{
    TomlValue *value = toml_table_find(table, key);

    if (value == NULL)
        return table_add_child(scanner, table, key, TOML_TABLE_DOTTED, error);
    if (value->kind != TOML_TABLE || value->as.table->origin != TOML_TABLE_DOTTED)
        return fail_duplicate(scanner, table, key, value, error);
    return value->as.table;
}

/* Reads key = value. */
static gboolean parse_pair(TomlScanner *scanner, TomlTable *table, guint depth, GError **error)
{
    g_autoptr(GPtrArray) parts = NULL;
    g_autofree char *path = NULL;
    const char *outer_key = scanner->key;
    guint line = scanner->line;
    TomlValue *value = NULL;
    const char *last;
    gboolean parsed;

    if (!parse_key(scanner, &parts, error))
        return FALSE;
    for (guint i = 0; i + 1 < parts->len; i++) {
        table = dotted_step(scanner, table, g_ptr_array_index(parts, i), error);
        if (table == NULL)
            return FALSE;
    }
    last = g_ptr_array_index(parts, parts->len - 1);
    if (toml_table_find(table, last) != NULL)
        return fail_duplicate(scanner, table, last, toml_table_find(table, last), error) != NULL;
    path = toml_path_join(table->path, last);
    scanner->key = path;
    if (toml_scan_accept(scanner, '=')) {
        toml_scan_space(scanner);
        parsed = parse_value(scanner, table, path, depth, &value, error);
    } else {
        parsed = toml_scan_fail(scanner, error, "\"=\" was expected after the key");
    }
    scanner->key = outer_key;
    if (!parsed)
        return FALSE;
    value->line = line;
    toml_table_add(table, last, value);
    return TRUE;
}

static gboolean parse_array(TomlScanner *scanner, TomlTable *owner, const char *path, guint depth,
                            GPtrArray *array, GError **error)
{
    scanner->at++;
    for (;;) {
        g_autofree char *element_path = g_strdup_printf("%s[%u]", path, array->len);
        TomlValue *value = NULL;

        if (!toml_scan_blank(scanner, error))
            return FALSE;
        if (toml_scan_accept(scanner, ']'))
            return TRUE;
        if (!parse_value(scanner, owner, element_path, depth, &value, error))
            return FALSE;
        g_ptr_array_add(array, value);
        if (!toml_scan_blank(scanner, error))
            return FALSE;
        if (toml_scan_accept(scanner, ','))
            continue;
        if (!toml_scan_accept(scanner, ']'))
            return toml_scan_fail(scanner, error, "\",\" or \"]\" was expected in the array");
        return TRUE;
    }
}

/* Reads an inline table. TOML 1.0 allows neither a line end nor a comma after the last pair. */
static gboolean parse_inline_table(TomlScanner *scanner, TomlTable *table, guint depth, GError **error)
{
    scanner->at++;
    toml_scan_space(scanner);
    if (toml_scan_accept(scanner, '}'))
        return TRUE;
    do {
        if (!parse_pair(scanner, table, depth, error))
            return FALSE;
        toml_scan_space(scanner);
    } while (toml_scan_accept(scanner, ','));
    if (!toml_scan_accept(scanner, '}'))
        return toml_scan_fail(scanner, error, "\",\" or \"}\" was expected in the inline table");
    return TRUE;
}

static gboolean parse_scalar(TomlScanner *scanner, TomlValue *value, GError **error)
{
    TomlWord word;

    if (strchr("\"'", toml_scan_peek(scanner)) != NULL && toml_scan_peek(scanner) != '\0') {
        char *string = NULL;

        if (!toml_scan_string(scanner, &string, error))
            return FALSE;
        value->kind = TOML_STRING;
        value->as.string = string;
        return TRUE;
    }
    if (!toml_scan_word(scanner, &word, error))
        return FALSE;
    switch (word.kind) {
    case TOML_WORD_BOOL:
        value->kind = TOML_BOOL;
        value->as.boolean = word.boolean;
        break;
    case TOML_WORD_INT:
        value->kind = TOML_INT;
        value->as.integer = word.integer;
        break;
    case TOML_WORD_DOUBLE:
        value->kind = TOML_DOUBLE;
        value->as.real = word.real;
        break;
    }
    return TRUE;
}

static gboolean parse_value(TomlScanner *scanner, TomlTable *owner, const char *path, guint depth,
                            TomlValue **ret_value, GError **error)
{
    TomlValue *value = toml_value_new(TOML_BOOL, scanner->line);
    gboolean parsed;

    if (depth >= MAX_DEPTH) {
        parsed = toml_scan_fail(scanner, error, "values are nested too deeply");
    } else if (toml_scan_peek(scanner) == '[') {
        value->kind = TOML_ARRAY;
        value->as.array = g_ptr_array_new_with_free_func(toml_value_free);
        parsed = parse_array(scanner, owner, path, depth + 1, value->as.array, error);
    } else if (toml_scan_peek(scanner) == '{') {
        value->kind = TOML_TABLE;
        value->as.table = toml_table_new(owner, owner->source, g_strdup(path), TOML_TABLE_INLINE);
        parsed = parse_inline_table(scanner, value->as.table, depth + 1, error);
    } else {
        parsed = parse_scalar(scanner, value, error);
    }
    if (!parsed) {
        toml_value_free(value);
        return FALSE;
    }
    *ret_value = value;
    return TRUE;
}

static gboolean parse_document(TomlScanner *scanner, TomlTable *root, GError **error)
{
    TomlTable *current = root;

    for (;;) {
        if (!toml_scan_blank(scanner, error))
            return FALSE;
        if (scanner->at == scanner->end)
            return TRUE;
        if (toml_scan_peek(scanner) == '[') {
            current = parse_header(scanner, root, error);
            if (current == NULL)
                return FALSE;
        } else if (!parse_pair(scanner, current, 0, error) || !toml_scan_line_end(scanner, error)) {
            return FALSE;
        }
    }
}

static guint count_lines(const char *text, const char *end)
{
    guint lines = 1;

    for (; text < end; text++)
        lines += *text == '\n';
    return lines;
}

TomlTable *toml_parse(const char *text, gsize length, const char *source_name, GError **error)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    char *source = g_ref_string_new(source_name);
    g_autoptr(TomlTable) root = toml_table_new(NULL, source, g_strdup(""), TOML_TABLE_DEFINED);
    TomlScanner scanner = {.source = root->source, .at = text, .end = text + length, .line = 1};
    const char *invalid;

    g_ref_string_release(source);
    if (length > 0 && !g_utf8_validate_len(text, length, &invalid)) {
        scanner.line = count_lines(text, invalid);
        toml_scan_fail(&scanner, error, "the text is not valid UTF-8");
        return NULL;
    }
    if (length >= 3 && memcmp(text, byte_order_mark, 3) == 0)
        scanner.at += 3;
    return parse_document(&scanner, root, error) ? g_steal_pointer(&root) : NULL;
}

TomlTable *toml_parse_file(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    gsize length;

    if (!file_read(path, MAX_FILE_BYTES, &text, &length, error))
        return NULL;
    return toml_parse(text, length, path, error);
}

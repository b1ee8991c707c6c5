#include "common/toml.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/toml_scan.h"

/* Bounds the recursion of parsing and of freeing. */
enum { MAX_DEPTH = 64, MAX_FILE_BYTES = 1 << 20 };

typedef enum { KIND_STRING, KIND_INT, KIND_DOUBLE, KIND_BOOL, KIND_ARRAY, KIND_TABLE } ValueKind;

typedef struct {
    ValueKind kind;
    guint line;
    gboolean from_header; /* an array made by [[header]]s: another one adds an element */
    union {
        char *string;
        gint64 integer;
        double real;
        gboolean boolean;
        GPtrArray *array; /* of TomlValue */
        TomlTable *table;
    } as;
} TomlValue;

/* How a table came to be decides what may still add to it. */
typedef enum {
    TABLE_IMPLICIT, /* by a header of a table below it */
    TABLE_DEFINED,  /* by its own header */
    TABLE_DOTTED,   /* by a dotted key */
    TABLE_INLINE,   /* by {…}: complete */
} TableOrigin;

struct TomlTable {
    char *source; /* a GRefString shared by all tables of the document */
    char *path;
    guint depth;
    TableOrigin origin;
    GPtrArray *keys;    /* in the order of the file; owns the strings */
    GHashTable *values; /* TomlValue by key */
};

static void value_free(gpointer data)
{
    TomlValue *value = data;

    if (value->kind == KIND_STRING)
        g_free(value->as.string);
    else if (value->kind == KIND_ARRAY)
        g_ptr_array_unref(value->as.array);
    else if (value->kind == KIND_TABLE)
        toml_free(value->as.table);
    g_free(value);
}

static TomlTable *table_new(const TomlTable *parent, char *source, char *path, TableOrigin origin)
{
    TomlTable *table = g_new0(TomlTable, 1);

    table->source = g_ref_string_acquire(source);
    table->path = path;
    table->depth = parent != NULL ? parent->depth + 1 : 0;
    table->origin = origin;
    table->keys = g_ptr_array_new_with_free_func(g_free);
    table->values = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, value_free);
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

static TomlValue *value_new(ValueKind kind, guint line)
{
    TomlValue *value = g_new0(TomlValue, 1);

    value->kind = kind;
    value->line = line;
    return value;
}

static TomlValue *table_find(const TomlTable *table, const char *key)
{
    return g_hash_table_lookup(table->values, key);
}

static void table_add(TomlTable *table, const char *key, TomlValue *value)
{
    char *owned = g_strdup(key);

    g_ptr_array_add(table->keys, owned);
    g_hash_table_insert(table->values, owned, value);
}

/* "a.b.\"quoted key\"" */
static char *path_join(const char *parent, const char *key)
{
    const char *quote = toml_key_is_bare(key) ? "" : "\"";

    return g_strdup_printf("%s%s%s%s%s", parent, *parent != '\0' ? "." : "", quote, key, quote);
}

static gboolean parse_value(TomlScanner *scanner, TomlTable *owner, const char *path, guint depth,
                            TomlValue **ret_value, GError **error);

/* Parts of a dotted key, and the spaces around it. */
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
                                  TableOrigin origin, GError **error)
{
    TomlValue *value;

    if (parent->depth >= MAX_DEPTH) {
        toml_scan_fail(scanner, error, "tables are nested too deeply");
        return NULL;
    }
    value = value_new(KIND_TABLE, scanner->line);
    value->as.table = table_new(parent, parent->source, path_join(parent->path, key), origin);
    table_add(parent, key, value);
    return value->as.table;
}

/* The next [[table]] of an array. */
static TomlTable *array_add_table(const TomlScanner *scanner, TomlTable *parent, const char *key,
                                  GPtrArray *array)
{
    g_autofree char *path = path_join(parent->path, key);
    TomlValue *value = value_new(KIND_TABLE, scanner->line);

    value->as.table =
        table_new(parent, parent->source, g_strdup_printf("%s[%u]", path, array->len), TABLE_DEFINED);
    g_ptr_array_add(array, value);
    return value->as.table;
}

static TomlTable *fail_duplicate(const TomlScanner *scanner, const TomlTable *table, const char *key,
                                 const TomlValue *first, GError **error)
{
    g_autofree char *path = path_join(table->path, key);

    toml_scan_fail(scanner, error, "%s is defined already, in line %u", path, first->line);
    return NULL;
}

/* One step of a header towards its table. */
static TomlTable *header_step(const TomlScanner *scanner, TomlTable *table, const char *key, GError **error)
{
    TomlValue *value = table_find(table, key);

    if (value == NULL)
        return table_add_child(scanner, table, key, TABLE_IMPLICIT, error);
    if (value->kind == KIND_ARRAY && value->from_header)
        value = g_ptr_array_index(value->as.array, value->as.array->len - 1);
    if (value->kind != KIND_TABLE || value->as.table->origin == TABLE_INLINE)
        return fail_duplicate(scanner, table, key, value, error);
    return value->as.table;
}

static TomlTable *header_define(const TomlScanner *scanner, TomlTable *table, const char *key, GError **error)
{
    TomlValue *value = table_find(table, key);

    if (value == NULL)
        return table_add_child(scanner, table, key, TABLE_DEFINED, error);
    if (value->kind != KIND_TABLE || value->as.table->origin != TABLE_IMPLICIT)
        return fail_duplicate(scanner, table, key, value, error);
    value->as.table->origin = TABLE_DEFINED;
    value->line = scanner->line;
    return value->as.table;
}

static TomlTable *header_append(const TomlScanner *scanner, TomlTable *table, const char *key, GError **error)
{
    TomlValue *value = table_find(table, key);

    if (value != NULL && (value->kind != KIND_ARRAY || !value->from_header))
        return fail_duplicate(scanner, table, key, value, error);
    if (table->depth >= MAX_DEPTH) {
        toml_scan_fail(scanner, error, "tables are nested too deeply");
        return NULL;
    }
    if (value == NULL) {
        value = value_new(KIND_ARRAY, scanner->line);
        value->from_header = TRUE;
        value->as.array = g_ptr_array_new_with_free_func(value_free);
        table_add(table, key, value);
    }
    return array_add_table(scanner, table, key, value->as.array);
}

/* [a.b] or [[a.b]]; the table that the following lines fill. */
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

/* One step of a dotted key: only tables that dotted keys made may grow this way. */
static TomlTable *dotted_step(const TomlScanner *scanner, TomlTable *table, const char *key, GError **error)
{
    TomlValue *value = table_find(table, key);

    if (value == NULL)
        return table_add_child(scanner, table, key, TABLE_DOTTED, error);
    if (value->kind != KIND_TABLE || value->as.table->origin != TABLE_DOTTED)
        return fail_duplicate(scanner, table, key, value, error);
    return value->as.table;
}

/* key = value */
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
    if (table_find(table, last) != NULL)
        return fail_duplicate(scanner, table, last, table_find(table, last), error) != NULL;
    path = path_join(table->path, last);
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
    table_add(table, last, value);
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

/* All on one line and without a comma at the end, as TOML 1.0 wants it. */
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
        value->kind = KIND_STRING;
        value->as.string = string;
        return TRUE;
    }
    if (!toml_scan_word(scanner, &word, error))
        return FALSE;
    switch (word.kind) {
    case TOML_WORD_BOOL:
        value->kind = KIND_BOOL;
        value->as.boolean = word.boolean;
        break;
    case TOML_WORD_INT:
        value->kind = KIND_INT;
        value->as.integer = word.integer;
        break;
    case TOML_WORD_DOUBLE:
        value->kind = KIND_DOUBLE;
        value->as.real = word.real;
        break;
    }
    return TRUE;
}

static gboolean parse_value(TomlScanner *scanner, TomlTable *owner, const char *path, guint depth,
                            TomlValue **ret_value, GError **error)
{
    TomlValue *value = value_new(KIND_BOOL, scanner->line);
    gboolean parsed;

    if (depth >= MAX_DEPTH) {
        parsed = toml_scan_fail(scanner, error, "values are nested too deeply");
    } else if (toml_scan_peek(scanner) == '[') {
        value->kind = KIND_ARRAY;
        value->as.array = g_ptr_array_new_with_free_func(value_free);
        parsed = parse_array(scanner, owner, path, depth + 1, value->as.array, error);
    } else if (toml_scan_peek(scanner) == '{') {
        value->kind = KIND_TABLE;
        value->as.table = table_new(owner, owner->source, g_strdup(path), TABLE_INLINE);
        parsed = parse_inline_table(scanner, value->as.table, depth + 1, error);
    } else {
        parsed = parse_scalar(scanner, value, error);
    }
    if (!parsed) {
        value_free(value);
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
    g_autoptr(TomlTable) root = table_new(NULL, source, g_strdup(""), TABLE_DEFINED);
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

static gboolean fail_value(const TomlTable *table, const char *key, guint line, GError **error,
                           const char *what)
{
    g_autofree char *path = path_join(table->path, key);

    return fail(error, STATUS_INVALID_ARGUMENT, "%s:%u: %s %s", table->source, line, path, what);
}

/* *ret_value: NULL when the key is absent. */
static gboolean find_kind(const TomlTable *table, const char *key, ValueKind kind,
                          const TomlValue **ret_value, GError **error)
{
    static const char *const wanted[] = {
        [KIND_STRING] = "must be a string", [KIND_INT] = "must be an integer",
        [KIND_DOUBLE] = "must be a number", [KIND_BOOL] = "must be true or false",
        [KIND_ARRAY] = "must be an array",  [KIND_TABLE] = "must be a table",
    };
    const TomlValue *value = table_find(table, key);

    if (value != NULL && value->kind != kind)
        return fail_value(table, key, value->line, error, wanted[kind]);
    *ret_value = value;
    return TRUE;
}

gboolean toml_get_string(const TomlTable *table, const char *key, char **ret, GError **error)
{
    const TomlValue *value = NULL;

    if (!find_kind(table, key, KIND_STRING, &value, error))
        return FALSE;
    if (value != NULL)
        *ret = g_strdup(value->as.string);
    return TRUE;
}

gboolean toml_get_int(const TomlTable *table, const char *key, gint64 *ret, GError **error)
{
    const TomlValue *value = NULL;

    if (!find_kind(table, key, KIND_INT, &value, error))
        return FALSE;
    if (value != NULL)
        *ret = value->as.integer;
    return TRUE;
}

gboolean toml_get_bool(const TomlTable *table, const char *key, gboolean *ret, GError **error)
{
    const TomlValue *value = NULL;

    if (!find_kind(table, key, KIND_BOOL, &value, error))
        return FALSE;
    if (value != NULL)
        *ret = value->as.boolean;
    return TRUE;
}

gboolean toml_get_double(const TomlTable *table, const char *key, double *ret, GError **error)
{
    const TomlValue *value = table_find(table, key);

    /* People write 2 where 2.0 would do. */
    if (value != NULL && value->kind == KIND_INT) {
        *ret = (double)value->as.integer;
        return TRUE;
    }
    if (!find_kind(table, key, KIND_DOUBLE, &value, error))
        return FALSE;
    if (value != NULL)
        *ret = value->as.real;
    return TRUE;
}

gboolean toml_get_strv(const TomlTable *table, const char *key, char ***ret, GError **error)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    const TomlValue *value = NULL;

    if (!find_kind(table, key, KIND_ARRAY, &value, error))
        return FALSE;
    if (value == NULL)
        return TRUE;
    for (guint i = 0; i < value->as.array->len; i++) {
        const TomlValue *element = g_ptr_array_index(value->as.array, i);

        if (element->kind != KIND_STRING)
            return fail_value(table, key, element->line, error, "must hold strings only");
        g_strv_builder_add(builder, element->as.string);
    }
    *ret = g_strv_builder_end(builder);
    return TRUE;
}

/* A string or an array of strings; NULL for anything else. */
static char **strings_of(const TomlValue *value)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

    if (value->kind == KIND_STRING)
        g_strv_builder_add(builder, value->as.string);
    else if (value->kind != KIND_ARRAY)
        return NULL;
    for (guint i = 0; value->kind == KIND_ARRAY && i < value->as.array->len; i++) {
        const TomlValue *element = g_ptr_array_index(value->as.array, i);

        if (element->kind != KIND_STRING)
            return NULL;
        g_strv_builder_add(builder, element->as.string);
    }
    return g_strv_builder_end(builder);
}

gboolean toml_get_strvs(const TomlTable *table, const char *key, GPtrArray **ret, GError **error)
{
    g_autoptr(GPtrArray) vectors = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    const TomlValue *value = table_find(table, key);
    guint length = 1;

    if (value == NULL)
        return TRUE;
    if (value->kind == KIND_ARRAY)
        length = value->as.array->len;
    for (guint i = 0; i < length; i++) {
        const TomlValue *element = value->kind == KIND_ARRAY ? g_ptr_array_index(value->as.array, i) : value;
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

    if (!find_kind(table, key, KIND_TABLE, &value, error) || value == NULL)
        return NULL;
    return value->as.table;
}

gboolean toml_get_tables(const TomlTable *table, const char *key, GPtrArray **ret, GError **error)
{
    g_autoptr(GPtrArray) tables = g_ptr_array_new();
    const TomlValue *value = NULL;

    if (!find_kind(table, key, KIND_ARRAY, &value, error))
        return FALSE;
    for (guint i = 0; value != NULL && i < value->as.array->len; i++) {
        const TomlValue *element = g_ptr_array_index(value->as.array, i);

        if (element->kind != KIND_TABLE)
            return fail_value(table, key, element->line, error, "must hold tables only");
        g_ptr_array_add(tables, element->as.table);
    }
    *ret = g_steal_pointer(&tables);
    return TRUE;
}

gboolean toml_has(const TomlTable *table, const char *key)
{
    return table_find(table, key) != NULL;
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
    const TomlValue *value = table_find(table, key);

    return value != NULL ? value->line : 0;
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

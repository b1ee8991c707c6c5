/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json.h"

#include <string.h>
#include <yajl/yajl_parse.h>

#include "common/error.h"
#include "common/string_table.h"

enum { PATH_KEY_CHARACTERS = 64 };

const JsonLimits json_lenient = {.last_key_counts = TRUE};

struct JsonValue {
    JsonValue *parent;   /* NULL for the root */
    const char *name;    /* the root's: of the document; a member's: its key; an element's: NULL */
    gsize index;         /* in the parent */
    const char *text;    /* of a string or number; in the document's chunk */
    GPtrArray *children; /* of an array or object; owned by the document */
    JsonType type;
    gboolean truth;
};

struct JsonDocument {
    GPtrArray *values; /* all of them: freeing does not recurse */
    GStringChunk *strings;
    JsonValue *root;
};

static void value_free(gpointer data)
{
    JsonValue *value = data;

    if (value->children != NULL)
        g_ptr_array_unref(value->children);
    g_free(value);
}

void json_document_free(JsonDocument *document)
{
    if (document == NULL)
        return;
    g_ptr_array_unref(document->values);
    g_string_chunk_free(document->strings);
    g_free(document);
}

/* ---- paths ---- */

static gboolean is_bare_word(const char *text)
{
    return *text != '\0' &&
           text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")] == '\0';
}

/* Keys come from outside: whatever is no plain word is quoted, escaped and cut. */
static void path_append_key(GString *path, const char *key, gboolean joins)
{
    g_autofree char *start = NULL;
    g_autofree char *escaped = NULL;

    if (is_bare_word(key) && strlen(key) <= PATH_KEY_CHARACTERS) {
        g_string_append_printf(path, "%s%s", joins ? "." : "", key);
        return;
    }
    start = g_utf8_strlen(key, -1) > PATH_KEY_CHARACTERS ? g_utf8_substring(key, 0, PATH_KEY_CHARACTERS)
                                                         : g_strdup(key);
    escaped = g_strescape(start, NULL);
    g_string_append_printf(path, "[\"%s\"]", escaped);
}

/* The path up to value. Return: whether the next part is joined to it by a dot. */
static gboolean path_append(GString *path, const JsonValue *value)
{
    gboolean joins;

    if (value->parent == NULL) {
        g_string_append(path, value->name);
        if (is_bare_word(value->name))
            return TRUE;
        g_string_append(path, ": "); /* after a sentence or a file's name a dot would mislead */
        return FALSE;
    }
    joins = path_append(path, value->parent);
    if (value->name != NULL)
        path_append_key(path, value->name, joins);
    else
        g_string_append_printf(path, "[%zu]", value->index);
    return TRUE;
}

static char *path_finish(GString *path)
{
    if (g_str_has_suffix(path->str, ": "))
        g_string_truncate(path, path->len - 2);
    return g_string_free(path, FALSE);
}

char *json_path(const JsonValue *value)
{
    GString *path = g_string_new(NULL);

    path_append(path, value);
    return path_finish(path);
}

gboolean json_fail(const JsonValue *value, GError **error, const char *format, ...)
{
    g_autofree char *path = json_path(value);
    g_autofree char *message = NULL;
    va_list args;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    return fail(error, STATUS_INVALID_ARGUMENT, "%s: %s", path, message);
}

/* ---- parsing ---- */

/* The parser's events build the tree; `open` is the object or array that they belong to. */
typedef struct {
    JsonDocument *document;
    const char *name;
    JsonLimits limits;
    JsonValue *open;
    const char *key; /* of the member that comes next */
    guint depth;
    GError *problem; /* why the parser was told to stop */
} Builder;

static gboolean builder_fail(Builder *builder, const char *problem)
{
    if (builder->open != NULL)
        return json_fail(builder->open, &builder->problem, "%s", problem);
    return fail(&builder->problem, STATUS_INVALID_ARGUMENT, "%s: %s", builder->name, problem);
}

static JsonValue *builder_add(Builder *builder, JsonType type)
{
    JsonDocument *document = builder->document;
    JsonValue *value;

    if (document->values->len >= builder->limits.max_values) {
        fail(&builder->problem, STATUS_INVALID_ARGUMENT, "%s: more than %zu values", builder->name,
             builder->limits.max_values);
        return NULL;
    }
    value = g_new0(JsonValue, 1);
    value->type = type;
    value->parent = builder->open;
    g_ptr_array_add(document->values, value);
    if (builder->open == NULL) {
        value->name = g_string_chunk_insert(document->strings, builder->name);
        document->root = value;
    } else {
        value->name = g_steal_pointer(&builder->key);
        value->index = builder->open->children->len;
        g_ptr_array_add(builder->open->children, value);
    }
    return value;
}

static const char *builder_text(Builder *builder, const char *bytes, gsize length)
{
    if (length > builder->limits.max_string_bytes) {
        builder_fail(builder, "a string is too long");
        return NULL;
    }
    /* yajl lets an escaped NUL and half a surrogate pair through. */
    if (!g_utf8_validate_len(bytes, length, NULL)) {
        builder_fail(builder, "a string holds a NUL or is not valid UTF-8");
        return NULL;
    }
    return g_string_chunk_insert_len(builder->document->strings, bytes, (gssize)length);
}

static int on_null(void *context)
{
    return builder_add(context, JSON_NULL) != NULL;
}

static int on_boolean(void *context, int truth)
{
    JsonValue *value = builder_add(context, JSON_BOOL);

    if (value != NULL)
        value->truth = truth != 0;
    return value != NULL;
}

static int builder_add_text(Builder *builder, JsonType type, const char *bytes, gsize length)
{
    const char *text = builder_text(builder, bytes, length);
    JsonValue *value = text != NULL ? builder_add(builder, type) : NULL;

    if (value != NULL)
        value->text = text;
    return value != NULL;
}

static int on_number(void *context, const char *digits, size_t length)
{
    return builder_add_text(context, JSON_NUMBER, digits, length);
}

static int on_string(void *context, const unsigned char *bytes, size_t length)
{
    return builder_add_text(context, JSON_STRING, (const char *)bytes, length);
}

static int on_key(void *context, const unsigned char *bytes, size_t length)
{
    Builder *builder = context;

    builder->key = builder_text(builder, (const char *)bytes, length);
    return builder->key != NULL;
}

static int builder_open(Builder *builder, JsonType type)
{
    JsonValue *value;

    if (++builder->depth > builder->limits.max_depth)
        return fail(&builder->problem, STATUS_INVALID_ARGUMENT, "%s: nested more than %u deep", builder->name,
                    builder->limits.max_depth);
    value = builder_add(builder, type);
    if (value == NULL)
        return FALSE;
    value->children = g_ptr_array_new();
    builder->open = value;
    return TRUE;
}

static int builder_close(Builder *builder)
{
    builder->depth--;
    builder->open = builder->open->parent;
    return TRUE;
}

static int on_start_map(void *context)
{
    return builder_open(context, JSON_OBJECT);
}

static int on_start_array(void *context)
{
    return builder_open(context, JSON_ARRAY);
}

static gint compare_names(gconstpointer left, gconstpointer right)
{
    return strcmp((*(JsonValue *const *)left)->name, (*(JsonValue *const *)right)->name);
}

/* Readers disagree on which of two equal keys counts: what is checked here could mean something else there.
 */
static gboolean keys_are_unique(const JsonValue *object, GError **error)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_copy(object->children, NULL, NULL);

    g_ptr_array_sort(sorted, compare_names);
    for (guint i = 1; i < sorted->len; i++) {
        const JsonValue *member = sorted->pdata[i];

        if (strcmp(((const JsonValue *)sorted->pdata[i - 1])->name, member->name) == 0)
            return json_fail(member, error, "the key occurs twice");
    }
    return TRUE;
}

/* Leaves out the members whose key occurs again later in the object. */
static void keep_last_members(const JsonValue *object)
{
    g_autoptr(GHashTable) last = string_table_new(NULL, NULL); /* key to JsonValue */
    GPtrArray *members = object->children;
    guint n = 0;

    for (guint i = 0; i < members->len; i++) {
        JsonValue *member = members->pdata[i];

        g_hash_table_insert(last, (gpointer)member->name, member);
    }
    for (guint i = 0; i < members->len; i++) {
        JsonValue *member = members->pdata[i];

        if (g_hash_table_lookup(last, member->name) == member)
            members->pdata[n++] = member;
    }
    g_ptr_array_set_size(members, (gint)n);
}

static int on_end_map(void *context)
{
    Builder *builder = context;

    if (builder->limits.last_key_counts)
        keep_last_members(builder->open);
    else if (!keys_are_unique(builder->open, &builder->problem))
        return FALSE;
    return builder_close(builder);
}

static int on_end_array(void *context)
{
    return builder_close(context);
}

static void builder_parse(Builder *builder, const char *text, gsize length)
{
    static const yajl_callbacks callbacks = {
        .yajl_null = on_null,
        .yajl_boolean = on_boolean,
        .yajl_number = on_number,
        .yajl_string = on_string,
        .yajl_map_key = on_key,
        .yajl_start_map = on_start_map,
        .yajl_end_map = on_end_map,
        .yajl_start_array = on_start_array,
        .yajl_end_array = on_end_array,
    };
    yajl_handle parser = yajl_alloc(&callbacks, NULL, builder);
    gsize consumed;
    yajl_status status;

    yajl_config(parser, yajl_allow_comments, 1);
    status = yajl_parse(parser, (const unsigned char *)text, length);
    consumed = yajl_get_bytes_consumed(parser);
    if (status == yajl_status_ok)
        status = yajl_complete_parse(parser);
    if (status == yajl_status_error && builder->problem == NULL) {
        unsigned char *reason = yajl_get_error(parser, 0, (const unsigned char *)text, length);
        char *line = g_strchomp((char *)reason);
        const char *what = strstr(line, ": "); /* after "parse error" or "lexical error" */

        fail(&builder->problem, STATUS_INVALID_ARGUMENT, "%s: not valid JSON: %s near byte %zu",
             builder->name, what != NULL ? what + 2 : line, consumed);
        yajl_free_error(parser, reason);
    }
    yajl_free(parser);
}

static JsonLimits limits_complete(const JsonLimits *given)
{
    static const JsonLimits defaults = {
        .max_bytes = 16 << 20, .max_depth = 64, .max_values = 200000, .max_string_bytes = 4 << 20};
    JsonLimits limits = given != NULL ? *given : defaults;

    limits.max_bytes = limits.max_bytes != 0 ? limits.max_bytes : defaults.max_bytes;
    limits.max_depth = limits.max_depth != 0 ? limits.max_depth : defaults.max_depth;
    limits.max_values = limits.max_values != 0 ? limits.max_values : defaults.max_values;
    if (limits.max_string_bytes == 0)
        limits.max_string_bytes = defaults.max_string_bytes;
    return limits;
}

static gboolean text_check(const char *text, gsize length, const char *name, gsize max_bytes, GError **error)
{
    const char *end = NULL;

    if (length == 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "%s: not valid JSON: it is empty", name);
    if (length > max_bytes)
        return fail(error, STATUS_INVALID_ARGUMENT, "%s: larger than %zu bytes", name, max_bytes);
    if (!g_utf8_validate_len(text, length, &end))
        return fail(error, STATUS_INVALID_ARGUMENT, "%s: not valid JSON: %s at byte %zu", name,
                    *end == '\0' ? "a NUL" : "invalid UTF-8", (gsize)(end - text));
    return TRUE;
}

JsonDocument *json_document_parse(const char *text, gsize length, const char *name, const JsonLimits *limits,
                                  GError **error)
{
    Builder builder = {.name = name, .limits = limits_complete(limits)};
    g_autoptr(JsonDocument) document = g_new0(JsonDocument, 1);

    document->values = g_ptr_array_new_with_free_func(value_free);
    document->strings = g_string_chunk_new(256);
    if (!text_check(text, length, name, builder.limits.max_bytes, error))
        return NULL;
    builder.document = document;
    builder_parse(&builder, text, length);
    if (builder.problem != NULL) {
        g_propagate_error(error, builder.problem);
        return NULL;
    }
    return g_steal_pointer(&document);
}

/* ---- the tree ---- */

const JsonValue *json_document_root(const JsonDocument *document)
{
    return document->root;
}

const JsonValue *json_document_object(const JsonDocument *document, GError **error)
{
    if (document->root->type == JSON_OBJECT)
        return document->root;
    json_fail(document->root, error, "expected an object");
    return NULL;
}

JsonType json_type(const JsonValue *value)
{
    return value->type;
}

gboolean json_is(const JsonValue *value, JsonType type)
{
    return value != NULL && value->type == type;
}

gsize json_length(const JsonValue *container)
{
    return container != NULL && container->children != NULL ? container->children->len : 0;
}

const JsonValue *json_at(const JsonValue *container, gsize index)
{
    return g_ptr_array_index(container->children, index);
}

const char *json_key(const JsonValue *member)
{
    return member->parent != NULL ? member->name : NULL;
}

const JsonValue *json_member(const JsonValue *object, const char *key)
{
    if (!json_is(object, JSON_OBJECT))
        return NULL;
    for (guint i = 0; i < object->children->len; i++) {
        const JsonValue *member = object->children->pdata[i];

        if (strcmp(member->name, key) == 0)
            return member;
    }
    return NULL;
}

const JsonValue *json_require(const JsonValue *object, const char *key, GError **error)
{
    const JsonValue *member = json_member(object, key);
    GString *path;
    g_autofree char *text = NULL;

    if (member != NULL && member->type != JSON_NULL)
        return member;
    if (object->type != JSON_OBJECT) {
        json_fail(object, error, "expected an object");
        return NULL;
    }
    path = g_string_new(NULL);
    path_append_key(path, key, path_append(path, object));
    text = path_finish(path);
    fail(error, STATUS_INVALID_ARGUMENT, "%s: %s", text, member == NULL ? "missing" : "must not be null");
    return NULL;
}

const char *json_digits(const JsonValue *value)
{
    return json_is(value, JSON_NUMBER) ? value->text : "";
}

/* ---- a value by type ---- */

gboolean json_as_string(const JsonValue *value, const char **ret, GError **error)
{
    if (value->type != JSON_STRING)
        return json_fail(value, error, "expected a string");
    *ret = value->text;
    return TRUE;
}

gboolean json_as_line(const JsonValue *value, const char **ret, GError **error)
{
    const char *text = "";

    if (!json_as_string(value, &text, error))
        return FALSE;
    for (const char *c = text; *c != '\0'; c++)
        if (g_ascii_iscntrl(*c))
            return json_fail(value, error, "expected a string without control characters");
    *ret = text;
    return TRUE;
}

gboolean json_as_bool(const JsonValue *value, gboolean *ret, GError **error)
{
    if (value->type != JSON_BOOL)
        return json_fail(value, error, "expected true or false");
    *ret = value->truth;
    return TRUE;
}

gboolean json_as_int(const JsonValue *value, gint64 min, gint64 max, gint64 *ret, GError **error)
{
    gint64 number;

    if (value->type != JSON_NUMBER || value->text[strspn(value->text, "-0123456789")] != '\0')
        return json_fail(value, error, "expected a whole number");
    if (!g_ascii_string_to_signed(value->text, 10, min, max, &number, NULL))
        return json_fail(value, error,
                         "expected a whole number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, min, max);
    *ret = number;
    return TRUE;
}

gboolean json_as_uint(const JsonValue *value, guint64 max, guint64 *ret, GError **error)
{
    guint64 number;

    if (value->type != JSON_NUMBER || value->text[strspn(value->text, "-0123456789")] != '\0')
        return json_fail(value, error, "expected a whole number");
    if (!g_ascii_string_to_unsigned(value->text, 10, 0, max, &number, NULL))
        return json_fail(value, error, "expected a whole number from 0 to %" G_GUINT64_FORMAT, max);
    *ret = number;
    return TRUE;
}

/* ---- optional members ---- */

/* *ret_member is NULL when the key is missing or null. Return: FALSE when object is no object. */
static gboolean member_find(const JsonValue *object, const char *key, const JsonValue **ret_member,
                            GError **error)
{
    const JsonValue *member = json_member(object, key);

    if (object != NULL && object->type != JSON_OBJECT)
        return json_fail(object, error, "expected an object");
    *ret_member = json_is(member, JSON_NULL) ? NULL : member;
    return TRUE;
}

gboolean json_get_string(const JsonValue *object, const char *key, const char **ret, GError **error)
{
    const JsonValue *member = NULL;

    return member_find(object, key, &member, error) && (member == NULL || json_as_string(member, ret, error));
}

gboolean json_get_line(const JsonValue *object, const char *key, const char **ret, GError **error)
{
    const JsonValue *member = NULL;

    return member_find(object, key, &member, error) && (member == NULL || json_as_line(member, ret, error));
}

gboolean json_get_bool(const JsonValue *object, const char *key, gboolean *ret, GError **error)
{
    const JsonValue *member = NULL;

    return member_find(object, key, &member, error) && (member == NULL || json_as_bool(member, ret, error));
}

gboolean json_get_int(const JsonValue *object, const char *key, gint64 min, gint64 max, gint64 *ret,
                      GError **error)
{
    const JsonValue *member = NULL;

    return member_find(object, key, &member, error) &&
           (member == NULL || json_as_int(member, min, max, ret, error));
}

gboolean json_get_uint(const JsonValue *object, const char *key, guint64 max, guint64 *ret, GError **error)
{
    const JsonValue *member = NULL;

    return member_find(object, key, &member, error) &&
           (member == NULL || json_as_uint(member, max, ret, error));
}

gboolean json_get_uint32(const JsonValue *object, const char *key, guint32 *ret, GError **error)
{
    guint64 number = *ret;

    if (!json_get_uint(object, key, G_MAXUINT32, &number, error))
        return FALSE;
    *ret = (guint32)number;
    return TRUE;
}

gboolean json_get_object(const JsonValue *object, const char *key, const JsonValue **ret, GError **error)
{
    const JsonValue *member = NULL;

    if (!member_find(object, key, &member, error))
        return FALSE;
    if (member == NULL)
        return TRUE;
    if (member->type != JSON_OBJECT)
        return json_fail(member, error, "expected an object");
    *ret = member;
    return TRUE;
}

gboolean json_get_array(const JsonValue *object, const char *key, gsize max, const JsonValue **ret,
                        GError **error)
{
    const JsonValue *member = NULL;

    if (!member_find(object, key, &member, error))
        return FALSE;
    if (member == NULL)
        return TRUE;
    if (member->type != JSON_ARRAY)
        return json_fail(member, error, "expected an array");
    if (json_length(member) > max)
        return json_fail(member, error, "more than %zu elements", max);
    *ret = member;
    return TRUE;
}

typedef gboolean (*ReadText)(const JsonValue *value, const char **ret, GError **error);

static gboolean get_vector(const JsonValue *object, const char *key, gsize max, ReadText read, char ***ret,
                           GError **error)
{
    g_autoptr(GStrvBuilder) strings = g_strv_builder_new();
    const JsonValue *array = NULL;

    if (!json_get_array(object, key, max, &array, error))
        return FALSE;
    if (array == NULL)
        return TRUE;
    for (gsize i = 0; i < json_length(array); i++) {
        const char *string = NULL;

        if (!read(json_at(array, i), &string, error))
            return FALSE;
        g_strv_builder_add(strings, string);
    }
    g_strfreev(*ret);
    *ret = g_strv_builder_end(strings);
    return TRUE;
}

gboolean json_get_strv(const JsonValue *object, const char *key, gsize max, char ***ret, GError **error)
{
    return get_vector(object, key, max, json_as_string, ret, error);
}

gboolean json_get_lines(const JsonValue *object, const char *key, gsize max, char ***ret, GError **error)
{
    return get_vector(object, key, max, json_as_line, ret, error);
}

/* ---- tolerant lookups ---- */

static const JsonValue *find(const JsonValue *value, const char *const *keys)
{
    for (; value != NULL && *keys != NULL; keys++)
        value = json_member(value, *keys);
    return value;
}

const char *json_find_string(const JsonValue *root, const char *const *keys)
{
    const JsonValue *value = find(root, keys);

    return json_is(value, JSON_STRING) ? value->text : NULL;
}

gboolean json_find_int(const JsonValue *root, const char *const *keys, gint64 *ret)
{
    const JsonValue *value = find(root, keys);

    return value != NULL && json_as_int(value, G_MININT64, G_MAXINT64, ret, NULL);
}

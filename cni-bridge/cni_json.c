#include "cni-bridge/cni_json.h"

#include <string.h>
#include <yajl/yajl_parse.h>

#include "common/error.h"

enum { MAX_DEPTH = 64, MAX_BYTES = 4 << 20 };

static int enter(void *depth)
{
    return ++*(int *)depth <= MAX_DEPTH;
}

static int leave(void *depth)
{
    --*(int *)depth;
    return 1;
}

/* yajl_tree_free() recurses: a text that is nothing but brackets would end the stack. */
static gboolean depth_check(const char *text, gsize length, const char *what, GError **error)
{
    static const yajl_callbacks callbacks = {
        .yajl_start_map = enter, .yajl_end_map = leave, .yajl_start_array = enter, .yajl_end_array = leave};
    int depth = 0;
    yajl_handle parser = yajl_alloc(&callbacks, NULL, &depth);
    gboolean good;

    yajl_config(parser, yajl_allow_comments, 1);
    /* What is wrong with the syntax is said by the second pass. */
    good = yajl_parse(parser, (const unsigned char *)text, length) != yajl_status_client_canceled;
    yajl_free(parser);
    return good || fail(error, STATUS_INVALID_ARGUMENT, "%s: nested too deeply", what);
}

JsonValue *json_parse(const char *text, gsize length, const char *what, GError **error)
{
    g_autofree char *copy = NULL;
    char reason[256] = "";
    yajl_val value;

    if (length > MAX_BYTES || memchr(text, '\0', length) != NULL) {
        fail(error, STATUS_INVALID_ARGUMENT, "%s: %s", what,
             length > MAX_BYTES ? "too large" : "holds a NUL byte");
        return NULL;
    }
    if (!depth_check(text, length, what, error))
        return NULL;
    copy = g_strndup(text, length);
    value = yajl_tree_parse(copy, reason, sizeof reason);
    if (value == NULL) {
        g_autofree char *readable = g_utf8_make_valid(reason, -1);

        readable[strcspn(readable, "\n")] = '\0';
        fail(error, STATUS_INVALID_ARGUMENT, "%s: no valid JSON: %s", what,
             *readable != '\0' ? readable : "it is empty");
    }
    return value;
}

void json_free(JsonValue *value)
{
    yajl_tree_free(value);
}

const JsonValue *json_get(const JsonValue *value, const char *key)
{
    if (!YAJL_IS_OBJECT(value))
        return NULL;
    for (gsize i = 0; i < value->u.object.len; i++)
        if (strcmp(value->u.object.keys[i], key) == 0)
            return YAJL_IS_NULL(value->u.object.values[i]) ? NULL : value->u.object.values[i];
    return NULL;
}

static gboolean string_is_plain(const char *string)
{
    for (; *string != '\0'; string++)
        if (g_ascii_iscntrl(*string))
            return FALSE;
    return TRUE;
}

gboolean json_get_string(const JsonValue *object, const char *key, const char **ret, GError **error)
{
    const JsonValue *value = json_get(object, key);

    if (value == NULL)
        return TRUE;
    if (!YAJL_IS_STRING(value) || !string_is_plain(value->u.string))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is no plain string", key);
    *ret = value->u.string;
    return TRUE;
}

gboolean json_get_bool(const JsonValue *object, const char *key, gboolean *ret, GError **error)
{
    const JsonValue *value = json_get(object, key);

    if (value == NULL)
        return TRUE;
    if (!YAJL_IS_TRUE(value) && !YAJL_IS_FALSE(value))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is neither true nor false", key);
    *ret = YAJL_IS_TRUE(value);
    return TRUE;
}

gboolean json_get_uint32(const JsonValue *object, const char *key, guint32 *ret, GError **error)
{
    const JsonValue *value = json_get(object, key);

    if (value == NULL)
        return TRUE;
    if (!YAJL_IS_INTEGER(value) || value->u.number.i < 0 || value->u.number.i > G_MAXUINT32)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is no number from 0 to 4294967295", key);
    *ret = (guint32)value->u.number.i;
    return TRUE;
}

gboolean json_get_object(const JsonValue *object, const char *key, const JsonValue **ret, GError **error)
{
    const JsonValue *value = json_get(object, key);

    if (value == NULL)
        return TRUE;
    if (!YAJL_IS_OBJECT(value))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is no object", key);
    *ret = value;
    return TRUE;
}

gboolean json_get_array(const JsonValue *object, const char *key, gsize max, const JsonValue **ret,
                        GError **error)
{
    const JsonValue *value = json_get(object, key);

    if (value == NULL)
        return TRUE;
    if (!YAJL_IS_ARRAY(value))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is no array", key);
    if (value->u.array.len > max)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" has more than %zu elements", key, max);
    *ret = value;
    return TRUE;
}

gboolean json_get_strv(const JsonValue *object, const char *key, gsize max, char ***ret, GError **error)
{
    g_autoptr(GStrvBuilder) strings = g_strv_builder_new();
    const JsonValue *array = NULL;

    if (!json_get_array(object, key, max, &array, error))
        return FALSE;
    if (array == NULL)
        return TRUE;
    for (gsize i = 0; i < json_length(array); i++) {
        const JsonValue *value = json_at(array, i);

        if (!YAJL_IS_STRING(value) || !string_is_plain(value->u.string))
            return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" holds what is no plain string", key);
        g_strv_builder_add(strings, value->u.string);
    }
    g_strfreev(*ret);
    *ret = g_strv_builder_end(strings);
    return TRUE;
}

gsize json_length(const JsonValue *array)
{
    return YAJL_IS_ARRAY(array) ? array->u.array.len : 0;
}

const JsonValue *json_at(const JsonValue *array, gsize index)
{
    return array->u.array.values[index];
}

JsonWriter *json_writer_new(void)
{
    return yajl_gen_alloc(NULL);
}

void json_writer_free(JsonWriter *writer)
{
    if (writer != NULL)
        yajl_gen_free(writer);
}

void json_put_key(JsonWriter *writer, const char *key)
{
    json_put_string(writer, key);
}

void json_put_string(JsonWriter *writer, const char *string)
{
    yajl_gen_string(writer, (const unsigned char *)string, strlen(string));
}

void json_put_int(JsonWriter *writer, gint64 number)
{
    yajl_gen_integer(writer, number);
}

void json_put_strv(JsonWriter *writer, const char *const *strings)
{
    yajl_gen_array_open(writer);
    for (gsize i = 0; strings != NULL && strings[i] != NULL; i++)
        json_put_string(writer, strings[i]);
    yajl_gen_array_close(writer);
}

void json_put_value(JsonWriter *writer, const JsonValue *value)
{
    switch (value->type) {
    case yajl_t_string:
        json_put_string(writer, value->u.string);
        break;
    case yajl_t_number: /* as it was written: 1e3 and 2^60 stay what they are */
        yajl_gen_number(writer, value->u.number.r, strlen(value->u.number.r));
        break;
    case yajl_t_object:
        yajl_gen_map_open(writer);
        json_put_members(writer, value, NULL);
        yajl_gen_map_close(writer);
        break;
    case yajl_t_array:
        yajl_gen_array_open(writer);
        for (gsize i = 0; i < value->u.array.len; i++)
            json_put_value(writer, value->u.array.values[i]);
        yajl_gen_array_close(writer);
        break;
    case yajl_t_true:
    case yajl_t_false:
        yajl_gen_bool(writer, value->type == yajl_t_true);
        break;
    default:
        yajl_gen_null(writer);
    }
}

void json_put_members(JsonWriter *writer, const JsonValue *object, const char *const *omitted)
{
    for (gsize i = 0; i < object->u.object.len; i++) {
        const char *key = object->u.object.keys[i];

        if (omitted != NULL && g_strv_contains(omitted, key))
            continue;
        json_put_key(writer, key);
        json_put_value(writer, object->u.object.values[i]);
    }
}

char *json_writer_text(JsonWriter *writer)
{
    const unsigned char *text;
    size_t length;

    yajl_gen_get_buf(writer, &text, &length);
    return g_strndup((const char *)text, length);
}

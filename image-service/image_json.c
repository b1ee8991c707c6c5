/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/image_json.h"

#include <string.h>

#include "common/error.h"

/* Far above what images have, far below what hurts: a value costs about 50 bytes in yajl's tree. */
enum { MAX_DEPTH = 64, MAX_VALUES = 200000, ERROR_TEXT_LENGTH = 256 };

/* Counts brackets and commas outside of strings; yajl finds whatever else is wrong. */
static gboolean check_bounds(const char *data, gsize length, const char *what, GError **error)
{
    guint depth = 0;
    guint values = 0;
    gboolean in_string = FALSE;

    for (gsize i = 0; i < length; i++) {
        if (in_string) {
            if (data[i] == '\\')
                i++;
            else if (data[i] == '"')
                in_string = FALSE;
            continue;
        }
        switch (data[i]) {
        case '"':
            in_string = TRUE;
            break;
        case '[':
        case '{':
            if (++depth > MAX_DEPTH)
                return fail(error, STATUS_INVALID_ARGUMENT, "%s: JSON is nested too deeply", what);
            values++;
            break;
        case ']':
        case '}':
            depth -= depth > 0;
            break;
        case ',':
            values++;
            break;
        default:
            break;
        }
        if (values > MAX_VALUES)
            return fail(error, STATUS_INVALID_ARGUMENT, "%s: JSON has too many values", what);
    }
    return TRUE;
}

JsonValue *image_json_parse(const char *data, gsize length, const char *what, GError **error)
{
    /* yajl wants a C string: a NUL inside must not cut the text short. */
    g_autofree char *text = NULL;
    char message[ERROR_TEXT_LENGTH] = "";
    JsonValue *root;

    if (length == 0 || memchr(data, '\0', length) != NULL) {
        fail(error, STATUS_INVALID_ARGUMENT, "%s is no JSON", what);
        return NULL;
    }
    if (!check_bounds(data, length, what, error))
        return NULL;
    text = g_strndup(data, length);
    root = yajl_tree_parse(text, message, sizeof message);
    if (root == NULL) {
        char *line_end = strchr(message, '\n'); /* what follows quotes the text */

        if (line_end != NULL)
            *line_end = '\0';
        fail(error, STATUS_INVALID_ARGUMENT, "%s is no JSON: %s", what, message);
    }
    return root;
}

JsonValue *image_json_member(JsonValue *object, const char *key)
{
    const char *path[] = {key, NULL};
    JsonValue *value = yajl_tree_get(object, path, yajl_t_any);

    return value != NULL && !YAJL_IS_NULL(value) ? value : NULL;
}

static gboolean typed_member(JsonValue *object, const char *key, yajl_type type, const char *wanted,
                             JsonValue **ret, GError **error)
{
    JsonValue *value = image_json_member(object, key);

    if (value != NULL && value->type != type)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" must be %s", key, wanted);
    *ret = value;
    return TRUE;
}

gboolean image_json_object(JsonValue *object, const char *key, JsonValue **ret, GError **error)
{
    return typed_member(object, key, yajl_t_object, "an object", ret, error);
}

gboolean image_json_array(JsonValue *object, const char *key, JsonValue **ret, GError **error)
{
    return typed_member(object, key, yajl_t_array, "an array", ret, error);
}

gboolean image_json_string(JsonValue *object, const char *key, const char **ret, GError **error)
{
    JsonValue *value = NULL;

    if (!typed_member(object, key, yajl_t_string, "a string", &value, error))
        return FALSE;
    *ret = value != NULL ? YAJL_GET_STRING(value) : NULL;
    return TRUE;
}

gboolean image_json_size(JsonValue *object, const char *key, guint64 *ret, GError **error)
{
    JsonValue *value = image_json_member(object, key);

    if (value == NULL)
        return TRUE;
    if (!YAJL_IS_INTEGER(value) || YAJL_GET_INTEGER(value) < 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" must be a number that is not negative", key);
    *ret = (guint64)YAJL_GET_INTEGER(value);
    return TRUE;
}

gboolean image_json_strv(JsonValue *object, const char *key, char ***ret, GError **error)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    JsonValue *array = NULL;

    if (!image_json_array(object, key, &array, error))
        return FALSE;
    for (gsize i = 0; array != NULL && i < array->u.array.len; i++) {
        JsonValue *element = array->u.array.values[i];

        if (!YAJL_IS_STRING(element))
            return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" must hold strings only", key);
        g_strv_builder_add(builder, YAJL_GET_STRING(element));
    }
    *ret = g_strv_builder_end(builder);
    return TRUE;
}

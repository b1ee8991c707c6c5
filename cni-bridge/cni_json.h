/* JSON as CNI needs it: a checked tree that can be written out again with every key that we do not know.
 *
 * Trees are immutable and belong to the caller; values got from one are borrowed. Any thread may read a tree.
 * Nesting and size are bounded before the tree is built, because freeing it recurses. Errors are
 * INVALID_ARGUMENT and name the source or the key.
 */
#pragma once

#include <glib.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_tree.h>

typedef struct yajl_val_s JsonValue;

/* text need not be NUL-terminated; what names it in messages. */
JsonValue *json_parse(const char *text, gsize length, const char *what, GError **error);
void json_free(JsonValue *value); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JsonValue, json_free)

/* NULL when value is no object, or the key is absent or null. */
const JsonValue *json_get(const JsonValue *value, const char *key);

/* These leave *ret alone when the key is absent or null, and fail when its value has another type. Strings
 * are borrowed and hold no control characters. */
gboolean json_get_string(const JsonValue *object, const char *key, const char **ret, GError **error);
gboolean json_get_bool(const JsonValue *object, const char *key, gboolean *ret, GError **error);
gboolean json_get_uint32(const JsonValue *object, const char *key, guint32 *ret, GError **error);
gboolean json_get_object(const JsonValue *object, const char *key, const JsonValue **ret, GError **error);
/* At most max elements; each is what json_at() gives. */
gboolean json_get_array(const JsonValue *object, const char *key, gsize max, const JsonValue **ret,
                        GError **error);
/* An array of strings, at most max, as a new vector. */
gboolean json_get_strv(const JsonValue *object, const char *key, gsize max, char ***ret, GError **error);

gsize json_length(const JsonValue *array); /* 0 for NULL */
const JsonValue *json_at(const JsonValue *array, gsize index);

/* Writing, into yajl's generator. */
typedef struct yajl_gen_t JsonWriter;
JsonWriter *json_writer_new(void);
void json_writer_free(JsonWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JsonWriter, json_writer_free)
void json_put_key(JsonWriter *writer, const char *key);
void json_put_string(JsonWriter *writer, const char *string);
void json_put_int(JsonWriter *writer, gint64 number);
void json_put_strv(JsonWriter *writer, const char *const *strings);
void json_put_value(JsonWriter *writer, const JsonValue *value);
/* The object's members but those in omitted (NULL-terminated), without the braces. */
void json_put_members(JsonWriter *writer, const JsonValue *object, const char *const *omitted);
char *json_writer_text(JsonWriter *writer);

/* SPDX-License-Identifier: Apache-2.0 */
/* A reader of JSON from outside: files, registries, CNI plugins, QEMU (RFC 8259, with comments allowed).
 *
 * json_document_parse() bounds the text's size, its nesting, the number of its values and the length of its
 * strings, and refuses invalid UTF-8, NUL characters and, unless the limits allow it, keys that occur twice
 * in an object. Getters then read values by type. Numbers keep their digits, so that a document can be
 * written again as it was (common/json_writer.h).
 *
 * The document owns all of its values and strings, which are borrowed from it. All errors are
 * INVALID_ARGUMENT and begin with the path of the value: "manifest.layers[3].size: expected a whole number".
 * A document is immutable: any thread may read it.
 */
#pragma once

#include <glib.h>

typedef struct JsonDocument JsonDocument;
typedef struct JsonValue JsonValue;

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonType;

/* A limit of 0 stands for its default. */
typedef struct {
    gsize max_bytes;        /* of the text: 16 MiB */
    guint max_depth;        /* of objects and arrays: 64 */
    gsize max_values;       /* in the document: 200000 */
    gsize max_string_bytes; /* of a string or key: 4 MiB */
    /* Whether a key may occur more than once in an object: the last member counts, and the others are left
     * out of the document. For documents from images and registries, which other runtimes read this way. */
    gboolean last_key_counts;
} JsonLimits;

/* The default limits, and the last of several equal keys counts. */
extern const JsonLimits json_lenient;

/* Reads length bytes of text, which need not be NUL-terminated. name begins every path in messages; limits
 * may be NULL. Return: the document, or NULL with the error set. */
JsonDocument *json_document_parse(const char *text, gsize length, const char *name, const JsonLimits *limits,
                                  GError **error);
void json_document_free(JsonDocument *document); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JsonDocument, json_document_free)

const JsonValue *json_document_root(const JsonDocument *document);
/* Return: the root when it is an object, or NULL with the error set. */
const JsonValue *json_document_object(const JsonDocument *document, GError **error);

JsonType json_type(const JsonValue *value);
/* Return: whether value is there and has that type; NULL is allowed. */
gboolean json_is(const JsonValue *value, JsonType type);

/* The members of an object or the elements of an array, in the order of the text. NULL and scalars have none.
 */
gsize json_length(const JsonValue *container);
const JsonValue *json_at(const JsonValue *container, gsize index);
const char *json_key(const JsonValue *member); /* NULL for an element and for the root */

/* Return: the member, which may be JSON_NULL; NULL when the key is missing, or object is NULL or no object.
 */
const JsonValue *json_member(const JsonValue *object, const char *key);
/* The same, but a missing key, null, and what is no object are errors. */
const JsonValue *json_require(const JsonValue *object, const char *key, GError **error);

/* The path of a value for messages, in a new string. */
char *json_path(const JsonValue *value);
/* Sets INVALID_ARGUMENT with the value's path before the message. Return: FALSE. */
gboolean json_fail(const JsonValue *value, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* A value by type; another type, null included, is an error. */
gboolean json_as_string(const JsonValue *value, const char **ret, GError **error);
/* A string without control characters: fit for a message, a file's name, a line of a file. */
gboolean json_as_line(const JsonValue *value, const char **ret, GError **error);
gboolean json_as_bool(const JsonValue *value, gboolean *ret, GError **error);
/* A whole number from min to max, written without fraction and exponent. */
gboolean json_as_int(const JsonValue *value, gint64 min, gint64 max, gint64 *ret, GError **error);
gboolean json_as_uint(const JsonValue *value, guint64 max, guint64 *ret, GError **error);

/* Optional members of an object. All leave *ret alone when object is NULL, or the key is missing or null; a
 * value of another type is an error, and so is an object that is none. */
gboolean json_get_string(const JsonValue *object, const char *key, const char **ret, GError **error);
gboolean json_get_line(const JsonValue *object, const char *key, const char **ret, GError **error);
gboolean json_get_bool(const JsonValue *object, const char *key, gboolean *ret, GError **error);
gboolean json_get_int(const JsonValue *object, const char *key, gint64 min, gint64 max, gint64 *ret,
                      GError **error);
gboolean json_get_uint(const JsonValue *object, const char *key, guint64 max, guint64 *ret, GError **error);
gboolean json_get_uint32(const JsonValue *object, const char *key, guint32 *ret, GError **error);
gboolean json_get_object(const JsonValue *object, const char *key, const JsonValue **ret, GError **error);
/* An array of at most max elements. */
gboolean json_get_array(const JsonValue *object, const char *key, gsize max, const JsonValue **ret,
                        GError **error);
/* An array of at most max strings, or of strings without control characters. *ret is freed and replaced by a
 * new vector that the caller owns. */
gboolean json_get_strv(const JsonValue *object, const char *key, gsize max, char ***ret, GError **error);
gboolean json_get_lines(const JsonValue *object, const char *key, gsize max, char ***ret, GError **error);

/* Lookups that tolerate everything, for answers that are only shown: the string or number at a path of keys
 * that ends with NULL. Return: NULL or FALSE when it is missing or has another type. */
const char *json_find_string(const JsonValue *root, const char *const *keys);
gboolean json_find_int(const JsonValue *root, const char *const *keys, gint64 *ret);

/* The digits of a number as the text has them; "" when value is no number. */
const char *json_digits(const JsonValue *value);

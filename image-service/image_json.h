/* SPDX-License-Identifier: Apache-2.0 */
/* JSON that comes from outside (registries, archives, credentials files), read with yajl.
 *
 * yajl bounds neither nesting nor the number of values, and frees trees by recursion: both are bounded before
 * it sees the text. Values are borrowed from the tree, which belongs to the caller. In all getters an absent
 * key and null are the same; a value of another type is INVALID_ARGUMENT and names the key.
 */
#pragma once

#include <glib.h>
#include <yajl/yajl_tree.h>

typedef struct yajl_val_s JsonValue;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JsonValue, yajl_tree_free)

/* what names the document in messages. */
JsonValue *image_json_parse(const char *data, gsize length, const char *what, GError **error);

/* The member of an object, NULL when absent or null. */
JsonValue *image_json_member(JsonValue *object, const char *key);

/* *ret is NULL when absent. */
gboolean image_json_object(JsonValue *object, const char *key, JsonValue **ret, GError **error);
gboolean image_json_array(JsonValue *object, const char *key, JsonValue **ret, GError **error);
/* *ret is borrowed. */
gboolean image_json_string(JsonValue *object, const char *key, const char **ret, GError **error);
/* A number from 0 to G_MAXINT64; *ret is left alone when absent. */
gboolean image_json_size(JsonValue *object, const char *key, guint64 *ret, GError **error);
/* An array of strings; empty when absent. */
gboolean image_json_strv(JsonValue *object, const char *key, char ***ret, GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
/* A writer of JSON: what is put is appended to one document, in the order of the calls.
 *
 * Each function takes the key of a member, or NULL for an element of an array and for the document itself.
 * Invalid UTF-8 is replaced by U+FFFD. A writer belongs to its caller and to one thread; strings are copied.
 * Nesting deeper than 127 is a mistake of the caller's.
 */
#pragma once

#include <glib.h>

#include "common/json.h"

typedef struct JsonWriter JsonWriter;

JsonWriter *json_writer_new(void);
JsonWriter *json_writer_new_indented(void); /* two spaces a level, and a newline at the end */
void json_writer_free(JsonWriter *writer);  /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JsonWriter, json_writer_free)

void json_writer_open_object(JsonWriter *writer, const char *key);
void json_writer_close_object(JsonWriter *writer);
void json_writer_open_array(JsonWriter *writer, const char *key);
void json_writer_close_array(JsonWriter *writer);

void json_writer_string(JsonWriter *writer, const char *key, const char *value); /* NULL is written as "" */
void json_writer_int(JsonWriter *writer, const char *key, gint64 value);
void json_writer_uint(JsonWriter *writer, const char *key, guint64 value);
/* NaN and infinity as strings, which is how the proto3 mapping of JSON has them. */
void json_writer_double(JsonWriter *writer, const char *key, double value);
void json_writer_bool(JsonWriter *writer, const char *key, gboolean value);
void json_writer_null(JsonWriter *writer, const char *key);
/* A number that was checked before, by its digits. */
void json_writer_digits(JsonWriter *writer, const char *key, const char *digits);
/* An array of count strings; of all up to NULL when count is -1. strings may be NULL then: an empty array. */
void json_writer_strings(JsonWriter *writer, const char *key, const char *const *strings, gssize count);

/* A value that was read, with the digits of its numbers unchanged. */
void json_writer_value(JsonWriter *writer, const char *key, const JsonValue *value);
/* The members of an object into the object that is open, except those in omitted (ends with NULL; may be
 * NULL). */
void json_writer_members(JsonWriter *writer, const JsonValue *object, const char *const *omitted);
/* text as part of the document when it is an object or array in JSON, otherwise as a string. */
void json_writer_embed(JsonWriter *writer, const char *key, const char *text);

/* The document so far, NUL-terminated; borrowed until the next call. ret_length may be NULL. */
const char *json_writer_text(JsonWriter *writer, gsize *ret_length);
/* The same as a new string. */
char *json_writer_copy(JsonWriter *writer);

/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json_writer.h"

#include <math.h>
#include <string.h>
#include <yajl/yajl_gen.h>

struct JsonWriter {
    yajl_gen generator;
};

JsonWriter *json_writer_new(void)
{
    JsonWriter *writer = g_new0(JsonWriter, 1);

    writer->generator = yajl_gen_alloc(NULL);
    return writer;
}

JsonWriter *json_writer_new_indented(void)
{
    JsonWriter *writer = json_writer_new();

    yajl_gen_config(writer->generator, yajl_gen_beautify, 1);
    yajl_gen_config(writer->generator, yajl_gen_indent_string, "  ");
    return writer;
}

void json_writer_free(JsonWriter *writer)
{
    if (writer == NULL)
        return;
    yajl_gen_free(writer->generator);
    g_free(writer);
}

static void put_text(JsonWriter *writer, const char *text)
{
    g_autofree char *repaired = g_utf8_validate(text, -1, NULL) ? NULL : g_utf8_make_valid(text, -1);
    const char *valid = repaired != NULL ? repaired : text;

    yajl_gen_string(writer->generator, (const unsigned char *)valid, strlen(valid));
}

static void put_key(JsonWriter *writer, const char *key)
{
    if (key != NULL)
        put_text(writer, key);
}

void json_writer_open_object(JsonWriter *writer, const char *key)
{
    put_key(writer, key);
    yajl_gen_map_open(writer->generator);
}

void json_writer_close_object(JsonWriter *writer)
{
    yajl_gen_map_close(writer->generator);
}

void json_writer_open_array(JsonWriter *writer, const char *key)
{
    put_key(writer, key);
    yajl_gen_array_open(writer->generator);
}

void json_writer_close_array(JsonWriter *writer)
{
    yajl_gen_array_close(writer->generator);
}

void json_writer_string(JsonWriter *writer, const char *key, const char *value)
{
    put_key(writer, key);
    put_text(writer, value != NULL ? value : "");
}

void json_writer_int(JsonWriter *writer, const char *key, gint64 value)
{
    put_key(writer, key);
    yajl_gen_integer(writer->generator, value);
}

void json_writer_uint(JsonWriter *writer, const char *key, guint64 value)
{
    g_autofree char *digits = g_strdup_printf("%" G_GUINT64_FORMAT, value);

    json_writer_digits(writer, key, digits);
}

void json_writer_double(JsonWriter *writer, const char *key, double value)
{
    put_key(writer, key);
    if (isfinite(value))
        yajl_gen_double(writer->generator, value);
    else
        put_text(writer, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
}

void json_writer_bool(JsonWriter *writer, const char *key, gboolean value)
{
    put_key(writer, key);
    yajl_gen_bool(writer->generator, value);
}

void json_writer_null(JsonWriter *writer, const char *key)
{
    put_key(writer, key);
    yajl_gen_null(writer->generator);
}

void json_writer_digits(JsonWriter *writer, const char *key, const char *digits)
{
    put_key(writer, key);
    yajl_gen_number(writer->generator, digits, strlen(digits));
}

void json_writer_strings(JsonWriter *writer, const char *key, const char *const *strings, gssize count)
{
    json_writer_open_array(writer, key);
    for (gssize i = 0; count < 0 ? strings != NULL && strings[i] != NULL : i < count; i++)
        put_text(writer, strings[i]);
    json_writer_close_array(writer);
}

static void put_elements(JsonWriter *writer, const JsonValue *array)
{
    for (gsize i = 0; i < json_length(array); i++)
        json_writer_value(writer, NULL, json_at(array, i));
}

/* Recurses as deep as the reader let the document nest. */
void json_writer_value(JsonWriter *writer, const char *key, const JsonValue *value)
{
    const char *text = "";
    gboolean truth = FALSE;

    switch (json_type(value)) {
    case JSON_NULL:
        json_writer_null(writer, key);
        break;
    case JSON_BOOL:
        json_as_bool(value, &truth, NULL);
        json_writer_bool(writer, key, truth);
        break;
    case JSON_NUMBER:
        json_writer_digits(writer, key, json_digits(value));
        break;
    case JSON_STRING:
        json_as_string(value, &text, NULL);
        json_writer_string(writer, key, text);
        break;
    case JSON_ARRAY:
        json_writer_open_array(writer, key);
        put_elements(writer, value);
        json_writer_close_array(writer);
        break;
    case JSON_OBJECT:
        json_writer_open_object(writer, key);
        json_writer_members(writer, value, NULL);
        json_writer_close_object(writer);
        break;
    }
}

void json_writer_members(JsonWriter *writer, const JsonValue *object, const char *const *omitted)
{
    for (gsize i = 0; i < json_length(object); i++) {
        const JsonValue *member = json_at(object, i);

        if (omitted == NULL || !g_strv_contains(omitted, json_key(member)))
            json_writer_value(writer, json_key(member), member);
    }
}

void json_writer_embed(JsonWriter *writer, const char *key, const char *text)
{
    g_autoptr(JsonDocument) document = NULL;

    if (*text == '{' || *text == '[')
        document = json_document_parse(text, strlen(text), "document", NULL, NULL);
    if (document != NULL)
        json_writer_value(writer, key, json_document_root(document));
    else
        json_writer_string(writer, key, text);
}

const char *json_writer_text(JsonWriter *writer, gsize *ret_length)
{
    const unsigned char *text = NULL;
    size_t length = 0;

    yajl_gen_get_buf(writer->generator, &text, &length);
    if (ret_length != NULL)
        *ret_length = length;
    return (const char *)text; /* yajl's buffer ends with a NUL */
}

char *json_writer_copy(JsonWriter *writer)
{
    return g_strdup(json_writer_text(writer, NULL));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A JSON document: parsed within small limits and the default ones, each value read in every way, written,
 * and parsed again. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/json_writer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_scalar(const JsonValue *value)
{
    g_autofree char *path = json_path(value);
    const char *text = NULL;
    gboolean truth;
    gint64 number;
    guint64 natural;

    g_assert(g_utf8_validate(path, -1, NULL));
    g_assert(json_as_string(value, &text, NULL) == (json_type(value) == JSON_STRING));
    g_assert(text == NULL || g_utf8_validate(text, -1, NULL));
    json_as_line(value, &text, NULL);
    json_as_bool(value, &truth, NULL);
    json_as_int(value, G_MININT64, G_MAXINT64, &number, NULL);
    json_as_uint(value, G_MAXUINT64, &natural, NULL);
}

static void read_value(const JsonValue *value)
{
    read_scalar(value);
    for (gsize i = 0; i < json_length(value); i++) {
        const JsonValue *child = json_at(value, i);
        const char *key = json_key(child);
        g_auto(GStrv) strings = NULL;

        g_assert(key == NULL || json_member(value, key) == child);
        if (key != NULL)
            json_get_strv(value, key, 100, &strings, NULL);
        read_value(child);
    }
}

static void write_and_read_again(const JsonDocument *document)
{
    g_autoptr(JsonWriter) writer = json_writer_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDocument) again = NULL;
    const char *text;
    gsize length = 0;

    json_writer_value(writer, NULL, json_document_root(document));
    text = json_writer_text(writer, &length);
    again = json_document_parse(text, length, "again", NULL, &error);
    if (again == NULL)
        g_error("%s: %s", text, error->message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const JsonLimits small = {
        .max_bytes = 200, .max_depth = 4, .max_values = 20, .max_string_bytes = 10};
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDocument) bounded = json_document_parse((const char *)data, size, "small", &small, NULL);
    g_autoptr(JsonDocument) document = json_document_parse((const char *)data, size, "fuzz", NULL, &error);

    g_assert((document == NULL) == (error != NULL));
    g_assert(bounded == NULL || document != NULL);
    if (error != NULL)
        g_assert(g_utf8_validate(error->message, -1, NULL));
    if (document != NULL) {
        read_value(json_document_root(document));
        write_and_read_again(document);
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/status.h"

#include "common/json.h"
#include "common/json_writer.h"

#include <string.h>

/* Return: a writer in which a Status object is open. */
static JsonWriter *status_open(const char *status)
{
    JsonWriter *json = json_writer_new();

    json_writer_open_object(json, NULL);
    json_writer_open_object(json, "metadata");
    json_writer_close_object(json);
    json_writer_string(json, "status", status);
    return json;
}

static char *status_success(void)
{
    g_autoptr(JsonWriter) json = status_open("Success");

    json_writer_close_object(json);
    return json_writer_copy(json);
}

/* Adds "details":{"causes":[{"reason":…,"message":…}]}. reason: NULL for none. */
static void add_cause(JsonWriter *json, const char *reason, const char *message)
{
    json_writer_open_object(json, "details");
    json_writer_open_array(json, "causes");
    json_writer_open_object(json, NULL);
    if (reason != NULL)
        json_writer_string(json, "reason", reason);
    json_writer_string(json, "message", message);
    json_writer_close_object(json);
    json_writer_close_array(json);
    json_writer_close_object(json);
}

char *status_exit_code(int exit_code)
{
    g_autofree char *message = g_strdup_printf("command terminated with non-zero exit code: %d", exit_code);
    g_autofree char *number = g_strdup_printf("%d", exit_code);
    g_autoptr(JsonWriter) json = NULL;

    if (exit_code == 0)
        return status_success();
    json = status_open("Failure");
    json_writer_string(json, "message", message);
    json_writer_string(json, "reason", "NonZeroExitCode");
    add_cause(json, "ExitCode", number);
    json_writer_close_object(json);
    return json_writer_copy(json);
}

char *status_failure(const char *message)
{
    g_autofree char *text = g_strdup_printf("Internal error occurred: %s", message);
    g_autoptr(JsonWriter) json = status_open("Failure");

    json_writer_string(json, "message", text);
    json_writer_string(json, "reason", "InternalError");
    add_cause(json, NULL, message);
    json_writer_int(json, "code", 500);
    json_writer_close_object(json);
    return json_writer_copy(json);
}

/* ---- terminal sizes ---- */

static gboolean read_dimension(const JsonValue *size, const char *name, guint *ret_side)
{
    gint64 side;

    if (!json_find_int(size, (const char *const[]){name, NULL}, &side) || side < 1 || side > G_MAXUINT16)
        return FALSE;
    *ret_side = (guint)side;
    return TRUE;
}

static gboolean parse_terminal_size(const char *text, guint *ret_columns, guint *ret_rows)
{
    g_autoptr(JsonDocument) document = json_document_parse(text, strlen(text), "size", NULL, NULL);
    const JsonValue *size = document != NULL ? json_document_object(document, NULL) : NULL;
    guint columns;
    guint rows;

    if (size == NULL || !read_dimension(size, "Width", &columns) || !read_dimension(size, "Height", &rows))
        return FALSE;
    *ret_columns = columns;
    *ret_rows = rows;
    return TRUE;
}

gboolean resize_reader_feed(ResizeReader *reader, const guint8 *bytes, gsize length, guint *ret_columns,
                            guint *ret_rows)
{
    gboolean got = FALSE;

    for (gsize i = 0; i < length; i++) {
        if (bytes[i] == '{' || reader->length + 1 >= sizeof reader->text)
            reader->length = 0;
        reader->text[reader->length++] = (char)bytes[i];
        if (bytes[i] != '}')
            continue;
        reader->text[reader->length] = '\0';
        reader->length = 0;
        got |= parse_terminal_size(reader->text, ret_columns, ret_rows);
    }
    return got;
}

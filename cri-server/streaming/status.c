/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/status.h"

#include <string.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_tree.h>

static void add(yajl_gen json, const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    yajl_gen_string(json, (const unsigned char *)valid, strlen(valid));
}

static void add_pair(yajl_gen json, const char *name, const char *value)
{
    add(json, name);
    add(json, value);
}

static yajl_gen begin(const char *status)
{
    yajl_gen json = yajl_gen_alloc(NULL);

    yajl_gen_map_open(json);
    add(json, "metadata");
    yajl_gen_map_open(json);
    yajl_gen_map_close(json);
    add_pair(json, "status", status);
    return json;
}

static char *finish(yajl_gen json)
{
    const unsigned char *text = NULL;
    size_t length = 0;
    char *copy;

    yajl_gen_map_close(json);
    yajl_gen_get_buf(json, &text, &length);
    copy = g_strndup((const char *)text, length);
    yajl_gen_free(json);
    return copy;
}

static char *status_success(void)
{
    return finish(begin("Success"));
}

/* {"causes":[{"reason":…,"message":…}]} */
static void add_cause(yajl_gen json, const char *reason, const char *message)
{
    add(json, "details");
    yajl_gen_map_open(json);
    add(json, "causes");
    yajl_gen_array_open(json);
    yajl_gen_map_open(json);
    if (reason != NULL)
        add_pair(json, "reason", reason);
    add_pair(json, "message", message);
    yajl_gen_map_close(json);
    yajl_gen_array_close(json);
    yajl_gen_map_close(json);
}

char *status_exit_code(int exit_code)
{
    g_autofree char *message = g_strdup_printf("command terminated with non-zero exit code: %d", exit_code);
    g_autofree char *number = g_strdup_printf("%d", exit_code);
    yajl_gen json;

    if (exit_code == 0)
        return status_success();
    json = begin("Failure");
    add_pair(json, "message", message);
    add_pair(json, "reason", "NonZeroExitCode");
    add_cause(json, "ExitCode", number);
    return finish(json);
}

char *status_failure(const char *message)
{
    g_autofree char *text = g_strdup_printf("Internal error occurred: %s", message);
    yajl_gen json = begin("Failure");

    add_pair(json, "message", text);
    add_pair(json, "reason", "InternalError");
    add_cause(json, NULL, message);
    add(json, "code");
    yajl_gen_integer(json, 500);
    return finish(json);
}

/* ---- sizes ---- */

static gboolean read_side(yajl_val size, const char *name, guint *ret_side)
{
    const char *path[] = {name, NULL};
    yajl_val value = yajl_tree_get(size, path, yajl_t_number);

    if (!YAJL_IS_INTEGER(value) || YAJL_GET_INTEGER(value) < 1 || YAJL_GET_INTEGER(value) > G_MAXUINT16)
        return FALSE;
    *ret_side = (guint)YAJL_GET_INTEGER(value);
    return TRUE;
}

static gboolean read_size(const char *text, guint *ret_columns, guint *ret_rows)
{
    yajl_val size = yajl_tree_parse(text, NULL, 0);
    guint columns;
    guint rows;
    gboolean good = size != NULL && read_side(size, "Width", &columns) && read_side(size, "Height", &rows);

    if (good) {
        *ret_columns = columns;
        *ret_rows = rows;
    }
    yajl_tree_free(size);
    return good;
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
        got |= read_size(reader->text, ret_columns, ret_rows);
    }
    return got;
}

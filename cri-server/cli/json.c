#include "cri-server/cli/json.h"

#include <math.h>
#include <string.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_parse.h>

struct Json {
    yajl_gen gen;
};

Json *json_new(void)
{
    Json *json = g_new0(Json, 1);

    json->gen = yajl_gen_alloc(NULL);
    yajl_gen_config(json->gen, yajl_gen_beautify, 1);
    yajl_gen_config(json->gen, yajl_gen_indent_string, "  ");
    return json;
}

Json *json_new_line(void)
{
    Json *json = json_new();

    yajl_gen_config(json->gen, yajl_gen_beautify, 0);
    return json;
}

void json_free(Json *json)
{
    if (json == NULL)
        return;
    yajl_gen_free(json->gen);
    g_free(json);
}

static void put_string(Json *json, const char *value)
{
    g_autofree char *valid = NULL;

    if (!g_utf8_validate(value, -1, NULL))
        valid = g_utf8_make_valid(value, -1);
    value = valid != NULL ? valid : value;
    yajl_gen_string(json->gen, (const unsigned char *)value, strlen(value));
}

static void put_key(Json *json, const char *key)
{
    if (key != NULL)
        put_string(json, key);
}

void json_open_object(Json *json, const char *key)
{
    put_key(json, key);
    yajl_gen_map_open(json->gen);
}

void json_close_object(Json *json)
{
    yajl_gen_map_close(json->gen);
}

void json_open_array(Json *json, const char *key)
{
    put_key(json, key);
    yajl_gen_array_open(json->gen);
}

void json_close_array(Json *json)
{
    yajl_gen_array_close(json->gen);
}

void json_string(Json *json, const char *key, const char *value)
{
    put_key(json, key);
    put_string(json, value != NULL ? value : "");
}

void json_int(Json *json, const char *key, gint64 value)
{
    put_key(json, key);
    yajl_gen_integer(json->gen, value);
}

void json_uint(Json *json, const char *key, guint64 value)
{
    g_autofree char *digits = g_strdup_printf("%" G_GUINT64_FORMAT, value);

    put_key(json, key);
    yajl_gen_number(json->gen, digits, strlen(digits));
}

void json_double(Json *json, const char *key, double value)
{
    put_key(json, key);
    if (isfinite(value))
        yajl_gen_double(json->gen, value);
    else /* as the proto3 mapping has it */
        put_string(json, isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity");
}

void json_bool(Json *json, const char *key, gboolean value)
{
    put_key(json, key);
    yajl_gen_bool(json->gen, value);
}

void json_strings(Json *json, const char *key, const char *const *values, gssize n)
{
    json_open_array(json, key);
    for (gssize i = 0; n < 0 ? values[i] != NULL : i < n; i++)
        put_string(json, values[i]);
    json_close_array(json);
}

/* --- embedding: parser events go straight to the generator --------------------------------------------- */

static int embed_null(void *gen)
{
    return yajl_gen_null(gen) == yajl_gen_status_ok;
}
static int embed_bool(void *gen, int value)
{
    return yajl_gen_bool(gen, value) == yajl_gen_status_ok;
}
static int embed_number(void *gen, const char *digits, size_t length)
{
    return yajl_gen_number(gen, digits, length) == yajl_gen_status_ok;
}
static int embed_string(void *gen, const unsigned char *text, size_t length)
{
    return yajl_gen_string(gen, text, length) == yajl_gen_status_ok;
}
static int embed_open_map(void *gen)
{
    return yajl_gen_map_open(gen) == yajl_gen_status_ok;
}
static int embed_close_map(void *gen)
{
    return yajl_gen_map_close(gen) == yajl_gen_status_ok;
}
static int embed_open_array(void *gen)
{
    return yajl_gen_array_open(gen) == yajl_gen_status_ok;
}
static int embed_close_array(void *gen)
{
    return yajl_gen_array_close(gen) == yajl_gen_status_ok;
}

static gboolean parse_json(const char *text, const yajl_callbacks *callbacks, yajl_gen gen)
{
    yajl_handle parser = yajl_alloc(callbacks, NULL, gen);
    gboolean good = yajl_parse(parser, (const unsigned char *)text, strlen(text)) == yajl_status_ok &&
                    yajl_complete_parse(parser) == yajl_status_ok;

    yajl_free(parser);
    return good;
}

void json_embed(Json *json, const char *key, const char *text)
{
    static const yajl_callbacks embed = {
        .yajl_null = embed_null,
        .yajl_boolean = embed_bool,
        .yajl_number = embed_number,
        .yajl_string = embed_string,
        .yajl_start_map = embed_open_map,
        .yajl_map_key = embed_string,
        .yajl_end_map = embed_close_map,
        .yajl_start_array = embed_open_array,
        .yajl_end_array = embed_close_array,
    };
    yajl_gen trial = yajl_gen_alloc(NULL);
    /* Once for trial: half a document cannot be taken back. The trial's depth is two less than it will be. */
    gboolean good;

    yajl_gen_array_open(trial);
    yajl_gen_array_open(trial);
    yajl_gen_array_open(trial);
    good = (*text == '{' || *text == '[') && parse_json(text, &embed, trial);
    yajl_gen_free(trial);
    put_key(json, key);
    if (!good || !parse_json(text, &embed, json->gen))
        put_string(json, text);
}

char *json_finish(Json *json)
{
    const unsigned char *text = NULL;
    size_t length = 0;

    yajl_gen_get_buf(json->gen, &text, &length);
    return g_strndup((const char *)text, length);
}

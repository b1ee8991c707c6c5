#include "sandbox/oci/oci_json.h"

#include <string.h>

void oci_json_put_string(yajl_gen json, const char *text)
{
    yajl_gen_string(json, (const unsigned char *)text, strlen(text));
}

void oci_json_put_pair(yajl_gen json, const char *key, const char *text)
{
    oci_json_put_string(json, key);
    oci_json_put_string(json, text);
}

void oci_json_put_int(yajl_gen json, const char *key, gint64 number)
{
    oci_json_put_string(json, key);
    yajl_gen_integer(json, number);
}

void oci_json_put_bool(yajl_gen json, const char *key, gboolean value)
{
    oci_json_put_string(json, key);
    yajl_gen_bool(json, value);
}

void oci_json_put_strings(yajl_gen json, const char *key, const char *const *strings, gsize count)
{
    oci_json_put_string(json, key);
    yajl_gen_array_open(json);
    for (gsize i = 0; i < count; i++)
        oci_json_put_string(json, strings[i]);
    yajl_gen_array_close(json);
}

void oci_json_put_map(yajl_gen json, const char *key)
{
    oci_json_put_string(json, key);
    yajl_gen_map_open(json);
}

void oci_json_put_array(yajl_gen json, const char *key)
{
    oci_json_put_string(json, key);
    yajl_gen_array_open(json);
}

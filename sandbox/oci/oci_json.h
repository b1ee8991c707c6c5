/* What the parts of an OCI configuration are written with: members of the JSON object that is open. */
#pragma once

#include <glib.h>
#include <yajl/yajl_gen.h>

void oci_json_put_string(yajl_gen json, const char *text);
void oci_json_put_pair(yajl_gen json, const char *key, const char *text);
void oci_json_put_int(yajl_gen json, const char *key, gint64 number);
void oci_json_put_bool(yajl_gen json, const char *key, gboolean value);
void oci_json_put_strings(yajl_gen json, const char *key, const char *const *strings, gsize count);
/* Open an object or array as the value of key; yajl_gen_map_close() or yajl_gen_array_close() ends it. */
void oci_json_put_map(yajl_gen json, const char *key);
void oci_json_put_array(yajl_gen json, const char *key);

/* JSON output: a thin, typed layer over yajl_gen. Members are written in the order of the calls.
 *
 * A key of NULL writes an element of an array (or the document itself). Invalid UTF-8 is replaced. Not
 * thread-safe.
 */
#pragma once

#include <glib.h>

typedef struct Json Json;

Json *json_new(void);
Json *json_new_line(void);  /* the whole document on one line */
void json_free(Json *json); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Json, json_free)

void json_open_object(Json *json, const char *key);
void json_close_object(Json *json);
void json_open_array(Json *json, const char *key);
void json_close_array(Json *json);
void json_string(Json *json, const char *key, const char *value); /* NULL is "" */
void json_int(Json *json, const char *key, gint64 value);
void json_uint(Json *json, const char *key, guint64 value);
void json_double(Json *json, const char *key, double value);
void json_bool(Json *json, const char *key, gboolean value);
/* n strings, or up to NULL when n is -1. */
void json_strings(Json *json, const char *key, const char *const *values, gssize n);
/* text as part of the document when it is JSON, else as a string. */
void json_embed(Json *json, const char *key, const char *text);

/* The finished document with a newline; the caller frees. */
char *json_finish(Json *json);

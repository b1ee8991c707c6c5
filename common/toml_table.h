/* SPDX-License-Identifier: Apache-2.0 */
/* A TOML document in memory: tables of values. Only toml.c, which fills them, and toml_table.c, which makes,
 * reads and frees them, include this file; other code includes toml.h. */
#pragma once

#include "common/toml.h"

typedef enum { TOML_STRING, TOML_INT, TOML_DOUBLE, TOML_BOOL, TOML_ARRAY, TOML_TABLE } TomlKind;

typedef struct {
    TomlKind kind;
    guint line;
    gboolean from_header; /* an array made by [[header]]s: another one adds an element */
    union {
        char *string;
        gint64 integer;
        double real;
        gboolean boolean;
        GPtrArray *array; /* of TomlValue */
        TomlTable *table;
    } as;
} TomlValue;

/* The origin of a table decides what may still be added to it. */
typedef enum {
    TOML_TABLE_IMPLICIT, /* by a header of a table below it */
    TOML_TABLE_DEFINED,  /* by its own header */
    TOML_TABLE_DOTTED,   /* by a dotted key */
    TOML_TABLE_INLINE,   /* by {…}: complete */
} TomlTableOrigin;

struct TomlTable {
    char *source; /* a GRefString shared by all tables of the document */
    char *path;
    guint depth;
    TomlTableOrigin origin;
    GPtrArray *keys;    /* in the order of the file; owns the strings */
    GHashTable *values; /* TomlValue by key */
};

/* parent is NULL for the root. The table owns path from then on, and has its own reference of source, a
 * GRefString. */
TomlTable *toml_table_new(const TomlTable *parent, char *source, char *path, TomlTableOrigin origin);
TomlValue *toml_value_new(TomlKind kind, guint line);
void toml_value_free(gpointer value);

/* Return: the value, borrowed; NULL when the key is absent. */
TomlValue *toml_table_find(const TomlTable *table, const char *key);
/* Adds the value, which the table owns from then on. The key must be new. */
void toml_table_add(TomlTable *table, const char *key, TomlValue *value);

/* Return: a path such as a.b."quoted key", which the caller frees. */
char *toml_path_join(const char *parent, const char *key);

/* SPDX-License-Identifier: Apache-2.0 */
/* What a TOML document is in memory: tables of values. Internal to toml.c, which fills them, and
 * toml_table.c, which makes, frees and looks into them; everybody else includes toml.h. */
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

/* How a table came to be decides what may still add to it. */
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

/* Takes path; source is a GRefString, of which the table gets a reference. parent NULL: the root. */
TomlTable *toml_table_new(const TomlTable *parent, char *source, char *path, TomlTableOrigin origin);
TomlValue *toml_value_new(TomlKind kind, guint line);
void toml_value_free(gpointer value);

/* NULL when there is none; borrowed. */
TomlValue *toml_table_find(const TomlTable *table, const char *key);
/* Takes value. The key must be new. */
void toml_table_add(TomlTable *table, const char *key, TomlValue *value);

/* "a.b.\"quoted key\""; the caller frees it. */
char *toml_path_join(const char *parent, const char *key);

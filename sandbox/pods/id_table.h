/* SPDX-License-Identifier: Apache-2.0 */
/* A table of objects sorted by id, so that the objects whose ids begin with a prefix are found without
 * looking at the others.
 *
 * Ids are borrowed from the objects and constant. Not thread-safe (manager->lock).
 */
#pragma once

#include <glib.h>

typedef struct IdTable IdTable;

/* unref is called for each object that is removed. */
IdTable *id_table_new(GDestroyNotify unref);
void id_table_free(IdTable *table); /* takes NULL */

/* Takes ownership of a reference. An object with the same id is removed. */
void id_table_insert(IdTable *table, const char *id, gpointer object);
void id_table_remove(IdTable *table, const char *id);

/* Return: the object; NULL: none. */
gpointer id_table_lookup(const IdTable *table, const char *id);
/* Return: the rows whose ids begin with the prefix ("": all), *ret_n of them, borrowed until the next
 * change. */
typedef struct {
    const char *id;
    gpointer object;
} IdTableRow;
const IdTableRow *id_table_range(const IdTable *table, const char *prefix, guint *ret_n);

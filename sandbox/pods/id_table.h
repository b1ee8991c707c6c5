/* Objects by id, in order of their ids: the beginning of an id finds what begins so without a look at the
 * rest.
 *
 * Ids are borrowed from the objects and constant. Not thread-safe (manager->lock).
 */
#pragma once

#include <glib.h>

typedef struct IdTable IdTable;

/* unref is called for what is removed. */
IdTable *id_table_new(GDestroyNotify unref);
void id_table_free(IdTable *table); /* takes NULL */

/* Takes a reference over; what had that id is removed. */
void id_table_insert(IdTable *table, const char *id, gpointer object);
void id_table_remove(IdTable *table, const char *id);

/* NULL when there is none. */
gpointer id_table_lookup(const IdTable *table, const char *id);
/* The objects whose ids begin so, all for "": *ret_n of them, borrowed, until the next change. */
typedef struct {
    const char *id;
    gpointer object;
} IdTableRow;
const IdTableRow *id_table_range(const IdTable *table, const char *prefix, guint *ret_n);

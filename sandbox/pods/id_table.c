/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/id_table.h"

#include <string.h>

struct IdTable {
    GArray *rows; /* IdTableRow, sorted */
    GDestroyNotify unref;
};

IdTable *id_table_new(GDestroyNotify unref)
{
    IdTable *table = g_new0(IdTable, 1);

    table->rows = g_array_new(FALSE, FALSE, sizeof(IdTableRow));
    table->unref = unref;
    return table;
}

void id_table_free(IdTable *table)
{
    if (table == NULL)
        return;
    for (guint i = 0; i < table->rows->len; i++)
        table->unref(g_array_index(table->rows, IdTableRow, i).object);
    g_array_unref(table->rows);
    g_free(table);
}

/* Return: the first row that does not sort before id when at most limit bytes are compared; past: the first
 * that sorts after it. */
static guint bound(const IdTable *table, const char *id, gsize limit, gboolean past)
{
    guint low = 0;
    guint high = table->rows->len;

    while (low < high) {
        guint middle = low + (high - low) / 2;
        int order = strncmp(g_array_index(table->rows, IdTableRow, middle).id, id, limit);

        if (order < 0 || (past && order == 0))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Return: the index at which id is, or would be inserted. */
static guint position(const IdTable *table, const char *id, gboolean *ret_found)
{
    guint at = bound(table, id, G_MAXSIZE, FALSE);

    *ret_found = at < table->rows->len && g_str_equal(g_array_index(table->rows, IdTableRow, at).id, id);
    return at;
}

void id_table_insert(IdTable *table, const char *id, gpointer object)
{
    const IdTableRow row = {id, object};
    gboolean found;
    guint at = position(table, id, &found);
    gpointer before = NULL;

    if (found) {
        before = g_array_index(table->rows, IdTableRow, at).object;
        g_array_index(table->rows, IdTableRow, at) = row;
        table->unref(before);
    } else {
        g_array_insert_val(table->rows, at, row);
    }
}

void id_table_remove(IdTable *table, const char *id)
{
    gboolean found;
    guint at = position(table, id, &found);
    gpointer object;

    if (!found)
        return;
    object = g_array_index(table->rows, IdTableRow, at).object;
    g_array_remove_index(table->rows, at);
    table->unref(object);
}

gpointer id_table_lookup(const IdTable *table, const char *id)
{
    gboolean found;
    guint at = position(table, id, &found);

    return found ? g_array_index(table->rows, IdTableRow, at).object : NULL;
}

const IdTableRow *id_table_range(const IdTable *table, const char *prefix, guint *ret_n)
{
    gsize length = strlen(prefix);
    guint first = bound(table, prefix, length, FALSE);

    *ret_n = bound(table, prefix, length, TRUE) - first;
    return &g_array_index(table->rows, IdTableRow, first);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/text_table.h"

#include <string.h>

struct TextTable {
    GPtrArray *rows; /* char **, the titles first */
    guint n_columns;
};

char *text_printable(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *result = g_string_new(NULL);

    for (const char *c = valid; *c != '\0'; c = g_utf8_next_char(c)) {
        gunichar letter = g_utf8_get_char(c);

        g_string_append_unichar(result, g_unichar_iscntrl(letter) ? '?' : letter);
    }
    return g_string_free(result, FALSE);
}

TextTable *text_table_new(const char *const *titles)
{
    TextTable *table = g_new0(TextTable, 1);

    table->rows = g_ptr_array_new_with_free_func((GDestroyNotify)g_strfreev);
    table->n_columns = g_strv_length((char **)(void *)titles);
    text_table_add(table, titles);
    return table;
}

void text_table_free(TextTable *table)
{
    if (table == NULL)
        return;
    g_ptr_array_unref(table->rows);
    g_free(table);
}

void text_table_add(TextTable *table, const char *const *cells)
{
    char **row = g_new0(char *, table->n_columns + 1);

    for (guint i = 0; i < table->n_columns; i++) {
        g_assert(cells[i] != NULL);
        row[i] = text_printable(cells[i]);
    }
    g_ptr_array_add(table->rows, row);
}

static gsize column_width(const TextTable *table, guint column)
{
    glong width = 0;

    for (guint i = 0; i < table->rows->len; i++) {
        char **row = g_ptr_array_index(table->rows, i);

        width = MAX(width, g_utf8_strlen(row[column], -1));
    }
    return (gsize)width;
}

char *text_table_format(const TextTable *table)
{
    enum { GAP = 3 };
    GString *text = g_string_new(NULL);
    g_autofree gsize *widths = g_new0(gsize, table->n_columns);

    for (guint column = 0; column < table->n_columns; column++)
        widths[column] = column_width(table, column);
    for (guint i = 0; i < table->rows->len; i++) {
        char **row = g_ptr_array_index(table->rows, i);

        for (guint column = 0; column < table->n_columns; column++) {
            gsize used = (gsize)g_utf8_strlen(row[column], -1);

            g_string_append(text, row[column]);
            if (column + 1 < table->n_columns)
                g_string_append_printf(text, "%*s", (int)(widths[column] - used) + GAP, "");
        }
        while (text->len > 0 && text->str[text->len - 1] == ' ')
            g_string_truncate(text, text->len - 1);
        g_string_append_c(text, '\n');
    }
    return g_string_free(text, FALSE);
}

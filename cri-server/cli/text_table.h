/* Tables as Docker prints them: upper-case titles, columns padded with at least three spaces.
 *
 * Not thread-safe. Cells are copied; control characters in them become "?", so that a label cannot steer the
 * terminal.
 */
#pragma once

#include <glib.h>

typedef struct TextTable TextTable;

/* titles: NULL-terminated. */
TextTable *text_table_new(const char *const *titles);
void text_table_free(TextTable *table); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TextTable, text_table_free)

/* As many cells as titles, NULL-terminated; an empty cell is printed as it is. */
void text_table_add(TextTable *table, const char *const *cells);
#define TEXT_ROW(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The whole table with its titles; the caller frees. */
char *text_table_format(const TextTable *table);

/* text with control characters and invalid UTF-8 replaced; the caller frees. */
char *text_printable(const char *text);

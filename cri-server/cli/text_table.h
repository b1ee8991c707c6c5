/* SPDX-License-Identifier: Apache-2.0 */
/* Prints tables in Docker's style: upper-case titles, columns padded with at least three spaces. Cells are
 * copied; control characters in them become "?", so that a label cannot control the terminal.
 *
 * Threads: one.
 */
#pragma once

#include <glib.h>

typedef struct TextTable TextTable;

/* titles: NULL-terminated. */
TextTable *text_table_new(const char *const *titles);
void text_table_free(TextTable *table); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TextTable, text_table_free)

/* Takes as many cells as there are titles, NULL-terminated. */
void text_table_add(TextTable *table, const char *const *cells);
#define TEXT_ROW(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Return: the whole table with its titles; the caller frees it. */
char *text_table_format(const TextTable *table);

/* Return: text with control characters and invalid UTF-8 replaced; the caller frees it. */
char *text_printable(const char *text);

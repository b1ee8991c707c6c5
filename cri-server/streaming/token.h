/* SPDX-License-Identifier: Apache-2.0 */
/* One-time tokens of streaming URLs: unguessable, short-lived, and used up when they are taken. Threads:
 * any. */
#pragma once

#include <glib.h>

typedef struct TokenTable TokenTable;

/* Makes a table of at most max_tokens unused tokens. free_value frees the values of tokens that are never
 * taken. */
TokenTable *token_table_new(gint64 lifetime_ms, guint max_tokens, GDestroyNotify free_value);
void token_table_free(TokenTable *table); /* takes NULL */

/* Issues a token for a value. Return: the token, which the caller frees; NULL on failure. Ownership: takes
 * value, also on failure. Errors: RESOURCE_EXHAUSTED when the table is full. */
char *token_table_put(TokenTable *table, gpointer value, GError **error);
/* Uses up a token. Return: its value, which the caller owns; NULL when the token is unknown, used or
 * expired. */
gpointer token_table_take(TokenTable *table, const char *token);

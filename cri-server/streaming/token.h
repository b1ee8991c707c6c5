/* SPDX-License-Identifier: Apache-2.0 */
/* One-time tickets for streaming URLs: unguessable, short-lived, and used up when taken. Threads: any. */
#pragma once

#include <glib.h>

typedef struct TokenTable TokenTable;

/* At most max_tokens wait at once. free_value frees the values of tickets that no client takes. */
TokenTable *token_table_new(gint64 lifetime_ms, guint max_tokens, GDestroyNotify free_value);
void token_table_free(TokenTable *table); /* takes NULL */

/* Ownership: takes value, also on failure. Return: the token, which the caller frees. Errors:
 * RESOURCE_EXHAUSTED. */
char *token_table_put(TokenTable *table, gpointer value, GError **error);
/* Return: the value, which becomes the caller's; NULL for a token that is unknown, used or expired. */
gpointer token_table_take(TokenTable *table, const char *token);

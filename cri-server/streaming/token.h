/* One-time tickets for streaming URLs: unguessable, short-lived, used up when taken. Any thread. */
#pragma once

#include <glib.h>

typedef struct TokenTable TokenTable;

/* At most max_tokens wait at once. free_value is for those that nobody takes. */
TokenTable *token_table_new(gint64 lifetime_ms, guint max_tokens, GDestroyNotify free_value);
void token_table_free(TokenTable *table); /* takes NULL */

/* Takes value over, also on failure (RESOURCE_EXHAUSTED). The caller frees the token. */
char *token_table_put(TokenTable *table, gpointer value, GError **error);
/* The value, which is the caller's now; NULL for a token that is unknown, used or too old. */
gpointer token_table_take(TokenTable *table, const char *token);

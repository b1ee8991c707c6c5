/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/token.h"

#include <sys/random.h>

#include "common/error.h"
#include "common/string_table.h"

enum { TOKEN_BYTES = 24 };

typedef struct {
    gpointer value;
    gint64 expires_us;
} Ticket;

struct TokenTable {
    gint64 lifetime_us;
    guint max_tokens;
    GDestroyNotify free_value;
    GMutex lock;
    GHashTable *tickets; /* token → Ticket */
};

TokenTable *token_table_new(gint64 lifetime_ms, guint max_tokens, GDestroyNotify free_value)
{
    TokenTable *table = g_new0(TokenTable, 1);

    table->lifetime_us = lifetime_ms * 1000;
    table->max_tokens = max_tokens;
    table->free_value = free_value;
    table->tickets = string_table_new(g_free, g_free);
    g_mutex_init(&table->lock);
    return table;
}

/* Called with the lock held. */
static void drop_expired_locked(TokenTable *table, gint64 now_us)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, table->tickets);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Ticket *ticket = value;

        if (ticket->expires_us > now_us)
            continue;
        table->free_value(ticket->value);
        g_hash_table_iter_remove(&iter);
    }
}

void token_table_free(TokenTable *table)
{
    if (table == NULL)
        return;
    drop_expired_locked(table, G_MAXINT64);
    g_hash_table_unref(table->tickets);
    g_mutex_clear(&table->lock);
    g_free(table);
}

static char *random_token(void)
{
    guint8 bytes[TOKEN_BYTES];
    GString *text = g_string_sized_new(2 * (gsize)TOKEN_BYTES);

    if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        g_error("the kernel gives no random bytes");
    for (gsize i = 0; i < sizeof bytes; i++)
        g_string_append_printf(text, "%02x", bytes[i]);
    return g_string_free(text, FALSE);
}

char *token_table_put(TokenTable *table, gpointer value, GError **error)
{
    gint64 now_us = g_get_monotonic_time();
    char *token = NULL;

    g_mutex_lock(&table->lock);
    drop_expired_locked(table, now_us);
    if (g_hash_table_size(table->tickets) < table->max_tokens) {
        Ticket *ticket = g_new(Ticket, 1);

        *ticket = (Ticket){value, now_us + table->lifetime_us};
        token = random_token();
        g_hash_table_insert(table->tickets, g_strdup(token), ticket);
    }
    g_mutex_unlock(&table->lock);
    if (token == NULL) {
        table->free_value(value);
        fail(error, STATUS_RESOURCE_EXHAUSTED,
             "%u streaming URLs have not been used yet, which is the limit; try again later",
             table->max_tokens);
    }
    return token;
}

gpointer token_table_take(TokenTable *table, const char *token)
{
    gpointer value = NULL;
    Ticket *ticket;

    g_mutex_lock(&table->lock);
    drop_expired_locked(table, g_get_monotonic_time());
    ticket = g_hash_table_lookup(table->tickets, token);
    if (ticket != NULL) {
        value = ticket->value;
        g_hash_table_remove(table->tickets, token);
    }
    g_mutex_unlock(&table->lock);
    return value;
}

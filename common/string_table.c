/* SPDX-License-Identifier: Apache-2.0 */
#include "common/string_table.h"

#include <string.h>

#include "common/ids.h"

typedef struct {
    guint64 v[4];
} State;

static guint64 rotate(guint64 word, guint bits)
{
    return word << bits | word >> (64 - bits);
}

static void sip_round(State *state)
{
    guint64 *v = state->v;

    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static void add_word(State *state, guint64 word)
{
    state->v[3] ^= word;
    sip_round(state);
    state->v[0] ^= word;
}

guint64 string_siphash(const void *data, gsize length, const guint64 key[2])
{
    State state = {{key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d, key[0] ^ 0x6c7967656e657261,
                    key[1] ^ 0x7465646279746573}};
    const guint8 *bytes = data;
    gsize whole = length - length % sizeof(guint64);
    guint64 word;

    for (gsize at = 0; at < whole; at += sizeof word) {
        memcpy(&word, bytes + at, sizeof word);
        add_word(&state, GUINT64_FROM_LE(word));
    }
    word = 0;
    if (length > whole)
        memcpy(&word, bytes + whole, length - whole);
    /* The last word ends with the length. */
    add_word(&state, GUINT64_FROM_LE(word) | (guint64)length << 56);
    state.v[2] ^= 0xff;
    for (guint i = 0; i < 3; i++)
        sip_round(&state);
    return state.v[0] ^ state.v[1] ^ state.v[2] ^ state.v[3];
}

/* Of the process; made at the first call. */
static const guint64 *process_key(void)
{
    static guint64 key[2];
    static gsize is_made;

    if (g_once_init_enter(&is_made)) {
        random_fill(key, sizeof key);
        g_once_init_leave(&is_made, 1);
    }
    return key;
}

guint string_hash(gconstpointer string)
{
    return (guint)string_siphash(string, strlen(string), process_key());
}

GHashTable *string_table_new(GDestroyNotify free_key, GDestroyNotify free_value)
{
    return g_hash_table_new_full(string_hash, g_str_equal, free_key, free_value);
}

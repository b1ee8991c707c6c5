/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layer_holds.h"

#include "common/string_table.h"

struct LayerHolds {
    GHashTable *owners; /* owner to GPtrArray of keys */
    GHashTable *counts; /* key to the number of owners */
};

LayerHolds *layer_holds_new(void)
{
    LayerHolds *holds = g_new0(LayerHolds, 1);

    holds->owners = string_table_new(g_free, (GDestroyNotify)g_ptr_array_unref);
    holds->counts = string_table_new(g_free, NULL);
    return holds;
}

void layer_holds_free(LayerHolds *holds)
{
    if (holds == NULL)
        return;
    g_hash_table_unref(holds->owners);
    g_hash_table_unref(holds->counts);
    g_free(holds);
}

static guint holder_count(const LayerHolds *holds, const char *key)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(holds->counts, key));
}

static void set_holder_count(LayerHolds *holds, const char *key, guint count)
{
    if (count == 0)
        g_hash_table_remove(holds->counts, key);
    else
        g_hash_table_replace(holds->counts, g_strdup(key), GUINT_TO_POINTER(count));
}

void layer_holds_add(LayerHolds *holds, const char *owner, const char *const *keys)
{
    GPtrArray *held = g_hash_table_lookup(holds->owners, owner);

    if (held == NULL) {
        held = g_ptr_array_new_with_free_func(g_free);
        g_hash_table_insert(holds->owners, g_strdup(owner), held);
    }
    for (; *keys != NULL; keys++) {
        if (g_ptr_array_find_with_equal_func(held, *keys, g_str_equal, NULL))
            continue;
        g_ptr_array_add(held, g_strdup(*keys));
        set_holder_count(holds, *keys, holder_count(holds, *keys) + 1);
    }
}

char **layer_holds_release(LayerHolds *holds, const char *owner)
{
    const GPtrArray *held = g_hash_table_lookup(holds->owners, owner);
    g_autoptr(GStrvBuilder) released = g_strv_builder_new();

    for (guint i = 0; held != NULL && i < held->len; i++) {
        const char *key = g_ptr_array_index(held, i);

        set_holder_count(holds, key, holder_count(holds, key) - 1);
        g_strv_builder_add(released, key);
    }
    g_hash_table_remove(holds->owners, owner);
    return g_strv_builder_end(released);
}

gboolean layer_holds_has(const LayerHolds *holds, const char *key)
{
    return holder_count(holds, key) > 0;
}

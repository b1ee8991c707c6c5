/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layer_origins.h"

#include "common/string_table.h"

struct LayerOrigins {
    GMutex lock;
    GHashTable *layers; /* by key: a set of strings, "registry/repository" and "registry sha256:…" */
};

LayerOrigins *layer_origins_new(void)
{
    LayerOrigins *origins = g_new0(LayerOrigins, 1);

    g_mutex_init(&origins->lock);
    origins->layers = string_table_new(g_free, (GDestroyNotify)g_hash_table_unref);
    return origins;
}

void layer_origins_free(LayerOrigins *origins)
{
    if (origins == NULL)
        return;
    g_hash_table_unref(origins->layers);
    g_mutex_clear(&origins->lock);
    g_free(origins);
}

static char *blob_of(const Reference *reference, const char *blob)
{
    return g_strdup_printf("%s %s", reference->domain, blob);
}

void layer_origins_add(LayerOrigins *origins, const char *key, const Reference *reference, const char *blob)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&origins->lock);
    GHashTable *known = g_hash_table_lookup(origins->layers, key);

    if (known == NULL) {
        known = string_table_new(g_free, NULL);
        g_hash_table_insert(origins->layers, g_strdup(key), known);
    }
    g_hash_table_add(known, reference_name(reference));
    if (blob != NULL)
        g_hash_table_add(known, blob_of(reference, blob));
}

static gboolean has(LayerOrigins *origins, const char *key, const char *origin)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&origins->lock);
    GHashTable *known = g_hash_table_lookup(origins->layers, key);

    return known != NULL && g_hash_table_contains(known, origin);
}

gboolean layer_origins_has_repository(LayerOrigins *origins, const char *key, const Reference *reference)
{
    g_autofree char *name = reference_name(reference);

    return has(origins, key, name);
}

gboolean layer_origins_has_blob(LayerOrigins *origins, const char *key, const Reference *reference,
                                const char *blob)
{
    g_autofree char *name = blob_of(reference, blob);

    return has(origins, key, name);
}

void layer_origins_prune(LayerOrigins *origins, gboolean (*is_wanted)(const char *key, gpointer data),
                         gpointer data)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&origins->lock);
    GHashTableIter iter;
    gpointer key;

    g_hash_table_iter_init(&iter, origins->layers);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        if (!is_wanted(key, data))
            g_hash_table_iter_remove(&iter);
}

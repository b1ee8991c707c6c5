#include "sandbox/vmm/vmm_table.h"

#include "common/error.h"
#include "sandbox/vmm/console.h"

enum { FORGET_TIMEOUT_US = 5 * G_USEC_PER_SEC };

typedef enum { PHASE_STARTING, PHASE_LIVE, PHASE_RESETTING, PHASE_DESTROYING } Phase;

typedef struct {
    Phase phase;
    char *console;
    gboolean blocked;
} Entry;

struct VmmTable {
    GMutex lock;
    GCond forgotten;     /* an entry left */
    GHashTable *entries; /* name -> Entry; goes with its end */
};

static void entry_free(gpointer data)
{
    Entry *entry = data;

    g_free(entry->console);
    g_free(entry);
}

VmmTable *vmm_table_new(void)
{
    VmmTable *table = g_new0(VmmTable, 1);

    g_mutex_init(&table->lock);
    g_cond_init(&table->forgotten);
    table->entries = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, entry_free);
    return table;
}

void vmm_table_free(VmmTable *table)
{
    if (table == NULL)
        return;
    g_hash_table_unref(table->entries);
    g_mutex_clear(&table->lock);
    g_cond_clear(&table->forgotten);
    g_free(table);
}

gboolean vmm_table_reserve(VmmTable *table, const char *name, const char *console, GError **error)
{
    gint64 until = g_get_monotonic_time() + FORGET_TIMEOUT_US;
    Entry *entry;

    g_mutex_lock(&table->lock);
    while ((entry = g_hash_table_lookup(table->entries, name)) != NULL && entry->phase == PHASE_DESTROYING &&
           g_cond_wait_until(&table->forgotten, &table->lock, until))
        continue;
    if (entry == NULL) {
        Entry *fresh = g_new0(Entry, 1);

        fresh->console = g_strdup(console);
        g_hash_table_insert(table->entries, g_strdup(name), fresh);
    }
    g_mutex_unlock(&table->lock);
    if (entry != NULL)
        return fail(error, STATUS_ALREADY_EXISTS, "the guest %s exists already", name);
    return TRUE;
}

/* Moves a known domain on; never back from being destroyed. */
static gboolean move(VmmTable *table, const char *name, Phase phase)
{
    Entry *entry;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    if (entry != NULL && entry->phase < phase)
        entry->phase = phase;
    g_mutex_unlock(&table->lock);
    return entry != NULL;
}

gboolean vmm_table_live(VmmTable *table, const char *name)
{
    return move(table, name, PHASE_LIVE);
}

void vmm_table_reset(VmmTable *table, const char *name)
{
    move(table, name, PHASE_RESETTING);
}

void vmm_table_destroying(VmmTable *table, const char *name)
{
    move(table, name, PHASE_DESTROYING);
}

void vmm_table_forget(VmmTable *table, const char *name)
{
    VmmStopReason reason = VMM_STOPPED_DESTROYED;

    vmm_table_end(table, name, &reason);
}

gboolean vmm_table_end(VmmTable *table, const char *name, VmmStopReason *reason)
{
    gboolean report = FALSE;
    Entry *entry;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    if (entry != NULL) {
        report = entry->phase != PHASE_STARTING;
        if (entry->phase == PHASE_DESTROYING)
            *reason = VMM_STOPPED_DESTROYED;
        else if (entry->phase == PHASE_RESETTING && *reason == VMM_STOPPED_SHUTDOWN)
            *reason = VMM_STOPPED_CRASHED;
        g_hash_table_remove(table->entries, name);
        g_cond_broadcast(&table->forgotten);
    }
    g_mutex_unlock(&table->lock);
    return report;
}

void vmm_table_set_blocked(VmmTable *table, const char *name, gboolean blocked)
{
    Entry *entry;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    if (entry != NULL)
        entry->blocked = blocked;
    g_mutex_unlock(&table->lock);
}

gboolean vmm_table_is_blocked(VmmTable *table, const char *name)
{
    const Entry *entry;
    gboolean blocked;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    blocked = entry != NULL && entry->blocked;
    g_mutex_unlock(&table->lock);
    return blocked;
}

GPtrArray *vmm_table_blocked(VmmTable *table)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    gpointer name;
    gpointer value;

    g_mutex_lock(&table->lock);
    g_hash_table_iter_init(&iter, table->entries);
    while (g_hash_table_iter_next(&iter, &name, &value))
        if (((const Entry *)value)->blocked)
            g_ptr_array_add(names, g_strdup(name));
    g_mutex_unlock(&table->lock);
    return names;
}

void vmm_table_trim_consoles(VmmTable *table, gsize max_bytes)
{
    GHashTableIter iter;
    gpointer value;

    g_mutex_lock(&table->lock);
    g_hash_table_iter_init(&iter, table->entries);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (((Entry *)value)->console != NULL)
            console_trim(((Entry *)value)->console, max_bytes);
    g_mutex_unlock(&table->lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/vmm_table.h"

#include <string.h>

#include "common/error.h"
#include "common/lock_assert.h"
#include "common/string_table.h"
#include "sandbox/vmm/console.h"

enum { FORGET_TIMEOUT_US = 5 * G_USEC_PER_SEC };

typedef enum { PHASE_STARTING, PHASE_LIVE, PHASE_RESETTING, PHASE_DESTROYING } Phase;

typedef struct {
    Phase phase;
    char *console;
    pid_t pid; /* QEMU's; 0: not known */
    VmmIdentity user;
    gboolean has_user; /* user is known */
    char *full_disk;   /* that could not be written last */
    char *blocked;     /* why the guest is paused; NULL: it is not */
} Entry;

/* A domain that ended by itself. */
typedef struct {
    char *name;
    char *text;
} End;

/* A watch of the end, or of what blocks the guest: the other function is NULL. */
typedef struct {
    char *name;
    VmmEndFunc ended;
    VmmBlockedFunc blocked;
    gpointer data;
} Watch;

struct VmmTable {
    GMutex lock;
    GCond left;          /* an entry has left the table */
    GHashTable *entries; /* name -> Entry */
    GQueue ends;         /* End, the latest first */
    GArray *watches;     /* Watch */
};

static void entry_free(gpointer data)
{
    Entry *entry = data;

    g_free(entry->console);
    g_free(entry->full_disk);
    g_free(entry->blocked);
    g_free(entry);
}

static void end_free(gpointer data)
{
    End *end = data;

    g_free(end->name);
    g_free(end->text);
    g_free(end);
}

static void watch_clear(gpointer data)
{
    g_free(((Watch *)data)->name);
}

VmmTable *vmm_table_new(void)
{
    VmmTable *table = g_new0(VmmTable, 1);

    g_mutex_init(&table->lock);
    g_cond_init(&table->left);
    table->entries = string_table_new(g_free, entry_free);
    g_queue_init(&table->ends);
    table->watches = g_array_new(FALSE, FALSE, sizeof(Watch));
    g_array_set_clear_func(table->watches, watch_clear);
    return table;
}

void vmm_table_free(VmmTable *table)
{
    if (table == NULL)
        return;
    g_hash_table_unref(table->entries);
    g_queue_clear_full(&table->ends, end_free);
    g_array_unref(table->watches);
    g_mutex_clear(&table->lock);
    g_cond_clear(&table->left);
    g_free(table);
}

/* ---- the reasons of ends ---- */

static GList *find_end_locked(VmmTable *table, const char *name)
{
    GList *link = table->ends.head;

    LOCK_ASSERT_HELD(&table->lock);
    while (link != NULL && strcmp(((End *)link->data)->name, name) != 0)
        link = link->next;
    return link;
}

static void forget_end_locked(VmmTable *table, const char *name)
{
    GList *link = find_end_locked(table, name);

    if (link == NULL)
        return;
    end_free(link->data);
    g_queue_delete_link(&table->ends, link);
}

static void keep_end_locked(VmmTable *table, const char *name, const char *text)
{
    End *end = g_new(End, 1);

    forget_end_locked(table, name);
    *end = (End){g_strdup(name), g_strdup(text)};
    g_queue_push_head(&table->ends, end);
    if (g_queue_get_length(&table->ends) > VMM_TABLE_ENDS_MAX)
        end_free(g_queue_pop_tail(&table->ends));
}

static void report_end_locked(VmmTable *table, const char *name, const char *text)
{
    LOCK_ASSERT_HELD(&table->lock);
    for (guint i = 0; i < table->watches->len; i++) {
        const Watch *watch = &g_array_index(table->watches, Watch, i);

        if (watch->ended != NULL && strcmp(watch->name, name) == 0)
            watch->ended(text, watch->data);
    }
}

static void report_blocked_locked(VmmTable *table, const char *name, const char *text)
{
    LOCK_ASSERT_HELD(&table->lock);
    for (guint i = 0; i < table->watches->len; i++) {
        const Watch *watch = &g_array_index(table->watches, Watch, i);

        if (watch->blocked != NULL && strcmp(watch->name, name) == 0)
            watch->blocked(text, watch->data);
    }
}

char *vmm_table_stop_text(VmmTable *table, const char *name)
{
    GList *link;
    char *text;

    g_mutex_lock(&table->lock);
    link = find_end_locked(table, name);
    text = link != NULL ? g_strdup(((End *)link->data)->text) : NULL;
    g_mutex_unlock(&table->lock);
    return text;
}

void vmm_table_forget_end(VmmTable *table, const char *name)
{
    g_mutex_lock(&table->lock);
    forget_end_locked(table, name);
    g_mutex_unlock(&table->lock);
}

void vmm_table_watch(VmmTable *table, const char *name, VmmEndFunc func, gpointer data)
{
    const Watch watch = {.name = g_strdup(name), .ended = func, .data = data};
    GList *link;

    g_mutex_lock(&table->lock);
    g_array_append_val(table->watches, watch);
    link = find_end_locked(table, name);
    if (link != NULL)
        func(((End *)link->data)->text, data);
    g_mutex_unlock(&table->lock);
}

static void unwatch(VmmTable *table, const char *name, gboolean of_end, gpointer data)
{
    g_mutex_lock(&table->lock);
    for (guint i = table->watches->len; i-- > 0;) {
        const Watch *watch = &g_array_index(table->watches, Watch, i);

        if (watch->data == data && (watch->ended != NULL) == of_end && strcmp(watch->name, name) == 0)
            g_array_remove_index_fast(table->watches, i);
    }
    g_mutex_unlock(&table->lock);
}

void vmm_table_unwatch(VmmTable *table, const char *name, gpointer data)
{
    unwatch(table, name, TRUE, data);
}

void vmm_table_watch_blocked(VmmTable *table, const char *name, VmmBlockedFunc func, gpointer data)
{
    const Watch watch = {.name = g_strdup(name), .blocked = func, .data = data};
    const Entry *entry;

    g_mutex_lock(&table->lock);
    g_array_append_val(table->watches, watch);
    entry = g_hash_table_lookup(table->entries, name);
    if (entry != NULL && entry->blocked != NULL)
        func(entry->blocked, data);
    g_mutex_unlock(&table->lock);
}

void vmm_table_unwatch_blocked(VmmTable *table, const char *name, gpointer data)
{
    unwatch(table, name, FALSE, data);
}

void vmm_table_wait_end(VmmTable *table, const char *name, guint timeout_ms)
{
    gint64 until_us = g_get_monotonic_time() + (gint64)timeout_ms * 1000;

    g_mutex_lock(&table->lock);
    while (g_hash_table_contains(table->entries, name) &&
           g_cond_wait_until(&table->left, &table->lock, until_us))
        continue;
    g_mutex_unlock(&table->lock);
}

/* ---- the phases of a domain ---- */

gboolean vmm_table_reserve(VmmTable *table, const char *name, const char *console, GError **error)
{
    gint64 until = g_get_monotonic_time() + FORGET_TIMEOUT_US;
    Entry *entry;

    g_mutex_lock(&table->lock);
    while ((entry = g_hash_table_lookup(table->entries, name)) != NULL && entry->phase == PHASE_DESTROYING &&
           g_cond_wait_until(&table->left, &table->lock, until))
        continue;
    if (entry == NULL) {
        Entry *fresh = g_new0(Entry, 1);

        fresh->console = g_strdup(console);
        forget_end_locked(table, name);
        g_hash_table_insert(table->entries, g_strdup(name), fresh);
    }
    g_mutex_unlock(&table->lock);
    if (entry != NULL)
        return fail(error, STATUS_ALREADY_EXISTS, "the VM %s exists already", name);
    return TRUE;
}

/* Advances the phase of a domain. Return: FALSE when it is not in the table. */
static gboolean advance_phase(VmmTable *table, const char *name, Phase phase)
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
    return advance_phase(table, name, PHASE_LIVE);
}

void vmm_table_reset(VmmTable *table, const char *name)
{
    advance_phase(table, name, PHASE_RESETTING);
}

void vmm_table_destroying(VmmTable *table, const char *name)
{
    advance_phase(table, name, PHASE_DESTROYING);
}

void vmm_table_forget(VmmTable *table, const char *name)
{
    g_mutex_lock(&table->lock);
    forget_end_locked(table, name);
    g_hash_table_remove(table->entries, name);
    g_cond_broadcast(&table->left);
    g_mutex_unlock(&table->lock);
}

void vmm_table_set_process(VmmTable *table, const char *name, pid_t pid, const VmmIdentity *user)
{
    Entry *entry;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    if (entry != NULL) {
        entry->pid = pid;
        entry->has_user = user != NULL;
        if (user != NULL)
            entry->user = *user;
    }
    g_mutex_unlock(&table->lock);
}

gboolean vmm_table_user(VmmTable *table, const char *name, VmmIdentity *ret_user, GError **error)
{
    const Entry *entry;
    gboolean found;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    found = entry != NULL && entry->has_user;
    if (found)
        *ret_user = entry->user;
    g_mutex_unlock(&table->lock);
    return found ||
           fail(error, STATUS_NOT_FOUND, "the user of the VM %s is not known, or the VM is gone", name);
}

pid_t vmm_table_pid(VmmTable *table, const char *name)
{
    const Entry *entry;
    pid_t pid;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    pid = entry != NULL && entry->phase != PHASE_DESTROYING ? entry->pid : 0;
    g_mutex_unlock(&table->lock);
    return pid;
}

char *vmm_table_console(VmmTable *table, const char *name)
{
    const Entry *entry;
    char *console;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    console = entry != NULL ? g_strdup(entry->console) : NULL;
    g_mutex_unlock(&table->lock);
    return console;
}

gboolean vmm_table_end(VmmTable *table, const char *name, VmmStopReason *reason, const LastWords *words,
                       char **ret_text)
{
    gboolean report = FALSE;
    char *text = NULL;
    Entry *entry;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    if (entry != NULL) {
        report = entry->phase != PHASE_STARTING;
        if (entry->phase == PHASE_DESTROYING)
            *reason = VMM_STOPPED_DESTROYED;
        else if (entry->phase == PHASE_RESETTING && *reason != VMM_STOPPED_DESTROYED)
            *reason = VMM_STOPPED_RESET;
        text = qemu_log_describe_end(*reason, words);
        if (*reason != VMM_STOPPED_DESTROYED)
            keep_end_locked(table, name, text);
        if (entry->blocked != NULL)
            report_blocked_locked(table, name, NULL);
        g_hash_table_remove(table->entries, name);
        g_cond_broadcast(&table->left);
        report_end_locked(table, name, text);
    }
    g_mutex_unlock(&table->lock);
    *ret_text = text;
    return report;
}

/* ---- guests that the node's full disk blocks ---- */

void vmm_table_set_full_disk(VmmTable *table, const char *name, const char *path)
{
    Entry *entry;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    if (entry != NULL) {
        g_free(entry->full_disk);
        entry->full_disk = g_strdup(path);
    }
    g_mutex_unlock(&table->lock);
}

gboolean vmm_table_block(VmmTable *table, const char *name, char **ret_text)
{
    gboolean is_new;
    Entry *entry;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    is_new = entry != NULL && entry->blocked == NULL;
    if (is_new) {
        entry->blocked =
            g_strdup_printf("the node's disk is full: %s: QEMU has paused the guest until there is space",
                            entry->full_disk != NULL ? entry->full_disk : "a disk of the guest");
        report_blocked_locked(table, name, entry->blocked);
        *ret_text = g_strdup(entry->blocked);
    }
    g_mutex_unlock(&table->lock);
    return is_new;
}

void vmm_table_unblock(VmmTable *table, const char *name)
{
    Entry *entry;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    if (entry != NULL && entry->blocked != NULL) {
        g_clear_pointer(&entry->blocked, g_free);
        report_blocked_locked(table, name, NULL);
    }
    g_mutex_unlock(&table->lock);
}

gboolean vmm_table_is_blocked(VmmTable *table, const char *name)
{
    const Entry *entry;
    gboolean blocked;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    blocked = entry != NULL && entry->blocked != NULL;
    g_mutex_unlock(&table->lock);
    return blocked;
}

gboolean vmm_table_check_blocked(VmmTable *table, const char *name, const char *doing, GError **error)
{
    const Entry *entry;
    gboolean good;

    g_mutex_lock(&table->lock);
    entry = g_hash_table_lookup(table->entries, name);
    good = entry == NULL || entry->blocked == NULL ||
           fail(error, STATUS_UNAVAILABLE, "%s: %s", doing, entry->blocked);
    g_mutex_unlock(&table->lock);
    return good;
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
        if (((const Entry *)value)->blocked != NULL)
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

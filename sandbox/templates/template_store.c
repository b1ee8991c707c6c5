/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/templates/template_store.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/metrics.h"
#include "common/string_table.h"
#include "sandbox/templates/retry.h"

enum {
    TEMPLATES_MAX = 8, /* the pods of a node have few sizes at a time */
    WANTED_MAX = 4,    /* a pod asks again for one that is left out */
    UNUSED_DAYS_MAX = 7,
    REASON_MAX_BYTES = 4096,
};

#define SECONDS_PER_DAY 86400

struct TemplateStore {
    const GuestEnvironment *env;
    TemplateStoreWork work;
    char *directory;
    GCancellable *stop;
    GThread *thread;

    GMutex lock;
    GCond changed;
    GHashTable *ready;       /* key → Template */
    GHashTable *retries;     /* key → Retry, of those that failed since the daemon started */
    GHashTable *quarantined; /* key → reason */
    GQueue wanted;           /* Want; the first one may be under way */
};

/* A VM spec of which a template is to be created; it owns its strings. */
typedef struct {
    char *key;
    char **inputs;
    DomainSpec spec;
} Want;

static Metric made = METRIC_COUNTER("crivirt_templates_made_total",
                                    "Attempts to create a template, by result.", "result", NULL);

/* ---- wants ---- */

static void want_free(gpointer data)
{
    Want *want = data;

    g_free((char *)want->spec.accelerator);
    g_free((char *)want->spec.kernel);
    g_free((char *)want->spec.initrd);
    g_free((char *)want->spec.kernel_parameters);
    g_strfreev(want->inputs);
    g_free(want->key);
    g_free(want);
}

/* The names of a guest are left out. The architecture's name is constant. */
static Want *want_new(const char *key, char **inputs, const DomainSpec *spec)
{
    Want *want = g_new0(Want, 1);

    want->key = g_strdup(key);
    want->inputs = g_strdupv(inputs);
    want->spec = *spec;
    want->spec.name = want->spec.agent_socket = want->spec.console_path = NULL;
    want->spec.tap = want->spec.mac = want->spec.generation = NULL;
    want->spec.title = "crivirt: becomes a template";
    want->spec.disks = NULL;
    want->spec.n_disks = 0;
    want->spec.incoming = FALSE;
    want->spec.accelerator = g_strdup(spec->accelerator);
    want->spec.kernel = g_strdup(spec->kernel);
    want->spec.initrd = g_strdup(spec->initrd);
    want->spec.kernel_parameters = g_strdup(spec->kernel_parameters);
    return want;
}

static gboolean is_wanted_locked(TemplateStore *store, const char *key)
{
    for (GList *item = store->wanted.head; item != NULL; item = item->next)
        if (g_str_equal(((Want *)item->data)->key, key))
            return TRUE;
    return FALSE;
}

static void want_add_locked(TemplateStore *store, const char *key, char **inputs, const DomainSpec *spec)
{
    if (retry_left_us(g_hash_table_lookup(store->retries, key), store->work.now_us()) > 0 ||
        store->wanted.length >= WANTED_MAX || is_wanted_locked(store, key))
        return;
    g_queue_push_tail(&store->wanted, want_new(key, inputs, spec));
    g_cond_broadcast(&store->changed);
}

/* ---- what is on disk ---- */

static char *template_path(TemplateStore *store, const char *key, const char *suffix)
{
    g_autofree char *name = g_strconcat(key, suffix, NULL);

    return g_build_filename(store->directory, name, NULL);
}

static gint64 last_use_s(const char *directory)
{
    g_autofree char *manifest = g_build_filename(directory, TEMPLATE_MANIFEST, NULL);
    struct stat status;

    return stat(manifest, &status) == 0 ? (gint64)status.st_mtim.tv_sec : 0;
}

static void mark_used(const char *directory)
{
    g_autofree char *manifest = g_build_filename(directory, TEMPLATE_MANIFEST, NULL);

    utimensat(AT_FDCWD, manifest, NULL, 0);
}

static void directory_delete(const char *path)
{
    g_autoptr(GError) error = NULL;

    if (!dir_remove_tree(path, &error))
        log_warning(LOG_FIELDS("template", path), "cannot delete the template: %s", error->message);
}

static gboolean is_unused(const char *directory)
{
    return g_get_real_time() / G_USEC_PER_SEC - last_use_s(directory) >
           (gint64)UNUSED_DAYS_MAX * SECONDS_PER_DAY;
}

static void load_quarantined(TemplateStore *store, const char *key, const char *directory)
{
    g_autofree char *path = g_build_filename(directory, TEMPLATE_REASON, NULL);
    g_autofree char *next_try = g_build_filename(directory, TEMPLATE_NEXT_TRY, NULL);
    char *reason = NULL;

    if (is_unused(directory)) {
        directory_delete(directory);
        return;
    }
    unlink(next_try); /* the pauses begin anew with each daemon */
    if (!file_read(path, REASON_MAX_BYTES, &reason, NULL, NULL))
        reason = g_strdup("unknown");
    g_mutex_lock(&store->lock);
    g_hash_table_insert(store->quarantined, g_strdup(key), reason);
    g_mutex_unlock(&store->lock);
}

/* ---- failures ---- */

/* Return: the time that many microseconds from now, in ISO 8601, which the caller frees. */
static char *time_text(gint64 left_us)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autoptr(GDateTime) then = g_date_time_add(now, left_us);

    return g_date_time_format(then, "%Y-%m-%dT%H:%M:%SZ");
}

/* Stores how many microseconds are left until the next try. */
static void record_failure_locked(TemplateStore *store, const char *key, const char *reason,
                                  gint64 *ret_left_us)
{
    gint64 now_us = store->work.now_us();
    Retry *retry = g_hash_table_lookup(store->retries, key);

    if (retry == NULL) {
        retry = g_new0(Retry, 1);
        g_hash_table_insert(store->retries, g_strdup(key), retry);
    }
    retry_add_failure(retry, now_us);
    *ret_left_us = retry_left_us(retry, now_us);
    g_hash_table_remove(store->ready, key);
    g_hash_table_replace(store->quarantined, g_strdup(key), g_strdup(reason));
}

/* Several pods may find at once that a template is bad, which is one failure. Return: FALSE when template is
 * not the one in use any more; NULL is always accepted. */
static gboolean record_failure(TemplateStore *store, const char *key, const Template *template,
                               const char *reason, gint64 *ret_left_us)
{
    gboolean is_current;

    g_mutex_lock(&store->lock);
    is_current = template == NULL || g_hash_table_lookup(store->ready, key) == template;
    if (is_current)
        record_failure_locked(store, key, reason, ret_left_us);
    g_mutex_unlock(&store->lock);
    return is_current;
}

static gboolean quarantined_file_write(const char *directory, const char *name, const char *text,
                                       GError **error)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);

    return file_write_atomic(path, text, strlen(text), 0600, error);
}

/* Keeps of the template's directory what a person may want to know. */
static void quarantined_files_make(TemplateStore *store, const char *key, const char *reason,
                                   const char *next_try)
{
    static const char *const names[] = {TEMPLATE_RAM, TEMPLATE_DEVICES, TEMPLATE_DISK};
    g_autofree char *directory = template_path(store, key, "");
    g_autofree char *bad = template_path(store, key, TEMPLATE_BAD_SUFFIX);
    g_autoptr(GError) error = NULL;

    directory_delete(bad);
    if (rename(directory, bad) != 0)
        directory_delete(directory);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(bad, names[i], NULL);

        unlink(path);
    }
    if (!dir_make(bad, 0700, &error) || !quarantined_file_write(bad, TEMPLATE_REASON, reason, &error) ||
        (next_try != NULL && !quarantined_file_write(bad, TEMPLATE_NEXT_TRY, next_try, &error)))
        log_warning(LOG_FIELDS("template", key), "%s", error->message);
}

/* template is as in record_failure(). */
static void quarantine(TemplateStore *store, const char *key, const Template *template, const char *reason)
{
    g_autofree char *next_try = NULL;
    gint64 left_us = 0;

    if (!record_failure(store, key, template, reason, &left_us))
        return;
    if (left_us > 0)
        next_try = time_text(left_us);
    log_error(LOG_FIELDS("template", key),
              "a template is quarantined, and guests of its VM size boot; it is created again %s%s: %s",
              next_try != NULL ? "after " : "for the next pod", next_try != NULL ? next_try : "", reason);
    quarantined_files_make(store, key, reason, next_try);
}

static void template_store_add(TemplateStore *store, const char *key, Template *template)
{
    g_autofree char *bad = template_path(store, key, TEMPLATE_BAD_SUFFIX);
    g_autofree char *next_try = g_build_filename(bad, TEMPLATE_NEXT_TRY, NULL);
    gint64 now_us = store->work.now_us();
    Retry *retry;

    unlink(next_try);
    g_mutex_lock(&store->lock);
    g_hash_table_replace(store->ready, g_strdup(key), template);
    retry = g_hash_table_lookup(store->retries, key);
    if (retry != NULL)
        retry_add_success(retry, now_us);
    g_mutex_unlock(&store->lock);
}

/* ---- what is there at the start ---- */

static void load_ready(TemplateStore *store, const char *key, const char *directory)
{
    g_autoptr(GError) error = NULL;
    Template *template;

    if (template_is_outdated(directory, store->env->vmm) || is_unused(directory)) {
        log_info(LOG_FIELDS("template", key),
                 "deleting a template that is outdated or was not used for long");
        directory_delete(directory);
        return;
    }
    template = template_open(directory, &error);
    if (template == NULL) {
        quarantine(store, key, NULL, error->message);
        return;
    }
    g_mutex_lock(&store->lock);
    g_hash_table_replace(store->ready, g_strdup(key), template);
    g_mutex_unlock(&store->lock);
}

static void load_entry(TemplateStore *store, const char *name)
{
    g_autofree char *path = g_build_filename(store->directory, name, NULL);
    g_autofree char *key = g_strndup(name, strcspn(name, "."));

    if (g_str_has_suffix(name, TEMPLATE_BAD_SUFFIX))
        load_quarantined(store, key, path);
    else if (strchr(name, '.') != NULL)
        directory_delete(path); /* unfinished */
    else
        load_ready(store, key, path);
}

static void load_all(TemplateStore *store)
{
    g_autoptr(GDir) entries = g_dir_open(store->directory, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL)
        g_ptr_array_add(names, g_strdup(name));
    for (guint i = 0; i < names->len && !g_cancellable_is_cancelled(store->stop); i++)
        load_entry(store, names->pdata[i]);
}

/* Deletes the template that was not used for the longest time when there are too many. */
static void template_store_limit(TemplateStore *store)
{
    g_autofree char *oldest = NULL;
    gint64 oldest_s = G_MAXINT64;
    GHashTableIter iter;
    gpointer value;

    g_mutex_lock(&store->lock);
    g_hash_table_iter_init(&iter, store->ready);
    while (g_hash_table_size(store->ready) > TEMPLATES_MAX && g_hash_table_iter_next(&iter, NULL, &value)) {
        gint64 use_s = last_use_s(((Template *)value)->directory);

        if (use_s >= oldest_s)
            continue;
        oldest_s = use_s;
        g_free(oldest);
        oldest = g_strdup(((Template *)value)->key);
    }
    if (oldest != NULL)
        g_hash_table_remove(store->ready, oldest);
    g_mutex_unlock(&store->lock);
    if (oldest != NULL) {
        g_autofree char *path = template_path(store, oldest, "");

        log_info(LOG_FIELDS("template", oldest),
                 "deleting the template that was not used for the longest time");
        directory_delete(path);
    }
}

/* ---- creating ---- */

static void template_store_make(TemplateStore *store, const Want *want)
{
    g_autofree char *directory = template_path(store, want->key, "");
    g_autoptr(GError) error = NULL;
    gint64 begin_us = g_get_monotonic_time();
    Template *template = NULL;

    if (store->work.make(store->env, &want->spec, (const char *const *)want->inputs, directory, store->stop,
                         &error))
        template = template_open(directory, &error);
    if (g_cancellable_is_cancelled(store->stop) && template == NULL)
        return;
    metric_add(&made, 1, template != NULL ? "ok" : "failed", NULL);
    if (template == NULL) {
        quarantine(store, want->key, NULL, error->message);
        return;
    }
    log_info(LOG_FIELDS("template", want->key),
             "a template is ready after %" G_GINT64_FORMAT " ms: %" G_GUINT64_FORMAT " MiB of data",
             (g_get_monotonic_time() - begin_us) / 1000, template->ram_data_bytes >> 20);
    template_store_add(store, want->key, template);
    template_store_limit(store);
}

/* Return: the first wanted template, which stays in the queue while it is created; NULL: the store is being
 * freed. */
static Want *next_want(TemplateStore *store)
{
    Want *want;

    g_mutex_lock(&store->lock);
    while ((want = g_queue_peek_head(&store->wanted)) == NULL && !g_cancellable_is_cancelled(store->stop))
        g_cond_wait(&store->changed, &store->lock);
    if (g_cancellable_is_cancelled(store->stop))
        want = NULL;
    g_mutex_unlock(&store->lock);
    return want;
}

static gboolean is_ready(TemplateStore *store, const char *key)
{
    gboolean ready;

    g_mutex_lock(&store->lock);
    ready = g_hash_table_contains(store->ready, key);
    g_mutex_unlock(&store->lock);
    return ready;
}

static gpointer template_store_thread(gpointer data)
{
    TemplateStore *store = data;
    Want *want;

    load_all(store);
    while ((want = next_want(store)) != NULL) {
        if (!is_ready(store, want->key))
            template_store_make(store, want);
        g_mutex_lock(&store->lock);
        g_queue_pop_head(&store->wanted);
        g_cond_broadcast(&store->changed);
        g_mutex_unlock(&store->lock);
        want_free(want);
    }
    return NULL;
}

/* ---- the store ---- */

static char **inputs_of_vm(const GuestEnvironment *env, const DomainSpec *spec, GError **error)
{
    return template_inputs(env->vmm, spec, env->writable_disk_bytes, error);
}

TemplateStore *template_store_new(const GuestEnvironment *env)
{
    static const TemplateStoreWork work = {inputs_of_vm, template_make, g_get_monotonic_time};

    return template_store_new_with(env, &work);
}

TemplateStore *template_store_new_with(const GuestEnvironment *env, const TemplateStoreWork *work)
{
    TemplateStore *store = g_new0(TemplateStore, 1);

    store->env = env;
    store->work = *work;
    store->directory = g_build_filename(env->state_dir, "templates", NULL);
    store->stop = g_cancellable_new();
    store->ready = string_table_new(g_free, (GDestroyNotify)template_unref);
    store->retries = string_table_new(g_free, g_free);
    store->quarantined = string_table_new(g_free, g_free);
    g_queue_init(&store->wanted);
    g_mutex_init(&store->lock);
    g_cond_init(&store->changed);
    store->thread = g_thread_new("templates", template_store_thread, store);
    return store;
}

void template_store_free(TemplateStore *store)
{
    if (store == NULL)
        return;
    g_mutex_lock(&store->lock);
    g_cancellable_cancel(store->stop);
    g_cond_broadcast(&store->changed);
    g_mutex_unlock(&store->lock);
    g_thread_join(store->thread);
    g_queue_clear_full(&store->wanted, want_free);
    g_hash_table_unref(store->ready);
    g_hash_table_unref(store->retries);
    g_hash_table_unref(store->quarantined);
    g_object_unref(store->stop);
    g_mutex_clear(&store->lock);
    g_cond_clear(&store->changed);
    g_free(store->directory);
    g_free(store);
}

Template *template_store_find(TemplateStore *store, const DomainSpec *spec)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) inputs = store->work.inputs(store->env, spec, &error);
    g_autofree char *key = NULL;
    Template *template;

    if (inputs == NULL) {
        log_warning(LOG_NO_FIELDS, "templates cannot be used: %s", error->message);
        return NULL;
    }
    key = template_key((const char *const *)inputs);
    g_mutex_lock(&store->lock);
    template = g_hash_table_lookup(store->ready, key);
    if (template != NULL)
        template_ref(template);
    else
        want_add_locked(store, key, inputs, spec);
    g_mutex_unlock(&store->lock);
    if (template != NULL)
        mark_used(template->directory);
    return template;
}

void template_store_quarantine(TemplateStore *store, const Template *template, const char *reason)
{
    quarantine(store, template->key, template, reason);
}

static char **quarantined_texts_locked(TemplateStore *store)
{
    GPtrArray *texts = g_ptr_array_new();
    GHashTableIter iter;
    gpointer key;
    gpointer reason;

    g_hash_table_iter_init(&iter, store->quarantined);
    while (g_hash_table_iter_next(&iter, &key, &reason))
        g_ptr_array_add(texts, g_strdup_printf("%s: %s", (char *)key, (char *)reason));
    g_ptr_array_add(texts, NULL);
    return (char **)g_ptr_array_free(texts, FALSE);
}

static char **next_try_texts_locked(TemplateStore *store)
{
    GPtrArray *texts = g_ptr_array_new();
    gint64 now_us = store->work.now_us();
    GHashTableIter iter;
    gpointer key;
    gpointer retry;

    g_hash_table_iter_init(&iter, store->retries);
    while (g_hash_table_iter_next(&iter, &key, &retry)) {
        gint64 left_us = retry_left_us(retry, now_us);
        g_autofree char *when = time_text(left_us);

        if (left_us > 0)
            g_ptr_array_add(texts, g_strdup_printf("%s: %s", (char *)key, when));
    }
    g_ptr_array_add(texts, NULL);
    return (char **)g_ptr_array_free(texts, FALSE);
}

void template_store_count(TemplateStore *store, TemplateCounts *ret_counts)
{
    TemplateCounts counts = {0};
    GHashTableIter iter;
    gpointer value;

    g_mutex_lock(&store->lock);
    counts.ready = g_hash_table_size(store->ready);
    counts.wanted = store->wanted.length;
    g_hash_table_iter_init(&iter, store->ready);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        counts.data_bytes += ((Template *)value)->data_bytes;
    counts.quarantined = quarantined_texts_locked(store);
    counts.next_tries = next_try_texts_locked(store);
    g_mutex_unlock(&store->lock);
    *ret_counts = counts;
}

void template_counts_clear(TemplateCounts *counts)
{
    g_strfreev(counts->quarantined);
    g_strfreev(counts->next_tries);
    *counts = (TemplateCounts){0};
}

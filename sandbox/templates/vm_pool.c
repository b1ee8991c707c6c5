/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/templates/vm_pool.h"

#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/templates/guest_restore.h"
#include "sandbox/templates/template_store.h"
#include "sandbox/templates/unassigned_guest.h"

enum {
    MAKE_TIMEOUT_MS = 60 * 1000,
    REMOVE_TIMEOUT_MS = 20 * 1000,
    PATIENCE_MS = 3 * 1000,      /* for a moment in which no guest starts */
    TEMPLATE_INTERVAL_MS = 1000, /* between looks for the first template */
    FAILURE_INTERVAL_MS = 30 * 1000,
};

typedef struct {
    char *id;
    char *instance; /* of the template that the VM was created for */
} Member;

struct VmPool {
    GuestEnvironment *env;
    TemplateStore *templates;
    guint size;
    GCancellable *stop;
    GThread *thread;

    GMutex lock;
    GCond changed;
    GQueue members;
};

static void member_free(Member *member)
{
    g_free(member->id);
    g_free(member->instance);
    g_free(member);
}

static void vm_pool_remove_vm(VmPool *pool, const char *id)
{
    Deadline deadline = deadline_in_ms(REMOVE_TIMEOUT_MS);
    g_autoptr(GError) error = NULL;

    if (!unassigned_guest_remove(pool->env, id, &deadline, &error))
        log_error(LOG_FIELDS("guest", id), "cannot remove a VM of the pool: %s", error->message);
}

/* ---- creating VMs ---- */

/* Does in advance what the start of a pod would wait for. */
static gboolean member_restore(VmPool *pool, const char *id, const Template *template,
                               const Deadline *deadline, GError **error)
{
    return guest_restore(pool->env, id, template, deadline, error) &&
           guest_run_briefly(pool->env, id, guest_warm_up, deadline, error);
}

/* Creates one VM, when no guest is starting, or in its turn where guests start all the time. */
static Member *member_make(VmPool *pool, const DomainSpec *spec, const Template *template, GError **error)
{
    const Deadline stop = {.at_us = G_MAXINT64, .cancellable = pool->stop};
    const Deadline deadline = deadline_sooner(&stop, MAKE_TIMEOUT_MS);
    g_autofree char *disk = template_disk_path(template);
    g_autofree char *id = id_new();
    DomainSpec incoming = *spec;
    Member *member;
    gboolean made;

    incoming.incoming = TRUE;
    incoming.title = "crivirt: VM pool";
    if (!semaphore_acquire_idle(&pool->env->boots, PATIENCE_MS, &stop, "waiting for guests to start", error))
        return NULL;
    made = unassigned_guest_create(pool->env, id, disk, &incoming, &deadline, error) &&
           (!pool->env->vm_pool_prerestored || member_restore(pool, id, template, &deadline, error));
    semaphore_release(&pool->env->boots);
    if (!made) {
        vm_pool_remove_vm(pool, id);
        return NULL;
    }
    member = g_new0(Member, 1);
    member->id = g_steal_pointer(&id);
    member->instance = g_strdup(template->instance);
    return member;
}

/* Removes a VM whose template is gone or was created again from the list; instance NULL: any VM. */
static Member *vm_pool_steal_outdated_locked(VmPool *pool, const char *instance)
{
    for (GList *item = pool->members.head; item != NULL; item = item->next) {
        Member *member = item->data;

        if (g_strcmp0(member->instance, instance) == 0)
            continue;
        g_queue_delete_link(&pool->members, item);
        return member;
    }
    return NULL;
}

static void vm_pool_remove_outdated(VmPool *pool, const char *instance)
{
    Member *member;

    do {
        g_mutex_lock(&pool->lock);
        member = vm_pool_steal_outdated_locked(pool, instance);
        g_mutex_unlock(&pool->lock);
        if (member != NULL) {
            vm_pool_remove_vm(pool, member->id);
            member_free(member);
        }
    } while (member != NULL);
}

/* Return: the pause before the next attempt in milliseconds; 0: a VM was added. */
static guint vm_pool_add_one(VmPool *pool)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Template) template = NULL;
    DomainSpec spec;
    Member *member;

    if (!pool->env->describe_default_vm(pool->env->describe_default_vm_data, &spec, &error)) {
        log_warning(LOG_NO_FIELDS, "the VM pool stays empty: cannot describe its VM: %s", error->message);
        return FAILURE_INTERVAL_MS;
    }
    template = template_store_find(pool->templates, &spec);
    vm_pool_remove_outdated(pool, template != NULL ? template->instance : NULL);
    if (template == NULL)
        return TEMPLATE_INTERVAL_MS;
    member = member_make(pool, &spec, template, &error);
    if (member == NULL) {
        if (!g_cancellable_is_cancelled(pool->stop))
            log_warning(LOG_NO_FIELDS, "cannot create a VM for the pool: %s", error->message);
        return FAILURE_INTERVAL_MS;
    }
    g_mutex_lock(&pool->lock);
    g_queue_push_tail(&pool->members, member);
    g_mutex_unlock(&pool->lock);
    return 0;
}

/* Return: FALSE when the pool is being freed. */
static gboolean vm_pool_wait_for_room(VmPool *pool)
{
    gboolean go_on;

    g_mutex_lock(&pool->lock);
    while ((go_on = !g_cancellable_is_cancelled(pool->stop)) && pool->members.length >= pool->size)
        g_cond_wait(&pool->changed, &pool->lock);
    g_mutex_unlock(&pool->lock);
    return go_on;
}

static void vm_pool_pause(VmPool *pool, guint pause_ms)
{
    gint64 until_us = g_get_monotonic_time() + (gint64)pause_ms * 1000;

    g_mutex_lock(&pool->lock);
    while (!g_cancellable_is_cancelled(pool->stop) &&
           g_cond_wait_until(&pool->changed, &pool->lock, until_us))
        continue;
    g_mutex_unlock(&pool->lock);
}

static gpointer vm_pool_thread(gpointer data)
{
    VmPool *pool = data;

    while (vm_pool_wait_for_room(pool)) {
        guint pause_ms = vm_pool_add_one(pool);

        if (pause_ms != 0)
            vm_pool_pause(pool, pause_ms);
    }
    return NULL;
}

/* ---- the pool ---- */

VmPool *vm_pool_new(GuestEnvironment *env, TemplateStore *templates, guint size)
{
    VmPool *pool = g_new0(VmPool, 1);

    pool->env = env;
    pool->templates = templates;
    pool->size = size;
    pool->stop = g_cancellable_new();
    g_queue_init(&pool->members);
    g_mutex_init(&pool->lock);
    g_cond_init(&pool->changed);
    pool->thread = g_thread_new("vm-pool", vm_pool_thread, pool);
    return pool;
}

void vm_pool_free(VmPool *pool)
{
    Member *member;

    if (pool == NULL)
        return;
    g_mutex_lock(&pool->lock);
    g_cancellable_cancel(pool->stop);
    g_cond_broadcast(&pool->changed);
    g_mutex_unlock(&pool->lock);
    g_thread_join(pool->thread);
    while ((member = g_queue_pop_head(&pool->members)) != NULL) {
        vm_pool_remove_vm(pool, member->id);
        member_free(member);
    }
    g_object_unref(pool->stop);
    g_mutex_clear(&pool->lock);
    g_cond_clear(&pool->changed);
    g_free(pool);
}

char *vm_pool_take(VmPool *pool, const Template *template)
{
    char *id = NULL;

    if (pool == NULL)
        return NULL;
    g_mutex_lock(&pool->lock);
    for (GList *item = pool->members.head; item != NULL && id == NULL; item = item->next) {
        Member *member = item->data;

        if (!g_str_equal(member->instance, template->instance))
            continue;
        id = g_steal_pointer(&member->id);
        member_free(member);
        g_queue_delete_link(&pool->members, item);
        g_cond_broadcast(&pool->changed);
        break;
    }
    g_mutex_unlock(&pool->lock);
    return id;
}

void vm_pool_give_back(VmPool *pool, char *id, const Template *template)
{
    Member *member = g_new0(Member, 1);

    member->id = id;
    member->instance = g_strdup(template->instance);
    g_mutex_lock(&pool->lock);
    g_queue_push_head(&pool->members, member);
    g_mutex_unlock(&pool->lock);
}

guint vm_pool_count(VmPool *pool)
{
    guint count;

    if (pool == NULL)
        return 0;
    g_mutex_lock(&pool->lock);
    count = pool->members.length;
    g_mutex_unlock(&pool->lock);
    return count;
}

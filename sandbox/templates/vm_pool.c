

#include "sandbox/templates/vm_pool.h"

#include "common/error.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/pod/vm_pod.h"
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
    char *instance; /* of the template that it waits for */
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

static void machine_remove(VmPool *pool, const char *id)
{
    Deadline deadline = deadline_in_ms(REMOVE_TIMEOUT_MS);
    g_autoptr(GError) error = NULL;

    if (!unassigned_guest_remove(pool->env, id, &deadline, &error))
        log_error(LOG_FIELDS("guest", id), "cannot remove a waiting machine: %s", error->message);
}

/* ---- filling ---- */

/* What a pod would otherwise wait for. */
static gboolean member_restore(VmPool *pool, const char *id, const Template *template,
                               const Deadline *deadline, GError **error)
{
    return guest_restore(pool->env, id, template, deadline, error) &&
           guest_run_briefly(pool->env, id, guest_warm_up, deadline, error);
}

/* One machine. It is made when no guest is starting, or, where there always is one, in its turn. */
static Member *member_make(VmPool *pool, const DomainSpec *shape, const Template *template, GError **error)
{
    const Deadline stop = {.at_us = G_MAXINT64, .cancellable = pool->stop};
    const Deadline deadline = deadline_sooner(&stop, MAKE_TIMEOUT_MS);
    g_autofree char *disk = template_disk_path(template);
    g_autofree char *id = id_new();
    DomainSpec spec = *shape;
    Member *member;
    gboolean made;

    spec.incoming = TRUE;
    spec.title = "crivirt: waits for a pod";
    if (!semaphore_acquire_idle(&pool->env->boots, PATIENCE_MS, &stop, "waiting for guests that start",
                                error))
        return NULL;
    made = unassigned_guest_create(pool->env, id, disk, &spec, &deadline, error) &&
           (!pool->env->vm_pool_prerestored || member_restore(pool, id, template, &deadline, error));
    semaphore_release(&pool->env->boots);
    if (!made) {
        machine_remove(pool, id);
        return NULL;
    }
    member = g_new0(Member, 1);
    member->id = g_steal_pointer(&id);
    member->instance = g_strdup(template->instance);
    return member;
}

/* Locked. Those whose template is gone, or was made anew. instance NULL: any. */
static Member *take_other(VmPool *pool, const char *instance)
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

static void remove_others(VmPool *pool, const char *instance)
{
    Member *member;

    do {
        g_mutex_lock(&pool->lock);
        member = take_other(pool, instance);
        g_mutex_unlock(&pool->lock);
        if (member != NULL) {
            machine_remove(pool, member->id);
            member_free(member);
        }
    } while (member != NULL);
}

/* How long to wait before the next look; 0: for somebody to take one. */
static guint fill(VmPool *pool)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Template) template = NULL;
    DomainSpec shape;
    Member *member;

    if (!pool->env->describe_default_vm(pool->env->describe_default_vm_data, &shape, &error)) {
        log_warning(LOG_NO_FIELDS, "no machines wait for pods: %s", error->message);
        return FAILURE_INTERVAL_MS;
    }
    template = template_store_find(pool->templates, &shape);
    remove_others(pool, template != NULL ? template->instance : NULL);
    if (template == NULL)
        return TEMPLATE_INTERVAL_MS;
    member = member_make(pool, &shape, template, &error);
    if (member == NULL) {
        if (!g_cancellable_is_cancelled(pool->stop))
            log_warning(LOG_NO_FIELDS, "cannot make a machine that waits for a pod: %s", error->message);
        return FAILURE_INTERVAL_MS;
    }
    g_mutex_lock(&pool->lock);
    g_queue_push_tail(&pool->members, member);
    g_mutex_unlock(&pool->lock);
    return 0;
}

/* Until there is room; FALSE: the end. */
static gboolean wait_for_room(VmPool *pool)
{
    gboolean go_on;

    g_mutex_lock(&pool->lock);
    while ((go_on = !g_cancellable_is_cancelled(pool->stop)) && pool->members.length >= pool->size)
        g_cond_wait(&pool->changed, &pool->lock);
    g_mutex_unlock(&pool->lock);
    return go_on;
}

static void rest(VmPool *pool, guint pause_ms)
{
    gint64 until_us = g_get_monotonic_time() + (gint64)pause_ms * 1000;

    g_mutex_lock(&pool->lock);
    while (!g_cancellable_is_cancelled(pool->stop) &&
           g_cond_wait_until(&pool->changed, &pool->lock, until_us))
        continue;
    g_mutex_unlock(&pool->lock);
}

static gpointer run(gpointer data)
{
    VmPool *pool = data;

    while (wait_for_room(pool)) {
        guint pause_ms = fill(pool);

        if (pause_ms != 0)
            rest(pool, pause_ms);
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
    pool->thread = g_thread_new("guest-pool", run, pool);
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
        machine_remove(pool, member->id);
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

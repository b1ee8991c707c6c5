/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/templates/vm_pool.h"

#include "common/child.h"
#include "common/error.h"
#include "common/ids.h"
#include "common/lock_assert.h"
#include "common/log.h"
#include "common/node_memory.h"
#include "common/semaphore.h"
#include "sandbox/templates/guest_restore.h"
#include "sandbox/templates/pool_demand.h"
#include "sandbox/templates/template_store.h"
#include "sandbox/templates/unassigned_guest.h"
#include "sandbox/vmm/vmm_state.h"

enum {
    MAKE_TIMEOUT_MS = 60 * 1000,
    REMOVE_TIMEOUT_MS = 20 * 1000,
    PATIENCE_MS = 20 * 1000,     /* for a moment in which nobody works on a pod and no guest starts */
    QUIET_MS = 500,              /* without work on a pod: its containers follow it, and others of its kind */
    TEMPLATE_INTERVAL_MS = 1000, /* between looks for the first template */
    FAILURE_INTERVAL_MS = 30 * 1000,
    ENDED_INTERVAL_MS = 2 * 1000,   /* after a VM ended by itself, as all do on a node without memory */
    MEMORY_INTERVAL_MS = 10 * 1000, /* between looks at the node's memory, while it is kept for the demand */
    MEMORY_SHARE = 4,               /* of the node's memory one part in so many stays available */
    BEGIN_SHARE = 50,               /* one part in so many is for the VMs that the pool begins with */
    /* More than a VM of the pool was seen to take (docs/performance.md: a PSS of 19.8 and of 85 MiB). Without
     * KVM QEMU keeps the code that it has translated. */
    KVM_VM_BYTES = 20 << 20,
    EMULATED_VM_BYTES = 100 << 20,
};

typedef struct {
    VmPool *pool;
    char *id;
    char *instance;        /* of the template that the VM was created for */
    char *network_config;  /* of the network that was to be made in advance; NULL: none could be */
    GuestNetwork *network; /* NULL: its pod has to make it */
    gboolean ended;        /* its QEMU was killed or failed, or it is of no use; protected by pool->lock */
} Member;

/* The Vmm calls on_member_ended() with its own lock held: it is never called with the pool's lock held. */
struct VmPool {
    GuestEnvironment *env;
    TemplateStore *templates;
    GCancellable *stop;
    GThread *thread;

    GMutex lock;
    GCond changed;
    GQueue members; /* the newest is the last one */
    PoolDemand demand;
    gint64 look_us;         /* when the node's memory is looked at next, if VMs are kept for the demand */
    char *instance;         /* of the template that VMs are created for; NULL: of none yet */
    guint works;            /* that have begun and not ended */
    gint64 worked_at_us;    /* when one was last noted, on the monotonic clock */
    gboolean review_is_due; /* its members may not be what the configuration describes */
};

/* A VM that ends while no pod has it makes the pool create another one. Runs on the Vmm's event thread. */
static void on_member_ended(const char *text, gpointer data)
{
    Member *member = data;

    child_count_death(CHILD_POOL_QEMU);
    log_warning(LOG_FIELDS("guest", member->id), "a VM of the pool has ended and is replaced: %s", text);
    g_mutex_lock(&member->pool->lock);
    member->ended = TRUE;
    g_cond_broadcast(&member->pool->changed);
    g_mutex_unlock(&member->pool->lock);
}

/* Takes the id. */
static Member *member_new(VmPool *pool, char *id, const Template *template)
{
    Member *member = g_new0(Member, 1);

    member->pool = pool;
    member->id = id;
    member->instance = g_strdup(template->instance);
    vmm_watch_end(pool->env->vmm, id, on_member_ended, member);
    return member;
}

/* Called after the member has left the list. */
static void member_free(Member *member)
{
    vmm_unwatch_end(member->pool->env->vmm, member->id, member);
    guest_network_free(member->network);
    g_free(member->network_config);
    g_free(member->id);
    g_free(member->instance);
    g_free(member);
}

/* The VM stays. Return: its id, the caller's. */
static char *member_free_steal_id(Member *member)
{
    char *id = g_strdup(member->id);

    member_free(member);
    return id;
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
           guest_run_briefly(pool->env, id, guest_warm_up, NULL, deadline, error) &&
           vmm_state_release_zeros(pool->env->vmm, id, deadline, error);
}

/* Without a network the VM is in the pool all the same, and its pod makes one. */
static void member_connect(Member *member, const Deadline *deadline)
{
    GuestEnvironment *env = member->pool->env;
    g_autoptr(CniNetwork) plan = guest_network_plan(env);
    g_autoptr(GError) error = NULL;

    if (plan == NULL)
        return;
    member->network_config = cni_network_text(plan);
    member->network = guest_network_make(env, member->id, plan, deadline, &error);
    if (member->network == NULL && !g_cancellable_is_cancelled(member->pool->stop))
        log_warning(LOG_FIELDS("guest", member->id), "a VM of the pool has no network in advance: %s",
                    error->message);
}

/* Return: when the pool may go on if nothing else happens. */
static gint64 vm_pool_quiet_us_locked(VmPool *pool, gint64 until_us)
{
    LOCK_ASSERT_HELD(&pool->lock);
    return pool->works > 0 ? until_us
                           : MIN(until_us, pool->worked_at_us + QUIET_MS * G_TIME_SPAN_MILLISECOND);
}

/* Return: what is left of the patience. */
static gint64 vm_pool_wait_for_quiet(VmPool *pool)
{
    const gint64 until_us = g_get_monotonic_time() + PATIENCE_MS * G_TIME_SPAN_MILLISECOND;
    gint64 quiet_us;

    g_mutex_lock(&pool->lock);
    while ((quiet_us = vm_pool_quiet_us_locked(pool, until_us)) > g_get_monotonic_time() &&
           !g_cancellable_is_cancelled(pool->stop))
        g_cond_wait_until(&pool->changed, &pool->lock, quiet_us);
    g_mutex_unlock(&pool->lock);
    return MAX(until_us - g_get_monotonic_time(), 0) / G_TIME_SPAN_MILLISECOND;
}

/* Creates one VM, when nobody works on a pod and no guest is starting, or in its turn where that goes on and
 * on. */
static Member *member_make(VmPool *pool, const DomainSpec *spec, const Template *template, GError **error)
{
    const Deadline stop = {.at_us = G_MAXINT64, .cancellable = pool->stop};
    g_autofree char *disk = template_disk_path(template);
    g_autofree char *id = id_new();
    DomainSpec incoming = *spec;
    Member *member = NULL;
    Deadline deadline;
    gboolean made;

    incoming.incoming = TRUE;
    incoming.title = "crivirt: VM pool";
    if (!semaphore_acquire_idle(&pool->env->boots, vm_pool_wait_for_quiet(pool), &stop,
                                "waiting for guests to start", error))
        return NULL;
    deadline = deadline_sooner(&stop, MAKE_TIMEOUT_MS);
    made = unassigned_guest_create(pool->env, id, disk, &incoming, &deadline, error) &&
           (!pool->env->vm_pool_prerestored || member_restore(pool, id, template, &deadline, error));
    if (made) {
        member = member_new(pool, g_steal_pointer(&id), template);
        member_connect(member, &deadline);
    }
    semaphore_release(&pool->env->boots);
    if (!made)
        vm_pool_remove_vm(pool, id);
    return member;
}

static gboolean vm_pool_has_ended_locked(VmPool *pool)
{
    LOCK_ASSERT_HELD(&pool->lock);
    for (GList *item = pool->members.head; item != NULL; item = item->next)
        if (((const Member *)item->data)->ended)
            return TRUE;
    return FALSE;
}

/* Return: the text of the network that VMs of the pool should have; NULL: none. */
static char *vm_pool_network_config(const VmPool *pool)
{
    g_autoptr(CniNetwork) plan = guest_network_plan(pool->env);

    return plan != NULL ? cni_network_text(plan) : NULL;
}

/* Pods need memory more than the demand of later ones does. */
static gboolean node_is_short_of_memory(void)
{
    g_autoptr(GError) error = NULL;
    NodeMemory memory;

    if (!node_memory_read(NULL, &memory, &error)) {
        log_warning(LOG_NO_FIELDS, "the VM pool does not grow: %s", error->message);
        return TRUE;
    }
    return memory.available_bytes < memory.total_bytes / MEMORY_SHARE;
}

/* Return: how many VMs the pool should have. */
static guint vm_pool_wanted_locked(VmPool *pool)
{
    LOCK_ASSERT_HELD(&pool->lock);
    return pool_demand_wanted(&pool->demand, g_get_monotonic_time());
}

/* On the pool's thread: before a VM is created, and from time to time. */
static void vm_pool_look_at_memory_locked(VmPool *pool)
{
    const guint wanted = vm_pool_wanted_locked(pool);

    pool->look_us = g_get_monotonic_time() + MEMORY_INTERVAL_MS * G_TIME_SPAN_MILLISECOND;
    if (wanted == pool->demand.least || !node_is_short_of_memory())
        return;
    log_info(LOG_NO_FIELDS, "the VM pool shrinks from %u to %u: the node is short of memory", wanted,
             pool->demand.least);
    pool_demand_forget(&pool->demand);
}

/* Removes a VM from the list that has ended, whose template is gone or was created again (instance NULL: any
 * VM), which was made while another network was configured, or of which there are more than wanted. */
static Member *vm_pool_steal_outdated_locked(VmPool *pool, const char *instance, const char *network_config)
{
    LOCK_ASSERT_HELD(&pool->lock);
    for (GList *item = pool->members.head; item != NULL; item = item->next) {
        Member *member = item->data;

        if (!member->ended && g_strcmp0(member->instance, instance) == 0 &&
            g_strcmp0(member->network_config, network_config) == 0)
            continue;
        g_queue_delete_link(&pool->members, item);
        return member;
    }
    return pool->members.length > vm_pool_wanted_locked(pool) ? g_queue_pop_head(&pool->members) : NULL;
}

/* Return: whether one of them had ended by itself. */
static gboolean vm_pool_remove_outdated(VmPool *pool, const char *instance)
{
    g_autofree char *network_config = vm_pool_network_config(pool);
    gboolean any_ended = FALSE;
    Member *member;

    do {
        g_mutex_lock(&pool->lock);
        member = vm_pool_steal_outdated_locked(pool, instance, network_config);
        any_ended = any_ended || (member != NULL && member->ended);
        g_mutex_unlock(&pool->lock);
        if (member != NULL) {
            g_autofree char *id = member_free_steal_id(member);

            vm_pool_remove_vm(pool, id);
        }
    } while (member != NULL);
    return any_ended;
}

static gboolean vm_pool_is_full(VmPool *pool)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&pool->lock);

    vm_pool_look_at_memory_locked(pool);
    return pool->members.length >= vm_pool_wanted_locked(pool);
}

static void vm_pool_set_template(VmPool *pool, const Template *template)
{
    g_mutex_lock(&pool->lock);
    g_free(pool->instance);
    pool->instance = template != NULL ? g_strdup(template->instance) : NULL;
    g_mutex_unlock(&pool->lock);
}

/* Return: the pause before the next attempt in milliseconds; 0: a VM was added, or none is missing. */
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
    vm_pool_set_template(pool, template);
    if (vm_pool_remove_outdated(pool, template != NULL ? template->instance : NULL))
        return ENDED_INTERVAL_MS;
    if (template == NULL)
        return TEMPLATE_INTERVAL_MS;
    if (vm_pool_is_full(pool))
        return 0;
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

/* Waits for a change; a pool that has grown also looks at its demand and at the node's memory. */
static void vm_pool_wait_locked(VmPool *pool)
{
    LOCK_ASSERT_HELD(&pool->lock);
    if (pool->demand.wanted == pool->demand.least) {
        g_cond_wait(&pool->changed, &pool->lock);
        return;
    }
    g_cond_wait_until(&pool->changed, &pool->lock,
                      MIN(pool->look_us, pool_demand_shrinks_at_us(&pool->demand)));
    if (g_get_monotonic_time() >= pool->look_us)
        vm_pool_look_at_memory_locked(pool);
}

/* Waits until there are fewer VMs than wanted, or more, or one may have to be replaced. Return: FALSE when
 * the pool is being freed. */
static gboolean vm_pool_wait_for_task(VmPool *pool)
{
    gboolean go_on;

    g_mutex_lock(&pool->lock);
    while ((go_on = !g_cancellable_is_cancelled(pool->stop)) &&
           pool->members.length == vm_pool_wanted_locked(pool) && !vm_pool_has_ended_locked(pool) &&
           !pool->review_is_due)
        vm_pool_wait_locked(pool);
    pool->review_is_due = FALSE;
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

    while (vm_pool_wait_for_task(pool)) {
        guint pause_ms = vm_pool_add_one(pool);

        if (pause_ms != 0)
            vm_pool_pause(pool, pause_ms);
    }
    return NULL;
}

/* ---- the pool ---- */

/* Return: how many VMs there are to be before anybody has started a pod. */
static guint vm_pool_begins_with(const GuestEnvironment *env, guint most)
{
    const guint64 each_bytes = vmm_uses_kvm(env->vmm, NULL) ? KVM_VM_BYTES : EMULATED_VM_BYTES;
    g_autoptr(GError) error = NULL;
    NodeMemory memory;

    if (!node_memory_read(NULL, &memory, &error)) {
        log_warning(LOG_NO_FIELDS, "the VM pool begins small: %s", error->message);
        return 0;
    }
    return (guint)MIN(memory.total_bytes / BEGIN_SHARE / each_bytes, most);
}

VmPool *vm_pool_new(GuestEnvironment *env, TemplateStore *templates, guint least, guint most)
{
    VmPool *pool = g_new0(VmPool, 1);

    pool->env = env;
    pool->templates = templates;
    pool_demand_init(&pool->demand, least, MAX(least, most));
    pool_demand_expect(&pool->demand, vm_pool_begins_with(env, most), g_get_monotonic_time());
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
    for (;;) {
        g_autofree char *id = NULL;

        g_mutex_lock(&pool->lock);
        member = g_queue_pop_head(&pool->members);
        g_mutex_unlock(&pool->lock);
        if (member == NULL)
            break;
        id = member_free_steal_id(member);
        vm_pool_remove_vm(pool, id);
    }
    g_object_unref(pool->stop);
    g_mutex_clear(&pool->lock);
    g_cond_clear(&pool->changed);
    g_free(pool->instance);
    g_free(pool);
}

/* change: of the number of works. */
static void vm_pool_note(VmPool *pool, int change)
{
    if (pool == NULL)
        return;
    g_mutex_lock(&pool->lock);
    pool->works = (guint)((int)pool->works + change);
    pool->worked_at_us = g_get_monotonic_time();
    g_cond_broadcast(&pool->changed);
    g_mutex_unlock(&pool->lock);
}

void vm_pool_note_work(VmPool *pool)
{
    vm_pool_note(pool, 0);
}

void vm_pool_begin_work(VmPool *pool)
{
    vm_pool_note(pool, 1);
}

void vm_pool_end_work(VmPool *pool)
{
    vm_pool_note(pool, -1);
}

/* Removes a living VM of the template from the list: one in that network if there is one, else one without a
 * network; the newest of them, because what it used last is in the processor's caches. */
static Member *vm_pool_steal_alive_locked(VmPool *pool, const Template *template, const char *network_config)
{
    Member *found = NULL;

    LOCK_ASSERT_HELD(&pool->lock);
    for (GList *item = pool->members.tail; item != NULL; item = item->prev) {
        Member *member = item->data;

        if (member->ended || !g_str_equal(member->instance, template->instance))
            continue;
        if (member->network != NULL && g_strcmp0(member->network_config, network_config) == 0) {
            found = member;
            break;
        }
        if (member->network == NULL && found == NULL)
            found = member;
    }
    g_queue_remove(&pool->members, found);
    return found;
}

/* The network of a VM in the pool can be destroyed as that of a pod can. The pool's thread removes the VM. */
static gboolean member_check_network(VmPool *pool, Member *member)
{
    if (member->network == NULL || guest_network_is_intact(pool->env, member->id, member->network))
        return TRUE;
    log_warning(LOG_FIELDS("guest", member->id),
                "the interface of a VM of the pool is not attached to the node any more; it is replaced");
    g_mutex_lock(&pool->lock);
    member->ended = TRUE;
    g_queue_push_tail(&pool->members, member);
    g_cond_broadcast(&pool->changed);
    g_mutex_unlock(&pool->lock);
    return FALSE;
}

/* Pods of other sizes and handlers cannot use the pool's VMs, so that they are no demand for more of them. */
static void vm_pool_note_start(VmPool *pool, const Template *template)
{
    g_mutex_lock(&pool->lock);
    if (g_strcmp0(pool->instance, template->instance) == 0)
        pool_demand_note_start(&pool->demand, g_get_monotonic_time());
    g_mutex_unlock(&pool->lock);
}

gboolean vm_pool_take(VmPool *pool, const Template *template, const char *network_config,
                      PooledGuest *ret_guest)
{
    Member *member;

    if (pool == NULL)
        return FALSE;
    vm_pool_note_start(pool, template);
    do {
        g_mutex_lock(&pool->lock);
        member = vm_pool_steal_alive_locked(pool, template, network_config);
        /* Those that do not fit may never fit again. */
        pool->review_is_due = pool->review_is_due || member == NULL;
        pool->worked_at_us = g_get_monotonic_time(); /* before the pool's thread sees that one is missing */
        g_cond_broadcast(&pool->changed);
        g_mutex_unlock(&pool->lock);
        if (member == NULL)
            return FALSE;
    } while (!member_check_network(pool, member));
    ret_guest->network = g_steal_pointer(&member->network);
    ret_guest->id = member_free_steal_id(member);
    return TRUE;
}

void vm_pool_give_back(VmPool *pool, const PooledGuest *guest, const Template *template)
{
    Member *member = member_new(pool, guest->id, template);

    member->network = guest->network;
    member->network_config = guest->network != NULL ? g_strdup(guest->network->config) : NULL;
    g_mutex_lock(&pool->lock);
    g_queue_push_tail(&pool->members, member);
    g_cond_broadcast(&pool->changed);
    g_mutex_unlock(&pool->lock);
}

guint vm_pool_count(VmPool *pool)
{
    guint count = 0;

    if (pool == NULL)
        return 0;
    g_mutex_lock(&pool->lock);
    for (GList *item = pool->members.head; item != NULL; item = item->next)
        count += !((const Member *)item->data)->ended;
    g_mutex_unlock(&pool->lock);
    return count;
}

guint vm_pool_size(VmPool *pool)
{
    guint wanted;

    if (pool == NULL)
        return 0;
    g_mutex_lock(&pool->lock);
    wanted = vm_pool_wanted_locked(pool);
    g_mutex_unlock(&pool->lock);
    return wanted;
}

void vm_pool_forget_demand(VmPool *pool)
{
    if (pool == NULL)
        return;
    g_mutex_lock(&pool->lock);
    pool_demand_forget(&pool->demand);
    g_cond_broadcast(&pool->changed);
    g_mutex_unlock(&pool->lock);
}

void vm_pool_review(VmPool *pool)
{
    g_mutex_lock(&pool->lock);
    pool->review_is_due = TRUE;
    g_cond_broadcast(&pool->changed);
    g_mutex_unlock(&pool->lock);
}

void vm_pool_check_networks(VmPool *pool)
{
    g_autofree char *network_config = vm_pool_network_config(pool);

    g_mutex_lock(&pool->lock);
    for (GList *item = pool->members.head; item != NULL; item = item->next)
        if (g_strcmp0(((const Member *)item->data)->network_config, network_config) != 0)
            pool->review_is_due = TRUE;
    g_cond_broadcast(&pool->changed);
    g_mutex_unlock(&pool->lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/pod_rest.h"

#include "common/error.h"
#include "common/lock_assert.h"
#include "sandbox/pods/container.h"

gboolean pod_is_hibernated(Pod *pod)
{
    gboolean hibernated;

    g_mutex_lock(&pod->lock);
    hibernated = pod->hibernated;
    g_mutex_unlock(&pod->lock);
    return hibernated;
}

/* ---- awake ---- */

/* One worker wakes the pod for all who wait, because its work must not end with the deadline of one. */
static void wake_begin_locked(Pod *pod, const char *cause)
{
    LOCK_ASSERT_HELD(&pod->lock);
    pod->rest_changes = TRUE;
    pod->wake_cause = cause;
    g_thread_pool_push(pod->manager->wake_workers, pod_ref(pod), NULL);
}

gboolean pod_rest_wait_awake_locked(Pod *pod, const Deadline *deadline, GError **error)
{
    const guint failures = pod->wake_failures;
    gboolean good = TRUE;

    LOCK_ASSERT_HELD(&pod->lock);
    while (good && pod->state == POD_READY && (pod->rest_changes || pod->hibernated)) {
        if (!pod->rest_changes && pod->wake_failures != failures) {
            g_propagate_error(error, g_error_copy(pod->wake_problem));
            return FALSE;
        }
        if (!pod->rest_changes)
            wake_begin_locked(pod, POD_WAKE_BY_CALL);
        good = deadline_cond_wait(deadline, &pod->changed, &pod->lock,
                                  "waiting for the hibernated sandbox to wake", error);
    }
    return good;
}

gboolean pod_rest_wake(Pod *pod)
{
    gboolean begun;

    g_mutex_lock(&pod->lock);
    begun = pod->state == POD_READY && pod->hibernated && !pod->rest_changes &&
            !g_cancellable_is_cancelled(pod->manager->closing);
    if (begun)
        wake_begin_locked(pod, POD_WAKE_BY_TRAFFIC);
    g_mutex_unlock(&pod->lock);
    return begun;
}

gboolean pod_rest_changes(Pod *pod)
{
    gboolean changes;

    g_mutex_lock(&pod->lock);
    changes = pod->rest_changes;
    g_mutex_unlock(&pod->lock);
    return changes;
}

/* ---- at rest ---- */

static guint n_turns_locked(const Pod *pod)
{
    guint n = 0;

    for (guint i = 0; i < POD_N_TURNS; i++)
        n += pod->turns[i];
    return n;
}

static guint n_sessions_locked(const Pod *pod)
{
    guint n = g_hash_table_size(pod->sessions);
    GHashTableIter iter;
    gpointer container;

    g_hash_table_iter_init(&iter, pod->containers);
    while (g_hash_table_iter_next(&iter, NULL, &container))
        n += ((Container *)container)->attached->len;
    return n;
}

/* with_sessions: those that have been ended count until their clients have noticed. */
static guint n_uses_locked(const Pod *pod, gboolean with_sessions)
{
    return n_turns_locked(pod) + (with_sessions ? n_sessions_locked(pod) : 0);
}

/* Waits for a moment without turns, and without another change. */
static gboolean wait_unused_locked(Pod *pod, gboolean force, const Deadline *deadline, GError **error)
{
    gboolean in_time = TRUE;

    LOCK_ASSERT_HELD(&pod->lock);
    while (in_time && pod->state == POD_READY && (pod->rest_changes || n_uses_locked(pod, force) > 0))
        in_time = deadline_cond_wait(deadline, &pod->changed, &pod->lock,
                                     "waiting for calls that use the guest", NULL);
    return in_time || fail(error, STATUS_UNAVAILABLE, "%u calls that use the guest are under way",
                           n_uses_locked(pod, force));
}

static gboolean may_rest_locked(Pod *pod, GError **error)
{
    const guint n_sessions = n_sessions_locked(pod);

    if (pod->state != POD_READY)
        return fail(error, STATUS_FAILED_PRECONDITION, "the sandbox is not ready");
    return n_sessions == 0 ||
           fail(error, STATUS_FAILED_PRECONDITION,
                "%u sessions of exec, attach or port-forward are open, which hibernation would end",
                n_sessions);
}

gboolean pod_rest_change_begin(Pod *pod, gboolean force, const Deadline *deadline,
                               gboolean *ret_is_hibernated, GError **error)
{
    gboolean good;

    g_mutex_lock(&pod->lock);
    good = wait_unused_locked(pod, force, deadline, error);
    *ret_is_hibernated = good && pod->state == POD_READY && pod->hibernated;
    if (good && !*ret_is_hibernated) {
        good = may_rest_locked(pod, error);
        pod->rest_changes = good;
    }
    g_mutex_unlock(&pod->lock);
    return good;
}

void pod_rest_change_end(Pod *pod, GError *problem)
{
    g_mutex_lock(&pod->lock);
    pod->rest_changes = FALSE;
    if (problem != NULL) {
        g_clear_error(&pod->wake_problem);
        pod->wake_problem = problem;
        pod->wake_failures++;
    }
    g_cond_broadcast(&pod->changed);
    g_mutex_unlock(&pod->lock);
}

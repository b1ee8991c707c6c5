/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/pod_turn.h"

#include "common/error.h"
#include "sandbox/pods/pod_rest.h"
#include "sandbox/templates/vm_pool.h"

struct PodTurn {
    Pod *pod;
    PodTurnKind kind;
};

static guint share_of_a_pod(const Settings *settings, PodTurnKind kind)
{
    guint64 workers = kind == POD_TURN_EXEC ? settings->server.exec_workers : settings->server.pod_workers;

    if (kind == POD_TURN_USE)
        return G_MAXUINT;
    return (guint)((workers + 1) / 2);
}

static gboolean count_turn_locked(Pod *pod, PodTurnKind kind, GError **error)
{
    static const char *const works[POD_N_TURNS] = {"changes of its containers", "commands in its containers",
                                                   "uses"};
    guint share = share_of_a_pod(pod->manager->settings, kind);

    if (pod->turns[kind] >= share)
        return fail(
            error, STATUS_RESOURCE_EXHAUSTED,
            "sandbox %s has %u %s under way, half of what the node has workers for: try again when one of "
            "them has ended",
            pod->id, share, works[kind]);
    pod->turns[kind]++;
    return TRUE;
}

static void uncount_turn_locked(Pod *pod, PodTurnKind kind)
{
    pod->turns[kind]--;
    g_cond_broadcast(&pod->changed);
}

/* Commands are not work in this sense: probes go on all the time. */
static void note_work(Pod *pod, PodTurnKind kind)
{
    if (kind == POD_TURN_CHANGE)
        vm_pool_note_work(pod->manager->pool);
}

static PodTurn *turn_new(Pod *pod, PodTurnKind kind)
{
    PodTurn *turn = g_new(PodTurn, 1);

    note_work(pod, kind);
    *turn = (PodTurn){pod_ref(pod), kind};
    return turn;
}

PodTurn *pod_turn_take_asleep(Pod *pod, PodTurnKind kind, GError **error)
{
    gboolean taken;

    g_mutex_lock(&pod->lock);
    taken = count_turn_locked(pod, kind, error);
    g_mutex_unlock(&pod->lock);
    return taken ? turn_new(pod, kind) : NULL;
}

PodTurn *pod_turn_take(Pod *pod, PodTurnKind kind, const Deadline *deadline, GError **error)
{
    gboolean counted;
    gboolean taken;

    /* Those who wait count as well: they have a worker each. */
    g_mutex_lock(&pod->lock);
    counted = count_turn_locked(pod, kind, error);
    taken = counted && pod_rest_wait_awake_locked(pod, deadline, error);
    if (counted && !taken)
        uncount_turn_locked(pod, kind);
    g_mutex_unlock(&pod->lock);
    return taken ? turn_new(pod, kind) : NULL;
}

void pod_turn_free(PodTurn *turn)
{
    if (turn == NULL)
        return;
    g_mutex_lock(&turn->pod->lock);
    uncount_turn_locked(turn->pod, turn->kind);
    g_mutex_unlock(&turn->pod->lock);
    note_work(turn->pod, turn->kind);
    pod_unref(turn->pod);
    g_free(turn);
}

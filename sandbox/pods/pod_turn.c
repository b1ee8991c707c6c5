/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/pod_turn.h"

#include "common/error.h"

struct PodTurn {
    Pod *pod;
    PodTurnKind kind;
};

static guint share_of_a_pod(const Settings *settings, PodTurnKind kind)
{
    guint64 workers = kind == POD_TURN_EXEC ? settings->server.exec_workers : settings->server.pod_workers;

    return (guint)((workers + 1) / 2);
}

PodTurn *pod_turn_take(Pod *pod, PodTurnKind kind, GError **error)
{
    static const char *const works[POD_N_TURNS] = {"changes of its containers", "commands in its containers"};
    guint share = share_of_a_pod(pod->manager->settings, kind);
    PodTurn *turn;
    gboolean taken;

    g_mutex_lock(&pod->lock);
    taken = pod->turns[kind] < share;
    if (taken)
        pod->turns[kind]++;
    g_mutex_unlock(&pod->lock);
    if (!taken) {
        fail(error, STATUS_RESOURCE_EXHAUSTED,
             "sandbox %s has %u %s under way, half of what the node has workers for: try again when one of "
             "them "
             "has ended",
             pod->id, share, works[kind]);
        return NULL;
    }
    turn = g_new(PodTurn, 1);
    *turn = (PodTurn){pod_ref(pod), kind};
    return turn;
}

void pod_turn_free(PodTurn *turn)
{
    if (turn == NULL)
        return;
    g_mutex_lock(&turn->pod->lock);
    turn->pod->turns[turn->kind]--;
    g_mutex_unlock(&turn->pod->lock);
    pod_unref(turn->pod);
    g_free(turn);
}

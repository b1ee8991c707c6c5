/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that wait for a guest's agent. */
#include "common/error.h"
#include "sandbox/agent/agent_connection_private.h"

enum { GIVEN_UP_MAX = 256 }; /* starts that a guest does not answer, each with the name of its container */

void agent_calls_fail_locked(AgentConnection *agent)
{
    GHashTableIter iter;
    gpointer value;

    LOCK_ASSERT_HELD(&agent->lock);
    g_hash_table_iter_init(&iter, agent->pending);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        ((PendingCall *)value)->done = TRUE;
    g_hash_table_remove_all(agent->pending);
    g_cond_broadcast(&agent->changed);
}

gboolean agent_fail_gone_locked(AgentConnection *agent, GError **error)
{
    LOCK_ASSERT_HELD(&agent->lock);
    return fail(error, STATUS_UNAVAILABLE, "%s",
                agent->abandoned != NULL ? agent->abandoned
                : agent->blocked != NULL ? agent->blocked
                : agent->silent != NULL  ? agent->silent
                                         : "the connection to the guest's agent was closed");
}

void agent_connection_abandon(AgentConnection *agent, const char *reason)
{
    g_mutex_lock(&agent->lock);
    if (agent->abandoned == NULL)
        agent->abandoned = g_strdup(reason);
    agent_calls_fail_locked(agent);
    g_mutex_unlock(&agent->lock);
}

void agent_connection_block(AgentConnection *agent, const char *reason)
{
    g_mutex_lock(&agent->lock);
    g_free(agent->blocked);
    agent->blocked = g_strdup(reason);
    if (reason != NULL)
        agent_calls_fail_locked(agent);
    else
        agent->clock.due_us = 0; /* the guest has stood still, and its clock perhaps with it */
    g_mutex_unlock(&agent->lock);
}

/* Return: whether calls fail at once. */
static gboolean is_gone_locked(const AgentConnection *agent)
{
    return agent->closed || agent->abandoned != NULL || agent->blocked != NULL || agent->silent != NULL;
}

gboolean agent_connection_check_protocol(AgentConnection *agent, guint32 version, const char *what,
                                         GError **error)
{
    guint32 spoken;
    gboolean ready;

    g_mutex_lock(&agent->lock);
    ready = agent->ready;
    spoken = agent->protocol;
    g_mutex_unlock(&agent->lock);
    if (!ready || spoken >= version) /* the call itself fails when the agent is not connected */
        return TRUE;
    return fail(error, STATUS_FAILED_PRECONDITION,
                "%s needs version %u of the agent's protocol; this pod was started by an older crivirt, and "
                "its agent "
                "has version %u: recreate the pod",
                what, version, spoken);
}

gboolean agent_connection_wait_ready(AgentConnection *agent, const Deadline *deadline, GError **error)
{
    gboolean ready = TRUE;

    g_mutex_lock(&agent->lock);
    while (ready && !agent->ready) {
        if (is_gone_locked(agent))
            ready = agent_fail_gone_locked(agent, error);
        else
            ready = deadline_cond_wait(deadline, &agent->changed, &agent->lock,
                                       "waiting for the guest's agent", error);
    }
    g_mutex_unlock(&agent->lock);
    return ready;
}

/* The guest may start the container later nevertheless, which the container's state has to show. The caller
 * has removed the call. */
static void give_up_locked(AgentConnection *agent, const Request *request)
{
    const gint64 id = (gint64)request->id;

    LOCK_ASSERT_HELD(&agent->lock);
    /* After a disconnection the Hello says which containers run. */
    if (request->op_case == CRIVIRT__AGENT__V1__REQUEST__OP_START_CONTAINER && agent->ready &&
        g_hash_table_size(agent->given_up) < GIVEN_UP_MAX)
        g_hash_table_insert(agent->given_up, g_memdup2(&id, sizeof id),
                            g_strdup(request->start_container->id));
}

static gboolean check_response(Response *response, int op_case, GError **error)
{
    const Crivirt__Agent__V1__Failure *failure = response->failure;
    g_autofree char *message = NULL;

    if (failure == NULL && (int)response->result_case == op_case)
        return TRUE;
    if (failure == NULL)
        return fail(error, STATUS_INTERNAL, "the guest's agent sent the response of another operation");
    message = g_utf8_make_valid(failure->message, -1);
    return fail(error,
                failure->status > 0 && failure->status <= STATUS_UNAUTHENTICATED ? (StatusCode)failure->status
                                                                                 : STATUS_INTERNAL,
                "%s", message);
}

gboolean agent_connection_call(AgentConnection *agent, Request *request, const Deadline *deadline,
                               Response **ret_response, GError **error)
{
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;
    PendingCall call = {NULL, NULL, FALSE};
    gint64 id;
    gboolean good;

    if (!agent_connection_wait_ready(agent, deadline, error))
        return FALSE;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST;
    message.request = request;
    g_mutex_lock(&agent->lock);
    if (!agent->ready || is_gone_locked(agent)) {
        agent_fail_gone_locked(agent, error);
        g_mutex_unlock(&agent->lock);
        return FALSE;
    }
    id = (gint64)agent->next_id++;
    request->id = (guint64)id;
    g_hash_table_insert(agent->pending, &id, &call);
    good = agent_message_send_locked(agent, &message, error);
    while (good && !call.done)
        good = deadline_cond_wait(deadline, &agent->changed, &agent->lock, "waiting for the guest's agent",
                                  error);
    g_hash_table_remove(agent->pending, &id);
    if (call.response == NULL && call.refusal == NULL)
        give_up_locked(agent, request);
    if (good && call.response == NULL && call.refusal == NULL)
        good = agent_fail_gone_locked(agent, error);
    g_mutex_unlock(&agent->lock);
    if (good && call.refusal != NULL) {
        g_propagate_prefixed_error(error, g_steal_pointer(&call.refusal),
                                   "the guest's agent sent an answer that is refused: ");
        good = FALSE;
    }
    g_clear_error(&call.refusal);
    /* An operation has the same number in the oneof of requests and in that of responses (ops.def). */
    if (good)
        good = check_response(call.response, (int)request->op_case, error);
    if (good)
        *ret_response = call.response;
    else if (call.response != NULL)
        crivirt__agent__v1__response__free_unpacked(call.response, NULL);
    return good;
}

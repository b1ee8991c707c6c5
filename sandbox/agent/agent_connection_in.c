/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest's agent sends to the daemon. The guest is hostile: frames and the memory that they unpack to
 * are bounded, and an error in the framing ends the connection. All functions run on the loop's thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/metrics.h"
#include "common/source.h"
#include "sandbox/agent/agent_connection_private.h"

/* Of one message; an honest one needs little more than its frame. */
enum { MAX_UNPACKED_BYTES = 4 << 20 };

static Metric reconnects =
    METRIC_COUNTER("crivirt_agent_reconnects_total", "Connections to agents after their first.", NULL);

static void note_life_locked(AgentConnection *agent)
{
    LOCK_ASSERT_HELD(&agent->lock);
    heartbeat_heard(&agent->heart, g_get_monotonic_time());
    g_clear_pointer(&agent->silent, g_free);
}

static void deliver_response(AgentConnection *agent, FromGuest *message)
{
    Response *response = message->response;
    PendingCall *call;
    gint64 id = (gint64)response->id;

    if (id == 0) { /* the Hello */
        if (response->result_case != CRIVIRT__AGENT__V1__RESPONSE__RESULT_HELLO)
            return;
        agent->events.ready(response->hello, agent->data);
        g_mutex_lock(&agent->lock);
        if (!agent->fresh)
            metric_add(&reconnects, 1, NULL, NULL);
        agent->ready = TRUE;
        agent->protocol = response->hello->protocol_version;
        agent->fresh = FALSE;
        note_life_locked(agent);
        g_cond_broadcast(&agent->changed);
        g_mutex_unlock(&agent->lock);
        return;
    }
    g_mutex_lock(&agent->lock);
    call = g_hash_table_lookup(agent->pending, &id);
    if (call != NULL) {
        call->response = g_steal_pointer(&message->response);
        message->body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY__NOT_SET;
        call->done = TRUE;
        g_hash_table_remove(agent->pending, &id);
        g_cond_broadcast(&agent->changed);
    }
    g_mutex_unlock(&agent->lock);
}

/* Many small sub-messages take much more memory unpacked than packed, and the guest decides how many there
 * are. The memory is malloc's, so that a message can outlive the budget. */
typedef struct {
    ProtobufCAllocator allocator;
    gsize left;
} Budget;

static void *budget_alloc(void *data, size_t size)
{
    Budget *budget = data;

    if (size > budget->left)
        return NULL;
    budget->left -= size;
    return malloc(size);
}

static void budget_free(void *data, void *pointer)
{
    (void)data;
    free(pointer);
}

/* protobuf-c sets a body's pointer and its case together, but a sub-message of the body may be missing. */
static gboolean deliver_frame(AgentConnection *agent, const WireItem *item)
{
    Budget budget = {{budget_alloc, budget_free, &budget}, MAX_UNPACKED_BYTES};
    FromGuest *message =
        crivirt__agent__v1__from_guest__unpack(&budget.allocator, item->payload_length, item->payload);

    if (message == NULL)
        return FALSE;
    g_mutex_lock(&agent->lock);
    if (agent->ready)
        note_life_locked(agent);
    g_mutex_unlock(&agent->lock);
    switch (message->body_case) {
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE:
        deliver_response(agent, message);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_OUTPUT:
        if (message->output->process != NULL)
            agent->events.output(message->output, agent->data);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_EXITED:
        if (message->exited->process != NULL)
            agent->events.exited(message->exited, agent->data);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_INPUT_ACK:
        if (message->input_ack->process != NULL)
            agent->events.input_ack(message->input_ack, agent->data);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_NOTICE:
        agent->events.notice(message->notice->message, agent->data);
        break;
    default:
        break; /* a newer agent may send messages that this daemon does not have */
    }
    crivirt__agent__v1__from_guest__free_unpacked(message, NULL);
    return TRUE;
}

static gboolean deliver_bytes(AgentConnection *agent, const guint8 *data, size_t length)
{
    while (length > 0) {
        WireItem item;

        switch (wire_decoder_next(agent->decoder, &data, &length, &item)) {
        case WIRE_MORE:
            break;
        case WIRE_SYNC:
            if (item.nonce != agent->nonce)
                break; /* the echo of an earlier connection's sync */
            agent->synced = TRUE;
            source_drop(&agent->timer);
            if (!agent_hello_send(agent))
                return FALSE;
            break;
        case WIRE_FRAME:
            if (agent->synced && !deliver_frame(agent, &item))
                return FALSE;
            break;
        case WIRE_BAD:
            if (agent->synced)
                return FALSE;
            break;
        }
    }
    return TRUE;
}

gboolean agent_on_readable(gint fd, GIOCondition condition, gpointer data)
{
    AgentConnection *agent = data;
    guint8 buffer[65536];
    ssize_t got = TEMP_FAILURE_RETRY(recv(fd, buffer, sizeof buffer, MSG_DONTWAIT));

    (void)condition;
    if (got < 0 && errno == EAGAIN)
        return G_SOURCE_CONTINUE;
    if (got <= 0 || !deliver_bytes(agent, buffer, (size_t)got)) {
        agent_connection_drop(agent, TRUE);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

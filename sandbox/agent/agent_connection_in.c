/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest's agent sends to the daemon. The guest is hostile: frames, the memory that they unpack to and
 * each text and list in them are bounded, and a violation ends the connection. All functions run on the
 * loop's thread.
 */
#include <errno.h>
#include <glib-unix.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "common/error.h"
#include "common/metrics.h"
#include "common/source.h"
#include "sandbox/agent/agent_bounds.h"
#include "sandbox/agent/agent_connection_private.h"

enum {
    /* Of one message; an honest one needs little more than its frame. */
    MAX_UNPACKED_BYTES = 4 << 20,
    READ_BYTES = 64 << 10,
    /* The other connections have their turn after so many frames of this one. */
    SLICE_FRAMES = 128,
};

static Metric reconnects =
    METRIC_COUNTER("crivirt_agent_reconnects_total", "Connections to agents after their first.", NULL);

static void note_life_locked(AgentConnection *agent)
{
    LOCK_ASSERT_HELD(&agent->lock);
    heartbeat_heard(&agent->heart, g_get_monotonic_time());
    g_clear_pointer(&agent->silent, g_free);
}

/* ---- responses ---- */

static gboolean deliver_hello(AgentConnection *agent, const Response *response, GError **error)
{
    if (response->result_case != CRIVIRT__AGENT__V1__RESPONSE__RESULT_HELLO)
        return TRUE;
    if (agent->greeted)
        return fail(error, STATUS_INTERNAL, "it answered one Hello twice");
    agent->greeted = TRUE;
    agent->events.ready(response->hello, agent->data);
    g_mutex_lock(&agent->lock);
    if (!agent->fresh)
        metric_add(&reconnects, 1, NULL, NULL);
    agent->ready = TRUE;
    agent->protocol = response->hello->protocol_version;
    agent_clock_ready_locked(agent);
    agent->fresh = FALSE;
    note_life_locked(agent);
    g_cond_broadcast(&agent->changed);
    g_mutex_unlock(&agent->lock);
    return TRUE;
}

/* The answer to a call that nobody waits for. Of most there is nothing to tell. */
static void deliver_late(AgentConnection *agent, const Response *response)
{
    const gint64 id = (gint64)response->id;
    g_autofree char *container_id = NULL;
    g_autofree gint64 *key = NULL;

    g_mutex_lock(&agent->lock);
    g_hash_table_steal_extended(agent->given_up, &id, (gpointer *)&key, (gpointer *)&container_id);
    g_mutex_unlock(&agent->lock);
    if (container_id != NULL && response->result_case == CRIVIRT__AGENT__V1__RESPONSE__RESULT_START_CONTAINER)
        agent->events.started_late(container_id, agent->data);
}

/* Ends the call with the response, or with the error why the response is refused; takes both. */
static void deliver_result(AgentConnection *agent, FromGuest *message, GError *refusal)
{
    gint64 id = (gint64)message->response->id;
    gboolean is_late = FALSE;
    PendingCall *call;

    g_mutex_lock(&agent->lock);
    call = g_hash_table_lookup(agent->pending, &id);
    if (call != NULL) {
        call->refusal = g_steal_pointer(&refusal);
        if (call->refusal == NULL) {
            call->response = g_steal_pointer(&message->response);
            message->body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY__NOT_SET;
        }
        call->done = TRUE;
        g_hash_table_remove(agent->pending, &id);
        g_cond_broadcast(&agent->changed);
    } else {
        is_late = refusal == NULL;
    }
    g_mutex_unlock(&agent->lock);
    if (is_late)
        deliver_late(agent, message->response);
    g_clear_error(&refusal);
}

/* ---- messages ---- */

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
static gboolean deliver_message(AgentConnection *agent, FromGuest *message, GError **error)
{
    g_autoptr(GError) refusal = NULL;

    if (!agent_bounds_check(&message->base, &refusal)) {
        /* A refused answer is the business of its call alone. */
        if (message->body_case != CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE ||
            message->response->id == 0) {
            g_propagate_error(error, g_steal_pointer(&refusal));
            return FALSE;
        }
        deliver_result(agent, message, g_steal_pointer(&refusal));
        return TRUE;
    }
    switch (message->body_case) {
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE:
        if (message->response->id == 0)
            return deliver_hello(agent, message->response, error);
        agent_clock_take_response(agent, message->response);
        deliver_result(agent, message, NULL);
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
    return TRUE;
}

static gboolean deliver_frame(AgentConnection *agent, const WireItem *item, GError **error)
{
    Budget budget = {{budget_alloc, budget_free, &budget}, MAX_UNPACKED_BYTES};
    FromGuest *message =
        crivirt__agent__v1__from_guest__unpack(&budget.allocator, item->payload_length, item->payload);
    gboolean good;

    if (message == NULL)
        return fail(error, STATUS_INTERNAL, "it sent a frame that is no message, or too large a message");
    g_mutex_lock(&agent->lock);
    if (agent->ready)
        note_life_locked(agent);
    g_mutex_unlock(&agent->lock);
    good = deliver_message(agent, message, error);
    crivirt__agent__v1__from_guest__free_unpacked(message, NULL);
    return good;
}

static gboolean take_sync(AgentConnection *agent, guint64 nonce, GError **error)
{
    if (agent->synced || nonce != agent->nonce)
        return TRUE; /* the echo of an earlier connection's sync */
    agent->synced = TRUE;
    source_drop(&agent->timer);
    return agent_hello_send(agent) || fail(error, STATUS_INTERNAL, "it does not read what it is sent");
}

/* ---- bytes ---- */

/* Decodes at most SLICE_FRAMES frames and syncs. */
static gboolean deliver_bytes(AgentConnection *agent, const guint8 **data, size_t *length, GError **error)
{
    WireItem item;

    for (guint i = 0; i < SLICE_FRAMES && (*length) != 0; i++) {
        WireEvent event = wire_decoder_next(agent->decoder, data, length, &item);

        if (event != WIRE_MORE)
            agent_budget_charge_frame(agent, item.payload_length);
        switch (event) {
        case WIRE_MORE:
            break;
        case WIRE_SYNC:
            if (!take_sync(agent, item.nonce, error))
                return FALSE;
            break;
        case WIRE_FRAME:
            if (agent->synced && !deliver_frame(agent, &item, error))
                return FALSE;
            break;
        case WIRE_BAD:
            if (agent->synced)
                return fail(error, STATUS_INTERNAL, "it broke the framing of its messages");
            break;
        }
    }
    return TRUE;
}

/* ---- reading ---- */

static gboolean on_resume(gpointer data);

/* Does not read for that time. data: what was received and is not decoded yet. */
static void pause_reading(AgentConnection *agent, gint64 pause_us, const guint8 *data, gsize length)
{
    guint8 *rest = length > 0 ? g_memdup2(data, length) : NULL;

    agent_reading_stop(agent); /* frees the old rest, of which data may be a part */
    agent->rest = rest;
    agent->n_rest = length;
    agent->resume =
        loop_thread_add(agent->all->loop, g_timeout_source_new((guint)(pause_us / 1000)), on_resume, agent);
}

/* Return: TRUE when the socket may be read on. */
static gboolean take_bytes(AgentConnection *agent, const guint8 *data, size_t length)
{
    g_autoptr(GError) error = NULL;
    gint64 begin_us = agent_budget_begin();
    gboolean good = deliver_bytes(agent, &data, &length, &error);
    gint64 pause_us = agent_budget_end(agent, begin_us);

    if (!good)
        agent_connection_drop_broken(agent, error->message);
    else if (pause_us > 0 || length > 0)
        pause_reading(agent, pause_us, data, length);
    return good && pause_us == 0 && length == 0;
}

static gboolean on_readable(gint fd, GIOCondition condition, gpointer data)
{
    AgentConnection *agent = data;
    guint8 buffer[READ_BYTES];
    ssize_t got = TEMP_FAILURE_RETRY(recv(fd, buffer, sizeof buffer, MSG_DONTWAIT));

    (void)condition;
    if (got < 0 && errno == EAGAIN)
        return G_SOURCE_CONTINUE;
    if (got <= 0) {
        agent_connection_drop(agent, TRUE);
        return G_SOURCE_REMOVE;
    }
    return take_bytes(agent, buffer, (size_t)got) ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static gboolean on_resume(gpointer data)
{
    AgentConnection *agent = data;
    g_autofree guint8 *rest = g_steal_pointer(&agent->rest);

    source_drop(&agent->resume);
    if (take_bytes(agent, rest, agent->n_rest))
        agent_reading_start(agent);
    return G_SOURCE_REMOVE;
}

void agent_reading_start(AgentConnection *agent)
{
    if (agent->unread)
        return; /* agent_connection_release() starts it */
    agent->reader = g_unix_fd_source_new(agent->fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
    loop_thread_add(agent->all->loop, agent->reader, (GSourceFunc)(void (*)(void))on_readable, agent);
}

void agent_reading_stop(AgentConnection *agent)
{
    source_drop(&agent->reader);
    source_drop(&agent->resume);
    g_clear_pointer(&agent->rest, g_free);
    agent->n_rest = 0;
}

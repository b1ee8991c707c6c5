/* The daemon's end of the channel to a guest's agent (agent/wire/wire.h): one connection for each guest.
 *
 * A connection connects to the guest's socket, and again when it breaks, until it is closed. What the guest
 * sends is hostile: frames are bounded and unpacked in one place, and a guest that breaks the framing is
 * disconnected and resynchronised.
 *
 * Threads: one LoopThread serves all connections. Calls may come from any thread. Events arrive on the loop's
 * thread, must not block, and must not wait for the connection.
 */
#pragma once

#include "agent.pb-c.h"
#include "common/deadline.h"
#include "common/loop_thread.h"

typedef struct AgentConnections AgentConnections;
typedef struct AgentConnection AgentConnection;

/* All connections of one daemon, and the timer that looks at them. silence_limit_ms: how long an agent that
 * was asked may be silent before it counts as dead (heartbeat.h); after a quarter of that its calls fail with
 * UNAVAILABLE until it speaks again. 0: no limit. loop is borrowed. */
AgentConnections *agent_connections_new(LoopThread *loop, gint64 silence_limit_ms);
/* After the last connection is closed and the loop is freed. Takes NULL. */
void agent_connections_free(AgentConnections *connections);

typedef struct {
    /* A Hello has been answered: at the first connection and after each reconnect. */
    void (*ready)(const Crivirt__Agent__V1__HelloResponse *hello, gpointer data);
    void (*output)(const Crivirt__Agent__V1__Output *output, gpointer data);
    void (*exited)(const Crivirt__Agent__V1__Exited *exited, gpointer data);
    void (*input_ack)(const Crivirt__Agent__V1__InputAck *ack, gpointer data);
    void (*notice)(const char *message, gpointer data);
    /* It has been silent for the limit. TRUE: it is dead, and the link is abandoned; FALSE: there is a reason
     * for its silence, and it may go on for as long again. */
    gboolean (*dead)(const char *why, gpointer data);
} AgentEvents;

/* Starts connecting. fresh: the guest has just been made, so no frame can be half way in its channel. data
 * must stay valid until agent_connection_close() has returned. */
AgentConnection *agent_connection_open(AgentConnections *connections, const char *socket_path, gboolean fresh,
                                       const AgentEvents *events, gpointer data);
/* No event comes after this returns; calls that wait fail with UNAVAILABLE. Not from the loop's thread. */
void agent_connection_close(AgentConnection *agent);
AgentConnection *agent_connection_ref(AgentConnection *agent);
void agent_connection_unref(AgentConnection *agent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AgentConnection, agent_connection_unref)

/* Fails what waits now and later with that reason, without waiting: the guest is known to be gone. Any
 * thread. */
void agent_connection_abandon(AgentConnection *agent, const char *reason);

/* FAILED_PRECONDITION for an agent that is too old for that (WIRE_PROTOCOL_…). */
gboolean agent_connection_check_protocol(AgentConnection *agent, guint32 version, const char *what,
                                         GError **error);

/* Whether somebody holds the other end, as far as the kernel knows; what it says is another matter. Never
 * waits. */
gboolean agent_connection_is_connected(AgentConnection *agent);

/* Waits until the agent has answered a Hello. */
gboolean agent_connection_wait_ready(AgentConnection *agent, const Deadline *deadline, GError **error);

/* One operation: sends the request (whose id is set here) and waits for its response, which the caller frees
 * with crivirt__agent__v1__response__free_unpacked(). A failure of the agent's comes back as an error with
 * its status. */
gboolean agent_connection_call(AgentConnection *agent, Crivirt__Agent__V1__Request *request,
                               const Deadline *deadline, Crivirt__Agent__V1__Response **ret_response,
                               GError **error);

/* Fire and forget; lost with the connection, which the agent's resending makes good. */
void agent_connection_send_ack(AgentConnection *agent, const char *container_id, const char *exec_id,
                               Crivirt__Agent__V1__Stream stream, guint64 offset, gboolean exited);
/* FALSE: the channel is down (see AgentEvents.ready) or too much waits for it already; try again later. */
gboolean agent_connection_send_input(AgentConnection *agent, const Crivirt__Agent__V1__Input *input);
/* An operation whose response nobody waits for. */
void agent_connection_send_request(AgentConnection *agent, Crivirt__Agent__V1__Request *request);

/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's end of the channel to a guest's agent (agent/wire/wire.h): one AgentConnection for each guest.
 *
 * An AgentConnection connects to the guest's socket, and again whenever the connection breaks, until it is
 * closed. The guest is hostile: frames are bounded, and a guest that breaks the framing is disconnected and
 * synchronised again.
 *
 * Errors: UNAVAILABLE when the connection is closed, abandoned or blocked, or the agent does not answer;
 * DEADLINE_EXCEEDED and CANCELLED from the caller's deadline; else the status that the agent sent.
 *
 * Threads: one LoopThread serves all connections. Functions may be called from any thread unless their
 * comment restricts it. Events arrive on the loop's thread: they must not block, nor wait for the connection.
 */
#pragma once

#include "agent.pb-c.h"
#include "common/deadline.h"
#include "common/loop_thread.h"

typedef struct AgentConnections AgentConnections;
typedef struct AgentConnection AgentConnection;

/* Makes the set of all connections of one daemon, with the timer that checks them. silence_limit_ms: an agent
 * that has not answered a ping for this long is dead (heartbeat.h); after a quarter of that time its calls
 * fail with UNAVAILABLE until the agent sends something again; 0: no limit. loop is borrowed. Return: the
 * caller's. */
AgentConnections *agent_connections_new(LoopThread *loop, gint64 silence_limit_ms);
/* To be called when the last connection is closed and the loop is freed. Takes NULL. */
void agent_connections_free(AgentConnections *connections);

typedef struct {
    /* The agent has answered a Hello: after the first connection and after each reconnect. */
    void (*ready)(const Crivirt__Agent__V1__HelloResponse *hello, gpointer data);
    void (*output)(const Crivirt__Agent__V1__Output *output, gpointer data);
    void (*exited)(const Crivirt__Agent__V1__Exited *exited, gpointer data);
    void (*input_ack)(const Crivirt__Agent__V1__InputAck *ack, gpointer data);
    void (*notice)(const char *message, gpointer data);
    /* The agent has started the container after the call that asked for it failed. */
    void (*started_late)(const char *container_id, gpointer data);
    /* The agent has not answered for silence_limit_ms. Return: TRUE abandons the connection, with why as the
     * reason; FALSE gives the agent the same time again, because its silence has another cause. */
    gboolean (*dead)(const char *why, gpointer data);
} AgentEvents;

/* Starts to connect. fresh: the guest has just been created, so that its channel cannot hold part of a frame.
 * data must stay valid until agent_connection_close() has returned. Return: the caller's reference. */
AgentConnection *agent_connection_open(AgentConnections *connections, const char *socket_path, gboolean fresh,
                                       const AgentEvents *events, gpointer data);
/* Closes the connection: calls that wait fail, and no event arrives after the return. Must not be called on
 * the loop's thread. */
void agent_connection_close(AgentConnection *agent);
AgentConnection *agent_connection_ref(AgentConnection *agent);
void agent_connection_unref(AgentConnection *agent);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AgentConnection, agent_connection_unref)

/* Lets the clock of the agent's guest follow the node's, as long as the connection is open: a guest whose
 * CLOCK_REALTIME is off is set. Only for the agent of a VM. Agents of versions before WIRE_PROTOCOL_CLOCK
 * keep their clocks. Does not wait. */
void agent_connection_follow_clock(AgentConnection *agent);
/* Looks at the clocks of all such guests now. A step of the node's clock does the same. Does not wait. */
void agent_connections_check_clocks(AgentConnections *connections);

/* Sets the clock of the agent's guest now, if it is off, and waits for that. */
gboolean agent_connection_set_clock(AgentConnection *agent, const Deadline *deadline, GError **error);

/* Makes all calls, those that wait and later ones, fail with that reason, because the guest is known to be
 * gone. Does not wait. */
void agent_connection_abandon(AgentConnection *agent, const char *reason);

/* Makes all calls, those that wait and new ones, fail with that reason (UNAVAILABLE), because the guest
 * cannot run at present; NULL: it can again. Meanwhile the agent's silence is not held against it, and what
 * is sent without waiting is kept for it. Does not wait. */
void agent_connection_block(AgentConnection *agent, const char *reason);

/* Waits until the agent's end has read what was sent before the call, and then neither writes nor reads until
 * agent_connection_release(), so that QEMU moves nothing between the socket and the guest's memory. What is
 * sent from the call on is queued, and calls wait. The guest decides how long it takes, so the deadline must
 * be a near one. Errors: DEADLINE_EXCEEDED, CANCELLED; UNAVAILABLE when the agent is not connected; nothing
 * is held then. */
gboolean agent_connection_hold(AgentConnection *agent, const Deadline *deadline, GError **error);
void agent_connection_release(AgentConnection *agent);

/* Errors: FAILED_PRECONDITION when the agent speaks an older version of the protocol (WIRE_PROTOCOL_…) than
 * `what` needs. TRUE when the agent is not connected. */
gboolean agent_connection_check_protocol(AgentConnection *agent, guint32 version, const char *what,
                                         GError **error);

/* Return: whether a process holds the other end of the socket, according to the kernel. The agent may hang
 * nevertheless. Does not wait. */
gboolean agent_connection_is_connected(AgentConnection *agent);

/* Waits until the agent has answered a Hello. */
gboolean agent_connection_wait_ready(AgentConnection *agent, const Deadline *deadline, GError **error);

/* Sends the request of one operation (whose id is set here), and waits for its response, which the caller
 * frees with crivirt__agent__v1__response__free_unpacked(). A failure that the agent reports becomes an error
 * with its status and message. */
gboolean agent_connection_call(AgentConnection *agent, Crivirt__Agent__V1__Request *request,
                               const Deadline *deadline, Crivirt__Agent__V1__Response **ret_response,
                               GError **error);

/* Sends an acknowledgement without waiting. If it is lost with the connection, the agent sends its data
 * again, and the data is acknowledged again. exec_id may be NULL: the container's own process. */
void agent_connection_send_ack(AgentConnection *agent, const char *container_id, const char *exec_id,
                               Crivirt__Agent__V1__Stream stream, guint64 offset, gboolean exited);
/* Return: FALSE when the agent is not ready (see AgentEvents.ready) or too much input is queued for it
 * already; the caller tries again later. */
gboolean agent_connection_send_input(AgentConnection *agent, const Crivirt__Agent__V1__Input *input);
/* Sends a request without waiting for its response, which is dropped. */
void agent_connection_send_request(AgentConnection *agent, Crivirt__Agent__V1__Request *request);

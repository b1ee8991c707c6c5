/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that implement agent_connection.h share.
 *
 *   agent_connections.c        all connections of one daemon; notices agents that do not answer
 *   agent_connection.c         opens a connection, connects it again when it breaks, and closes it
 *   agent_connection_wait.c    calls that wait for the agent
 *   agent_connection_in.c      frames from the agent
 *   agent_connection_budget.c  how much an agent may send before it is not read for a while
 *   agent_connection_out.c     frames to the agent
 *   agent_connection_hold.c    neither, while the guest is saved
 *   agent_connection_clock.c   the guest's clock follows the node's
 *
 * The caller of a "…_locked" function holds agent->lock.
 */
#pragma once

#include "agent/wire/wire.h"
#include "common/byte_ring.h"
#include "common/clock_watch.h"
#include "common/lock_assert.h"
#include "common/log_limit.h"
#include "sandbox/agent/agent_connection.h"
#include "sandbox/agent/heartbeat.h"

typedef Crivirt__Agent__V1__Request Request;
typedef Crivirt__Agent__V1__Response Response;
typedef Crivirt__Agent__V1__ToGuest ToGuest;
typedef Crivirt__Agent__V1__FromGuest FromGuest;

enum {
    /* A guest that reads nothing must not use up the daemon's memory: beyond this queue, calls are refused.
     * A message that is accepted may be longer, and so is the limit of the ring. */
    AGENT_QUEUE_BYTES = 8 << 20,
    AGENT_QUEUE_LIMIT_BYTES = AGENT_QUEUE_BYTES + 2 * WIRE_MAX_MESSAGE_BYTES,
};

struct AgentConnections {
    LoopThread *loop;
    guint64 daemon_id; /* for Hello */
    gint64 silence_limit_ms;
    GSource *watch; /* NULL: there is no limit */
    GSource *clock_timer;
    ClockWatch *clock_watch; /* NULL: the kernel does not report steps */

    /* Only the loop's thread uses these. */
    GPtrArray *open; /* AgentConnection, borrowed */
    gint64 watched_us;
    LogLimit clock_log;
};

/* A call that waits for its response, on its caller's stack. */
typedef struct {
    Response *response;
    GError *refusal; /* the agent's response exceeds a bound */
    gboolean done;   /* when both are NULL: the connection failed */
} PendingCall;

/* What a connection may cost the thread that serves all of them. */
typedef struct {
    TokenBucket frames; /* small ones, each of which costs the same however little is in it */
    TokenBucket work;   /* microseconds of the thread's processor */
    gint64 paused_us;   /* when the last pause began; 0: there was none */
} AgentBudget;

/* The state of agent_connection_clock.c. An id of 0 is that of no request. */
typedef struct {
    gboolean followed; /* the guest's clock is to be the node's */
    guint64 ping_id;   /* the last ping, until its answer has come */
    gint64 pinged_ns;  /* when it was sent, by CLOCK_BOOTTIME */
    guint64 set_id;    /* the last SetClock, until its answer has come */
    gint64 due_us;     /* when the clock is looked at, unless a ping is sent before; monotonic */
} AgentClock;

struct AgentConnection {
    gint references;
    AgentConnections *all;
    char *socket_path;
    AgentEvents events;
    gpointer data;

    GMutex lock;
    GCond changed;
    int fd;         /* -1: not connected */
    gboolean fresh; /* no agent has answered yet: the guest may still boot */
    gboolean closed;
    gboolean ready;
    guint32 protocol; /* the agent's version, when ready */
    char *abandoned;  /* why the guest is known to be gone; NULL: it is not */
    char *blocked;    /* why the guest cannot run at present; NULL: it can */
    char *silent;     /* why calls fail while the agent does not answer; NULL: it answers */
    Heartbeat heart;
    AgentClock clock;
    guint64 nonce;
    guint64 next_id;
    GHashTable *pending; /* &id → PendingCall */
    GHashTable
        *given_up;    /* &id → the guest's id of the container, both owned: starts that no call waits for */
    ByteRing queue;   /* bytes that are not written yet */
    gboolean writing; /* the loop's thread waits for room in the socket */
    gboolean held;    /* nothing more is written than held_bytes (agent_connection_hold()) */
    gsize held_bytes; /* at the beginning of the queue; 0 unless held */
    gboolean unread;  /* nothing is read: the channel is still */

    LogLimit log; /* lines that the agent can provoke */

    /* Only the loop's thread uses these. */
    GSource *reader; /* NULL: the socket is not read now */
    GSource *resume; /* the timer that ends a pause */
    GSource *writer;
    GSource *timer;
    WireDecoder *decoder;
    gboolean synced;
    gboolean greeted; /* the agent has answered this connection's Hello */
    guint8 *rest;     /* received, and decoded after a pause; NULL: nothing */
    gsize n_rest;
    AgentBudget budget;
    gint64 retry_ms;  /* how long the agent was not connected after it broke the protocol last */
    gint64 broken_us; /* when that was */
};

/* Closes the socket and fails the calls that wait. again: connects again soon. On the loop's thread. */
void agent_connection_drop(AgentConnection *agent, gboolean again);
/* Does so because the agent broke the protocol, and logs why. An agent that does it again and again is
 * connected less and less often. On the loop's thread. */
void agent_connection_drop_broken(AgentConnection *agent, const char *why);

/* Fails every call that waits. */
void agent_calls_fail_locked(AgentConnection *agent);
/* Sets the error to the reason why the agent cannot be reached. Return: FALSE. */
gboolean agent_fail_gone_locked(AgentConnection *agent, GError **error);

/* Starts to read the socket. On the loop's thread, as the next four. */
void agent_reading_start(AgentConnection *agent);
/* Stops; drops what was received and not decoded. */
void agent_reading_stop(AgentConnection *agent);

/* Call agent_budget_begin() before the work for one dispatch of the loop, and agent_budget_end() after it.
 * Return: how long the connection is not to be read; 0: it may go on. */
gint64 agent_budget_begin(void);
gint64 agent_budget_end(AgentConnection *agent, gint64 begin_us);
/* A frame with that many bytes has arrived. */
void agent_budget_charge_frame(AgentConnection *agent, gsize length);

/* Queues the message, and writes as much of the queue as the socket accepts. Errors: INVALID_ARGUMENT (larger
 * than a frame), RESOURCE_EXHAUSTED (the guest does not read). */
gboolean agent_message_send_locked(AgentConnection *agent, const ToGuest *message, GError **error);
void agent_sync_send_locked(AgentConnection *agent);
/* Writes as much of the queue as the socket accepts, and the rest when it accepts more. */
void agent_queue_write_locked(AgentConnection *agent);
/* Return: whether the Hello was queued. */
gboolean agent_hello_send(AgentConnection *agent);
/* Asks the agent for a sign of life. Nothing waits for the response: any message of the agent is one. */
void agent_ping_send_locked(AgentConnection *agent);
/* Sends a request whose response no call waits for. Return: its id. */
guint64 agent_request_send_locked(AgentConnection *agent, Request *request);

/* Starts to look at the clocks of all agents: now and then, and at each step of the node's clock. */
void agent_clocks_start(AgentConnections *connections);
void agent_clocks_stop(AgentConnections *connections);
/* The agent is about to become ready. */
void agent_clock_ready_locked(AgentConnection *agent);
/* A ping with that id was sent at that time (CLOCK_BOOTTIME), or a little later. */
void agent_clock_asked_locked(AgentConnection *agent, gint64 asked_ns, guint64 ping_id);
/* Handles the response if it belongs to a ping or to a SetClock. On the loop's thread. */
void agent_clock_take_response(AgentConnection *agent, const Response *response);

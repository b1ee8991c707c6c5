/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that implement agent_connection.h share.
 *
 *   agent_connections.c      all connections of one daemon; notices agents that do not answer
 *   agent_connection.c       opens a connection, connects it again when it breaks, and closes it
 *   agent_connection_wait.c  calls that wait for the agent
 *   agent_connection_in.c    frames from the agent
 *   agent_connection_out.c   frames to the agent
 *
 * The caller of a "…_locked" function holds agent->lock.
 */
#pragma once

#include "agent/wire/wire.h"
#include "common/byte_ring.h"
#include "common/lock_assert.h"
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

    /* Only the loop's thread uses these. */
    GPtrArray *open; /* AgentConnection, borrowed */
    gint64 watched_us;
};

/* A call that waits for its response, on its caller's stack. */
typedef struct {
    Response *response;
    gboolean done; /* when response is NULL: the connection failed */
} PendingCall;

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
    char *silent;     /* why calls fail while the agent does not answer; NULL: it answers */
    Heartbeat heart;
    guint64 nonce;
    guint64 next_id;
    GHashTable *pending; /* &id → PendingCall */
    ByteRing queue;      /* bytes that are not written yet */
    gboolean writing;    /* the loop's thread waits for room in the socket */

    /* Only the loop's thread uses these. */
    GSource *reader;
    GSource *writer;
    GSource *timer;
    WireDecoder *decoder;
    gboolean synced;
};

/* Closes the socket and fails the calls that wait. again: connects again soon. On the loop's thread. */
void agent_connection_drop(AgentConnection *agent, gboolean again);

/* Fails every call that waits. */
void agent_calls_fail_locked(AgentConnection *agent);
/* Sets the error to the reason why the agent cannot be reached. Return: FALSE. */
gboolean agent_fail_gone_locked(AgentConnection *agent, GError **error);

/* The socket is readable, or was closed by the other end. */
gboolean agent_on_readable(gint fd, GIOCondition condition, gpointer data);

/* Queues the message, and writes as much of the queue as the socket accepts. Errors: INVALID_ARGUMENT (larger
 * than a frame), RESOURCE_EXHAUSTED (the guest does not read). */
gboolean agent_message_send_locked(AgentConnection *agent, const ToGuest *message, GError **error);
void agent_sync_send_locked(AgentConnection *agent);
/* Return: whether the Hello was queued. */
gboolean agent_hello_send(AgentConnection *agent);
/* Asks the agent for a sign of life. Nothing waits for the response: any message of the agent is one. */
void agent_ping_send_locked(AgentConnection *agent);

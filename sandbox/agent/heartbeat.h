/* SPDX-License-Identifier: Apache-2.0 */
/* Decides whether the other end of a connection still lives. It holds two times; there are no threads and no
 * I/O.
 *
 * Every message is a sign of life. An agent that has sent nothing for a while is sent a ping, so that an
 * agent in use gets none. An agent that does not answer the ping is silent after a quarter of the limit
 * (calls fail at once), and dead when the whole limit has passed since the ping. The caller serialises
 * access.
 */
#pragma once

#include <glib.h>

typedef struct {
    gint64 heard_us; /* the last sign of life; monotonic, as all times here */
    gint64 asked_us; /* the first ping since then; 0: none */
} Heartbeat;

typedef enum {
    HEARTBEAT_FINE,
    HEARTBEAT_ASK, /* send a ping now, and call heartbeat_asked() */
    HEARTBEAT_SILENT,
    HEARTBEAT_DEAD,
} HeartbeatState;

/* Return: how often heartbeat_look() is to be called, for that limit. */
gint64 heartbeat_interval_ms(gint64 limit_ms);

/* A message has arrived. */
void heartbeat_heard(Heartbeat *heart, gint64 now_us);
/* A ping was sent. Only the first one since the last message counts. */
void heartbeat_asked(Heartbeat *heart, gint64 now_us);
/* is_waited_for: a call waits for a response, so that the ping is sent sooner. */
HeartbeatState heartbeat_look(const Heartbeat *heart, gint64 limit_ms, gboolean is_waited_for, gint64 now_us);

/* Whether the other end of a link still lives: a clock's worth of state, no threads, no I/O.
 *
 * Whatever it says is a sign of life. Only one that has said nothing for a while is asked, so an agent that
 * is used is never bothered; one that does not answer is first silent (what waits for it gives up, new calls
 * fail at once), and dead when the whole limit has passed since it was asked.
 */
#pragma once

#include <glib.h>

typedef struct {
    gint64 heard_us; /* monotonic, as all times here */
    gint64 asked_us; /* 0: it has answered since */
} Heartbeat;

typedef enum {
    HEARTBEAT_FINE,
    HEARTBEAT_ASK, /* ask it now: heartbeat_asked() */
    HEARTBEAT_SILENT,
    HEARTBEAT_DEAD,
} HeartbeatState;

/* How often to look, for that limit. */
gint64 heartbeat_interval_ms(gint64 limit_ms);

void heartbeat_heard(Heartbeat *heart, gint64 now_us);
/* Once: the first question is the one that counts. */
void heartbeat_asked(Heartbeat *heart, gint64 now_us);
/* is_waited_for: somebody waits for an answer, so it is asked sooner. */
HeartbeatState heartbeat_look(const Heartbeat *heart, gint64 limit_ms, gboolean is_waited_for, gint64 now_us);

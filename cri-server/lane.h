/* A lane: worker threads and a bounded queue for one kind of work, so that slow work never holds up fast
 * work.
 *
 * Threads start when they are needed and end when they have been idle for a while: a lane of 64 costs nothing
 * while nobody calls. Thread-safe.
 */
#pragma once

#include <glib.h>

typedef struct Lane Lane;
typedef void (*LaneFunc)(gpointer job);

typedef struct {
    guint workers; /* at least 1 */
    guint waiting; /* jobs that may wait for a worker */
} LaneSize;

/* name is borrowed and must outlive the lane. */
Lane *lane_new(const char *name, LaneSize size, LaneFunc func);
/* Runs what waits, ends the threads and frees; takes NULL. No lane_push() may be going on. */
void lane_free(Lane *lane);

/* FALSE when the lane is full; the job then stays the caller's. */
gboolean lane_push(Lane *lane, gpointer job);
const char *lane_name(const Lane *lane);

/* SPDX-License-Identifier: Apache-2.0 */
/* A container: a process tree in a pod. Its locks and jobs: pod.h. */
#pragma once

#include "sandbox/pods/container_io.h"
#include "sandbox/pods/guest_input.h"
#include "sandbox/pods/pod.h"

struct Container {
    /* The columns of its row. id, guest_id, image_id, created_at_ns and stop_signal are constant once it is
     * in the tables, the others are protected by pod->lock. */
#define CONTAINER_COLUMN STATE_FIELD
#include "sandbox/state/state_store.def"

    gint references;
    Pod *pod;
    Runtime__V1__ContainerConfig *config; /* linux->resources under pod->lock: an update replaces it */
    char **diff_ids;
    char *log_path; /* NULL: none */
    ContainerIo *io;
    Semaphore job;
    Semaphore stop_job; /* of the StopContainer that waits out its grace; taken before job */

    GMutex announce_lock;
    int announced; /* the type of the last event that was published; -1: none */

    /* Protected by pod->lock. */
    gboolean end_is_stored;
    gboolean paused;     /* while it runs */
    GArray *groups;      /* gint64 */
    GPtrArray *attached; /* StreamSession, not referenced */
    char **blocks;       /* keys of its block devices (host/block_device.h) */

    GuestInput *input; /* of the first process */
    guint64 seen[2];   /* the loop's thread only: bytes of the first process's output, by stream */
};

/* Takes ownership of config. guest_id: the id by which the guest's agent knows it, where that is another one,
 * as in a pod that was restored from a checkpoint; NULL: id. */
Container *container_new(Pod *pod, const char *id, const char *guest_id, Runtime__V1__ContainerConfig *config,
                         const char *image_id, char **diff_ids, gint64 created_at_ns);
Container *container_ref(Container *container);
void container_unref(Container *container);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Container, container_unref)

gboolean container_save(Container *container, GError **error);
/* Records the end, once; later calls change nothing. reason NULL: from the exit code. Return: FALSE when the
 * row could not be written, which another call tries again. */
gboolean container_set_exited(Container *container, gint32 exit_code, const char *reason, const char *message,
                              gint64 finished_at_ns);
ContainerState container_state(Container *container);
/* Publishes an event in the order of a container's life: an earlier event that was left out is not published
 * any more, and a container that was never created has no events. Any thread, without locks. */
void container_announce(Container *container, Runtime__V1__ContainerEventType type);

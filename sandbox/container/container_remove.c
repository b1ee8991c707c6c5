/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/container/container_remove.h"

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/container/container_blocks.h"
#include "sandbox/container/container_stop.h"
#include "sandbox/pod/guest_delete.h"
#include "sandbox/pods/container_io.h"
#include "sandbox/pods/events.h"
#include "sandbox/pods/platform.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/pod_turn.h"
#include "sandbox/pods/stream_sessions.h"
#include "sandbox/sandbox.h"
#include "sandbox/volumes/share.h"

enum { LOG_TIMEOUT_MS = 3000 }; /* for the rest of a removed container's output */

/* Whether the node need not wait for the guest. A container that has ended there has no mounts but those of
 * its root file system, which is on the VM's disks. Not so where its block devices may still be mounted,
 * where the start failed, so that the guest may have it half started, and in a host pod, whose file systems
 * are the node's. */
static gboolean guest_can_follow(Container *container)
{
    Pod *pod = container->pod;
    gboolean has_ended;

    g_mutex_lock(&pod->lock);
    has_ended = container->state == CONTAINER_EXITED_STATE &&
                g_strcmp0(container->reason, "StartError") != 0 &&
                (container->blocks == NULL || container->blocks[0] == NULL);
    g_mutex_unlock(&pod->lock);
    return has_ended && !pod->platform->on_node;
}

/* Volumes are bound and unbound with disk_job held. */
static gboolean container_unbind_volumes(Container *container, const Deadline *deadline, GError **error)
{
    Pod *pod = container->pod;
    gboolean good;

    if (!semaphore_acquire(&pod->disk_job, deadline, "waiting to unbind volumes", error))
        return FALSE;
    good = share_unbind(pod->share_dir, container->guest_id, error);
    semaphore_release(&pod->disk_job);
    return good;
}

/* A log that cannot be written does not prevent the removal of its container. */
static void container_finish_log(Container *container)
{
    gsize lost_bytes = container_io_finish(container->io, LOG_TIMEOUT_MS);

    if (lost_bytes > 0)
        log_warning(
            LOG_FIELDS("container", container->id, "sandbox", container->pod->id, "log", container->log_path),
            "the container is removed while its log cannot be written: %zu bytes that wait for the log, "
            "and what the guest still has, are lost",
            lost_bytes);
}

gboolean container_forget(Container *container, const Deadline *deadline, GError **error)
{
    SandboxManager *manager = container->pod->manager;
    g_autofree char *cursor = g_build_filename(container->pod->state_dir, container->id, NULL);

    container_finish_log(container);
    stream_sessions_fail_container(container, "the container was removed");
    if (!container_blocks_release(container, deadline, error) ||
        !container_unbind_volumes(container, deadline, error) || !dir_remove_tree(cursor, error) ||
        !state_store_delete_container(manager->store, container->id, error))
        return FALSE;
    image_service_unpin(manager->images, container->id);
    manager_remove_container(manager, container);
    container_announce(container, EVENT(DELETED));
    return TRUE;
}

gboolean container_remove(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error)
{
    g_autoptr(Container) container = NULL;
    g_autoptr(PodTurn) turn = NULL;
    gboolean removed;

    if (!manager_find_container_if_any(manager, id, &container, error))
        return FALSE;
    if (container == NULL)
        return TRUE;
    turn = pod_turn_take(container->pod, POD_TURN_CHANGE, deadline, error);
    if (turn == NULL || !container_stop_or_gone(container, 0, deadline, error) ||
        !semaphore_acquire(&container->job, deadline, "waiting for other work on the container", error))
        return FALSE;
    if (guest_can_follow(container))
        container_delete_in_guest_soon(container);
    else
        container_delete_in_guest(container);
    removed = container_forget(container, deadline, error);
    semaphore_release(&container->job);
    if (removed)
        log_info(LOG_FIELDS("container", container->id, "sandbox", container->pod->id),
                 "container %s removed", container->config->metadata->name);
    return removed;
}

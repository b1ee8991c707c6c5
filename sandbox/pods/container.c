/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/ids.h"
#include "common/lock_assert.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/pods/container_io.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/events.h"
#include "sandbox/pods/guest_input.h"
#include "sandbox/pods/pod.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/pods/stream_sessions.h"
#include "sandbox/state/state_store.h"
#include "sandbox/volumes/share.h"

static void on_stored(LogStream stream, guint64 offset, gpointer data);
static gboolean on_ended(const ContainerExit *exit, gboolean from_agent, gpointer data);

static const ContainerIoEvents io_events = {.stored = on_stored, .ended = on_ended};

/* Return: where the kubelet reads the log, which the caller frees; NULL: either part is not set, so there is
 * no log. */
static char *log_path_of(const Pod *pod, const Runtime__V1__ContainerConfig *config)
{
    if (*pod->config->log_directory == '\0' || *config->log_path == '\0')
        return NULL;
    return g_build_filename(pod->config->log_directory, config->log_path, NULL);
}

Container *container_new(Pod *pod, const char *id, const char *guest_id, Runtime__V1__ContainerConfig *config,
                         const char *image_id, char **diff_ids, gint64 created_at_ns)
{
    Container *container = g_new0(Container, 1);
    SandboxManager *manager = pod->manager;

    container->references = 1;
    container->pod = pod_ref(pod);
    container->id = g_strdup(id);
    container->guest_id = g_strdup(guest_id != NULL ? guest_id : id);
    container->config = config;
    container->image_id = g_strdup(image_id);
    container->diff_ids = g_strdupv(diff_ids);
    container->created_at_ns = created_at_ns;
    container->log_path = log_path_of(pod, config);
    container->io = container_io_new(manager->loop, manager->log_workers, &io_events, container);
    container->uid = -1;
    container->gid = -1;
    container->groups = g_array_new(FALSE, FALSE, sizeof(gint64));
    container->attached = g_ptr_array_new();
    container->input = guest_input_new(pod, container->guest_id, "");
    semaphore_init(&container->job, 1);
    semaphore_init(&container->stop_job, 1);
    g_mutex_init(&container->announce_lock);
    container->announced = -1;
    return container;
}

Container *container_ref(Container *container)
{
    g_atomic_int_inc(&container->references);
    return container;
}

void container_unref(Container *container)
{
    if (container == NULL || !g_atomic_int_dec_and_test(&container->references))
        return;
    container_io_free(container->io);
    semaphore_clear(&container->job);
    semaphore_clear(&container->stop_job);
    g_mutex_clear(&container->announce_lock);
    runtime__v1__container_config__free_unpacked(container->config, NULL);
    g_array_unref(container->groups);
    g_ptr_array_unref(container->attached);
    guest_input_unref(container->input);
    g_strfreev(container->diff_ids);
    g_strfreev(container->blocks);
    g_free(container->message);
    g_free(container->reason);
    g_free(container->log_path);
    g_free(container->image_id);
    g_free(container->guest_id);
    g_free(container->id);
    pod_unref(container->pod);
    g_free(container);
}

static char *groups_join(const GArray *groups)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < groups->len; i++)
        g_string_append_printf(text, "%s%" G_GINT64_FORMAT, i > 0 ? " " : "",
                               g_array_index(groups, gint64, i));
    return g_string_free(text, FALSE);
}

/* Called with pod->lock held. Return: the container's row, whose strings are copies, for
 * container_record_free(). */
static ContainerRecord *container_record_new_locked(Container *container)
{
    ContainerRecord *record = g_new0(ContainerRecord, 1);

    LOCK_ASSERT_HELD(&container->pod->lock);
#define CONTAINER_COLUMN(ctype, field, kind) STATE_COPY_##kind(record->field, container->field);
#include "sandbox/state/state_store.def"
    record->pod_id = g_strdup(container->pod->id);
    record->config = cri_pack(&container->config->base);
    record->diff_ids = g_strjoinv(" ", container->diff_ids);
    record->groups = groups_join(container->groups);
    return record;
}

gboolean container_save(Container *container, GError **error)
{
    ContainerRecord *record;
    gboolean saved;

    g_mutex_lock(&container->pod->lock);
    record = container_record_new_locked(container);
    g_mutex_unlock(&container->pod->lock);
    saved = state_store_put_container(container->pod->manager->store, record, error);
    container_record_free(record);
    return saved;
}

ContainerState container_state(Container *container)
{
    ContainerState state;

    g_mutex_lock(&container->pod->lock);
    state = container->state;
    g_mutex_unlock(&container->pod->lock);
    return state;
}

/* The row of a removed container is not written again. */
static gboolean end_store(Container *container, gboolean complain)
{
    g_autoptr(GError) error = NULL;
    gboolean stored;

    g_mutex_lock(&container->pod->lock);
    stored =
        container->end_is_stored || !g_hash_table_contains(container->pod->containers, container->guest_id);
    g_mutex_unlock(&container->pod->lock);
    if (stored)
        return TRUE;
    if (!container_save(container, &error)) {
        if (complain)
            log_error(LOG_FIELDS("container", container->id),
                      "cannot store the end of the container, which is tried again: %s", error->message);
        return FALSE;
    }
    g_mutex_lock(&container->pod->lock);
    container->end_is_stored = TRUE;
    g_mutex_unlock(&container->pod->lock);
    return TRUE;
}

gboolean container_set_exited(Container *container, gint32 exit_code, const char *reason, const char *message,
                              gint64 finished_at_ns)
{
    gboolean stored;
    gboolean first;

    g_mutex_lock(&container->pod->lock);
    first = container->state == CONTAINER_CREATED_STATE || container->state == CONTAINER_RUNNING_STATE;
    if (first) {
        container->state = CONTAINER_EXITED_STATE;
        container->exit_code = exit_code;
        container->reason = g_strdup(reason != NULL ? reason : exit_code == 0 ? "Completed" : "Error");
        if (message != NULL) { /* else an earlier message may be the cause */
            g_free(container->message);
            container->message = g_strdup(message);
        }
        /* The time is by the guest's clock, which may differ from the node's. */
        container->finished_at_ns =
            MAX(MIN(finished_at_ns, time_now_ns()), MAX(container->started_at_ns, container->created_at_ns));
        g_cond_broadcast(&container->pod->changed);
    }
    g_mutex_unlock(&container->pod->lock);
    stored = end_store(container, first);
    if (!first)
        return stored;
    log_info(
        LOG_FIELDS("container", container->id, "sandbox", container->pod->id, "reason", container->reason),
        "container %s ended with exit code %d", container->config->metadata->name, exit_code);
    container_announce(container, EVENT(STOPPED));
    return stored;
}

void container_announce(Container *container, Runtime__V1__ContainerEventType type)
{
    gboolean was_made;

    g_mutex_lock(&container->announce_lock);
    was_made = container->announced >= 0 || type != EVENT(DELETED);
    if (was_made && container->announced < (int)type) {
        if (container->announced < 0 && type != EVENT(CREATED))
            event_publish(container->pod->manager->events, EVENT(CREATED), container->id, container->pod);
        container->announced = (int)type;
        event_publish(container->pod->manager->events, type, container->id, container->pod);
    }
    g_mutex_unlock(&container->announce_lock);
}

/* The end may arrive before StartContainer has its answer: the container was running all the same. */
static void note_started(Container *container, gint64 finished_at_ns)
{
    gboolean early;

    g_mutex_lock(&container->pod->lock);
    early = container->state == CONTAINER_CREATED_STATE;
    if (early) {
        container->state = CONTAINER_RUNNING_STATE;
        container->started_at_ns = CLAMP(finished_at_ns, container->created_at_ns, time_now_ns());
    }
    g_mutex_unlock(&container->pod->lock);
    if (early)
        container_announce(container, EVENT(STARTED));
}

static void on_stored(LogStream stream, guint64 offset, gpointer data)
{
    Container *container = data;
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, NULL);

    if (agent != NULL)
        agent_connection_send_ack(agent, container->guest_id, NULL,
                                  stream == LOG_STDERR ? CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR
                                                       : CRIVIRT__AGENT__V1__STREAM__STREAM_STDOUT,
                                  offset, FALSE);
}

static gboolean on_ended(const ContainerExit *exit, gboolean from_agent, gpointer data)
{
    Container *container = data;
    g_autoptr(AgentConnection) agent = NULL;

    if (from_agent)
        note_started(container, exit->finished_at_ns);
    if (!container_set_exited(container, exit->exit_code, exit->reason, exit->message, exit->finished_at_ns))
        return FALSE;
    agent = from_agent ? pod_agent(container->pod, NULL) : NULL;
    if (agent != NULL)
        agent_connection_send_ack(agent, container->guest_id, NULL, CRIVIRT__AGENT__V1__STREAM__STREAM_STDOUT,
                                  0, TRUE);
    return TRUE;
}

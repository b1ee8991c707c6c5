/* SPDX-License-Identifier: Apache-2.0 */
/* The share with a pod's volumes. It is attached to the guest with the first volume, watched, and replaced
 * when its file server dies: by another server at which the guest's open files go on
 * (vmm/virtiofsd_recovery.h), or else by another share for later containers. Mounts of the dead server keep
 * failing then. */

#include "sandbox/pod/pod_share.h"

#include <errno.h>
#include <glib-unix.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/child.h"
#include "common/error.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/host/volume_options.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pod/pod_cgroup.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_oom.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/manager.h"
#include "sandbox/pods/pod.h"
#include "sandbox/volumes/share.h"

enum {
    MOUNT_TIMEOUT_MS = 20 * 1000,
    DETACH_TIMEOUT_MS = 20 * 1000,
    GUARD_LOOKS = 10,
    GUARD_LOOK_MS = 100,
    JOB_TIMEOUT_MS = 10 * 1000, /* an attach that hangs because fsguard is gone has the job */
    /* A guest that makes each of its servers die does not get a new one without end. */
    RECOVERIES_MAX = 5,
    RECOVERIES_WITHIN_S = 60,
    RECOVERY_JOB_TIMEOUT_MS = 45 * 1000, /* an attach may have the job */
};

/* Each share has a tag of its own, by which the guest distinguishes them. */
static char *tag_new(guint generation)
{
    return generation == 1 ? g_strdup(POD_SHARE_TAG) : g_strdup_printf(POD_SHARE_TAG "-%u", generation);
}

static guint generation_now(Pod *pod)
{
    guint generation;

    g_mutex_lock(&pod->lock);
    generation = pod->share_attached;
    g_mutex_unlock(&pod->lock);
    return generation;
}

/* The settings of the pod's handler; NULL when it was removed since the pod started: those of the daemon
 * hold. */
static const Handler *handler_of(const Pod *pod)
{
    return handler_find(pod->settings->handlers, pod->handler, NULL);
}

/* A daemon that kept no record of it has created the pod by this option, which may have changed since. */
static gboolean share_locks(const Pod *pod, const Handler *handler)
{
    if (pod->volume_locks != VOLUME_LOCKS_UNKNOWN)
        return pod->volume_locks;
    return handler != NULL ? handler->volume_locks : pod->settings->guest.volume_locks;
}

/* The strings are the caller's, and the pod's. */
static ShareSpec share_spec(Pod *pod, const char *tag)
{
    const Handler *handler = handler_of(pod);
    const Settings *settings = pod->settings;

    return (ShareSpec){
        .source = pod->share_dir,
        .tag = tag,
        .cache = pod->volume_cache,
        .locks = share_locks(pod, handler),
        .recovery = handler != NULL ? handler->volume_recovery : settings->guest.volume_recovery,
        .oom_score_adj = pod_oom_score(pod),
    };
}

/* ---- when the server dies ---- */

/* Return: "/data, /etc/config", which the caller frees; NULL: the container has no volumes of the node. */
static char *volumes_describe(const Container *container)
{
    g_autoptr(GString) list = g_string_new(NULL);

    for (size_t i = 0; i < container->config->n_mounts; i++)
        if (!oci_mount_is_image(container->config->mounts[i]))
            g_string_append_printf(list, "%s%s", list->len > 0 ? ", " : "",
                                   container->config->mounts[i]->container_path);
    return list->len > 0 ? g_string_free(g_steal_pointer(&list), FALSE) : NULL;
}

static gboolean is_alive(ContainerState state)
{
    return state == CONTAINER_CREATED_STATE || state == CONTAINER_RUNNING_STATE;
}

/* Return: whether the container has volumes and has not ended. */
static gboolean container_tell(Container *container)
{
    g_autofree char *volumes = volumes_describe(container);
    g_autoptr(GError) error = NULL;
    gboolean alive;

    if (volumes == NULL)
        return FALSE;
    g_mutex_lock(&container->pod->lock);
    alive = is_alive(container->state);
    if (alive) {
        g_free(container->message);
        container->message = g_strdup_printf(
            "volumes %s failed: their file server (virtiofsd) died. What uses them gets ENOTCONN "
            "until the container is recreated; everything else goes on",
            volumes);
    }
    g_mutex_unlock(&container->pod->lock);
    if (!alive)
        return FALSE;
    log_error(LOG_FIELDS("container", container->id, "sandbox", container->pod->id), "container %s: %s",
              container->config->metadata->name, container->message);
    if (!container_save(container, &error))
        log_error(LOG_FIELDS("container", container->id), "%s", error->message);
    return TRUE;
}

/* The death of a share's file server. */
typedef struct {
    Pod *pod;
    guint generation; /* of the share */
    guint rests;      /* pod->share_rests when the server began to be watched */
} ServerDeath;

static ServerDeath *server_death_new(Pod *pod, guint generation)
{
    ServerDeath *death = g_new(ServerDeath, 1);

    *death = (ServerDeath){.pod = pod_ref(pod), .generation = generation};
    g_mutex_lock(&pod->lock);
    death->rests = pod->share_rests;
    g_mutex_unlock(&pod->lock);
    return death;
}

static ServerDeath *server_death_copy(const ServerDeath *death)
{
    ServerDeath *copy = g_new(ServerDeath, 1);

    *copy = *death;
    pod_ref(copy->pod);
    return copy;
}

static void server_death_free(gpointer data)
{
    ServerDeath *death = data;

    pod_unref(death->pod);
    g_free(death);
}

/* Whether the server was ended with the VM of a pod that was hibernated. The pod may have been woken before
 * the death is handled. */
static gboolean is_expected(const ServerDeath *death)
{
    gboolean expected;

    g_mutex_lock(&death->pod->lock);
    expected = death->pod->share_rests != death->rests;
    g_mutex_unlock(&death->pod->lock);
    return expected;
}

/* Whether processes in the guest would wait for the dead server for ever. When fsguard was killed, the server
 * died with it and may be seen first. A share that has been replaced needs no fsguard: the check is made
 * under the job that replaces shares, because the fsguard of the old share ends and that of the new one is
 * not there at once. */
static gboolean is_abandoned(const ServerDeath *death)
{
    Pod *pod = death->pod;
    Deadline deadline = deadline_in_ms(JOB_TIMEOUT_MS);
    gboolean has_job = semaphore_acquire(&pod->disk_job, &deadline, "waiting to look at fsguard", NULL);
    gboolean abandoned = FALSE;

    for (guint i = 0; !abandoned && i < GUARD_LOOKS; i++) {
        if (i > 0)
            g_usleep((gulong)GUARD_LOOK_MS * 1000);
        abandoned =
            generation_now(pod) == death->generation && !vmm_share_has_fsguard(pod->manager->vmm, pod->id);
    }
    if (has_job)
        semaphore_release(&pod->disk_job);
    return abandoned;
}

/* ---- another server for the same share ---- */

static gboolean bind_again(int namespace_fd, pid_t server, gpointer unused, GError **error)
{
    (void)unused;
    return share_copy_binds(namespace_fd, server, error);
}

static gboolean may_recover(Pod *pod, GError **error)
{
    const gint64 now = g_get_monotonic_time();

    if (now - pod->share_recovered_us > (gint64)RECOVERIES_WITHIN_S * G_USEC_PER_SEC) {
        pod->share_recovered_us = now;
        pod->share_recoveries = 0;
    }
    return pod->share_recoveries++ < RECOVERIES_MAX ||
           fail(error, STATUS_UNAVAILABLE, "it was replaced %d times within %d s", RECOVERIES_MAX,
                RECOVERIES_WITHIN_S);
}

static gboolean try_to_recover(Pod *pod, GError **error)
{
    g_autofree char *tag = tag_new(generation_now(pod));
    const ShareSpec share = share_spec(pod, tag);
    g_autofree char *summary = NULL;
    pid_t server;

    if (!vmm_recover_share(pod->manager->vmm, pod->id, &share, bind_again, NULL, &server, &summary, error) ||
        !share_set_server(pod->share_dir, server, "", error) || !pod_cgroup_join(pod, server, error))
        return FALSE;
    log_warning(
        LOG_FIELDS("sandbox", pod->id),
        "the file server of the pod's volumes (virtiofsd) died, and another one has taken its place: %s",
        summary);
    pod_share_watch(pod);
    return TRUE;
}

/* Tries again when the new server, or the process of fsguard that was setting it up, has died meanwhile; not
 * when fsguard does not wait for one. The caller has the disk job. */
static gboolean recover_in_job(Pod *pod, GError **error)
{
    g_autoptr(GError) problem = NULL;

    while (may_recover(pod, error)) {
        g_clear_error(&problem);
        if (try_to_recover(pod, &problem))
            return TRUE;
        if (g_error_matches(problem, CRIVIRT_ERROR, STATUS_FAILED_PRECONDITION)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        log_info(LOG_FIELDS("sandbox", pod->id),
                 "another file server for the pod's volumes does not work: %s", problem->message);
    }
    return FALSE;
}

/* Return: whether the share has a server, which may be another one. */
static gboolean server_is_back(const ServerDeath *death)
{
    Pod *pod = death->pod;
    Deadline deadline = deadline_in_ms(RECOVERY_JOB_TIMEOUT_MS);
    g_autoptr(GError) error = NULL;
    gboolean back = FALSE;

    if (!semaphore_acquire(&pod->disk_job, &deadline, "waiting to replace the file server of the volumes",
                           &error)) {
        log_warning(LOG_FIELDS("sandbox", pod->id), "%s", error->message);
        return FALSE;
    }
    if (is_expected(death)) {
        back = TRUE; /* the pod was hibernated meanwhile */
    } else if (generation_now(pod) == death->generation && pod_state(pod) == POD_READY && !pod_is_lost(pod)) {
        back = share_server(pod->share_dir) != 0 || recover_in_job(pod, &error);
        if (!back)
            vmm_give_up_share(pod->manager->vmm, pod->id);
    }
    semaphore_release(&pod->disk_job);
    if (error != NULL)
        log_warning(LOG_FIELDS("sandbox", pod->id),
                    "cannot replace the file server of the pod's volumes, which died: %s", error->message);
    return back;
}

static void server_stays_away(const ServerDeath *death)
{
    Pod *pod = death->pod;
    g_autoptr(GPtrArray) containers = pod_containers(pod);
    guint n_hit = 0;

    for (guint i = 0; !pod_is_lost(pod) && pod_state(pod) == POD_READY && i < containers->len; i++)
        n_hit += container_tell(containers->pdata[i]) ? 1 : 0;
    /* Linux cannot abandon a virtiofs mount: processes that wait for it in the guest could not even be
     * killed. */
    if (n_hit > 0 && is_abandoned(death))
        manager_report_lost(
            pod->manager, pod->id,
            "the file server of the pod's volumes was killed, and its guard (fsguard), too: processes that "
            "use the volumes would wait for ever");
}

/* The server also ends with the pod or its VM, which is no failure. */
static void server_died(gpointer data)
{
    ServerDeath *death = data;
    Pod *pod = death->pod;

    if (!is_expected(death) && !pod_is_lost(pod) && pod_state(pod) == POD_READY) {
        child_count_death(CHILD_VIRTIOFSD);
        if (!server_is_back(death))
            server_stays_away(death);
    }
    server_death_free(death);
}

static void on_server_death(gpointer data)
{
    const ServerDeath *death = data;

    manager_defer(death->pod->manager, server_died, server_death_copy(death));
}

void pod_share_rest(Pod *pod)
{
    g_mutex_lock(&pod->lock);
    pod->share_rests++;
    g_mutex_unlock(&pod->lock);
}

void pod_share_watch(Pod *pod)
{
    const guint generation = generation_now(pod);
    pid_t server;

    if (generation == 0)
        return;
    server = share_server(pod->share_dir);
    if (server == 0) /* it died while no daemon ran */
        manager_defer(pod->manager, server_died, server_death_new(pod, generation));
    else if (!loop_thread_watch_process(pod->manager->loop, server, on_server_death,
                                        server_death_new(pod, generation), server_death_free))
        log_warning(LOG_FIELDS("sandbox", pod->id), "cannot watch the file server of the pod's volumes: %s",
                    g_strerror(errno));
}

/* ---- attaching ---- */

/* The guest cannot know that the file server did not live long enough, nor why. */
static void explain_server(Pod *pod, GError **error)
{
    if (share_server(pod->share_dir) == 0 && !pod_is_lost(pod))
        vmm_share_explain(pod->manager->vmm, pod->id, error);
}

/* Without it the volumes do not outlive their server. */
static void keep_namespace(Pod *pod)
{
    const ShareSpec share = share_spec(pod, "");
    pid_t server = share_server(pod->share_dir);
    g_autoptr(GError) error = NULL;

    if (share.recovery && server != 0 && !vmm_keep_share(pod->manager->vmm, pod->id, server, &error))
        log_warning(LOG_FIELDS("sandbox", pod->id),
                    "the pod's volumes will fail when their file server (virtiofsd) dies: %s",
                    error->message);
}

/* May be called again. kept: the guest has the file system, and waits for its device. */
static gboolean ask_to_mount(Pod *pod, AgentConnection *agent, gboolean kept, const Deadline *deadline,
                             GError **error)
{
    Crivirt__Agent__V1__MountShareRequest mount = CRIVIRT__AGENT__V1__MOUNT_SHARE_REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, MOUNT_TIMEOUT_MS);
    g_autofree char *tag = tag_new(pod->share_attached);

    mount.share_tag = tag;
    mount.kept = kept;
    if (!agent_mount_share(agent, &mount, &bounded, NULL, error)) {
        explain_server(pod, error);
        return FALSE;
    }
    pod->share_mounted = TRUE;
    return TRUE;
}

static gboolean mount_in_guest(Pod *pod, const Deadline *deadline, GError **error)
{
    g_autoptr(AgentConnection) agent = pod_agent(pod, error);

    if (agent == NULL || !ask_to_mount(pod, agent, FALSE, deadline, error))
        return FALSE;
    keep_namespace(pod);
    return TRUE;
}

/* A guest has room for one share at a time. */
static gboolean detach(Pod *pod, guint generation, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, DETACH_TIMEOUT_MS);
    g_autofree char *tag = tag_new(generation);
    const ShareSpec share = {.source = pod->share_dir, .tag = tag};

    return vmm_detach_share(pod->manager->vmm, pod->id, &share, &bounded, error);
}

/* The generation is stored first: if this daemon dies here, the next one detaches what is attached. */
static gboolean attach_begin(Pod *pod, guint generation, GError **error)
{
    g_mutex_lock(&pod->lock);
    pod->share_attached = generation;
    g_mutex_unlock(&pod->lock);
    pod->share_mounted = FALSE;
    return pod_save(pod, error) && share_create(pod->share_dir, error);
}

static gboolean attach_finish(Pod *pod, const VirtiofsdProcesses *processes, GError **error)
{
    pod_share_watch(pod);
    return pod_cgroup_join(pod, processes->server, error) && pod_cgroup_join(pod, processes->fsguard, error);
}

static gboolean attach(Pod *pod, guint generation, GError **error)
{
    g_autofree char *tag = tag_new(generation);
    const ShareSpec share = share_spec(pod, tag);
    VirtiofsdProcesses processes = {0};

    return attach_begin(pod, generation, error) &&
           vmm_attach_share(pod->manager->vmm, pod->id, &share, &processes, error) &&
           share_set_server(pod->share_dir, processes.server, "", error) &&
           attach_finish(pod, &processes, error);
}

/* A container may come before the daemon has heard of the server's death. */
static gboolean recover_for_container(Pod *pod)
{
    g_autoptr(GError) error = NULL;
    gboolean good = recover_in_job(pod, &error);

    if (!good)
        log_info(
            LOG_FIELDS("sandbox", pod->id),
            "the pod's volumes get another share, because their file server died and cannot be replaced: %s",
            error->message);
    return good;
}

gboolean vm_pod_attach_share(Pod *pod, const Deadline *deadline, GError **error)
{
    guint generation;
    gboolean good = TRUE;

    if (!semaphore_acquire(&pod->disk_job, deadline, "waiting to attach the volumes' share", error))
        return FALSE;
    generation = generation_now(pod);
    if (generation == 0 || (share_server(pod->share_dir) == 0 && !recover_for_container(pod)))
        good = (generation == 0 || detach(pod, generation, deadline, error)) &&
               attach(pod, generation + 1, error);
    good = good && (pod->share_mounted || mount_in_guest(pod, deadline, error));
    semaphore_release(&pod->disk_job);
    if (!good)
        g_prefix_error(error, "cannot attach the volumes of sandbox %s: ", pod->id);
    return good;
}

/* ---- a guest that is saved, and one that is restored ---- */

gboolean pod_share_prepare(Pod *pod, GError **error)
{
    if (generation_now(pod) == 0 || share_server(pod->share_dir) != 0 || recover_in_job(pod, error))
        return TRUE;
    g_prefix_error(error, "the file server of the pod's volumes has died, and cannot be replaced: ");
    if (error != NULL && *error != NULL)
        (*error)->code = STATUS_UNAVAILABLE; /* it may have died with the VM */
    return FALSE;
}

gboolean pod_share_park(Pod *pod, int fd, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, DETACH_TIMEOUT_MS);
    g_autofree char *tag = tag_new(generation_now(pod));
    const ShareSpec share = share_spec(pod, tag);

    return vmm_park_share(pod->manager->vmm, pod->id, &share, fd, &bounded, error);
}

gboolean pod_share_unpark(Pod *pod, AgentConnection *agent, const Deadline *deadline, GError **error)
{
    const guint generation = generation_now(pod);
    g_autofree char *tag = tag_new(generation);
    const ShareSpec share = share_spec(pod, tag);

    if (generation == 0)
        return TRUE;
    if (!vmm_unpark_share(pod->manager->vmm, pod->id, &share, error) ||
        !ask_to_mount(pod, agent, TRUE, deadline, error))
        return FALSE;
    vmm_finish_unpark(pod->manager->vmm, pod->id);
    return TRUE;
}

typedef struct {
    Pod *pod;
    PodShareBindFunc bind;
    gpointer data;
} SavedBinds;

/* The volumes are bound in the namespace of the server that is on record. */
static gboolean bind_saved(int namespace_fd, pid_t server, gpointer data, GError **error)
{
    const SavedBinds *binds = data;

    (void)namespace_fd;
    return share_set_server(binds->pod->share_dir, server, "", error) && binds->bind(binds->data, error);
}

static gboolean restore_in_job(Pod *pod, guint generation, int saved_fd, SavedBinds *binds,
                               const Deadline *deadline, GError **error)
{
    g_autoptr(AgentConnection) agent = pod_agent(pod, error);
    g_autofree char *tag = tag_new(generation);
    const ShareSpec share = share_spec(pod, tag);
    VirtiofsdProcesses processes = {0};

    return agent != NULL && attach_begin(pod, generation, error) &&
           vmm_attach_saved_share(pod->manager->vmm, pod->id, &share, saved_fd, bind_saved, binds, &processes,
                                  error) &&
           attach_finish(pod, &processes, error) && ask_to_mount(pod, agent, TRUE, deadline, error);
}

gboolean pod_share_restore(Pod *pod, guint generation, int saved_fd, PodShareBindFunc bind, gpointer data,
                           const Deadline *deadline, GError **error)
{
    SavedBinds binds = {pod, bind, data};
    gboolean good;

    if (!semaphore_acquire(&pod->disk_job, deadline, "waiting to attach the volumes' share", error))
        return FALSE;
    good = restore_in_job(pod, generation, saved_fd, &binds, deadline, error);
    semaphore_release(&pod->disk_job);
    if (!good)
        g_prefix_error(error, "cannot attach the volumes of sandbox %s: ", pod->id);
    return good;
}

gboolean pod_share_unpark_queued(Pod *pod, AgentConnection *agent, const Deadline *deadline, GError **error)
{
    gboolean good;

    if (!semaphore_acquire(&pod->disk_job, deadline, "waiting to give back the volumes' share", error))
        return FALSE;
    good = pod_share_unpark(pod, agent, deadline, error);
    semaphore_release(&pod->disk_job);
    return good;
}

/* The file server has not ended. */
static gboolean share_unpark(Pod *pod, const Deadline *deadline, GError **error)
{
    g_autoptr(AgentConnection) agent = pod_agent(pod, error);

    return agent != NULL && pod_share_unpark_queued(pod, agent, deadline, error);
}

gboolean pod_share_return(Pod *pod, int saved_fd, PodShareBindFunc bind, gpointer data,
                          const Deadline *deadline, GError **error)
{
    const guint generation = generation_now(pod);

    if (generation == 0)
        return TRUE;
    if (share_server(pod->share_dir) != 0 && vmm_share_has_fsguard(pod->manager->vmm, pod->id))
        return share_unpark(pod, deadline, error);
    vmm_end_parked_share(pod->manager->vmm, pod->id);
    return pod_share_restore(pod, generation, saved_fd, bind, data, deadline, error);
}

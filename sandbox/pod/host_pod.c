/* SPDX-License-Identifier: Apache-2.0 */
/* A host pod: no VM, but an agent that is a process of the node (host_agent.h), for system pods that need
 * the node's network, processes or IPC. Everything else about the pod is the same.
 *
 * The agent is in the pod's network namespace (or the node's), and the containers are its children. When the
 * agent dies, its containers are killed through their cgroups; its mounts end with its mount namespace.
 */

#include "sandbox/pod/host_pod.h"

#include <sys/wait.h>
#include <unistd.h>

#include "cni-bridge/podnet.h"
#include "common/child.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/host/cgroup.h"
#include "sandbox/host/node_kernel.h"
#include "sandbox/pod/host_agent.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_network.h"
#include "sandbox/pod/pod_setup.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/pod.h"
#include "sandbox/state/state_store.h"
#include "sandbox/volumes/share.h"

enum { KILL_TIMEOUT_MS = 20 * 1000 };

#define CGROUP_ROOT "/sys/fs/cgroup"

static const Runtime__V1__NamespaceOption *namespaces(const Pod *pod)
{
    return pod_namespaces(pod->config);
}

static gboolean has_own_network(const Pod *pod)
{
    return namespaces(pod)->network != RUNTIME__V1__NAMESPACE_MODE__NODE;
}

static char *agent_socket(const Pod *pod)
{
    return g_build_filename(pod->run_dir, "agent.sock", NULL);
}

static char *upper_dir(const Pod *pod)
{
    return g_build_filename(pod->state_dir, "upper", NULL);
}

/* ---- cgroups: one for the agent, and beside it one for each container ---- */

static const char *cgroup_parent(const Pod *pod)
{
    const char *parent = pod->config->linux != NULL ? pod->config->linux->cgroup_parent : "";

    return *parent != '\0' ? parent : "/";
}

static char *agent_cgroup(const Pod *pod)
{
    return g_strdup_printf("crivirt-%.24s", pod->id);
}

static char *container_cgroup_name(const char *container_id)
{
    return g_strdup_printf("crivirt-%s", container_id);
}

char *host_pod_container_cgroup(const Container *container)
{
    g_autofree char *name = container_cgroup_name(container->id);
    g_autofree char *parent = NULL;

    /* Checked when the pod was started. */
    if (!cgroup_parent_path(cgroup_parent(container->pod), &parent, NULL))
        return NULL;
    return g_build_filename("/", parent, name, NULL);
}

static gboolean cgroups_kill(Pod *pod, const Deadline *deadline, GError **error)
{
    g_autoptr(GPtrArray) containers = pod_containers(pod);
    g_autofree char *own = agent_cgroup(pod);

    /* The agent's cgroup is killed first, because a process that the agent is about to move to a container's
     * cgroup is still in it. */
    if (!cgroup_kill(CGROUP_ROOT, cgroup_parent(pod), own, deadline, error))
        return FALSE;
    for (guint i = 0; i < containers->len; i++) {
        g_autofree char *name = container_cgroup_name(((Container *)containers->pdata[i])->id);

        if (!cgroup_kill(CGROUP_ROOT, cgroup_parent(pod), name, deadline, error))
            return FALSE;
    }
    return TRUE;
}

/* ---- the agent ---- */

typedef struct {
    SandboxManager *manager;
    char *pod_id;
    pid_t pid;
} Watched;

static void watched_free(gpointer data)
{
    Watched *watched = data;

    g_free(watched->pod_id);
    g_free(watched);
}

/* Called on the loop's thread. */
static void on_agent_ended(gpointer data)
{
    Watched *watched = data;

    child_count_death(CHILD_HOST_AGENT);
    waitpid(watched->pid, NULL, WNOHANG); /* reaps the agent if this daemon started it */
    manager_report_lost(watched->manager, watched->pod_id, "the pod's agent on the node died");
}

static gboolean agent_watch(Pod *pod)
{
    g_autofree char *socket = agent_socket(pod);
    Watched *watched;
    pid_t pid = host_agent_find(socket, NULL);

    if (pid == 0)
        return FALSE;
    watched = g_new(Watched, 1);
    *watched = (Watched){pod->manager, g_strdup(pod->id), pid};
    g_mutex_lock(&pod->lock);
    pod->agent_pid = pid;
    g_mutex_unlock(&pod->lock);
    return loop_thread_watch_process(pod->manager->loop, pid, on_agent_ended, watched, watched_free);
}

static gboolean directories_make(const Pod *pod, GError **error)
{
    g_autofree char *upper = upper_dir(pod);

    return dir_make(pod->run_dir, 0700, error) && dir_make(pod->state_dir, 0711, error) &&
           dir_make(upper, 0700, error) && share_create(pod->share_dir, error);
}

static gboolean agent_start(Pod *pod, const Deadline *deadline, GError **error)
{
    g_autofree char *socket = agent_socket(pod);
    g_autofree char *log = g_build_filename(pod->run_dir, "agent.log", NULL);
    g_autofree char *upper = upper_dir(pod);
    g_autofree char *cgroup = agent_cgroup(pod);
    const HostAgentSpec spec = {
        .program = pod->settings->host.agent,
        .socket = socket,
        .log = log,
        .upper_dir = upper,
        .share_dir = pod->share_dir,
        .netns_path = has_own_network(pod) ? pod->netns_path : NULL,
        .node_ipc = namespaces(pod)->ipc == RUNTIME__V1__NAMESPACE_MODE__NODE,
    };
    pid_t pid;

    if (!host_agent_start(&spec, deadline, &pid, error) ||
        !cgroup_join(CGROUP_ROOT, cgroup_parent(pod), cgroup, &pid, 1, error) ||
        !share_set_server(pod->share_dir, pid, HOST_AGENT_SHARE_DIR, error))
        return FALSE;
    cgroup_set_owner_tag(CGROUP_ROOT, cgroup_parent(pod), cgroup, pod->manager->owner_tag);
    if (!agent_watch(pod))
        return fail(error, STATUS_INTERNAL, "the host pod's agent ended right after its start");
    pod_connect(pod, TRUE);
    return agent_connection_wait_ready(pod->agent, deadline, error);
}

static gboolean agent_set_up(Pod *pod, const CniResult *network, const Deadline *deadline, GError **error)
{
    if (pod_setup(pod, network, deadline, error))
        return TRUE;
    g_prefix_error(error, "cannot set up the pod: ");
    return FALSE;
}

/* ---- the platform's functions ---- */

static struct Template *node_take_pooled(SandboxManager *manager, const PodRequest *request,
                                         struct PooledGuest *ret_guest)
{
    (void)manager;
    (void)request;
    (void)ret_guest;
    return NULL;
}

static gboolean network_start(Pod *pod, const Deadline *deadline, CniResult **ret_network, GError **error)
{
    if (!netns_create(pod->netns_path, error) || !pod_network_add(pod, deadline, ret_network, error))
        return FALSE;
    pod_network_record(pod, *ret_network);
    /* DEL needs the result, so it is stored before anything else can fail. */
    return pod_save(pod, error);
}

static gboolean start_everything(Pod *pod, const Deadline *deadline, GError **error)
{
    g_autoptr(CniResult) network = NULL;

    return node_kernel_check(NODE_KERNEL_LAYERS, NODE_KERNEL_LOOP, error) && directories_make(pod, error) &&
           (!has_own_network(pod) || network_start(pod, deadline, &network, error)) &&
           agent_start(pod, deadline, error) && agent_set_up(pod, network, deadline, error);
}

static gboolean node_destroy(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, KILL_TIMEOUT_MS);
    g_autofree char *socket = agent_socket(pod);

    return host_agent_kill(socket, &bounded, error) && cgroups_kill(pod, &bounded, error);
}

static gboolean network_end(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, pod->settings->network.cni_timeout_ms);

    return pod_network_del(pod, &bounded, error) && netns_delete(pod->netns_path, error);
}

static gboolean files_end(Pod *pod, GError **error)
{
    return share_delete(pod->share_dir, error) && dir_remove_tree(pod->run_dir, error) &&
           dir_remove_tree(pod->state_dir, error);
}

/* A network that cannot be released now does not keep the rest from being removed. */
static gboolean node_end(Pod *pod, void (*on_destroyed)(Pod *), const Deadline *deadline, GError **error)
{
    gboolean network_ended;

    pod_disconnect(pod);
    if (!node_destroy(pod, deadline, error))
        return FALSE;
    if (on_destroyed != NULL)
        on_destroyed(pod);
    network_ended = network_end(pod, deadline, error);
    return files_end(pod, network_ended ? error : NULL) && network_ended;
}

static gboolean node_start(Pod *pod, const PodRequest *request, const Deadline *deadline, GError **error)
{
    g_autoptr(GError) undo_error = NULL;
    Deadline cleanup;

    (void)request;
    if (start_everything(pod, deadline, error))
        return TRUE;
    cleanup = deadline_in_ms(KILL_TIMEOUT_MS + pod->settings->network.cni_timeout_ms);
    if (!node_end(pod, NULL, &cleanup, &undo_error)) {
        log_error(LOG_FIELDS("sandbox", pod->id), "cannot undo a failed start: %s", undo_error->message);
        pod_set_state(pod, POD_STOPPING, undo_error->message, NULL);
    }
    return FALSE;
}

/* Called under disk_job. The agent mounts the files itself; a number is enough to distinguish them. */
static gboolean number_layer(Pod *pod, const ImageLayer *layer, PodLayer *ret_layer, GError **error)
{
    guint lun;

    if (!pod_find_disk(pod, layer->key, &lun)) {
        g_mutex_lock(&pod->lock);
        lun = ++pod->last_lun;
        g_mutex_unlock(&pod->lock);
        if (!state_store_put_disk(pod->manager->store, pod->id, lun, layer->key, error))
            return FALSE;
        g_mutex_lock(&pod->lock);
        g_hash_table_insert(pod->disks, g_strdup(layer->key), GUINT_TO_POINTER(lun));
        g_mutex_unlock(&pod->lock);
    }
    *ret_layer = (PodLayer){.lun = lun, .path = layer->path};
    return TRUE;
}

static gboolean node_attach_layers(Pod *pod, const GPtrArray *layers, const Deadline *deadline,
                                   GArray **ret_layers, GError **error)
{
    g_autoptr(GArray) numbered = g_array_new(FALSE, FALSE, sizeof(PodLayer));
    gboolean good = TRUE;

    if (!semaphore_acquire(&pod->disk_job, deadline, "waiting to number layers", error))
        return FALSE;
    for (guint i = 0; good && i < layers->len; i++) {
        PodLayer layer = {0};

        good = number_layer(pod, layers->pdata[i], &layer, error);
        g_array_append_val(numbered, layer);
    }
    semaphore_release(&pod->disk_job);
    if (good)
        *ret_layers = g_steal_pointer(&numbered);
    return good;
}

/* The share of a host pod exists from its start. */
static gboolean node_attach_share(Pod *pod, const Deadline *deadline, GError **error)
{
    (void)pod;
    (void)deadline;
    (void)error;
    return TRUE;
}

/* Without a VM there is nothing to resize: crun sets the limits of the containers' cgroups, the kubelet
 * those of the pod's. */
static gboolean node_fit(Pod *pod, const struct PodChange *change, const char *field, gboolean may_shrink,
                         const Deadline *deadline, GError **error)
{
    (void)pod, (void)change, (void)field, (void)may_shrink, (void)deadline, (void)error;
    return TRUE;
}

static pid_t node_process(Pod *pod)
{
    pid_t pid;

    g_mutex_lock(&pod->lock);
    pid = pod->agent_pid;
    g_mutex_unlock(&pod->lock);
    return pid;
}

/* The containers of an agent that has died are killed; see pod_lost(). */
static gboolean node_adopt(Pod *pod, const GPtrArray *domains)
{
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(KILL_TIMEOUT_MS);

    (void)domains;
    if (agent_watch(pod))
        return TRUE;
    if (!cgroups_kill(pod, &deadline, &error))
        log_error(LOG_FIELDS("sandbox", pod->id), "%s", error->message);
    return FALSE;
}

/* A number that was recorded is valid, whether the agent has used it or not. */
static gboolean node_has_disk(Pod *pod, const GPtrArray *domains, guint lun)
{
    (void)pod;
    (void)domains;
    (void)lun;
    return TRUE;
}

const PodPlatform host_pod_platform = {
    .what = "the pod's agent on the node",
    .on_node = TRUE,
    .take_pooled = node_take_pooled,
    .start = node_start,
    .end = node_end,
    .destroy = node_destroy,
    .attach_layers = node_attach_layers,
    .attach_share = node_attach_share,
    .fit = node_fit,
    .process = node_process,
    .adopt = node_adopt,
    .has_disk = node_has_disk,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* The CRI's verbs on containers. */

#include <signal.h>
#include <string.h>
#include <sys/utsname.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/ids.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/container/container_signal.h"
#include "sandbox/container/container_vfio.h"
#include "sandbox/container/container_volumes.h"
#include "sandbox/oci/cdi.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/oci/seccomp_profile.h"
#include "sandbox/pod/host_pod.h"
#include "sandbox/pod/host_request.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_vm.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/container_io.h"
#include "sandbox/pods/cri_copy.h"
#include "sandbox/pods/events.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"

typedef Crivirt__Agent__V1__Request Request;
typedef Crivirt__Agent__V1__Response Response;

enum {
    AGENT_TIMEOUT_MS = 60 * 1000, /* create, start: what the guest needs when it is busy */
    SIGNAL_TIMEOUT_MS = 10 * 1000,
    KILLED_TIMEOUT_MS = 20 * 1000, /* from KILL to the recorded end */
    GONE_TIMEOUT_MS = 5 * 1000,    /* from the guest's end to that */
};

static gboolean call(AgentConnection *agent, Request *request, gint64 timeout_ms, const Deadline *deadline,
                     Response **ret_response, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, timeout_ms);

    return agent_connection_call(agent, request, &bounded, ret_response, error);
}

/* For operations whose response says nothing. */
static gboolean call_plain(AgentConnection *agent, Request *request, gint64 timeout_ms,
                           const Deadline *deadline, GError **error)
{
    Response *response;

    if (!call(agent, request, timeout_ms, deadline, &response, error))
        return FALSE;
    crivirt__agent__v1__response__free_unpacked(response, NULL);
    return TRUE;
}

/* A phase of its start that began then has ended; the next one begins with what is returned. */
static gint64 trace_phase(const Container *container, TracePhase phase, gint64 begin_us)
{
    trace_add(container->pod->trace, phase, container->config->metadata->name, begin_us);
    return g_get_monotonic_time();
}

/* ---- create ---- */

static gboolean request_check(const Runtime__V1__CreateContainerRequest *request, GError **error)
{
    const Runtime__V1__ContainerConfig *config = request->config;

    if (config == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "config: it is missing");
    if (config->metadata == NULL || *config->metadata->name == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.metadata.name: it is missing");
    if (config->image == NULL || *config->image->image == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.image.image: it is missing");
    if (strstr(config->log_path, "..") != NULL)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.log_path: \"%s\" leads out of the pod's log directory", config->log_path);
    return TRUE;
}

/* The container with that name and attempt, referenced; NULL when there is none. */
static Container *find_namesake(Pod *pod, const Runtime__V1__ContainerMetadata *metadata)
{
    Container *found = NULL;
    GHashTableIter iter;
    gpointer value;

    g_mutex_lock(&pod->lock);
    g_hash_table_iter_init(&iter, pod->containers);
    while (found == NULL && g_hash_table_iter_next(&iter, NULL, &value)) {
        Container *container = value;

        if (g_str_equal(container->config->metadata->name, metadata->name) &&
            container->config->metadata->attempt == metadata->attempt)
            found = container_ref(container);
    }
    g_mutex_unlock(&pod->lock);
    return found;
}

static char **image_layer_keys(const Image *image)
{
    g_autoptr(GPtrArray) ids = g_ptr_array_new();

    for (guint i = 0; i < image->layers->len; i++)
        g_ptr_array_add(ids, g_strdup(((ImageLayer *)image->layers->pdata[i])->key));
    g_ptr_array_add(ids, NULL);
    return (char **)g_ptr_array_steal(ids, NULL);
}

/* The text of the Localhost profile that the container asks for; *ret_text NULL: it asks for none. */
static gboolean seccomp_read(const Runtime__V1__ContainerConfig *config, char **ret_text, GError **error)
{
    const Runtime__V1__LinuxContainerSecurityContext *security =
        config->linux != NULL ? config->linux->security_context : NULL;
    const char *path;

    if (security == NULL || security->privileged || security->seccomp == NULL ||
        security->seccomp->profile_type != RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost)
        return TRUE;
    path = security->seccomp->localhost_ref;
    if (g_str_has_prefix(path, "localhost/"))
        path += strlen("localhost/");
    if (*path != '/')
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context.seccomp.localhost_ref: \"%s\" is not absolute", path);
    if (file_read(path, SECCOMP_PROFILE_MAX_BYTES, ret_text, NULL, error))
        return TRUE;
    g_prefix_error(error, "linux.security_context.seccomp: ");
    return FALSE;
}

/* The running container whose processes this one wants to see, referenced; NULL: it asks for none. */
static gboolean find_target(Container *container, Container **ret_target, GError **error)
{
    const char *id = oci_spec_target(container->config);
    g_autoptr(Container) target = NULL;

    if (id == NULL)
        return TRUE;
    target = *id != '\0' ? manager_find_container(container->pod->manager, id, NULL) : NULL;
    if (target == NULL || target->pod != container->pod)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context.namespace_options.target_id: sandbox %s has no container \"%s\"",
                    container->pod->id, id);
    if (container_state(target) != CONTAINER_RUNNING_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "linux.security_context.namespace_options.target_id: container %s is not running",
                    target->id);
    *ret_target = g_steal_pointer(&target);
    return TRUE;
}

static void fill_groups(Crivirt__Agent__V1__User *user, const Runtime__V1__ContainerConfig *config,
                        Arena *arena)
{
    const Runtime__V1__LinuxContainerSecurityContext *security =
        config->linux != NULL ? config->linux->security_context : NULL;

    if (security == NULL)
        return;
    user->n_groups = security->n_supplemental_groups;
    user->groups = arena_new0(arena, uint32_t, user->n_groups);
    for (size_t i = 0; i < user->n_groups; i++)
        user->groups[i] = (uint32_t)security->supplemental_groups[i];
}

static gboolean fill_create(Container *container, const Image *image, const ContainerVolumes *volumes,
                            const GArray *luns, Arena *arena,
                            Crivirt__Agent__V1__CreateContainerRequest *create, GError **error)
{
    g_autofree char *seccomp = NULL;
    g_autoptr(Container) target = NULL;
    g_autoptr(GArray) devices = NULL;
    g_autofree char *cgroup = NULL;
    OciNode on_node;
    struct utsname node;
    OciSpecInput input = {
        .container_id = container->id,
        .pod = container->pod->config,
        .config = container->config,
        .image = image,
        .mount_sources = volumes->sources,
        .anonymous = volumes->anonymous,
        .n_anonymous = volumes->n_anonymous,
        .blocks = volumes->blocks,
        .n_blocks = volumes->n_blocks,
        .architecture = uname(&node) == 0 ? node.machine : "",
    };
    Crivirt__Agent__V1__User *user = arena_new0(arena, Crivirt__Agent__V1__User, 1);
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;

    if (!seccomp_read(container->config, &seccomp, error) || !find_target(container, &target, error))
        return FALSE;
    if (container->pod->platform->on_node) {
        if (!node_devices_collect(container->config, &devices, error))
            return FALSE;
        cgroup = host_pod_container_cgroup(container);
        on_node = (OciNode){.cgroup = cgroup,
                            .devices = devices,
                            .capabilities = node_capabilities(),
                            .least_oom_score_adj = node_least_oom_score_adj(node_capabilities())};
        input.node = &on_node;
    }
    input.seccomp_profile = seccomp;
    input.target_container_id = target != NULL ? target->id : NULL;
    if (!oci_spec_build(&input, &before, &after, error) || !oci_spec_user(&input, user, error) ||
        !oci_spec_stop_signal(&input, &container->stop_signal, error))
        return FALSE;
    fill_groups(user, container->config, arena);
    create->n_layers = luns->len;
    create->layers = container_disks(luns, arena);
    create->id = container->id;
    create->user = user;
    create->spec_before_user =
        (ProtobufCBinaryData){.len = strlen(before), .data = (guint8 *)arena_strdup(arena, before)};
    create->spec_after_user =
        (ProtobufCBinaryData){.len = strlen(after), .data = (guint8 *)arena_strdup(arena, after)};
    create->tty = container->config->tty;
    create->stdin = container->config->stdin;
    create->stdin_once = container->config->stdin_once;
    create->shared_pid = oci_spec_shares_pid(&input);
    return TRUE;
}

static void record_user(Container *container, const Crivirt__Agent__V1__CreateContainerResponse *created)
{
    g_mutex_lock(&container->pod->lock);
    container->uid = created->uid;
    container->gid = created->gid;
    for (size_t i = 0; i < created->n_groups; i++) {
        gint64 group = created->groups[i];

        g_array_append_val(container->groups, group);
    }
    container->state = CONTAINER_CREATED_STATE;
    g_mutex_unlock(&container->pod->lock);
}

static gboolean create_in_guest(Container *container, const Image *image, const Deadline *deadline,
                                GError **error)
{
    Crivirt__Agent__V1__CreateContainerRequest create = CRIVIRT__AGENT__V1__CREATE_CONTAINER_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    g_autoptr(Arena) arena = arena_new();
    g_autoptr(GArray) luns = NULL;
    ContainerVolumes volumes;
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, error);
    gint64 begin_us = g_get_monotonic_time();
    Response *response;

    if (agent == NULL ||
        !container->pod->platform->attach_layers(container->pod, image->layers, deadline, &luns, error))
        return FALSE;
    begin_us = trace_phase(container, TRACE_ATTACH, begin_us);
    if (!container_vfio_attach(container, error) ||
        !container_volumes_attach(container, image, deadline, arena, &volumes, &create, error))
        return FALSE;
    begin_us = trace_phase(container, TRACE_VOLUMES, begin_us);
    if (!fill_create(container, image, &volumes, luns, arena, &create, error))
        return FALSE;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_CREATE_CONTAINER;
    request.create_container = &create;
    if (!call(agent, &request, AGENT_TIMEOUT_MS, deadline, &response, error))
        return FALSE;
    trace_phase(container, TRACE_CREATE_CONTAINER, begin_us);
    record_user(container, response->create_container);
    crivirt__agent__v1__response__free_unpacked(response, NULL);
    return TRUE;
}

static void delete_in_guest(Container *container)
{
    Crivirt__Agent__V1__DeleteContainerRequest delete = CRIVIRT__AGENT__V1__DELETE_CONTAINER_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, NULL);
    g_autoptr(GError) error = NULL;

    delete.id = container->id;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_DELETE_CONTAINER;
    request.delete_container = &delete;
    /* What a guest does not delete goes with its disk when the pod ends. */
    if (agent != NULL && !call_plain(agent, &request, AGENT_TIMEOUT_MS, NULL, &error))
        log_warning(LOG_FIELDS("container", container->id), "cannot delete the container in the guest: %s",
                    error->message);
}

static gboolean create_new(Pod *pod, const Runtime__V1__CreateContainerRequest *request, const Image *image,
                           const Deadline *deadline, Container **ret_container, GError **error)
{
    g_autofree char *id = id_new();
    g_auto(GStrv) diff_ids = image_layer_keys(image);
    g_autoptr(Container) container =
        container_new(pod, id, cri_dup(&request->config->base), image->id, diff_ids, time_now_ns());
    g_autoptr(GError) forget_error = NULL;

    image_service_pin(pod->manager->images, container->id, (Image *)image);
    if (!manager_add_container(pod->manager, container, error)) {
        image_service_unpin(pod->manager->images, container->id);
        return FALSE;
    }
    if (cdi_apply(container->config, pod->manager->settings->guest.cdi_spec_dirs, error) &&
        container_save(container, error) &&
        pod->platform->fit(pod, NULL, "config.linux.resources", FALSE, deadline, error) &&
        create_in_guest(container, image, deadline, error) && container_save(container, error)) {
        *ret_container = g_steal_pointer(&container);
        return TRUE;
    }
    pod_explain(pod, error);
    delete_in_guest(container);
    if (!container_forget(container, &forget_error))
        log_error(LOG_FIELDS("container", container->id), "cannot undo a failed create: %s",
                  forget_error->message);
    return FALSE;
}

gboolean container_create(SandboxManager *manager, const Runtime__V1__CreateContainerRequest *request,
                          const Deadline *deadline, char **ret_id, GError **error)
{
    g_autoptr(Pod) pod = NULL;
    g_autoptr(Container) container = NULL;
    g_autoptr(Image) image = NULL;
    g_autoptr(AgentConnection) agent = NULL;
    gboolean good = TRUE;

    if (!request_check(request, error))
        return FALSE;
    pod = manager_find_pod(manager, request->pod_sandbox_id, error);
    agent = pod != NULL ? pod_agent(pod, error) : NULL;
    if (agent == NULL)
        return FALSE;
    if (!semaphore_acquire(&pod->create_job, deadline,
                           "waiting for other containers of the sandbox to be made", error))
        return FALSE;
    container = find_namesake(pod, request->config->metadata);
    if (container != NULL && container_state(container) != CONTAINER_CREATED_STATE) {
        good =
            fail(error, STATUS_ALREADY_EXISTS, "sandbox %s has a container %s, attempt %u, already: %s",
                 pod->id, request->config->metadata->name, request->config->metadata->attempt, container->id);
    } else if (container == NULL) {
        image = image_service_find(manager->images, request->config->image->image, error);
        good = image != NULL;
        if (!good && (error == NULL || *error == NULL))
            fail(error, STATUS_NOT_FOUND, "image %s is not on this node", request->config->image->image);
        good = good && create_new(pod, request, image, deadline, &container, error);
    }
    semaphore_release(&pod->create_job);
    if (!good) {
        g_prefix_error(error, "container %s: ", request->config->metadata->name);
        return FALSE;
    }
    log_info(LOG_FIELDS("container", container->id, "sandbox", pod->id), "container %s created",
             request->config->metadata->name);
    container_announce(container, EVENT(CREATED));
    *ret_id = g_strdup(container->id);
    return TRUE;
}

/* ---- start ---- */

static gboolean log_open(Container *container, GError **error)
{
    g_autofree char *cursors = g_build_filename(container->pod->state_dir, container->id, NULL);
    g_autofree char *directory = container->log_path != NULL ? g_path_get_dirname(container->log_path) : NULL;
    g_autofree char *cursor = g_build_filename(cursors, "log-cursor", NULL);

    return dir_make(cursors, 0700, error) && (directory == NULL || dir_make(directory, 0755, error)) &&
           container_io_open_log(container->io, container->log_path, cursor, error);
}

static gboolean start_in_guest(Container *container, const Deadline *deadline, gint64 *ret_started_at_ns,
                               GError **error)
{
    Crivirt__Agent__V1__StartContainerRequest start = CRIVIRT__AGENT__V1__START_CONTAINER_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, error);
    gint64 asked_at_ns = time_now_ns();
    gint64 begin_us = g_get_monotonic_time();
    Response *response;

    start.id = container->id;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_START_CONTAINER;
    request.start_container = &start;
    if (agent == NULL || !log_open(container, error) ||
        !call(agent, &request, AGENT_TIMEOUT_MS, deadline, &response, error))
        return FALSE;
    trace_phase(container, TRACE_START_CONTAINER, begin_us);
    /* The guest's word within what the node's clock allows: theirs differ by what it took to set the guest's.
     */
    *ret_started_at_ns = CLAMP(response->start_container->started_at_ns, asked_at_ns, time_now_ns());
    crivirt__agent__v1__response__free_unpacked(response, NULL);
    return TRUE;
}

static gboolean start_locked(Container *container, const Deadline *deadline, GError **error)
{
    g_autoptr(GError) start_error = NULL;
    ContainerState state = container_state(container);
    gint64 started_at_ns = 0;

    if (state != CONTAINER_CREATED_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION, "container %s is %s", container->id,
                    state == CONTAINER_RUNNING_STATE ? "running already" : "not in the created state");
    if (!start_in_guest(container, deadline, &started_at_ns, &start_error)) {
        pod_explain(container->pod, &start_error);
        /* Only what the guest refused is an end; a sandbox that is not ready or a time-out leaves it as it
         * is. */
        if (start_error->code == STATUS_INTERNAL || start_error->code == STATUS_INVALID_ARGUMENT)
            container_set_exited(container, 128, "StartError", start_error->message, time_now_ns());
        g_propagate_prefixed_error(error, g_steal_pointer(&start_error),
                                   "cannot start container %s: ", container->id);
        return FALSE;
    }
    g_mutex_lock(&container->pod->lock);
    container->started_at_ns = started_at_ns;
    if (container->state == CONTAINER_CREATED_STATE)
        container->state = CONTAINER_RUNNING_STATE;
    else if (container->finished_at_ns < started_at_ns) /* it has ended already */
        container->started_at_ns = container->finished_at_ns;
    g_mutex_unlock(&container->pod->lock);
    if (!container_save(container, error))
        return FALSE;
    container_announce(container, EVENT(STARTED));
    return TRUE;
}

gboolean container_start(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, id, error);
    gboolean started;

    if (container == NULL ||
        !semaphore_acquire(&container->job, deadline, "waiting for other work on the container", error))
        return FALSE;
    started = start_locked(container, deadline, error);
    semaphore_release(&container->job);
    if (started)
        log_info(LOG_FIELDS("container", container->id, "sandbox", container->pod->id),
                 "container %s started", container->config->metadata->name);
    return started;
}

/* ---- stop ---- */

gboolean container_signal(Container *container, int signal, gboolean all, const Deadline *deadline,
                          GError **error)
{
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
    Crivirt__Agent__V1__SignalRequest kill = CRIVIRT__AGENT__V1__SIGNAL_REQUEST__INIT;
    Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    g_autoptr(AgentConnection) agent = pod_agent(container->pod, error);

    if (agent == NULL)
        return FALSE;
    process.container_id = container->id;
    kill.process = &process;
    kill.signal = signal;
    kill.all = all;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_SIGNAL;
    request.signal = &kill;
    return call_plain(agent, &request, SIGNAL_TIMEOUT_MS, deadline, error);
}

/* TRUE when it has ended by then. */
static gboolean wait_exited(Container *container, const Deadline *deadline, GError **error)
{
    Pod *pod = container->pod;
    gboolean good = TRUE;

    g_mutex_lock(&pod->lock);
    while (good && container->state == CONTAINER_RUNNING_STATE)
        good = deadline_cond_wait(deadline, &pod->changed, &pod->lock, "waiting for the container to end",
                                  error);
    g_mutex_unlock(&pod->lock);
    return good;
}

static gboolean stop_locked(Container *container, gint64 timeout_s, const Deadline *deadline, GError **error)
{
    Deadline grace = deadline_sooner(deadline, CLAMP(timeout_s, 0, G_MAXINT / 1000) * 1000);
    Deadline killed;

    if (container_state(container) != CONTAINER_RUNNING_STATE)
        return TRUE;
    if (timeout_s > 0) {
        if (!container_signal(container, container->stop_signal, FALSE, deadline, error))
            return FALSE;
        if (wait_exited(container, &grace, NULL))
            return TRUE;
        if (!deadline_check(deadline, "waiting for the container to end", error))
            return FALSE;
    }
    if (!container_signal(container, SIGKILL, TRUE, deadline, error))
        return FALSE;
    killed = deadline_sooner(deadline, KILLED_TIMEOUT_MS);
    return wait_exited(container, &killed, error);
}

static gboolean guest_is_gone(Pod *pod)
{
    gboolean gone;

    g_mutex_lock(&pod->lock);
    gone = pod->lost != NULL || pod->state != POD_READY;
    g_mutex_unlock(&pod->lock);
    return gone;
}

/* The guest may be gone in the meantime: then the container has ended too, which is what was asked for. */
static gboolean stop_or_gone(Container *container, gint64 timeout_s, const Deadline *deadline, GError **error)
{
    g_autoptr(GError) stop_error = NULL;
    Deadline moment;

    if (stop_locked(container, timeout_s, deadline, &stop_error))
        return TRUE;
    pod_explain(container->pod, &stop_error);
    moment = deadline_sooner(deadline, GONE_TIMEOUT_MS);
    if (guest_is_gone(container->pod) && wait_exited(container, &moment, NULL))
        return TRUE;
    g_propagate_prefixed_error(error, g_steal_pointer(&stop_error),
                               "cannot stop container %s: ", container->id);
    return FALSE;
}

gboolean container_stop(SandboxManager *manager, const char *id, gint64 timeout_s, const Deadline *deadline,
                        GError **error)
{
    g_autoptr(Container) container = NULL;
    gboolean stopped;

    if (!manager_find_container_if_any(manager, id, &container, error))
        return FALSE;
    if (container == NULL)
        return TRUE;
    /* A kill does not wait for the grace that another call has given. */
    if (timeout_s <= 0)
        return stop_or_gone(container, 0, deadline, error);
    if (!semaphore_acquire(&container->job, deadline, "waiting for other work on the container", error))
        return FALSE;
    stopped = stop_or_gone(container, timeout_s, deadline, error);
    semaphore_release(&container->job);
    return stopped;
}

/* ---- remove, reopen ---- */

gboolean container_remove(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error)
{
    g_autoptr(Container) container = NULL;
    gboolean removed;

    if (!manager_find_container_if_any(manager, id, &container, error))
        return FALSE;
    if (container == NULL)
        return TRUE;
    if (!stop_or_gone(container, 0, deadline, error) ||
        !semaphore_acquire(&container->job, deadline, "waiting for other work on the container", error))
        return FALSE;
    delete_in_guest(container);
    removed = container_forget(container, error);
    semaphore_release(&container->job);
    if (removed)
        log_info(LOG_FIELDS("container", container->id, "sandbox", container->pod->id),
                 "container %s removed", container->config->metadata->name);
    return removed;
}

gboolean container_reopen_log(SandboxManager *manager, const char *id, const Deadline *deadline,
                              GError **error)
{
    g_autoptr(Container) container = manager_find_container(manager, id, error);

    (void)deadline;
    if (container == NULL)
        return FALSE;
    if (container_state(container) != CONTAINER_RUNNING_STATE)
        return fail(error, STATUS_FAILED_PRECONDITION, "container %s is not running", container->id);
    return container_io_reopen_log(container->io, error);
}

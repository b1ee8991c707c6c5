/* SPDX-License-Identifier: Apache-2.0 */
/* CreateContainer and StartContainer. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/guest/cgroup.h"
#include "agent/guest/config.h"
#include "agent/guest/console.h"
#include "agent/guest/container.h"
#include "agent/guest/crun.h"
#include "agent/guest/freeze.h"
#include "agent/guest/idmap.h"
#include "agent/guest/job.h"
#include "agent/guest/mountpoint.h"
#include "agent/guest/node.h"
#include "agent/guest/paths.h"
#include "agent/guest/pidns.h"
#include "agent/guest/read_ahead.h"
#include "agent/guest/setup.h"
#include "agent/guest/sysfile.h"

/* Undoes the creation. Operations that wait for the container find none. */
static void create_fail(Container *container, Call *call, const Fault *error)
{
    uint32_t released[LAYERS_MAX];
    rootfs_unmount(&container->rootfs, released);
    if (container->console_fd >= 0) {
        int fd = console_take(container->console_fd);
        if (fd >= 0)
            close(fd);
    }
    container->active = NULL;
    container_free(container);
    call_fail(call, error);
}

/* The cgroup of the first process: the configuration says where it is. */
static void container_find_cgroup(Container *container, pid_t pid)
{
    char path[64], text[32];
    if (!cgroup_of_process(pid, container->cgroup, sizeof container->cgroup))
        container->cgroup[0] = '\0';
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
    if (sysfile_read(path, text, sizeof text))
        container->oom_score_adj = atoi(text); /* NOLINT: the kernel's number */
}

/* Makes a name for the container's PID namespace, for containers that join it. */
static void container_link_pid_namespace(const Container *container, pid_t pid)
{
    char target[64], path[256];
    snprintf(target, sizeof target, "/proc/%d/ns/pid", (int)pid);
    snprintf(path, sizeof path, CONTAINERS_DIR "/%s/pidns", container->id);
    if (symlink(target, path) < 0)
        complain("linking %s: %s", path, strerror(errno));
}

static bool container_take_created(Container *container, Fault *ret_fault)
{
    char path[256], text[32];
    int terminal = -1;

    if (container->console_fd >= 0) {
        terminal = console_take(container->console_fd);
        container->console_fd = -1;
        if (terminal < 0 || !process_set_terminal(container->process, terminal, container->with_input))
            return fault(ret_fault, FAULT_INTERNAL, "crun create passed no terminal for container %s",
                         container->id);
    }
    snprintf(path, sizeof path, CONTAINERS_DIR "/%s/pid", container->id);
    if (!sysfile_read(path, text, sizeof text) || atoi(text) <= 1) /* NOLINT: crun's number */
        return fault(ret_fault, FAULT_INTERNAL, "crun create wrote no pid for container %s", container->id);
    pid_t pid = atoi(text); /* NOLINT */
    container_find_cgroup(container, pid);
    container_link_pid_namespace(container, pid);
    process_close_child_fds(container->process);
    container->state = CONTAINER_CREATED;
    container->process->exited = container_exited;
    container->process->exited_data = container;
    process_run(container->process, pid);
    return true;
}

/* Whether crun refused the container because of its program: the image does not have it, or it cannot be run.
 */
static bool is_about_program(const Fault *failure)
{
    static const char *const phrases[] = {"executable file", "open executable", "exec container process"};

    for (size_t i = 0; failure->status == FAULT_INTERNAL && i < sizeof phrases / sizeof *phrases; i++)
        if (strstr(failure->message, phrases[i]) != NULL)
            return true;
    return false;
}

/* A program that cannot be run is reported by StartContainer, as other runtimes do: the kubelet counts
 * restarts of a container that could not be started, not of one that could not be created. Everything else
 * that crun refuses (a mount, a limit) is an error of CreateContainer. Return: NULL, or the failure when out
 * of memory. */
static const Fault *container_defer_failure(Container *container, const Fault *failure)
{
    container->start_failure = malloc(sizeof *failure);
    if (container->start_failure == NULL)
        return failure;
    *container->start_failure = *failure;
    container->state = CONTAINER_CREATED;
    process_close_child_fds(container->process);
    if (container->console_fd >= 0) {
        int terminal = console_take(container->console_fd);
        if (terminal >= 0)
            close(terminal);
        container->console_fd = -1;
    }
    return NULL;
}

static void program_read_ahead(void *data)
{
    const Container *container = data;
    read_ahead_container(container->id);
}

static void create_done(void *data, Job *job, const Fault *failure)
{
    Container *container = data;
    Call *call = container->active;
    Fault error;

    if (failure != NULL && is_about_program(failure))
        failure = container_defer_failure(container, failure);
    else if (failure == NULL && !container_take_created(container, &error))
        failure = &error;
    if (failure != NULL) {
        create_fail(container, call, failure);
        return;
    }
    CreateContainerResponse result = CRIVIRT__AGENT__V1__CREATE_CONTAINER_RESPONSE__INIT;
    result.uid = container->identity->uid;
    result.gid = container->identity->gid;
    result.n_groups = container->identity->n_groups;
    result.groups = container->identity->groups;
    reply_create_container(call, &result);
    free(container->identity);
    container->identity = NULL;
    /* The loop sends the reply first, so CreateContainer takes no longer. */
    container->read_ahead = (Timer){.call = program_read_ahead, .data = container};
    timer_start(&container->read_ahead, 0);
    container_leave(container);
}

/* Finds the user, writes the configuration, and makes the mount points that crun cannot make. */
static bool container_configure_in(Container *container, const CreateContainerRequest *request, int rootfs_fd,
                                   Fault *ret_fault)
{
    MountpointRoot root = {.rootfs_fd = rootfs_fd};
    JsonText config = {NULL, 0, 0, false};

    rootfs_owner(request, &root.uid, &root.gid);
    bool ok = user_resolve(rootfs_fd, request->user, container->identity, ret_fault) &&
              config_build(request, container->identity, &config, ret_fault) &&
              mountpoints_make(&root, (JsonSpan){config.text, config.length}, ret_fault) &&
              config_write(container->id, &config, ret_fault);
    free(config.text);
    return ok;
}

static bool container_configure(Container *container, const CreateContainerRequest *request, Fault *ret_fault)
{
    char path[256];
    snprintf(path, sizeof path, CONTAINERS_DIR "/%s/rootfs", container->id);
    int rootfs_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    container->identity = malloc(sizeof *container->identity);
    bool ok = (rootfs_fd >= 0 && container->identity != NULL) || fault_errno(ret_fault, "opening %s", path);
    ok = ok && container_configure_in(container, request, rootfs_fd, ret_fault);
    if (rootfs_fd >= 0)
        close(rootfs_fd);
    return ok;
}

static bool crun_create_start(Container *container, const CreateContainerRequest *request, Fault *ret_fault)
{
    char bundle[192], pid_file[192], console_path[64], console_option[96];

    container->process = process_new(container->id, "", request->tty, request->stdin, ret_fault);
    if (container->process == NULL)
        return false;
    snprintf(bundle, sizeof bundle, "--bundle=" CONTAINERS_DIR "/%s", container->id);
    snprintf(pid_file, sizeof pid_file, "--pid-file=" CONTAINERS_DIR "/%s/pid", container->id);

    const char *argv[12] = {CRUN_PATH, CRUN_CGROUPS, crun_root, "create", bundle, pid_file};
    size_t n = 6;
    if (request->tty) {
        container->console_fd = console_listen(console_path, sizeof console_path, ret_fault);
        if (container->console_fd < 0)
            return false;
        snprintf(console_option, sizeof console_option, "--console-socket=%s", console_path);
        argv[n++] = console_option;
    }
    argv[n] = container->id;
    const JobSpec spec = {
        .argv = argv, .with_log = true, .fds = container->process->child_fds, .failing = "crun create"};
    return job_start(&spec, create_done, container, ret_fault);
}

static bool create_check(const CreateContainerRequest *request, Fault *ret_fault)
{
    if (request->rehearsal && setup_sandbox_id()[0] != '\0')
        return fault(ret_fault, FAULT_FAILED_PRECONDITION,
                     "the guest has a pod, so it is too late to rehearse a container");
    if (!request->rehearsal && setup_sandbox_id()[0] == '\0')
        return fault(ret_fault, FAULT_FAILED_PRECONDITION,
                     "the guest has no pod yet: Setup comes before CreateContainer");
    if (!id_is_valid(request->id))
        return fault(ret_fault, FAULT_INVALID_ARGUMENT,
                     "the container id \"%s\" is not 1 to %d of [a-zA-Z0-9_.-]", request->id, ID_MAX);
    if (containers_count() >= CONTAINERS_MAX)
        return fault(ret_fault, FAULT_RESOURCE_EXHAUSTED,
                     "the pod has %d containers already, which is the most that a guest runs",
                     CONTAINERS_MAX);
    return true;
}

/* Sets the limit at each container, so that it follows the one that the pod has on the node. */
static bool pod_limit_processes(const CreateContainerRequest *request, Fault *ret_fault)
{
    char limit[24] = "max";

    if (node_is_entered() || (request->pod_pids_max == 0 && access(PODS_CGROUP, F_OK) < 0))
        return true;
    if (request->pod_pids_max != 0)
        snprintf(limit, sizeof limit, "%llu", (unsigned long long)request->pod_pids_max);
    return dir_put(PODS_CGROUP, 0755, ret_fault) &&
           (sysfile_write(PODS_CGROUP "/pids.max", limit) ||
            fault_errno(ret_fault, "limiting the pod to %s processes", limit));
}

static bool pod_put_localtime(const CreateContainerRequest *request, Fault *ret_fault)
{
    const Piece text = {request->localtime.data, request->localtime.len};

    return text.length == 0 || file_put(SANDBOX_DIR "/localtime", 0644, &text, 1, ret_fault);
}

static bool bundle_make(const char *id, Fault *ret_fault)
{
    char path[192];
    snprintf(path, sizeof path, CONTAINERS_DIR "/%s", id);
    /* The root of a user namespace is another user here, and must be able to reach its volumes. */
    return dir_put(path, 0711, ret_fault);
}

static DiskState container_mount_rootfs(Container *container, const CreateContainerRequest *request,
                                        Fault *ret_fault)
{
    int userns_fd;
    if (!idmap_open(request->uid_mappings, request->n_uid_mappings, request->gid_mappings,
                    request->n_gid_mappings, &userns_fd, ret_fault))
        return DISK_FAILED;
    DiskState state = rootfs_mount(request, userns_fd, &container->rootfs, ret_fault);
    if (userns_fd >= 0)
        close(userns_fd);
    return state;
}

void op_create_container(Call *call)
{
    const CreateContainerRequest *request = call->request->create_container;
    Container *container = container_find(request->id);
    Fault error;

    if (container == NULL && freeze_defers(call))
        return;
    if (container != NULL && container->active != call) {
        fault(&error, FAULT_ALREADY_EXISTS, "container %s exists already", request->id);
        call_fail(call, &error);
        return;
    }
    if (container == NULL) {
        bool ok = create_check(request, &error) && (!request->shared_pid || pidns_ensure(&error)) &&
                  pod_limit_processes(request, &error) && pod_put_localtime(request, &error) &&
                  bundle_make(request->id, &error);
        if (ok && (container = container_new(request->id)) == NULL)
            ok = fault(&error, FAULT_RESOURCE_EXHAUSTED,
                       "cannot create container %s: out of memory in the guest", request->id);
        if (!ok) {
            call_fail(call, &error);
            return;
        }
        container->active = call;
        container->with_input = request->stdin;
    }
    DiskState state = container_mount_rootfs(container, request, &error);
    if (state == DISK_WAIT && clock_monotonic_ns() - call->since_ns < DISK_TIMEOUT_MS * INT64_C(1000000)) {
        call_retry(call, DISK_RETRY_MS);
        return;
    }
    if (state != DISK_READY || !container_configure(container, request, &error) ||
        !crun_create_start(container, request, &error))
        create_fail(container, call, &error);
}

/* ---- start ---- */

static void start_finish(Container *container, const Fault *failure)
{
    Call *call = container->active;
    StartContainerResponse result = CRIVIRT__AGENT__V1__START_CONTAINER_RESPONSE__INIT;

    result.started_at_ns = clock_wall_ns();
    if (failure == NULL)
        container->started_at_ns = result.started_at_ns;
    if (failure != NULL) {
        call_fail(call, failure);
    } else {
        if (container->state == CONTAINER_CREATED) /* it may have exited already */
            container->state = CONTAINER_RUNNING;
        reply_start_container(call, &result);
    }
    container_leave(container);
}

static void start_done(void *data, Job *job, const Fault *failure)
{
    start_finish(data, failure);
}

void op_start_container(Call *call)
{
    Container *container = container_require(call->request->start_container->id, call);
    StartContainerResponse result = CRIVIRT__AGENT__V1__START_CONTAINER_RESPONSE__INIT;
    Fault error;

    if (container == NULL)
        return;
    if (freeze_defers(call) || !container_enter(container, call))
        return;
    if (container->held) {
        freeze_release(container);
        start_finish(container, NULL);
        return;
    }
    if (container->started_at_ns !=
        0) { /* an earlier daemon died before the response, and this one asks again */
        result.started_at_ns = container->started_at_ns;
        reply_start_container(call, &result);
        container_leave(container);
        return;
    }
    if (container->start_failure != NULL) {
        process_never_started(container->process);
        container->state = CONTAINER_EXITED;
        call_fail(call, container->start_failure);
        container_leave(container);
        return;
    }
    const char *const argv[] = {CRUN_PATH, CRUN_CGROUPS, crun_root, "start", container->id, NULL};
    const JobSpec spec = {.argv = argv, .with_log = true, .failing = "crun start"};
    if (container->state != CONTAINER_CREATED)
        fault(&error, FAULT_FAILED_PRECONDITION, "container %s %s", container->id,
              container->state == CONTAINER_EXITED ? "has exited" : "has been started already");
    else if (crun_release(container->id)) {
        start_finish(container, NULL);
        return;
    } else if (job_start(&spec, start_done, container, &error))
        return;
    call_fail(call, &error);
    container_leave(container);
}

#include "agent/guest/container.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/cgroup.h"
#include "agent/guest/console.h"
#include "agent/guest/crun.h"
#include "agent/guest/idmap.h"
#include "agent/guest/job.h"
#include "agent/guest/paths.h"
#include "agent/guest/pidns.h"
#include "agent/guest/setup.h"
#include "agent/guest/sysfile.h"
#include "agent/guest/tree.h"
#include "agent/guest/user.h"

static Container *containers;

Container *container_find(const char *id)
{
    for (Container *container = containers; container != NULL; container = container->next)
        if (strcmp(container->id, id) == 0)
            return container;
    return NULL;
}

Container *container_next(const Container *container)
{
    return container != NULL ? container->next : containers;
}

static size_t containers_count(void)
{
    size_t n = 0;
    for (Container *container = containers; container != NULL; container = container->next)
        n++;
    return n;
}

size_t containers_report(ContainerReport *ret_reports, ContainerReport **ret_pointers)
{
    size_t n = 0;
    for (Container *container = containers; container != NULL && n < CONTAINERS_MAX;
         container = container->next) {
        if (container->state == CONTAINER_CREATING)
            continue;
        ContainerReport *report = &ret_reports[n];
        crivirt__agent__v1__container_report__init(report);
        report->id = container->id;
        report->state =
            container->state == CONTAINER_CREATED   ? CRIVIRT__AGENT__V1__CONTAINER_REPORT__STATE__CREATED
            : container->state == CONTAINER_RUNNING ? CRIVIRT__AGENT__V1__CONTAINER_REPORT__STATE__RUNNING
                                                    : CRIVIRT__AGENT__V1__CONTAINER_REPORT__STATE__EXITED;
        if (container->state == CONTAINER_EXITED) {
            report->exit_code = container->process->exit_code;
            report->finished_at_ns = container->process->finished_at_ns;
            report->oom_killed = container->process->oom_killed;
        }
        report->input_received = container->process->input_received;
        ret_pointers[n++] = report;
    }
    return n;
}

int64_t container_oom_kills(const Container *container)
{
    return cgroup_oom_kills(container->cgroup);
}

/* ---- one operation at a time ---- */

/* True when the call may go on; otherwise it waits, or has failed. */
bool container_enter(Container *container, Call *call)
{
    if (container->active == NULL || container->active == call) {
        container->active = call;
        return true;
    }
    if (container->n_waiting >= WAITING_CALLS_MAX) {
        Fault error;
        fault(&error, FAULT_RESOURCE_EXHAUSTED, "too many operations wait for container %s", container->id);
        call_fail(call, &error);
        return false;
    }
    call->next = NULL;
    *container->last = call;
    container->last = &call->next;
    container->n_waiting++;
    return false;
}

/* Once the active call has been answered. The next one may end the container, so it comes last. */
void container_leave(Container *container)
{
    Call *next = container->waiting;
    container->active = NULL;
    if (next == NULL)
        return;
    container->waiting = next->next;
    if (container->waiting == NULL)
        container->last = &container->waiting;
    container->n_waiting--;
    call_dispatch(next); /* it enters, and leaves in its turn */
}

static void container_free(Container *container)
{
    Container **place = &containers;
    while (*place != container)
        place = &(*place)->next;
    *place = container->next;
    process_forget_container(container->id);
    tree_remove_later(CONTAINERS_DIR, container->id);
    Call *waiting = container->waiting;
    free(container->identity);
    free(container);
    while (waiting != NULL) { /* they find that it is gone, as if they had come now */
        Call *next = waiting->next;
        call_dispatch(waiting);
        waiting = next;
    }
}

/* ---- create ---- */

static Container *container_new(const char *id)
{
    Container *container = calloc(1, sizeof *container);
    if (container == NULL)
        return NULL;
    strcpy(container->id, id); /* NOLINT: a valid id */
    container->console_fd = -1;
    container->last = &container->waiting;
    container->next = containers;
    containers = container;
    return container;
}

/* As if it had never been asked for; what waited for it finds no container. */
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

/* Its number may be another process's soon. */
static void unlink_pid_namespace(const Container *container)
{
    char path[256];
    snprintf(path, sizeof path, CONTAINERS_DIR "/%s/pidns", container->id);
    unlink(path);
}

static void container_exited(void *data, Process *process)
{
    Container *container = data;
    process->oom_killed = container_oom_kills(container) > 0;
    container->state = CONTAINER_EXITED;
    unlink_pid_namespace(container);
    /* A DeleteContainer that killed it goes on from here. */
    if (container->killing)
        call_retry(container->active, 0);
}

/* That of its first process: wherever the configuration put it. */
static void find_cgroup(Container *container, pid_t pid)
{
    char path[64], text[32];
    if (!cgroup_of_process(pid, container->cgroup, sizeof container->cgroup))
        container->cgroup[0] = '\0';
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
    if (sysfile_read(path, text, sizeof text))
        container->oom_score_adj = atoi(text); /* NOLINT: the kernel's number */
}

/* A name for the container's PID namespace, for containers that want to see its processes. */
static void link_pid_namespace(const Container *container, pid_t pid)
{
    char target[64], path[256];
    snprintf(target, sizeof target, "/proc/%d/ns/pid", (int)pid);
    snprintf(path, sizeof path, CONTAINERS_DIR "/%s/pidns", container->id);
    if (symlink(target, path) < 0)
        complain("linking %s: %s", path, strerror(errno));
}

static bool take_created(Container *container, Fault *ret_fault)
{
    char path[256], text[32];
    int terminal = -1;

    if (container->console_fd >= 0) {
        terminal = console_take(container->console_fd);
        container->console_fd = -1;
        if (terminal < 0 || !process_set_terminal(container->process, terminal, container->with_input))
            return fault(ret_fault, FAULT_INTERNAL, "crun made no terminal for container %s", container->id);
    }
    snprintf(path, sizeof path, CONTAINERS_DIR "/%s/pid", container->id);
    if (!sysfile_read(path, text, sizeof text) || atoi(text) <= 1) /* NOLINT: crun's number */
        return fault(ret_fault, FAULT_INTERNAL, "crun told no pid for container %s", container->id);
    pid_t pid = atoi(text); /* NOLINT */
    find_cgroup(container, pid);
    link_pid_namespace(container, pid);
    process_close_child_fds(container->process);
    container->state = CONTAINER_CREATED;
    container->process->exited = container_exited;
    container->process->exited_data = container;
    process_run(container->process, pid);
    return true;
}

static void create_done(void *data, Job *job, const Fault *failure)
{
    Container *container = data;
    Call *call = container->active;
    Fault error;

    if (failure == NULL && !take_created(container, &error))
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
    container_leave(container);
}

static bool resolve_identity(Container *container, const User *want, Fault *ret_fault)
{
    char path[256];
    snprintf(path, sizeof path, CONTAINERS_DIR "/%s/rootfs", container->id);
    int rootfs_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    container->identity = malloc(sizeof *container->identity);
    if (rootfs_fd < 0 || container->identity == NULL) {
        if (rootfs_fd >= 0)
            close(rootfs_fd);
        return fault_errno(ret_fault, "opening %s", path);
    }
    bool ok = user_resolve(rootfs_fd, want, container->identity, ret_fault);
    close(rootfs_fd);
    return ok;
}

static bool write_config(const Container *container, const CreateContainerRequest *request, Fault *ret_fault)
{
    char path[256], user[USER_GROUPS_MAX * 11 + 128];
    size_t user_length = user_to_json(container->identity, user, sizeof user);
    const Piece pieces[] = {{request->spec_before_user.data, request->spec_before_user.len},
                            {user, user_length},
                            {request->spec_after_user.data, request->spec_after_user.len}};
    snprintf(path, sizeof path, CONTAINERS_DIR "/%s/config.json", container->id);
    return file_put(path, 0600, pieces, 3, ret_fault);
}

static bool start_crun_create(Container *container, const CreateContainerRequest *request, Fault *ret_fault)
{
    char bundle[192], pid_file[192], console_path[64], console_option[96];

    container->process = process_new(container->id, "", request->tty, request->stdin, ret_fault);
    if (container->process == NULL)
        return false;
    snprintf(bundle, sizeof bundle, "--bundle=" CONTAINERS_DIR "/%s", container->id);
    snprintf(pid_file, sizeof pid_file, "--pid-file=" CONTAINERS_DIR "/%s/pid", container->id);

    const char *argv[10] = {CRUN_PATH, CRUN_CGROUPS, "create", bundle, pid_file};
    size_t n = 5;
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
    if (setup_sandbox_id()[0] == '\0')
        return fault(ret_fault, FAULT_FAILED_PRECONDITION, "the guest has no pod yet");
    if (!id_is_valid(request->id))
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "a container's id is 1 to %d of [a-zA-Z0-9_.-]",
                     ID_MAX);
    if (containers_count() >= CONTAINERS_MAX)
        return fault(ret_fault, FAULT_RESOURCE_EXHAUSTED, "the pod has %d containers already",
                     CONTAINERS_MAX);
    return true;
}

static bool make_bundle(const char *id, Fault *ret_fault)
{
    char path[192];
    snprintf(path, sizeof path, CONTAINERS_DIR "/%s", id);
    /* A root that is mapped to somebody else has to get through to its volumes. */
    return dir_put(path, 0711, ret_fault);
}

static DiskState mount_rootfs(Container *container, const CreateContainerRequest *request, Fault *ret_fault)
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

    if (container != NULL && container->active != call) {
        fault(&error, FAULT_ALREADY_EXISTS, "container %s exists already", request->id);
        call_fail(call, &error);
        return;
    }
    if (container == NULL) {
        bool ok = create_check(request, &error) && (!request->shared_pid || pidns_ensure(&error)) &&
                  make_bundle(request->id, &error);
        if (ok && (container = container_new(request->id)) == NULL)
            ok = fault(&error, FAULT_RESOURCE_EXHAUSTED, "out of memory for a container");
        if (!ok) {
            call_fail(call, &error);
            return;
        }
        container->active = call;
        container->with_input = request->stdin;
    }
    DiskState state = mount_rootfs(container, request, &error);
    if (state == DISK_WAIT && clock_monotonic_ns() - call->since_ns < DISK_TIMEOUT_MS * INT64_C(1000000)) {
        call_retry(call, DISK_RETRY_MS);
        return;
    }
    if (state != DISK_READY || !resolve_identity(container, request->user, &error) ||
        !write_config(container, request, &error) || !start_crun_create(container, request, &error))
        create_fail(container, call, &error);
}

/* ---- start ---- */

static void start_done(void *data, Job *job, const Fault *failure)
{
    Container *container = data;
    Call *call = container->active;
    StartContainerResponse result = CRIVIRT__AGENT__V1__START_CONTAINER_RESPONSE__INIT;

    result.started_at_ns = clock_wall_ns();
    if (failure == NULL)
        container->started_at_ns = result.started_at_ns;
    if (failure != NULL) {
        call_fail(call, failure);
    } else {
        if (container->state == CONTAINER_CREATED) /* it may have exited by now */
            container->state = CONTAINER_RUNNING;
        reply_start_container(call, &result);
    }
    container_leave(container);
}

void op_start_container(Call *call)
{
    Container *container = container_find(call->request->start_container->id);
    StartContainerResponse result = CRIVIRT__AGENT__V1__START_CONTAINER_RESPONSE__INIT;
    Fault error;

    if (container == NULL) {
        fault(&error, FAULT_NOT_FOUND, "no container %s", call->request->start_container->id);
        call_fail(call, &error);
        return;
    }
    if (!container_enter(container, call))
        return;
    if (container->started_at_ns != 0) { /* for a daemon that did not wait for the answer, and asks again */
        result.started_at_ns = container->started_at_ns;
        reply_start_container(call, &result);
        container_leave(container);
        return;
    }
    const char *const argv[] = {CRUN_PATH, CRUN_CGROUPS, "start", container->id, NULL};
    const JobSpec spec = {.argv = argv, .with_log = true, .failing = "crun start"};
    if (container->state != CONTAINER_CREATED)
        fault(&error, FAULT_FAILED_PRECONDITION, "container %s %s", container->id,
              container->state == CONTAINER_EXITED ? "has exited" : "has been started already");
    else if (job_start(&spec, start_done, container, &error))
        return;
    call_fail(call, &error);
    container_leave(container);
}

/* ---- signal ---- */

/* Every process of the container: KILL by the kernel's own sweep, another signal one by one. */
static bool signal_cgroup(const Container *container, int signal_number)
{
    char path[sizeof container->cgroup + 32];
    if (signal_number == SIGKILL)
        return cgroup_kill(container->cgroup);
    snprintf(path, sizeof path, "%s/cgroup.procs", container->cgroup);
    FILE *list = fopen(path, "re");
    if (list == NULL)
        return false;
    int pid;
    while (fscanf(list, "%d", &pid) == 1) /* NOLINT: the kernel's numbers */
        if (pid > 1)
            kill(pid, signal_number);
    fclose(list);
    return true;
}

/* Not queued behind the container's other operations: a signal is how a stuck one is ended. */
void op_signal(Call *call)
{
    const SignalRequest *request = call->request->signal;
    const ProcessId *id = request->process;
    Container *container = id != NULL ? container_find(id->container_id) : NULL;
    Process *process = container != NULL ? process_find(id->container_id, id->exec_id) : NULL;
    SignalResponse result = CRIVIRT__AGENT__V1__SIGNAL_RESPONSE__INIT;
    Fault error;

    if (request->signal < 1 || request->signal > SIGRTMAX)
        fault(&error, FAULT_INVALID_ARGUMENT, "%d is no signal", request->signal);
    else if (process == NULL)
        fault(&error, FAULT_NOT_FOUND, "no process %s of container %s", id != NULL ? id->exec_id : "",
              id != NULL ? id->container_id : "");
    else if ((request->all && id->exec_id[0] == '\0' && signal_cgroup(container, request->signal)) ||
             process_signal(process, request->signal, request->all)) {
        reply_signal(call, &result);
        return;
    } else
        fault_errno(&error, "sending signal %d to container %s", request->signal, id->container_id);
    call_fail(call, &error);
}

/* ---- delete ---- */

static void delete_done(void *data, Job *job, const Fault *failure)
{
    Container *container = data;
    Call *call = container->active;
    uint32_t released[LAYERS_MAX];
    DeleteContainerResponse result = CRIVIRT__AGENT__V1__DELETE_CONTAINER_RESPONSE__INIT;

    if (failure != NULL)
        complain("container %s: %s", container->id, failure->message);
    result.released_luns = released;
    result.n_released_luns = rootfs_unmount(&container->rootfs, released);
    container->active = NULL;
    container_free(container);
    reply_delete_container(call, &result);
}

/* Comes here twice for a container that still runs: first to kill it, then, when it has been reaped (or will
 * not be), to delete it. */
void op_delete_container(Call *call)
{
    Container *container = container_find(call->request->delete_container->id);
    DeleteContainerResponse result = CRIVIRT__AGENT__V1__DELETE_CONTAINER_RESPONSE__INIT;
    Fault error;

    if (container == NULL) {
        reply_delete_container(call, &result);
        return;
    }
    bool first = container->active != call;
    if (!container_enter(container, call))
        return;
    if (first && !container->process->gone) {
        if (!cgroup_kill(container->cgroup))
            process_signal(container->process, SIGKILL, false);
        container->killing = true;
        call_retry(call, DELETE_KILL_MS);
        return;
    }
    container->killing = false;
    const char *const argv[] = {CRUN_PATH, CRUN_CGROUPS, "delete", "--force", container->id, NULL};
    const JobSpec spec = {.argv = argv, .with_log = true, .failing = "crun delete"};
    if (!job_start(&spec, delete_done, container, &error)) {
        call_fail(call, &error);
        container_leave(container);
    }
}

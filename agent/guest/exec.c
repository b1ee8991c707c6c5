/* SPDX-License-Identifier: Apache-2.0 */
/* Exec and Resize: more processes in a running container.
 *
 * `crun exec --detach` joins the container's namespaces and cgroup and ends, which makes the agent the parent
 * of the process. crun gets the container's own `process` object with other arguments, because a process that
 * crun makes from its command line has the container's user, environment and capabilities, but not its
 * directory, limits and noNewPrivileges.
 *
 * Only STARTS_AT_ONCE cruns run at once, and the others wait for their turn: fifty that share one processor
 * would all end late, and the agent answers nothing while it spawns one.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/guest/call.h"
#include "agent/guest/config.h"
#include "agent/guest/console.h"
#include "agent/guest/container.h"
#include "agent/guest/crun.h"
#include "agent/guest/freeze.h"
#include "agent/guest/in_guest.h"
#include "agent/guest/job.h"
#include "agent/guest/json.h"
#include "agent/guest/node.h"
#include "agent/guest/paths.h"
#include "agent/guest/process_tree.h"
#include "agent/guest/sysfile.h"

enum {
    STARTS_AT_ONCE = 4,
    /* A crun that hangs, as in a frozen container, delays the others for no longer than this. */
    TURN_MS = 10000,
};

/* One Exec. It lives as long as the crun that starts the process; the daemon may delete the process
 * meanwhile. */
typedef struct Exec {
    struct Exec *next; /* the next one that waits */
    Call *call;
    Timer turn; /* runs while this exec counts as one of STARTS_AT_ONCE */
    int console_fd;
    char pid_file[64], process_file[64];
} Exec;

static struct {
    Exec *first, **last; /* the execs that wait */
    unsigned running;
} starts = {.last = &starts.first};

static void execs_start_next(void);

static void exec_turn_over(void *data)
{
    starts.running--;
    execs_start_next();
}

static void exec_exited(void *data, Process *process)
{
    const Container *container = data;
    process->oom_killed =
        process->exit_code == 128 + SIGKILL && container_oom_kills(container) > process->oom_kills_before;
}

static bool exec_take(Exec *exec, Process *process, Fault *ret_fault)
{
    const ExecRequest *request = exec->call->request->exec;
    const Container *container = process->exited_data;
    char text[32];

    if (exec->console_fd >= 0) {
        int terminal = console_take(exec->console_fd);
        exec->console_fd = -1;
        if (terminal < 0 || !process_set_terminal(process, terminal, request->stdin))
            return fault(ret_fault, FAULT_INTERNAL, "crun exec passed no terminal");
    }
    if (!sysfile_read(exec->pid_file, text, sizeof text) || atoi(text) <= 1) /* NOLINT: crun's number */
        return fault(ret_fault, FAULT_INTERNAL, "crun exec wrote no pid");
    process_close_child_fds(process);
    process_run(process, atoi(text)); /* NOLINT */
    /* A signal that came before the pid was known reaches what the process has started since as well. */
    if (process->pending_signal != 0)
        process_tree_signal(container->cgroup, 0, process->mark, process->pending_signal);
    return true;
}

static void exec_end(Exec *exec, Process *process, const Fault *failure)
{
    ExecResponse result = CRIVIRT__AGENT__V1__EXEC_RESPONSE__INIT;

    if (failure != NULL && process != NULL)
        process_forget(process);
    if (exec->console_fd >= 0) {
        int fd = console_take(exec->console_fd);
        if (fd >= 0)
            close(fd);
    }
    unlink(exec->pid_file);
    unlink(exec->process_file);
    if (failure != NULL)
        call_fail(exec->call, failure);
    else
        reply_exec(exec->call, &result);
    free(exec);
}

/* Return: NULL when the process was deleted, also when another process has its name. */
static Process *exec_process(const Exec *exec)
{
    const ProcessId *id = exec->call->request->exec->process;
    Process *process = process_find(id->container_id, id->exec_id);

    return process != NULL && process->starter == exec->call ? process : NULL;
}

static void exec_done(void *data, Job *job, const Fault *failure)
{
    Exec *exec = data;
    Process *process = exec_process(exec);
    bool has_turn = exec->turn.active;
    Fault error;

    timer_stop(&exec->turn);
    if (failure == NULL && process == NULL) {
        fault(&error, FAULT_NOT_FOUND, "container %s has been deleted",
              exec->call->request->exec->process->container_id);
        failure = &error;
    }
    if (failure == NULL && !exec_take(exec, process, &error))
        failure = &error;
    exec_end(exec, process, failure);
    if (has_turn)
        exec_turn_over(NULL);
}

/* Writes the `process` of config.json, which crun has accepted, with the arguments and terminal of the
 * request.
 */
static bool write_process(JsonText *text, JsonSpan config, const ExecRequest *request)
{
    JsonMembers members = {.at = 0};
    JsonSpan key, value;

    if (!json_find(config, "process", &members.object))
        return false;
    char size[80];
    snprintf(size, sizeof size, ",\"consoleSize\":{\"height\":%u,\"width\":%u}", request->rows,
             request->columns);
    json_append(text, request->tty ? "{\"terminal\":true" : "{\"terminal\":false", request->tty ? 16 : 17);
    if (request->tty && request->rows > 0 && request->columns > 0)
        json_append(text, size, strlen(size)); /* from the start, because programs read the size only once */
    json_append(text, ",\"args\":[", 9);
    for (size_t i = 0; i < request->n_args; i++) {
        json_append(text, ",", i > 0);
        json_append_string(text, request->args[i]);
    }
    json_append(text, "]", 1);
    while (json_next_member(&members, &key, &value)) {
        if (json_key_is(key, "args") || json_key_is(key, "terminal") || json_key_is(key, "consoleSize") ||
            json_key_is(key, "commandLine"))
            continue;
        json_append(text, ",\"", 2);
        json_append(text, key.text, key.length);
        json_append(text, "\":", 2);
        json_append(text, value.text, value.length);
    }
    json_append(text, "}", 1);
    return !text->failed;
}

static bool make_process_file(const Exec *exec, const Container *container, Fault *ret_fault)
{
    JsonText text = {NULL, 0, 0, false}, config;

    if (!config_read(container->id, &config, ret_fault))
        return false;
    bool ok = write_process(&text, (JsonSpan){config.text, config.length}, exec->call->request->exec) ||
              fault(ret_fault, FAULT_INTERNAL,
                    "cannot read the process of container %s from its configuration", container->id);
    const Piece piece = {text.text, text.length};
    ok = ok && file_put(exec->process_file, 0600, &piece, 1, ret_fault);
    free(config.text);
    free(text.text);
    return ok;
}

static bool exec_run(Exec *exec, const Container *container, Process *process, Fault *ret_fault)
{
    const ExecRequest *request = exec->call->request->exec;
    char pid_option[80], process_option[80], console_path[64], console_option[96];
    const char *argv[12] = {CRUN_PATH,  CRUN_CGROUPS, crun_root,     "exec",
                            "--detach", pid_option,   process_option};
    size_t n = 7;

    if (!make_process_file(exec, container, ret_fault))
        return false;
    snprintf(pid_option, sizeof pid_option, "--pid-file=%s", exec->pid_file);
    snprintf(process_option, sizeof process_option, "--process=%s", exec->process_file);
    if (request->tty) {
        exec->console_fd = console_listen(console_path, sizeof console_path, ret_fault);
        if (exec->console_fd < 0)
            return false;
        snprintf(console_option, sizeof console_option, "--console-socket=%s", console_path);
        argv[n++] = console_option;
    }
    argv[n] = container->id;
    const JobSpec spec = {.argv = argv,
                          .with_log = true,
                          .fds = process->child_fds,
                          .oom_score_adj = container->oom_score_adj,
                          .mark = process->mark,
                          .failing = "crun exec"};
    return job_start(&spec, exec_done, exec, ret_fault);
}

static bool container_takes_execs(const Container *container, const char *id, Fault *ret_fault)
{
    if (container == NULL)
        return fault(ret_fault, FAULT_NOT_FOUND, "the pod has no container %s", id);
    if (container->state != CONTAINER_RUNNING || container->killing || container->ending)
        return fault(ret_fault, FAULT_FAILED_PRECONDITION, "container %s is not running", id);
    return true;
}

/* A process of the frozen cgroup would not begin before the container goes on. */
static bool container_is_awake(const Container *container, const ExecRequest *request, Fault *ret_fault)
{
    if (container->paused && !request->in_guest)
        return fault(ret_fault, FAULT_FAILED_PRECONDITION, "container %s is paused", container->id);
    return true;
}

/* Starts an exec whose turn has come, unless its container or its client has gone meanwhile. */
static void exec_start(Exec *exec)
{
    const char *id = exec->call->request->exec->process->container_id;
    const Container *container = container_find(id);
    Process *process = exec_process(exec);
    Fault error;
    bool ok = container_takes_execs(container, id, &error);

    ok = ok && container_is_awake(container, exec->call->request->exec, &error);
    if (ok && process == NULL)
        ok = fault(&error, FAULT_NOT_FOUND, "container %s has been deleted", id);
    else if (ok && process->hung_up)
        ok = fault(&error, FAULT_CANCELLED, "the client has gone");
    if (ok && exec->call->request->exec->in_guest) {
        ok = in_guest_start(process, exec->call->request->exec, &error);
        exec_end(exec, process, ok ? NULL : &error);
        return;
    }
    if (!ok || !exec_run(exec, container, process, &error)) {
        exec_end(exec, process, &error);
        return;
    }
    starts.running++;
    exec->turn.call = exec_turn_over;
    timer_start(&exec->turn, TURN_MS);
}

static void execs_start_next(void)
{
    while (starts.running < STARTS_AT_ONCE && starts.first != NULL) {
        Exec *exec = starts.first;

        starts.first = exec->next;
        if (starts.first == NULL)
            starts.last = &starts.first;
        exec_start(exec);
    }
}

static bool exec_check(const ExecRequest *request, Container **ret_container, Fault *ret_fault)
{
    const ProcessId *id = request->process;
    Container *container = id != NULL ? container_find(id->container_id) : NULL;

    if (id == NULL || !id_is_valid(id->exec_id) || request->n_args == 0)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT,
                     "Exec needs an exec_id of 1 to %d of [a-zA-Z0-9_.-] and a command", ID_MAX);
    if (request->in_guest && node_is_entered())
        return fault(ret_fault, FAULT_FAILED_PRECONDITION,
                     "a host pod has no guest: its kernel is the node's");
    if (!container_takes_execs(container, id->container_id, ret_fault) ||
        !container_is_awake(container, request, ret_fault))
        return false;
    if (process_find(id->container_id, id->exec_id) != NULL)
        return fault(ret_fault, FAULT_ALREADY_EXISTS, "container %s has an exec %s already", container->id,
                     id->exec_id);
    *ret_container = container;
    return true;
}

/* Takes the call, unless it returns NULL. */
static Exec *exec_new(Call *call)
{
    static unsigned serial;
    Exec *exec = calloc(1, sizeof *exec);

    if (exec == NULL)
        return NULL;
    exec->call = call;
    exec->console_fd = -1;
    snprintf(exec->pid_file, sizeof exec->pid_file, RUN_DIR "/pid.%u", serial);
    snprintf(exec->process_file, sizeof exec->process_file, RUN_DIR "/process.%u", serial++);
    return exec;
}

void op_exec(Call *call)
{
    const ExecRequest *request = call->request->exec;
    Container *container = NULL;
    Exec *exec = NULL;
    Fault error;

    if (freeze_defers(call))
        return;
    if (exec_check(request, &container, &error) && (exec = exec_new(call)) == NULL)
        fault(&error, FAULT_RESOURCE_EXHAUSTED, "cannot start a command: out of memory in the guest");
    if (exec == NULL) {
        call_fail(call, &error);
        return;
    }
    Process *process =
        process_new(container->id, request->process->exec_id, request->tty, request->stdin, &error);
    if (process == NULL) {
        exec_end(exec, NULL, &error);
        return;
    }
    process->starter = call;
    process->in_guest = request->in_guest;
    process->mark = request->in_guest ? in_guest_mark(container) : process_tree_new_mark();
    process->exited = exec_exited;
    process->exited_data = container;
    process->oom_kills_before = container_oom_kills(container);
    *starts.last = exec;
    starts.last = &exec->next;
    execs_start_next();
}

void op_resize(Call *call)
{
    const ResizeRequest *request = call->request->resize;
    const ProcessId *id = request->process;
    Process *process = id != NULL ? process_find(id->container_id, id->exec_id) : NULL;
    ResizeResponse result = CRIVIRT__AGENT__V1__RESIZE_RESPONSE__INIT;
    Fault error;

    if (process == NULL)
        fault(&error, FAULT_NOT_FOUND, "the pod has no process with this id");
    else if (request->columns > UINT16_MAX || request->rows > UINT16_MAX)
        fault(&error, FAULT_INVALID_ARGUMENT, "a terminal cannot have %u columns and %u rows",
              request->columns, request->rows);
    else if (process_resize(process, request->columns, request->rows)) {
        reply_resize(call, &result);
        return;
    } else if (errno == ENOTTY)
        fault(&error, FAULT_FAILED_PRECONDITION, "the process of container %s has no terminal",
              id->container_id);
    else
        fault_errno(&error, "resizing a terminal of container %s", id->container_id);
    call_fail(call, &error);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt run: a pod and its container in one go. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/image_pull.h"
#include "cri-server/cli/interrupt.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/log_output.h"
#include "cri-server/cli/run_spec.h"
#include "cri-server/cli/stream_run.h"

enum { STOP_GRACE_S = 10 };

typedef struct {
    Cli *cli;
    RunSpec spec;
    const char *pod_id; /* NULL: not created yet */
    const char *container_id;
    gboolean detached; /* the user detached; the container goes on */
} Run;

/* --- before the pod ------------------------------------------------------------------------------------ */

static gboolean check_name_is_free(Run *run, GError **error)
{
    const Inventory *inventory = inventory_load(run->cli, error);
    const char *name = run->spec.pod->metadata->name;

    if (inventory == NULL)
        return FALSE;
    for (gsize i = 0; i < inventory->n_pods; i++) {
        const Runtime__V1__PodSandbox *pod = inventory->pods[i];

        if (pod->metadata != NULL && strcmp(pod->metadata->namespace_, RUN_NAMESPACE) == 0 &&
            strcmp(pod->metadata->name, name) == 0)
            return fail(
                error, STATUS_ALREADY_EXISTS,
                "the name \"%s\" is taken by pod %.12s; remove it (crivirt rm -f %s) or choose another name",
                name, pod->id, name);
    }
    return TRUE;
}

static gboolean image_is_here(Run *run, gboolean *ret_here, GError **error)
{
    Runtime__V1__ImageStatusRequest request = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
    const Runtime__V1__ImageStatusResponse *response;

    request.image = run->spec.container->image;
    response = cli_image_call(run->cli, "ImageStatus", &request.base, CLI_CALL_MS, error);
    if (response == NULL)
        return FALSE;
    *ret_here = response->image != NULL;
    return TRUE;
}

static gboolean ensure_image(Run *run, GError **error)
{
    const char *policy = options_value(run->cli->options, "pull", "missing");
    const char *image = run->spec.container->image->image;
    ImagePull pull = {.image = image,
                      .username = "",
                      .password = "",
                      .auth_file = options_value(run->cli->options, "authfile", NULL),
                      .progress = stderr};
    const char *image_ref;
    gboolean here = FALSE;

    if (strcmp(policy, "always") != 0 && !image_is_here(run, &here, error))
        return FALSE;
    if (here)
        return TRUE;
    if (strcmp(policy, "never") == 0)
        return fail(error, STATUS_NOT_FOUND, "image \"%s\" is not present and --pull=never", image);
    fprintf(stderr, "Pulling %s\n", image);
    return image_pull(run->cli, &pull, &image_ref, error);
}

/* --- the pod ------------------------------------------------------------------------------------------- */

static gboolean make_pod(Run *run, GError **error)
{
    Runtime__V1__RunPodSandboxRequest request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
    const Runtime__V1__RunPodSandboxResponse *response;
    g_autofree char *directory =
        g_build_filename(run->spec.pod->log_directory, run->spec.pod->metadata->name, NULL);

    if (!dir_make(directory, 0755, error))
        return FALSE;
    request.config = run->spec.pod;
    request.runtime_handler = (char *)options_value(run->cli->options, "runtime", "");
    response = cli_runtime_call(run->cli, "RunPodSandbox", &request.base, CLI_RUN_POD_MS, error);
    if (response == NULL)
        return FALSE;
    run->pod_id = response->pod_sandbox_id;
    return TRUE;
}

static gboolean make_container(Run *run, GError **error)
{
    Runtime__V1__CreateContainerRequest request = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
    const Runtime__V1__CreateContainerResponse *response;

    request.pod_sandbox_id = (char *)run->pod_id;
    request.config = run->spec.container;
    request.sandbox_config = run->spec.pod;
    response = cli_runtime_call(run->cli, "CreateContainer", &request.base, CLI_CALL_MS, error);
    if (response == NULL)
        return FALSE;
    run->container_id = response->container_id;
    return TRUE;
}

static gboolean start_container(Run *run, GError **error)
{
    Runtime__V1__StartContainerRequest request = RUNTIME__V1__START_CONTAINER_REQUEST__INIT;

    request.container_id = (char *)run->container_id;
    return cli_runtime_call(run->cli, "StartContainer", &request.base, CLI_CALL_MS, error) != NULL;
}

static gboolean start_when_attached(gpointer data, GError **error)
{
    return start_container(data, error);
}

/* Attaches before the container starts, so that no output is lost. Returns when the container has ended, or
 * the user has detached. */
static gboolean run_attached(Run *run, GError **error)
{
    StreamRun stream = {.in_fd = STDIN_FILENO,
                        .out_fd = STDOUT_FILENO,
                        .err_fd = STDERR_FILENO,
                        .tty = run->spec.container->tty,
                        .connected = start_when_attached,
                        .data = run};
    StreamAddress address;

    if (!stream_attach_address(run->cli, run->container_id, TRUE, stream.tty, &address, error) ||
        !stream_run(run->cli, &address, &stream, error))
        return FALSE;
    run->detached = stream.detached;
    return TRUE;
}

static gboolean is_attached(const Run *run)
{
    return run->spec.container->stdin && !options_flag(run->cli->options, "detach");
}

/* Creating or starting the container fails for a program that cannot run, depending on the OCI runtime. */
static gboolean run_container(Run *run, GError **error)
{
    g_autoptr(GError) failure = NULL;

    if (make_container(run, &failure) &&
        (is_attached(run) ? run_attached(run, &failure) : start_container(run, &failure)))
        return TRUE;
    run->cli->exit_code = program_failure_exit_code(failure->message);
    g_propagate_error(error, g_steal_pointer(&failure));
    return FALSE;
}

/* A call that was interrupted may still have created a pod, which is found by its uid. */
static const char *find_pod(Run *run)
{
    const Inventory *inventory = inventory_load(run->cli, NULL);

    for (gsize i = 0; inventory != NULL && i < inventory->n_pods; i++)
        if (inventory->pods[i]->metadata != NULL &&
            strcmp(inventory->pods[i]->metadata->uid, run->spec.pod->metadata->uid) == 0)
            return inventory->pods[i]->id;
    return NULL;
}

static void remove_pod(Run *run)
{
    g_autoptr(GError) error = NULL;
    const char *id = run->pod_id;

    if (g_cancellable_is_cancelled(run->cli->interrupt))
        interrupt_rearm(run->cli->interrupt);
    if (id == NULL)
        id = find_pod(run);
    if (id == NULL)
        dir_remove_tree(run->spec.pod->log_directory, &error);
    else
        pod_remove(run->cli, id, run->spec.pod->log_directory, &error);
    if (error != NULL)
        cli_warn("cannot clean up: %s", error->message);
}

/* --- in the foreground --------------------------------------------------------------------------------- */

/* The first Ctrl-C stops the container gracefully, a second one during that kills it; its last output
 * follows. */
static gboolean stop_on_interrupt(gpointer data, GError **error)
{
    g_autoptr(GError) failure = NULL;
    Run *run = data;

    interrupt_rearm(run->cli->interrupt);
    if (container_stop(run->cli, run->container_id, STOP_GRACE_S, &failure))
        return TRUE;
    if (!g_error_matches(failure, CRIVIRT_ERROR, STATUS_CANCELLED)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    interrupt_rearm(run->cli->interrupt);
    return container_stop(run->cli, run->container_id, 0, error);
}

/* Explains an end by something other than the program's own exit. */
static void explain_end(const Runtime__V1__ContainerStatus *status)
{
    if (*status->reason == '\0' || strcmp(status->reason, "Completed") == 0 ||
        strcmp(status->reason, "Error") == 0)
        return;
    cli_warn("the container ended: %s%s%s", status->reason, *status->message != '\0' ? ": " : "",
             status->message);
}

/* The output has been shown; the daemon records the end a moment later. */
static gboolean wait_for_status(Run *run, GError **error)
{
    enum { INTERVAL_US = 20 * 1000 };
    const Runtime__V1__ContainerStatus *status;

    for (;;) {
        status = container_status(run->cli, run->container_id, error);
        if (status == NULL)
            return FALSE;
        if (status->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED)
            break;
        g_usleep(INTERVAL_US);
    }
    explain_end(status);
    run->cli->exit_code = status->exit_code;
    return TRUE;
}

static gboolean wait_for_end(Run *run, GError **error)
{
    const Runtime__V1__ContainerStatus *status = container_status(run->cli, run->container_id, error);
    LogOutput output = {.container_id = run->container_id,
                        .follow = TRUE,
                        .tail = -1,
                        .interrupted = stop_on_interrupt,
                        .data = run};

    if (status == NULL)
        return FALSE;
    output.path = status->log_path;
    if (!log_output(run->cli, &output, error))
        return FALSE;
    status = container_status(run->cli, run->container_id, error);
    if (status == NULL)
        return FALSE;
    explain_end(status);
    run->cli->exit_code = status->exit_code;
    return TRUE;
}

/* Without --rm the container stays listed with its log, and the pod is stopped, because its VM has nothing
 * left to do. */
static gboolean finish_foreground(Run *run, GError **error)
{
    gboolean remove = options_flag(run->cli->options, "rm");
    gboolean good;

    if (run->detached)
        return TRUE;
    good = is_attached(run) ? wait_for_status(run, error) : wait_for_end(run, error);
    if (remove)
        remove_pod(run);
    else if (good)
        good = pod_stop(run->cli, run->pod_id, error);
    return good;
}

/* With --rm a process of its own removes the pod when the container ends, because this one returns now. */
static gboolean finish_detached(Run *run, GError **error)
{
    const char *argv[] = {"/proc/self/exe",  "--socket",        run->cli->socket_path,
                          command_reap.name, run->container_id, NULL};
    g_autofree char *line = g_strdup_printf("%s\n", run->container_id);

    if (options_flag(run->cli->options, "rm") &&
        !g_spawn_async(NULL, (char **)(void *)argv, NULL,
                       G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, error)) {
        error_adopt(error);
        g_prefix_error(error, "--rm: ");
        return FALSE;
    }
    return cli_print(line, error);
}

/* Makes the pod, and the container in it, by make(). Leaves no pod after a failure. */
static gboolean make_all(Run *run, gboolean (*make)(Run *run, GError **error), GError **error)
{
    if (!check_name_is_free(run, error) || !ensure_image(run, error))
        return FALSE;
    if (make_pod(run, error) && make(run, error))
        return TRUE;
    remove_pod(run);
    return FALSE;
}

/* What the options ask for, in the arena of the command. */
static gboolean describe(Run *run, gboolean is_watched, GError **error)
{
    const Cli *cli = run->cli;
    const char *restart = options_value(cli->options, "restart", "no");
    g_autofree char *uid = g_uuid_string_random();
    g_autofree char *made_up = g_strdup_printf("%08x%04x", g_random_int(), g_random_int() & 0xffff);
    g_autofree char *directory = g_get_current_dir();
    g_autofree char *log_root = g_canonicalize_filename(cli->log_root, directory);

    /* crivirtd ends and restarts without its pods, and starts nothing by itself. */
    if (!g_str_equal(restart, "no"))
        return usage_fail(
            error,
            "--restart %s: something has to watch the container, which the CRI leaves to the kubelet. "
            "Put a pod with restartPolicy into the kubelet's staticPodPath, or let systemd restart "
            "\"crivirt run --rm --name NAME …\" (Restart=always)",
            restart);
    RunIdentity identity = {options_value(cli->options, "name", made_up), uid, log_root, directory,
                            is_watched};

    return run_spec_build(cli->options, &identity, cli->arena, &run->spec, error);
}

static gboolean run_command(Cli *cli, GError **error)
{
    const gboolean is_watched = !options_flag(cli->options, "detach") || options_flag(cli->options, "rm");
    Run run = {.cli = cli};

    if (!describe(&run, is_watched, error))
        return FALSE;
    if (!make_all(&run, run_container, error)) {
        if (cli->exit_code == 0)
            cli->exit_code = EXIT_DAEMON;
        return FALSE;
    }
    return options_flag(cli->options, "detach") ? finish_detached(&run, error)
                                                : finish_foreground(&run, error);
}

const Command command_run = {
    .name = "run",
    .group = "Containers",
    .usage = "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    .help = "Run a container in a new pod",
    .details =
        "Creates a pod (a VM) with one container, which has the pod's name, and shows the container's\n"
        "output until it ends; Ctrl-C stops it. Exits with the container's exit code, or with 125 when\n"
        "crivirtd failed, 126 when the program cannot be run, 127 when it is not in the image.\n"
        "\n"
        "  crivirt run --rm docker.io/library/busybox uname -a\n"
        "  crivirt run -d --name web -p 8080:80 -m 256m docker.io/library/nginx\n"
        "  crivirt run --rm -v $PWD:/work:ro -w /work docker.io/library/busybox ls",
    .options = run_options,
    .min_operands = 1,
    .max_operands = -1,
    .ends_at_operand = TRUE,
    .error_exit = EXIT_DAEMON,
    .run = run_command,
};

/* --- create -------------------------------------------------------------------------------------------- */

static gboolean create_command(Cli *cli, GError **error)
{
    g_autofree char *line = NULL;
    Run run = {.cli = cli};

    if (options_flag(cli->options, "rm"))
        return usage_fail(error, "--rm goes with run only: remove the container with rm");
    if (!describe(&run, FALSE, error) || !make_all(&run, make_container, error))
        return FALSE;
    line = g_strdup_printf("%s\n", run.container_id);
    return cli_print(line, error);
}

const Command command_create = {
    .name = "create",
    .group = "Containers",
    .usage = "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    .help = "Create a container in a new pod, without starting it",
    .details = "Takes the options of run. The pod's VM runs already; crivirt start starts the container.",
    .options = run_options,
    .min_operands = 1,
    .max_operands = -1,
    .ends_at_operand = TRUE,
    .run = create_command,
};

/* --- the helper behind `run -d --rm` ------------------------------------------------------------------- */

/* Waits for the end of a container and removes its pod. Gives up when the container is gone or the daemon has
 * not answered for five minutes. */
static gboolean reap_command(Cli *cli, GError **error)
{
    enum { INTERVAL_US = 500 * 1000, PATIENCE = 600 };
    const char *id = options_operands(cli->options)[0];

    setsid(); /* survive the end of the terminal */
    for (int failures = 0; failures < PATIENCE;) {
        g_autoptr(Arena) arena = arena_new();
        g_autoptr(GError) failure = NULL;
        const Runtime__V1__ContainerStatus *status;
        Arena *outer = cli->arena;

        cli->arena = arena;
        status = container_status(cli, id, &failure);
        cli->arena = outer;
        if (status != NULL && status->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED) {
            const Inventory *inventory = inventory_load(cli, error);
            const InventoryContainer *row =
                inventory != NULL ? inventory_container(cli, inventory, id, error) : NULL;

            return row != NULL &&
                   pod_remove(cli, row->container->pod_sandbox_id, pod_log_directory(row->pod), error);
        }
        if (g_error_matches(failure, CRIVIRT_ERROR, STATUS_NOT_FOUND))
            return TRUE;
        if (g_error_matches(failure, CRIVIRT_ERROR, STATUS_CANCELLED))
            return TRUE;
        failures = status != NULL ? 0 : failures + 1;
        g_usleep(INTERVAL_US);
    }
    return TRUE;
}

const Command command_reap = {
    .name = "__reap",
    .usage = "CONTAINER",
    .help = "Remove the pod of a container when it ends (used by run -d --rm)",
    .min_operands = 1,
    .max_operands = 1,
    .run = reap_command,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt kill, wait, start, top. */
#include <stdio.h>
#include <string.h>

#include "common/error.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/values.h"
#include "crivirt.pb-c.h"

#define STATE(name) RUNTIME__V1__CONTAINER_STATE__CONTAINER_##name

/* --- kill ---------------------------------------------------------------------------------------------- */

/* The CRI can only stop a container, with KILL at last; any other signal is sent by a command in it. */
static gboolean kill_one(Cli *cli, const InventoryContainer *row, GError **error)
{
    const char *signal_name = options_value(cli->options, "signal", "KILL");
    Runtime__V1__ExecSyncRequest request = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
    const Runtime__V1__ExecSyncResponse *response;
    const char *words[] = {"kill", "-s", signal_name, "1"};

    if (row->container->state != STATE(RUNNING))
        return fail(error, STATUS_FAILED_PRECONDITION, "it does not run");
    if (g_str_has_prefix(signal_name, "SIG"))
        words[2] = signal_name + strlen("SIG");
    if (g_str_equal(words[2], "KILL") || g_str_equal(words[2], "9"))
        return container_stop(cli, row->container->id, 0, error);
    request.container_id = row->container->id;
    request.cmd = (char **)(void *)words;
    request.n_cmd = G_N_ELEMENTS(words);
    response = cli_runtime_call(cli, "ExecSync", &request.base, CLI_CALL_MS, error);
    if (response == NULL) {
        g_prefix_error(error, "signals other than KILL need the program kill in the container: ");
        return FALSE;
    }
    return response->exit_code == 0 || fail(error, STATUS_INVALID_ARGUMENT, "kill -s %s 1: %.*s", words[2],
                                            (int)response->stderr.len, (const char *)response->stderr.data);
}

static gboolean kill_command(Cli *cli, GError **error)
{
    return containers_for_each(cli, kill_one, error);
}

static const OptionSpec kill_options[] = {
    {"signal", 's', OPTION_VALUE, "SIGNAL", "signal to send (default KILL)"},
    {NULL},
};

const Command command_kill = {
    .name = "kill",
    .group = "Containers",
    .usage = "[OPTIONS] CONTAINER...",
    .help = "Kill containers, or send them another signal",
    .details =
        "KILL is sent by crivirtd. Any other signal goes to the container's first process, through the\n"
        "program kill of the container's image. The pod stays.",
    .options = kill_options,
    .min_operands = 1,
    .max_operands = -1,
    .run = kill_command,
};

/* --- pause, unpause ------------------------------------------------------------------------------------- */

static gboolean set_paused(Cli *cli, const char *container_id, gboolean paused, GError **error)
{
    Crivirt__V1__PauseContainerRequest request = CRIVIRT__V1__PAUSE_CONTAINER_REQUEST__INIT;

    request.container_id = (char *)container_id;
    request.paused = paused;
    return cli_own_call(cli, "PauseContainer", &request.base, CLI_CALL_MS, error) != NULL;
}

/* All running containers of the pod. */
static gboolean set_pod_paused(Cli *cli, const char *name, gboolean paused, GError **error)
{
    const Inventory *inventory = inventory_load(cli, error);
    const Runtime__V1__PodSandbox *pod =
        inventory != NULL ? inventory_pod(cli, inventory, name, error) : NULL;

    if (pod == NULL)
        return FALSE;
    for (gsize i = 0; i < inventory->n_containers; i++) {
        const Runtime__V1__Container *container = inventory->containers[i].container;

        if (g_str_equal(container->pod_sandbox_id, pod->id) && container->state == STATE(RUNNING) &&
            !set_paused(cli, container->id, paused, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean pause_one(Cli *cli, const InventoryContainer *row, GError **error)
{
    return set_paused(cli, row->container->id, TRUE, error);
}

static gboolean unpause_one(Cli *cli, const InventoryContainer *row, GError **error)
{
    return set_paused(cli, row->container->id, FALSE, error);
}

static gboolean pause_all(Cli *cli, gboolean paused, GError **error)
{
    if (!options_flag(cli->options, "pod"))
        return containers_for_each(cli, paused ? pause_one : unpause_one, error);
    for (const char *const *name = options_operands(cli->options); *name != NULL; name++) {
        g_autofree char *line = g_strdup_printf("%s\n", *name);

        if (!set_pod_paused(cli, *name, paused, error)) {
            g_prefix_error(error, "%s: ", *name);
            return FALSE;
        }
        if (!cli_print(line, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean pause_command(Cli *cli, GError **error)
{
    return pause_all(cli, TRUE, error);
}

static gboolean unpause_command(Cli *cli, GError **error)
{
    return pause_all(cli, FALSE, error);
}

static const OptionSpec pause_options[] = {
    {"pod", 'p', OPTION_FLAG, NULL, "the names are pods': all their running containers"},
    {NULL},
};

const Command command_pause = {
    .name = "pause",
    .group = "Containers",
    .usage = "[OPTIONS] CONTAINER...",
    .help = "Stop all processes of containers without their notice",
    .details =
        "They keep their memory and connections until \"crivirt unpause\". Commands in a paused container\n"
        "are refused, a kubelet's exec probes among them; stop lets it go on first, and kill and rm end it.\n"
        "To the CRI it is running, with the reason Paused.",
    .options = pause_options,
    .min_operands = 1,
    .max_operands = -1,
    .run = pause_command,
};

const Command command_unpause = {
    .name = "unpause",
    .group = "Containers",
    .usage = "[OPTIONS] CONTAINER...",
    .help = "Let paused containers go on",
    .options = pause_options,
    .min_operands = 1,
    .max_operands = -1,
    .run = unpause_command,
};

/* --- wait ---------------------------------------------------------------------------------------------- */

static gboolean wait_one(Cli *cli, const char *name, const char *id, GError **error)
{
    enum { INTERVAL_US = 100 * 1000 };

    for (;;) {
        g_autoptr(Arena) arena = arena_new(); /* the answers of a long wait would fill the command's */
        Arena *outer = cli->arena;
        const Runtime__V1__ContainerStatus *status;

        cli->arena = arena;
        status = container_status(cli, id, error);
        cli->arena = outer;
        if (status == NULL) {
            g_prefix_error(error, "%s: ", name);
            return FALSE;
        }
        if (status->state == STATE(EXITED)) {
            g_autofree char *line = g_strdup_printf("%d\n", status->exit_code);

            return cli_print(line, error);
        }
        if (g_cancellable_is_cancelled(cli->interrupt))
            return fail(error, STATUS_CANCELLED, "interrupted");
        g_usleep(INTERVAL_US);
    }
}

/* The names are looked up first: a container that is removed meanwhile would not be found later. */
static gboolean wait_command(Cli *cli, GError **error)
{
    const char *const *names = options_operands(cli->options);
    const guint n_names = options_n_operands(cli->options);
    const Inventory *inventory = inventory_load(cli, error);
    g_autofree const char **ids = g_new0(const char *, n_names);

    if (inventory == NULL)
        return FALSE;
    for (guint i = 0; i < n_names; i++) {
        const InventoryContainer *row = inventory_container(cli, inventory, names[i], error);

        if (row == NULL)
            return FALSE;
        ids[i] = row->container->id;
    }
    for (guint i = 0; i < n_names; i++)
        if (!wait_one(cli, names[i], ids[i], error))
            return FALSE;
    return TRUE;
}

const Command command_wait = {
    .name = "wait",
    .group = "Containers",
    .usage = "CONTAINER...",
    .help = "Wait until containers have ended, and print their exit codes",
    .min_operands = 1,
    .max_operands = -1,
    .run = wait_command,
};

/* --- start --------------------------------------------------------------------------------------------- */

static gboolean start_one(Cli *cli, const InventoryContainer *row, GError **error)
{
    Runtime__V1__StartContainerRequest request = RUNTIME__V1__START_CONTAINER_REQUEST__INIT;

    if (row->container->state == STATE(EXITED))
        return fail(
            error, STATUS_FAILED_PRECONDITION,
            "it has ended, and the CRI cannot start a container again: crivirt restart makes another one");
    request.container_id = row->container->id;
    return cli_runtime_call(cli, "StartContainer", &request.base, CLI_CALL_MS, error) != NULL;
}

static gboolean start_command(Cli *cli, GError **error)
{
    return containers_for_each(cli, start_one, error);
}

const Command command_start = {
    .name = "start",
    .group = "Containers",
    .usage = "CONTAINER...",
    .help = "Start containers that were created and not started",
    .details = "For containers of \"crivirt create\". A container that has ended cannot be started again.",
    .min_operands = 1,
    .max_operands = -1,
    .run = start_command,
};

/* --- restart ------------------------------------------------------------------------------------------- */

/* A kubelet restarts its containers itself, and would stop one that it did not make. */
static gboolean restart_one(Cli *cli, const InventoryContainer *row, GError **error)
{
    Crivirt__V1__RestartContainerRequest request = CRIVIRT__V1__RESTART_CONTAINER_REQUEST__INIT;
    gint64 timeout_s = 0;

    if (!inventory_pod_is_ours(row->pod))
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "crivirt run did not make its pod: stop it, and the kubelet starts it again as its "
                    "restartPolicy says");
    if (row->pod->state != RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "its pod has ended, as that of run without -d does with its container: use rm and run");
    if (inventory_pod_is_watched(row->pod))
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "crivirt run without -d, or with --rm, ends its pod when the container ends: use run -d");
    if (!value_parse_seconds(options_value(cli->options, "time", "10"), &timeout_s, error))
        return usage_blame(error, "time");
    request.container_id = row->container->id;
    request.timeout = timeout_s;
    return cli_own_call(cli, "RestartContainer", &request.base, CLI_CALL_MS + timeout_s * 1000, error) !=
           NULL;
}

static gboolean restart_command(Cli *cli, GError **error)
{
    return containers_for_each(cli, restart_one, error);
}

static const OptionSpec restart_options[] = {
    {"time", 't', OPTION_VALUE, "SECONDS", "time between the stop signal and KILL (default 10)"},
    {NULL},
};

const Command command_restart = {
    .name = "restart",
    .group = "Containers",
    .usage = "[OPTIONS] CONTAINER...",
    .help = "Stop containers, and start them anew in their pods",
    .details = "For containers of \"crivirt run -d\" and create. As no runtime starts a container twice, "
               "another one with\n"
               "the same configuration takes its place: it has another id, and an empty writable layer. The "
               "log goes on.",
    .options = restart_options,
    .min_operands = 1,
    .max_operands = -1,
    .run = restart_command,
};

/* --- top ----------------------------------------------------------------------------------------------- */

static gboolean top_command(Cli *cli, GError **error)
{
    static const char *const standard[] = {"-ef", NULL};
    Runtime__V1__ExecSyncRequest request = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
    const char *const *given = options_operands(cli->options) + 1;
    const Inventory *inventory = inventory_load(cli, error);
    const InventoryContainer *row =
        inventory != NULL ? inventory_container(cli, inventory, given[-1], error) : NULL;
    const Runtime__V1__ExecSyncResponse *response;
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_autofree char *output = NULL;

    if (row == NULL)
        return FALSE;
    g_ptr_array_add(words, (gpointer) "ps");
    for (const char *const *word = *given != NULL ? given : standard; *word != NULL; word++)
        g_ptr_array_add(words, (gpointer)*word);
    request.container_id = row->container->id;
    request.cmd = (char **)words->pdata;
    request.n_cmd = words->len;
    response = cli_runtime_call(cli, "ExecSync", &request.base, CLI_CALL_MS, error);
    if (response == NULL) {
        g_prefix_error(error, "top needs the program ps in the container: ");
        return FALSE;
    }
    if (response->exit_code != 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "ps: %.*s", (int)response->stderr.len,
                    (const char *)response->stderr.data);
    output = g_strndup((const char *)response->stdout.data, response->stdout.len);
    return cli_print(output, error);
}

const Command command_top = {
    .name = "top",
    .group = "Containers",
    .usage = "CONTAINER [PS OPTION...]",
    .help = "Show the processes of a container",
    .details = "Runs ps -ef, or ps with the options given, in the container, so its image must have ps.",
    .min_operands = 1,
    .max_operands = -1,
    .ends_at_operand = TRUE,
    .run = top_command,
};

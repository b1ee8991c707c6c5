/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt hibernate, wake. */
#include "cri-server/cli/commands.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/values.h"
#include "crivirt.pb-c.h"

typedef gboolean (*PodFunc)(Cli *cli, char *id, GError **error);

/* Calls func for each pod that the operands name, and prints the name. */
static gboolean pods_for_each(Cli *cli, PodFunc func, GError **error)
{
    const Inventory *inventory = inventory_load(cli, error);

    if (inventory == NULL)
        return FALSE;
    for (const char *const *name = options_operands(cli->options); *name != NULL; name++) {
        const Runtime__V1__PodSandbox *pod = inventory_pod(cli, inventory, *name, error);
        g_autofree char *line = g_strdup_printf("%s\n", *name);

        if (pod == NULL || !func(cli, pod->id, error)) {
            g_prefix_error(error, "%s: ", *name);
            return FALSE;
        }
        if (!cli_print(line, error))
            return FALSE;
    }
    return TRUE;
}

/* --- hibernate ----------------------------------------------------------------------------------------- */

static gboolean hibernate_one(Cli *cli, char *id, GError **error)
{
    Crivirt__V1__HibernatePodRequest request = CRIVIRT__V1__HIBERNATE_POD_REQUEST__INIT;

    request.pod_sandbox_id = id;
    request.force = options_flag(cli->options, "force");
    return cli_own_call(cli, "HibernatePod", &request.base, CLI_NO_LIMIT_MS, error) != NULL;
}

static gboolean hibernate_command(Cli *cli, GError **error)
{
    return pods_for_each(cli, hibernate_one, error);
}

static const OptionSpec hibernate_options[] = {
    {"force", 'f', OPTION_FLAG, NULL, "end sessions of exec, attach and port-forward"},
    {NULL},
};

const Command command_hibernate = {
    .name = "hibernate",
    .group = "Pods",
    .usage = "[OPTIONS] POD...",
    .help = "Give the memory of pods back to the node until they are needed",
    .details =
        "The memory is written to the daemon's state directory, and the VM ends. The pod keeps its\n"
        "containers, address, logs and files. \"crivirt wake\" lets it go on, and so does each call that\n"
        "needs its containers: exec, attach, port-forward, stop with a grace period. To the CRI its\n"
        "containers are running, with the reason Hibernated.",
    .options = hibernate_options,
    .min_operands = 1,
    .max_operands = -1,
    .run = hibernate_command,
};

/* --- wake ---------------------------------------------------------------------------------------------- */

static gboolean wake_one(Cli *cli, char *id, GError **error)
{
    Crivirt__V1__WakePodRequest request = CRIVIRT__V1__WAKE_POD_REQUEST__INIT;

    request.pod_sandbox_id = id;
    return cli_own_call(cli, "WakePod", &request.base, CLI_NO_LIMIT_MS, error) != NULL;
}

static gboolean wake_command(Cli *cli, GError **error)
{
    return pods_for_each(cli, wake_one, error);
}

const Command command_wake = {
    .name = "wake",
    .group = "Pods",
    .usage = "POD...",
    .help = "Let hibernated pods go on",
    .min_operands = 1,
    .max_operands = -1,
    .run = wake_command,
};

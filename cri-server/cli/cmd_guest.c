/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt shell, dmesg: the guest of a pod itself. */
#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/stream_run.h"
#include "crivirt.pb-c.h"

/* --- shell --------------------------------------------------------------------------------------------- */

static gboolean runs(const InventoryContainer *row)
{
    return row->container->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
}

/* The container of the pod whose programs the guest runs: the one that --container names, else the oldest
 * that runs. */
static const InventoryContainer *find_programs(Cli *cli, const char *pod_name, GError **error)
{
    const Inventory *inventory = inventory_load(cli, error);
    const Runtime__V1__PodSandbox *pod =
        inventory != NULL ? inventory_pod(cli, inventory, pod_name, error) : NULL;
    const char *wanted = options_value(cli->options, "container", NULL);
    const InventoryContainer *found = NULL;

    if (pod == NULL)
        return NULL;
    for (gsize i = 0; i < inventory->n_containers; i++) {
        const InventoryContainer *row = &inventory->containers[i];

        if (g_str_equal(row->container->pod_sandbox_id, pod->id) && runs(row) &&
            (wanted == NULL || g_str_equal(row->container->metadata->name, wanted) ||
             g_str_has_prefix(row->container->id, wanted)))
            found = row;
    }
    if (found == NULL && wanted != NULL)
        fail(error, STATUS_NOT_FOUND, "pod %s has no running container %s", pod_name, wanted);
    else if (found == NULL)
        fail(error, STATUS_FAILED_PRECONDITION,
             "pod %s has no running container, whose programs the guest could run: see crivirt dmesg",
             pod_name);
    return found;
}

static gboolean shell_address(Cli *cli, const char *container_id, const char *const *words, gboolean tty,
                              StreamAddress *ret_address, GError **error)
{
    Crivirt__V1__GuestShellRequest request = CRIVIRT__V1__GUEST_SHELL_REQUEST__INIT;
    const Crivirt__V1__GuestShellResponse *response;

    request.container_id = (char *)container_id;
    request.cmd = (char **)(void *)words;
    request.n_cmd = g_strv_length((char **)(void *)words);
    request.tty = tty;
    request.stdin = TRUE;
    response = cli_own_call(cli, "GuestShell", &request.base, CLI_CALL_MS, error);
    return response != NULL && stream_complete_address(cli, response->url, ret_address, error);
}

static gboolean shell_command(Cli *cli, GError **error)
{
    static const char *const shell[] = {"sh", NULL};
    const char *const *operands = options_operands(cli->options);
    const char *const *words = operands[1] != NULL ? operands + 1 : shell;
    gboolean tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    StreamRun run = {.in_fd = STDIN_FILENO, .out_fd = STDOUT_FILENO, .err_fd = STDERR_FILENO, .tty = tty};
    const InventoryContainer *programs = find_programs(cli, operands[0], error);
    StreamAddress address;

    if (programs == NULL)
        return FALSE;
    if (shell_address(cli, programs->container->id, words, tty, &address, error) &&
        stream_run(cli, &address, &run, error))
        return TRUE;
    g_prefix_error(error, "cannot run %s in the guest of %s: ", words[0], operands[0]);
    return FALSE;
}

static const OptionSpec shell_options[] = {
    {"container", 'c', OPTION_VALUE, "CONTAINER",
     "use this container's programs (default: those of the oldest that runs)"},
    {NULL},
};

const Command command_shell = {
    .name = "shell",
    .group = "Pods",
    .usage = "[OPTIONS] POD [COMMAND [ARG...]]",
    .help = "Run a shell or a command in a pod's guest, outside of its containers",
    .details = "For administrators. The command is root in the guest, with all capabilities, and sees all\n"
               "processes, mounts and interfaces of the guest. The guest has no programs of its own, so the\n"
               "command is one of a container's image (default sh), and / is that container's file system;\n"
               "the guest's own is /proc/1/root. crivirtd logs each use; guest.shell = false refuses it.\n"
               "\n"
               "  crivirt shell web\n"
               "  crivirt shell web cat /proc/meminfo",
    .options = shell_options,
    .min_operands = 1,
    .max_operands = -1,
    .ends_at_operand = TRUE,
    .error_exit = EXIT_DAEMON,
    .run = shell_command,
};

/* --- dmesg --------------------------------------------------------------------------------------------- */

/* Return: the text without the levels of its lines, "<6>", and without control characters: a guest may write
 * what a terminal would obey. The caller frees it. */
char *guest_log_text(const void *data, gsize length)
{
    g_autofree char *bytes = g_malloc0(length + 1);
    g_autofree char *valid = NULL;
    GString *text = g_string_sized_new(length);
    gboolean at_start = TRUE;

    memcpy(bytes, data, length);
    for (gsize i = 0; i < length; i++)
        if (bytes[i] == '\0')
            bytes[i] = ' ';
    valid = g_utf8_make_valid(bytes, -1);
    for (const char *at = valid; *at != '\0'; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);

        if (at_start && *at == '<') {
            const char *end = at + 1 + strspn(at + 1, "0123456789");

            if (*end == '>' && end > at + 1) {
                at = end; /* one byte, so that the loop goes on behind it */
                at_start = FALSE;
                continue;
            }
        }
        at_start = c == '\n';
        if (c == '\n' || c == '\t' || !g_unichar_iscntrl(c))
            g_string_append_unichar(text, c);
    }
    if (text->len > 0 && text->str[text->len - 1] != '\n')
        g_string_append_c(text, '\n');
    return g_string_free(text, FALSE);
}

static gboolean dmesg_command(Cli *cli, GError **error)
{
    const Inventory *inventory = inventory_load(cli, error);
    const Runtime__V1__PodSandbox *pod =
        inventory != NULL ? inventory_pod(cli, inventory, options_operands(cli->options)[0], error) : NULL;
    Crivirt__V1__GuestLogRequest request = CRIVIRT__V1__GUEST_LOG_REQUEST__INIT;
    const Crivirt__V1__GuestLogResponse *response;
    g_autofree char *text = NULL;

    if (pod == NULL)
        return FALSE;
    request.pod_sandbox_id = pod->id;
    response = cli_own_call(cli, "GuestLog", &request.base, CLI_CALL_MS, error);
    if (response == NULL)
        return FALSE;
    if (response->is_console)
        cli_warn("the guest of %s does not answer any more; this is the end of its console",
                 options_operands(cli->options)[0]);
    text = guest_log_text(response->text.data, response->text.len);
    return cli_print(text, error);
}

const Command command_dmesg = {
    .name = "dmesg",
    .group = "Pods",
    .usage = "POD",
    .help = "Show the kernel log of a pod's guest",
    .details = "At most the last 256 KiB. Of a guest that has ended or hangs, shows the end of its console.",
    .min_operands = 1,
    .max_operands = 1,
    .run = dmesg_command,
};

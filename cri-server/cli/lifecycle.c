/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/lifecycle.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"

int program_failure_exit_code(const char *message)
{
    g_autofree char *lower = g_ascii_strdown(message, -1);

    if (strstr(lower, "exec format error") != NULL)
        return EXIT_CANNOT_RUN;
    if (strstr(lower, "executable") == NULL)
        return EXIT_DAEMON;
    if (strstr(lower, "permission denied") != NULL || strstr(lower, "is a directory") != NULL)
        return EXIT_CANNOT_RUN;
    return strstr(lower, "not found") != NULL ? EXIT_NOT_FOUND : EXIT_DAEMON;
}

const Runtime__V1__ContainerStatus *container_status(Cli *cli, const char *id, GError **error)
{
    Runtime__V1__ContainerStatusRequest request = RUNTIME__V1__CONTAINER_STATUS_REQUEST__INIT;
    const Runtime__V1__ContainerStatusResponse *response;
    static const Runtime__V1__ContainerStatus empty = RUNTIME__V1__CONTAINER_STATUS__INIT;

    request.container_id = (char *)id;
    response = cli_runtime_call(cli, "ContainerStatus", &request.base, CLI_CALL_MS, error);
    if (response == NULL)
        return NULL;
    return response->status != NULL ? response->status : &empty;
}

gboolean container_stop(Cli *cli, const char *id, gint64 timeout_s, GError **error)
{
    Runtime__V1__StopContainerRequest request = RUNTIME__V1__STOP_CONTAINER_REQUEST__INIT;

    request.container_id = (char *)id;
    request.timeout = timeout_s;
    return cli_runtime_call(cli, "StopContainer", &request.base, CLI_CALL_MS + timeout_s * 1000, error) !=
           NULL;
}

gboolean container_remove(Cli *cli, const char *id, GError **error)
{
    Runtime__V1__RemoveContainerRequest request = RUNTIME__V1__REMOVE_CONTAINER_REQUEST__INIT;

    request.container_id = (char *)id;
    return cli_runtime_call(cli, "RemoveContainer", &request.base, CLI_CALL_MS, error) != NULL;
}

gboolean pod_stop(Cli *cli, const char *id, GError **error)
{
    Runtime__V1__StopPodSandboxRequest request = RUNTIME__V1__STOP_POD_SANDBOX_REQUEST__INIT;

    request.pod_sandbox_id = (char *)id;
    return cli_runtime_call(cli, "StopPodSandbox", &request.base, CLI_CALL_MS, error) != NULL;
}

gboolean pod_remove(Cli *cli, const char *id, const char *log_directory, GError **error)
{
    Runtime__V1__RemovePodSandboxRequest request = RUNTIME__V1__REMOVE_POD_SANDBOX_REQUEST__INIT;

    request.pod_sandbox_id = (char *)id;
    return pod_stop(cli, id, error) &&
           cli_runtime_call(cli, "RemovePodSandbox", &request.base, CLI_CALL_MS, error) != NULL &&
           (log_directory == NULL || dir_remove_tree(log_directory, error));
}

char *pod_log_directory_name(const char *root, const char *namespace, const char *name, const char *uid)
{
    return g_strdup_printf("%s/%s_%s_%s", root, namespace, name, uid);
}

const char *pod_log_directory(const Runtime__V1__PodSandbox *pod)
{
    g_autofree char *wanted = NULL;

    if (!inventory_pod_is_ours(pod))
        return NULL;
    wanted = pod_log_directory_name("", pod->metadata->namespace_, pod->metadata->name, pod->metadata->uid);
    for (size_t i = 0; i < pod->n_annotations; i++) {
        const char *path = pod->annotations[i]->value;

        if (strcmp(pod->annotations[i]->key, LOG_ANNOTATION) == 0 && g_path_is_absolute(path) &&
            strstr(path, "/../") == NULL && g_str_has_suffix(path, wanted) && strchr(wanted + 1, '/') == NULL)
            return path;
    }
    return NULL;
}

gboolean containers_for_each(Cli *cli, ContainerFunc func, GError **error)
{
    for (const char *const *name = options_operands(cli->options); *name != NULL; name++) {
        g_autoptr(GError) failure = NULL;
        g_autofree char *line = g_strdup_printf("%s\n", *name);
        const Inventory *inventory = inventory_load(cli, error);
        const InventoryContainer *row;

        if (inventory == NULL)
            return FALSE;
        row = inventory_container(cli, inventory, *name, &failure);
        if (row != NULL && func(cli, row, &failure)) {
            if (!cli_print(line, error))
                return FALSE;
            continue;
        }
        if (failure->domain == USAGE_ERROR || g_error_matches(failure, CRIVIRT_ERROR, STATUS_CANCELLED)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        }
        cli_warn("%s: %s", *name, failure->message);
        cli->exit_code = 1;
    }
    return TRUE;
}

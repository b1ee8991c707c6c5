/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt checkpoint, restore. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fileio.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/restore_paths.h"
#include "sandbox/checkpoint/checkpoint.h"

/* Return: the path, absolute, which the caller frees. */
static char *absolute(const char *path)
{
    g_autofree char *here = g_get_current_dir();

    return g_path_is_absolute(path) ? g_strdup(path) : g_build_filename(here, path, NULL);
}

/* --- checkpoint ---------------------------------------------------------------------------------------- */

static void add_running_containers(const Inventory *inventory, const char *pod_id, GPtrArray *ids)
{
    for (gsize i = 0; i < inventory->n_containers; i++) {
        const Runtime__V1__Container *container = inventory->containers[i].container;

        if (g_str_equal(container->pod_sandbox_id, pod_id) &&
            container->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING)
            g_ptr_array_add(ids, container->id);
    }
}

static gboolean pod_save(Cli *cli, GError **error)
{
    const char *const *operands = options_operands(cli->options);
    Runtime__V1__CheckpointPodRequest request = RUNTIME__V1__CHECKPOINT_POD_REQUEST__INIT;
    const Inventory *inventory = inventory_load(cli, error);
    const Runtime__V1__PodSandbox *pod =
        inventory != NULL ? inventory_pod(cli, inventory, operands[0], error) : NULL;
    g_autofree char *directory = absolute(operands[1]);
    g_autofree char *line = g_strdup_printf("%s\n", directory);
    g_autoptr(GPtrArray) ids = g_ptr_array_new();
    gboolean exists = g_file_test(directory, G_FILE_TEST_IS_DIR);

    if (pod == NULL || !dir_make(directory, 0700, error))
        return FALSE;
    add_running_containers(inventory, pod->id, ids);
    request.pod_sandbox_id = pod->id;
    request.output_path = directory;
    request.container_ids = (char **)ids->pdata;
    request.n_container_ids = ids->len;
    if (cli_runtime_call(cli, "CheckpointPod", &request.base, CLI_NO_LIMIT_MS, error) != NULL)
        return cli_print(line, error);
    if (!exists)
        rmdir(directory);
    return FALSE;
}

static gboolean container_save(Cli *cli, GError **error)
{
    const char *const *operands = options_operands(cli->options);
    Runtime__V1__CheckpointContainerRequest request = RUNTIME__V1__CHECKPOINT_CONTAINER_REQUEST__INIT;
    const Inventory *inventory = inventory_load(cli, error);
    const InventoryContainer *container =
        inventory != NULL ? inventory_container(cli, inventory, operands[0], error) : NULL;
    g_autofree char *archive = absolute(operands[1]);
    g_autofree char *line = g_strdup_printf("%s\n", archive);

    if (container == NULL)
        return FALSE;
    request.container_id = container->container->id;
    request.location = archive;
    return cli_runtime_call(cli, "CheckpointContainer", &request.base, CLI_NO_LIMIT_MS, error) != NULL &&
           cli_print(line, error);
}

static gboolean checkpoint_command(Cli *cli, GError **error)
{
    return options_flag(cli->options, "container") ? container_save(cli, error) : pod_save(cli, error);
}

static const OptionSpec checkpoint_options[] = {
    {"container", 0, OPTION_FLAG, NULL, "save a container: the operands are the container and a file"},
    {NULL},
};

const Command command_checkpoint = {
    .name = "checkpoint",
    .group = "Pods",
    .usage = "[OPTIONS] POD DIRECTORY",
    .help = "Save a running pod into a directory",
    .details =
        "Saves memory, processes and disk of all running containers at one moment; the pod stands still\n"
        "while its memory is written, and runs on. The directory is made, or must be empty. It holds all\n"
        "that the pod had in memory, its secrets, too. What is in volumes of the node is not in it: save\n"
        "that as well.\n"
        "With --container the operands are CONTAINER ARCHIVE: the container's pod is saved with that\n"
        "container alone, as one tar archive, which must not exist.",
    .options = checkpoint_options,
    .min_operands = 2,
    .max_operands = 2,
    .run = checkpoint_command,
};

/* --- restore ------------------------------------------------------------------------------------------- */

/* Reads the configurations of the saved pod. Return: in malloc()'s memory, for free_unpacked(); NULL on
 * failure. */
static Runtime__V1__RestorePodRequest *request_read(Cli *cli, const char *checkpoint, GError **error)
{
    const char *const key_files[] = {options_value(cli->options, "key-file", NULL), NULL};
    const CheckpointStorage storage = {.key_files = key_files};
    Runtime__V1__RestorePodRequest *request = checkpoint_request(checkpoint, &storage, error);

    if (request == NULL)
        g_prefix_error(error, "%s is not a checkpoint that can be read: ", checkpoint);
    return request;
}

/* A text of an unpacked message is protobuf-c's, by malloc(), unless it is empty by default. */
static void replace(char **text, char *by)
{
    if (*text != protobuf_c_empty_string)
        free(*text);
    *text = by;
}

/* The saved pod's logs are not the new pod's. */
static void set_log_directory(Cli *cli, Runtime__V1__PodSandboxConfig *config)
{
    const Runtime__V1__PodSandboxMetadata *metadata = config->metadata;
    g_autofree char *root = absolute(cli->log_root);
    g_autofree char *directory =
        pod_log_directory_name(root, metadata->namespace_, metadata->name, metadata->uid);

    replace(&config->log_directory, strdup(directory));
    for (size_t i = 0; i < config->n_annotations; i++)
        if (g_str_equal(config->annotations[i]->key, LOG_ANNOTATION))
            replace(&config->annotations[i]->value, strdup(directory));
}

static void identity_set(Cli *cli, Runtime__V1__PodSandboxConfig *config)
{
    g_autofree char *uid = g_uuid_string_random();
    const char *name = options_value(cli->options, "name", NULL);

    replace(&config->metadata->uid, strdup(uid));
    if (name != NULL && g_str_equal(config->hostname, config->metadata->name))
        replace(&config->hostname, strdup(name));
    if (name != NULL)
        replace(&config->metadata->name, strdup(name));
    set_log_directory(cli, config);
}

static gboolean start_all(Cli *cli, const Runtime__V1__RestorePodResponse *restored, GError **error)
{
    for (size_t i = 0; i < restored->n_restored_containers; i++) {
        Runtime__V1__StartContainerRequest start = RUNTIME__V1__START_CONTAINER_REQUEST__INIT;

        start.container_id = restored->restored_containers[i]->container_id;
        if (cli_runtime_call(cli, "StartContainer", &start.base, CLI_CALL_MS, error) == NULL) {
            g_prefix_error(error, "container %s: ", restored->restored_containers[i]->name);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean restore_request(Cli *cli, const char *checkpoint, Runtime__V1__RestorePodRequest *request,
                                GError **error)
{
    const Runtime__V1__RestorePodResponse *restored;
    g_autofree char *line = NULL;

    identity_set(cli, request->config);
    replace(&request->checkpoint_path, strdup(checkpoint));
    restored = cli_runtime_call(cli, "RestorePod", &request->base, CLI_NO_LIMIT_MS, error);
    if (restored == NULL)
        return FALSE;
    if (!options_flag(cli->options, "no-start") && !start_all(cli, restored, error))
        return FALSE;
    line = g_strdup_printf("%s\n", restored->pod_sandbox_id);
    return cli_print(line, error);
}

static gboolean restore_command(Cli *cli, GError **error)
{
    g_autofree char *checkpoint = absolute(options_operands(cli->options)[0]);
    Runtime__V1__RestorePodRequest *request = request_read(cli, checkpoint, error);
    gboolean done;

    if (request == NULL)
        return FALSE;
    done = restore_paths_apply(request, options_list(cli->options, "volume"),
                               options_flag(cli->options, "allow-node-paths"), error) &&
           restore_request(cli, checkpoint, request, error);
    runtime__v1__restore_pod_request__free_unpacked(request, NULL);
    return done;
}

static const OptionSpec restore_options[] = {
    {"allow-node-paths", 0, OPTION_FLAG, NULL,
     "give the containers the node's paths that the checkpoint names"},
    {"key-file", 0, OPTION_VALUE, "FILE", "key of an encrypted checkpoint, which crivirtd has as well"},
    {"name", 0, OPTION_VALUE, "NAME", "name of the new pod (default: that of the saved one)"},
    {"no-start", 0, OPTION_FLAG, NULL, "leave its containers created, for \"crivirt start\""},
    {"volume", 'v', OPTION_LIST, "OLD=NEW",
     "a path of the node in the place of one that the checkpoint names"},
    {NULL},
};

const Command command_restore = {
    .name = "restore",
    .group = "Pods",
    .usage = "[OPTIONS] CHECKPOINT",
    .help = "Make a pod that goes on from a checkpoint",
    .details = "The checkpoint is a directory, or an archive of a container. The new pod has an address and\n"
               "logs of its own; connections of the saved one are reset. The checkpoint stays, and can be\n"
               "restored again. The node needs the same images, versions of crivirt and QEMU, and under KVM\n"
               "the same processor. Of an encrypted checkpoint, crivirtd (checkpoint.key_files) and this\n"
               "command each read the key.\n"
               "A checkpoint whose containers have volumes or devices of the node names their paths, which\n"
               "whoever made it has chosen: they are listed, and it is not restored, unless each is allowed.",
    .options = restore_options,
    .min_operands = 1,
    .max_operands = 1,
    .run = restore_command,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt inspect: prints the daemon's status of a container, a pod or an image. */
#include <string.h>

#include "common/error.h"
#include "common/json_writer.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/proto_json.h"

/* Looks up one kind of object. Return: NULL with an error, or NULL without one when there is no such object.
 */
typedef const ProtobufCMessage *(*InspectFunc)(Cli *cli, const Inventory *inventory, const char *name,
                                               GError **error);

/* NOT_FOUND for one kind is no failure, because another kind may have the name. */
static void forgive_missing(GError **error)
{
    if (error != NULL && g_error_matches(*error, CRIVIRT_ERROR, STATUS_NOT_FOUND))
        g_clear_error(error);
}

static const ProtobufCMessage *inspect_container(Cli *cli, const Inventory *inventory, const char *name,
                                                 GError **error)
{
    Runtime__V1__ContainerStatusRequest request = RUNTIME__V1__CONTAINER_STATUS_REQUEST__INIT;
    const InventoryContainer *row = inventory_container(cli, inventory, name, error);

    if (row == NULL) {
        forgive_missing(error);
        return NULL;
    }
    request.container_id = row->container->id;
    request.verbose = TRUE;
    return cli_runtime_call(cli, "ContainerStatus", &request.base, CLI_CALL_MS, error);
}

static const ProtobufCMessage *inspect_pod(Cli *cli, const Inventory *inventory, const char *name,
                                           GError **error)
{
    Runtime__V1__PodSandboxStatusRequest request = RUNTIME__V1__POD_SANDBOX_STATUS_REQUEST__INIT;
    const Runtime__V1__PodSandbox *pod = inventory_pod(cli, inventory, name, error);

    if (pod == NULL) {
        forgive_missing(error);
        return NULL;
    }
    request.pod_sandbox_id = pod->id;
    request.verbose = TRUE;
    return cli_runtime_call(cli, "PodSandboxStatus", &request.base, CLI_CALL_MS, error);
}

static const ProtobufCMessage *inspect_image(Cli *cli, const Inventory *inventory, const char *name,
                                             GError **error)
{
    Runtime__V1__ImageStatusRequest request = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    const Runtime__V1__ImageStatusResponse *response;

    (void)inventory;
    image.image = (char *)name;
    request.image = &image;
    request.verbose = TRUE;
    response = cli_image_call(cli, "ImageStatus", &request.base, CLI_CALL_MS, error);
    return response != NULL && response->image != NULL ? &response->base : NULL;
}

static const struct {
    const char *name;
    InspectFunc inspect;
} kinds[] = {
    {"container", inspect_container},
    {"pod", inspect_pod},
    {"image", inspect_image},
};

static gboolean inspect_one(Cli *cli, const Inventory *inventory, const char *name, JsonWriter *json,
                            GError **error)
{
    const char *wanted = options_value(cli->options, "type", NULL);

    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autoptr(GError) failure = NULL;
        const ProtobufCMessage *message;

        if (wanted != NULL && strcmp(wanted, kinds[i].name) != 0)
            continue;
        message = kinds[i].inspect(cli, inventory, name, &failure);
        if (message != NULL) {
            proto_json_message(json, NULL, message);
            return TRUE;
        }
        if (failure != NULL) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        }
    }
    return fail(error, STATUS_NOT_FOUND, "there is no %s \"%s\"",
                wanted != NULL ? wanted : "container, pod or image", name);
}

static gboolean inspect_command(Cli *cli, GError **error)
{
    const Inventory *inventory = inventory_load(cli, error);
    g_autoptr(JsonWriter) json = json_writer_new_indented();
    g_autofree char *text = NULL;

    if (inventory == NULL)
        return FALSE;
    json_writer_open_array(json, NULL);
    for (const char *const *name = options_operands(cli->options); *name != NULL; name++)
        if (!inspect_one(cli, inventory, *name, json, error))
            return FALSE;
    json_writer_close_array(json);
    text = json_writer_copy(json);
    return cli_print(text, error);
}

static const OptionSpec inspect_options[] = {
    {"type", 0, OPTION_VALUE, "container|pod|image", "look only among objects of this kind"},
    {"format", 0, OPTION_VALUE, "json", "only json, which is the default"},
    {"json", 0, OPTION_FLAG, NULL, "the same"},
    {NULL},
};

const Command command_inspect = {
    .name = "inspect",
    .group = "Everything",
    .usage = "[OPTIONS] NAME...",
    .help = "Show details of containers, pods or images, as JSON",
    .details =
        "The CRI's status messages in the proto3 JSON mapping, as crictl prints them: names in camelCase,\n"
        "64-bit numbers as strings, times in RFC 3339. A name is searched among containers, then pods,\n"
        "then images.",
    .options = inspect_options,
    .min_operands = 1,
    .max_operands = -1,
    .run = inspect_command,
};

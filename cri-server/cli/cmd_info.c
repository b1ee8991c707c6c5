/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt info, version. */
#include "api.pb-c.h"
#include "common/json_writer.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/proto_json.h"
#include "cri-server/cli/text_table.h"

/* --- version ------------------------------------------------------------------------------------------- */

static const Runtime__V1__VersionResponse *ask_version(Cli *cli, GError **error)
{
    Runtime__V1__VersionRequest request = RUNTIME__V1__VERSION_REQUEST__INIT;

    return cli_runtime_call(cli, "Version", &request.base, CLI_CALL_MS, error);
}

static char *format_version_json(const Runtime__V1__VersionResponse *daemon)
{
    g_autoptr(JsonWriter) json = json_writer_new_indented();

    json_writer_open_object(json, NULL);
    json_writer_string(json, "clientVersion", CRIVIRT_VERSION);
    json_writer_string(json, "runtimeName", daemon->runtime_name);
    json_writer_string(json, "runtimeVersion", daemon->runtime_version);
    json_writer_string(json, "runtimeApiVersion", daemon->runtime_api_version);
    json_writer_close_object(json);
    return json_writer_copy(json);
}

static gboolean version_command(Cli *cli, GError **error)
{
    const Runtime__V1__VersionResponse *daemon;
    g_autofree char *text = NULL;

    /* The client's own version is printed even when the daemon cannot be reached. */
    if (!cli->json && !cli_print("Client:\n Version:      " CRIVIRT_VERSION "\n", error))
        return FALSE;
    daemon = ask_version(cli, error);
    if (daemon == NULL)
        return FALSE;
    text = cli->json
               ? format_version_json(daemon)
               : g_strdup_printf("Server: %s\n Version:      %s\n API version:  %s\n", daemon->runtime_name,
                                 daemon->runtime_version, daemon->runtime_api_version);
    return cli_print(text, error);
}

const Command command_version = {
    .name = "version",
    .group = "Everything",
    .usage = "[OPTIONS]",
    .help = "Show the versions of crivirt and crivirtd",
    .lists = TRUE,
    .run = version_command,
};

/* --- info ---------------------------------------------------------------------------------------------- */

typedef struct {
    const Runtime__V1__VersionResponse *version;
    const Runtime__V1__StatusResponse *status;
    const Inventory *inventory;
    gsize n_images;
    gsize n_running;
    gsize n_ready;
} Info;

static gboolean ask_info(Cli *cli, Info *info, GError **error)
{
    Runtime__V1__StatusRequest status = RUNTIME__V1__STATUS_REQUEST__INIT;
    Runtime__V1__ListImagesRequest list = RUNTIME__V1__LIST_IMAGES_REQUEST__INIT;
    const Runtime__V1__ListImagesResponse *images;

    status.verbose = TRUE;
    info->version = ask_version(cli, error);
    if (info->version == NULL)
        return FALSE;
    info->status = cli_runtime_call(cli, "Status", &status.base, CLI_CALL_MS, error);
    if (info->status == NULL)
        return FALSE;
    info->inventory = inventory_load(cli, error);
    if (info->inventory == NULL)
        return FALSE;
    images = cli_image_call(cli, "ListImages", &list.base, CLI_CALL_MS, error);
    if (images == NULL)
        return FALSE;
    info->n_images = images->n_images;
    for (gsize i = 0; i < info->inventory->n_containers; i++)
        info->n_running += info->inventory->containers[i].container->state ==
                           RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
    for (gsize i = 0; i < info->inventory->n_pods; i++)
        info->n_ready += info->inventory->pods[i]->state == RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY;
    return TRUE;
}

static char *format_info_json(const Cli *cli, const Info *info)
{
    g_autoptr(JsonWriter) json = json_writer_new_indented();

    json_writer_open_object(json, NULL);
    json_writer_string(json, "clientVersion", CRIVIRT_VERSION);
    json_writer_string(json, "runtimeName", info->version->runtime_name);
    json_writer_string(json, "runtimeVersion", info->version->runtime_version);
    json_writer_string(json, "socket", cli->socket_path);
    json_writer_uint(json, "containers", info->inventory->n_containers);
    json_writer_uint(json, "containersRunning", info->n_running);
    json_writer_uint(json, "pods", info->inventory->n_pods);
    json_writer_uint(json, "podsReady", info->n_ready);
    json_writer_uint(json, "images", info->n_images);
    proto_json_message(json, "status", &info->status->base);
    json_writer_close_object(json);
    return json_writer_copy(json);
}

static void append_conditions(GString *text, const Runtime__V1__StatusResponse *status)
{
    for (size_t i = 0; status->status != NULL && i < status->status->n_conditions; i++) {
        const Runtime__V1__RuntimeCondition *condition = status->status->conditions[i];
        g_autofree char *reason = text_printable(condition->reason);
        g_autofree char *message = text_printable(condition->message);

        g_string_append_printf(text, " %s: %s", condition->type, condition->status ? "yes" : "NO");
        if (!condition->status || *message != '\0')
            g_string_append_printf(text, " (%s%s%s)", reason, *reason != '\0' && *message != '\0' ? ": " : "",
                                   message);
        g_string_append_c(text, '\n');
    }
    g_string_append(text, " Runtime handlers:");
    for (size_t i = 0; i < status->n_runtime_handlers; i++)
        g_string_append_printf(text, " %s",
                               *status->runtime_handlers[i]->name != '\0' ? status->runtime_handlers[i]->name
                                                                          : "(default)");
    g_string_append_c(text, '\n');
}

static char *format_info(const Cli *cli, const Info *info)
{
    GString *text = g_string_new("Client:\n Version: " CRIVIRT_VERSION "\n");

    g_string_append_printf(text, " Socket: %s\n\nServer:\n", cli->socket_path);
    g_string_append_printf(text, " Version: %s %s\n", info->version->runtime_name,
                           info->version->runtime_version);
    g_string_append_printf(text, " Containers: %zu (%zu running)\n", info->inventory->n_containers,
                           info->n_running);
    g_string_append_printf(text, " Pods: %zu (%zu ready)\n", info->inventory->n_pods, info->n_ready);
    g_string_append_printf(text, " Images: %zu\n", info->n_images);
    append_conditions(text, info->status);
    return g_string_free(text, FALSE);
}

static gboolean info_command(Cli *cli, GError **error)
{
    Info info = {0};
    g_autofree char *text = NULL;

    if (!ask_info(cli, &info, error))
        return FALSE;
    text = cli->json ? format_info_json(cli, &info) : format_info(cli, &info);
    return cli_print(text, error);
}

const Command command_info = {
    .name = "info",
    .group = "Everything",
    .usage = "[OPTIONS]",
    .help = "Show the state of crivirtd",
    .details = "--json prints all of the daemon's status, with its configuration.",
    .lists = TRUE,
    .run = info_command,
};

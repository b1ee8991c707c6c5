/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt gc. */
#include "common/error.h"
#include "common/json_writer.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/human.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/text_table.h"
#include "crivirt.pb-c.h"

/* A stopped pod of `crivirt run`, which no kubelet will remove. */
static gboolean is_garbage(const Runtime__V1__PodSandbox *pod)
{
    return inventory_pod_is_ours(pod) && pod->state != RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY;
}

static gboolean is_used(const Inventory *inventory, const Runtime__V1__Image *image)
{
    for (gsize i = 0; i < inventory->n_containers; i++)
        if (g_str_equal(inventory->containers[i].container->image_id, image->id))
            return TRUE;
    return image->pinned;
}

typedef struct {
    const Inventory *inventory;
    const Runtime__V1__ListImagesResponse *images;
    const Crivirt__V1__CollectOrphansResponse *orphans;
    gboolean dry_run;
    guint64 freed_bytes;
} Collection;

static gboolean collect_pods(Cli *cli, const Collection *work, GError **error)
{
    for (gsize i = 0; i < work->inventory->n_pods; i++) {
        const Runtime__V1__PodSandbox *pod = work->inventory->pods[i];

        if (is_garbage(pod) && !pod_remove(cli, pod->id, pod_log_directory(pod), error)) {
            g_prefix_error(error, "pod %s: ", pod->id);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean collect_layers(Cli *cli, Collection *work, GError **error)
{
    Crivirt__V1__CollectLayersRequest request = CRIVIRT__V1__COLLECT_LAYERS_REQUEST__INIT;
    const Crivirt__V1__CollectLayersResponse *response =
        cli_own_call(cli, "CollectLayers", &request.base, CLI_CALL_MS, error);

    if (response == NULL)
        return FALSE;
    work->freed_bytes = response->freed_bytes;
    return TRUE;
}

static gboolean collect_orphans(Cli *cli, Collection *work, GError **error)
{
    Crivirt__V1__CollectOrphansRequest request = CRIVIRT__V1__COLLECT_ORPHANS_REQUEST__INIT;

    request.dry_run = work->dry_run;
    work->orphans = cli_own_call(cli, "CollectOrphans", &request.base, CLI_CALL_MS, error);
    return work->orphans != NULL;
}

static const char *image_name(const Runtime__V1__Image *image)
{
    return image->n_repo_tags > 0 ? image->repo_tags[0] : "<none>";
}

static char *format_table(const Collection *work)
{
    GString *text = g_string_new(NULL);
    g_autofree char *freed = human_size(work->freed_bytes);

    for (gsize i = 0; i < work->inventory->n_pods; i++) {
        const Runtime__V1__PodSandbox *pod = work->inventory->pods[i];
        g_autofree char *id = human_short_id(pod->id);
        g_autofree char *name = text_printable(pod->metadata != NULL ? pod->metadata->name : "");

        if (is_garbage(pod))
            g_string_append_printf(text, "%s stopped pod %s %s\n", work->dry_run ? "would remove" : "removed",
                                   id, name);
    }
    for (size_t i = 0; i < work->orphans->n_paths; i++) {
        g_autofree char *path = text_printable(work->orphans->paths[i]);

        g_string_append_printf(text, "%s %s, which belongs to no pod\n",
                               work->dry_run ? "would remove" : "removed", path);
    }
    for (size_t i = 0; i < work->images->n_images; i++) {
        const Runtime__V1__Image *image = work->images->images[i];
        g_autofree char *id = human_short_id(image->id);
        g_autofree char *size = human_size(image->size);

        if (!is_used(work->inventory, image))
            g_string_append_printf(text, "unused image %s %s (%s): the kubelet, or crivirt rmi, removes it\n",
                                   id, image_name(image), size);
    }
    if (!work->dry_run)
        g_string_append_printf(text, "unused layers: %s\n", freed);
    return g_string_free(text, FALSE);
}

static char *format_json(const Collection *work)
{
    g_autoptr(JsonWriter) json = json_writer_new_indented();

    json_writer_open_object(json, NULL);
    json_writer_bool(json, "dryRun", work->dry_run);
    json_writer_open_array(json, "pods");
    for (gsize i = 0; i < work->inventory->n_pods; i++)
        if (is_garbage(work->inventory->pods[i]))
            json_writer_string(json, NULL, work->inventory->pods[i]->id);
    json_writer_close_array(json);
    json_writer_open_array(json, "orphans");
    for (size_t i = 0; i < work->orphans->n_paths; i++)
        json_writer_string(json, NULL, work->orphans->paths[i]);
    json_writer_close_array(json);
    json_writer_open_array(json, "unusedImages");
    for (size_t i = 0; i < work->images->n_images; i++)
        if (!is_used(work->inventory, work->images->images[i]))
            json_writer_string(json, NULL, work->images->images[i]->id);
    json_writer_close_array(json);
    json_writer_uint(json, "freedLayerBytes", work->freed_bytes);
    json_writer_close_object(json);
    return json_writer_copy(json);
}

static gboolean gc_command(Cli *cli, GError **error)
{
    Runtime__V1__ListImagesRequest list = RUNTIME__V1__LIST_IMAGES_REQUEST__INIT;
    Collection work = {.dry_run = options_flag(cli->options, "dry-run")};
    g_autofree char *text = NULL;

    work.inventory = inventory_load(cli, error);
    work.images =
        work.inventory != NULL ? cli_image_call(cli, "ListImages", &list.base, CLI_CALL_MS, error) : NULL;
    if (work.images == NULL)
        return FALSE;
    if (!work.dry_run && (!collect_pods(cli, &work, error) || !collect_layers(cli, &work, error)))
        return FALSE;
    if (!collect_orphans(cli, &work, error))
        return FALSE;
    text = cli->json ? format_json(&work) : format_table(&work);
    return cli_print(text, error);
}

static const OptionSpec gc_options[] = {
    {"dry-run", 'n', OPTION_FLAG, NULL, "only show what would be removed"},
    {NULL},
};

const Command command_gc = {
    .name = "gc",
    .group = "Everything",
    .usage = "[OPTIONS]",
    .help = "Remove unused pods, layers and orphans",
    .details =
        "Removes stopped pods that `crivirt run` made, image layers that neither an image nor a container\n"
        "uses (for example after a failed pull), and orphans: resources on the node whose pod is gone.\n"
        "Unused images are shown but not removed, because the kubelet decides which of them to keep; to\n"
        "remove one, use crivirt rmi.",
    .options = gc_options,
    .lists = TRUE,
    .run = gc_command,
};

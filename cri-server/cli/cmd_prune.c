/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt prune: what a person made and does not use any more. */
#include <string.h>

#include "common/error.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/human.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/text_table.h"
#include "crivirt.pb-c.h"

static gboolean report(const Cli *cli, const char *kind, const char *id, const char *name, GError **error)
{
    g_autofree char *short_id = human_short_id(id);
    g_autofree char *printable = text_printable(name);
    g_autofree char *line =
        g_strdup_printf("%s %s %s %s\n", options_flag(cli->options, "dry-run") ? "would remove" : "removed",
                        kind, short_id, printable);

    return cli_print(line, error);
}

static gboolean is_ready(const Runtime__V1__PodSandbox *pod)
{
    return pod->state == RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY;
}

/* Ended containers in pods that run; those of other pods go with their pods. The kubelet removes its own. */
static gboolean prune_containers(Cli *cli, GError **error)
{
    const Inventory *inventory = inventory_load(cli, error);

    for (gsize i = 0; inventory != NULL && i < inventory->n_containers; i++) {
        const InventoryContainer *row = &inventory->containers[i];

        if (row->container->state != RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED ||
            !inventory_pod_is_ours(row->pod))
            continue;
        if (!options_flag(cli->options, "dry-run") && !container_remove(cli, row->container->id, error))
            return FALSE;
        if (!report(cli, "container", row->container->id, row->name, error))
            return FALSE;
    }
    return inventory != NULL;
}

static gboolean has_containers(const Inventory *inventory, const Runtime__V1__PodSandbox *pod)
{
    for (gsize i = 0; i < inventory->n_containers; i++)
        if (g_str_equal(inventory->containers[i].container->pod_sandbox_id, pod->id) &&
            inventory->containers[i].container->state != RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED)
            return TRUE;
    return FALSE;
}

/* Pods of `crivirt run` that have ended, or in which nothing runs any more. */
static gboolean prune_pods(Cli *cli, GError **error)
{
    const Inventory *inventory = inventory_load(cli, error);

    for (gsize i = 0; inventory != NULL && i < inventory->n_pods; i++) {
        const Runtime__V1__PodSandbox *pod = inventory->pods[i];

        if (!inventory_pod_is_ours(pod) || (is_ready(pod) && has_containers(inventory, pod)))
            continue;
        if (!options_flag(cli->options, "dry-run") &&
            !pod_remove(cli, pod->id, pod_log_directory(pod), error))
            return FALSE;
        if (!report(cli, "pod", pod->id, pod->metadata != NULL ? pod->metadata->name : "", error))
            return FALSE;
    }
    return inventory != NULL;
}

static gboolean remove_image(Cli *cli, const char *id, GError **error)
{
    Runtime__V1__RemoveImageRequest request = RUNTIME__V1__REMOVE_IMAGE_REQUEST__INIT;
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;

    image.image = (char *)id;
    request.image = &image;
    return cli_image_call(cli, "RemoveImage", &request.base, CLI_CALL_MS, error) != NULL;
}

/* Images that no container has or has mounted, and that are not pinned. */
static gboolean prune_images(Cli *cli, GError **error)
{
    Runtime__V1__ListImagesRequest list = RUNTIME__V1__LIST_IMAGES_REQUEST__INIT;
    const Inventory *inventory = inventory_load(cli, error);
    const Runtime__V1__ListImagesResponse *images =
        inventory != NULL ? cli_image_call(cli, "ListImages", &list.base, CLI_CALL_MS, error) : NULL;
    g_autoptr(GHashTable) used = images != NULL ? inventory_used_images(cli, inventory, error) : NULL;

    for (size_t i = 0; used != NULL && i < images->n_images; i++) {
        const Runtime__V1__Image *image = images->images[i];

        if (image->pinned || g_hash_table_contains(used, image->id))
            continue;
        if (!options_flag(cli->options, "dry-run") && !remove_image(cli, image->id, error))
            return FALSE;
        if (!report(cli, "image", image->id, image->n_repo_tags > 0 ? image->repo_tags[0] : "<none>", error))
            return FALSE;
    }
    return used != NULL;
}

static gboolean prune_system(Cli *cli, GError **error)
{
    return prune_pods(cli, error) && prune_containers(cli, error) && prune_images(cli, error);
}

/* Another kind is another row. */
static const struct {
    const char *name;
    gboolean (*prune)(Cli *cli, GError **error);
} kinds[] = {
    {"containers", prune_containers},
    {"pods", prune_pods},
    {"images", prune_images},
    {"system", prune_system},
};

static gboolean prune_command(Cli *cli, GError **error)
{
    const char *wanted = options_operands(cli->options)[0];

    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (g_str_equal(kinds[i].name, wanted))
            return kinds[i].prune(cli, error);
    return usage_fail(error, "prune: \"%s\" is none of containers, pods, images and system", wanted);
}

static const OptionSpec prune_options[] = {
    {"dry-run", 'n', OPTION_FLAG, NULL, "only show what would be removed"},
    {NULL},
};

const Command command_prune = {
    .name = "prune",
    .group = "Everything",
    .usage = "[OPTIONS] containers|pods|images|system",
    .help = "Remove containers, pods or images that are not used",
    .details =
        "containers: those of crivirt run and create that have ended. pods: those that have ended, or have "
        "no\n"
        "container that runs or waits for its start. images: those that no container has, except pinned "
        "ones;\n"
        "the kubelet pulls them again when it needs them. system: all of these. It does not ask; -n shows "
        "what\n"
        "it would do. Containers and pods of the kubelet are left to the kubelet, and orphans to crivirt gc.",
    .options = prune_options,
    .min_operands = 1,
    .max_operands = 1,
    .run = prune_command,
};

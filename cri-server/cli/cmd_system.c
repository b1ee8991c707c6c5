/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt system. */
#include <string.h>

#include "common/error.h"
#include "common/json_writer.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/human.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/text_table.h"

/* What one kind of thing takes of the disk. */
typedef struct {
    const char *title;
    const char *key; /* in JSON */
    guint total;
    guint active; /* in use: an image by a container, a container that runs */
    guint64 bytes;
    guint64 reclaimable_bytes;
} Usage;

/* The size of an image is that of its compressed layers, and of the file system that of what is stored:
 * layers that images share are in it once. */
static gboolean count_images(Cli *cli, const Inventory *inventory, Usage *usage, GError **error)
{
    Runtime__V1__ListImagesRequest list = RUNTIME__V1__LIST_IMAGES_REQUEST__INIT;
    Runtime__V1__ImageFsInfoRequest disk = RUNTIME__V1__IMAGE_FS_INFO_REQUEST__INIT;
    const Runtime__V1__ListImagesResponse *images =
        cli_image_call(cli, "ListImages", &list.base, CLI_CALL_MS, error);
    const Runtime__V1__ImageFsInfoResponse *stored =
        images != NULL ? cli_image_call(cli, "ImageFsInfo", &disk.base, CLI_CALL_MS, error) : NULL;

    g_autoptr(GHashTable) used = stored != NULL ? inventory_used_images(cli, inventory, error) : NULL;

    if (used == NULL)
        return FALSE;
    usage->total = (guint)images->n_images;
    for (size_t i = 0; i < images->n_images; i++) {
        if (images->images[i]->pinned || g_hash_table_contains(used, images->images[i]->id))
            usage->active++;
        else
            usage->reclaimable_bytes += images->images[i]->size;
    }
    for (size_t i = 0; i < stored->n_image_filesystems; i++)
        if (stored->image_filesystems[i]->used_bytes != NULL)
            usage->bytes += stored->image_filesystems[i]->used_bytes->value;
    return TRUE;
}

static guint64 written_bytes(const Runtime__V1__ContainerStats *stats)
{
    return stats->writable_layer != NULL && stats->writable_layer->used_bytes != NULL
               ? stats->writable_layer->used_bytes->value
               : 0;
}

static gboolean is_running(const Inventory *inventory, const char *id)
{
    for (gsize i = 0; i < inventory->n_containers; i++)
        if (g_str_equal(inventory->containers[i].container->id, id))
            return inventory->containers[i].container->state ==
                   RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
    return FALSE;
}

static gboolean count_containers(Cli *cli, const Inventory *inventory, Usage *usage, GError **error)
{
    Runtime__V1__ListContainerStatsRequest request = RUNTIME__V1__LIST_CONTAINER_STATS_REQUEST__INIT;
    const Runtime__V1__ListContainerStatsResponse *stats =
        cli_runtime_call(cli, "ListContainerStats", &request.base, CLI_CALL_MS, error);

    if (stats == NULL)
        return FALSE;
    usage->total = (guint)inventory->n_containers;
    for (gsize i = 0; i < inventory->n_containers; i++)
        usage->active += is_running(inventory, inventory->containers[i].container->id);
    for (size_t i = 0; i < stats->n_stats; i++) {
        const Runtime__V1__ContainerStats *one = stats->stats[i];

        usage->bytes += written_bytes(one);
        if (one->attributes != NULL && !is_running(inventory, one->attributes->id))
            usage->reclaimable_bytes += written_bytes(one);
    }
    return TRUE;
}

static char *format_table(const Usage *usages, gsize n_usages)
{
    g_autoptr(TextTable) table = text_table_new(TEXT_ROW("TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"));

    for (gsize i = 0; i < n_usages; i++) {
        g_autofree char *total = g_strdup_printf("%u", usages[i].total);
        g_autofree char *active = g_strdup_printf("%u", usages[i].active);
        g_autofree char *size = human_size(usages[i].bytes);
        g_autofree char *reclaimable = human_size(usages[i].reclaimable_bytes);

        text_table_add(table, TEXT_ROW(usages[i].title, total, active, size, reclaimable));
    }
    return text_table_format(table);
}

static char *format_json(const Usage *usages, gsize n_usages)
{
    g_autoptr(JsonWriter) json = json_writer_new_indented();

    json_writer_open_object(json, NULL);
    for (gsize i = 0; i < n_usages; i++) {
        json_writer_open_object(json, usages[i].key);
        json_writer_uint(json, "total", usages[i].total);
        json_writer_uint(json, "active", usages[i].active);
        json_writer_uint(json, "bytes", usages[i].bytes);
        json_writer_uint(json, "reclaimableBytes", usages[i].reclaimable_bytes);
        json_writer_close_object(json);
    }
    json_writer_close_object(json);
    return json_writer_copy(json);
}

static gboolean df_command(Cli *cli, GError **error)
{
    Usage usages[] = {{.title = "Images", .key = "images"}, {.title = "Containers", .key = "containers"}};
    const Inventory *inventory = inventory_load(cli, error);
    g_autofree char *text = NULL;

    if (inventory == NULL || !count_images(cli, inventory, &usages[0], error) ||
        !count_containers(cli, inventory, &usages[1], error))
        return FALSE;
    text = cli->json ? format_json(usages, G_N_ELEMENTS(usages)) : format_table(usages, G_N_ELEMENTS(usages));
    return cli_print(text, error);
}

static gboolean system_command(Cli *cli, GError **error)
{
    const char *what = options_operands(cli->options)[0];

    if (g_str_equal(what, "df"))
        return df_command(cli, error);
    return usage_fail(error, "\"crivirt system %s\" does not exist; there is: crivirt system df", what);
}

const Command command_system = {
    .name = "system",
    .group = "Everything",
    .usage = "df",
    .help = "Show what images and containers take of the disk (system df)",
    .details =
        "The size of images is what they take on the disk, where layers that they share count once. What "
        "can\n"
        "be reclaimed is the size, compressed, of images that no container uses, and what ended containers\n"
        "have written.",
    .min_operands = 1,
    .max_operands = 1,
    .lists = TRUE,
    .run = system_command,
};

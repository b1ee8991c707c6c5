/* SPDX-License-Identifier: Apache-2.0 */
/* The CRI's ImageService. The handlers are thin, because the image service does the work. */
#include "common/error.h"
#include "common/log.h"
#include "common/spans.h"
#include "cri-server/daemon.h"
#include "cri-server/image_message.h"
#include "cri-server/rpc/list_stream.h"
#include "cri-server/rpc_table.h"
#include "image-service/content/reference.h"
#include "sandbox/pods/handler.h"

static const char *spec_name(const Runtime__V1__ImageSpec *spec)
{
    return spec != NULL ? spec->image : "";
}

/* Images are the same for every handler, but a name that no handler has is a mistake of the client. */
static gboolean check_spec(const RpcCall *call, const Runtime__V1__ImageSpec *spec, GError **error)
{
    g_autoptr(Settings) settings = NULL;

    if (*spec_name(spec) == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "image.image is empty");
    settings = live_settings_get(call->daemon->live);
    if (handler_find(settings->handlers, spec->runtime_handler, error) != NULL)
        return TRUE;
    g_prefix_error(error, "image.");
    return FALSE;
}

/* Return: the names of images.pinned in full, which the caller frees. What is no name pins
 * nothing. */
static char **pinned_names(const RpcCall *call)
{
    g_autoptr(Settings) settings = live_settings_get(call->daemon->live);
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();

    for (const char *const *name = settings->images.pinned; *name != NULL; name++) {
        g_autoptr(Reference) reference = NULL;
        g_autofree char *whole = NULL;

        if (!reference_parse(*name, &reference, NULL))
            continue;
        whole = reference_to_string(reference);
        g_strv_builder_add(names, whole);
    }
    return g_strv_builder_end(names);
}

static gboolean is_pinned(const Image *image, char **pinned)
{
    for (; *pinned != NULL; pinned++)
        if (g_strv_contains((const char *const *)image->tags, *pinned) ||
            g_strv_contains((const char *const *)image->digests, *pinned))
            return TRUE;
    return FALSE;
}

static Runtime__V1__Image *describe_image(const RpcCall *call, const Image *image, char **pinned)
{
    Runtime__V1__Image *message = image_message(call->arena, image);

    message->pinned = is_pinned(image, pinned);
    return message;
}

/* Lists the images that match a filter (may be NULL). */
static gboolean list_images(const RpcCall *call, const Runtime__V1__ImageFilter *filter,
                            Runtime__V1__ListImagesResponse *response, GError **error)
{
    const char *wanted = filter != NULL ? spec_name(filter->image) : "";
    g_auto(GStrv) pinned = pinned_names(call);
    g_autoptr(GPtrArray) images = NULL;

    if (*wanted == '\0') {
        images = image_service_list(call->daemon->images);
    } else {
        g_autoptr(GError) problem = NULL;
        Image *image = image_service_find(call->daemon->images, wanted, &problem);

        /* A filter with an invalid or unknown name matches no image. */
        if (problem != NULL && error_status(problem) != STATUS_INVALID_ARGUMENT &&
            error_status(problem) != STATUS_NOT_FOUND) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        images = g_ptr_array_new_with_free_func((GDestroyNotify)image_unref);
        if (image != NULL)
            g_ptr_array_add(images, image);
    }
    response->images = arena_new0(call->arena, Runtime__V1__Image *, images->len);
    for (guint i = 0; i < images->len; i++)
        response->images[response->n_images++] = describe_image(call, g_ptr_array_index(images, i), pinned);
    return TRUE;
}

gboolean rpc_ListImages(const RpcCall *call, const Runtime__V1__ListImagesRequest *request,
                        Runtime__V1__ListImagesResponse *response, GError **error)
{
    return list_images(call, request->filter, response, error);
}

gboolean rpc_StreamImages(const RpcCall *call, const Runtime__V1__StreamImagesRequest *request,
                          GError **error)
{
    Runtime__V1__ListImagesResponse all = RUNTIME__V1__LIST_IMAGES_RESPONSE__INIT;

    return list_images(call, request->filter, &all, error) &&
           list_stream_send(call, &all.base, &runtime__v1__stream_images_response__descriptor, error);
}

static void add_verbose(const RpcCall *call, const Image *image, Runtime__V1__ImageStatusResponse *response)
{
    Runtime__V1__ImageStatusResponse__InfoEntry *entry =
        arena_new0(call->arena, Runtime__V1__ImageStatusResponse__InfoEntry, 1);

    runtime__v1__image_status_response__info_entry__init(entry);
    entry->key = arena_strdup(call->arena, "info");
    entry->value = arena_printf(call->arena, "{\"imageSpec\":%s}",
                                image->config_json != NULL ? image->config_json : "null");
    response->info = arena_new0(call->arena, Runtime__V1__ImageStatusResponse__InfoEntry *, 1);
    response->info[response->n_info++] = entry;
}

gboolean rpc_ImageStatus(const RpcCall *call, const Runtime__V1__ImageStatusRequest *request,
                         Runtime__V1__ImageStatusResponse *response, GError **error)
{
    g_auto(GStrv) pinned = pinned_names(call);
    g_autoptr(GError) problem = NULL;
    g_autoptr(Image) image = NULL;

    if (!check_spec(call, request->image, error))
        return FALSE;
    image = image_service_find(call->daemon->images, request->image->image, &problem);
    if (problem != NULL && error_status(problem) != STATUS_NOT_FOUND) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    if (image == NULL)
        return TRUE; /* a missing image is an answer, not an error */
    response->image = describe_image(call, image, pinned);
    if (request->verbose)
        add_verbose(call, image, response);
    return TRUE;
}

gboolean rpc_PullImage(const RpcCall *call, const Runtime__V1__PullImageRequest *request,
                       Runtime__V1__PullImageResponse *response, GError **error)
{
    const Runtime__V1__AuthConfig *given = request->auth;
    RegistryAuth auth = {NULL};
    g_autoptr(Image) image = NULL;

    span_note("container.image.name", spec_name(request->image));
    if (!check_spec(call, request->image, error))
        return FALSE;
    if (given != NULL)
        auth = (RegistryAuth){.username = given->username,
                              .password = given->password,
                              .auth = given->auth,
                              .server_address = given->server_address,
                              .identity_token = given->identity_token,
                              .registry_token = given->registry_token};
    ImagePullRequest pull = {.reference = request->image->image, .auth = given != NULL ? &auth : NULL};

    if (!image_service_pull(call->daemon->images, &pull, call->deadline, &image, error))
        return FALSE;
    log_info(LOG_FIELDS("image", request->image->image, "id", image->id), "pulled");
    response->image_ref = arena_strdup(call->arena, image->id);
    return TRUE;
}

gboolean rpc_RemoveImage(const RpcCall *call, const Runtime__V1__RemoveImageRequest *request,
                         Runtime__V1__RemoveImageResponse *response, GError **error)
{
    (void)response;
    return check_spec(call, request->image, error) &&
           image_service_remove(call->daemon->images, request->image->image, error);
}

static Runtime__V1__UInt64Value *uint64_value(Arena *arena, guint64 value)
{
    Runtime__V1__UInt64Value *message = arena_new0(arena, Runtime__V1__UInt64Value, 1);

    runtime__v1__uint64_value__init(message);
    message->value = value;
    return message;
}

static Runtime__V1__FilesystemUsage **usage_message(Arena *arena, const ImageFsUsage *usage)
{
    Runtime__V1__FilesystemUsage **list = arena_new0(arena, Runtime__V1__FilesystemUsage *, 1);

    list[0] = arena_new0(arena, Runtime__V1__FilesystemUsage, 1);
    runtime__v1__filesystem_usage__init(list[0]);
    list[0]->timestamp = g_get_real_time() * 1000;
    list[0]->fs_id = arena_new0(arena, Runtime__V1__FilesystemIdentifier, 1);
    runtime__v1__filesystem_identifier__init(list[0]->fs_id);
    list[0]->fs_id->mountpoint = arena_strdup(arena, usage->mountpoint);
    list[0]->used_bytes = uint64_value(arena, usage->used_bytes);
    list[0]->inodes_used = uint64_value(arena, usage->inodes_used);
    return list;
}

/* Containers' writable disks are on the file system of the images, so both lists name that one: a kubelet
 * that gets two different ones manages them separately. */
gboolean rpc_ImageFsInfo(const RpcCall *call, const Runtime__V1__ImageFsInfoRequest *request,
                         Runtime__V1__ImageFsInfoResponse *response, GError **error)
{
    ImageFsUsage usage = {NULL};

    (void)request;
    if (!image_service_fs_usage(call->daemon->images, &usage, error))
        return FALSE;
    response->image_filesystems = usage_message(call->arena, &usage);
    response->n_image_filesystems = 1;
    response->container_filesystems = usage_message(call->arena, &usage);
    response->n_container_filesystems = 1;
    g_free(usage.mountpoint);
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt's own service: the RPCs that its command line needs beside the CRI. */
#include "common/error.h"
#include "common/log.h"
#include "common/spans.h"
#include "cri-server/daemon.h"
#include "cri-server/request_id.h"
#include "cri-server/rpc/rpc_server.h"
#include "cri-server/rpc_table.h"

gboolean rpc_LoadImage(const RpcCall *call, const Crivirt__V1__LoadImageRequest *request,
                       Crivirt__V1__LoadImageResponse *response, GError **error)
{
    g_autoptr(GPtrArray) images = NULL;

    if (!g_path_is_absolute(request->path))
        return fail(error, STATUS_INVALID_ARGUMENT, "path \"%s\" is not absolute", request->path);
    if (!image_service_load(call->daemon->images, request->path, call->deadline, &images, error))
        return FALSE;
    response->images = arena_new0(call->arena, Crivirt__V1__LoadedImage *, images->len);
    for (guint i = 0; i < images->len; i++) {
        const Image *image = g_ptr_array_index(images, i);
        Crivirt__V1__LoadedImage *loaded = arena_new0(call->arena, Crivirt__V1__LoadedImage, 1);

        crivirt__v1__loaded_image__init(loaded);
        loaded->id = arena_strdup(call->arena, image->id);
        loaded->n_tags = image->tags == NULL ? 0 : g_strv_length(image->tags);
        loaded->tags = arena_new0(call->arena, char *, loaded->n_tags);
        for (gsize j = 0; j < loaded->n_tags; j++)
            loaded->tags[j] = arena_strdup(call->arena, image->tags[j]);
        response->images[response->n_images++] = loaded;
        log_info(LOG_FIELDS("path", request->path, "id", image->id), "loaded");
    }
    return TRUE;
}

/* ---- PullImageWithProgress ---- */

enum { PROGRESS_INTERVAL_US = 100 * 1000 };

/* Progress messages may be dropped: while the client has not read the last one, layers only collect here with
 * their latest state, and the pull is never delayed. Used by one pulling thread at a time. */
typedef struct {
    RpcStream *stream;
    GPtrArray *changed; /* Crivirt__V1__LayerProgress, one for each digest that changed */
    gint64 sent_us;
} PullReport;

static void free_layer(gpointer data)
{
    Crivirt__V1__LayerProgress *layer = data;

    g_free(layer->digest);
    g_free(layer);
}

static Crivirt__V1__LayerProgress *find_layer(PullReport *report, const char *digest)
{
    Crivirt__V1__LayerProgress *layer;

    for (guint i = 0; i < report->changed->len; i++) {
        layer = g_ptr_array_index(report->changed, i);
        if (g_str_equal(layer->digest, digest))
            return layer;
    }
    layer = g_new0(Crivirt__V1__LayerProgress, 1);
    crivirt__v1__layer_progress__init(layer);
    layer->digest = g_strdup(digest);
    g_ptr_array_add(report->changed, layer);
    return layer;
}

static gboolean send_report(PullReport *report, const char *image_ref, GError **error)
{
    Crivirt__V1__PullProgress message = CRIVIRT__V1__PULL_PROGRESS__INIT;

    message.n_layers = report->changed->len;
    message.layers = (Crivirt__V1__LayerProgress **)report->changed->pdata;
    if (image_ref != NULL)
        message.image_ref = (char *)image_ref;
    if (!rpc_stream_send(report->stream, &message.base, error))
        return FALSE;
    g_ptr_array_set_size(report->changed, 0);
    report->sent_us = g_get_monotonic_time();
    return TRUE;
}

static void on_progress(const ImageProgress *progress, gpointer data)
{
    static const Crivirt__V1__LayerProgress__State states[] = {
        [IMAGE_PROGRESS_WAITING] = CRIVIRT__V1__LAYER_PROGRESS__STATE__WAITING,
        [IMAGE_PROGRESS_DOWNLOADING] = CRIVIRT__V1__LAYER_PROGRESS__STATE__DOWNLOADING,
        [IMAGE_PROGRESS_UNPACKING] = CRIVIRT__V1__LAYER_PROGRESS__STATE__UNPACKING,
        [IMAGE_PROGRESS_DONE] = CRIVIRT__V1__LAYER_PROGRESS__STATE__DONE,
        [IMAGE_PROGRESS_EXISTS] = CRIVIRT__V1__LAYER_PROGRESS__STATE__EXISTS,
    };
    PullReport *report = data;
    Crivirt__V1__LayerProgress *layer = find_layer(report, progress->digest);

    layer->state = states[progress->state];
    layer->done_bytes = progress->done_bytes;
    layer->total_bytes = progress->total_bytes;
    /* A client that disconnected cancels the pull itself, so a failure to send needs no handling. */
    if (g_get_monotonic_time() - report->sent_us >= PROGRESS_INTERVAL_US &&
        rpc_stream_is_idle(report->stream))
        send_report(report, NULL, NULL);
}

gboolean rpc_PullImageWithProgress(const RpcCall *call,
                                   const Crivirt__V1__PullImageWithProgressRequest *request, GError **error)
{
    g_autoptr(GPtrArray) changed = g_ptr_array_new_with_free_func(free_layer);
    PullReport report = {.stream = call->stream, .changed = changed};
    RegistryAuth auth = {.username = request->username, .password = request->password};
    g_autoptr(Image) image = NULL;

    span_note("container.image.name", request->image);
    if (*request->image == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "image is empty");
    ImagePullRequest pull = {request->image, *request->username != '\0' ? &auth : NULL, on_progress, &report};

    if (!image_service_pull(call->daemon->images, &pull, call->deadline, &image, error))
        return FALSE;
    log_info(LOG_FIELDS("image", request->image, "id", image->id), "pulled");
    return send_report(&report, image->id, error);
}

gboolean rpc_CollectLayers(const RpcCall *call, const Crivirt__V1__CollectLayersRequest *request,
                           Crivirt__V1__CollectLayersResponse *response, GError **error)
{
    ImageFsUsage before = {NULL};
    ImageFsUsage after = {NULL};
    gboolean good;

    (void)request;
    if (!image_service_fs_usage(call->daemon->images, &before, error))
        return FALSE;
    image_service_collect(call->daemon->images);
    good = image_service_fs_usage(call->daemon->images, &after, error);
    response->freed_bytes = before.used_bytes > after.used_bytes ? before.used_bytes - after.used_bytes : 0;
    g_free(before.mountpoint);
    g_free(after.mountpoint);
    return good;
}

gboolean rpc_CollectOrphans(const RpcCall *call, const Crivirt__V1__CollectOrphansRequest *request,
                            Crivirt__V1__CollectOrphansResponse *response, GError **error)
{
    g_autoptr(GPtrArray) paths = sandbox_collect_orphans(call->daemon->sandboxes, request->dry_run);

    (void)error;
    response->paths = arena_new0(call->arena, char *, paths->len);
    for (guint i = 0; i < paths->len; i++)
        response->paths[response->n_paths++] = arena_strdup_utf8(call->arena, paths->pdata[i]);
    return TRUE;
}

/* ---- guests ---- */

enum { AUDIT_BYTES = 500 };

/* Whoever may use the socket has the rights of root on the node, but what is done in a guest leaves no other
 * trace. */
static void audit_shell(const Crivirt__V1__GuestShellRequest *request)
{
    g_autoptr(GString) command = g_string_new(NULL);

    for (size_t i = 0; i < request->n_cmd && command->len < AUDIT_BYTES; i++)
        g_string_append_printf(command, "%s%.*s", i == 0 ? "" : " ", AUDIT_BYTES, request->cmd[i]);
    log_warning(LOG_FIELDS("container", request->container_id, "command", command->str),
                "audit: a client of the socket runs a command in the guest, outside of its containers");
}

gboolean rpc_GuestShell(const RpcCall *call, const Crivirt__V1__GuestShellRequest *request,
                        Crivirt__V1__GuestShellResponse *response, GError **error)
{
    g_autoptr(Settings) settings = live_settings_get(call->daemon->live);
    Runtime__V1__ExecRequest exec = RUNTIME__V1__EXEC_REQUEST__INIT;
    g_autofree char *url = NULL;

    if (!settings->guest.shell)
        return fail(error, STATUS_PERMISSION_DENIED,
                    "commands in guests are switched off: guest.shell is false in the configuration of "
                    "crivirtd");
    if (!request_id_check(request->container_id, "container_id", error))
        return FALSE;
    exec.container_id = request->container_id;
    exec.n_cmd = request->n_cmd;
    exec.cmd = request->cmd;
    exec.tty = request->tty;
    exec.stdin = request->stdin;
    exec.stdout = TRUE;
    exec.stderr = !request->tty;
    url = stream_server_exec_in_guest(call->daemon->streams, &exec, error);
    if (url == NULL)
        return FALSE;
    audit_shell(request);
    response->url = arena_strdup(call->arena, url);
    return TRUE;
}

gboolean rpc_GuestLog(const RpcCall *call, const Crivirt__V1__GuestLogRequest *request,
                      Crivirt__V1__GuestLogResponse *response, GError **error)
{
    return request_id_check(request->pod_sandbox_id, "pod_sandbox_id", error) &&
           sandbox_guest_log(call->daemon->sandboxes, request->pod_sandbox_id, call->deadline, call->arena,
                             &response->text, &response->is_console, error);
}

gboolean rpc_PauseContainer(const RpcCall *call, const Crivirt__V1__PauseContainerRequest *request,
                            Crivirt__V1__PauseContainerResponse *response, GError **error)
{
    (void)response;
    return request_id_check(request->container_id, "container_id", error) &&
           container_pause(call->daemon->sandboxes, request->container_id, request->paused, call->deadline,
                           error);
}

/* ---- pods ---- */

gboolean rpc_HibernatePod(const RpcCall *call, const Crivirt__V1__HibernatePodRequest *request,
                          Crivirt__V1__HibernatePodResponse *response, GError **error)
{
    (void)response;
    return request_id_check(request->pod_sandbox_id, "pod_sandbox_id", error) &&
           sandbox_hibernate(call->daemon->sandboxes, request->pod_sandbox_id, request->force, call->deadline,
                             error);
}

gboolean rpc_WakePod(const RpcCall *call, const Crivirt__V1__WakePodRequest *request,
                     Crivirt__V1__WakePodResponse *response, GError **error)
{
    (void)response;
    return request_id_check(request->pod_sandbox_id, "pod_sandbox_id", error) &&
           sandbox_wake(call->daemon->sandboxes, request->pod_sandbox_id, call->deadline, error);
}

gboolean rpc_ListHibernatedPods(const RpcCall *call, const Crivirt__V1__ListHibernatedPodsRequest *request,
                                Crivirt__V1__ListHibernatedPodsResponse *response, GError **error)
{
    g_auto(GStrv) ids = sandbox_hibernated_list(call->daemon->sandboxes);
    const guint n_ids = g_strv_length(ids);

    (void)request;
    (void)error;
    response->pod_sandbox_ids = arena_new0(call->arena, char *, n_ids);
    for (guint i = 0; i < n_ids; i++)
        response->pod_sandbox_ids[response->n_pod_sandbox_ids++] = arena_strdup(call->arena, ids[i]);
    return TRUE;
}

/* ---- for people ---- */

gboolean rpc_RestartContainer(const RpcCall *call, const Crivirt__V1__RestartContainerRequest *request,
                              Crivirt__V1__RestartContainerResponse *response, GError **error)
{
    g_autofree char *id = NULL;

    if (!request_id_check(request->container_id, "container_id", error) ||
        !container_restart(call->daemon->sandboxes, request->container_id, request->timeout, call->deadline,
                           &id, error))
        return FALSE;
    response->container_id = arena_strdup(call->arena, id);
    return TRUE;
}

gboolean rpc_CheckCredentials(const RpcCall *call, const Crivirt__V1__CheckCredentialsRequest *request,
                              Crivirt__V1__CheckCredentialsResponse *response, GError **error)
{
    const RegistryAuth auth = {.username = request->username, .password = request->password};

    (void)response;
    return image_service_check_credentials(call->daemon->images, request->registry, &auth, call->deadline,
                                           error);
}

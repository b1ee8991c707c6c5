/* SPDX-License-Identifier: Apache-2.0 */
/* The command line against a daemon of one pod and one container that lives in this process. */
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "api.pb-c.h"
#include "common/error.h"
#include "common/fileio.h"
#include "cri-server/rpc/rpc_server.h"
#include "crivirt.pb-c.h"
#include "tests/unit/harness.h"

/* --- the daemon ---------------------------------------------------------------------------------------- */

struct Daemon {
    GMutex lock;
    Runtime__V1__PodSandboxConfig *pod; /* NULL: none */
    Runtime__V1__ContainerConfig *container;
    gboolean pod_stopped;
    gboolean started;
    gint64 ends_at_us; /* 0: when it is stopped */
    int exit_code;
    gint64 stop_timeout; /* of the last StopContainer; -1: none */
    char *loaded;        /* what was in the archive */
    char *credentials;
};

/* Handlers may change it; the server only passes it on. */
static Daemon *daemon_of(const RpcCall *call)
{
    return (Daemon *)call->daemon;
}

/* Return: a deep copy, which the daemon keeps. */
static void *message_keep(const void *message)
{
    const ProtobufCMessage *original = message;
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    g_byte_array_set_size(bytes, (guint)protobuf_c_message_get_packed_size(original));
    protobuf_c_message_pack(original, bytes->data);
    return protobuf_c_message_unpack(original->descriptor, NULL, bytes->len, bytes->data);
}

#define HANDLER(name, Request, Response)                                                                     \
    static gboolean name##_typed(const RpcCall *call, Daemon *daemon, const Request *request,                \
                                 Response *response, GError **error);                                        \
    static gboolean name(const RpcCall *call, const ProtobufCMessage *request, ProtobufCMessage *response,   \
                         GError **error)                                                                     \
    {                                                                                                        \
        Daemon *daemon = daemon_of(call);                                                                    \
        gboolean good;                                                                                       \
                                                                                                             \
        g_mutex_lock(&daemon->lock);                                                                         \
        good = name##_typed(call, daemon, (const Request *)request, (Response *)response, error);            \
        g_mutex_unlock(&daemon->lock);                                                                       \
        return good;                                                                                         \
    }                                                                                                        \
    static gboolean name##_typed(const RpcCall *call G_GNUC_UNUSED, Daemon *daemon G_GNUC_UNUSED,            \
                                 const Request *request G_GNUC_UNUSED, Response *response G_GNUC_UNUSED,     \
                                 GError **error G_GNUC_UNUSED)

HANDLER(version, Runtime__V1__VersionRequest, Runtime__V1__VersionResponse)
{
    response->runtime_name = (char *)"fake";
    response->runtime_version = (char *)"9";
    response->runtime_api_version = (char *)"v1";
    return TRUE;
}

HANDLER(image_status, Runtime__V1__ImageStatusRequest, Runtime__V1__ImageStatusResponse)
{
    Runtime__V1__Image *image;

    if (strcmp(request->image->image, "here") != 0)
        return TRUE;
    image = arena_new0(call->arena, Runtime__V1__Image, 1);
    runtime__v1__image__init(image);
    image->id = (char *)"sha256:0123456789abcdef";
    response->image = image;
    return TRUE;
}

HANDLER(run_pod, Runtime__V1__RunPodSandboxRequest, Runtime__V1__RunPodSandboxResponse)
{
    g_assert(daemon->pod == NULL);
    daemon->pod = message_keep(request->config);
    daemon->pod_stopped = FALSE;
    response->pod_sandbox_id = (char *)"pod0123456789abc";
    return TRUE;
}

HANDLER(create, Runtime__V1__CreateContainerRequest, Runtime__V1__CreateContainerResponse)
{
    daemon->container = message_keep(request->config);
    daemon->started = FALSE;
    daemon->exit_code = 0;
    daemon->ends_at_us = 0;
    response->container_id = (char *)"ctr0123456789abc";
    return TRUE;
}

static char *log_path(const Daemon *daemon)
{
    return g_build_filename(daemon->pod->log_directory, daemon->container->log_path, NULL);
}

static void write_log(const Daemon *daemon, const char *text)
{
    g_autofree char *path = log_path(daemon);
    FILE *file = fopen(path, "a");

    g_assert(file != NULL);
    fputs(text, file);
    fclose(file);
}

HANDLER(start, Runtime__V1__StartContainerRequest, Runtime__V1__StartContainerResponse)
{
    const char *program = daemon->container->n_args > 0 ? daemon->container->args[0] : "";

    if (strcmp(program, "missing") == 0)
        return fail(error, STATUS_INTERNAL, "executable file `missing` not found in $PATH");
    if (strcmp(program, "broken") == 0)
        return fail(error, STATUS_INTERNAL, "the agent has gone");
    daemon->started = TRUE;
    write_log(daemon,
              "2024-05-01T12:00:00.000000001Z stdout P hel\n2024-05-01T12:00:00.000000002Z stdout F lo\n"
              "2024-05-01T12:00:00.000000003Z stderr F oops\n");
    if (strcmp(program, "exit3") == 0) {
        daemon->exit_code = 3;
        daemon->ends_at_us = g_get_monotonic_time() + 300000;
    }
    return TRUE;
}

static gboolean has_ended(const Daemon *daemon)
{
    return daemon->ends_at_us != 0 && g_get_monotonic_time() >= daemon->ends_at_us;
}

static Runtime__V1__ContainerState state_of(const Daemon *daemon)
{
    if (!daemon->started)
        return RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED;
    return has_ended(daemon) ? RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED
                             : RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING;
}

HANDLER(stop, Runtime__V1__StopContainerRequest, Runtime__V1__StopContainerResponse)
{
    daemon->stop_timeout = request->timeout;
    if (state_of(daemon) == RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING) {
        write_log(daemon, "2024-05-01T12:00:01Z stdout F bye\n");
        daemon->exit_code = 143;
        daemon->ends_at_us = g_get_monotonic_time();
    }
    return TRUE;
}

HANDLER(container_status, Runtime__V1__ContainerStatusRequest, Runtime__V1__ContainerStatusResponse)
{
    Runtime__V1__ContainerStatus *status;
    g_autofree char *path = NULL;

    if (daemon->container == NULL)
        return fail(error, STATUS_NOT_FOUND, "no container %s", request->container_id);
    path = log_path(daemon);
    status = arena_new0(call->arena, Runtime__V1__ContainerStatus, 1);
    runtime__v1__container_status__init(status);
    status->id = (char *)"ctr0123456789abc";
    status->state = state_of(daemon);
    status->exit_code = has_ended(daemon) ? daemon->exit_code : 0;
    status->created_at = g_get_real_time() * 1000;
    status->started_at = g_get_real_time() * 1000;
    status->finished_at = has_ended(daemon) ? g_get_real_time() * 1000 : 0;
    status->log_path = arena_strdup(call->arena, path);
    response->status = status;
    return TRUE;
}

HANDLER(list_containers, Runtime__V1__ListContainersRequest, Runtime__V1__ListContainersResponse)
{
    Runtime__V1__Container *container;

    if (daemon->container == NULL)
        return TRUE;
    container = arena_new0(call->arena, Runtime__V1__Container, 1);
    runtime__v1__container__init(container);
    container->id = (char *)"ctr0123456789abc";
    container->pod_sandbox_id = (char *)"pod0123456789abc";
    container->metadata = daemon->container->metadata;
    container->image = daemon->container->image;
    container->state = state_of(daemon);
    container->created_at = g_get_real_time() * 1000;
    response->containers = arena_new0(call->arena, Runtime__V1__Container *, 1);
    response->containers[0] = container;
    response->n_containers = 1;
    return TRUE;
}

HANDLER(list_pods, Runtime__V1__ListPodSandboxRequest, Runtime__V1__ListPodSandboxResponse)
{
    Runtime__V1__PodSandbox *pod;

    if (daemon->pod == NULL)
        return TRUE;
    pod = arena_new0(call->arena, Runtime__V1__PodSandbox, 1);
    runtime__v1__pod_sandbox__init(pod);
    pod->id = (char *)"pod0123456789abc";
    pod->metadata = daemon->pod->metadata;
    pod->state = daemon->pod_stopped ? RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_NOTREADY
                                     : RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY;
    /* Entries of a map have one layout, whatever message they are nested in. */
    pod->labels = (Runtime__V1__PodSandbox__LabelsEntry **)(void *)daemon->pod->labels;
    pod->n_labels = daemon->pod->n_labels;
    for (size_t i = 0; i < pod->n_labels; i++)
        pod->labels[i]->base.descriptor = &runtime__v1__pod_sandbox__labels_entry__descriptor;
    pod->annotations = (Runtime__V1__PodSandbox__AnnotationsEntry **)(void *)daemon->pod->annotations;
    pod->n_annotations = daemon->pod->n_annotations;
    for (size_t i = 0; i < pod->n_annotations; i++)
        pod->annotations[i]->base.descriptor = &runtime__v1__pod_sandbox__annotations_entry__descriptor;
    response->items = arena_new0(call->arena, Runtime__V1__PodSandbox *, 1);
    response->items[0] = pod;
    response->n_items = 1;
    return TRUE;
}

HANDLER(stop_pod, Runtime__V1__StopPodSandboxRequest, Runtime__V1__StopPodSandboxResponse)
{
    daemon->pod_stopped = TRUE;
    return TRUE;
}

static void daemon_forget(Daemon *daemon)
{
    if (daemon->pod != NULL)
        protobuf_c_message_free_unpacked(&daemon->pod->base, NULL);
    if (daemon->container != NULL)
        protobuf_c_message_free_unpacked(&daemon->container->base, NULL);
    daemon->pod = NULL;
    daemon->container = NULL;
}

static gboolean remove_pod_typed(Daemon *daemon)
{
    g_mutex_lock(&daemon->lock);
    /* The entries were borrowed by answers of another type. */
    for (size_t i = 0; daemon->pod != NULL && i < daemon->pod->n_labels; i++)
        daemon->pod->labels[i]->base.descriptor = &runtime__v1__pod_sandbox_config__labels_entry__descriptor;
    for (size_t i = 0; daemon->pod != NULL && i < daemon->pod->n_annotations; i++)
        daemon->pod->annotations[i]->base.descriptor =
            &runtime__v1__pod_sandbox_config__annotations_entry__descriptor;
    daemon_forget(daemon);
    g_mutex_unlock(&daemon->lock);
    return TRUE;
}

static gboolean remove_pod(const RpcCall *call, const ProtobufCMessage *request, ProtobufCMessage *response,
                           GError **error)
{
    (void)request;
    (void)response;
    (void)error;
    return remove_pod_typed(daemon_of(call));
}

HANDLER(exec_sync, Runtime__V1__ExecSyncRequest, Runtime__V1__ExecSyncResponse)
{
    g_autofree char *words = g_strjoinv(" ", request->cmd);

    response->stdout.data = (uint8_t *)arena_printf(call->arena, "ran %s\n", words);
    response->stdout.len = strlen((char *)response->stdout.data);
    response->stderr.data = (uint8_t *)"warned\n";
    response->stderr.len = 7;
    response->exit_code = 42;
    return TRUE;
}

HANDLER(load_image, Crivirt__V1__LoadImageRequest, Crivirt__V1__LoadImageResponse)
{
    Crivirt__V1__LoadedImage *image = arena_new0(call->arena, Crivirt__V1__LoadedImage, 1);

    crivirt__v1__loaded_image__init(image);
    image->id = (char *)"sha256:1";
    g_clear_pointer(&daemon->loaded, g_free);
    if (!file_read(request->path, 1024, &daemon->loaded, NULL, error))
        return FALSE;
    response->images = arena_new0(call->arena, Crivirt__V1__LoadedImage *, 1);
    response->images[0] = image;
    response->n_images = 1;
    return TRUE;
}

static gboolean pull(const RpcCall *call, const ProtobufCMessage *message, ProtobufCMessage *response,
                     GError **error)
{
    const Crivirt__V1__PullImageWithProgressRequest *request =
        (const Crivirt__V1__PullImageWithProgressRequest *)message;
    Crivirt__V1__PullProgress progress = CRIVIRT__V1__PULL_PROGRESS__INIT;
    Crivirt__V1__LayerProgress layer = CRIVIRT__V1__LAYER_PROGRESS__INIT;
    Crivirt__V1__LayerProgress *layers[] = {&layer};

    (void)response;
    if (strcmp(request->image, "absent") == 0)
        return fail(error, STATUS_NOT_FOUND, "registry says: no such image absent");
    g_free(daemon_of(call)->credentials);
    daemon_of(call)->credentials = g_strconcat(request->username, "/", request->password, NULL);
    layer.digest = (char *)"sha256:aaaabbbbccccdddd";
    layer.state = CRIVIRT__V1__LAYER_PROGRESS__STATE__DOWNLOADING;
    progress.layers = layers;
    progress.n_layers = 1;
    if (!rpc_stream_send(call->stream, &progress.base, error))
        return FALSE;
    layer.state = CRIVIRT__V1__LAYER_PROGRESS__STATE__DONE;
    progress.image_ref = (char *)"sha256:feed";
    return rpc_stream_send(call->stream, &progress.base, error);
}

#define RUNTIME(Name, pool, handler)                                                                         \
    {                                                                                                        \
        &runtime__v1__runtime_service__descriptor, #Name, "", "", RPC_POOL_##pool, FALSE, handler            \
    }

static const RpcMethod methods[] = {
    RUNTIME(Version, FAST, version),
    RUNTIME(RunPodSandbox, POD, run_pod),
    RUNTIME(CreateContainer, POD, create),
    RUNTIME(StartContainer, POD, start),
    RUNTIME(StopContainer, POD, stop),
    RUNTIME(ContainerStatus, FAST, container_status),
    RUNTIME(ListContainers, FAST, list_containers),
    RUNTIME(ListPodSandbox, FAST, list_pods),
    RUNTIME(StopPodSandbox, POD, stop_pod),
    RUNTIME(RemovePodSandbox, POD, remove_pod),
    RUNTIME(ExecSync, EXEC, exec_sync),
    {&runtime__v1__image_service__descriptor, "ImageStatus", "", "", RPC_POOL_FAST, FALSE, image_status},
    {&crivirt__v1__crivirt__descriptor, "LoadImage", "", "", RPC_POOL_IMAGE, FALSE, load_image},
    {&crivirt__v1__crivirt__descriptor, "PullImageWithProgress", "", "", RPC_POOL_IMAGE, TRUE, pull},
};

/* --- the command line ---------------------------------------------------------------------------------- */

static char *socket_path;
static char *log_root;
static Daemon fake = {.stop_timeout = -1};

static GSubprocess *spawn(const char *const *words, GSubprocessFlags flags)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(flags | G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE);
    GSubprocess *process;

    g_ptr_array_add(argv, (gpointer)CRIVIRT_PROGRAM);
    for (; *words != NULL; words++)
        g_ptr_array_add(argv, (gpointer)*words);
    g_ptr_array_add(argv, NULL);
    g_subprocess_launcher_setenv(launcher, "CRIVIRT_SOCKET", socket_path, TRUE);
    g_subprocess_launcher_setenv(launcher, "CRIVIRT_LOG_DIR", log_root, TRUE);
    g_subprocess_launcher_setenv(launcher, "CRIVIRT_TMPDIR", log_root, TRUE);
    process = g_subprocess_launcher_spawnv(launcher, (const char *const *)argv->pdata, NULL);
    g_assert(process != NULL);
    return process;
}

static void expect_end(GSubprocess *process, const char *input, int code, const char *out, const char *err)
{
    g_autofree char *got_out = NULL;
    g_autofree char *got_err = NULL;

    g_assert(g_subprocess_communicate_utf8(process, input, NULL, &got_out, &got_err, NULL));
    if (!g_subprocess_get_if_exited(process) || g_subprocess_get_exit_status(process) != code ||
        strstr(got_out, out) == NULL || strstr(got_err, err) == NULL)
        g_printerr("status %d, stdout:\n%s\nstderr:\n%s\n", g_subprocess_get_status(process), got_out,
                   got_err);
    CU_ASSERT_TRUE(g_subprocess_get_if_exited(process) && g_subprocess_get_exit_status(process) == code);
    CU_ASSERT_PTR_NOT_NULL(strstr(got_out, out));
    CU_ASSERT_PTR_NOT_NULL(strstr(got_err, err));
}

static void expect_input(const char *input, int code, const char *out, const char *err,
                         const char *const *words)
{
    g_autoptr(GSubprocess) process =
        spawn(words, input != NULL ? G_SUBPROCESS_FLAGS_STDIN_PIPE : G_SUBPROCESS_FLAGS_NONE);

    expect_end(process, input, code, out, err);
}
#define EXPECT(code, out, err, ...)                                                                          \
    expect_input(NULL, (code), (out), (err), (const char *const[]){__VA_ARGS__, NULL})

static gboolean pod_is_gone(void)
{
    gboolean gone;

    g_mutex_lock(&fake.lock);
    gone = fake.pod == NULL;
    g_mutex_unlock(&fake.lock);
    return gone;
}

/* A test has left no pod and no log. */
static void expect_nothing_left(void)
{
    g_autoptr(GDir) directory = g_dir_open(log_root, 0, NULL);

    CU_ASSERT_TRUE(pod_is_gone());
    CU_ASSERT_PTR_NULL(g_dir_read_name(directory));
}

static void run_in_the_foreground(void)
{
    EXPECT(3, "hello\n", "oops\n", "run", "--rm", "--name", "web", "here", "exit3");
    expect_nothing_left();
}

static void run_without_rm(void)
{
    EXPECT(3, "hello\n", "oops\n", "run", "--name", "web", "here", "exit3");
    CU_ASSERT_TRUE(fake.pod_stopped);
    EXPECT(0, "Exited (3) Less than a second ago", "", "ps", "-a");
    EXPECT(0, "CONTAINER ID", "", "ps");
    EXPECT(125, "", "the name \"web\" is taken", "run", "--name", "web", "here");
    EXPECT(0, "web\n", "", "rm", "web");
    expect_nothing_left();
}

static void run_in_the_background(void)
{
    EXPECT(0, "ctr0123456789abc\n", "", "run", "-d", "--name", "web", "here", "serve");
    EXPECT(0, "web", "", "ps");
    EXPECT(0, "\"name\": \"web\"", "", "ps", "--json");
    EXPECT(0, "ctr012345678\n", "", "ps", "-q");
    EXPECT(0, "Ready", "", "pods");
    EXPECT(0, "hello\n", "oops\n", "logs", "web");
    EXPECT(0, "2024-05-01T12:00:00.000000001Z hello\n", "", "logs", "-t", "--tail", "5", "ctr0");
    EXPECT(0, "\"state\": \"CONTAINER_RUNNING\"", "", "inspect", "web");
    EXPECT(42, "ran ls -l\n", "warned\n", "exec", "web", "ls", "-l");
    EXPECT(1, "", "it is running; stop it first, or use -f", "rm", "web");
    EXPECT(1, "", "there is no container \"nobody\"", "stop", "nobody");
    EXPECT(0, "web\n", "", "stop", "-t", "1", "web");
    CU_ASSERT_EQUAL(fake.stop_timeout, 1);
    CU_ASSERT_TRUE(fake.pod_stopped);
    EXPECT(0, "", "", "rm", "-f", "web");
    expect_nothing_left();
}

static void detached_and_removed(void)
{
    EXPECT(0, "ctr0123456789abc\n", "", "run", "-d", "--rm", "here", "exit3");
    for (int i = 0; i < 100 && !pod_is_gone(); i++)
        g_usleep(100000);
    g_usleep(300000); /* the log directory is removed last */
    expect_nothing_left();
}

static void control_c_stops_the_container(void)
{
    const char *words[] = {"run", "--rm", "here", "serve", NULL};
    g_autoptr(GSubprocess) process = spawn(words, G_SUBPROCESS_FLAGS_NONE);
    gboolean started = FALSE;

    for (int i = 0; i < 100 && !started; i++) {
        g_usleep(50000);
        g_mutex_lock(&fake.lock);
        started = fake.started && fake.container != NULL;
        g_mutex_unlock(&fake.lock);
    }
    g_usleep(200000);
    g_subprocess_send_signal(process, SIGINT);
    expect_end(process, NULL, 143, "hello\nbye\n", "oops\n");
    CU_ASSERT_EQUAL(fake.stop_timeout, 10);
    expect_nothing_left();
}

static void failed_start_leaves_nothing(void)
{
    EXPECT(127, "", "crivirt: executable file `missing` not found", "run", "here", "missing");
    expect_nothing_left();
    EXPECT(125, "", "crivirt: the agent has gone", "run", "here", "broken");
    expect_nothing_left();
    EXPECT(125, "", "--pull=never", "run", "--pull", "never", "absent");
    EXPECT(125, "", "no such image absent", "run", "absent");
    expect_nothing_left();
}

static void pulls(void)
{
    EXPECT(0, "sha256:feed\n", "aaaabbbbcccc: downloading\naaaabbbbcccc: done\n", "pull", "x");
    CU_ASSERT_STRING_EQUAL(fake.credentials, "/");
    EXPECT(0, "sha256:feed\n", "", "pull", "-q", "--creds", "me:pass:word", "x");
    CU_ASSERT_STRING_EQUAL(fake.credentials, "me/pass:word");
    expect_input("secret\n", 0, "sha256:feed\n", "",
                 (const char *const[]){"pull", "--creds", "me", "--password-stdin", "x", NULL});
    CU_ASSERT_STRING_EQUAL(fake.credentials, "me/secret");
    EXPECT(1, "", "crivirt: registry says: no such image absent", "pull", "absent");
    EXPECT(2, "", "--creds", "pull", "--creds", "me", "x");
}

static void loads(void)
{
    expect_input("archive", 0, "Loaded image ID: sha256:1\n", "", (const char *const[]){"load", NULL});
    CU_ASSERT_STRING_EQUAL(fake.loaded, "archive");
    expect_input("", 1, "", "the standard input is empty", (const char *const[]){"load", NULL});
    EXPECT(1, "", "cannot open /nonexistent", "load", "-i", "/nonexistent");
    expect_nothing_left();
}

static void talks_plainly(void)
{
    EXPECT(0, "Server: fake\n Version:      9", "", "version");
    EXPECT(0, "\"runtimeName\": \"fake\"", "", "version", "--format", "json");
    EXPECT(1, "", "cannot reach crivirtd at /nonexistent/x.sock: is it running?", "-H", "/nonexistent/x.sock",
           "ps");
    EXPECT(1, "", "Status", "info"); /* this daemon has none */
    EXPECT(2, "", "\"frobnicate\" is not a command", "frobnicate");
    EXPECT(2, "", "unknown option --nope", "run", "--nope", "x");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"run shows the output and exits with the container's code", run_in_the_foreground},
        {"run without --rm leaves a stopped pod and its log", run_without_rm},
        {"a container in the background can be listed, inspected and stopped", run_in_the_background},
        {"run -d --rm removes the pod when the container ends", detached_and_removed},
        {"Ctrl-C stops the container and shows its last output", control_c_stops_the_container},
        {"a start that fails leaves nothing, and the message has the reason", failed_start_leaves_nothing},
        {"pull shows progress and passes credentials on", pulls},
        {"load reads the standard input", loads},
        {"an error is one message, with exit code 1, or 2 for wrong usage", talks_plainly},
    };
    g_autofree char *directory = test_directory();
    g_autoptr(GError) error = NULL;
    g_autoptr(RpcServer) server = NULL;
    RpcServerConfig config = {.methods = methods, .n_methods = G_N_ELEMENTS(methods), .daemon = &fake};
    int result;

    rpc_server_prepare_process();
    socket_path = g_build_filename(directory, "d.sock", NULL);
    log_root = g_build_filename(directory, "logs", NULL);
    g_mkdir(log_root, 0755);
    config.socket_path = socket_path;
    for (int i = 0; i < RPC_N_POOLS; i++)
        config.pools[i] = (WorkerPoolSize){2, 16};
    server = rpc_server_open(&config, &error);
    if (server == NULL)
        g_error("%s", error->message);
    rpc_server_start(server);
    result = test_main_args("cli_daemon", cases, G_N_ELEMENTS(cases), argc, argv);
    rpc_server_stop(server, 1000);
    remove_pod_typed(&fake);
    g_free(fake.loaded);
    g_free(fake.credentials);
    g_free(socket_path);
    g_free(log_root);
    return result;
}

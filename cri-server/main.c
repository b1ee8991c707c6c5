/* crivirtd: serves the CRI on a unix socket.
 *
 * SIGTERM and SIGINT stop it and leave the pods running; a second one ends it at once, which is as safe as a
 * crash. SIGHUP is ignored: a changed configuration is read by a restart, which no pod notices.
 *
 * Exit codes: 0 stopped as asked; 1 it could not start or serve; 2 bad command line or configuration.
 */
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "cri-server/config/config_check.h"
#include "cri-server/daemon.h"
#include "cri-server/metrics_http.h"
#include "cri-server/notify.h"
#include "cri-server/rpc/rpc_server.h"
#include "cri-server/rpc_table.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { EXIT_USAGE = 2 };

/* Each malloc arena keeps what its threads freed: with a hundred mostly idle workers that adds up. */
enum { MALLOC_ARENAS = 2 };

/* Larger blocks go back to the kernel when they are freed: a message of 16 MiB is seldom, and must not stay.
 */
enum { MALLOC_LARGE_BYTES = 128 * 1024 };

static sigset_t stop_signals(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    return signals;
}

/* Before any thread exists, so that all of them inherit it. */
static void prepare_process(void)
{
    sigset_t blocked = stop_signals();

    sigaddset(&blocked, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    mallopt(M_ARENA_MAX, MALLOC_ARENAS);
    mallopt(M_MMAP_THRESHOLD, MALLOC_LARGE_BYTES);
    mallopt(M_TRIM_THRESHOLD, MALLOC_LARGE_BYTES);
    rpc_server_prepare_process();
}

static void setup_log(const Config *config)
{
    LogLevel level = LOG_LEVEL_INFO;
    LogFormat format = LOG_FORMAT_AUTO;

    log_level_from_name(config->log_level, &level);
    log_format_from_name(config->log_format, &format);
    log_setup(level, format);
}

/* ---- opening ---- */

/* OCI's name for an architecture. */
static const char *guest_architecture(const Config *config)
{
    struct utsname node;

    if (!g_str_equal(config->image_architecture, "auto"))
        return config->image_architecture;
    return uname(&node) == 0 && g_str_equal(node.machine, "aarch64") ? "arm64" : "amd64";
}

static const char *path_or_null(const char *path)
{
    return *path != '\0' ? path : NULL;
}

static ImageService *open_images(const Config *config, GError **error)
{
    g_autofree char *root = g_build_filename(config->state_dir, "images", NULL);
    const ImageServiceConfig images = {
        .root = root,
        .hosts_dir = path_or_null(config->registry_hosts_dir),
        .auth_file = path_or_null(config->registry_auth_file),
        .architecture = guest_architecture(config),
        .max_parallel_layers = (guint)config->max_parallel_layers,
        .max_layer_bytes = config->max_layer_bytes,
        .max_image_bytes = config->max_image_bytes,
        .progress_timeout_ms = (gint64)config->progress_timeout_ms,
    };

    return image_service_open(&images, error);
}

static Handler handler_of_config(const HandlerConfig *config)
{
    return (Handler){
        .name = config->name,
        .kind = handler_config_is_host(config) ? HANDLER_HOST : HANDLER_VM,
        .bounds = {.vcpus = (guint)config->vcpus,
                   .max_vcpus = (guint)config->max_vcpus,
                   .memory_bytes = config->memory_bytes,
                   .max_memory_bytes = config->max_memory_bytes},
        .kernel = config->kernel,
        .initrd = config->initrd,
        .accelerator = config->accelerator,
        .kernel_parameters = config->kernel_parameters,
        .template = config->template,
        .annotations = (const char *const *)config->annotations,
        .pod_kernel_parameters = (const char *const *)config->pod_kernel_parameters,
    };
}

static SandboxManager *open_sandboxes(const Config *config, ImageService *images, GError **error)
{
    g_autofree Handler *handlers = g_new(Handler, config->handlers->len);
    const SandboxManagerConfig sandboxes = {
        .state_dir = config->state_dir,
        .run_dir = config->run_dir,
        .libvirt_uri = config->libvirt_uri,
        .accelerator = config->accelerator,
        .qemu_user = config->qemu_user,
        .qemu_group = config->qemu_group,
        .handlers = handlers,
        .n_handlers = config->handlers->len,
        .tcg_buffer_mib = (guint)config->tcg_buffer_mib,
        .passthrough_ports = (guint)config->passthrough_ports,
        .cdi_spec_dirs = (const char *const *)config->cdi_spec_dirs,
        .boot_timeout_ms = (gint64)config->boot_timeout_ms,
        .agent_timeout_ms = (gint64)config->agent_timeout_ms,
        .max_parallel_boots = (guint)config->max_parallel_boots,
        .waiting_machines = (guint)config->guest_waiting_machines,
        .waiting_machines_filled = config->guest_waiting_machines_filled,
        .upper_bytes = config->guest_disk_bytes,
        .cni_timeout_ms = (gint64)config->cni_timeout_ms,
        .node_agent = config->host_agent,
        .cni_config_dir = config->cni_config_dir,
        .cni_plugin_dirs = (const char *const *)config->cni_plugin_dirs,
    };

    for (guint i = 0; i < config->handlers->len; i++)
        handlers[i] = handler_of_config(config->handlers->pdata[i]);
    return sandbox_manager_open(&sandboxes, images, error);
}

static RpcServer *open_server(const Daemon *daemon, GError **error)
{
    const Config *config = daemon->config;
    const guint waiting = (guint)config->max_waiting;
    RpcServerConfig server = {
        .socket_path = config->socket,
        .daemon = daemon,
        .pools = {[RPC_POOL_FAST] = {(guint)config->fast_workers, waiting},
                  [RPC_POOL_POD] = {(guint)config->pod_workers, waiting},
                  [RPC_POOL_EXEC] = {(guint)config->exec_workers, waiting},
                  [RPC_POOL_IMAGE] = {(guint)config->image_workers, waiting}},
    };

    server.methods = rpc_table(&server.n_methods);
    return rpc_server_open(&server, error);
}

/* One daemon for each state directory, whatever its socket. */
static gboolean lock_state(const Config *config, int *ret_fd, GError **error)
{
    g_autofree char *path = g_build_filename(config->state_dir, "crivirtd.lock", NULL);

    return dir_make(config->state_dir, 0711, error) && file_lock(path, ret_fd, error);
}

/* ---- serving ---- */

static void exit_on_second_signal(int signal_number)
{
    (void)signal_number;
    _exit(EXIT_FAILURE);
}

static void wait_for_stop(void)
{
    const struct sigaction at_once = {.sa_handler = exit_on_second_signal};
    sigset_t signals = stop_signals();
    int received = 0;

    while (sigwait(&signals, &received) != 0)
        continue;
    log_info(LOG_FIELDS("signal", g_strsignal(received)), "stopping; pods keep running");
    sigaction(SIGTERM, &at_once, NULL);
    sigaction(SIGINT, &at_once, NULL);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}

static void serve(const Daemon *daemon, RpcServer *server)
{
    gboolean is_kvm = FALSE;
    const char *accelerator = sandbox_manager_accelerator(daemon->sandboxes, &is_kvm);

    rpc_server_start(server);
    log_write(
        is_kvm ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
        LOG_FIELDS("socket", daemon->config->socket, "version", CRIVIRT_VERSION, "accelerator", accelerator),
        "serving");
    notify_manager("READY=1");
    wait_for_stop();
    notify_manager("STOPPING=1");
    rpc_server_stop(server, (gint64)daemon->config->stop_grace_ms);
}

static StreamServer *open_streams(const Config *config, SandboxManager *sandboxes, GError **error)
{
    const StreamServerConfig streams = {
        .address = config->streaming_address,
        .port = (guint16)config->streaming_port,
        .tls_cert = path_or_null(config->streaming_tls_cert),
        .tls_key = path_or_null(config->streaming_tls_key),
        .idle_ms = (gint64)config->streaming_idle_timeout_ms,
        .creation_ms = (gint64)config->streaming_creation_timeout_ms,
    };

    return stream_server_open(&streams, sandboxes, error);
}

static gboolean run_with_images(Daemon *daemon, RpcServer *server, GError **error)
{
    MetricsHttp *metrics = NULL;
    gboolean good = TRUE;

    daemon->sandboxes = open_sandboxes(daemon->config, daemon->images, error);
    if (daemon->sandboxes == NULL)
        return FALSE;
    if (*daemon->config->metrics_address != '\0') {
        metrics = metrics_http_start(daemon->config->metrics_address, daemon, error);
        good = metrics != NULL;
    }
    image_service_collect(daemon->images); /* every container has pinned its layers by now */
    if (good) {
        daemon->streams = open_streams(daemon->config, daemon->sandboxes, error);
        good = daemon->streams != NULL;
    }
    if (good)
        serve(daemon, server);
    stream_server_close(daemon->streams);
    metrics_http_stop(metrics);
    sandbox_manager_close(daemon->sandboxes);
    return good;
}

static gboolean run_daemon(const Config *config, GError **error)
{
    Daemon daemon = {.config = config};
    g_autoptr(RpcServer) server = NULL;
    int lock_fd = -1;
    gboolean ran;

    if (!lock_state(config, &lock_fd, error))
        return FALSE;
    /* The socket comes first: clients that call meanwhile wait instead of being refused. */
    server = open_server(&daemon, error);
    if (server == NULL)
        return FALSE;
    daemon.images = open_images(config, error);
    if (daemon.images == NULL)
        return FALSE;
    ran = run_with_images(&daemon, server, error);
    image_service_close(daemon.images);
    if (ran)
        log_info(LOG_NO_FIELDS, "stopped");
    return ran; /* the lock on the state goes with the process */
}

/* ---- the command line ---- */

static int print(char *text)
{
    fputs(text, stdout);
    g_free(text);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int print_check(const Config *config)
{
    g_autoptr(GPtrArray) problems = config_check(config);
    int code = EXIT_SUCCESS;

    for (guint i = 0; i < problems->len; i++) {
        const ConfigProblem *problem = g_ptr_array_index(problems, i);

        printf("%s: %s\n", problem->is_fatal ? "error" : "warning", problem->text);
        if (problem->is_fatal)
            code = EXIT_FAILURE;
    }
    if (problems->len == 0)
        printf("the configuration is good\n");
    return code;
}

static int run(const Config *config)
{
    g_autoptr(GError) error = NULL;

    setup_log(config);
    prepare_process();
    if (run_daemon(config, &error))
        return EXIT_SUCCESS;
    log_error(LOG_NO_FIELDS, "%s", error->message);
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    ConfigAction action = CONFIG_RUN;
    g_autoptr(GError) error = NULL;
    g_autoptr(Config) config = config_load(argc, argv, &action, &error);

    if (config == NULL) {
        fprintf(stderr, "crivirtd: %s\n", error->message);
        return EXIT_USAGE;
    }
    switch (action) {
    case CONFIG_VERSION:
        printf("crivirtd %s\n", CRIVIRT_VERSION);
        return EXIT_SUCCESS;
    case CONFIG_DUMP_DEFAULT:
        return print(config_to_toml(NULL));
    case CONFIG_PRINT:
        return print(config_to_toml(config));
    case CONFIG_CHECK:
        return print_check(config);
    case CONFIG_RUN:
        break;
    }
    return run(config);
}

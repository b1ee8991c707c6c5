/* SPDX-License-Identifier: Apache-2.0 */
/* crivirtd: serves the CRI on a unix socket.
 *
 * SIGTERM and SIGINT stop the daemon and leave the pods running; a second signal ends it at once, which is as
 * safe as a crash. SIGHUP makes it read its configuration again (reload.h).
 *
 * Exit codes: 0 stopped by a signal; 1 could not start or serve; 2 bad command line or configuration.
 */
#include "common/bundle.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "cri-server/config/config_check.h"
#include "cri-server/daemon.h"
#include "cri-server/health_parts.h"
#include "cri-server/image_settings.h"
#include "cri-server/metrics_http.h"
#include "cri-server/notify.h"
#include "cri-server/process_memory.h"
#include "cri-server/reload.h"
#include "cri-server/rpc/rpc_server.h"
#include "cri-server/rpc_table.h"
#include "cri-server/span_export.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EXIT_USAGE = 2 };

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

    sigaddset(&blocked, SIGHUP); /* waits until the daemon serves */
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    process_memory_prepare();
    rpc_server_prepare_process();
}

/* A core file would contain credentials of registries and secrets of pods. The limit alone does not keep the
 * kernel from passing the memory to a program that core_pattern names (core(5)). Children get limits of their
 * own (common/children.def). */
static void limit_core_files(gboolean are_allowed)
{
    const rlim_t size = are_allowed ? RLIM_INFINITY : 0;
    const struct rlimit limit = {size, size};

    if (setrlimit(RLIMIT_CORE, &limit) != 0)
        log_warning(LOG_NO_FIELDS, "cannot set the limit of core files: %s", g_strerror(errno));
    if (!are_allowed)
        prctl(PR_SET_DUMPABLE, 0);
}

static void setup_log(const Settings *settings)
{
    LogLevel level = LOG_LEVEL_INFO;
    LogFormat format = LOG_FORMAT_AUTO;

    log_level_from_name(settings->log.level, &level);
    log_format_from_name(settings->log.format, &format);
    log_setup(level, format);
}

/* ---- opening ---- */

static ImageService *open_images(const Settings *settings, GError **error)
{
    g_autofree char *root = g_build_filename(settings->server.state_dir, "images", NULL);
    const ImageServiceConfig images = image_settings(settings, root);

    return image_service_open(&images, error);
}

static RpcServer *open_server(const Daemon *daemon, GError **error)
{
    const Settings *settings = daemon->settings;
    const guint waiting = settings->server.max_waiting;
    RpcServerConfig server = {
        .socket_path = settings->server.socket,
        .socket_group = settings->server.socket_group,
        .daemon = daemon,
        .pools = {[RPC_POOL_FAST] = {settings->server.fast_workers, waiting},
                  [RPC_POOL_POD] = {settings->server.pod_workers, waiting},
                  [RPC_POOL_EXEC] = {settings->server.exec_workers, waiting},
                  [RPC_POOL_IMAGE] = {settings->server.image_workers, waiting},
                  [RPC_POOL_STATS] = {settings->server.stats_workers, waiting},
                  [RPC_POOL_WATCH] = {settings->server.watch_workers, waiting}},
    };

    server.methods = rpc_table(&server.n_methods);
    return rpc_server_open(&server, error);
}

/* Only one daemon may use a state directory, even when their sockets differ. */
static gboolean lock_state(const Settings *settings, int *ret_fd, GError **error)
{
    g_autofree char *path = g_build_filename(settings->server.state_dir, "crivirtd.lock", NULL);

    return dir_make(settings->server.state_dir, 0711, error) && file_lock(path, ret_fd, error);
}

/* ---- serving ---- */

static void exit_at_second_signal(int signal_number)
{
    (void)signal_number;
    _exit(EXIT_FAILURE);
}

/* The command line of main(), for reloads. */
typedef struct {
    int argc;
    char **argv;
} CommandLine;

static void wait_for_stop(const Daemon *daemon, const CommandLine *line)
{
    const struct sigaction at_once = {.sa_handler = exit_at_second_signal};
    sigset_t signals = stop_signals();
    sigset_t awaited = signals;
    int received = 0;

    sigaddset(&awaited, SIGHUP);
    while (sigwait(&awaited, &received) != 0 || received == SIGHUP)
        if (received == SIGHUP)
            daemon_reload(daemon, line->argc, line->argv);
    log_info(LOG_FIELDS("signal", g_strsignal(received)), "stopping; pods keep running");
    sigaction(SIGTERM, &at_once, NULL);
    sigaction(SIGINT, &at_once, NULL);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}

static void daemon_serve(const Daemon *daemon, const CommandLine *line, RpcServer *server)
{
    SpanExport *spans = span_export_start(daemon->settings);
    gboolean is_kvm = FALSE;
    const char *accelerator = sandbox_manager_accelerator(daemon->sandboxes, &is_kvm);
    const QemuProgram *qemu = sandbox_manager_qemu(daemon->sandboxes);

    rpc_server_start(server);
    health_add_parts(daemon->health, daemon, server);
    health_start(daemon->health);
    log_write(is_kvm ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
              LOG_FIELDS("socket", daemon->settings->server.socket, "version", CRIVIRT_VERSION, "accelerator",
                         accelerator, "qemu", qemu->path, "qemu_version", qemu->version),
              "serving");
    notify_manager("READY=1");
    wait_for_stop(daemon, line);
    notify_manager("STOPPING=1");
    health_stop(daemon->health);
    rpc_server_stop(server, daemon->settings->server.stop_grace_ms);
    span_export_stop(spans);
}

static gboolean daemon_run_sandboxes(Daemon *daemon, const CommandLine *line, RpcServer *server,
                                     GError **error)
{
    MetricsHttp *metrics = NULL;
    gboolean good;

    daemon->sandboxes = sandbox_manager_open(daemon->live, daemon->images, error);
    if (daemon->sandboxes == NULL)
        return FALSE;
    metrics = metrics_http_start(daemon, error);
    good = metrics != NULL;
    image_service_collect(daemon->images); /* every container has pinned its layers by now */
    if (good) {
        daemon->streams = stream_server_open(daemon->settings, daemon->sandboxes, error);
        good = daemon->streams != NULL;
    }
    if (good)
        daemon_serve(daemon, line, server);
    stream_server_close(daemon->streams);
    metrics_http_stop(metrics);
    sandbox_manager_close(daemon->sandboxes);
    return good;
}

static gboolean daemon_run(LiveSettings *live, const CommandLine *line, GError **error)
{
    const Settings *settings = live_settings_first(live);
    g_autoptr(Health) health = health_new(); /* freed after the server, whose threads answer it */
    Daemon daemon = {.settings = settings, .live = live, .health = health};
    g_autoptr(RpcServer) server = NULL;
    int lock_fd = -1;
    gboolean ran;

    if (!lock_state(settings, &lock_fd, error))
        return FALSE;
    /* The socket is bound first, so that clients that call meanwhile wait instead of getting an error. */
    server = open_server(&daemon, error);
    if (server == NULL)
        return FALSE;
    daemon.server = server;
    daemon.images = open_images(settings, error);
    if (daemon.images == NULL)
        return FALSE;
    ran = daemon_run_sandboxes(&daemon, line, server, error);
    image_service_close(daemon.images);
    if (ran)
        log_info(LOG_NO_FIELDS, "stopped");
    return ran; /* the state's lock file is released when the process ends */
}

/* ---- the command line ---- */

static int print_text(char *text)
{
    fputs(text, stdout);
    g_free(text);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int print_check(const Settings *settings)
{
    g_autoptr(GPtrArray) problems = config_check(settings);
    int code = EXIT_SUCCESS;

    for (guint i = 0; i < problems->len; i++) {
        const ConfigProblem *problem = g_ptr_array_index(problems, i);

        printf("%s: %s\n", problem->is_fatal ? "error" : "warning", problem->text);
        if (problem->is_fatal)
            code = EXIT_FAILURE;
    }
    if (problems->len == 0)
        printf("no problems found\n");
    return code;
}

static int main_run(Settings *settings, const CommandLine *line)
{
    g_autoptr(LiveSettings) live = live_settings_new(settings_ref(settings));
    g_autoptr(GError) error = NULL;

    setup_log(settings);
    if (!config_check_streaming(settings, &error)) {
        log_error(LOG_NO_FIELDS, "%s", error->message);
        return EXIT_USAGE;
    }
    prepare_process();
    limit_core_files(settings->server.core_dumps);
    if (daemon_run(live, line, &error))
        return EXIT_SUCCESS;
    log_error(LOG_NO_FIELDS, "%s", error->message);
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    ConfigAction action = CONFIG_RUN;
    g_autoptr(GError) error = NULL;
    g_autoptr(Settings) settings = NULL;

    bundle_prepare_environment();
    settings = config_load(argc, argv, &action, &error);
    if (settings == NULL) {
        fprintf(stderr, "crivirtd: %s\n", error->message);
        return EXIT_USAGE;
    }
    switch (action) {
    case CONFIG_VERSION:
        printf("crivirtd %s\n", CRIVIRT_VERSION);
        return EXIT_SUCCESS;
    case CONFIG_DUMP_DEFAULT:
        return print_text(config_to_toml(NULL));
    case CONFIG_PRINT:
        return print_text(config_to_toml(settings));
    case CONFIG_CHECK:
        return print_check(settings);
    case CONFIG_RUN:
        break;
    }
    return main_run(settings, &(CommandLine){argc, argv});
}

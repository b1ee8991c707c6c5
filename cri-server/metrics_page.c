/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/metrics_page.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/fileio.h"
#include "common/metrics.h"
#include "cri-server/rpc/rpc_server.h"
#include "sandbox/host/process_cost.h"

enum { STAT_MAX_BYTES = 4096, STAT_START_FIELD = 22, STAT_FIRST_FIELD = 3 };

/* What the figures of one page are read from, once. */
typedef struct {
    const Daemon *daemon;
    SandboxCounts counts;
    TemplateFigures templates;
    GArray *costs; /* PodCost */
    ImageFsUsage images;
    ProcessCost self;
} Scrape;

/* ---- the daemon ---- */

static void write_info(GString *text, const char *name, const Scrape *scrape)
{
    (void)scrape;
    metrics_format_value(text, name, "version", CRIVIRT_VERSION, 1);
}

static void write_kvm(GString *text, const char *name, const Scrape *scrape)
{
    gboolean is_kvm = FALSE;

    sandbox_manager_accelerator(scrape->daemon->sandboxes, &is_kvm);
    metrics_format_value(text, name, NULL, NULL, is_kvm ? 1 : 0);
}

static void write_ready(GString *text, const char *name, const Scrape *scrape)
{
    g_autofree char *problem = health_unready(scrape->daemon->health);

    metrics_format_value(text, name, NULL, NULL, problem == NULL ? 1 : 0);
}

static void write_calls(GString *text, const char *name, const Scrape *scrape)
{
    for (guint i = 0; i < RPC_N_POOLS; i++)
        metrics_format_value(text, name, "pool", rpc_pool_name((RpcPool)i),
                             rpc_server_calls(scrape->daemon->server, (RpcPool)i));
}

static void write_workers(GString *text, const char *name, const Scrape *scrape)
{
    const Settings *settings = scrape->daemon->settings;
    const guint workers[RPC_N_POOLS] = {
        [RPC_POOL_FAST] = settings->server.fast_workers,   [RPC_POOL_POD] = settings->server.pod_workers,
        [RPC_POOL_EXEC] = settings->server.exec_workers,   [RPC_POOL_IMAGE] = settings->server.image_workers,
        [RPC_POOL_STATS] = settings->server.stats_workers, [RPC_POOL_WATCH] = settings->server.watch_workers};

    for (guint i = 0; i < RPC_N_POOLS; i++)
        metrics_format_value(text, name, "pool", rpc_pool_name((RpcPool)i), workers[i]);
}

/* ---- the process, with the names that all of Prometheus's clients use ---- */

static void write_cpu(GString *text, const char *name, const Scrape *scrape)
{
    metrics_format_value(text, name, NULL, NULL, (double)scrape->self.cpu_ns / 1e9);
}

static void write_memory(GString *text, const char *name, const Scrape *scrape)
{
    metrics_format_value(text, name, NULL, NULL, (double)scrape->self.memory_bytes);
}

static void write_open_fds(GString *text, const char *name, const Scrape *scrape)
{
    g_autoptr(GDir) entries = g_dir_open("/proc/self/fd", 0, NULL);
    guint count = 0;

    (void)scrape;
    while (entries != NULL && g_dir_read_name(entries) != NULL)
        count++;
    metrics_format_value(text, name, NULL, NULL,
                         count > 0 ? count - 1 : 0); /* without that of the directory */
}

static void write_max_fds(GString *text, const char *name, const Scrape *scrape)
{
    struct rlimit limit = {0};

    (void)scrape;
    getrlimit(RLIMIT_NOFILE, &limit);
    metrics_format_value(text, name, NULL, NULL, (double)limit.rlim_cur);
}

/* Field 22 of /proc/self/stat is in ticks since the boot, field 1 of /proc/uptime in seconds (proc(5)).
 * Return: seconds since 1970; 0 when that cannot be found out. */
static double start_time_s(void)
{
    g_autofree char *stat = NULL;
    g_autofree char *uptime = NULL;
    g_auto(GStrv) fields = NULL;
    const char *rest;
    double age_s;

    if (!file_read("/proc/self/stat", STAT_MAX_BYTES, &stat, NULL, NULL) ||
        !file_read("/proc/uptime", STAT_MAX_BYTES, &uptime, NULL, NULL) ||
        (rest = strrchr(stat, ')')) == NULL)
        return 0;
    fields = g_strsplit(rest + 2, " ", -1);
    if (g_strv_length(fields) <= STAT_START_FIELD - STAT_FIRST_FIELD)
        return 0;
    age_s = g_ascii_strtod(uptime, NULL) -
            g_ascii_strtod(fields[STAT_START_FIELD - STAT_FIRST_FIELD], NULL) / (double)sysconf(_SC_CLK_TCK);
    return (double)g_get_real_time() / G_USEC_PER_SEC - age_s;
}

/* Found out once: each reading differs by a little, and an alert takes a change for a restart. */
static void write_start(GString *text, const char *name, const Scrape *scrape)
{
    static gsize known;
    static double start_s;

    (void)scrape;
    if (g_once_init_enter(&known)) {
        start_s = start_time_s();
        g_once_init_leave(&known, 1);
    }
    if (start_s > 0)
        metrics_format_value(text, name, NULL, NULL, start_s);
}

/* ---- pods ---- */

static void write_pods(GString *text, const char *name, const Scrape *scrape)
{
    metrics_format_value(text, name, "state", "starting", scrape->counts.starting);
    metrics_format_value(text, name, "state", "ready", scrape->counts.ready);
    metrics_format_value(text, name, "state", "stopping", scrape->counts.stopping);
    metrics_format_value(text, name, "state", "stopped", scrape->counts.stopped);
}

static void write_hibernated(GString *text, const char *name, const Scrape *scrape)
{
    metrics_format_value(text, name, NULL, NULL, scrape->counts.hibernated);
}

static void write_containers(GString *text, const char *name, const Scrape *scrape)
{
    metrics_format_value(text, name, NULL, NULL, scrape->counts.containers_running);
}

static void write_cost(GString *text, const char *name, const Scrape *scrape,
                       gboolean (*value)(const PodCost *cost, double *ret_value))
{
    for (guint i = 0; i < scrape->costs->len; i++) {
        const PodCost *cost = &g_array_index(scrape->costs, PodCost, i);
        double number;

        if (value(cost, &number))
            metrics_format_value(text, name, "id", cost->id, number);
    }
}

static gboolean cost_vm_memory(const PodCost *cost, double *ret_value)
{
    *ret_value = (double)cost->vm_memory_bytes;
    return TRUE;
}

static gboolean cost_node_memory(const PodCost *cost, double *ret_value)
{
    *ret_value = (double)cost->node_memory_bytes;
    return TRUE;
}

static gboolean cost_node_cpu(const PodCost *cost, double *ret_value)
{
    *ret_value = (double)cost->node_cpu_ns / 1e9;
    return TRUE;
}

static gboolean cost_overhead(const PodCost *cost, double *ret_value)
{
    *ret_value = (double)cost->overhead_bytes;
    return cost->has_overhead;
}

static void write_vm_memory(GString *text, const char *name, const Scrape *scrape)
{
    write_cost(text, name, scrape, cost_vm_memory);
}

static void write_node_memory(GString *text, const char *name, const Scrape *scrape)
{
    write_cost(text, name, scrape, cost_node_memory);
}

static void write_node_cpu(GString *text, const char *name, const Scrape *scrape)
{
    write_cost(text, name, scrape, cost_node_cpu);
}

static void write_overhead(GString *text, const char *name, const Scrape *scrape)
{
    write_cost(text, name, scrape, cost_overhead);
}

/* ---- templates, the pool, images ---- */

static void write_templates(GString *text, const char *name, const Scrape *scrape)
{
    metrics_format_value(text, name, "state", "ready", scrape->templates.templates_ready);
    metrics_format_value(text, name, "state", "wanted", scrape->templates.templates_wanted);
    metrics_format_value(text, name, "state", "quarantined", scrape->templates.templates_quarantined);
}

static void write_template_bytes(GString *text, const char *name, const Scrape *scrape)
{
    metrics_format_value(text, name, NULL, NULL, (double)scrape->templates.template_data_bytes);
}

static void write_pool_ready(GString *text, const char *name, const Scrape *scrape)
{
    metrics_format_value(text, name, NULL, NULL, scrape->templates.pool_ready);
}

static void write_pool_size(GString *text, const char *name, const Scrape *scrape)
{
    metrics_format_value(text, name, NULL, NULL, scrape->templates.pool_size);
}

static void write_images(GString *text, const char *name, const Scrape *scrape)
{
    g_autoptr(GPtrArray) images = image_service_list(scrape->daemon->images);

    metrics_format_value(text, name, NULL, NULL, images->len);
}

static void write_image_bytes(GString *text, const char *name, const Scrape *scrape)
{
    metrics_format_value(text, name, NULL, NULL, (double)scrape->images.used_bytes);
}

/* ---- the page ---- */

/* A new figure is a new row. */
static const struct {
    const char *name;
    const char *type;
    const char *help;
    void (*write)(GString *text, const char *name, const Scrape *scrape);
} figures[] = {
    {"crivirt_info", "gauge", "Version of the daemon.", write_info},
    {"crivirt_kvm", "gauge", "Whether VMs run under KVM; 0: they are emulated.", write_kvm},
    {"crivirt_ready", "gauge", "Whether the daemon serves and all its parts move, as /readyz.", write_ready},
    {"crivirt_rpc_calls", "gauge", "Calls that run or wait, by worker pool.", write_calls},
    {"crivirt_rpc_workers", "gauge", "Calls that can run at once, by worker pool.", write_workers},
    {"crivirt_pods", "gauge", "Pods by state.", write_pods},
    {"crivirt_pods_hibernated", "gauge", "Pods, of those that are ready, that are hibernated.",
     write_hibernated},
    {"crivirt_containers_running", "gauge", "Running containers.", write_containers},
    {"crivirt_pod_vm_memory_bytes", "gauge", "Memory of each pod's VM, by the id of the pod.",
     write_vm_memory},
    {"crivirt_pod_node_memory_bytes", "gauge", "Memory of the node that each pod's VM takes.",
     write_node_memory},
    {"crivirt_pod_node_cpu_seconds_total", "counter", "Processor time of the node that each pod's VM took.",
     write_node_cpu},
    {"crivirt_pod_overhead_memory_bytes", "gauge",
     "Memory of the node that each pod's VM takes beyond what its containers use, when they were last asked.",
     write_overhead},
    {"crivirt_templates", "gauge", "Templates by state.", write_templates},
    {"crivirt_template_data_bytes", "gauge", "Disk space of the templates.", write_template_bytes},
    {"crivirt_vm_pool_ready", "gauge", "VMs of the pool that are ready for pods.", write_pool_ready},
    {"crivirt_vm_pool_size", "gauge", "VMs that the pool is to have; 0: there is no pool.", write_pool_size},
    {"crivirt_images", "gauge", "Images on this node.", write_images},
    {"crivirt_image_store_bytes", "gauge", "Disk space of all images.", write_image_bytes},
    {"process_cpu_seconds_total", "counter", "Processor time of the daemon.", write_cpu},
    {"process_resident_memory_bytes", "gauge", "Resident memory of the daemon.", write_memory},
    {"process_open_fds", "gauge", "Open file descriptors of the daemon.", write_open_fds},
    {"process_max_fds", "gauge", "Most file descriptors that the daemon may open.", write_max_fds},
    {"process_start_time_seconds", "gauge", "When the daemon started, in seconds since 1970.", write_start},
};

char *metrics_page(const Daemon *daemon)
{
    GString *text = g_string_new(NULL);
    Scrape scrape = {.daemon = daemon};

    sandbox_manager_count(daemon->sandboxes, &scrape.counts);
    sandbox_manager_template_figures(daemon->sandboxes, &scrape.templates);
    scrape.costs = sandbox_manager_costs(daemon->sandboxes);
    image_service_fs_usage(daemon->images, &scrape.images, NULL);
    process_cost_read(getpid(), &scrape.self);
    for (guint i = 0; i < G_N_ELEMENTS(figures); i++) {
        metrics_format_header(text, figures[i].name, figures[i].type, figures[i].help);
        figures[i].write(text, figures[i].name, &scrape);
    }
    metrics_format(text);
    g_array_unref(scrape.costs);
    g_free(scrape.images.mountpoint);
    return g_string_free(text, FALSE);
}

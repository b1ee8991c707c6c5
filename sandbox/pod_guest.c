/* A pod's guest and network: making them, the pod's identity in the guest, and their end.
 *
 * The guest boots anonymous, so it boots while CNI works: the only thing that both need is the tap's way into
 * the network namespace, which exists before either starts.
 */

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cni-bridge/podnet.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/metrics.h"
#include "sandbox/console.h"
#include "sandbox/guest.h"
#include "sandbox/guest_pool.h"
#include "sandbox/machine_shape.h"
#include "sandbox/oci_spec.h"
#include "sandbox/pod.h"
#include "sandbox/pod_machine.h"
#include "sandbox/pod_network.h"
#include "sandbox/share.h"
#include "sandbox/template_store.h"
#include "sandbox/vmm_state.h"

enum {
    SETUP_TIMEOUT_MS = 30 * 1000,
    DESTROY_TIMEOUT_MS = 20 * 1000,
    DETACH_TIMEOUT_MS = 20 * 1000,
    ENTROPY_BYTES = 64,
    CONSOLE_TAIL_BYTES = 2000,
    CONSOLE_TAIL_LINES = 12,
};

/* ---- the machine ---- */

/* linux_config NULL: of a pod without wishes. */
static gboolean machine_shape(const Runtime__V1__LinuxPodSandboxConfig *linux_config,
                              const HandlerSettings *settings, MachineShape *ret_shape, GError **error)
{
    const MachineNode node = machine_node_look();

    return machine_shape_compute(linux_config != NULL ? linux_config->resources : NULL,
                                 "config.linux.resources", &settings->bounds, &node, ret_shape, error);
}

/* Guests are of the node's own kind. */
static const char *node_architecture(void)
{
    struct utsname node;

    return uname(&node) == 0 ? g_intern_string(node.machine) : "x86_64";
}

/* All of a machine but what names it (guest.h); strings are borrowed from settings. */
static gboolean machine_describe(const SandboxManager *manager,
                                 const Runtime__V1__LinuxPodSandboxConfig *linux_config,
                                 const HandlerSettings *settings, DomainSpec *ret_spec, GError **error)
{
    MachineShape shape;

    if (!machine_shape(linux_config, settings, &shape, error))
        return FALSE;
    *ret_spec = (DomainSpec){
        .architecture = node_architecture(),
        .accelerator = settings->accelerator,
        .memory_bytes = shape.boot_memory_bytes,
        .pluggable_memory_bytes = shape.max_memory_bytes - shape.boot_memory_bytes,
        .vcpus = shape.boot_vcpus,
        .max_vcpus = shape.max_vcpus,
        .kernel = settings->kernel,
        .initrd = settings->initrd,
        .kernel_parameters = settings->kernel_parameters,
        .tcg_buffer_mib = manager->config.tcg_buffer_mib,
        .passthrough_ports = manager->config.passthrough_ports,
    };
    return TRUE;
}

gboolean pod_guest_default_shape(SandboxManager *manager, HandlerSettings *ret_settings,
                                 DomainSpec *ret_shape, GError **error)
{
    const Runtime__V1__PodSandboxConfig none = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
    const Handler *handler = handler_table_find(manager->handlers, "", error);

    return handler != NULL && handler_settings(handler, &none, ret_settings, error) &&
           machine_describe(manager, NULL, ret_settings, ret_shape, error);
}

/* What the guest said before it fell silent is the best description of what is wrong with it. */
static void prefix_console(Pod *pod, GError **error)
{
    g_autofree char *path = guest_console_path(pod->manager, pod->id);
    g_autofree char *tail = console_tail(path, CONSOLE_TAIL_BYTES, CONSOLE_TAIL_LINES);

    if (error == NULL || *error == NULL || tail == NULL)
        return;
    if (*tail == '\0')
        g_prefix_error(error, "the guest's console is empty; ");
    else
        g_prefix_error(error, "(the guest's console ends with: %s) ", tail);
}

static gboolean machine_wait(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline boot = deadline_sooner(deadline, pod->manager->config.boot_timeout_ms);

    if (link_wait_ready(pod->link, &boot, error))
        return TRUE;
    g_prefix_error(error, "the guest did not boot: ");
    prefix_console(pod, error);
    return FALSE;
}

/* ---- Setup ---- */

static void fill_interface(const CniResult *network, Arena *arena, Crivirt__Agent__V1__SetupRequest *setup)
{
    Crivirt__Agent__V1__Interface *interface = arena_new0(arena, Crivirt__Agent__V1__Interface, 1);
    crivirt__agent__v1__interface__init(interface);
    interface->name = (char *)POD_INTERFACE;
    interface->find_mac = arena_strdup(arena, GUEST_MAC);
    interface->mac = arena_strdup(arena, network->mac);
    interface->mtu = network->mtu;
    interface->n_addresses = network->addresses->len;
    interface->addresses = arena_new0(arena, char *, network->addresses->len);
    for (guint i = 0; i < network->addresses->len; i++)
        interface->addresses[i] = arena_strdup(arena, ((CniAddress *)network->addresses->pdata[i])->address);
    setup->n_interfaces = 1;
    setup->interfaces = arena_new0(arena, Crivirt__Agent__V1__Interface *, 1);
    setup->interfaces[0] = interface;
}

static void fill_routes(const CniResult *network, Arena *arena, Crivirt__Agent__V1__SetupRequest *setup)
{
    setup->n_routes = network->routes->len;
    setup->routes = arena_new0(arena, Crivirt__Agent__V1__Route *, network->routes->len);
    for (guint i = 0; i < network->routes->len; i++) {
        const CniRoute *from = network->routes->pdata[i];
        Crivirt__Agent__V1__Route *route = arena_new0(arena, Crivirt__Agent__V1__Route, 1);

        crivirt__agent__v1__route__init(route);
        route->destination = arena_strdup(arena, from->destination);
        route->gateway = arena_strdup(arena, from->gateway);
        route->device = (char *)POD_INTERFACE;
        route->mtu = from->mtu;
        route->metric = from->metric;
        setup->routes[i] = route;
    }
}

static void add_sysctl(const char *name, const char *value, Arena *arena,
                       Crivirt__Agent__V1__SetupRequest *setup)
{
    Crivirt__Agent__V1__Sysctl *sysctl = arena_new0(arena, Crivirt__Agent__V1__Sysctl, 1);

    crivirt__agent__v1__sysctl__init(sysctl);
    sysctl->name = (char *)name;
    sysctl->value = (char *)value;
    setup->sysctls[setup->n_sysctls++] = sysctl;
}

/* The pod's come last: they have the last word. */
static void fill_sysctls(const Pod *pod, Arena *arena, Crivirt__Agent__V1__SetupRequest *setup)
{
    const Runtime__V1__LinuxPodSandboxConfig *config = pod->config->linux;

    if (config == NULL)
        return;
    setup->sysctls = arena_new0(arena, Crivirt__Agent__V1__Sysctl *, config->n_sysctls + 2);
    /* The network namespace is the guest's: root of a user namespace has no rights over it, but may expect
     * those of a server. */
    if (oci_userns(pod->config) != NULL) {
        add_sysctl("net.ipv4.ip_unprivileged_port_start", "0", arena, setup);
        add_sysctl("net.ipv4.ping_group_range", "0 2147483647", arena, setup);
    }
    for (size_t i = 0; i < config->n_sysctls; i++)
        add_sysctl(config->sysctls[i]->key, config->sysctls[i]->value, arena, setup);
}

static ProtobufCBinaryData text_bytes(Arena *arena, const char *text)
{
    return (ProtobufCBinaryData){.len = strlen(text), .data = (guint8 *)arena_strdup(arena, text)};
}

static gboolean fill_setup(const Pod *pod, const CniResult *network, Arena *arena,
                           Crivirt__Agent__V1__SetupRequest *setup, GError **error)
{
    Crivirt__Agent__V1__Disk *upper = arena_new0(arena, Crivirt__Agent__V1__Disk, 1);
    guint8 *entropy = arena_alloc(arena, ENTROPY_BYTES);
    g_autofree char *hostname = pod_network_hostname(pod);
    g_autofree char *resolv_conf = pod_network_resolv_conf(pod, network);
    g_autofree char *hosts = pod_network_hosts(network, hostname);

    if (getrandom(entropy, ENTROPY_BYTES, 0) != ENTROPY_BYTES)
        return fail_errno(error, errno, "cannot get random bytes");
    crivirt__agent__v1__disk__init(upper);
    upper->lun = GUEST_UPPER_LUN;
    upper->serial = arena_printf(arena, POD_DISK_SERIAL_FORMAT, GUEST_UPPER_LUN);
    setup->sandbox_id = pod->id;
    setup->hostname = arena_strdup(arena, hostname);
    setup->resolv_conf = text_bytes(arena, resolv_conf);
    setup->hosts = text_bytes(arena, hosts);
    fill_interface(network, arena, setup);
    fill_routes(network, arena, setup);
    fill_sysctls(pod, arena, setup);
    setup->upper = upper;
    setup->wall_clock_ns = manager_now_ns();
    setup->entropy = (ProtobufCBinaryData){.len = ENTROPY_BYTES, .data = entropy};
    return TRUE;
}

static gboolean machine_setup(Pod *pod, const CniResult *network, const Deadline *deadline, GError **error)
{
    Crivirt__Agent__V1__SetupRequest setup = CRIVIRT__AGENT__V1__SETUP_REQUEST__INIT;
    Crivirt__Agent__V1__Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, SETUP_TIMEOUT_MS);
    g_autoptr(Arena) arena = arena_new();
    Crivirt__Agent__V1__Response *response;

    if (!fill_setup(pod, network, arena, &setup, error))
        return FALSE;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_SETUP;
    request.setup = &setup;
    if (!link_call(pod->link, &request, &bounded, &response, error)) {
        g_prefix_error(error, "cannot set up the guest: ");
        prefix_console(pod, error);
        return FALSE;
    }
    crivirt__agent__v1__response__free_unpacked(response, NULL);
    return TRUE;
}

/* ---- start ---- */

static gboolean pod_guest_end(Pod *pod, const Deadline *deadline, GError **error);

typedef struct {
    Pod *pod;
    const Deadline *deadline;
    CniResult *network;
    GError *error;
} NetworkJob;

/* Nobody needs a guest without its network: who waits for it stops waiting. */
static void boot_abandon(Pod *pod)
{
    g_mutex_lock(&pod->lock);
    pod->abandoned = TRUE;
    if (pod->link != NULL)
        link_abandon(pod->link, "the pod's network could not be made");
    g_mutex_unlock(&pod->lock);
}

static gpointer network_thread(gpointer data)
{
    NetworkJob *job = data;
    gint64 begin_us = g_get_monotonic_time();

    if (pod_network_add(job->pod, job->deadline, &job->network, &job->error)) {
        trace_add(job->pod->trace, TRACE_NETWORK, NULL, begin_us);
        pod_network_record(job->pod, job->network);
        /* The result is what DEL needs: it is kept before anything can go wrong with the guest. */
        if (!pod_save(job->pod, &job->error))
            g_clear_pointer(&job->network, cni_result_free);
    }
    if (job->network == NULL)
        boot_abandon(job->pod);
    return NULL;
}

/* ---- how the machine comes to run ---- */

static Metric starts =
    METRIC_COUNTER("crivirt_guest_starts_total", "Guests of pods that started, by how.", "how", NULL);

/* The tap was opened by QEMU in the daemon's namespace and is moved afterwards, which QEMU does not notice.
 */
static gboolean machine_join(Pod *pod, GError **error)
{
    return pod_cgroup_join(pod, vmm_pid(pod->manager->vmm, pod->id), error) &&
           tap_move(pod->tap, pod->netns_path, 0, error);
}

/* From paused to the agent's first word. */
static gboolean machine_run(Pod *pod, const Deadline *deadline, GError **error)
{
    pod_connect(pod, TRUE);
    return vmm_resume(pod->manager->vmm, pod->id, error) && machine_wait(pod, deadline, error);
}

/* What a start that failed has left, so that another one can be made. */
static gboolean machine_undo(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline destroy = deadline_sooner(deadline, DESTROY_TIMEOUT_MS);

    pod_disconnect(pod);
    g_clear_pointer(&pod->waiting_for, template_unref);
    return guest_machine_remove(pod->manager, pod->id, &destroy, error) &&
           tap_delete(pod->tap, pod->netns_path, error) && guest_files_remove(pod->manager, pod->id, error);
}

static gboolean machine_boot(Pod *pod, const DomainSpec *shape, const Deadline *deadline, GError **error)
{
    gint64 begin_us = g_get_monotonic_time();

    if (!guest_files_make(pod->manager, pod->id, NULL, error) ||
        !guest_machine_make(pod->manager, pod->id, shape, deadline, error) || !machine_join(pod, error))
        return FALSE;
    trace_add(pod->trace, TRACE_CREATE, NULL, begin_us);
    begin_us = g_get_monotonic_time();
    if (!machine_run(pod, deadline, error))
        return FALSE;
    trace_add(pod->trace, TRACE_BOOT, NULL, begin_us);
    pod->start = "booted";
    return TRUE;
}

static gboolean machine_fill(Pod *pod, const Template *template, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, pod->manager->config.boot_timeout_ms);
    int ram;
    int devices;
    gboolean filled;

    if (!template_open_ram_and_devices(template, &ram, &devices, error))
        return FALSE;
    filled = vmm_state_restore(pod->manager->vmm, pod->id, ram, devices, &bounded, error);
    close(ram);
    close(devices);
    return filled;
}

/* A machine that waits for its state: one of the pool's, if it still lives, or a new one. */
static gboolean machine_make_waiting(Pod *pod, const DomainSpec *shape, const Template *template,
                                     const Deadline *deadline, GError **error)
{
    g_autofree char *disk = template_disk_path(template);
    DomainSpec incoming = *shape;

    incoming.incoming = TRUE;
    if (pod->waiting_for != NULL && vmm_pid(pod->manager->vmm, pod->id) != 0)
        return TRUE;
    return (pod->waiting_for == NULL || machine_undo(pod, deadline, error)) &&
           guest_files_make(pod->manager, pod->id, disk, error) &&
           guest_machine_make(pod->manager, pod->id, &incoming, deadline, error);
}

/* ret_blame: what fails is the template's fault, as far as can be seen. */
static gboolean machine_restore(Pod *pod, const DomainSpec *shape, const Template *template,
                                const Deadline *deadline, gboolean *ret_blame, GError **error)
{
    gint64 begin_us = g_get_monotonic_time();
    gboolean running;

    *ret_blame = FALSE;
    if (!machine_make_waiting(pod, shape, template, deadline, error) || !machine_join(pod, error))
        return FALSE;
    trace_add(pod->trace, TRACE_CREATE, NULL, begin_us);
    begin_us = g_get_monotonic_time();
    running = machine_fill(pod, template, deadline, error);
    trace_add(pod->trace, TRACE_FILL, NULL, begin_us);
    running = running && machine_run(pod, deadline, error);
    *ret_blame = !running && !pod->abandoned && deadline_check(deadline, "", NULL);
    if (!running)
        return FALSE;
    trace_add(pod->trace, TRACE_RESTORE, NULL, begin_us);
    pod->start = "restored";
    return TRUE;
}

static Template *machine_template(Pod *pod, const HandlerSettings *settings, const DomainSpec *shape)
{
    if (pod->waiting_for != NULL)
        return template_ref(pod->waiting_for);
    return settings->template && pod->manager->templates != NULL
               ? template_store_find(pod->manager->templates, shape)
               : NULL;
}

static char *pod_guest_find_waiting(Pod *pod, Template **ret_template)
{
    g_auto(HandlerSettings) settings = {0};
    g_autoptr(Template) template = NULL;
    DomainSpec shape;
    char *id;

    if (pod->manager->pool == NULL || !pod_settings(pod, &settings, NULL) ||
        !machine_describe(pod->manager, pod->config->linux, &settings, &shape, NULL))
        return NULL;
    template = machine_template(pod, &settings, &shape);
    id = template != NULL ? guest_pool_take(pod->manager->pool, template) : NULL;
    if (id != NULL)
        *ret_template = g_steal_pointer(&template);
    return id;
}

/* A template that turns out to be no good costs this pod some time, and no other. */
static gboolean machine_restore_or_boot(Pod *pod, const DomainSpec *shape, const Template *template,
                                        const Deadline *deadline, GError **error)
{
    g_autoptr(GError) problem = NULL;
    gboolean blame;

    if (machine_restore(pod, shape, template, deadline, &blame, &problem))
        return TRUE;
    if (!blame) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    template_store_quarantine(pod->manager->templates, template, problem->message);
    return machine_undo(pod, deadline, error) && machine_boot(pod, shape, deadline, error);
}

static gboolean machine_start(Pod *pod, const Deadline *deadline, GError **error)
{
    g_autofree char *title =
        g_strdup_printf("%s/%s", pod->config->metadata->namespace_, pod->config->metadata->name);
    g_auto(HandlerSettings) settings = {0};
    g_autoptr(Template) template = NULL;
    DomainSpec shape;

    if (!pod_settings(pod, &settings, error) || !pod_machine_plan(pod, &settings.bounds, error) ||
        !machine_describe(pod->manager, pod->config->linux, &settings, &shape, error))
        return FALSE;
    shape.title = title;
    template = machine_template(pod, &settings, &shape);
    if (template != NULL)
        return machine_restore_or_boot(pod, &shape, template, deadline, error);
    return machine_boot(pod, &shape, deadline, error);
}

static gboolean machine_grow(Pod *pod, const Deadline *deadline, GError **error)
{
    gint64 begin_us = g_get_monotonic_time();

    if (!pod_machine_fill(pod, deadline, error))
        return FALSE;
    trace_add(pod->trace, TRACE_GROW, NULL, begin_us);
    return TRUE;
}

static gboolean start_everything(Pod *pod, const Deadline *deadline, GError **error)
{
    NetworkJob job = {.pod = pod, .deadline = deadline};
    g_autoptr(CniResult) network = NULL;
    GThread *thread;
    gboolean booted;
    gint64 begin_us;

    if (!netns_create(pod->netns_path, error))
        return FALSE;

    thread = g_thread_new("cni-add", network_thread, &job);
    booted = machine_start(pod, deadline, error) && machine_grow(pod, deadline, error);
    metric_add(&starts, booted, booted ? pod->start : "failed", NULL);
    g_thread_join(thread);
    network = job.network;
    if (network == NULL) { /* the cause, where the boot was given up for it */
        g_clear_error(error);
        g_propagate_error(error, job.error);
        return FALSE;
    }
    begin_us = g_get_monotonic_time();
    if (!booted || !redirect_install(pod->netns_path, POD_INTERFACE, pod->tap, error) ||
        !machine_setup(pod, network, deadline, error))
        return FALSE;
    trace_add(pod->trace, TRACE_SETUP, NULL, begin_us);
    return TRUE;
}

/* In its turn. */
static gboolean start_queued(Pod *pod, const Deadline *deadline, GError **error)
{
    gint64 begin_us = g_get_monotonic_time();
    gboolean started;

    if (!slots_take(&pod->manager->boots, deadline, "waiting for other guests to boot", error))
        return FALSE;
    trace_add(pod->trace, TRACE_QUEUE, NULL, begin_us);
    started = start_everything(pod, deadline, error);
    if (started)
        trace_add(pod->trace, TRACE_ALL, NULL, begin_us);
    slots_give(&pod->manager->boots);
    return started;
}

static gboolean pod_guest_start(Pod *pod, const Deadline *deadline, GError **error)
{
    gboolean started;
    g_autoptr(GError) undo_error = NULL;
    Deadline cleanup;

    guest_journal_forget(pod->manager, pod->id); /* the pod's row speaks of a machine that waits for it */
    started = start_queued(pod, deadline, error);
    g_clear_pointer(&pod->waiting_for, template_unref);
    if (started)
        return TRUE;
    /* The caller's time may be up; cleaning up has its own. */
    cleanup = deadline_in_ms(DESTROY_TIMEOUT_MS + pod->manager->config.cni_timeout_ms);
    if (!pod_guest_end(pod, &cleanup, &undo_error)) {
        log_error(LOG_FIELDS("sandbox", pod->id), "cannot undo a failed start: %s", undo_error->message);
        pod_set_state(pod, POD_STOPPING, undo_error->message, NULL);
    }
    return FALSE;
}

/* ---- end ---- */

static gboolean guest_destroy(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, DESTROY_TIMEOUT_MS);

    return vmm_destroy(pod->manager->vmm, pod->id, &bounded, error);
}

static gboolean network_end(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, pod->manager->config.cni_timeout_ms);

    if (!pod_network_del(pod, &bounded, error))
        return FALSE;
    return tap_delete(pod->tap, netns_exists(pod->netns_path) ? pod->netns_path : "", error) &&
           tap_delete(pod->tap, "", error) && netns_delete(pod->netns_path, error);
}

static gboolean files_end(Pod *pod, GError **error)
{
    return pod_cgroup_leave(pod, error) && share_delete(pod->share_dir, error) &&
           dir_remove_tree(pod->run_dir, error) && dir_remove_tree(pod->state_dir, error);
}

/* A network that cannot be given back now keeps nothing else. */
static gboolean pod_guest_end(Pod *pod, const Deadline *deadline, GError **error)
{
    gboolean network_ended;

    pod_disconnect(pod);
    if (!guest_destroy(pod, deadline, error))
        return FALSE;
    network_ended = network_end(pod, deadline, error);
    return files_end(pod, network_ended ? error : NULL) && network_ended;
}

/* ---- later ---- */

/* A unit of its own for each disk: the guest never mistakes one for another. FALSE: it is attached already.
 */
static gboolean lun_take(Pod *pod, const char *key, guint *ret_lun)
{
    gpointer known = NULL;
    gboolean is_new;

    g_mutex_lock(&pod->lock);
    is_new = !g_hash_table_lookup_extended(pod->disks, key, NULL, &known);
    *ret_lun = is_new ? ++pod->last_lun : GPOINTER_TO_UINT(known);
    g_mutex_unlock(&pod->lock);
    return is_new;
}

/* Under disk_job. The row comes first. */
static gboolean attach_disk(Pod *pod, const char *key, DiskSpec *disk, GError **error)
{
    g_autofree char *serial = g_strdup_printf(POD_DISK_SERIAL_FORMAT, disk->lun);

    disk->serial = serial;
    if (!state_store_put_disk(pod->manager->store, pod->id, disk->lun, key, error) ||
        !vmm_attach_disk(pod->manager->vmm, pod->id, disk, error))
        return FALSE;
    g_mutex_lock(&pod->lock);
    g_hash_table_insert(pod->disks, g_strdup(key), GUINT_TO_POINTER(disk->lun));
    g_mutex_unlock(&pod->lock);
    return TRUE;
}

/* Under disk_job. */
static gboolean attach_layer(Pod *pod, const ImageLayer *layer, guint *ret_lun, GError **error)
{
    DiskSpec disk = {.path = layer->path, .readonly = TRUE};
    gboolean is_new = lun_take(pod, layer->diff_id, &disk.lun);

    if (is_new && !attach_disk(pod, layer->diff_id, &disk, error))
        return FALSE;
    *ret_lun = disk.lun;
    return TRUE;
}

static gboolean pod_guest_attach_layers(Pod *pod, const GPtrArray *layers, GArray **ret_layers,
                                        GError **error)
{
    g_autoptr(GArray) attached = g_array_new(FALSE, FALSE, sizeof(PodLayer));
    gboolean good;

    good = slots_take(&pod->disk_job, NULL, "waiting to attach disks", error);
    for (guint i = 0; good && i < layers->len; i++) {
        PodLayer layer = {0};

        good = attach_layer(pod, layers->pdata[i], &layer.lun, error);
        g_array_append_val(attached, layer);
    }
    slots_give(&pod->disk_job);
    if (good)
        *ret_layers = g_steal_pointer(&attached);
    return good;
}

/* ---- block devices of the node ---- */

static char *block_node_path(const Pod *pod, guint lun)
{
    return g_strdup_printf("%s/disk-%u", pod->state_dir, lun);
}

/* Under disk_job. */
static gboolean attach_block(Pod *pod, const char *key, const char *host_path, const BlockDevice *device,
                             gboolean readonly, guint lun, GError **error)
{
    g_autofree char *node = block_node_path(pod, lun);
    DiskSpec disk = {.lun = lun, .path = node, .readonly = readonly, .lasting = TRUE};
    gboolean good;
    int hold;

    if (!block_device_make_node(device, host_path, readonly, node, pod->manager->qemu_uid,
                                pod->manager->qemu_gid, &hold, error))
        return FALSE;
    good = attach_disk(pod, key, &disk, error);
    if (hold >= 0)
        close(hold);
    if (!good)
        unlink(node);
    return good;
}

gboolean pod_guest_attach_block(Pod *pod, const char *host_path, const BlockDevice *device, gboolean readonly,
                                guint *ret_lun, GError **error)
{
    g_autofree char *key = block_device_key(device, readonly);
    gboolean good;
    guint lun;

    if (!slots_take(&pod->disk_job, NULL, "waiting to attach disks", error))
        return FALSE;
    good = !lun_take(pod, key, &lun) || attach_block(pod, key, host_path, device, readonly, lun, error);
    slots_give(&pod->disk_job);
    if (!good)
        g_prefix_error(error, "the block device %s: ", host_path);
    else
        *ret_lun = lun;
    return good;
}

/* Under disk_job. */
static gboolean detach_block(Pod *pod, const char *key, guint lun, GError **error)
{
    Deadline deadline = deadline_in_ms(DETACH_TIMEOUT_MS);
    g_autofree char *serial = g_strdup_printf(POD_DISK_SERIAL_FORMAT, lun);
    g_autofree char *node = block_node_path(pod, lun);
    DiskSpec disk = {.lun = lun, .path = node, .serial = serial, .lasting = TRUE};

    if (!vmm_detach_disk(pod->manager->vmm, pod->id, &disk, &deadline, error) ||
        !state_store_delete_disk(pod->manager->store, pod->id, lun, error))
        return FALSE;
    unlink(node);
    g_mutex_lock(&pod->lock);
    g_hash_table_remove(pod->disks, key);
    g_mutex_unlock(&pod->lock);
    return TRUE;
}

gboolean pod_guest_detach_block(Pod *pod, const char *key, GError **error)
{
    gpointer lun = NULL;
    gboolean known;
    gboolean good;

    /* With the guest its disks are gone; what is left of them goes with the pod. */
    if (pod_state(pod) != POD_READY)
        return TRUE;
    if (!slots_take(&pod->disk_job, NULL, "waiting to detach disks", error))
        return FALSE;
    g_mutex_lock(&pod->lock);
    known = g_hash_table_lookup_extended(pod->disks, key, NULL, &lun);
    g_mutex_unlock(&pod->lock);
    good = !known || detach_block(pod, key, GPOINTER_TO_UINT(lun), error);
    slots_give(&pod->disk_job);
    return good;
}

/* ---- after a restart ---- */

static gboolean guest_runs(Pod *pod, const GPtrArray *domains)
{
    for (guint i = 0; i < domains->len; i++) {
        const VmmDomain *domain = domains->pdata[i];

        if (g_str_equal(domain->name, pod->id))
            return domain->running;
    }
    return FALSE;
}

static gboolean guest_has_disk(Pod *pod, const GPtrArray *domains, guint lun)
{
    g_autofree char *serial = g_strdup_printf(POD_DISK_SERIAL_FORMAT, lun);
    gboolean attached = FALSE;

    return guest_runs(pod, domains) && vmm_has_disk(pod->manager->vmm, pod->id, serial, &attached, NULL) &&
           attached;
}

static pid_t guest_process(Pod *pod)
{
    return vmm_pid(pod->manager->vmm, pod->id);
}

const PodPlatform pod_guest_platform = {
    .what = "the pod's virtual machine",
    .find_waiting = pod_guest_find_waiting,
    .start = pod_guest_start,
    .end = pod_guest_end,
    .destroy = guest_destroy,
    .attach_layers = pod_guest_attach_layers,
    .attach_share = pod_guest_attach_share,
    .fit = pod_machine_fit,
    .process = guest_process,
    .adopt = guest_runs,
    .has_disk = guest_has_disk,
};

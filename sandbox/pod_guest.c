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
#include "sandbox/cgroup.h"
#include "sandbox/console.h"
#include "sandbox/machine_shape.h"
#include "sandbox/oci_spec.h"
#include "sandbox/pod.h"
#include "sandbox/pod_network.h"
#include "sandbox/share.h"

enum {
    SETUP_TIMEOUT_MS = 30 * 1000,
    DESTROY_TIMEOUT_MS = 20 * 1000,
    CNI_DEL_TIMEOUT_MS = 60 * 1000,
    MOUNT_SHARE_TIMEOUT_MS = 20 * 1000,
    UPPER_LUN = 0, /* layers have the numbers after it */
    ENTROPY_BYTES = 64,
    CONSOLE_TAIL_BYTES = 2000,
    CONSOLE_TAIL_LINES = 12,
};

#define CGROUP_ROOT "/sys/fs/cgroup"

static char *upper_path(const Pod *pod)
{
    return g_build_filename(pod->state_dir, "upper.ext4", NULL);
}

static char *console_path(const Pod *pod)
{
    return g_build_filename(pod->run_dir, "console.log", NULL);
}

/* Locally administered, from the id: what the guest has until Setup gives it the network's own. */
static char *boot_mac(const Pod *pod)
{
    return g_strdup_printf("52:54:00:%.2s:%.2s:%.2s", pod->id, pod->id + 2, pod->id + 4);
}

/* ---- directories and disks ---- */

static gboolean give_to_qemu(const Pod *pod, const char *path, mode_t mode, GError **error)
{
    if (chown(path, pod->manager->qemu_uid, pod->manager->qemu_gid) != 0 || chmod(path, mode) != 0)
        return fail_errno(error, errno, "cannot give %s to QEMU's user", path);
    return TRUE;
}

static gboolean directories_make(Pod *pod, GError **error)
{
    g_autofree char *template = g_build_filename(pod->manager->config.state_dir, "upper-template.ext4", NULL);
    g_autofree char *upper = upper_path(pod);

    return dir_make(pod->run_dir, 0750, error) && give_to_qemu(pod, pod->run_dir, 0750, error) &&
           dir_make(pod->state_dir, 0711, error) && file_copy_sparse(template, upper, 0600, error) &&
           give_to_qemu(pod, upper, 0600, error);
}

/* ---- the machine ---- */

static gboolean machine_shape(const Pod *pod, const HandlerSettings *settings, MachineShape *ret_shape,
                              GError **error)
{
    const Runtime__V1__LinuxPodSandboxConfig *linux_config = pod->config->linux;
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

static gboolean machine_create(Pod *pod, const HandlerSettings *settings, const Deadline *deadline,
                               GError **error)
{
    g_autofree char *socket = g_build_filename(pod->run_dir, "agent.sock", NULL);
    g_autofree char *console = console_path(pod);
    g_autofree char *upper = upper_path(pod);
    g_autofree char *mac = boot_mac(pod);
    g_autofree char *title =
        g_strdup_printf("%s/%s", pod->config->metadata->namespace_, pod->config->metadata->name);
    g_autofree char *serial = g_strdup_printf(POD_DISK_SERIAL_FORMAT, UPPER_LUN);
    DiskSpec disk = {.lun = UPPER_LUN, .path = upper, .serial = serial};
    MachineShape shape;
    DomainSpec spec = {
        .name = pod->id,
        .title = title,
        .architecture = node_architecture(),
        .accelerator = settings->accelerator,
        .kernel = settings->kernel,
        .initrd = settings->initrd,
        .kernel_parameters = settings->kernel_parameters,
        .tcg_buffer_mib = pod->manager->config.tcg_buffer_mib,
        .agent_socket = socket,
        .console_path = console,
        .tap = pod->tap,
        .mac = mac,
        .disks = &disk,
        .n_disks = 1,
    };

    if (!machine_shape(pod, settings, &shape, error))
        return FALSE;
    spec.memory_bytes = shape.memory_bytes;
    spec.vcpus = shape.vcpus;
    return vmm_create(pod->manager->vmm, &spec, deadline, error);
}

/* What the guest said before it fell silent is the best description of what is wrong with it. */
static void prefix_console(Pod *pod, GError **error)
{
    g_autofree char *path = console_path(pod);
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

/* ---- the node's cgroup ---- */

static const char *cgroup_parent(const Pod *pod)
{
    return pod->config->linux != NULL ? pod->config->linux->cgroup_parent : "";
}

/* What the guest costs the node counts where the kubelet looks for the pod. */
static gboolean processes_account(const Pod *pod, pid_t pid, GError **error)
{
    g_autofree char *name = g_strdup_printf("crivirt-%.24s", pod->id);

    return *cgroup_parent(pod) == '\0' || pid == 0 ||
           cgroup_join(CGROUP_ROOT, cgroup_parent(pod), name, &pid, 1, error);
}

static gboolean cgroup_end(const Pod *pod, GError **error)
{
    g_autofree char *name = g_strdup_printf("crivirt-%.24s", pod->id);

    return *cgroup_parent(pod) == '\0' || cgroup_leave(CGROUP_ROOT, cgroup_parent(pod), name, error);
}

/* The tap is opened by QEMU in the daemon's namespace and moved afterwards, which QEMU does not notice. */
static gboolean machine_start(Pod *pod, const Deadline *deadline, GError **error)
{
    g_auto(HandlerSettings) settings = {0};

    if (!pod_settings(pod, &settings, error) || !tap_create(pod->tap, pod->manager->qemu_uid, error) ||
        !machine_create(pod, &settings, deadline, error) ||
        !processes_account(pod, vmm_pid(pod->manager->vmm, pod->id), error))
        return FALSE;
    pod_connect(pod, TRUE);
    return tap_move(pod->tap, pod->netns_path, 0, error) && vmm_resume(pod->manager->vmm, pod->id, error);
}

/* ---- Setup ---- */

static void fill_interface(const Pod *pod, const CniResult *network, Arena *arena,
                           Crivirt__Agent__V1__SetupRequest *setup)
{
    Crivirt__Agent__V1__Interface *interface = arena_new0(arena, Crivirt__Agent__V1__Interface, 1);
    g_autofree char *mac = boot_mac(pod);

    crivirt__agent__v1__interface__init(interface);
    interface->name = (char *)POD_INTERFACE;
    interface->find_mac = arena_strdup(arena, mac);
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
    upper->lun = UPPER_LUN;
    upper->serial = arena_printf(arena, POD_DISK_SERIAL_FORMAT, UPPER_LUN);
    setup->sandbox_id = pod->id;
    setup->hostname = arena_strdup(arena, hostname);
    setup->resolv_conf = text_bytes(arena, resolv_conf);
    setup->hosts = text_bytes(arena, hosts);
    fill_interface(pod, network, arena, setup);
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

static void network_record(Pod *pod, const CniResult *network)
{
    g_autoptr(GPtrArray) ips = g_ptr_array_new();

    for (guint i = 0; i < network->addresses->len; i++) {
        const char *cidr = ((CniAddress *)network->addresses->pdata[i])->address;

        g_ptr_array_add(ips, g_strndup(cidr, strcspn(cidr, "/")));
    }
    g_ptr_array_add(ips, NULL);
    g_mutex_lock(&pod->lock);
    g_strfreev(pod->ips);
    pod->ips = (char **)g_ptr_array_steal(ips, NULL);
    pod->cni_result = g_strdup(network->json);
    g_mutex_unlock(&pod->lock);
}

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
    if (pod->link != NULL)
        link_abandon(pod->link, "the pod's network could not be made");
    g_mutex_unlock(&pod->lock);
}

static Metric start_seconds =
    METRIC_SECONDS("crivirt_pod_start_seconds", "What starting a pod takes, by phase.", "phase");

static gpointer network_thread(gpointer data)
{
    NetworkJob *job = data;
    gint64 begin_us = g_get_monotonic_time();

    if (pod_network_add(job->pod, job->deadline, &job->network, &job->error)) {
        metric_observe_since(&start_seconds, begin_us, "network", NULL);
        network_record(job->pod, job->network);
        /* The result is what DEL needs: it is kept before anything can go wrong with the guest. */
        if (!pod_save(job->pod, &job->error))
            g_clear_pointer(&job->network, cni_result_free);
    }
    if (job->network == NULL)
        boot_abandon(job->pod);
    return NULL;
}

static gboolean machine_boot(Pod *pod, const Deadline *deadline, GError **error)
{
    gint64 begin_us = g_get_monotonic_time();

    if (!machine_start(pod, deadline, error))
        return FALSE;
    metric_observe_since(&start_seconds, begin_us, "create", NULL);
    begin_us = g_get_monotonic_time();
    if (!machine_wait(pod, deadline, error))
        return FALSE;
    metric_observe_since(&start_seconds, begin_us, "boot", NULL);
    return TRUE;
}

static gboolean start_everything(Pod *pod, const Deadline *deadline, GError **error)
{
    NetworkJob job = {.pod = pod, .deadline = deadline};
    g_autoptr(CniResult) network = NULL;
    GThread *thread;
    gboolean booted;

    if (!directories_make(pod, error) || !netns_create(pod->netns_path, error))
        return FALSE;
    thread = g_thread_new("cni-add", network_thread, &job);
    booted = machine_boot(pod, deadline, error);
    g_thread_join(thread);
    network = job.network;
    if (network == NULL) { /* the cause, where the boot was given up for it */
        g_clear_error(error);
        g_propagate_error(error, job.error);
        return FALSE;
    }
    return booted && redirect_install(pod->netns_path, POD_INTERFACE, pod->tap, error) &&
           machine_setup(pod, network, deadline, error);
}

gboolean pod_guest_start(Pod *pod, const Deadline *deadline, GError **error)
{
    g_autoptr(GError) undo_error = NULL;
    gint64 begin_us = g_get_monotonic_time();
    Deadline cleanup;

    if (!slots_take(&pod->manager->boots, deadline, "waiting for other guests to boot", error))
        return FALSE;
    metric_observe_since(&start_seconds, begin_us, "queue", NULL);
    if (start_everything(pod, deadline, error)) {
        metric_observe_since(&start_seconds, begin_us, "all", NULL);
        slots_give(&pod->manager->boots);
        return TRUE;
    }
    slots_give(&pod->manager->boots);
    /* The caller's time may be up; cleaning up has its own. */
    cleanup = deadline_in_ms(DESTROY_TIMEOUT_MS + CNI_DEL_TIMEOUT_MS);
    if (!pod_guest_end(pod, &cleanup, &undo_error)) {
        log_error(LOG_FIELDS("sandbox", pod->id), "cannot undo a failed start: %s", undo_error->message);
        pod_set_state(pod, POD_STOPPING, undo_error->message, NULL);
    }
    return FALSE;
}

/* ---- end ---- */

static gboolean network_end(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, CNI_DEL_TIMEOUT_MS);

    if (!pod_network_del(pod, &bounded, error))
        return FALSE;
    return tap_delete(pod->tap, netns_exists(pod->netns_path) ? pod->netns_path : "", error) &&
           tap_delete(pod->tap, "", error) && netns_delete(pod->netns_path, error);
}

gboolean pod_guest_end(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline destroy = deadline_sooner(deadline, DESTROY_TIMEOUT_MS);
    Link *link;

    g_mutex_lock(&pod->lock);
    link = g_steal_pointer(&pod->link);
    g_mutex_unlock(&pod->lock);
    if (link != NULL) {
        link_close(link);
        link_unref(link);
    }
    return vmm_destroy(pod->manager->vmm, pod->id, &destroy, error) && network_end(pod, deadline, error) &&
           cgroup_end(pod, error) && share_delete(pod->share_dir, error) &&
           dir_remove_tree(pod->run_dir, error) && dir_remove_tree(pod->state_dir, error);
}

/* ---- later ---- */

/* Under disk_job. */
static gboolean attach_layer(Pod *pod, const ImageLayer *layer, guint *ret_lun, GError **error)
{
    gpointer known = NULL;
    guint lun = 0;
    g_autofree char *serial = NULL;
    DiskSpec disk;

    g_mutex_lock(&pod->lock);
    if (g_hash_table_lookup_extended(pod->disks, layer->diff_id, NULL, &known))
        *ret_lun = GPOINTER_TO_UINT(known);
    else
        lun = ++pod->last_lun;
    g_mutex_unlock(&pod->lock);
    if (known != NULL)
        return TRUE;
    serial = g_strdup_printf(POD_DISK_SERIAL_FORMAT, lun);
    disk = (DiskSpec){.lun = lun, .path = layer->path, .serial = serial, .readonly = TRUE};
    if (!state_store_put_disk(pod->manager->store, pod->id, lun, layer->diff_id, error) ||
        !vmm_attach_disk(pod->manager->vmm, pod->id, &disk, error))
        return FALSE;
    g_mutex_lock(&pod->lock);
    g_hash_table_insert(pod->disks, g_strdup(layer->diff_id), GUINT_TO_POINTER(lun));
    g_mutex_unlock(&pod->lock);
    *ret_lun = lun;
    return TRUE;
}

gboolean pod_guest_attach_layers(Pod *pod, const GPtrArray *layers, GArray **ret_luns, GError **error)
{
    g_autoptr(GArray) luns = g_array_new(FALSE, FALSE, sizeof(guint));
    gboolean good;

    good = slots_take(&pod->disk_job, NULL, "waiting to attach disks", error);
    for (guint i = 0; good && i < layers->len; i++) {
        guint lun = 0;

        good = attach_layer(pod, layers->pdata[i], &lun, error);
        g_array_append_val(luns, lun);
    }
    slots_give(&pod->disk_job);
    if (good)
        *ret_luns = g_steal_pointer(&luns);
    return good;
}

static gboolean mount_share(Pod *pod, const Deadline *deadline, GError **error)
{
    Crivirt__Agent__V1__MountShareRequest mount = CRIVIRT__AGENT__V1__MOUNT_SHARE_REQUEST__INIT;
    Crivirt__Agent__V1__Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;
    Deadline bounded = deadline_sooner(deadline, MOUNT_SHARE_TIMEOUT_MS);
    g_autoptr(Link) link = pod_link(pod, error);
    Crivirt__Agent__V1__Response *response;

    if (link == NULL)
        return FALSE;
    mount.share_tag = (char *)POD_SHARE_TAG;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_MOUNT_SHARE;
    request.mount_share = &mount;
    if (!link_call(link, &request, &bounded, &response, error))
        return FALSE;
    crivirt__agent__v1__response__free_unpacked(response, NULL);
    return TRUE;
}

gboolean pod_guest_attach_share(Pod *pod, const Deadline *deadline, GError **error)
{
    ShareSpec share = {.source = pod->share_dir, .tag = POD_SHARE_TAG};
    gboolean attached;
    pid_t server = 0;

    if (!slots_take(&pod->disk_job, deadline, "waiting to attach the volumes' share", error))
        return FALSE;
    g_mutex_lock(&pod->lock);
    attached = pod->share_attached;
    g_mutex_unlock(&pod->lock);
    if (!attached) {
        attached = share_create(pod->share_dir, error) &&
                   vmm_attach_share(pod->manager->vmm, pod->id, &share, &server, error) &&
                   processes_account(pod, server, error) && share_set_server(pod->share_dir, server, error) &&
                   mount_share(pod, deadline, error);
        g_mutex_lock(&pod->lock);
        pod->share_attached = attached;
        g_mutex_unlock(&pod->lock);
        attached = attached && pod_save(pod, error);
    }
    slots_give(&pod->disk_job);
    if (!attached)
        g_prefix_error(error, "cannot attach the volumes of sandbox %s: ", pod->id);
    return attached;
}

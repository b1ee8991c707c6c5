/* SPDX-License-Identifier: Apache-2.0 */
/* Opens and closes the manager, and answers what Status asks of it. */

#include <grp.h>
#include <pwd.h>
#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/host/owner_tag.h"
#include "sandbox/observe/sampler.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_watch.h"
#include "sandbox/pod/vm_pod.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/container_io.h"
#include "sandbox/pods/manager.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/recovery.h"
#include "sandbox/sandbox.h"
#include "sandbox/sandbox_hibernate.h"
#include "sandbox/state/state_store.h"
#include "sandbox/templates/guest_user.h"
#include "sandbox/templates/template_store.h"
#include "sandbox/templates/vm_pool.h"
#include "sandbox/vmm/virtiofsd.h"
#include "sandbox/volumes/writable_disk.h"

enum {
    LOG_WORKERS = 32, /* several, so that a worker that waits for a disk delays no other log */
    EVENT_WORKERS = 2,
    RECOVERY_WORKERS = 8,
    WAKE_WORKERS = 8,
};

/* ---- opening and closing ---- */

static gboolean qemu_owner_find(SandboxManager *manager, GError **error)
{
    const struct passwd *user = getpwnam(manager->settings->hypervisor.qemu_user);
    const struct group *group = getgrnam(manager->settings->hypervisor.qemu_group);

    if (user == NULL || group == NULL)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "there is no %s \"%s\" for QEMU to run as; make one with: adduser --system --group "
                    "--no-create-home %s",
                    user == NULL ? "user" : "group",
                    user == NULL ? manager->settings->hypervisor.qemu_user
                                 : manager->settings->hypervisor.qemu_group,
                    manager->settings->hypervisor.qemu_user);
    manager->guests.qemu_uid = user->pw_uid;
    manager->guests.qemu_gid = group->gr_gid;
    return TRUE;
}

static gboolean directories_make(const Settings *settings, GError **error)
{
    static const struct {
        const char *name;
        gboolean in_run_dir;
        int mode;
    } directories[] = {
        {"vm", TRUE, 0711}, {"share", TRUE, 0700}, {"netns", TRUE, 0700}, {"pods", FALSE, 0711}};

    if (!dir_make(settings->server.state_dir, 0711, error) ||
        !dir_make(settings->server.run_dir, 0711, error))
        return FALSE;
    for (guint i = 0; i < G_N_ELEMENTS(directories); i++) {
        g_autofree char *path = g_build_filename(directories[i].in_run_dir ? settings->server.run_dir
                                                                           : settings->server.state_dir,
                                                 directories[i].name, NULL);

        if (!dir_make(path, directories[i].mode, error))
            return FALSE;
    }
    return TRUE;
}

/* What the environment borrows from the manager. */
static void guest_environment_set(SandboxManager *manager)
{
    GuestEnvironment *guests = &manager->guests;

    guests->vmm = manager->vmm;
    guests->agents = manager->agents;
    guests->state_dir = manager->settings->server.state_dir;
    guests->run_dir = manager->settings->server.run_dir;
    guests->owner_tag = manager->owner_tag;
    /* libvirtd has a configuration of its own, which makes QEMU's user the owner of files. */
    guests->users = g_str_equal(manager->settings->hypervisor.libvirt_uri, "embed")
                        ? guest_users_new(manager->settings->hypervisor.vm_users_first,
                                          manager->settings->hypervisor.vm_users)
                        : NULL;
    guests->boot_timeout_ms = manager->settings->hypervisor.boot_timeout_ms;
    guests->writable_disk_bytes = manager->settings->guest.disk_bytes;
    guests->networks = manager->networks;
    guests->cni_plugin_dirs = manager->settings->network.cni_plugin_dirs;
    guests->prepared_plugins = manager->settings->network.cni_prepared_plugins;
    guests->vm_pool_prerestored = manager->settings->guest.vm_pool_prerestored;
    guests->shares_memory = manager->settings->guest.share_template_memory && virtiofsd_can_recover();
    guests->describe_default_vm = vm_pod_describe_default;
    guests->describe_default_vm_data = manager;
}

/* Without its processor a handler runs no pods: each is refused. */
static gboolean processor_check(SandboxManager *manager, const Handler *handler, gboolean is_default,
                                GError **error)
{
    DomainSpec spec = {.accelerator = handler->accelerator, .cpu = handler->cpu};
    g_autoptr(GError) problem = NULL;

    if (handler_is_host(handler) || vmm_choose_processor(manager->vmm, &spec, &problem))
        return TRUE;
    g_prefix_error(&problem, "handler %s: ", handler->name);
    if (is_default || g_error_matches(problem, CRIVIRT_ERROR, STATUS_INVALID_ARGUMENT)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    log_warning(LOG_NO_FIELDS, "%s", problem->message);
    return TRUE;
}

static gboolean processors_check(SandboxManager *manager, GError **error)
{
    const GPtrArray *handlers = manager->settings->handlers;

    for (guint i = 0; i < handlers->len; i++)
        if (!processor_check(manager, handlers->pdata[i], i == 0, error))
            return FALSE;
    return TRUE;
}

static gboolean open_parts(SandboxManager *manager, GError **error)
{
    const Settings *settings = manager->settings;
    const VmmConfig vmm = {
        .uri = settings->hypervisor.libvirt_uri,
        .state_dir = settings->server.state_dir,
        .run_dir = settings->server.run_dir,
        .accelerator = settings->hypervisor.accelerator,
        .qemu = settings->hypervisor.qemu,
        .qemu_user = settings->hypervisor.qemu_user,
        .qemu_group = settings->hypervisor.qemu_group,
        .private_devices = settings->hypervisor.private_devices,
    };
    g_autofree char *database = g_build_filename(settings->server.state_dir, "state.db", NULL);

    if (!qemu_owner_find(manager, error) || !directories_make(settings, error) ||
        !writable_disk_template_make(settings->server.state_dir, settings->guest.disk_bytes, error))
        return FALSE;
    manager->owner_tag = owner_tag_get(settings->server.state_dir, error);
    manager->store = manager->owner_tag != NULL ? state_store_open(database, error) : NULL;
    if (manager->store == NULL)
        return FALSE;
    manager->loop = loop_thread_new("agents");
    manager->agents = agent_connections_new(manager->loop, settings->hypervisor.agent_timeout_ms);
    manager->vmm = vmm_open(&vmm, pod_on_guest_stopped, manager, error);
    guest_environment_set(manager);
    return manager->vmm != NULL;
}

static gboolean templates_are_enabled(SandboxManager *manager)
{
    const GPtrArray *handlers = manager->settings->handlers;
    gboolean enabled = FALSE;

    for (guint i = 0; i < handlers->len; i++)
        enabled |= ((const Handler *)handlers->pdata[i])->template;
    return enabled;
}

/* Templates are created in the background. Where that fails, guests boot. */
static void templates_start(SandboxManager *manager)
{
    const Handler *handler = handler_find(manager->settings->handlers, "", NULL);
    g_autoptr(GError) error = NULL;
    DomainSpec spec;

    if (!templates_are_enabled(manager))
        return;
    manager->templates = template_store_new(&manager->guests);
    if (!vm_pod_describe_default(manager, &spec, &error)) {
        log_warning(LOG_NO_FIELDS, "no template is created: %s", error->message);
    } else if (handler->template) {
        template_unref(template_store_find(manager->templates, &spec));
        if (manager->settings->guest.vm_pool_size != 0)
            manager->pool = vm_pool_new(&manager->guests, manager->templates,
                                        (guint)manager->settings->guest.vm_pool_size,
                                        (guint)manager->settings->guest.vm_pool_max_size);
    }
}

SandboxManager *sandbox_manager_open(LiveSettings *live, ImageService *images, GError **error)
{
    SandboxManager *manager = g_new0(SandboxManager, 1);
    const Settings *settings = live_settings_first(live);

    manager->settings = settings;
    manager->live = live;
    manager->images = images;
    manager->log_workers = g_thread_pool_new(container_io_work, NULL, LOG_WORKERS, FALSE, NULL);
    manager->events = event_hub_new();
    manager->sampler = sampler_new();
    manager->closing = g_cancellable_new();
    manager->recovery_workers = g_thread_pool_new(recovery_work, NULL, RECOVERY_WORKERS, FALSE, NULL);
    manager->wake_workers = g_thread_pool_new(sandbox_wake_work, NULL, WAKE_WORKERS, FALSE, NULL);
    manager->event_workers = g_thread_pool_new(manager_deferred_run, NULL, EVENT_WORKERS, FALSE, NULL);
    manager_tables_init(manager);
    manager->networks = cni_cache_new(settings->network.cni_config_dir, settings->network.cni_plugin_dirs);
    g_mutex_init(&manager->lock);
    semaphore_init(&manager->guests.boots, settings->hypervisor.max_parallel_boots != 0
                                               ? settings->hypervisor.max_parallel_boots
                                               : g_get_num_processors());
    if (!open_parts(manager, error) || !processors_check(manager, error) ||
        !manager_recover(manager, error)) {
        sandbox_manager_close(manager);
        return NULL;
    }
    templates_start(manager);
    manager_trim(manager);
    return manager;
}

void sandbox_manager_reload(SandboxManager *manager)
{
    if (manager->pool != NULL)
        vm_pool_review(manager->pool);
}

/* Containers and pods reference each other, so the tables are emptied one by one. Return: FALSE when a
 * worker still waits for a log's disk. */
static gboolean tables_clear(SandboxManager *manager)
{
    g_autoptr(GPtrArray) pods = manager_pods(manager);
    gboolean idle = TRUE;

    for (guint i = 0; i < pods->len; i++) {
        Pod *pod = pods->pdata[i];
        g_autoptr(GPtrArray) containers = pod_containers(pod);

        if (pod->agent != NULL)
            agent_connection_close(pod->agent);
        for (guint j = 0; j < containers->len; j++) {
            idle = container_io_close(((Container *)containers->pdata[j])->io) && idle;
            manager_remove_container(manager, containers->pdata[j]);
        }
        manager_remove_pod(manager, pod);
    }
    return idle;
}

/* No pod begins to wake once this has returned. */
static void watches_end(SandboxManager *manager)
{
    g_autoptr(GPtrArray) pods = manager_pods(manager);

    for (guint i = 0; i < pods->len; i++)
        pod_watch_end(pods->pdata[i]);
}

void sandbox_manager_close(SandboxManager *manager)
{
    gboolean idle;

    if (manager == NULL)
        return;
    g_cancellable_cancel(manager->closing);
    watches_end(manager);
    g_thread_pool_free(manager->recovery_workers, TRUE, TRUE);
    g_thread_pool_free(manager->wake_workers, FALSE, TRUE);
    vm_pool_free(manager->pool);
    template_store_free(manager->templates);
    if (manager->vmm != NULL)
        vmm_close(manager->vmm);
    g_thread_pool_free(manager->event_workers, FALSE, TRUE);
    sampler_free(manager->sampler);
    watches_end(manager); /* of wakes that have failed meanwhile */
    idle = tables_clear(manager);
    g_thread_pool_free(manager->log_workers, FALSE, idle);
    loop_thread_free(manager->loop);
    agent_connections_free(manager->agents);
    state_store_close(manager->store);
    cni_cache_free(manager->networks);
    manager_tables_clear(manager);
    event_hub_free(manager->events);
    semaphore_clear(&manager->guests.boots);
    guest_users_free(manager->guests.users);
    g_mutex_clear(&manager->lock);
    g_object_unref(manager->closing);
    g_free(manager->owner_tag);
    g_free(manager);
}

void sandbox_manager_ask_agents(SandboxManager *manager, void (*function)(gpointer data), gpointer data)
{
    loop_thread_after(manager->loop, 0, function, data);
}

void sandbox_manager_ask_hypervisor(SandboxManager *manager, void (*function)(gpointer data), gpointer data)
{
    vmm_events_ask(manager->vmm, function, data);
}

/* ---- for Status ---- */

char *sandbox_manager_network_problem(SandboxManager *manager)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CniNetwork) network = manager_cni_network(manager, &error);
    Deadline deadline = deadline_in_ms(5000);

    if (manager->pool != NULL)
        vm_pool_check_networks(manager->pool);
    if (network != NULL && cni_network_status(network, &deadline, &error))
        return NULL;
    return g_strdup(error->message);
}

const char *sandbox_manager_accelerator(SandboxManager *manager, gboolean *ret_is_kvm)
{
    const char *reason;

    *ret_is_kvm = vmm_uses_kvm(manager->vmm, &reason);
    return reason;
}

const QemuProgram *sandbox_manager_qemu(SandboxManager *manager)
{
    return vmm_qemu(manager->vmm);
}

static void count_pod(Pod *pod, SandboxCounts *counts)
{
    GHashTableIter iter;
    gpointer container;

    g_mutex_lock(&pod->lock);
    switch (pod->state) {
    case POD_STARTING:
        counts->starting++;
        break;
    case POD_READY:
        counts->ready++;
        counts->hibernated += pod->hibernated;
        break;
    case POD_STOPPING:
        counts->stopping++;
        break;
    case POD_STOPPED:
        counts->stopped++;
        break;
    }
    g_hash_table_iter_init(&iter, pod->containers);
    while (g_hash_table_iter_next(&iter, NULL, &container))
        counts->containers_running += ((Container *)container)->state == CONTAINER_RUNNING_STATE;
    g_mutex_unlock(&pod->lock);
}

void sandbox_manager_count(SandboxManager *manager, SandboxCounts *ret_counts)
{
    g_autoptr(GPtrArray) pods = manager_pods(manager);

    *ret_counts = (SandboxCounts){0};
    for (guint i = 0; i < pods->len; i++)
        count_pod(pods->pdata[i], ret_counts);
}

EventSubscriber *sandbox_events_subscribe(SandboxManager *manager)
{
    return event_subscribe(manager->events);
}

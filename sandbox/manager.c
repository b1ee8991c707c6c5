/* The manager: opening and closing, and the tables of pods and containers. */

#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "sandbox/host/owner_tag.h"
#include "sandbox/pods/pod.h"
#include "sandbox/templates/template_store.h"
#include "sandbox/templates/vm_pool.h"
#include "sandbox/volumes/writable_disk.h"

enum {
    ID_BYTES = 32,
    TRIM_AFTER_MS = 5000,
    LOG_WORKERS = 32, /* at once: one that waits for its disk holds up nobody else */
    EVENT_WORKERS = 2,
    RECOVERY_WORKERS = 8,
};

typedef struct {
    void (*function)(gpointer data);
    gpointer data;
} DeferredCall;

static void deferred_run(gpointer data, gpointer unused)
{
    DeferredCall *call = data;

    (void)unused;
    call->function(call->data);
    g_free(call);
}

void manager_defer(SandboxManager *manager, void (*function)(gpointer data), gpointer data)
{
    DeferredCall *call = g_new(DeferredCall, 1);

    *call = (DeferredCall){function, data};
    g_thread_pool_push(manager->event_workers, call, NULL);
}

CniNetwork *manager_cni_network(SandboxManager *manager, GError **error)
{
    return cni_cache_get(manager->networks, error);
}

/* ---- opening and closing ---- */

static void config_copy(const SandboxManagerConfig *from, SandboxManagerConfig *to)
{
    *to = *from;
    to->handlers = NULL; /* the manager's table has them */
    to->n_handlers = 0;
    to->state_dir = g_strdup(from->state_dir);
    to->run_dir = g_strdup(from->run_dir);
    to->libvirt_uri = g_strdup(from->libvirt_uri);
    to->accelerator = g_strdup(from->accelerator);
    to->qemu_user = g_strdup(from->qemu_user);
    to->qemu_group = g_strdup(from->qemu_group);
    to->node_agent = g_strdup(from->node_agent);
    to->cni_config_dir = g_strdup(from->cni_config_dir);
    to->cdi_spec_dirs = (const char *const *)g_strdupv((char **)(void *)from->cdi_spec_dirs);
    to->cni_plugin_dirs = (const char *const *)g_strdupv((char **)(void *)from->cni_plugin_dirs);
}

static void config_clear(SandboxManagerConfig *config)
{
    g_free((char *)config->state_dir);
    g_free((char *)config->run_dir);
    g_free((char *)config->libvirt_uri);
    g_free((char *)config->accelerator);
    g_free((char *)config->qemu_user);
    g_free((char *)config->qemu_group);
    g_free((char *)config->node_agent);
    g_free((char *)config->cni_config_dir);
    g_strfreev((char **)(void *)config->cdi_spec_dirs);
    g_strfreev((char **)(void *)config->cni_plugin_dirs);
}

static gboolean qemu_owner_find(SandboxManager *manager, GError **error)
{
    const struct passwd *user = getpwnam(manager->config.qemu_user);
    const struct group *group = getgrnam(manager->config.qemu_group);

    if (user == NULL || group == NULL)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "there is no %s \"%s\" for QEMU to run as; make one with: adduser --system --group "
                    "--no-create-home %s",
                    user == NULL ? "user" : "group",
                    user == NULL ? manager->config.qemu_user : manager->config.qemu_group,
                    manager->config.qemu_user);
    manager->guests.qemu_uid = user->pw_uid;
    manager->guests.qemu_gid = group->gr_gid;
    return TRUE;
}

static gboolean directories_make(const SandboxManagerConfig *config, GError **error)
{
    static const struct {
        const char *name;
        gboolean in_run_dir;
        int mode;
    } directories[] = {
        {"vm", TRUE, 0711}, {"share", TRUE, 0700}, {"netns", TRUE, 0755}, {"pods", FALSE, 0711}};

    if (!dir_make(config->state_dir, 0711, error) || !dir_make(config->run_dir, 0755, error))
        return FALSE;
    for (guint i = 0; i < G_N_ELEMENTS(directories); i++) {
        g_autofree char *path = g_build_filename(
            directories[i].in_run_dir ? config->run_dir : config->state_dir, directories[i].name, NULL);

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
    guests->state_dir = manager->config.state_dir;
    guests->run_dir = manager->config.run_dir;
    guests->owner_tag = manager->owner_tag;
    guests->boot_timeout_ms = manager->config.boot_timeout_ms;
    guests->writable_disk_bytes = manager->config.writable_disk_bytes;
    guests->vm_pool_prerestored = manager->config.vm_pool_prerestored;
    guests->describe_default_vm = vm_pod_describe_default;
    guests->describe_default_vm_data = manager;
}

static gboolean open_parts(SandboxManager *manager, GError **error)
{
    const SandboxManagerConfig *config = &manager->config;
    const VmmConfig vmm = {
        .uri = config->libvirt_uri,
        .state_dir = config->state_dir,
        .run_dir = config->run_dir,
        .accelerator = config->accelerator,
        .qemu_user = config->qemu_user,
        .qemu_group = config->qemu_group,
    };
    g_autofree char *database = g_build_filename(config->state_dir, "state.db", NULL);

    if (!qemu_owner_find(manager, error) || !directories_make(config, error) ||
        !writable_disk_template_make(config->state_dir, config->writable_disk_bytes, error))
        return FALSE;
    manager->owner_tag = owner_tag_get(config->state_dir, error);
    manager->store = manager->owner_tag != NULL ? state_store_open(database, error) : NULL;
    if (manager->store == NULL)
        return FALSE;
    manager->loop = loop_thread_new("agents");
    manager->agents = agent_connections_new(manager->loop, config->agent_timeout_ms);
    manager->vmm = vmm_open(&vmm, pod_on_guest_stopped, manager, error);
    guest_environment_set(manager);
    return manager->vmm != NULL;
}

static gboolean templates_are_wished(SandboxManager *manager)
{
    gboolean wished = FALSE;
    gsize n;
    const Handler *handlers = handler_table_all(manager->handlers, &n);

    for (gsize i = 0; i < n; i++)
        wished |= handlers[i].template;
    return wished;
}

/* In the background: whatever fails there, guests boot. */
static void templates_start(SandboxManager *manager)
{
    const Handler *handler = handler_table_find(manager->handlers, "", NULL);
    g_autoptr(GError) error = NULL;
    DomainSpec shape;

    if (!templates_are_wished(manager))
        return;
    manager->templates = template_store_new(&manager->guests);
    if (!vm_pod_describe_default(manager, &shape, &error)) {
        log_warning(LOG_NO_FIELDS, "no template is made: %s", error->message);
    } else if (handler->template) {
        template_unref(template_store_find(manager->templates, &shape));
        if (manager->config.vm_pool_size != 0)
            manager->pool = vm_pool_new(&manager->guests, manager->templates, manager->config.vm_pool_size);
    }
}

/* On the links' thread: some milliseconds, and it ends before the manager does. */
static void trim(gpointer data)
{
    SandboxManager *manager = data;

    g_mutex_lock(&manager->lock);
    manager->trim_is_due = FALSE;
    g_mutex_unlock(&manager->lock);
    malloc_trim(0);
}

void manager_trim(SandboxManager *manager)
{
    gboolean was_due;

    g_mutex_lock(&manager->lock);
    was_due = manager->trim_is_due;
    manager->trim_is_due = TRUE;
    g_mutex_unlock(&manager->lock);
    if (!was_due)
        loop_thread_after(manager->loop, TRIM_AFTER_MS, trim, manager);
}

SandboxManager *sandbox_manager_open(const SandboxManagerConfig *config, ImageService *images, GError **error)
{
    SandboxManager *manager = g_new0(SandboxManager, 1);

    config_copy(config, &manager->config);
    manager->handlers = handler_table_new(config->handlers, config->n_handlers);
    manager->images = images;
    manager->log_workers = g_thread_pool_new(container_io_work, NULL, LOG_WORKERS, FALSE, NULL);
    manager->events = event_hub_new();
    manager->sampler = sampler_new();
    manager->closing = g_cancellable_new();
    manager->recovery_workers = g_thread_pool_new(recovery_work, NULL, RECOVERY_WORKERS, FALSE, NULL);
    manager->event_workers = g_thread_pool_new(deferred_run, NULL, EVENT_WORKERS, FALSE, NULL);
    manager_tables_init(manager);
    manager->networks = cni_cache_new(config->cni_config_dir, config->cni_plugin_dirs);
    g_mutex_init(&manager->lock);
    semaphore_init(&manager->guests.boots,
                   config->max_parallel_boots != 0 ? config->max_parallel_boots : g_get_num_processors());
    if (!open_parts(manager, error) || !manager_recover(manager, error)) {
        sandbox_manager_close(manager);
        return NULL;
    }
    templates_start(manager);
    manager_trim(manager);
    return manager;
}

/* Containers and pods hold each other: the tables are emptied by hand. FALSE: a worker is stuck in writing a
 * log. */
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

void sandbox_manager_close(SandboxManager *manager)
{
    gboolean idle;

    if (manager == NULL)
        return;
    g_cancellable_cancel(manager->closing);
    g_thread_pool_free(manager->recovery_workers, TRUE, TRUE);
    vm_pool_free(manager->pool);
    template_store_free(manager->templates);
    if (manager->vmm != NULL)
        vmm_close(manager->vmm);
    g_thread_pool_free(manager->event_workers, FALSE, TRUE);
    sampler_free(manager->sampler);
    idle = tables_clear(manager);
    g_thread_pool_free(manager->log_workers, FALSE, idle);
    loop_thread_free(manager->loop);
    agent_connections_free(manager->agents);
    state_store_close(manager->store);
    cni_cache_free(manager->networks);
    manager_tables_clear(manager);
    event_hub_free(manager->events);
    semaphore_clear(&manager->guests.boots);
    g_mutex_clear(&manager->lock);
    handler_table_free(manager->handlers);
    config_clear(&manager->config);
    g_object_unref(manager->closing);
    g_free(manager->owner_tag);
    g_free(manager);
}

/* ---- for Status ---- */

char *sandbox_manager_network_problem(SandboxManager *manager)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CniNetwork) network = manager_cni_network(manager, &error);
    Deadline deadline = deadline_in_ms(5000);

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

const HandlerTable *sandbox_manager_handlers(SandboxManager *manager)
{
    return manager->handlers;
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

/* ---- tables ---- */

static guint metadata_hash(gconstpointer data)
{
    const Runtime__V1__PodSandboxMetadata *metadata = data;

    return g_str_hash(metadata->uid) ^ g_str_hash(metadata->name) ^ metadata->attempt;
}

static gboolean metadata_equal(gconstpointer a, gconstpointer b)
{
    const Runtime__V1__PodSandboxMetadata *x = a;
    const Runtime__V1__PodSandboxMetadata *y = b;

    return g_str_equal(x->name, y->name) && g_str_equal(x->namespace_, y->namespace_) &&
           g_str_equal(x->uid, y->uid) && x->attempt == y->attempt;
}

void manager_tables_init(SandboxManager *manager)
{
    manager->pods = id_table_new((GDestroyNotify)pod_unref);
    manager->pod_names = g_hash_table_new(metadata_hash, metadata_equal);
    manager->containers = id_table_new((GDestroyNotify)container_unref);
}

void manager_tables_clear(SandboxManager *manager)
{
    g_hash_table_unref(manager->pod_names);
    id_table_free(manager->pods);
    id_table_free(manager->containers);
}

/* What has that id, or is the only one whose id begins with it. Locked. */
static gpointer find(const IdTable *table, const char *id, gboolean *ret_ambiguous)
{
    guint n = 0;
    const IdTableRow *rows = *id != '\0' ? id_table_range(table, id, &n) : NULL;

    *ret_ambiguous = n > 1 && !g_str_equal(rows[0].id, id); /* the id itself would come first */
    return n > 0 && !*ret_ambiguous ? rows[0].object : NULL;
}

static gboolean fail_not_found(const char *what, const char *id, gboolean ambiguous, GError **error)
{
    if (ambiguous)
        return fail(error, STATUS_INVALID_ARGUMENT, "%s id \"%.64s\" is the beginning of several ids", what,
                    id);
    return fail(error, STATUS_NOT_FOUND, "%s \"%.64s\" does not exist", what, id);
}

Pod *manager_find_pod(SandboxManager *manager, const char *id, GError **error)
{
    gboolean ambiguous;
    Pod *pod;

    g_mutex_lock(&manager->lock);
    pod = find(manager->pods, id, &ambiguous);
    if (pod != NULL)
        pod_ref(pod);
    g_mutex_unlock(&manager->lock);
    if (pod == NULL)
        fail_not_found("sandbox", id, ambiguous, error);
    return pod;
}

Container *manager_find_container(SandboxManager *manager, const char *id, GError **error)
{
    gboolean ambiguous;
    Container *container;

    g_mutex_lock(&manager->lock);
    container = find(manager->containers, id, &ambiguous);
    if (container != NULL)
        container_ref(container);
    g_mutex_unlock(&manager->lock);
    if (container == NULL)
        fail_not_found("container", id, ambiguous, error);
    return container;
}

/* Takes the error of a search over. */
static gboolean forgive_not_found(GError *found, GError **error)
{
    if (found != NULL && found->code != STATUS_NOT_FOUND) {
        g_propagate_error(error, found);
        return FALSE;
    }
    g_clear_error(&found);
    return TRUE;
}

gboolean manager_find_pod_if_any(SandboxManager *manager, const char *id, Pod **ret_pod, GError **error)
{
    GError *found = NULL;

    *ret_pod = manager_find_pod(manager, id, &found);
    return forgive_not_found(found, error);
}

gboolean manager_find_container_if_any(SandboxManager *manager, const char *id, Container **ret_container,
                                       GError **error)
{
    GError *found = NULL;

    *ret_container = manager_find_container(manager, id, &found);
    return forgive_not_found(found, error);
}

void manager_add_pod_locked(SandboxManager *manager, Pod *pod)
{
    id_table_insert(manager->pods, pod->id, pod_ref(pod));
    g_hash_table_insert(manager->pod_names, pod->config->metadata, pod);
}

void manager_add_pod(SandboxManager *manager, Pod *pod)
{
    g_mutex_lock(&manager->lock);
    manager_add_pod_locked(manager, pod);
    g_mutex_unlock(&manager->lock);
}

Pod *manager_namesake_locked(SandboxManager *manager, const Runtime__V1__PodSandboxMetadata *metadata)
{
    return g_hash_table_lookup(manager->pod_names, metadata);
}

void manager_remove_pod(SandboxManager *manager, Pod *pod)
{
    g_autoptr(Pod) keep G_GNUC_UNUSED = pod_ref(pod);

    g_mutex_lock(&manager->lock);
    if (g_hash_table_lookup(manager->pod_names, pod->config->metadata) == pod)
        g_hash_table_remove(manager->pod_names, pod->config->metadata);
    id_table_remove(manager->pods, pod->id);
    g_mutex_unlock(&manager->lock);
}

gboolean manager_add_container(SandboxManager *manager, Container *container, GError **error)
{
    Pod *pod = container->pod;
    gboolean ready;

    g_mutex_lock(&manager->lock);
    g_mutex_lock(&pod->lock);
    ready = pod->state == POD_READY;
    if (ready) {
        g_hash_table_insert(pod->containers, container->id, container_ref(container));
        id_table_insert(manager->containers, container->id, container_ref(container));
    }
    g_mutex_unlock(&pod->lock);
    g_mutex_unlock(&manager->lock);
    if (!ready)
        return fail(error, STATUS_FAILED_PRECONDITION, "sandbox %s is not ready", pod->id);
    return TRUE;
}

void manager_remove_container(SandboxManager *manager, Container *container)
{
    g_autoptr(Container) keep G_GNUC_UNUSED = container_ref(container);

    g_mutex_lock(&manager->lock);
    g_mutex_lock(&container->pod->lock);
    id_table_remove(manager->containers, container->id);
    g_hash_table_remove(container->pod->containers, container->id);
    g_mutex_unlock(&container->pod->lock);
    g_mutex_unlock(&manager->lock);
}

GPtrArray *manager_pods_by_id(SandboxManager *manager, const char *id)
{
    GPtrArray *pods = g_ptr_array_new_with_free_func((GDestroyNotify)pod_unref);
    const IdTableRow *rows;
    guint n;

    g_mutex_lock(&manager->lock);
    rows = id_table_range(manager->pods, id, &n);
    for (guint i = 0; i < n; i++)
        g_ptr_array_add(pods, pod_ref(rows[i].object));
    g_mutex_unlock(&manager->lock);
    return pods;
}

GPtrArray *manager_pods(SandboxManager *manager)
{
    return manager_pods_by_id(manager, "");
}

static GPtrArray *containers_of_pods(SandboxManager *manager, const char *pod_id)
{
    g_autoptr(GPtrArray) pods = manager_pods_by_id(manager, pod_id);
    GPtrArray *containers = g_ptr_array_new_with_free_func((GDestroyNotify)container_unref);

    for (guint i = 0; i < pods->len; i++)
        g_ptr_array_extend_and_steal(containers, pod_containers(pods->pdata[i]));
    return containers;
}

GPtrArray *manager_containers_by_id(SandboxManager *manager, const char *id, const char *pod_id)
{
    GPtrArray *containers;
    const IdTableRow *rows;
    guint n;

    if (*id == '\0' && *pod_id != '\0')
        return containers_of_pods(manager, pod_id);
    containers = g_ptr_array_new_with_free_func((GDestroyNotify)container_unref);
    g_mutex_lock(&manager->lock);
    rows = id_table_range(manager->containers, id, &n);
    for (guint i = 0; i < n; i++)
        if (g_str_has_prefix(((Container *)rows[i].object)->pod->id, pod_id))
            g_ptr_array_add(containers, container_ref(rows[i].object));
    g_mutex_unlock(&manager->lock);
    return containers;
}

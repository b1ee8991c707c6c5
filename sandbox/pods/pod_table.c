/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/pods/pod_table.h"

#include <string.h>

#include "common/error.h"
#include "common/lock_assert.h"
#include "common/string_table.h"
#include "sandbox/pods/container.h"

static guint metadata_hash(gconstpointer data)
{
    const Runtime__V1__PodSandboxMetadata *metadata = data;

    return string_hash(metadata->uid) * 31 + string_hash(metadata->name) + metadata->attempt;
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

/* Return: the object with that id, or the only one whose id begins with it. Called with manager->lock held.
 */
static gpointer find_by_prefix(const IdTable *table, const char *id, gboolean *ret_ambiguous)
{
    guint n = 0;
    const IdTableRow *rows = *id != '\0' ? id_table_range(table, id, &n) : NULL;

    *ret_ambiguous = n > 1 && !g_str_equal(rows[0].id, id); /* the id itself would come first */
    return n > 0 && !*ret_ambiguous ? rows[0].object : NULL;
}

static gboolean fail_not_found(const char *what, const char *id, gboolean ambiguous, GError **error)
{
    if (ambiguous)
        return fail(error, STATUS_INVALID_ARGUMENT, "%s id \"%.64s\" is a prefix of several ids", what, id);
    return fail(error, STATUS_NOT_FOUND, "%s \"%.64s\" does not exist", what, id);
}

Pod *manager_find_pod(SandboxManager *manager, const char *id, GError **error)
{
    gboolean ambiguous;
    Pod *pod;

    g_mutex_lock(&manager->lock);
    pod = find_by_prefix(manager->pods, id, &ambiguous);
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
    container = find_by_prefix(manager->containers, id, &ambiguous);
    if (container != NULL)
        container_ref(container);
    g_mutex_unlock(&manager->lock);
    if (container == NULL)
        fail_not_found("container", id, ambiguous, error);
    return container;
}

/* Takes ownership of found. */
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
    LOCK_ASSERT_HELD(&manager->lock);
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
    LOCK_ASSERT_HELD(&manager->lock);
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
        g_hash_table_insert(pod->containers, container->guest_id, container_ref(container));
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
    g_hash_table_remove(container->pod->containers, container->guest_id);
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

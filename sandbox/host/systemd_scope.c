/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/systemd_scope.h"

#include <gio/gio.h>
#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/string_table.h"

#define BUS_NAME "org.freedesktop.systemd1"
#define OBJECT "/org/freedesktop/systemd1"
#define MANAGER "org.freedesktop.systemd1.Manager"

enum { CALL_TIMEOUT_MS = 30 * 1000, USEC_PER_SEC = 1000 * 1000 };

gboolean systemd_manages(const char *root)
{
    return g_str_equal(root, "/sys/fs/cgroup") && access("/run/systemd/system", F_OK) == 0 &&
           access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
}

/* A connection of one operation: one that is kept would have to survive restarts of the bus. */
static GDBusConnection *bus_open(GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autofree char *address = g_dbus_address_get_for_bus_sync(G_BUS_TYPE_SYSTEM, NULL, &problem);
    GDBusConnection *bus = NULL;

    if (address != NULL)
        bus = g_dbus_connection_new_for_address_sync(address,
                                                     G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                                         G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                                                     NULL, NULL, &problem);
    if (bus == NULL)
        fail(error, STATUS_UNAVAILABLE,
             "cannot reach systemd, which manages the node's cgroups, by the system bus: %s",
             problem->message);
    return bus;
}

static void bus_close(GDBusConnection *bus)
{
    g_dbus_connection_close_sync(bus, NULL, NULL);
    g_object_unref(bus);
}

/* Takes ownership of floating parameters. The caller unrefs the answer. */
static GVariant *manager_call(GDBusConnection *bus, const char *method, GVariant *parameters, GError **error)
{
    g_autoptr(GError) problem = NULL;
    GVariant *answer = g_dbus_connection_call_sync(bus, BUS_NAME, OBJECT, MANAGER, method, parameters, NULL,
                                                   G_DBUS_CALL_FLAGS_NONE, CALL_TIMEOUT_MS, NULL, &problem);

    if (answer == NULL) {
        g_dbus_error_strip_remote_error(problem);
        fail(error, STATUS_INTERNAL, "systemd refuses %s: %s", method, problem->message);
    }
    return answer;
}

/* ---- jobs ---- */

typedef struct {
    GHashTable *results; /* of ended jobs: object path -> result */
    gboolean late;
} Jobs;

static void on_job_removed(GDBusConnection *bus, const char *sender, const char *object,
                           const char *interface, const char *signal, GVariant *parameters, gpointer data)
{
    Jobs *jobs = data;
    const char *job;
    const char *result;

    (void)bus, (void)sender, (void)object, (void)interface, (void)signal;
    if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(uoss)")))
        return;
    g_variant_get(parameters, "(u&o&s&s)", NULL, &job, NULL, &result);
    g_hash_table_replace(jobs->results, g_strdup(job), g_strdup(result));
}

static gboolean on_late(gpointer data)
{
    *(gboolean *)data = TRUE;
    return G_SOURCE_REMOVE;
}

/* Return: the result of a job, which the table owns; NULL: systemd has not ended it in time. Signals that
 * came before the call are in the context's queue. */
static const char *job_wait(GMainContext *context, Jobs *jobs, const char *job)
{
    g_autoptr(GSource) timer = g_timeout_source_new(CALL_TIMEOUT_MS);
    const char *result;

    g_source_set_callback(timer, on_late, &jobs->late, NULL);
    g_source_attach(timer, context);
    while ((result = g_hash_table_lookup(jobs->results, job)) == NULL && !jobs->late)
        g_main_context_iteration(context, TRUE);
    g_source_destroy(timer);
    return result;
}

/* Calls a method that begins a job, and waits for the job's end. context is the thread's default one. */
static gboolean job_run(GDBusConnection *bus, GMainContext *context, const char *method, GVariant *parameters,
                        GError **error)
{
    Jobs jobs = {.results = string_table_new(g_free, g_free)};
    guint subscription =
        g_dbus_connection_signal_subscribe(bus, BUS_NAME, MANAGER, "JobRemoved", OBJECT, NULL,
                                           G_DBUS_SIGNAL_FLAGS_NONE, on_job_removed, &jobs, NULL);
    g_autoptr(GVariant) answer = manager_call(bus, method, parameters, error);
    const char *job = NULL;
    const char *result;
    gboolean done = FALSE;

    if (answer != NULL) {
        g_variant_get(answer, "(&o)", &job);
        result = job_wait(context, &jobs, job);
        done = g_strcmp0(result, "done") == 0 ||
               fail(error, result == NULL ? STATUS_UNAVAILABLE : STATUS_INTERNAL, "%s: systemd's job %s",
                    method, result == NULL ? "has not ended in time" : result);
    }
    g_dbus_connection_signal_unsubscribe(bus, subscription);
    while (g_main_context_iteration(context, FALSE)) {
    }
    g_hash_table_unref(jobs.results);
    return done;
}

/* ---- scopes ---- */

static GVariant *pids_variant(const pid_t *pids, gsize n_pids)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("au"));
    for (gsize i = 0; i < n_pids; i++)
        g_variant_builder_add(&list, "u", (guint32)pids[i]);
    return g_variant_builder_end(&list);
}

/* Like a container's scope of any runtime: it ends neither with the daemon nor at the beginning of a
 * shutdown, when the kubelet may still have pods to end in their time. */
static GVariant *scope_properties(const char *slice, const pid_t *pids, gsize n_pids)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("a(sv)"));
    g_variant_builder_add(&list, "(sv)", "Description", g_variant_new_string("processes of a pod (crivirt)"));
    g_variant_builder_add(&list, "(sv)", "Slice", g_variant_new_string(slice));
    g_variant_builder_add(&list, "(sv)", "Delegate", g_variant_new_boolean(TRUE));
    g_variant_builder_add(&list, "(sv)", "DefaultDependencies", g_variant_new_boolean(FALSE));
    g_variant_builder_add(&list, "(sv)", "CollectMode", g_variant_new_string("inactive-or-failed"));
    g_variant_builder_add(&list, "(sv)", "TasksMax", g_variant_new_uint64(G_MAXUINT64));
    g_variant_builder_add(&list, "(sv)", "PIDs", pids_variant(pids, n_pids));
    return g_variant_builder_end(&list);
}

gboolean systemd_scope_start(const char *scope, const char *slice, const pid_t *pids, gsize n_pids,
                             GError **error)
{
    GMainContext *context = g_main_context_new();
    GDBusConnection *bus;
    gboolean done = FALSE;

    g_main_context_push_thread_default(context);
    bus = bus_open(error);
    if (bus != NULL) {
        done = job_run(
            bus, context, "StartTransientUnit",
            g_variant_new("(ss@a(sv)a(sa(sv)))", scope, "fail", scope_properties(slice, pids, n_pids), NULL),
            error);
        bus_close(bus);
    }
    g_main_context_pop_thread_default(context);
    g_main_context_unref(context);
    if (!done)
        g_prefix_error(error, "cannot make the scope %s in %s: ", scope, slice);
    return done;
}

static gboolean scope_set(const char *scope, GVariant *properties, GError **error)
{
    g_autoptr(GVariant) owned = g_variant_ref_sink(properties);
    g_autoptr(GVariant) answer = NULL;
    GDBusConnection *bus = bus_open(error);

    if (bus == NULL)
        return FALSE;
    answer = manager_call(bus, "SetUnitProperties", g_variant_new("(sb@a(sv))", scope, TRUE, owned), error);
    bus_close(bus);
    return answer != NULL;
}

gboolean systemd_scope_limit_cpu(const char *scope, gint64 quota_us, gint64 period_us, GError **error)
{
    const guint64 per_sec =
        quota_us > 0 ? (guint64)quota_us * USEC_PER_SEC / (guint64)period_us : G_MAXUINT64;
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("a(sv)"));
    g_variant_builder_add(&list, "(sv)", "CPUQuotaPeriodUSec", g_variant_new_uint64((guint64)period_us));
    g_variant_builder_add(&list, "(sv)", "CPUQuotaPerSecUSec", g_variant_new_uint64(per_sec));
    return scope_set(scope, g_variant_builder_end(&list), error);
}

gboolean systemd_scope_weigh_cpu(const char *scope, guint64 weight, GError **error)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("a(sv)"));
    g_variant_builder_add(&list, "(sv)", "CPUWeight", g_variant_new_uint64(weight));
    return scope_set(scope, g_variant_builder_end(&list), error);
}

static GVariant *cpus_variant(const CpuList *list)
{
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, list->bits, cpu_list_length(list), 1);
}

gboolean systemd_scope_use_cpus(const char *scope, const CpuList *cpus, const CpuList *mems, GError **error)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("a(sv)"));
    g_variant_builder_add(&list, "(sv)", "AllowedCPUs", cpus_variant(cpus));
    g_variant_builder_add(&list, "(sv)", "AllowedMemoryNodes", cpus_variant(mems));
    return scope_set(scope, g_variant_builder_end(&list), error);
}

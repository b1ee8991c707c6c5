/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/manager.h"

#include <malloc.h>

enum { TRIM_AFTER_MS = 5000 };

typedef struct {
    void (*function)(gpointer data);
    gpointer data;
} DeferredCall;

void manager_deferred_run(gpointer data, gpointer unused)
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

/* On the loop's thread, where it takes some milliseconds and ends before the manager does. */
static void trim_memory(gpointer data)
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
        loop_thread_after(manager->loop, TRIM_AFTER_MS, trim_memory, manager);
}

CniNetwork *manager_cni_network(SandboxManager *manager, GError **error)
{
    return cni_cache_get(manager->networks, error);
}

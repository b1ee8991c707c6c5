/* SPDX-License-Identifier: Apache-2.0 */
/* What all pods of one daemon share: configuration, services, workers, and the tables of pods and containers.
 *
 * Ownership: opened and closed by sandbox/manager.c; the pods borrow it. Fields above `lock` are constant
 * while it is open. The tables have functions of their own (pod_table.h).
 *
 * Locks: manager->lock is taken before pod->lock. Both are held for access to fields only.
 */
#pragma once

#include "cni-bridge/cni_cache.h"
#include "common/loop_thread.h"
#include "common/settings/live_settings.h"
#include "image-service/image_service.h"
#include "sandbox/agent/agent_connection.h"
#include "sandbox/pods/events.h"
#include "sandbox/pods/id_table.h"
#include "sandbox/state/state_store.h"
#include "sandbox/templates/guest_environment.h"
#include "sandbox/vmm/vmm.h"

typedef struct SandboxManager SandboxManager;

struct Sampler;       /* observe/sampler.h */
struct TemplateStore; /* templates/template_store.h */
struct VmPool;        /* templates/vm_pool.h */

struct SandboxManager {
    const Settings *settings; /* of the daemon's start, for options with RESTART; borrowed */
    LiveSettings *live;       /* the settings in force; borrowed */
    ImageService *images;
    StateStore *store;
    Vmm *vmm;
    LoopThread *loop; /* serves agents, and runs what is due later */
    AgentConnections *agents;
    GThreadPool *log_workers;      /* write logs (ContainerIo) */
    GThreadPool *event_workers;    /* handle the ends of guests */
    GThreadPool *recovery_workers; /* run recovery_work() */
    GThreadPool *wake_workers;     /* wake hibernated pods */
    GCancellable *closing;         /* cancelled when the manager is closed */
    CniCache *networks;
    EventHub *events;
    struct Sampler *sampler;
    GuestEnvironment guests;         /* what templates, the pool and unassigned guests use */
    struct TemplateStore *templates; /* NULL: guests always boot */
    struct VmPool *pool;             /* NULL: no pool */
    char *owner_tag;                 /* marks this daemon's objects on the node (host/owner_tag.h) */

    GMutex lock;
    gboolean trim_is_due;  /* manager_trim() was called and has not run yet */
    IdTable *pods;         /* Pod */
    GHashTable *pod_names; /* metadata → Pod, both borrowed from pods */
    IdTable *containers;   /* Container */
};

/* Runs function(data) on an event worker. Any thread; does not block. */
void manager_defer(SandboxManager *manager, void (*function)(gpointer data), gpointer data);
/* The function of manager->event_workers. */
void manager_deferred_run(gpointer call, gpointer unused);

/* Returns the memory that malloc keeps of freed objects to the node, after a moment and once for many calls.
 */
void manager_trim(SandboxManager *manager);

/* Return: the CNI network as it is configured now, which the caller frees; NULL with an error. */
CniNetwork *manager_cni_network(SandboxManager *manager, GError **error);

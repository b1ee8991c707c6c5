/* SPDX-License-Identifier: Apache-2.0 */
/* A pod: its guest, its network namespace, and its containers.
 *
 * Locks and jobs: manager->lock is taken before pod->lock, and both are held for access to fields only. A
 * change that takes time is made under a job, a Semaphore of one: pod->job for the pod as a whole,
 * container->job for one container. Work on a container does not hold the pod's job, so that stopping a pod
 * never waits for a container's grace period: it ends the guest, and whatever waited for the guest fails.
 * State is checked again after every wait. A function whose name ends in _locked is called with the mutex
 * held; one whose name ends in _in_job with the job.
 */
#pragma once

#include "common/log_limit.h"
#include "common/semaphore.h"
#include "sandbox/agent/agent_calls.h"
#include "sandbox/pods/handler.h"
#include "sandbox/pods/manager.h"
#include "sandbox/pods/platform.h"
#include "sandbox/pods/sample.h"
#include "sandbox/pods/trace.h"
#include "sandbox/pods/vm_size.h"

typedef struct Container Container;

/* What the pod's cgroup has been told, so that nothing is told twice. All 0: not known. */
typedef struct {
    gboolean quota_known;
    gint64 quota_us;
    char *cpus; /* and memory nodes, "CPUS MEMS"; NULL: not known */
} PodCgroupLimits;

/* Work that pods share workers for (pod_turn.h). */
typedef enum { POD_TURN_CHANGE, POD_TURN_EXEC, POD_TURN_USE, POD_N_TURNS } PodTurnKind;

struct Pod {
    /* The columns of its row. id, handler, created_at_ns, volume_cache and volume_locks are constant, the
     * others are protected by lock. */
#define POD_COLUMN STATE_FIELD
#include "sandbox/state/state_store.def"

    gint references;
    SandboxManager *manager;
    Settings *settings; /* those of its start, or of the daemon's when the pod is older; referenced */
    Runtime__V1__PodSandboxConfig
        *config; /* linux->resources and overhead are protected by lock: an update replaces them */
    HandlerKind kind;
    const PodPlatform *platform;
    char *run_dir;   /* QEMU's: agent socket, console */
    char *state_dir; /* writable disk, log cursors */
    char *share_dir; /* what virtiofs shows */
    char *netns_path;
    char *tap;
    struct Template *pooled_template; /* the VM comes from the pool and waits for this template's state; NULL:
                                     the VM is not from the pool */
    struct GuestNetwork *pooled_network; /* the network that its VM had in the pool, until the start takes it;
                                            NULL: none */
    Semaphore job;
    Semaphore create_job;          /* one CreateContainer at a time, so that two with one name cannot race */
    Semaphore disk_job;            /* attaching layers, disks and the share */
    gboolean share_mounted;        /* protected by disk_job: the guest has mounted the present share */
    guint share_recoveries;        /* protected by disk_job: of its file server, since the next time */
    gint64 share_recovered_us;     /* protected by disk_job: on the monotonic clock */
    Semaphore vm_job;              /* changing the size of the VM */
    PodCgroupLimits cgroup_limits; /* protected by vm_job once the pod has started */

    GMutex lock;
    GCond changed;          /* signalled when the pod's state or that of a container changes */
    char **ips;             /* the primary address first; empty before ADD */
    pid_t agent_pid;        /* of a host pod */
    guint share_rests;      /* how often the file server was ended with the VM, in hibernation */
    AgentConnection *agent; /* NULL: no guest */
    const char *lost;       /* why the VM has ended by itself, in reasons; NULL: it has not */
    GStringChunk *reasons;  /* why VMs of the pod have ended: borrowed for as long as the pod is referenced */
    char *blocked;          /* why its guest cannot run at present; NULL: it can */
    GSource *watch;         /* of a hibernated pod (pod/pod_watch.h); NULL: none */
    const char *wake_cause; /* of the last wake, static: "call", "traffic" */
    GError *wake_problem;   /* why it could not be woken the last time; NULL: it never failed */
    gboolean was_reset;     /* the VM has ended because the guest reset itself */
    gboolean abandoned;     /* the start was abandoned for a cause outside the guest */
    gboolean frozen;        /* its agent has reported frozen containers when it connected */
    gboolean saving;        /* its state is being saved: the guest does not run, and is not dead */
    gboolean rest_changes;  /* it is being hibernated or woken (pod_rest.h) */
    const char *start;      /* "booted", "restored"; NULL: not yet, or by an earlier daemon */
    GHashTable *containers; /* guest_id → Container */
    GHashTable *sessions;   /* exec id → StreamSession, not referenced: execs and forwarded connections */
    GHashTable *disks;      /* diff id, or key of a block device → GUINT_TO_POINTER(lun) */
    guint wake_failures;    /* how often it could not be woken */
    guint last_lun;         /* LUNs are not used again, because a failed attach may leave a disk behind */
    Trace *trace;
    VmSize vm_size;           /* planned size; all 0: not known (pod/pod_vm.h) */
    gboolean vm_size_unsure;  /* an earlier daemon may have died during a change: the size is set once more */
    PodSamples samples;       /* figures of its last samples (observe/sample.h) */
    guint turns[POD_N_TURNS]; /* calls that are under way */
    LogLimit guest_log;       /* for lines of the log that the guest can provoke */
};

/* Takes ownership of config, and a reference to settings. Nothing is stored yet. */
Pod *pod_new(SandboxManager *manager, Settings *settings, const char *id,
             Runtime__V1__PodSandboxConfig *config, const char *handler, HandlerKind kind,
             const PodPlatform *platform, gint64 created_at_ns);
Pod *pod_ref(Pod *pod);
void pod_unref(Pod *pod);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pod, pod_unref)

/* Writes the pod's row. */
gboolean pod_save(Pod *pod, GError **error);
PodState pod_state(Pod *pod);
/* Sets the state and its reason (problem NULL keeps the reason), wakes waiting threads, and writes the row.
 */
gboolean pod_set_state(Pod *pod, PodState state, const char *problem, GError **error);
/* Return: the agent's connection of a READY pod, referenced; NULL with FAILED_PRECONDITION for another
 * state, and for a hibernated pod. */
AgentConnection *pod_agent(Pod *pod, GError **error);
/* Return: whether the pod is READY, and has an agent or is hibernated; FALSE with pod_agent()'s error. */
gboolean pod_check_ready(Pod *pod, GError **error);
/* Return: the agent's connection in any state of the pod, referenced; NULL: none. */
AgentConnection *pod_any_agent(Pod *pod);
/* For waits for what the guest does. Return: FALSE with the error "DOING: WHY" (UNAVAILABLE) while it cannot
 * run because the node's disk is full; pod->changed is signalled when that begins. */
gboolean pod_check_blocked(Pod *pod, const char *doing, GError **error);
gboolean pod_check_blocked_locked(Pod *pod, const char *doing, GError **error);
/* Return: whether the guest has that disk, by its diff id or the key of a block device; *ret_lun is its place
 * then.
 */
gboolean pod_find_disk(Pod *pod, const char *key, guint *ret_lun);
/* Return: the pod's containers, referenced, in no order; the array releases them. */
GPtrArray *pod_containers(Pod *pod);
const char *pod_name(const Pod *pod); /* metadata.name, borrowed */
/* Return: the pod's namespace options, never NULL. */
const Runtime__V1__NamespaceOption *pod_namespaces(const Runtime__V1__PodSandboxConfig *config);
/* Return: the size of its VM; all 0 for a host pod. */
VmSize pod_vm_size(Pod *pod);

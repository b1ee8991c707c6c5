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

#include "common/semaphore.h"
#include "sandbox/agent/agent_connection.h"
#include "sandbox/observe/sample.h"
#include "sandbox/pods/handler.h"
#include "sandbox/pods/manager.h"
#include "sandbox/pods/platform.h"
#include "sandbox/pods/trace.h"
#include "sandbox/pods/vm_size.h"

typedef struct Container Container;

struct Pod {
    gint references;
    SandboxManager *manager;
    char *id;
    Runtime__V1__PodSandboxConfig
        *config; /* linux->resources, overhead under lock: an update replaces them */
    char *handler;
    HandlerKind kind;
    const PodPlatform *platform;
    gint64 created_at_ns;
    char *run_dir;   /* QEMU's: agent socket, console */
    char *state_dir; /* writable disk, log cursors */
    char *share_dir; /* what virtiofs shows */
    char *netns_path;
    char *tap;
    struct Template
        *waiting_for; /* of the pool: its machine waits for this one's state; NULL: it is yet to be made */
    Semaphore job;
    Semaphore create_job;   /* one CreateContainer at a time, so that two with one name do not race */
    Semaphore disk_job;     /* attaching layers, disks and the share */
    gboolean share_mounted; /* under disk_job: the guest has the present share mounted, as far as we know */
    Semaphore vm_job;       /* changing the machine's size */

    GMutex lock;
    GCond changed; /* a state below, or one of its containers', has changed */
    PodState state;
    char *problem;
    char **ips;       /* the primary first; empty before the network is there */
    char *cni_config; /* what ADD was called with: DEL is owed */
    char *cni_result;
    guint share_generation; /* how many shares the guest has had; 0: none yet */
    pid_t agent_pid;        /* of a pod on the node */
    AgentConnection *agent; /* NULL: no guest */
    const char *lost;       /* why its machine is gone by itself, static; NULL: it is not */
    gboolean abandoned;     /* its start has been given up: the guest is not to blame */
    const char *start;      /* "booted", "restored"; NULL: not yet, or by an earlier daemon */
    GHashTable *containers; /* id → Container */
    GHashTable *sessions;   /* exec id → StreamSession, not referenced: execs and connections */
    GHashTable *disks;      /* diff id, or key of a block device → GUINT_TO_POINTER(lun) */
    guint last_lun;         /* numbers are not used again: an attach that failed may have left half a disk */
    Trace *trace;
    VmSize vm_size;          /* how large it is, or is to be; all 0: not known (pod_machine.h) */
    gboolean vm_size_unsure; /* an earlier daemon may have died while it changed: it is made so once more */
    PodSamples samples;      /* what it used when it was last asked (sample.c) */
};


/* Takes config over. Nothing is stored yet. */
Pod *pod_new(SandboxManager *manager, const char *id, Runtime__V1__PodSandboxConfig *config,
             const char *handler, HandlerKind kind, const PodPlatform *platform, gint64 created_at_ns);
Pod *pod_ref(Pod *pod);
void pod_unref(Pod *pod);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pod, pod_unref)

/* Writes the pod's row as it is now. */
gboolean pod_save(Pod *pod, GError **error);
PodState pod_state(Pod *pod);
/* Sets the state (and why; NULL keeps the reason), wakes who waits, and saves. */
gboolean pod_set_state(Pod *pod, PodState state, const char *problem, GError **error);
/* The link of a READY pod, referenced; FAILED_PRECONDITION when it is not READY. */
AgentConnection *pod_agent(Pod *pod, GError **error);
/* The link in whatever state the pod is, referenced; NULL: there is none. */
AgentConnection *pod_any_agent(Pod *pod);
void pod_disconnect(Pod *pod);
/* The pod's containers, referenced, in no order; the array frees them. */
GPtrArray *pod_containers(Pod *pod);
const char *pod_name(const Pod *pod); /* the metadata name; borrowed */
/* What of the node the pod asks for; never NULL. */
const Runtime__V1__NamespaceOption *pod_namespaces(const Runtime__V1__PodSandboxConfig *config);
/* Return: the size of its VM; all 0 for a host pod. */
VmSize pod_vm_size(Pod *pod);

/* A pod: its guest, its network namespace, and its containers. Internal to this folder.
 *
 * Locks: manager->lock, then pod->lock; both are held for field access only. A change that takes time is made
 * under a job (Semaphore of one): pod->job for the pod as a whole, container->job for one container. Work on
 * a container does not hold the pod's job, so that stopping a pod never waits for a container's grace: it
 * ends the guest, and whatever waited for the guest fails. State is checked again after every wait.
 */
#pragma once

#include "cni-bridge/cni_cache.h"
#include "common/semaphore.h"
#include "sandbox/agent/agent_connection.h"
#include "sandbox/container/stream_session.h"
#include "sandbox/host/block_device.h"
#include "sandbox/observe/sample.h"
#include "sandbox/pods/container_io.h"
#include "sandbox/pods/events.h"
#include "sandbox/pods/guest_input.h"
#include "sandbox/pods/id_table.h"
#include "sandbox/pods/trace.h"
#include "sandbox/pods/vm_size.h"
#include "sandbox/sandbox.h"
#include "sandbox/state/state_store.h"
#include "sandbox/templates/guest_environment.h"
#include "sandbox/vmm/vmm.h"

struct PodChange; /* pod_machine.h */
struct Template;  /* template.h */

typedef struct Pod Pod;
typedef struct Container Container;

/* A layer, or another disk, that is attached to a pod's machine. */
typedef struct {
    guint lun;
    const char
        *path; /* of the file on the node, borrowed from the ImageLayer; NULL: it is a disk of the guest */
} PodLayer;

/* What a pod runs on: a virtual machine (pod_guest.c), or the node itself (pod_node.c). Either way an agent
 * serves pod->agent, and all that is said to it is the same. */
typedef struct {
    const char *what; /* for messages */
    gboolean on_node; /* the node's own namespaces and devices can be had */
    /* A machine that waits for just such a pod, and what for: its id has to be the pod's. NULL: there is
     * none. */
    char *(*find_waiting)(Pod *pod, struct Template **ret_template);
    /* Everything from the network namespace to the agent's Setup. On failure all is undone as far as it can
     * be. */
    gboolean (*start)(Pod *pod, const Deadline *deadline, GError **error);
    /* Undoes it, wherever it had come to: machine, network, mounts, disks. May be repeated. */
    gboolean (*end)(Pod *pod, const Deadline *deadline, GError **error);
    /* Ends at once what still runs of the pod's machine, containers included, and leaves the rest to end().
     */
    gboolean (*destroy)(Pod *pod, const Deadline *deadline, GError **error);
    /* Attaches the layers that are not there yet; *ret_layers (PodLayer) is parallel to layers (ImageLayer).
     */
    gboolean (*attach_layers)(Pod *pod, const GPtrArray *layers, GArray **ret_layers, GError **error);
    /* The limits of the pod and its containers are about to change, or have: the machine follows. See
     * pod_vm_fit(). */
    gboolean (*fit)(Pod *pod, const struct PodChange *change, const char *field, gboolean may_shrink,
                    const Deadline *deadline, GError **error);
    /* Makes the directory of volumes visible, once. */
    gboolean (*attach_share)(Pod *pod, const Deadline *deadline, GError **error);
    /* Whose cost is the machine's; 0: none. */
    pid_t (*process)(Pod *pod);
    /* After a restart: whether it runs, watching it from now on. domains: VmmDomain. */
    gboolean (*adopt)(Pod *pod, const GPtrArray *domains);
    /* After a restart: whether a layer whose row was written has been attached. */
    gboolean (*has_disk)(Pod *pod, const GPtrArray *domains, guint lun);
} PodPlatform;

extern const PodPlatform vm_pod_platform;
extern const PodPlatform host_pod_platform;

struct SandboxManager {
    SandboxManagerConfig config; /* strings owned; without the handlers */
    HandlerTable *handlers;
    ImageService *images;
    StateStore *store;
    Vmm *vmm;
    LoopThread *loop; /* serves agents, and runs what is due later */
    AgentConnections *agents;
    GThreadPool *log_workers;      /* of ContainerIo */
    GThreadPool *event_workers;    /* of what happens to guests */
    GThreadPool *recovery_workers; /* of recovery_work() */
    GCancellable *closing;         /* cancelled when the manager is closed */
    CniCache *networks;
    EventHub *events;
    Sampler *sampler;
    GuestEnvironment guests;         /* what templates, the pool and unassigned guests need of it */
    struct TemplateStore *templates; /* NULL: guests always boot */
    struct VmPool *pool;             /* NULL: none wait */
    char *owner_tag;                 /* of what is this daemon's on the node (owner.h) */

    GMutex lock;
    gboolean trim_is_due;  /* manager_trim() has been called and is to be done */
    IdTable *pods;         /* Pod */
    GHashTable *pod_names; /* metadata → Pod, both borrowed from pods */
    IdTable *containers;   /* Container */
};

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

struct Container {
    gint references;
    Pod *pod;
    char *id;
    Runtime__V1__ContainerConfig *config; /* linux->resources under pod->lock: an update replaces it */
    char *image_id;
    char **diff_ids;
    gint64 created_at_ns;
    int stop_signal;
    char *log_path; /* NULL: none */
    ContainerIo *io;
    Semaphore job;

    GMutex announce_lock;
    int announced; /* the last event's type; -1: none */

    /* Under pod->lock. */
    ContainerState state;
    gint64 started_at_ns;
    gint64 finished_at_ns;
    gint32 exit_code;
    char *reason;
    char *message;
    gboolean end_is_stored;
    gint64 uid; /* -1: not known yet */
    gint64 gid;
    GArray *groups;      /* gint64 */
    GPtrArray *attached; /* StreamSession, not referenced */
    char **blocks;       /* keys of the block devices that it has (block_device.h) */

    GuestInput *input; /* of the first process */
    guint64 seen[2];   /* the link's thread only: output of the first process, by stream */
};

/* ---- pods (pod.c) ---- */

/* Takes config over. Nothing is stored yet. */
Pod *pod_new(SandboxManager *manager, const char *id, Runtime__V1__PodSandboxConfig *config,
             const char *handler, HandlerKind kind, gint64 created_at_ns);
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
/* Opens the link; fresh: the machine was just made. */
void pod_connect(Pod *pod, gboolean fresh);
void pod_disconnect(Pod *pod);
/* The pod's containers, referenced, in no order; the array frees them. */
GPtrArray *pod_containers(Pod *pod);
const char *pod_name(const Pod *pod); /* the metadata name; borrowed */
/* What of the node the pod asks for; never NULL. */
const Runtime__V1__NamespaceOption *pod_namespaces(const Runtime__V1__PodSandboxConfig *config);
/* What its machine is made with; FAILED_PRECONDITION when the pod's handler is no longer configured. */
gboolean pod_settings(const Pod *pod, HandlerSettings *ret_settings, GError **error);

/* ---- a pod's guest and network (pod_guest.c) ---- */

/* For GuestEnvironment: describes the VM of a pod that asks for nothing in particular. data is the manager;
 * the strings of the description are borrowed from its table of handlers. */
gboolean vm_pod_describe_default(gpointer data, DomainSpec *ret_spec, GError **error);
/* Plugs a block device of the node in, unless it is; and out, which leaves nothing of it on the node. */
gboolean vm_pod_attach_block(Pod *pod, const char *host_path, const BlockDevice *device, gboolean readonly,
                             guint *ret_lun, GError **error);
gboolean vm_pod_detach_block(Pod *pod, const char *key, GError **error);
/* The cgroup of a container of a pod on the node, below each hierarchy's root (pod_node.c). */
char *host_pod_container_cgroup(const Container *container);
#define POD_SHARE_TAG "crivirt"

/* ---- the share (pod_share.c) ---- */

/* Makes the share and mounts it in the guest, unless there is one whose file server lives. */
gboolean vm_pod_attach_share(Pod *pod, const Deadline *deadline, GError **error);
/* Tells the containers when the file server dies, or has died already. */
void pod_share_watch(Pod *pod);

/* ---- its cgroup on the node, where the caller gave one (pod_cgroup.c) ---- */

gboolean pod_cgroup_join(const Pod *pod, pid_t pid, GError **error);
/* Kills what is left there of the machine: a file server that outlived it and its daemon. */
gboolean pod_cgroup_leave(const Pod *pod, GError **error);
/* Processor time of each RESOURCES_CPU_PERIOD_US; 0: no limit. */
gboolean pod_cgroup_limit_cpu(const Pod *pod, gint64 quota_us, GError **error);
/* A cgroup that is limited to less than a machine of that size may come to take would have it killed: its
 * memory then counts beside that cgroup, and a warning says so. Once it has joined. */
gboolean pod_cgroup_make_room(const Pod *pod, guint64 machine_bytes, GError **error);

/* ---- what guests report (pod_events.c) ---- */

extern const AgentEvents pod_agent_events; /* data is the Pod */
/* VmmStoppedFunc; data is the manager. */
void pod_on_guest_stopped(const char *name, VmmStopReason reason, gpointer data);
/* The machine of the pod with that id is gone by itself: what waits for it fails at once, the rest
 * (pod_lost()) is done by a worker. Any thread; why is static. */
void manager_report_lost(SandboxManager *manager, const char *id, const char *why);
/* The guest is gone by itself: the pod is not ready, its containers ended in an unknown way. */
void pod_lost(Pod *pod, const char *why);
/* Something on the pod has failed. When that is because its machine has died meanwhile, which the hypervisor
 * may not have reported yet, *error says so, as UNAVAILABLE. Waits a moment if need be. */
void pod_explain(Pod *pod, GError **error);
/* Whether the machine has ended by itself; what dies with it may be seen before it, so this waits a moment.
 */
gboolean pod_is_lost(Pod *pod);

/* ---- containers (container.c) ---- */

/* Takes config over. */
Container *container_new(Pod *pod, const char *id, Runtime__V1__ContainerConfig *config, const char *image_id,
                         char **diff_ids, gint64 created_at_ns);
Container *container_ref(Container *container);
void container_unref(Container *container);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Container, container_unref)

gboolean container_save(Container *container, GError **error);
/* Records the end, once; later calls change nothing. reason NULL: from the exit code. FALSE: it is known, but
 * its row could not be written; calling again tries that again. */
gboolean container_set_exited(Container *container, gint32 exit_code, const char *reason, const char *message,
                              gint64 finished_at_ns);
/* Takes it out of every table and deletes what is kept of it on the node. */
gboolean container_forget(Container *container, GError **error);
ContainerState container_state(Container *container);
/* Tells subscribers, in the order of a life: what was left out before is not told afterwards (started, once
 * it has stopped), and nothing is told of one that was never made. Any thread, without locks. */
void container_announce(Container *container, Runtime__V1__ContainerEventType type);
/* Sends its first process a signal; all: every process. The pod must be READY. (container_ops.c) */
gboolean container_signal(Container *container, int signal, gboolean all, const Deadline *deadline,
                          GError **error);

/* ---- the tables (manager.c) ---- */

void manager_tables_init(SandboxManager *manager);
/* Containers and pods hold each other: those that are left must be removed before. */
void manager_tables_clear(SandboxManager *manager);

/* By id or unique prefix, referenced; NULL with NOT_FOUND, or INVALID_ARGUMENT for an ambiguous prefix. */
Pod *manager_find_pod(SandboxManager *manager, const char *id, GError **error);
Container *manager_find_container(SandboxManager *manager, const char *id, GError **error);
/* The same for verbs that succeed when there is nothing to do: an unknown id is TRUE with NULL. */
gboolean manager_find_pod_if_any(SandboxManager *manager, const char *id, Pod **ret_pod, GError **error);
gboolean manager_find_container_if_any(SandboxManager *manager, const char *id, Container **ret_container,
                                       GError **error);
void manager_add_pod(SandboxManager *manager, Pod *pod);
/* The same while manager->lock is held. */
void manager_add_pod_locked(SandboxManager *manager, Pod *pod);
/* The pod with the same name, namespace, uid and attempt; NULL: none. manager->lock is held; borrowed. */
Pod *manager_namesake_locked(SandboxManager *manager, const Runtime__V1__PodSandboxMetadata *metadata);
void manager_remove_pod(SandboxManager *manager, Pod *pod);
/* Both tables; FAILED_PRECONDITION unless the pod is READY. */
gboolean manager_add_container(SandboxManager *manager, Container *container, GError **error);
void manager_remove_container(SandboxManager *manager, Container *container);
/* All pods, referenced; the array frees them. */
GPtrArray *manager_pods(SandboxManager *manager);
/* Those whose ids begin so ("": all), without a look at the others; containers: and whose pods' ids begin so.
 */
GPtrArray *manager_pods_by_id(SandboxManager *manager, const char *id);
GPtrArray *manager_containers_by_id(SandboxManager *manager, const char *id, const char *pod_id);
/* What malloc keeps of things that are gone is given back to the node, in a moment and once for many calls.
 */
void manager_trim(SandboxManager *manager);
/* Runs function(data) on an event worker. */
void manager_defer(SandboxManager *manager, void (*function)(gpointer data), gpointer data);
/* The CNI network as it is configured now. */
CniNetwork *manager_cni_network(SandboxManager *manager, GError **error);

/* Brings what the last daemon left in line with the store (recovery.c). */
gboolean manager_recover(SandboxManager *manager, GError **error);
/* Ends what was half made or half ended; a GThreadPool's function, for a Pod that it unrefs. */
void recovery_work(gpointer pod, gpointer unused);

/* ---- streaming sessions (session.c); from the link's thread, which never waits for a client ---- */

StreamSession *stream_session_ref(StreamSession *session);
void stream_session_unref(StreamSession *session); /* takes NULL */

/* Of an exec or a connection. FALSE: it is nobody's. */
gboolean stream_sessions_output(Pod *pod, const Crivirt__Agent__V1__Output *output);
gboolean stream_sessions_exited(Pod *pod, const Crivirt__Agent__V1__Exited *exited);
void stream_sessions_input_acked(Pod *pod, const Crivirt__Agent__V1__InputAck *ack);
/* Of a container's first process: a copy for who is attached. */
void stream_sessions_attached_output(Container *container, const Crivirt__Agent__V1__Output *output);
void stream_sessions_attached_exited(Container *container, gint32 exit_code);
void stream_sessions_attached_input_acked(Container *container, guint64 offset);
/* The link has reconnected. */
void stream_sessions_resume(Pod *pod);
/* The guest, or the container, is gone: every session ends, with that reason. */
void stream_sessions_fail(Pod *pod, const char *why);
void stream_sessions_fail_container(Container *container, const char *why);

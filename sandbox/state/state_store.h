/* What the daemon must remember of pods and containers across its own death: one SQLite database (WAL).
 *
 * A row is written before the side effect that it stands for, so that a restarted daemon finds everything
 * that may exist. Thread-safe; each call is one transaction of well under a millisecond. A schema older than
 * ours is migrated forward at open; a newer one is refused.
 */
#pragma once

#include <glib.h>

typedef struct StateStore StateStore;

typedef enum {
    POD_STARTING = 0, /* RunPodSandbox has not returned its id: after a restart it is undone */
    POD_READY = 1,
    POD_STOPPING = 2, /* whatever still runs must be ended */
    POD_STOPPED = 3,
} PodState;

typedef enum {
    CONTAINER_CREATING = 0, /* as POD_STARTING */
    CONTAINER_CREATED_STATE = 1,
    CONTAINER_RUNNING_STATE = 2,
    CONTAINER_EXITED_STATE = 3,
} ContainerState;

typedef struct {
    char *id;
    GBytes *config; /* packed runtime.v1.PodSandboxConfig */
    char *handler;
    char *kind; /* of the handler, which may be configured no more */
    gint64 created_at_ns;
    PodState state;
    char *problem;        /* why it is not ready; NULL: none */
    char *ips;            /* separated by spaces, the primary first */
    char *cni_config;     /* the network list that ADD was called with; NULL: nothing to DEL */
    char *cni_result;     /* NULL: no ADD has finished */
    guint share_attached; /* which: pod->share_generation */
    /* The size of its machine (machine_shape.h); 0: not known, it is of a daemon that did not keep it. */
    guint boot_vcpus;
    guint vcpus;
    guint max_vcpus;
    guint64 boot_memory_bytes;
    guint64 memory_bytes;
    guint64 max_memory_bytes;
} PodRecord;
void pod_record_free(PodRecord *record);

typedef struct {
    char *id;
    char *pod_id;
    GBytes *config; /* packed runtime.v1.ContainerConfig */
    char *image_id;
    char *diff_ids; /* separated by spaces, lowest first */
    ContainerState state;
    gint64 created_at_ns;
    gint64 started_at_ns;
    gint64 finished_at_ns;
    gint32 exit_code;
    char *reason;
    char *message;
    gint64 uid;
    gint64 gid;
    char *groups; /* separated by spaces */
    gint32 stop_signal;
} ContainerRecord;
void container_record_free(ContainerRecord *record);

typedef struct {
    char *pod_id;
    guint lun;
    char *diff_id; /* or the key of a block device (block_device.h) */
} PodDiskRecord;
void pod_disk_record_free(PodDiskRecord *record);

StateStore *state_store_open(const char *path, GError **error);
void state_store_close(StateStore *store); /* takes NULL */

/* Insert or replace. */
gboolean state_store_put_pod(StateStore *store, const PodRecord *record, GError **error);
gboolean state_store_put_container(StateStore *store, const ContainerRecord *record, GError **error);
gboolean state_store_put_disk(StateStore *store, const char *pod_id, guint lun, const char *diff_id,
                              GError **error);
gboolean state_store_delete_disk(StateStore *store, const char *pod_id, guint lun, GError **error);
/* With the pod's containers and disks. */
gboolean state_store_delete_pod(StateStore *store, const char *pod_id, GError **error);
gboolean state_store_delete_container(StateStore *store, const char *container_id, GError **error);

/* Everything, for the start: arrays of the records above, freed with the array. */
gboolean state_store_load_pods(StateStore *store, GPtrArray **ret_pods, GError **error);
gboolean state_store_load_containers(StateStore *store, const char *pod_id, GPtrArray **ret_containers,
                                     GError **error);
gboolean state_store_load_disks(StateStore *store, const char *pod_id, GPtrArray **ret_disks, GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
/* The records of pods and containers that outlive the daemon: one SQLite database (WAL).
 *
 * A row is written before the side effect that it stands for, so that a restarted daemon finds everything
 * that may exist. An older schema is migrated when the database is opened; a newer one is refused. Each call
 * is one transaction, which takes well under a millisecond. Errors: those of common/sqlite.h. Threads: any.
 */
#pragma once

#include <glib.h>

typedef struct StateStore StateStore;

typedef enum {
    POD_STARTING = 0, /* RunPodSandbox has not returned yet: a restarted daemon removes the pod */
    POD_READY = 1,
    POD_STOPPING = 2, /* what still runs has to be ended */
    POD_STOPPED = 3,
} PodState;

typedef enum {
    CONTAINER_CREATING = 0, /* like POD_STARTING */
    CONTAINER_CREATED_STATE = 1,
    CONTAINER_RUNNING_STATE = 2,
    CONTAINER_EXITED_STATE = 3,
} ContainerState;

/* Records have a field for each column of state_store.def. The caller of a function that returns records owns
 * them with their strings; records that are put are borrowed. */
#define STATE_FIELD(ctype, field, kind) ctype field;
typedef struct {
#define POD_COLUMN STATE_FIELD
#define POD_DERIVED STATE_FIELD
#include "sandbox/state/state_store.def"
} PodRecord;
void pod_record_free(PodRecord *record);

typedef struct {
#define CONTAINER_COLUMN STATE_FIELD
#define CONTAINER_DERIVED STATE_FIELD
#include "sandbox/state/state_store.def"
} ContainerRecord;
void container_record_free(ContainerRecord *record);

typedef struct {
#define DISK_COLUMN STATE_FIELD
#include "sandbox/state/state_store.def"
} PodDiskRecord;
void pod_disk_record_free(PodDiskRecord *record);

/* Copies a field between a record and the object that embeds its rows; each owns its TEXT fields. */
#define STATE_COPY_TEXT(to, from) (g_free(to), (to) = g_strdup(from))
#define STATE_COPY_INT(to, from) ((to) = (from))

/* Opens the database, and makes or migrates it. Return: the caller's; NULL with the error set. */
StateStore *state_store_open(const char *path, GError **error);
void state_store_close(StateStore *store); /* takes NULL */

/* These insert a row, or replace it. */
gboolean state_store_put_pod(StateStore *store, const PodRecord *record, GError **error);
gboolean state_store_put_container(StateStore *store, const ContainerRecord *record, GError **error);
gboolean state_store_put_disk(StateStore *store, const char *pod_id, guint lun, const char *diff_id,
                              GError **error);
gboolean state_store_delete_disk(StateStore *store, const char *pod_id, guint lun, GError **error);
/* Deletes the pod with its containers and disks. */
gboolean state_store_delete_pod(StateStore *store, const char *pod_id, GError **error);
gboolean state_store_delete_container(StateStore *store, const char *container_id, GError **error);

/* Read all rows, for the start. The caller frees the array, which owns the records. */
gboolean state_store_load_pods(StateStore *store, GPtrArray **ret_pods, GError **error);
gboolean state_store_load_containers(StateStore *store, const char *pod_id, GPtrArray **ret_containers,
                                     GError **error);
gboolean state_store_load_disks(StateStore *store, const char *pod_id, GPtrArray **ret_disks, GError **error);

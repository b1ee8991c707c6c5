/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a checkpoint: a pod whose guest was saved while it ran, in a directory of the caller's.
 *
 *   manifest.json   what the checkpoint is of, what it depends on, and size and digest of the other files
 *   manifest.mac    the code that authenticates it; only of an encrypted checkpoint
 *   request         the configurations of the pod and its containers, a packed runtime.v1.RestorePodRequest
 *   ram, devices    the state of the VM (vmm/vmm_state.h)
 *   disk            the pod's writable disk, a sparse file
 *   volumes         what the guest had open on volumes of the node (vmm/fsguard/relay_state.h); only if it
 * had any
 *
 * The layers of the images are not in it: the manifest names them by digest. The manifest is written last, so
 * that a directory with one is whole. All files have mode 0600, because they hold what the pod had in memory.
 *
 * A checkpoint may be packed: all files but the manifest are then compressed, encrypted, or both
 * (packed_file.h). They are made in another directory, of the daemon's own, and packed from there when the
 * pod runs again.
 *
 * A checkpoint that is opened may come from anyone: nothing of it is believed that the digests in the
 * manifest do not cover, each value has a bound, and only the names above are opened, without following
 * links. The digests protect against damage; whoever can write the directory can write another checkpoint,
 * but without the key no encrypted one.
 *
 * Errors of reading: NOT_FOUND for a directory without a manifest, DATA_LOSS for damage. Threads: any, one at
 * a time for a Checkpoint.
 */
#pragma once

#include "api.pb-c.h"
#include "common/deadline.h"
#include "common/page_digest.h"

/* How checkpoints are written, and which are read; the values are borrowed. */
typedef struct {
    gboolean compress;
    guint level;                  /* of zstd */
    guint threads;                /* at most; 0: one for each processor */
    const char *const *key_files; /* the first encrypts; NULL or empty: nothing is encrypted */
    gboolean require_encryption;  /* others are neither written nor read */
} CheckpointStorage;

/* How one checkpoint is written. */
typedef struct CheckpointPacking CheckpointPacking;

/* The size of the VM; the meaning is that of VmSize (pods/vm_size.h). */
typedef struct {
    guint64 boot_vcpus;
    guint64 vcpus;
    guint64 max_vcpus;
    guint64 boot_memory_bytes;
    guint64 memory_bytes;
    guint64 max_memory_bytes;
} CheckpointSize;

/* What a mount of a container is in the saved guest. */
typedef struct {
    guint index; /* in the configuration */
    char *name;  /* of a bind: in the share (volumes/share.h); of an image: its id, "sha256:…" */
} CheckpointMount;

/* A block device of the node that a container has, which the guest has as a disk. What is on it is not in the
 * checkpoint. */
typedef struct {
    gboolean is_mount;
    guint index; /* in the configuration's mounts or devices */
    guint lun;   /* several may be one disk */
    guint64 bytes;
    char *container_path;
    char *host_path; /* on the node of the saved pod */
} CheckpointBlock;

/* A container whose processes are in the checkpoint. */
typedef struct {
    char *name;     /* metadata.name, unique in the checkpoint */
    char *id;       /* by which the agent in the saved guest knows it */
    char *image_id; /* "sha256:…" */
    char **layers;  /* keys of the image's layers, lowest first, and of those of the mounted images */
    gint64 uid;
    gint64 gid;
    GArray *groups; /* gint64 */
    gint64 stop_signal;
    GPtrArray *binds;  /* CheckpointMount: volumes of the node */
    GPtrArray *images; /* CheckpointMount: images, whose layers the guest has as disks */
    GPtrArray *blocks; /* CheckpointBlock */
} CheckpointContainer;

/* A layer that the saved guest has as a disk. */
typedef struct {
    guint lun;
    char *key;
} CheckpointDisk;

typedef struct Checkpoint {
    char *handler;         /* of the pod; empty: the default one */
    gint64 made_at_s;      /* Unix time */
    char **inputs;         /* template_run_inputs() of the saved VM */
    CheckpointSize size;   /* of the saved VM */
    GPtrArray *containers; /* CheckpointContainer */
    GPtrArray *others;     /* char *: ids of containers that the saved guest has besides */
    GPtrArray *disks;      /* CheckpointDisk */
    guint share;           /* the number of the share that the guest has (pod->share_attached); 0: none */
    char *volume_cache;    /* of that share, which the guest goes on with (host/volume_options.h) */
    gint volume_locks;     /* likewise: a gboolean, or VOLUME_LOCKS_UNKNOWN */
    Runtime__V1__RestorePodRequest *request;
    /* Of an open checkpoint; -1 while it is being made. */
    int ram_fd;
    int disk_fd;
    int device_fd;  /* a private copy */
    int volumes_fd; /* a private copy; -1: there is no share */
    FileFacts ram;
    FileFacts disk;
    struct PackedFile *ram_packed; /* NULL: it is not packed */
    struct PackedFile *disk_packed;
} Checkpoint;

/* Return: an empty one, to be filled in. It owns what is put into it. */
Checkpoint *checkpoint_new(void);
void checkpoint_free(Checkpoint *checkpoint); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Checkpoint, checkpoint_free)

/* Return: added to the checkpoint, zeroed, with empty groups. */
CheckpointContainer *checkpoint_add_container(Checkpoint *checkpoint);
/* mounts: a container's binds or images. name becomes theirs. */
void checkpoint_add_mount(GPtrArray *mounts, guint index, char *name);
CheckpointBlock *checkpoint_add_block(CheckpointContainer *container);
CheckpointDisk *checkpoint_add_disk(Checkpoint *checkpoint);
/* Return: the layers among the disks of a guest, by key with their LUNs as pointers, as CheckpointDisk in the
 * order of their LUNs; the array owns them. */
GPtrArray *checkpoint_disks_of(GHashTable *disks);

/* Reads the key, so that a checkpoint fails before its pod stands still. Errors: FAILED_PRECONDITION. Return:
 * the caller's; NULL with the error. storage must stay. */
CheckpointPacking *checkpoint_packing_new(const CheckpointStorage *storage, GError **error);
void checkpoint_packing_free(CheckpointPacking *packing); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CheckpointPacking, checkpoint_packing_free)
/* Return: whether the files are packed, so that they have to be made in another directory. */
gboolean checkpoint_packing_packs(const CheckpointPacking *packing);

/* Opens an existing, empty directory by its absolute path, for this caller alone until the descriptor is
 * closed. Errors: INVALID_ARGUMENT, NOT_FOUND,
 * FAILED_PRECONDITION with what the directory holds. Return: a descriptor, the caller's; -1. */
int checkpoint_directory(const char *path, GError **error);
/* Makes the files that the state of the VM is saved to, open for reading and writing. The caller closes the
 * descriptors. */
gboolean checkpoint_make_files(int directory, int *ret_ram_fd, int *ret_device_fd, GError **error);
/* The same for what the guest has open on volumes. Return: the descriptor; -1. */
int checkpoint_make_volumes(int directory, GError **error);
/* Return: the path of the file that the writable disk is copied to, valid while directory is open, which the
 * caller frees. */
char *checkpoint_disk_path(int directory);
/* Finishes a checkpoint whose files were made in that directory or, where they are packed, in `made`: packs
 * them or computes their digests, writes the request, makes all durable, and writes the manifest last. */
gboolean checkpoint_seal(int directory, int made, Checkpoint *checkpoint, const CheckpointPacking *packing,
                         const Deadline *deadline, GError **error);
/* Makes the state of the VM, and what the guest has open on volumes if there is such a file, durable in a
 * directory of the daemon's own, which gets no manifest. */
gboolean checkpoint_sync_state(int directory, GError **error);
/* Opens them for reading. The caller closes the descriptors; *ret_volumes_fd is -1 without such a file. */
gboolean checkpoint_open_state(int directory, int *ret_ram_fd, int *ret_device_fd, int *ret_volumes_fd,
                               GError **error);
/* Opens the last of these alone. Return: the descriptor, the caller's; -1: there is none. */
int checkpoint_open_volumes(int directory);
/* Removes the files of a checkpoint that was not finished; never anything else, and not the directory. */
void checkpoint_discard(int directory);

/* Reads and checks the checkpoint, all but the data of ram and disk, which are checked while they are used.
 * storage is used in this call alone. Errors also: FAILED_PRECONDITION for a key that is missing, and for a
 * checkpoint that should be encrypted. */
Checkpoint *checkpoint_open(const char *path, const CheckpointStorage *storage, GError **error);
/* Reads the configurations of the saved pod alone, from a directory or an archive. Return: for
 * runtime__v1__restore_pod_request__free_unpacked() of the caller; NULL with the error. */
Runtime__V1__RestorePodRequest *checkpoint_request(const char *path, const CheckpointStorage *storage,
                                                   GError **error);

/* Calls take() with all data of the memory, in parts of whole pages, possibly from several threads at once
 * and in any order. What it got counts only if all of it succeeds: it is then what was sealed. take() returns
 * FALSE with errno to end it. A VmmStateSource. Errors: DATA_LOSS, those of the deadline. */
gboolean checkpoint_ram_each(gpointer checkpoint, FileDataFunc *take, gpointer user_data,
                             const Deadline *deadline, GError **error);
/* Writes the disk of a packed checkpoint to an empty file, sparse. After a failure the file holds anything.
 */
gboolean checkpoint_disk_unpack(const Checkpoint *checkpoint, int fd, const Deadline *deadline,
                                GError **error);
/* Return: the first input by which a VM with these inputs differs from the saved one (of the rate of the time
 * stamp counter: by more than the kernel's clock corrects), as "NAME: the
 * checkpoint has …, this node has …", which the caller frees; NULL: it has them all in common. */
char *checkpoint_difference(const Checkpoint *checkpoint, const char *const *inputs);
/* The same for the inputs of any saved VM; owner: who has them, as "the checkpoint". */
char *checkpoint_inputs_difference(char *const *saved_inputs, const char *owner, const char *const *inputs);
/* Return: the rate of the saved guest's time stamp counter; 0: the checkpoint has none. */
guint checkpoint_time_stamp_khz(const Checkpoint *checkpoint);

/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this library share with each other, and with its tests, alone. */
#pragma once

#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/checkpoint/checkpoint_secret.h"
#include "sandbox/checkpoint/packed_file.h"

#define CHECKPOINT_MANIFEST "manifest.json"
#define CHECKPOINT_MAC "manifest.mac"
#define CHECKPOINT_REQUEST "request"
#define CHECKPOINT_RAM "ram"
#define CHECKPOINT_DEVICES "devices"
#define CHECKPOINT_DISK "disk"
#define CHECKPOINT_VOLUMES "volumes"

/* The versions of the manifest, which are raised with each change that an older daemon would misread. */
#define CHECKPOINT_FORMAT "1"
#define CHECKPOINT_PACKED_FORMAT "2"

#define CHECKPOINT_ZSTD "zstd"
#define CHECKPOINT_AES "aes-256-gcm"

/* Bounds of what is read, far above what a checkpoint has. */
enum {
    CHECKPOINT_MAX_MANIFEST_BYTES = 4 << 20,
    CHECKPOINT_MAX_REQUEST_BYTES = 16 << 20,
    CHECKPOINT_MAX_PACKED_BYTES = 1 << 20, /* by which packing may make a small file longer */
    CHECKPOINT_MAX_DEVICE_BYTES = 64 << 20,
    CHECKPOINT_MAX_VOLUME_BYTES = 256 << 20,
    CHECKPOINT_MAX_SHARES = 1 << 20,
    CHECKPOINT_MAX_BINDS = 4096, /* of one container */
    CHECKPOINT_MAX_CONTAINERS = 256,
    CHECKPOINT_MAX_DISKS = 16 << 10,
    CHECKPOINT_MAX_LAYERS = 1024,
    CHECKPOINT_MAX_GROUPS = 4096,
};

/* The fields of CheckpointSize, by their names in the manifest. */
#define CHECKPOINT_SIZES(SIZE)                                                                               \
    SIZE(boot_vcpus)                                                                                         \
    SIZE(vcpus)                                                                                              \
    SIZE(max_vcpus)                                                                                          \
    SIZE(boot_memory_bytes)                                                                                  \
    SIZE(memory_bytes)                                                                                       \
    SIZE(max_memory_bytes)

/* What the manifest says about the files. Of files that are not packed, chunks and stored_bytes are 0. */
typedef struct {
    PackedFacts request;
    PackedFacts ram;
    PackedFacts devices;
    PackedFacts disk;
    PackedFacts volumes;
    gboolean packed;
    gboolean compressed;
    gboolean encrypted;
    char key[2 * CHECKPOINT_KEY_ID_BYTES + 1]; /* the id of the key, if it is encrypted */
    guint8 salt[CHECKPOINT_SALT_BYTES];
} CheckpointPrivate;

/* Return: how a file of the checkpoint is packed; secret: NULL, it is not encrypted. The caller clears the
 * key with OPENSSL_cleanse(). */
PackedForm checkpoint_form(const char *name, gboolean compress, const CheckpointSecret *secret,
                           const CheckpointStorage *storage);

/* The parts of checkpoint_open() and checkpoint_request(): the directory, and those of a directory that is
 * open, whose errors do not have its path.
 */
int checkpoint_open_directory(const char *path, GError **error);
Checkpoint *checkpoint_files_open(int directory, const CheckpointStorage *storage, GError **error);
Runtime__V1__RestorePodRequest *checkpoint_files_request(int directory, const CheckpointStorage *storage,
                                                         GError **error);

/* Reads a manifest into a new Checkpoint. Nothing of it is authenticated yet. */
gboolean checkpoint_manifest_parse(const char *text, gsize length, Checkpoint *checkpoint,
                                   CheckpointPrivate *ret_facts, GError **error);

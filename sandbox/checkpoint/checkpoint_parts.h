/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this library share with each other, and with its tests, alone. */
#pragma once

#include "sandbox/checkpoint/checkpoint.h"

#define CHECKPOINT_MANIFEST "manifest.json"
#define CHECKPOINT_REQUEST "request"
#define CHECKPOINT_RAM "ram"
#define CHECKPOINT_DEVICES "devices"
#define CHECKPOINT_DISK "disk"
#define CHECKPOINT_VOLUMES "volumes"

/* The version of the manifest. It is raised with each change that an older daemon would misread. */
#define CHECKPOINT_FORMAT "1"

/* Bounds of what is read, far above what a checkpoint has. */
enum {
    CHECKPOINT_MAX_MANIFEST_BYTES = 4 << 20,
    CHECKPOINT_MAX_REQUEST_BYTES = 16 << 20,
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

/* Of the files that a Checkpoint does not keep open. */
typedef struct {
    FileFacts request;
    FileFacts devices;
    FileFacts volumes;
} CheckpointPrivate;

/* checkpoint_open() of a directory that is open, whose errors do not have its path. */
Checkpoint *checkpoint_files_open(int directory, GError **error);

/* Reads a manifest into a new Checkpoint. */
gboolean checkpoint_manifest_parse(const char *text, gsize length, Checkpoint *checkpoint,
                                   CheckpointPrivate *ret_facts, GError **error);

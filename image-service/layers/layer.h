/* SPDX-License-Identifier: Apache-2.0 */
/* Turns a layer blob (a tar, plain, gzip or zstd) into one read-only EROFS image.
 *
 * A single pass: decompress, hash, read the tar, write the image; nothing is unpacked onto the host's file
 * system (see erofs.h, layer_tree.h). Tar formats: ustar, GNU, pax, as libarchive reads them; layers as in
 * https://github.com/opencontainers/image-spec/blob/main/layer.md. What a layer must not do (lead out of
 * itself, link to what it does not have, unpack to more than the limits, be something else than its
 * configuration says) is refused with a message that names the entry. Any thread; one per call.
 *
 * Kept: owners, modes, times to the nanosecond, hard links, devices, FIFOs, security.capability, user.* and
 * POSIX ACL attributes. Other attributes are left out: trusted.* would speak to overlayfs, and labels belong
 * to the machine that built the layer.
 */
#pragma once

#include "common/deadline.h"

typedef struct {
    const char *diff_id;    /* "sha256:…" that the tar must have; NULL: not checked */
    const char *media_type; /* as the manifest has it; NULL: not known */
    guint64 max_bytes;      /* of the tar, and of the sizes of its files together */
    guint max_entries;      /* 0: 2,000,000 */
} LayerSpec;

/* consumed_bytes: of the blob. Called about once per MiB. */
typedef void (*LayerProgressFunc)(guint64 consumed_bytes, gpointer data);

/* From where blob_fd stands into image_fd, an empty file, which is neither synced nor removed on failure.
 * INVALID_ARGUMENT: a hostile or broken layer; DATA_LOSS: not the diff id; RESOURCE_EXHAUSTED: limits, disk;
 * UNIMPLEMENTED: media type; the deadline's. */
gboolean layer_write_image(int blob_fd, const LayerSpec *spec, int image_fd, const Deadline *deadline,
                           LayerProgressFunc progress, gpointer data, GError **error);

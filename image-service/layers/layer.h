/* SPDX-License-Identifier: Apache-2.0 */
/* Turns a layer blob (a tar, plain, gzip or zstd) into one read-only EROFS image, in two steps.
 *
 * layer_read() needs nothing but the blob: it decompresses, hashes, reads the tar and writes the contents of
 * files into the image, so the layers of an image can be read side by side while others download.
 * layer_draft_finish() applies the names to the layers below (layer_tree.h) and writes the directories.
 * Nothing is unpacked onto the host's file system.
 *
 * A layer that describes each directory before it puts something into it, removes nothing and has no hard
 * link to a file of the layers below, has the same EROFS image whatever is below it: it is self-contained.
 * Every other layer depends on the layers below.
 *
 * Tar formats: ustar, GNU, pax, as libarchive reads them; layers as in
 * https://github.com/opencontainers/image-spec/blob/main/layer.md. What a layer must not do (lead upwards,
 * link to what the image does not have, unpack to more than the limits, take more memory or time than they
 * allow, be something else than its configuration names) is refused with a message that names the entry.
 * Kept: owners, modes, times to the nanosecond, hard links, devices, FIFOs, security.capability, user.* and
 * POSIX ACL attributes. Other attributes are left out: trusted.* would speak to overlayfs, and labels belong
 * to the machine that built the layer.
 *
 * Errors: INVALID_ARGUMENT for a hostile or broken layer, DATA_LOSS when it does not have the diff id,
 * RESOURCE_EXHAUSTED for limits and a full disk, UNIMPLEMENTED for the media type, the deadline's. A draft
 * belongs to one thread at a time.
 */
#pragma once

#include "common/deadline.h"
#include "image-service/layers/lower_view.h"

typedef struct {
    const char *diff_id;    /* "sha256:…" that the tar must have; NULL: not checked */
    const char *media_type; /* as the manifest has it; NULL: not known */
    guint64 max_bytes; /* of the tar, of the sizes of its files together, and of what is copied for links */
    guint max_entries; /* 0: 2,000,000 */
    guint64 max_memory_bytes; /* for names, directories and attributes; 0: LAYER_DEFAULT_MEMORY_BYTES */
    gint64 max_time_ms;       /* of a processor, besides 1 s for each 16 MiB; 0: LAYER_DEFAULT_TIME_MS */
} LayerSpec;

#define LAYER_DEFAULT_MEMORY_BYTES (G_GUINT64_CONSTANT(256) << 20)
enum { LAYER_DEFAULT_TIME_MS = 30000 };

/* consumed_bytes: of the blob. Called about once per MiB. */
typedef void (*LayerProgressFunc)(guint64 consumed_bytes, gpointer data);

/* Where a layer is read from and written to. The descriptors stay the caller's. */
typedef struct {
    int blob_fd;                /* read from where it stands */
    int image_fd;               /* an empty file, which is neither synced nor removed on failure */
    LayerProgressFunc progress; /* NULL: none */
    gpointer progress_data;
} LayerFiles;

typedef struct LayerDraft LayerDraft;

/* Return: the draft, whose image_fd must stay open until it is finished or freed; NULL with the error set. */
LayerDraft *layer_read(const LayerFiles *files, const LayerSpec *spec, const Deadline *deadline,
                       GError **error);
void layer_draft_free(LayerDraft *draft); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LayerDraft, layer_draft_free)

gboolean layer_draft_is_self_contained(const LayerDraft *draft);
/* The memory that the draft takes while it waits to be finished, and the most that it took. */
guint64 layer_draft_memory_bytes(const LayerDraft *draft);
guint64 layer_draft_peak_memory_bytes(const LayerDraft *draft);

/* Completes the image on top of what is below (NULL: nothing). key, the name under which the layer is kept,
 * gives the file system its UUID. A draft is finished once. */
gboolean layer_draft_finish(LayerDraft *draft, LowerView *lower, const char *key, const Deadline *deadline,
                            GError **error);

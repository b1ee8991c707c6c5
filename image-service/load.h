/* SPDX-License-Identifier: Apache-2.0 */
/* Imports images from a file or directory: an OCI layout, as a directory or in an archive, or what docker
 * save writes.
 *
 * Archives are tars, plain or gzip, zstd, xz, bzip2. They are streamed once into numbered files of the ingest
 * directory and hashed on the way; a name in an archive is only ever looked up in a table. Every blob is
 * verified by its digest before it is used, the layers by their diff ids too. The limits are those of a pull;
 * the archive itself has those of one layer for memory and time, and of one image for its size.
 * Names: io.containerd.image.name, org.opencontainers.image.ref.name where it is more than a tag ("latest"
 * says nothing about the repository), RepoTags. Specification:
 * https://github.com/opencontainers/image-spec/blob/main/image-layout.md; docker save: image/tarexport of
 * moby.
 */
#pragma once

#include "image-service/pull.h"

/* *ret_images: StoredImage with tags, whose layers are in the store and held. Errors: INVALID_ARGUMENT for
 * what is no such archive, DATA_LOSS for a wrong digest, NOT_FOUND for a missing file or no image of the
 * platform, RESOURCE_EXHAUSTED, the deadline's. */
gboolean load_images(const PullContext *context, const char *path, const Deadline *deadline,
                     GPtrArray **ret_images, GError **error);

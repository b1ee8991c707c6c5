/* SPDX-License-Identifier: Apache-2.0 */
/* A download of one blob into a file: what the file holds, what is missing, and the digest of it all.
 *
 * Belongs to one thread. The file never holds anything but a prefix of what was sent for this digest; when
 * that turns out to be wrong the file is emptied.
 */
#pragma once

#include "image-service/content/manifest.h"
#include "image-service/registry/blob_target.h"
#include "image-service/registry/registry_request.h"

typedef struct BlobDownload BlobDownload;

/* Reads and hashes what the file holds. descriptor is borrowed; target is copied, its file stays the
 * caller's. */
BlobDownload *blob_download_new(const Descriptor *descriptor, const BlobTarget *target, GError **error);
void blob_download_free(BlobDownload *download); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlobDownload, blob_download_free)

/* When the file has the blob's size already: verifies it, and empties it when it is not the blob. */
gboolean blob_download_check_present(BlobDownload *download, GError **error);
gboolean blob_download_is_complete(const BlobDownload *download);

/* Gets what is missing from the call's host, and verifies the whole. */
gboolean blob_download_from(BlobDownload *download, const RegistryCall *call, GError **error);

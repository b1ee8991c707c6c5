/* SPDX-License-Identifier: Apache-2.0 */
/* A blob on its way into a file: what is there, what is missing, and the digest of it all.
 *
 * Belongs to one thread. The file never holds anything but a prefix of what was sent for this digest; when
 * that turns out wrong it is emptied.
 */
#pragma once

#include "image-service/registry/registry.h"
#include "image-service/registry/registry_request.h"

typedef struct BlobDownload BlobDownload;

/* descriptor, fd and data are borrowed. What the file holds is read and hashed. */
BlobDownload *blob_download_new(const Descriptor *descriptor, int fd, RegistryProgressFunc progress,
                                gpointer data, GError **error);
void blob_download_free(BlobDownload *download); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BlobDownload, blob_download_free)

/* When the file has the blob's size already: verifies it, and empties it when it is not the blob. */
gboolean blob_download_check_present(BlobDownload *download, GError **error);
gboolean blob_download_is_complete(const BlobDownload *download);

/* Gets what is missing from that host, and verifies the whole. */
gboolean blob_download_from(BlobDownload *download, RegistryHost *host, const RetryPolicy *policy,
                            Transfer *transfer, const Deadline *deadline, GError **error);

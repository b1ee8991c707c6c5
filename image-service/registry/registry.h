/* SPDX-License-Identifier: Apache-2.0 */
/* A client of one repository on a registry: OCI distribution specification 1.1 over HTTP or HTTPS.
 *
 * A pull is: registry_resolve(), look whether that digest is there already (then registry_confirm() when the
 * reference is a digest, which registry_resolve() does not ask for), registry_fetch_image(), and
 * registry_fetch_blob() for each of its layers, in as many threads as wanted.
 *
 * Calls block until they are done, the deadline or cancellation. Network errors, 5xx and 429 are retried;
 * mirrors are tried in their order and the server last. A message names the image and each host that failed
 * once, and never holds a credential.
 *
 * Errors: NOT_FOUND, UNAUTHENTICATED, PERMISSION_DENIED, UNAVAILABLE (network, rate limits), DATA_LOSS
 * (digest or size), RESOURCE_EXHAUSTED (disk, limits), INVALID_ARGUMENT (configuration files, manifests) and
 * the deadline's.
 *
 * One RegistryClient serves one pull and may be used from several threads at once: they share tokens and what
 * is known of the mirrors; each call has its own connection.
 */
#pragma once

#include "common/deadline.h"
#include "image-service/content/manifest.h"
#include "image-service/content/reference.h"
#include "image-service/registry/blob_target.h"
#include "image-service/registry/credentials.h"

typedef struct RegistryClient RegistryClient;

typedef struct {
    const char *hosts_dir;      /* containerd's certs.d; NULL: none */
    const char *auth_file;      /* Docker's config.json; NULL: none */
    gint64 progress_timeout_ms; /* an attempt that gets no byte for so long has failed; 0: 60 s */
    guint max_attempts;         /* per request and host; 0: 5 */
    gint64 retry_delay_ms;      /* before the first repetition, doubling after; 0: 500 ms */
} RegistryConfig;

/* Reads the hosts and credentials files. All arguments are copied; auth may be NULL. */
RegistryClient *registry_client_new(const RegistryConfig *config, const Reference *reference,
                                    const RegistryAuth *auth, GError **error);
/* Called after the last call has returned; takes NULL. */
void registry_client_free(RegistryClient *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RegistryClient, registry_client_free)

/* Asks the registry at that domain itself, not its mirrors, whether it takes the credentials. One that asks
 * nobody for credentials takes all. Errors: UNAUTHENTICATED, UNAVAILABLE. */
gboolean registry_check_credentials(const RegistryConfig *config, const char *domain,
                                    const RegistryAuth *auth, const Deadline *deadline, GError **error);

/* What the reference names now: an index or manifest. A reference by digest needs no request: media type and
 * size are unknown then. A HEAD request where the registry answers it usefully, which does not count as a
 * pull against rate limits. */
gboolean registry_resolve(RegistryClient *client, const Deadline *deadline, Descriptor **ret_descriptor,
                          GError **error);

/* Asks whether the repository has the manifest of a reference by digest, and lets these credentials have it.
 * Errors: as registry_fetch_manifest(). */
gboolean registry_confirm(RegistryClient *client, const Deadline *deadline, GError **error);

/* Return: whether the repository has the blob, and lets these credentials have it. FALSE also when that could
 * not be found out. */
gboolean registry_has_blob(RegistryClient *client, const Descriptor *descriptor, const Deadline *deadline);

/* Content that is small enough for memory, verified. */
typedef struct {
    char *data; /* NUL-terminated */
    gsize length;
    char *media_type; /* what the registry called it; may be NULL */
} SmallBlob;
void small_blob_clear(SmallBlob *blob);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SmallBlob, small_blob_clear)

/* Fetches a manifest or index by its digest. */
gboolean registry_fetch_manifest(RegistryClient *client, const Descriptor *descriptor,
                                 const Deadline *deadline, SmallBlob *ret_blob, GError **error);

/* Manifest and configuration of the image for a platform. */
typedef struct {
    char *manifest_digest; /* of the manifest chosen: the reference's own or one out of its index */
    Manifest *manifest;
    ImageConfig *config; /* as many diff_ids as layers */
    char *config_json;
    gboolean platform_is_known; /* the index named the platform; the configuration may name another one */
} RegistryImage;
gboolean registry_fetch_image(RegistryClient *client, const Descriptor *resolved, const Platform *platform,
                              const Deadline *deadline, RegistryImage **ret_image, GError **error);
void registry_image_free(RegistryImage *image); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RegistryImage, registry_image_free)

/* Downloads a blob into target->fd: TRUE means that the file holds exactly the blob and its digest was
 * verified. What the file holds already is taken as the beginning of the blob and resumed from. After a
 * failure it holds a prefix that a later call may resume; after DATA_LOSS it is empty. Never more than the
 * descriptor's size is written. The file is not synced to disk. */
gboolean registry_fetch_blob(RegistryClient *client, const Descriptor *descriptor, const BlobTarget *target,
                             const Deadline *deadline, GError **error);

/* A small blob (at most max_bytes) into memory. */
gboolean registry_fetch_small_blob(RegistryClient *client, const Descriptor *descriptor, gsize max_bytes,
                                   const Deadline *deadline, SmallBlob *ret_blob, GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
/* A request to one host, until it is answered with 2xx or there is no hope: authorisation, redirects (without
 * our secrets when they lead elsewhere), retries with growing delays.
 *
 * A RegistryHost is shared by the threads of a pull; what changes in it is behind its lock.
 */
#pragma once

#include "image-service/registry/registry_auth.h"

typedef struct RegistryHost RegistryHost;

/* endpoint and credentials (may be NULL) become the host's. */
RegistryHost *registry_host_new(RegistryEndpoint *endpoint, Credentials *credentials, const char *domain,
                                const char *repository);
void registry_host_free(RegistryHost *host); /* takes NULL */
const RegistryEndpoint *registry_host_endpoint(const RegistryHost *host);
/* The last request found nobody there: worth trying last. */
gboolean registry_host_is_down(RegistryHost *host);

typedef struct {
    gint64 progress_timeout_ms;
    gint64 retry_delay_ms;
    guint max_attempts;
} RetryPolicy;

typedef struct {
    const char *kind; /* "manifests", "blobs" */
    const char *what; /* tag or digest */
    const char *accept;
    gboolean is_head;
    const guint64 *offset; /* NULL, or where to resume: read before each attempt */
    TransferSink sink;
    gpointer sink_data;
    gsize max_body_bytes;
} RegistryRequest;

/* TRUE: a 2xx answer was read to its end; the transfer has its headers and body. Messages start with the
 * host's name. */
gboolean registry_host_request(RegistryHost *host, const RegistryRequest *request, const RetryPolicy *policy,
                               Transfer *transfer, const Deadline *deadline, GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
/* A request to one host, repeated until it is answered with 2xx or repeating it is useless: authorisation,
 * redirects (without our secrets when they lead elsewhere; never from https to http, or to a link-local
 * address), retries with growing delays.
 *
 * A RegistryHost is shared by the threads of a pull; what changes in it is behind its lock. A RegistryCall
 * belongs to one thread.
 */
#pragma once

#include "image-service/registry/registry_auth.h"

typedef struct RegistryHost RegistryHost;

/* The host takes endpoint and credentials (which may be NULL). */
RegistryHost *registry_host_new(RegistryEndpoint *endpoint, Credentials *credentials, const char *domain,
                                const char *repository);
void registry_host_free(RegistryHost *host); /* takes NULL */
const RegistryEndpoint *registry_host_endpoint(const RegistryHost *host);
/* Return: whether the last request made no connection, so that other hosts are worth trying first. */
gboolean registry_host_is_down(RegistryHost *host);

typedef struct {
    gint64 progress_timeout_ms;
    gint64 retry_delay_ms;
    guint max_attempts;
} RetryPolicy;

/* How one step of a pull asks a host; everything is borrowed. */
typedef struct {
    RegistryHost *host;
    const RetryPolicy *policy;
    Transfer *transfer;
    const Deadline *deadline; /* NULL: none */
} RegistryCall;

typedef struct {
    const char
        *kind; /* "manifests", "blobs"; NULL: the API's root, which tells whether credentials are good */
    const char *what; /* tag or digest */
    const char *accept;
    gboolean is_head;
    const guint64 *offset; /* NULL, or where to resume: read before each attempt */
    TransferSink sink;
    gpointer sink_data;
    gsize max_body_bytes;
} RegistryRequest;

/* Return: where a redirect of that URL leads, as a new string. NULL with UNAVAILABLE when it leads to no HTTP
 * address or from https to http. */
char *registry_redirect_target(const char *url, const char *location, GError **error);

/* Return: TRUE when a 2xx answer was read to its end; the call's transfer has its headers and body. Errors:
 * UNAUTHENTICATED (401), PERMISSION_DENIED (403), NOT_FOUND (404, 410), UNAVAILABLE for other answers and for
 * the network, the sink's, the deadline's. Messages hold what the registry says of the failure, and when it
 * may be asked again, but do not name the host: the caller does, once. */
gboolean registry_host_request(const RegistryCall *call, const RegistryRequest *request, GError **error);

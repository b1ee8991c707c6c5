/* SPDX-License-Identifier: Apache-2.0 */
/* Where a registry's images are fetched from: containerd's certs.d/<host>/hosts.toml.
 *
 * Implements https://github.com/containerd/containerd/blob/main/docs/hosts.md for pulling: server, [host."…"]
 * in the order of the file, capabilities, ca, client, skip_verify, header, override_path, and Docker's
 * certificate files (.crt, .cert, .key) where there is no hosts.toml. Directories are looked for as
 * host_port_, host:port and _default. Of several client certificates the first is used. dial_timeout and push
 * are accepted and ignored; other keys and capabilities are ignored with a warning in the log.
 */
#pragma once

#include <glib.h>

typedef struct {
    char *base_url;     /* "https://registry-1.docker.io/v2", no slash at the end */
    char *host;         /* "registry-1.docker.io", "127.0.0.1:5000": for messages and credentials */
    gboolean is_mirror; /* not the registry that the reference names: is asked with "?ns=" */
    gboolean can_pull;
    gboolean can_resolve;
    gboolean skip_verify;
    char *ca_pem;      /* certificates to trust besides the system's; NULL: none */
    char *client_cert; /* paths; NULL: none */
    char *client_key;
    char **headers; /* "Name: value" */
} RegistryEndpoint;
void registry_endpoint_free(RegistryEndpoint *endpoint); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RegistryEndpoint, registry_endpoint_free)

/* Finds the endpoints for a reference's domain in the order in which they are tried, the registry itself last
 * and each address once. Elements are RegistryEndpoint, freed by the array. hosts_dir may be NULL or missing.
 * Errors: INVALID_ARGUMENT for a file that cannot be read as intended. */
gboolean hosts_load(const char *hosts_dir, const char *domain, GPtrArray **ret_endpoints, GError **error);

/* Return: whether the URL is on a loopback address of this node. */
gboolean hosts_url_is_loopback(const char *url);

/* SPDX-License-Identifier: Apache-2.0 */
/* Who we are at a registry: what came with the CRI call, or a credentials file.
 *
 * The file is Docker's config.json or containers' auth.json: "auths" with base64 "auth" or username and
 * password, identitytoken, registrytoken. Keys may have a scheme, a /v1/ or /v2/ suffix, or a path
 * ("quay.io/team"); the longest that fits the image wins. Credential helpers are not run. Secrets are wiped
 * when freed and never appear in messages.
 */
#pragma once

#include "image-service/content/reference.h"

/* Credentials for one pull (CRI's AuthConfig); any member may be NULL or "". */
typedef struct {
    const char *username;
    const char *password;
    const char *auth; /* base64 of "user:password" */
    const char *server_address;
    const char *identity_token;
    const char *registry_token;
} RegistryAuth;

typedef struct {
    char *username; /* NULL: anonymous, unless a token is set */
    char *password;
    char *identity_token; /* an OAuth2 refresh token for the token server */
    char *registry_token; /* a bearer token for the registry itself */
} Credentials;
void credentials_free(Credentials *credentials); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Credentials, credentials_free)

/* The credentials for pulling the reference from host, which is the registry itself or a mirror of it. auth
 * with a server_address goes to that host only. The call's come first at the registry, the file's at a
 * mirror, which also gets the call's when the file has none for it (as with containerd). *ret_credentials is
 * NULL when there are none. INVALID_ARGUMENT for bad ones; a missing file is none. */
gboolean credentials_find(const RegistryAuth *auth, const char *auth_file, const Reference *reference,
                          const char *host, gboolean is_mirror, Credentials **ret_credentials,
                          GError **error);

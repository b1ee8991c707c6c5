/* SPDX-License-Identifier: Apache-2.0 */
/* The credentials for a registry: those that came with the CRI call, or those of a file.
 *
 * The file is Docker's config.json or containers' auth.json: "auths" with base64 "auth" or username and
 * password, identitytoken, registrytoken. Keys may have a scheme, a /v1/ or /v2/ suffix, or a path
 * ("quay.io/team"); the longest that fits the image is used. Credential helpers are not run. Secrets are
 * wiped when they are freed and never appear in messages.
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

typedef struct {
    const RegistryAuth *auth;   /* of the call; NULL: none */
    const char *auth_file;      /* NULL: none */
    const Reference *reference; /* what is pulled */
    const char *host;           /* where from: the registry itself or a mirror of it */
    gboolean is_mirror;
} CredentialsQuery;

/* Finds the credentials for one host. Those of the call go to its server_address only, and without one to
 * the registry that the reference names, never to a mirror. At the registry the call's come first, at a
 * mirror the file's. *ret_credentials is NULL when there are none; a missing file has none. Errors:
 * INVALID_ARGUMENT for malformed credentials. */
gboolean credentials_find(const CredentialsQuery *query, Credentials **ret_credentials, GError **error);

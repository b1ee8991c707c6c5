/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/registry/credentials.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/json.h"

#define DOCKER_HUB "docker.io"

enum { MAX_AUTH_FILE_BYTES = 1 << 20 };

static void free_secret(char *secret)
{
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    g_free(secret);
}

void credentials_free(Credentials *credentials)
{
    if (credentials == NULL)
        return;
    free_secret(credentials->username);
    free_secret(credentials->password);
    free_secret(credentials->identity_token);
    free_secret(credentials->registry_token);
    g_free(credentials);
}

static gboolean is_set(const char *text)
{
    return text != NULL && *text != '\0';
}

/* base64("user:password"); tools pad with NULs at times. */
static gboolean decode_auth(const char *auth, Credentials *credentials, GError **error)
{
    gsize length = 0;
    guchar *decoded = g_base64_decode(auth, &length);
    char *text = g_strndup((const char *)decoded, length);
    char *colon = strchr(text, ':');

    if (decoded != NULL)
        explicit_bzero(decoded, length);
    g_free(decoded);
    if (colon != NULL) {
        credentials->username = g_strndup(text, (gsize)(colon - text));
        credentials->password = g_strdup(colon + 1);
    }
    free_secret(text);
    return colon != NULL ||
           fail(error, STATUS_INVALID_ARGUMENT, "\"auth\" is not the base64 form of user:password");
}

/* From the parts that both the CRI and the files have; NULL in *ret when none is set. */
static gboolean make_credentials(const RegistryAuth *auth, Credentials **ret, GError **error)
{
    g_autoptr(Credentials) credentials = g_new0(Credentials, 1);

    if (is_set(auth->username)) {
        credentials->username = g_strdup(auth->username);
        credentials->password = g_strdup(auth->password != NULL ? auth->password : "");
    } else if (is_set(auth->auth) && !decode_auth(auth->auth, credentials, error)) {
        return FALSE;
    }
    if (is_set(auth->identity_token))
        credentials->identity_token = g_strdup(auth->identity_token);
    if (is_set(auth->registry_token))
        credentials->registry_token = g_strdup(auth->registry_token);
    if (credentials->username != NULL || credentials->identity_token != NULL ||
        credentials->registry_token != NULL)
        *ret = g_steal_pointer(&credentials);
    else
        *ret = NULL;
    return TRUE;
}

/* The one name of a registry that is known by several: "https://index.docker.io/v1/" is "docker.io". */
static char *normalise_key(const char *key)
{
    const char *scheme_end = strstr(key, "://");
    g_autofree char *bare = g_strdup(scheme_end != NULL ? scheme_end + 3 : key);
    static const char *const suffixes[] = {"/", "/v1", "/v2", "/"};
    const char *path;
    gsize host_length;

    for (gsize i = 0; i < G_N_ELEMENTS(suffixes); i++)
        if (g_str_has_suffix(bare, suffixes[i]))
            bare[strlen(bare) - strlen(suffixes[i])] = '\0';
    path = strchr(bare, '/');
    host_length = path != NULL ? (gsize)(path - bare) : strlen(bare);
    static const char *const aliases[] = {"index.docker.io", "registry-1.docker.io", "registry.docker.io"};
    for (gsize i = 0; i < G_N_ELEMENTS(aliases); i++)
        if (strlen(aliases[i]) == host_length && strncmp(bare, aliases[i], host_length) == 0)
            return g_strconcat(DOCKER_HUB, path != NULL ? path : "", NULL);
    return g_steal_pointer(&bare);
}

/* Return: how much of "host/team/app" a key names, 0 when the key is for something else. */
static gsize match_length(const char *key, const char *target)
{
    g_autofree char *bare = normalise_key(key);
    gsize length = strlen(bare);

    if (length == 0 || !g_str_has_prefix(target, bare) || (target[length] != '\0' && target[length] != '/'))
        return 0;
    return length;
}

static gboolean read_entry(const JsonValue *entry, Credentials **ret, GError **error)
{
    RegistryAuth auth = {0};

    return json_get_string(entry, "username", &auth.username, error) &&
           json_get_string(entry, "password", &auth.password, error) &&
           json_get_string(entry, "auth", &auth.auth, error) &&
           json_get_string(entry, "identitytoken", &auth.identity_token, error) &&
           json_get_string(entry, "registrytoken", &auth.registry_token, error) &&
           make_credentials(&auth, ret, error);
}

static gboolean find_in_json(const JsonValue *root, const char *target, Credentials **ret, GError **error)
{
    const JsonValue *auths = NULL;
    const JsonValue *best = NULL;
    gsize best_length = 0;

    if (!json_get_object(root, "auths", &auths, error))
        return FALSE;
    for (gsize i = 0; i < json_length(auths); i++) {
        const JsonValue *entry = json_at(auths, i);
        gsize length = match_length(json_key(entry), target);

        if (length > best_length) {
            best_length = length;
            best = entry;
        }
    }
    *ret = NULL;
    if (best == NULL || read_entry(best, ret, error))
        return TRUE;
    g_prefix_error(error, "entry \"%s\": ", json_key(best));
    return FALSE;
}

static gboolean find_in_file(const char *path, const char *target, Credentials **ret, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(JsonDocument) document = NULL;
    g_autoptr(GError) failure = NULL;
    gsize length = 0;

    *ret = NULL;
    if (path == NULL)
        return TRUE;
    if (!file_read(path, MAX_AUTH_FILE_BYTES, &text, &length, &failure)) {
        if (failure->code == STATUS_NOT_FOUND)
            return TRUE;
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    document = json_document_parse(text, length, path, NULL, error);
    explicit_bzero(text, length);
    if (document == NULL)
        return FALSE;
    if (find_in_json(json_document_root(document), target, ret, error))
        return TRUE;
    g_prefix_error(error, "credentials file %s: ", path);
    return FALSE;
}

/* The call's server_address says for which host its credentials are; without one they are for the registry
 * that the image names. */
static gboolean is_for_host(const RegistryAuth *auth, const char *host, gboolean is_mirror)
{
    g_autofree char *address = NULL;
    g_autofree char *target = NULL;

    if (auth == NULL)
        return FALSE;
    if (!is_set(auth->server_address))
        return !is_mirror;
    address = normalise_key(auth->server_address);
    address[strcspn(address, "/")] = '\0';
    target = normalise_key(host);
    return g_ascii_strcasecmp(address, target) == 0;
}

gboolean credentials_find(const CredentialsQuery *query, Credentials **ret_credentials, GError **error)
{
    g_autofree char *bare_host = normalise_key(query->host);
    g_autofree char *target = g_strdup_printf("%s/%s", bare_host, query->reference->repository);
    g_autoptr(Credentials) from_call = NULL;
    g_autoptr(Credentials) from_file = NULL;

    if (is_for_host(query->auth, query->host, query->is_mirror) &&
        !make_credentials(query->auth, &from_call, error)) {
        g_prefix_error(error, "credentials of the call: ");
        return FALSE;
    }
    if (!find_in_file(query->auth_file, target, &from_file, error))
        return FALSE;
    if (from_call != NULL && (!query->is_mirror || from_file == NULL))
        *ret_credentials = g_steal_pointer(&from_call);
    else
        *ret_credentials = g_steal_pointer(&from_file);
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/auth_file.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/json.h"
#include "common/json_writer.h"
#include "image-service/registry/credentials.h"

enum { MAX_BYTES = 1 << 20, MODE = 0600, DIRECTORY_MODE = 0700 };

char *auth_file_path(const char *given)
{
    const char *environment = g_getenv("REGISTRY_AUTH_FILE");

    if (given != NULL)
        return g_strdup(given);
    if (environment != NULL && *environment != '\0')
        return g_strdup(environment);
    return g_build_filename(g_get_user_config_dir(), "containers", "auth.json", NULL);
}

gboolean auth_file_find(const char *path, const char *image, char **ret_username, char **ret_password,
                        GError **error)
{
    g_autoptr(Reference) reference = NULL;
    g_autoptr(Credentials) credentials = NULL;
    CredentialsQuery query = {.auth_file = path};

    if (!reference_parse(image, &reference, NULL))
        return TRUE; /* the daemon says what is wrong with the name */
    query.reference = reference;
    query.host = reference->domain;
    if (!credentials_find(&query, &credentials, error))
        return FALSE;
    if (credentials != NULL && credentials->username != NULL) {
        *ret_username = g_strdup(credentials->username);
        *ret_password = g_strdup(credentials->password);
    }
    return TRUE;
}

/* *ret_document stays NULL when there is no file. */
static gboolean document_read(const char *path, JsonDocument **ret_document, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autofree char *text = NULL;
    gsize length;

    if (!file_read(path, MAX_BYTES, &text, &length, &failure)) {
        if (failure->code == STATUS_NOT_FOUND)
            return TRUE;
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    *ret_document = json_document_parse(text, length, path, NULL, error);
    explicit_bzero(text, length);
    return *ret_document != NULL;
}

/* Writes the file with other credentials for the registry; auth NULL: with none. */
static gboolean document_write(const char *path, const JsonDocument *document, const JsonValue *auths,
                               const char *registry, const char *auth, GError **error)
{
    const char *const omitted[] = {"auths", NULL};
    const char *const replaced[] = {registry, NULL};
    g_autoptr(JsonWriter) json = json_writer_new_indented();
    g_autofree char *directory = g_path_get_dirname(path);
    const char *text;
    gsize length;

    json_writer_open_object(json, NULL);
    json_writer_open_object(json, "auths");
    if (auths != NULL)
        json_writer_members(json, auths, replaced);
    if (auth != NULL) {
        json_writer_open_object(json, registry);
        json_writer_string(json, "auth", auth);
        json_writer_close_object(json);
    }
    json_writer_close_object(json);
    if (document != NULL)
        json_writer_members(json, json_document_root(document), omitted);
    json_writer_close_object(json);
    text = json_writer_text(json, &length);
    return dir_make(directory, DIRECTORY_MODE, error) && file_write_atomic(path, text, length, MODE, error);
}

static gboolean document_change(const char *path, const char *registry, const char *auth, gboolean *ret_had,
                                GError **error)
{
    g_autoptr(JsonDocument) document = NULL;
    const JsonValue *auths = NULL;

    if (!document_read(path, &document, error) ||
        (document != NULL && !json_get_object(json_document_root(document), "auths", &auths, error)))
        return FALSE;
    *ret_had = FALSE;
    for (gsize i = 0; i < json_length(auths); i++)
        *ret_had = *ret_had || g_str_equal(json_key(json_at(auths, i)), registry);
    return (auth == NULL && !*ret_had) || document_write(path, document, auths, registry, auth, error);
}

gboolean auth_file_set(const char *path, const char *registry, const char *username, const char *password,
                       GError **error)
{
    g_autofree char *plain = g_strconcat(username, ":", password, NULL);
    g_autofree char *auth = g_base64_encode((const guchar *)plain, strlen(plain));
    gboolean had;

    return document_change(path, registry, auth, &had, error);
}

gboolean auth_file_remove(const char *path, const char *registry, gboolean *ret_removed, GError **error)
{
    return document_change(path, registry, NULL, ret_removed, error);
}

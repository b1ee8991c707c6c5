/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/oci/cdi.h"

#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/json.h"

enum { CDI_FILE_MAX_BYTES = 4 << 20 };

typedef Runtime__V1__ContainerConfig ContainerConfig;

/* ---- adding to messages that protobuf-c frees ---- */

static void *message_add(void ***list, size_t *count, size_t size)
{
    void **grown = realloc(*list, (*count + 1) * sizeof(void *));

    g_assert(grown != NULL); /* like every allocation of GLib */
    *list = grown;
    grown[*count] = calloc(1, size);
    g_assert(grown[*count] != NULL);
    return grown[(*count)++];
}

static void environment_add(ContainerConfig *config, const char *entry)
{
    const char *equals = strchr(entry, '=');
    Runtime__V1__KeyValue *pair =
        message_add((void ***)(void *)&config->envs, &config->n_envs, sizeof(Runtime__V1__KeyValue));

    runtime__v1__key_value__init(pair);
    pair->key = strndup(entry, equals != NULL ? (size_t)(equals - entry) : strlen(entry));
    if (equals != NULL && equals[1] != '\0') {
        pair->value.data = (uint8_t *)strdup(equals + 1);
        pair->value.len = strlen(equals + 1);
    }
}

static void mount_add(ContainerConfig *config, const char *host_path, const char *container_path,
                      char *const *options)
{
    Runtime__V1__Mount *mount =
        message_add((void ***)(void *)&config->mounts, &config->n_mounts, sizeof(Runtime__V1__Mount));

    runtime__v1__mount__init(mount);
    mount->host_path = strdup(host_path);
    mount->container_path = strdup(container_path);
    mount->readonly = g_strv_contains((const char *const *)options, "ro");
}

static void device_add(ContainerConfig *config, const char *host_path, const char *container_path,
                       const char *permissions)
{
    Runtime__V1__Device *device =
        message_add((void ***)(void *)&config->devices, &config->n_devices, sizeof(Runtime__V1__Device));

    runtime__v1__device__init(device);
    device->host_path = strdup(host_path);
    device->container_path = strdup(container_path);
    device->permissions = strdup(permissions);
}

/* ---- edits ---- */

static gboolean apply_mount(ContainerConfig *config, const JsonValue *mount, GError **error)
{
    const char *host_path = "";
    const char *container_path = "";
    g_auto(GStrv) options = g_new0(char *, 1);

    if (!json_get_string(mount, "hostPath", &host_path, error) ||
        !json_get_string(mount, "containerPath", &container_path, error) ||
        !json_get_strv(mount, "options", G_MAXSIZE, &options, error))
        return FALSE;
    if (*host_path != '/' || *container_path != '/')
        return json_fail(mount, error, "hostPath and containerPath must be absolute paths");
    mount_add(config, host_path, container_path, options);
    return TRUE;
}

static gboolean apply_device(ContainerConfig *config, const JsonValue *node, GError **error)
{
    const char *path = "";
    const char *host_path = "";
    const char *permissions = "";

    if (!json_get_string(node, "path", &path, error) ||
        !json_get_string(node, "hostPath", &host_path, error) ||
        !json_get_string(node, "permissions", &permissions, error))
        return FALSE;
    if (*path != '/')
        return json_fail(node, error, "path must be an absolute path");
    device_add(config, *host_path != '\0' ? host_path : path, path,
               *permissions != '\0' ? permissions : "rwm");
    return TRUE;
}

static gboolean apply_each(ContainerConfig *config, const JsonValue *edits, const char *key,
                           gboolean (*apply)(ContainerConfig *, const JsonValue *, GError **), GError **error)
{
    const JsonValue *list = NULL;

    if (!json_get_array(edits, key, G_MAXSIZE, &list, error))
        return FALSE;
    for (gsize i = 0; i < json_length(list); i++)
        if (!apply(config, json_at(list, i), error))
            return FALSE;
    return TRUE;
}

static gboolean refuse_present(const JsonValue *edits, const char *key, GError **error)
{
    const JsonValue *value = json_member(edits, key);
    g_autofree char *path = NULL;

    if (value == NULL || json_is(value, JSON_NULL) || (json_is(value, JSON_ARRAY) && json_length(value) == 0))
        return TRUE;
    path = json_path(value);
    return fail(error, STATUS_UNIMPLEMENTED, "CDI file %s: %s have no effect in a VM", path, key);
}

static gboolean apply_edits(ContainerConfig *config, const JsonValue *owner, GError **error)
{
    const JsonValue *edits = NULL;
    g_auto(GStrv) environment = NULL;

    if (!json_get_object(owner, "containerEdits", &edits, error))
        return FALSE;
    if (edits == NULL)
        return TRUE;
    if (!refuse_present(edits, "hooks", error) || !refuse_present(edits, "intelRdt", error) ||
        !refuse_present(edits, "additionalGids", error) ||
        !json_get_strv(edits, "env", G_MAXSIZE, &environment, error))
        return FALSE;
    for (char **entry = environment; entry != NULL && *entry != NULL; entry++)
        environment_add(config, *entry);
    return apply_each(config, edits, "mounts", apply_mount, error) &&
           apply_each(config, edits, "deviceNodes", apply_device, error);
}

/* ---- files ---- */

/* The edits of the whole file come before those of the device. */
static gboolean apply_root(ContainerConfig *config, const JsonValue *root, const char *device,
                           gboolean *ret_found, GError **error)
{
    const JsonValue *devices = NULL;

    if (!json_get_array(root, "devices", G_MAXSIZE, &devices, error))
        return FALSE;
    for (gsize i = 0; i < json_length(devices); i++) {
        const JsonValue *candidate = json_at(devices, i);
        const char *found = NULL;

        if (!json_get_string(candidate, "name", &found, error))
            return FALSE;
        if (g_strcmp0(found, device) != 0)
            continue;
        *ret_found = TRUE;
        return apply_edits(config, root, error) && apply_edits(config, candidate, error);
    }
    return TRUE;
}

gboolean cdi_apply_file(ContainerConfig *config, const CdiFile *file, const CdiDevice *device,
                        gboolean *ret_found, GError **error)
{
    g_autoptr(JsonDocument) document = json_document_parse(file->text, file->length, file->name, NULL, error);
    const JsonValue *root = document != NULL ? json_document_object(document, error) : NULL;
    const char *found = NULL;

    if (root == NULL || !json_get_string(root, "kind", &found, error))
        return FALSE;
    return g_strcmp0(found, device->kind) != 0 || apply_root(config, root, device->name, ret_found, error);
}

static gboolean apply_directory(ContainerConfig *config, const char *path, const CdiDevice *device,
                                gboolean *ret_found, GError **error)
{
    g_autoptr(GDir) entries = g_dir_open(path, 0, NULL);
    const char *entry;

    while (entries != NULL && !*ret_found && (entry = g_dir_read_name(entries)) != NULL) {
        g_autofree char *name = g_build_filename(path, entry, NULL);
        g_autofree char *text = NULL;
        CdiFile file = {.name = name};

        if (!g_str_has_suffix(entry, ".json"))
            continue;
        if (!file_read(name, CDI_FILE_MAX_BYTES, &text, &file.length, error))
            return FALSE;
        file.text = text;
        if (!cdi_apply_file(config, &file, device, ret_found, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean apply_one(ContainerConfig *config, const char *qualified, const char *const *directories,
                          GError **error)
{
    const char *equals = strchr(qualified, '=');
    const char *slash = strchr(qualified, '/');
    g_autofree char *kind = NULL;
    CdiDevice device;
    gboolean found = FALSE;

    if (equals == NULL || slash == NULL || slash > equals || slash == qualified || slash + 1 == equals ||
        equals[1] == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.CDI_devices: \"%s\" is not of the form vendor/class=device", qualified);
    kind = g_strndup(qualified, (gsize)(equals - qualified));
    device = (CdiDevice){kind, equals + 1};
    for (guint i = g_strv_length((char **)(void *)directories); i > 0 && !found; i--)
        if (!apply_directory(config, directories[i - 1], &device, &found, error)) {
            g_prefix_error(error, "config.CDI_devices: ");
            return FALSE;
        }
    if (!found) {
        g_autofree char *list = g_strjoinv(", ", (char **)(void *)directories);

        return fail(error, STATUS_NOT_FOUND, "config.CDI_devices: no JSON file in %s describes %s", list,
                    qualified);
    }
    return TRUE;
}

gboolean cdi_apply(ContainerConfig *config, const char *const *directories, GError **error)
{
    for (size_t i = 0; i < config->n_cdi_devices; i++)
        if (!apply_one(config, config->cdi_devices[i]->name, directories, error))
            return FALSE;
    return TRUE;
}

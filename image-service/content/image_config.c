/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/content/image_config.h"

#include <string.h>

#include "common/error.h"
#include "image-service/content/digest.h"
#include "image-service/image_json.h"

static gboolean copy_string(JsonValue *object, const char *key, char **ret, GError **error)
{
    const char *value = NULL;

    if (object != NULL && !image_json_string(object, key, &value, error))
        return FALSE;
    *ret = value != NULL && *value != '\0' ? g_strdup(value) : NULL;
    return TRUE;
}

static gboolean copy_strv(JsonValue *object, const char *key, char ***ret, GError **error)
{
    if (object != NULL)
        return image_json_strv(object, key, ret, error);
    *ret = g_new0(char *, 1);
    return TRUE;
}

static int compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* {"/data": {}, …}: a set, as its keys. */
static gboolean copy_volumes(JsonValue *object, char ***ret, GError **error)
{
    g_autoptr(GPtrArray) volumes = g_ptr_array_new_with_free_func(g_free);
    JsonValue *set = NULL;

    if (object != NULL && !image_json_object(object, "Volumes", &set, error))
        return FALSE;
    for (gsize i = 0; set != NULL && i < set->u.object.len; i++)
        g_ptr_array_add(volumes, g_strdup(set->u.object.keys[i]));
    g_ptr_array_sort(volumes, compare_strings);
    g_ptr_array_add(volumes, NULL);
    *ret = (char **)g_ptr_array_free(g_steal_pointer(&volumes), FALSE);
    return TRUE;
}

static gboolean copy_labels(JsonValue *object, GHashTable *labels, GError **error)
{
    JsonValue *map = NULL;

    if (object != NULL && !image_json_object(object, "Labels", &map, error))
        return FALSE;
    for (gsize i = 0; map != NULL && i < map->u.object.len; i++) {
        JsonValue *value = map->u.object.values[i];

        if (!YAJL_IS_STRING(value))
            return fail(error, STATUS_INVALID_ARGUMENT, "\"Labels\" must hold strings only");
        g_hash_table_insert(labels, g_strdup(map->u.object.keys[i]), g_strdup(YAJL_GET_STRING(value)));
    }
    return TRUE;
}

static gboolean copy_diff_ids(JsonValue *root, char ***ret, GError **error)
{
    g_auto(GStrv) diff_ids = NULL;
    JsonValue *rootfs;
    const char *type = NULL;

    if (!image_json_object(root, "rootfs", &rootfs, error))
        return FALSE;
    if (rootfs == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"rootfs\" is missing");
    if (!image_json_string(rootfs, "type", &type, error))
        return FALSE;
    if (g_strcmp0(type, "layers") != 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"rootfs\" is not of type \"layers\"");
    if (!image_json_strv(rootfs, "diff_ids", &diff_ids, error))
        return FALSE;
    for (gsize i = 0; diff_ids[i] != NULL; i++)
        if (!digest_check(diff_ids[i], "diff_ids", error))
            return FALSE;
    *ret = g_steal_pointer(&diff_ids);
    return TRUE;
}

static gboolean read_config(JsonValue *root, ImageConfig *config, GError **error)
{
    JsonValue *process;

    if (!YAJL_IS_OBJECT(root))
        return fail(error, STATUS_INVALID_ARGUMENT, "it is no JSON object");
    return image_json_object(root, "config", &process, error) &&
           copy_string(root, "architecture", &config->architecture, error) &&
           copy_string(root, "os", &config->os, error) &&
           copy_string(root, "variant", &config->variant, error) &&
           copy_string(process, "User", &config->user, error) &&
           copy_string(process, "WorkingDir", &config->working_dir, error) &&
           copy_string(process, "StopSignal", &config->stop_signal, error) &&
           copy_strv(process, "Entrypoint", &config->entrypoint, error) &&
           copy_strv(process, "Cmd", &config->cmd, error) &&
           copy_strv(process, "Env", &config->environment, error) &&
           copy_volumes(process, &config->volumes, error) && copy_labels(process, config->labels, error) &&
           copy_diff_ids(root, &config->diff_ids, error);
}

gboolean image_config_parse(const char *data, gsize length, ImageConfig **ret_config, GError **error)
{
    g_autoptr(JsonValue) root = NULL;
    g_autoptr(ImageConfig) config = g_new0(ImageConfig, 1);

    config->labels = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    if (length > IMAGE_CONFIG_MAX_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT, "the image configuration is larger than %d bytes",
                    (int)IMAGE_CONFIG_MAX_BYTES);
    root = image_json_parse(data, length, "the image configuration", error);
    if (root == NULL)
        return FALSE;
    if (!read_config(root, config, error)) {
        g_prefix_error(error, "bad image configuration: ");
        return FALSE;
    }
    *ret_config = g_steal_pointer(&config);
    return TRUE;
}

gboolean image_config_check_platform(const ImageConfig *config, const Platform *platform, GError **error)
{
    if (g_strcmp0(config->os, "linux") == 0 && g_strcmp0(config->architecture, platform->architecture) == 0)
        return TRUE;
    return fail(error, STATUS_INVALID_ARGUMENT, "the image is for %.40s/%.40s, not for linux/%s",
                config->os != NULL ? config->os : "no system",
                config->architecture != NULL ? config->architecture : "no architecture",
                platform->architecture);
}

void image_config_free(ImageConfig *config)
{
    if (config == NULL)
        return;
    g_free(config->architecture);
    g_free(config->os);
    g_free(config->variant);
    g_free(config->user);
    g_free(config->working_dir);
    g_free(config->stop_signal);
    g_strfreev(config->entrypoint);
    g_strfreev(config->cmd);
    g_strfreev(config->environment);
    g_strfreev(config->volumes);
    g_strfreev(config->diff_ids);
    g_clear_pointer(&config->labels, g_hash_table_unref);
    g_free(config);
}

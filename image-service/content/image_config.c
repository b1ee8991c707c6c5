/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/content/image_config.h"

#include <string.h>

#include "common/error.h"
#include "common/json.h"
#include "common/string_table.h"
#include "image-service/content/digest.h"

/* Members are found by their exact name, else without regard to case: Docker and containerd read them so, and
 * some tools write "cmd" for "Cmd". NULL stands for a member that is missing or null. */
static const JsonValue *find_member(const JsonValue *object, const char *key)
{
    const JsonValue *member = json_member(object, key);

    for (gsize i = 0; member == NULL && i < json_length(object); i++) {
        const JsonValue *candidate = json_at(object, i);

        if (g_ascii_strcasecmp(json_key(candidate), key) == 0)
            member = candidate;
    }
    return json_is(member, JSON_NULL) ? NULL : member;
}

static gboolean find_typed(const JsonValue *object, const char *key, JsonType type, const JsonValue **ret,
                           GError **error)
{
    const JsonValue *member = find_member(object, key);

    if (member != NULL && json_type(member) != type)
        return json_fail(member, error, "expected %s", type == JSON_OBJECT ? "an object" : "an array");
    *ret = member;
    return TRUE;
}

/* An empty string is as good as none. */
static gboolean copy_string(const JsonValue *object, const char *key, char **ret, GError **error)
{
    const JsonValue *member = find_member(object, key);
    const char *value = NULL;

    if (member != NULL && !json_as_string(member, &value, error))
        return FALSE;
    *ret = value != NULL && *value != '\0' ? g_strdup(value) : NULL;
    return TRUE;
}

static gboolean copy_strv(const JsonValue *object, const char *key, char ***ret, GError **error)
{
    g_autoptr(GStrvBuilder) strings = g_strv_builder_new();
    const JsonValue *array = NULL;

    if (!find_typed(object, key, JSON_ARRAY, &array, error))
        return FALSE;
    for (gsize i = 0; i < json_length(array); i++) {
        const JsonValue *element = json_at(array, i);
        const char *value = "";

        if (!json_is(element, JSON_NULL) && !json_as_string(element, &value, error))
            return FALSE;
        g_strv_builder_add(strings, value);
    }
    *ret = g_strv_builder_end(strings);
    return TRUE;
}

static int compare_strings(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* {"/data": {}, …} is a set, of which the keys count. */
static gboolean copy_volumes(const JsonValue *object, char ***ret, GError **error)
{
    g_autoptr(GPtrArray) volumes = g_ptr_array_new_with_free_func(g_free);
    const JsonValue *set = NULL;

    if (!find_typed(object, "Volumes", JSON_OBJECT, &set, error))
        return FALSE;
    for (gsize i = 0; i < json_length(set); i++)
        g_ptr_array_add(volumes, g_strdup(json_key(json_at(set, i))));
    g_ptr_array_sort(volumes, compare_strings);
    g_ptr_array_add(volumes, NULL);
    *ret = (char **)g_ptr_array_free(g_steal_pointer(&volumes), FALSE);
    return TRUE;
}

static gboolean copy_labels(const JsonValue *object, GHashTable *labels, GError **error)
{
    const JsonValue *map = NULL;

    if (!find_typed(object, "Labels", JSON_OBJECT, &map, error))
        return FALSE;
    for (gsize i = 0; i < json_length(map); i++) {
        const JsonValue *member = json_at(map, i);
        const char *value = "";

        if (!json_is(member, JSON_NULL) && !json_as_string(member, &value, error))
            return FALSE;
        g_hash_table_insert(labels, g_strdup(json_key(member)), g_strdup(value));
    }
    return TRUE;
}

/* A configuration without a rootfs has no layers; whether the manifest agrees is the caller's to check. */
static gboolean copy_diff_ids(const JsonValue *root, char ***ret, GError **error)
{
    g_auto(GStrv) diff_ids = NULL;
    g_autofree char *type = NULL;
    const JsonValue *rootfs = NULL;

    if (!find_typed(root, "rootfs", JSON_OBJECT, &rootfs, error) ||
        !copy_string(rootfs, "type", &type, error))
        return FALSE;
    if (type != NULL && !g_str_equal(type, "layers"))
        return json_fail(rootfs, error, "type is \"%.40s\", but only \"layers\" is supported", type);
    if (!copy_strv(rootfs, "diff_ids", &diff_ids, error))
        return FALSE;
    for (gsize i = 0; diff_ids[i] != NULL; i++)
        if (!digest_check(diff_ids[i], "diff_ids", error))
            return FALSE;
    *ret = g_steal_pointer(&diff_ids);
    return TRUE;
}

static gboolean read_config(const JsonValue *root, ImageConfig *config, GError **error)
{
    const JsonValue *process = NULL;

    return find_typed(root, "config", JSON_OBJECT, &process, error) &&
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
    static const JsonLimits limits = {.max_bytes = IMAGE_CONFIG_MAX_BYTES, .last_key_counts = TRUE};
    g_autoptr(JsonDocument) document =
        json_document_parse(data, length, "image configuration", &limits, error);
    const JsonValue *root = document != NULL ? json_document_object(document, error) : NULL;
    g_autoptr(ImageConfig) config = NULL;

    if (root == NULL)
        return FALSE;
    config = g_new0(ImageConfig, 1);
    config->labels = string_table_new(g_free, g_free);
    if (!read_config(root, config, error))
        return FALSE;
    *ret_config = g_steal_pointer(&config);
    return TRUE;
}

gboolean image_config_check_platform(const ImageConfig *config, const Platform *platform, GError **error)
{
    /* The variant only ranks the entries of an index: configurations carry those of the machine that built
     * them. */
    PlatformName name = {.os = config->os, .architecture = config->architecture};

    if (platform_rate(platform, &name) > 0)
        return TRUE;
    return fail(error, STATUS_INVALID_ARGUMENT, "the image is for %.40s/%.40s, not for linux/%s",
                config->os != NULL ? config->os : "linux",
                config->architecture != NULL ? config->architecture : platform->architecture,
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

#include "cni-bridge/cni_config.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"

enum { MAX_CONFIG_BYTES = 1 << 20, MAX_PLUGINS = 64, MAX_VERSIONS = 64, MAX_NAME = 253 };

static void plugin_free(gpointer data)
{
    CniPlugin *plugin = data;

    json_free(plugin->owned);
    g_free(plugin);
}

void cni_config_free(CniConfig *config)
{
    if (config == NULL)
        return;
    g_free(config->name);
    g_clear_pointer(&config->plugins, g_ptr_array_unref);
    json_free(config->json);
    g_free(config);
}

gboolean cni_name_is_valid(const char *name)
{
    if (!g_ascii_isalnum(name[0]) || strlen(name) > MAX_NAME)
        return FALSE;
    for (; *name != '\0'; name++)
        if (!g_ascii_isalnum(*name) && strchr("_.-", *name) == NULL)
            return FALSE;
    return TRUE;
}

/* One version, or with "cniVersions" (1.1) the highest of them that we know. */
static gboolean version_choose(const JsonValue *json, CniVersion *ret_version, GError **error)
{
    g_auto(GStrv) others = NULL;
    const char *name = "";
    CniVersion best = CNI_VERSION_0_1_0;
    CniVersion version;
    gboolean found;

    if (!json_get_string(json, "cniVersion", &name, error) ||
        !json_get_strv(json, "cniVersions", MAX_VERSIONS, &others, error))
        return FALSE;
    found = cni_version_from_name(name, &best);
    for (gsize i = 0; others != NULL && others[i] != NULL; i++) {
        if (!cni_version_from_name(others[i], &version))
            continue;
        if (!found || version > best)
            best = version;
        found = TRUE;
    }
    if (!found)
        return fail(error, STATUS_INVALID_ARGUMENT, "cniVersion \"%s\" is not supported (0.1.0 to 1.1.0 are)",
                    name);
    *ret_version = best;
    return TRUE;
}

static gboolean plugin_capabilities(const JsonValue *json, guint *ret_capabilities, GError **error)
{
    static const struct {
        const char *name;
        CniCapability bit;
    } known[] = {
        {"portMappings", CNI_CAPABILITY_PORT_MAPPINGS},
        {"bandwidth", CNI_CAPABILITY_BANDWIDTH},
        {"dns", CNI_CAPABILITY_DNS},
        {"ips", CNI_CAPABILITY_IPS},
        {"mac", CNI_CAPABILITY_MAC},
    };
    const JsonValue *declared = NULL;
    guint capabilities = 0;

    if (!json_get_object(json, "capabilities", &declared, error))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(known); i++) {
        gboolean on = FALSE;

        if (!json_get_bool(declared, known[i].name, &on, error))
            return FALSE;
        if (on)
            capabilities |= known[i].bit;
    }
    *ret_capabilities = capabilities;
    return TRUE;
}

/* Takes the plugin's JSON over when owned is not NULL, on success only. */
static gboolean plugin_add(CniConfig *config, const JsonValue *json, JsonValue *owned, GError **error)
{
    const char *type = "";
    guint capabilities;
    CniPlugin *plugin;

    if (!YAJL_IS_OBJECT(json))
        return fail(error, STATUS_INVALID_ARGUMENT, "plugin %u is no object", config->plugins->len + 1);
    if (!json_get_string(json, "type", &type, error) || !plugin_capabilities(json, &capabilities, error)) {
        g_prefix_error(error, "plugin %u: ", config->plugins->len + 1);
        return FALSE;
    }
    /* It becomes a file name in a plugin directory. */
    if (*type == '\0' || strchr(type, '/') != NULL || strcmp(type, ".") == 0 || strcmp(type, "..") == 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "plugin %u has %s \"type\"%s%s", config->plugins->len + 1,
                    *type == '\0' ? "no" : "an invalid", *type == '\0' ? "" : ": ", type);
    plugin = g_new0(CniPlugin, 1);
    *plugin = (CniPlugin){.type = type, .capabilities = capabilities, .json = json, .owned = owned};
    g_ptr_array_add(config->plugins, plugin);
    return TRUE;
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted names with one of the suffixes; empty when there is no such directory. */
static GPtrArray *files_list(const char *directory, const char *const *suffixes)
{
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    const char *name;

    while (dir != NULL && (name = g_dir_read_name(dir)) != NULL)
        for (gsize i = 0; suffixes[i] != NULL; i++)
            if (g_str_has_suffix(name, suffixes[i]))
                g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, compare_names);
    return names;
}

/* Plugins that have files of their own come after those in the list. */
static gboolean plugin_files_add(CniConfig *config, const char *plugin_dir, GError **error)
{
    static const char *const suffixes[] = {".conf", NULL};
    g_autofree char *directory = g_build_filename(plugin_dir, config->name, NULL);
    g_autoptr(GPtrArray) names = files_list(directory, suffixes);

    for (guint i = 0; i < names->len; i++) {
        g_autofree char *path = g_build_filename(directory, g_ptr_array_index(names, i), NULL);
        g_autofree char *text = NULL;
        g_autoptr(JsonValue) json = NULL;
        gsize length;

        if (!file_read(path, MAX_CONFIG_BYTES, &text, &length, error) ||
            (json = json_parse(text, length, path, error)) == NULL)
            return FALSE;
        if (!plugin_add(config, json, json, error)) {
            g_prefix_error(error, "%s: ", path);
            return FALSE;
        }
        json = NULL;
    }
    return TRUE;
}

static gboolean list_read(CniConfig *config, const char *plugin_dir, GError **error)
{
    const JsonValue *plugins = NULL;
    gboolean inlined_only = FALSE;

    if (config->version < CNI_VERSION_0_3_0)
        return fail(error, STATUS_INVALID_ARGUMENT, "a list of plugins needs cniVersion 0.3.0 or later");
    if (!json_get_bool(config->json, "disableCheck", &config->disable_check, error) ||
        !json_get_bool(config->json, "disableGC", &config->disable_gc, error) ||
        !json_get_bool(config->json, "loadOnlyInlinedPlugins", &inlined_only, error) ||
        !json_get_array(config->json, "plugins", MAX_PLUGINS, &plugins, error))
        return FALSE;
    for (gsize i = 0; i < json_length(plugins); i++)
        if (!plugin_add(config, json_at(plugins, i), NULL, error))
            return FALSE;
    if (!inlined_only && plugin_dir != NULL && !plugin_files_add(config, plugin_dir, error))
        return FALSE;
    if (config->plugins->len == 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "it has no plugins");
    return TRUE;
}

static gboolean config_read(CniConfig *config, gboolean is_list, const char *plugin_dir, GError **error)
{
    const char *name = "";

    if (!YAJL_IS_OBJECT(config->json))
        return fail(error, STATUS_INVALID_ARGUMENT, "it is no JSON object");
    if (!version_choose(config->json, &config->version, error) ||
        !json_get_string(config->json, "name", &name, error))
        return FALSE;
    if (!cni_name_is_valid(name))
        return fail(error, STATUS_INVALID_ARGUMENT, *name == '\0' ? "it has no \"name\"" : "bad \"name\": %s",
                    name);
    config->name = g_strdup(name);
    if (is_list)
        return list_read(config, plugin_dir, error);
    if (json_get(config->json, "plugins") != NULL && json_get(config->json, "type") == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "it is a list of plugins: the file's name must end in .conflist");
    return plugin_add(config, config->json, NULL, error);
}

CniConfig *cni_config_parse(const char *text, gsize length, gboolean is_list, const char *plugin_dir,
                            const char *source, GError **error)
{
    JsonValue *json = json_parse(text, length, source, error);
    CniConfig *config;

    if (json == NULL)
        return NULL;
    config = g_new0(CniConfig, 1);
    config->plugins = g_ptr_array_new_with_free_func(plugin_free);
    config->json = json;
    if (config_read(config, is_list, plugin_dir, error))
        return config;
    g_prefix_error(error, "%s: ", source);
    cni_config_free(config);
    return NULL;
}

static CniConfig *config_load_file(const char *config_dir, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(config_dir, name, NULL);
    g_autofree char *text = NULL;
    gsize length;

    if (!file_read(path, MAX_CONFIG_BYTES, &text, &length, error))
        return NULL;
    return cni_config_parse(text, length, g_str_has_suffix(name, ".conflist"), config_dir, path, error);
}

/* The administrator meant that file to be used, but the node works without: said, not returned. Said once,
 * too, because the kubelet's every Status loads the configuration; "" means that all is well again. */
static void passed_over_log(const char *problem)
{
    static GMutex lock;
    static char *last;

    g_mutex_lock(&lock);
    if (g_strcmp0(last, problem) != 0) {
        if (*problem != '\0')
            log_warning(LOG_NO_FIELDS, "CNI configuration passed over: %s", problem);
        g_free(last);
        last = g_strdup(problem);
    }
    g_mutex_unlock(&lock);
}

CniConfig *cni_config_load(const char *config_dir, GError **error)
{
    static const char *const suffixes[] = {".conflist", ".conf", ".json", NULL};
    g_autoptr(GPtrArray) names = files_list(config_dir, suffixes);
    g_autoptr(GError) first = NULL;

    for (guint i = 0; i < names->len; i++) {
        g_autoptr(GError) problem = NULL;
        CniConfig *config = config_load_file(config_dir, g_ptr_array_index(names, i), &problem);

        if (config != NULL) {
            passed_over_log(first != NULL ? first->message : "");
            return config;
        }
        if (first == NULL)
            first = g_steal_pointer(&problem);
    }
    if (first != NULL)
        fail(error, STATUS_UNAVAILABLE, "no valid CNI configuration: %s", first->message);
    else if (g_file_test(config_dir, G_FILE_TEST_IS_DIR))
        fail(error, STATUS_UNAVAILABLE, "no CNI configuration (*.conflist, *.conf, *.json) in %s",
             config_dir);
    else
        fail(error, STATUS_UNAVAILABLE, "no CNI configuration: there is no directory %s", config_dir);
    return NULL;
}

char *cni_config_text(const CniConfig *config)
{
    g_autoptr(JsonWriter) writer = json_writer_new();

    if (config->version < CNI_VERSION_0_3_0) { /* has no lists: it was, and stays, one plugin's own */
        json_put_value(writer, config->json);
        return json_writer_text(writer);
    }
    yajl_gen_map_open(writer);
    json_put_key(writer, "cniVersion");
    json_put_string(writer, cni_version_name(config->version));
    json_put_key(writer, "name");
    json_put_string(writer, config->name);
    json_put_key(writer, "disableCheck");
    yajl_gen_bool(writer, config->disable_check);
    json_put_key(writer, "disableGC");
    yajl_gen_bool(writer, config->disable_gc);
    json_put_key(writer, "loadOnlyInlinedPlugins");
    yajl_gen_bool(writer, TRUE);
    json_put_key(writer, "plugins");
    yajl_gen_array_open(writer);
    for (guint i = 0; i < config->plugins->len; i++)
        json_put_value(writer, ((const CniPlugin *)config->plugins->pdata[i])->json);
    yajl_gen_array_close(writer);
    yajl_gen_map_close(writer);
    return json_writer_text(writer);
}

CniConfig *cni_config_parse_text(const char *text, GError **error)
{
    static const char source[] = "the recorded network";
    g_autoptr(JsonValue) json = json_parse(text, strlen(text), source, error);

    if (json == NULL)
        return NULL;
    return cni_config_parse(text, strlen(text), json_get(json, "plugins") != NULL, NULL, source, error);
}

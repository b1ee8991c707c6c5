/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/cni_config.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/json_writer.h"
#include "common/log.h"

enum { MAX_CONFIG_BYTES = 1 << 20, MAX_PLUGINS = 64, MAX_VERSIONS = 64, MAX_NAME = 253 };

static void plugin_free(gpointer data)
{
    CniPlugin *plugin = data;

    json_document_free(plugin->file);
    g_free(plugin);
}

void cni_config_free(CniConfig *config)
{
    if (config == NULL)
        return;
    g_free(config->name);
    g_clear_pointer(&config->plugins, g_ptr_array_unref);
    json_document_free(config->document);
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

    if (!json_get_line(json, "cniVersion", &name, error) ||
        !json_get_lines(json, "cniVersions", MAX_VERSIONS, &others, error))
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
        return json_fail(json, error, "cniVersion \"%s\" is not supported (0.1.0 to 1.1.0 are)", name);
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

/* Takes the plugin's own file (NULL: it has none) over, on success only. */
static gboolean plugin_add(CniConfig *config, const JsonValue *json, JsonDocument *file, GError **error)
{
    const char *type = "";
    guint capabilities;
    CniPlugin *plugin;

    if (!json_get_line(json, "type", &type, error) || !plugin_capabilities(json, &capabilities, error))
        return FALSE;
    if (*type == '\0')
        return json_fail(json, error, "the plugin has no \"type\"");
    /* It becomes a file name in a plugin directory. */
    if (strchr(type, '/') != NULL || strcmp(type, ".") == 0 || strcmp(type, "..") == 0)
        return json_fail(json, error, "the plugin has an invalid \"type\": %s", type);
    plugin = g_new0(CniPlugin, 1);
    *plugin = (CniPlugin){.type = type, .capabilities = capabilities, .json = json, .file = file};
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
        g_autoptr(JsonDocument) file = NULL;
        gsize length;

        if (!file_read(path, MAX_CONFIG_BYTES, &text, &length, error))
            return FALSE;
        file = json_document_parse(text, length, path, NULL, error);
        if (file == NULL || !plugin_add(config, json_document_root(file), file, error))
            return FALSE;
        file = NULL; /* the plugin has it */
    }
    return TRUE;
}

static gboolean list_read(CniConfig *config, const JsonValue *root, const char *plugin_dir, GError **error)
{
    const JsonValue *plugins = NULL;
    gboolean inlined_only = FALSE;

    if (config->version < CNI_VERSION_0_3_0)
        return json_fail(root, error, "a list of plugins needs cniVersion 0.3.0 or later");
    if (!json_get_bool(root, "disableCheck", &config->disable_check, error) ||
        !json_get_bool(root, "disableGC", &config->disable_gc, error) ||
        !json_get_bool(root, "loadOnlyInlinedPlugins", &inlined_only, error) ||
        !json_get_array(root, "plugins", MAX_PLUGINS, &plugins, error))
        return FALSE;
    for (gsize i = 0; i < json_length(plugins); i++)
        if (!plugin_add(config, json_at(plugins, i), NULL, error))
            return FALSE;
    if (!inlined_only && plugin_dir != NULL && !plugin_files_add(config, plugin_dir, error))
        return FALSE;
    return config->plugins->len > 0 || json_fail(root, error, "it has no plugins");
}

static gboolean has_member(const JsonValue *object, const char *key)
{
    return json_member(object, key) != NULL && !json_is(json_member(object, key), JSON_NULL);
}

static gboolean config_read(CniConfig *config, const CniConfigText *text, GError **error)
{
    const JsonValue *root = json_document_object(config->document, error);
    const char *name = "";

    if (root == NULL || !version_choose(root, &config->version, error) ||
        !json_get_line(root, "name", &name, error))
        return FALSE;
    if (*name == '\0')
        return json_fail(root, error, "it has no \"name\"");
    if (!cni_name_is_valid(name))
        return json_fail(root, error, "invalid \"name\": %s", name);
    config->name = g_strdup(name);
    if (text->is_list)
        return list_read(config, root, text->plugin_dir, error);
    if (has_member(root, "plugins") && !has_member(root, "type"))
        return json_fail(root, error, "it is a list of plugins: the file's name must end in .conflist");
    return plugin_add(config, root, NULL, error);
}

/* Takes document, which may be NULL, over. */
static CniConfig *config_new(JsonDocument *document, const CniConfigText *text, GError **error)
{
    g_autoptr(CniConfig) config = NULL;

    if (document == NULL)
        return NULL;
    config = g_new0(CniConfig, 1);
    config->plugins = g_ptr_array_new_with_free_func(plugin_free);
    config->document = document;
    return config_read(config, text, error) ? g_steal_pointer(&config) : NULL;
}

CniConfig *cni_config_parse(const CniConfigText *text, GError **error)
{
    return config_new(json_document_parse(text->text, text->length, text->source, NULL, error), text, error);
}

static CniConfig *config_load_file(const char *config_dir, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(config_dir, name, NULL);
    g_autofree char *text = NULL;
    gsize length;

    if (!file_read(path, MAX_CONFIG_BYTES, &text, &length, error))
        return NULL;
    return cni_config_parse(&(CniConfigText){.text = text,
                                             .length = length,
                                             .source = path,
                                             .is_list = g_str_has_suffix(name, ".conflist"),
                                             .plugin_dir = config_dir},
                            error);
}

/* The administrator meant that file to be used, but the node works without it: the problem is logged, not
 * returned. It is logged once, because every Status of the kubelet loads the configuration. "" means that all
 * files are valid again. */
static void skipped_file_log(const char *problem)
{
    static GMutex lock;
    static char *last;

    g_mutex_lock(&lock);
    if (g_strcmp0(last, problem) != 0) {
        if (*problem != '\0')
            log_warning(LOG_NO_FIELDS, "skipped a CNI configuration that is not valid: %s", problem);
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
            skipped_file_log(first != NULL ? first->message : "");
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

char *cni_config_to_text(const CniConfig *config)
{
    g_autoptr(JsonWriter) writer = json_writer_new();

    if (config->version < CNI_VERSION_0_3_0) { /* there are no lists: it is one plugin's own */
        json_writer_value(writer, NULL, json_document_root(config->document));
        return json_writer_copy(writer);
    }
    json_writer_open_object(writer, NULL);
    json_writer_string(writer, "cniVersion", cni_version_name(config->version));
    json_writer_string(writer, "name", config->name);
    json_writer_bool(writer, "disableCheck", config->disable_check);
    json_writer_bool(writer, "disableGC", config->disable_gc);
    json_writer_bool(writer, "loadOnlyInlinedPlugins", TRUE);
    json_writer_open_array(writer, "plugins");
    for (guint i = 0; i < config->plugins->len; i++)
        json_writer_value(writer, NULL, ((const CniPlugin *)config->plugins->pdata[i])->json);
    json_writer_close_array(writer);
    json_writer_close_object(writer);
    return json_writer_copy(writer);
}

CniConfig *cni_config_from_text(const char *text, GError **error)
{
    /* A plugin's own file is two levels deeper in it than it was. */
    static const JsonLimits limits = {.max_depth = 66};
    CniConfigText parts = {.text = text, .length = strlen(text), .source = "the recorded network"};
    JsonDocument *document = json_document_parse(text, parts.length, parts.source, &limits, error);

    parts.is_list = document != NULL && has_member(json_document_root(document), "plugins");
    return config_new(document, &parts, error);
}

static gboolean plugin_ignores_pods(const CniPlugin *plugin, const char *const *types)
{
    const guint harmless = CNI_CAPABILITY_PORT_MAPPINGS | CNI_CAPABILITY_BANDWIDTH;
    const JsonValue *ipam = NULL;
    const char *type = "";

    if ((plugin->capabilities & ~harmless) != 0 || !g_strv_contains(types, plugin->type) ||
        !json_get_object(plugin->json, "ipam", &ipam, NULL) ||
        (ipam != NULL && !json_get_line(ipam, "type", &type, NULL)))
        return FALSE;
    return *type == '\0' || g_strv_contains(types, type);
}

gboolean cni_config_ignores_pods(const CniConfig *config, const char *const *types)
{
    for (guint i = 0; i < config->plugins->len; i++)
        if (!plugin_ignores_pods(config->plugins->pdata[i], types))
            return FALSE;
    return TRUE;
}

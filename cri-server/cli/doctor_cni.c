/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/doctor_check.h"

#include <string.h>
#include <unistd.h>

#include "common/bundle.h"
#include "common/fileio.h"
#include "common/json.h"

static void add_type(GPtrArray *types, const JsonValue *plugin)
{
    const char *type = json_find_string(plugin, (const char *const[]){"type", NULL});

    if (type != NULL)
        g_ptr_array_add(types, g_strdup(type));
}

char **doctor_cni_types(const char *json)
{
    g_autoptr(JsonDocument) document =
        json_document_parse(json, strlen(json), "CNI configuration", NULL, NULL);
    const JsonValue *root = document != NULL ? json_document_root(document) : NULL;
    const JsonValue *plugins = json_is(root, JSON_OBJECT) ? json_member(root, "plugins") : NULL;
    g_autoptr(GPtrArray) types = g_ptr_array_new_with_free_func(g_free);

    if (!json_is(plugins, JSON_ARRAY))
        add_type(types, root); /* a single plugin's .conf */
    else
        for (gsize i = 0; i < json_length(plugins); i++)
            add_type(types, json_at(plugins, i));
    if (types->len == 0)
        return NULL;
    g_ptr_array_add(types, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&types), FALSE);
}

/* The first by name, which crivirtd uses too (cni-bridge/cni_config.c). */
static char *find_cni_config(const char *path)
{
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    g_autofree char *first = NULL;
    const char *name;

    while (directory != NULL && (name = g_dir_read_name(directory)) != NULL)
        if ((g_str_has_suffix(name, ".conflist") || g_str_has_suffix(name, ".conf") ||
             g_str_has_suffix(name, ".json")) &&
            (first == NULL || strcmp(name, first) < 0)) {
            g_free(first);
            first = g_strdup(name);
        }
    return first != NULL ? g_build_filename(path, first, NULL) : NULL;
}

static gboolean has_plugin(const char *const *directories, const char *type)
{
    gboolean found = FALSE;

    for (const char *const *directory = directories; !found && *directory != NULL; directory++) {
        g_autofree char *path = g_build_filename(*directory, type, NULL);

        found = access(path, X_OK) == 0;
    }
    return found;
}

void doctor_check_cni(GPtrArray *findings, const Settings *settings)
{
    g_autofree char *path = find_cni_config(settings->network.cni_config_dir);
    g_autofree char *directories = g_strjoinv(", ", (char **)settings->network.cni_plugin_dirs);
    g_autofree char *example = bundle_path("/usr/share/crivirt/cni/10-crivirt.conflist");
    g_autofree char *text = NULL;
    g_auto(GStrv) types = NULL;

    if (path == NULL) {
        doctor_add(
            findings, DOCTOR_BAD, "CNI configuration",
            g_strdup_printf("none in %s: pods get no network", settings->network.cni_config_dir),
            g_strdup_printf("install the cluster's network add-on; on a node without one, copy %s there",
                            example));
        return;
    }
    if (file_read(path, DOCTOR_FILE_MAX_BYTES, &text, NULL, NULL))
        types = doctor_cni_types(text);
    if (types == NULL) {
        doctor_add(findings, DOCTOR_BAD, "CNI configuration", g_strdup_printf("%s names no plugin", path),
                   g_strdup("see https://www.cni.dev/docs/spec/#configuration-format"));
        return;
    }
    doctor_add_good(findings, "CNI configuration", g_strdup(path));
    for (char **type = types; *type != NULL; type++)
        if (has_plugin(settings->network.cni_plugin_dirs, *type))
            doctor_add_good(findings, "CNI plugin", g_strdup(*type));
        else
            doctor_add(
                findings, DOCTOR_BAD, "CNI plugin",
                g_strdup_printf("%s is in none of %s", *type, directories),
                g_strdup(
                    "apt-get install containernetworking-plugins, or install the cluster's network add-on"));
}

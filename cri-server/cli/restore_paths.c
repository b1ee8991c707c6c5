/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/restore_paths.h"

#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "cri-server/cli/options.h"
#include "cri-server/cli/text_table.h"

/* A volume or device of a container. The strings are the request's, whose host_path may be replaced. */
typedef struct {
    char **host_path;
    const char *place; /* in the container */
    const char *container;
    const char *how;
    gboolean allowed;
} NodePath;

static void add(GArray *paths, char **host_path, const char *place, const char *container, const char *how)
{
    const NodePath path = {host_path, place, container, how, FALSE};

    g_array_append_val(paths, path);
}

static void add_container(GArray *paths, const Runtime__V1__ContainerConfig *config)
{
    const char *name = config->metadata != NULL ? config->metadata->name : "";

    for (size_t i = 0; i < config->n_mounts; i++)
        if (*config->mounts[i]->host_path != '\0') /* an image has none */
            add(paths, &config->mounts[i]->host_path, config->mounts[i]->container_path, name,
                config->mounts[i]->readonly ? "read-only" : "writable");
    for (size_t i = 0; i < config->n_devices; i++)
        add(paths, &config->devices[i]->host_path, config->devices[i]->container_path, name,
            strchr(config->devices[i]->permissions, 'w') != NULL ? "a writable device"
                                                                 : "a read-only device");
}

/* Return: NodePath, which the caller unrefs. */
static GArray *paths_of(const Runtime__V1__RestorePodRequest *request)
{
    GArray *paths = g_array_new(FALSE, FALSE, sizeof(NodePath));

    for (size_t i = 0; i < request->n_container_configs; i++)
        add_container(paths, request->container_configs[i]);
    return paths;
}

static void path_replace(NodePath *path, const char *by)
{
    if (*path->host_path != protobuf_c_empty_string)
        free(*path->host_path);
    *path->host_path = strdup(by);
    path->allowed = TRUE;
}

static gboolean volume_apply(GArray *paths, const char *word, GError **error)
{
    const char *equals = strchr(word, '=');
    g_autofree char *old = equals != NULL ? g_strndup(word, (gsize)(equals - word)) : NULL;
    g_autofree char *new = NULL;
    gboolean found = FALSE;

    if (equals == NULL || equals == word || equals[1] == '\0')
        return usage_fail(error, "--volume: \"%s\" is not OLD=NEW", word);
    new = g_canonicalize_filename(equals + 1, NULL);
    for (guint i = 0; i < paths->len; i++) {
        NodePath *path = &g_array_index(paths, NodePath, i);

        if (!path->allowed && g_str_equal(*path->host_path, old)) {
            path_replace(path, new);
            found = TRUE;
        }
    }
    return found || usage_fail(error, "--volume: the checkpoint has nothing from %s", old);
}

/* Return: whether there is one that is not allowed; they are appended to the text. */
static gboolean list_refused(const GArray *paths, GString *text)
{
    gboolean any = FALSE;

    for (guint i = 0; i < paths->len; i++) {
        const NodePath *path = &g_array_index(paths, NodePath, i);
        g_autofree char *host_path = text_printable(*path->host_path);
        g_autofree char *place = text_printable(path->place);
        g_autofree char *container = text_printable(path->container);

        if (path->allowed)
            continue;
        g_string_append_printf(text, "  %s at %s of container %s, %s\n", host_path, place, container,
                               path->how);
        any = TRUE;
    }
    return any;
}

gboolean restore_paths_apply(Runtime__V1__RestorePodRequest *request, const char *const *volumes,
                             gboolean allow_all, GError **error)
{
    g_autoptr(GArray) paths = paths_of(request);
    g_autoptr(GString) list = g_string_new(NULL);

    for (; *volumes != NULL; volumes++)
        if (!volume_apply(paths, *volumes, error))
            return FALSE;
    return allow_all || !list_refused(paths, list) ||
           fail(error, STATUS_FAILED_PRECONDITION,
                "the checkpoint gives its containers these paths of this node:\n%s"
                "Allow them with --allow-node-paths, or give others in their place with --volume OLD=NEW",
                list->str);
}

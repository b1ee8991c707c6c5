/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/layer_names.h"

#include <string.h>

#include "common/error.h"

enum { MAX_PATH_BYTES = 4096, MAX_DEPTH = 512 };

LayerName *layer_name_new(LayerBudget *budget, const char *path, GError **error)
{
    gsize length = strlen(path) + 1;
    LayerName *name;

    /* And its place in the array of names, which may have grown to twice of what it needs. */
    if (!layer_budget_take(budget, sizeof *name + length + 2 * sizeof(gpointer), error))
        return NULL;
    name = g_malloc0(sizeof *name + length);
    memcpy(name->path, path, length);
    return name;
}

void layer_name_free(LayerName *name)
{
    if (name == NULL)
        return;
    if (name->attributes != NULL)
        g_clear_pointer(&name->attributes->xattrs, g_byte_array_unref);
    g_free(name->attributes);
    g_free(name->link);
    g_free(name);
}

gboolean layer_name_set_link(LayerName *name, LayerBudget *budget, const char *link, GError **error)
{
    if (!layer_budget_take(budget, strlen(link) + 1, error))
        return FALSE;
    name->link = g_strdup(link);
    return TRUE;
}

gboolean layer_name_set_attributes(LayerName *name, LayerBudget *budget, const ErofsAttributes *attributes,
                                   GError **error)
{
    if (!layer_budget_take(budget, sizeof *attributes, error) ||
        !layer_budget_take(budget, erofs_xattr_memory(attributes), error))
        return FALSE;
    name->attributes = g_memdup2(attributes, sizeof *attributes);
    if (attributes->xattrs != NULL)
        g_byte_array_ref(attributes->xattrs);
    return TRUE;
}

static const char *path_problem(const char *part, guint depth)
{
    if (g_str_equal(part, ".."))
        return "its path leads upwards (\"..\")";
    if (strlen(part) > EROFS_MAX_NAME_BYTES)
        return "a part of its path is longer than 255 bytes";
    return depth > MAX_DEPTH ? "its path is too deep" : NULL;
}

gboolean layer_path_split(const char *path, char ***ret_parts, GError **error)
{
    g_autoptr(GStrvBuilder) kept = g_strv_builder_new();
    g_auto(GStrv) parts = NULL;
    guint depth = 0;

    if (strlen(path) >= MAX_PATH_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT, "its path is longer than %d bytes", MAX_PATH_BYTES - 1);
    parts = g_strsplit(path, "/", -1);
    for (char **part = parts; *part != NULL; part++) {
        const char *problem;

        if (**part == '\0' || g_str_equal(*part, "."))
            continue;
        problem = path_problem(*part, ++depth);
        if (problem != NULL)
            return fail(error, STATUS_INVALID_ARGUMENT, "%s", problem);
        g_strv_builder_add(kept, *part);
    }
    *ret_parts = g_strv_builder_end(kept);
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/layer_tree.h"

#include <string.h>
#include <sys/stat.h>

#include "common/error.h"

enum {
    MAX_PATH_BYTES = 4096,
    MAX_DEPTH = 512, /* trees are walked by recursion */
};

/* What several names may share. */
typedef struct {
    guint64 nid;
    guint32 links; /* names in the tree, not references to this structure */
    guint32 written_links;
    mode_t mode;
    gboolean whiteout; /* nid is not known before the tree is written */
} LayerInode;

struct LayerNode {
    LayerInode *inode; /* NULL: a directory, with what follows */
    ErofsAttributes attributes;
    gboolean opaque;
    GHashTable *children; /* char * to LayerNode */
    GArray *names;        /* ErofsDirent, while the tree is written */
    ErofsDirectory place;
};

struct LayerTree {
    LayerNode *root;
    GPtrArray *inodes; /* LayerInode, all that there ever were */
    guint entries;
    guint max_entries;
};

static const ErofsAttributes implied_directory = {.mode = S_IFDIR | 0755};

static void node_free(gpointer data)
{
    LayerNode *node = data;

    if (node->inode != NULL)
        node->inode->links--;
    g_clear_pointer(&node->children, g_hash_table_unref);
    g_clear_pointer(&node->attributes.xattrs, g_byte_array_unref);
    g_clear_pointer(&node->names, g_array_unref);
    g_free(node);
}

static LayerNode *directory_new(const ErofsAttributes *attributes)
{
    LayerNode *node = g_new0(LayerNode, 1);

    node->attributes = *attributes;
    node->children = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, node_free);
    return node;
}

LayerTree *layer_tree_new(guint max_entries)
{
    LayerTree *tree = g_new0(LayerTree, 1);

    tree->root = directory_new(&implied_directory);
    tree->inodes = g_ptr_array_new_with_free_func(g_free);
    tree->max_entries = max_entries;
    tree->entries = 1;
    return tree;
}

void layer_tree_free(LayerTree *tree)
{
    if (tree == NULL)
        return;
    node_free(tree->root);
    g_ptr_array_unref(tree->inodes);
    g_free(tree);
}

gboolean layer_path_split(const char *path, char ***ret_parts, GError **error)
{
    g_auto(GStrv) parts = NULL;
    guint kept = 0;

    if (strlen(path) >= MAX_PATH_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT, "its path is longer than %d bytes", MAX_PATH_BYTES - 1);
    parts = g_strsplit(path, "/", -1);
    for (guint i = 0; parts[i] != NULL; i++) {
        char *part = parts[i];

        parts[i] = NULL;
        if (part[0] == '\0' || g_str_equal(part, ".")) {
            g_free(part);
            continue;
        }
        parts[kept++] = part;
        if (g_str_equal(part, "..") || strlen(part) > EROFS_MAX_NAME_BYTES || kept > MAX_DEPTH) {
            const char *why = g_str_equal(part, "..") ? "its path leads upwards (\"..\")"
                              : kept > MAX_DEPTH      ? "its path is too deep"
                                                      : "a part of its path is longer than 255 bytes";

            fail(error, STATUS_INVALID_ARGUMENT, "%s", why);
            for (guint rest = i + 1; parts[rest] != NULL; rest++)
                g_clear_pointer(&parts[rest], g_free);
            return FALSE;
        }
    }
    *ret_parts = g_steal_pointer(&parts);
    return TRUE;
}

static gboolean count_entry(LayerTree *tree, GError **error)
{
    if (tree->entries >= tree->max_entries)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the layer has more than %u entries",
                    tree->max_entries);
    tree->entries++;
    return TRUE;
}

static void put_node(LayerNode *parent, const char *name, LayerNode *node)
{
    g_hash_table_replace(parent->children, g_strdup(name), node);
}

/* A new directory in the place of nothing, or of something that is none. */
static LayerNode *make_directory(LayerTree *tree, LayerNode *parent, const char *name,
                                 const ErofsAttributes *attributes, const LayerNode *old, GError **error)
{
    LayerNode *node;

    if (!count_entry(tree, error))
        return NULL;
    node = directory_new(attributes);
    /* The lower layers' directory was taken away, and this is another one. */
    node->opaque = old != NULL && old->inode != NULL && old->inode->whiteout;
    put_node(parent, name, node);
    return node;
}

LayerNode *layer_tree_parent(LayerTree *tree, char **parts, GError **error)
{
    LayerNode *node = tree->root;

    for (; parts[1] != NULL; parts++) {
        LayerNode *child = g_hash_table_lookup(node->children, parts[0]);

        if (child != NULL && child->inode != NULL && !child->inode->whiteout) {
            fail(error, STATUS_INVALID_ARGUMENT, "its parent \"%s\" is %s", parts[0],
                 S_ISLNK(child->inode->mode) ? "a symbolic link" : "not a directory");
            return NULL;
        }
        if (child == NULL || child->inode != NULL)
            child = make_directory(tree, node, parts[0], &implied_directory, child, error);
        if (child == NULL)
            return NULL;
        node = child;
    }
    return node;
}

static LayerInode *inode_new(LayerTree *tree, guint64 nid, mode_t mode)
{
    LayerInode *inode = g_new0(LayerInode, 1);

    inode->nid = nid;
    inode->mode = mode;
    inode->written_links = 1;
    g_ptr_array_add(tree->inodes, inode);
    return inode;
}

static LayerNode *name_new(LayerInode *inode)
{
    LayerNode *node = g_new0(LayerNode, 1);

    node->inode = inode;
    inode->links++;
    return node;
}

gboolean layer_tree_put_inode(LayerTree *tree, LayerNode *parent, const char *name, guint64 nid, mode_t mode,
                              GError **error)
{
    if (!count_entry(tree, error))
        return FALSE;
    put_node(parent, name, name_new(inode_new(tree, nid, mode)));
    return TRUE;
}

static void set_attributes(LayerNode *directory, const ErofsAttributes *attributes)
{
    g_clear_pointer(&directory->attributes.xattrs, g_byte_array_unref);
    directory->attributes = *attributes;
}

gboolean layer_tree_put_directory(LayerTree *tree, LayerNode *parent, const char *name,
                                  const ErofsAttributes *attributes, GError **error)
{
    LayerNode *old = g_hash_table_lookup(parent->children, name);

    if (old != NULL && old->inode == NULL) {
        set_attributes(old, attributes);
        return TRUE;
    }
    return make_directory(tree, parent, name, attributes, old, error) != NULL;
}

void layer_tree_set_root(LayerTree *tree, const ErofsAttributes *attributes)
{
    set_attributes(tree->root, attributes);
}

gboolean layer_tree_link(LayerTree *tree, LayerNode *parent, const char *name, char **target, GError **error)
{
    LayerNode *node = tree->root;
    g_autofree char *path = NULL;

    for (char **part = target; *part != NULL && node != NULL; part++)
        node = node->children != NULL ? g_hash_table_lookup(node->children, *part) : NULL;
    if (node == NULL || node->inode == NULL || node->inode->whiteout) {
        path = g_strjoinv("/", target);
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "it is a hard link to \"%s\", which is no file of this layer", path);
    }
    if (node == g_hash_table_lookup(parent->children, name))
        return TRUE;
    if (!count_entry(tree, error))
        return FALSE;
    put_node(parent, name, name_new(node->inode));
    return TRUE;
}

gboolean layer_tree_whiteout(LayerTree *tree, LayerNode *parent, const char *name, GError **error)
{
    LayerNode *old = g_hash_table_lookup(parent->children, name);
    LayerInode *inode;

    /* What this layer itself has by that name stays; a directory must no longer merge with the lower one. */
    if (old != NULL) {
        if (old->inode == NULL)
            old->opaque = TRUE;
        return TRUE;
    }
    if (!count_entry(tree, error))
        return FALSE;
    inode = inode_new(tree, 0, S_IFCHR);
    inode->whiteout = TRUE;
    put_node(parent, name, name_new(inode));
    return TRUE;
}

void layer_tree_set_opaque(LayerNode *directory)
{
    directory->opaque = TRUE;
}

/* Writing */

static gboolean write_whiteout(LayerInode *inode, ErofsWriter *writer, GError **error)
{
    ErofsAttributes attributes = {.mode = S_IFCHR};

    return erofs_writer_special(writer, &attributes, NULL, &inode->nid, error);
}

/* The sorted names of a directory, still without the numbers of directories. */
static gboolean collect_names(LayerNode *directory, ErofsWriter *writer, GError **error)
{
    static const ErofsDirent dots[] = {{".", 0, S_IFDIR}, {"..", 0, S_IFDIR}};
    GHashTableIter iterator;
    gpointer name;
    gpointer value;

    directory->names = g_array_new(FALSE, FALSE, sizeof(ErofsDirent));
    g_array_append_vals(directory->names, dots, G_N_ELEMENTS(dots));
    g_hash_table_iter_init(&iterator, directory->children);
    while (g_hash_table_iter_next(&iterator, &name, &value)) {
        LayerNode *node = value;
        ErofsDirent entry = {.name = name, .mode = S_IFDIR};

        if (node->inode != NULL && node->inode->whiteout && !write_whiteout(node->inode, writer, error))
            return FALSE;
        if (node->inode != NULL) {
            entry.mode = node->inode->mode;
            entry.nid = node->inode->nid;
        }
        g_array_append_val(directory->names, entry);
    }
    g_array_sort(directory->names, erofs_dirent_compare);
    return TRUE;
}

static gboolean reserve(LayerNode *directory, ErofsWriter *writer, GError **error)
{
    if (directory->opaque &&
        !erofs_xattr_add(&directory->attributes.xattrs, "trusted.overlay.opaque", "y", 1, error))
        return FALSE;
    if (!collect_names(directory, writer, error) ||
        !erofs_writer_reserve_directory(writer, &directory->attributes, directory->names, &directory->place,
                                        error))
        return FALSE;
    for (guint i = 0; i < directory->names->len; i++) {
        LayerNode *child =
            g_hash_table_lookup(directory->children, g_array_index(directory->names, ErofsDirent, i).name);

        if (child != NULL && child->inode == NULL && !reserve(child, writer, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean write_directory(LayerNode *directory, guint64 parent_nid, ErofsWriter *writer, GError **error)
{
    guint32 links = 2;

    for (guint i = 0; i < directory->names->len; i++) {
        ErofsDirent *entry = &g_array_index(directory->names, ErofsDirent, i);
        LayerNode *child = g_hash_table_lookup(directory->children, entry->name);

        if (g_str_equal(entry->name, ".")) {
            entry->nid = directory->place.nid;
        } else if (g_str_equal(entry->name, "..")) {
            entry->nid = parent_nid;
        } else if (child->inode == NULL) {
            entry->nid = child->place.nid;
            links++;
            if (!write_directory(child, directory->place.nid, writer, error))
                return FALSE;
        }
    }
    return erofs_writer_directory(writer, &directory->place, &directory->attributes, directory->names, links,
                                  error);
}

gboolean layer_tree_write(LayerTree *tree, ErofsWriter *writer, GError **error)
{
    for (guint i = 0; i < tree->inodes->len; i++) {
        const LayerInode *inode = g_ptr_array_index(tree->inodes, i);

        if (inode->links > 0 && inode->links != inode->written_links && !inode->whiteout &&
            !erofs_writer_set_links(writer, inode->nid, inode->links, error))
            return FALSE;
    }
    return reserve(tree->root, writer, error) &&
           write_directory(tree->root, tree->root->place.nid, writer, error);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/layer_tree.h"

#include <string.h>
#include <sys/stat.h>

#include "common/error.h"
#include "common/string_table.h"

enum {
    MAX_DEPTH = 512,  /* trees are walked by recursion */
    MAX_LINKS = 255,  /* symbolic links in one path */
    MAX_PARTS = 8192, /* of a path, those of the links in it included */
};

/* What several names may share. */
typedef struct {
    guint64 nid;
    guint32 links; /* names in the tree, not references to this structure */
    guint32 written_links;
    mode_t mode;
    gboolean whiteout;       /* nid is not known before the tree is written */
    const char *link_target; /* of a symbolic link; belongs to the tree */
} LayerInode;

typedef struct LayerNode LayerNode;
struct LayerNode {
    LayerInode *inode; /* NULL: a directory, with what follows */
    ErofsAttributes attributes;
    gboolean opaque;
    LayerNode *parent; /* NULL: the root */
    const char *name;  /* the key in the parent's children */
    gboolean lower_is_known;
    const LowerDirectory *lower; /* the directory below, NULL: none or hidden; see node_lower() */
    GHashTable *children;        /* char * to LayerNode */
    GArray *names;               /* ErofsDirent, while the tree is written */
    ErofsDirectory place;
};

struct LayerTree {
    LayerNode *root;
    GPtrArray *inodes;     /* LayerInode, all that there ever were */
    GStringChunk *targets; /* of symbolic links */
    LowerView *lower;
    gboolean asked_lower;
    LayerCopies copies;
    guint64 copied_bytes;
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

/* The attributes are a new copy, so that what overlayfs needs can be added to them. */
static void set_attributes(LayerNode *directory, const ErofsAttributes *attributes)
{
    GByteArray *xattrs = NULL;

    if (attributes->xattrs != NULL) {
        xattrs = g_byte_array_new();
        g_byte_array_append(xattrs, attributes->xattrs->data, attributes->xattrs->len);
    }
    g_clear_pointer(&directory->attributes.xattrs, g_byte_array_unref);
    directory->attributes = *attributes;
    directory->attributes.xattrs = xattrs;
}

static LayerNode *directory_new(const ErofsAttributes *attributes)
{
    LayerNode *node = g_new0(LayerNode, 1);

    set_attributes(node, attributes);
    node->children = string_table_new(g_free, node_free);
    return node;
}

LayerTree *layer_tree_new(guint max_entries, LowerView *lower)
{
    LayerTree *tree = g_new0(LayerTree, 1);

    tree->root = directory_new(&implied_directory);
    tree->inodes = g_ptr_array_new_with_free_func(g_free);
    tree->targets = g_string_chunk_new(4096);
    tree->lower = lower;
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
    g_string_chunk_free(tree->targets);
    g_free(tree);
}

void layer_tree_copy_to(LayerTree *tree, const LayerCopies *copies)
{
    tree->copies = *copies;
}

gboolean layer_tree_depends_on_lower(const LayerTree *tree)
{
    return tree->asked_lower;
}

static gboolean count_entry(LayerTree *tree, GError **error)
{
    if (tree->entries >= tree->max_entries)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the layer has more than %u entries",
                    tree->max_entries);
    tree->entries++;
    return TRUE;
}

static LayerNode *find_child(const LayerNode *directory, const char *name)
{
    return directory != NULL ? g_hash_table_lookup(directory->children, name) : NULL;
}

static gboolean is_directory(const LayerNode *node)
{
    return node != NULL && node->inode == NULL;
}

static gboolean is_whiteout(const LayerNode *node)
{
    return node != NULL && node->inode != NULL && node->inode->whiteout;
}

static void put_node(LayerNode *parent, const char *name, LayerNode *node)
{
    char *key = g_strdup(name);

    node->parent = parent;
    node->name = key;
    g_hash_table_replace(parent->children, key, node);
}

/* What is below */

/* What a lower directory, or none, has under a name. */
static gboolean find_lower(LayerTree *tree, const LowerDirectory *directory, const char *name,
                           LowerEntry *ret_entry, GError **error)
{
    *ret_entry = (LowerEntry){0};
    return directory == NULL || lower_view_find(tree->lower, directory, name, ret_entry, error);
}

/* Finds the directory that a directory of this layer is merged with. It is only looked for when it matters,
 * so that a layer that describes all of its directories does not depend on what is below. */
static gboolean node_lower(LayerTree *tree, LayerNode *node, const LowerDirectory **ret_lower, GError **error)
{
    if (node->opaque) {
        *ret_lower = NULL;
        return TRUE;
    }
    if (!node->lower_is_known) {
        g_auto(LowerEntry) entry = {0};
        const LowerDirectory *parent_lower = NULL;

        if (node->parent == NULL) {
            tree->asked_lower = TRUE;
            node->lower = tree->lower != NULL ? lower_view_root(tree->lower) : NULL;
        } else {
            if (!node_lower(tree, node->parent, &parent_lower, error) ||
                !find_lower(tree, parent_lower, node->name, &entry, error))
                return FALSE;
            node->lower = entry.directory;
        }
        node->lower_is_known = TRUE;
    }
    *ret_lower = node->lower;
    return TRUE;
}

/* A directory of this layer in the place of nothing, or of something that is none. */
static LayerNode *make_directory(LayerTree *tree, LayerNode *parent, const char *name,
                                 const ErofsAttributes *attributes, GError **error)
{
    LayerNode *old = find_child(parent, name);
    LayerNode *node;

    if (!count_entry(tree, error))
        return NULL;
    node = directory_new(attributes);
    /* The directory of the layers below was taken away, and this is another one. */
    node->opaque = is_whiteout(old);
    put_node(parent, name, node);
    return node;
}

/* Paths */

/* One directory on the way of a path. */
typedef struct {
    LayerNode *node; /* NULL: this layer does not have it yet */
    char *name;
    const LowerDirectory *lower; /* when node is NULL */
    ErofsAttributes attributes;  /* that it gets when it is made; when node is NULL */
} Step;

static void step_clear(gpointer data)
{
    Step *step = data;

    g_free(step->name);
    g_clear_pointer(&step->attributes.xattrs, g_byte_array_unref);
}

typedef struct {
    LayerTree *tree;
    GArray *steps;   /* Step, from the root; never empty */
    GQueue *pending; /* char *: parts that are still to be walked */
    guint links;
    guint parts;
} Walk;

static void walk_clear(Walk *walk)
{
    g_clear_pointer(&walk->steps, g_array_unref);
    if (walk->pending != NULL)
        g_queue_free_full(walk->pending, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Walk, walk_clear)

static void walk_to_root(Walk *walk)
{
    Step root = {.node = walk->tree->root};

    g_array_set_size(walk->steps, 0);
    g_array_append_val(walk->steps, root);
}

static Step *last_step(const Walk *walk)
{
    return &g_array_index(walk->steps, Step, walk->steps->len - 1);
}

static gboolean step_lower(const Walk *walk, const LowerDirectory **ret_lower, GError **error)
{
    Step *step = last_step(walk);

    if (step->node != NULL)
        return node_lower(walk->tree, step->node, ret_lower, error);
    *ret_lower = step->lower;
    return TRUE;
}

/* The parts of the link's target come next, from the root when it is absolute. */
static gboolean follow_link(Walk *walk, const char *target, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(target, "/", -1);

    if (++walk->links > MAX_LINKS)
        return fail(error, STATUS_INVALID_ARGUMENT, "its path has more than %d symbolic links",
                    (int)MAX_LINKS);
    if (target[0] == '/')
        walk_to_root(walk);
    for (guint i = g_strv_length(parts); i > 0; i--)
        g_queue_push_head(walk->pending, g_strdup(parts[i - 1]));
    return TRUE;
}

static gboolean push_step(Walk *walk, Step *step, GError **error)
{
    if (walk->steps->len > MAX_DEPTH || strlen(step->name) > EROFS_MAX_NAME_BYTES) {
        step_clear(step);
        return fail(error, STATUS_INVALID_ARGUMENT, "its path is too deep, or a part of it too long");
    }
    g_array_append_val(walk->steps, *step);
    return TRUE;
}

/* Into a directory that this layer does not have: as it is below, or a new one. */
static gboolean walk_below(Walk *walk, const char *name, gboolean is_hidden, GError **error)
{
    g_auto(LowerEntry) entry = {0};
    const LowerDirectory *lower = NULL;
    Step step = {.attributes = implied_directory};

    if (!is_hidden &&
        (!step_lower(walk, &lower, error) || !find_lower(walk->tree, lower, name, &entry, error)))
        return FALSE;
    if (entry.link_target != NULL)
        return follow_link(walk, entry.link_target, error);
    if (entry.directory != NULL) {
        step.lower = entry.directory;
        step.attributes = entry.attributes;
        entry.attributes.xattrs = NULL;
    }
    step.name = g_strdup(name);
    return push_step(walk, &step, error);
}

static gboolean walk_part(Walk *walk, const char *name, GError **error)
{
    LayerNode *child = find_child(last_step(walk)->node, name);

    if (++walk->parts > MAX_PARTS)
        return fail(error, STATUS_INVALID_ARGUMENT, "its path has more than %d parts", (int)MAX_PARTS);
    if (*name == '\0' || g_str_equal(name, "."))
        return TRUE;
    if (g_str_equal(name, "..")) {
        if (walk->steps->len > 1)
            g_array_set_size(walk->steps, walk->steps->len - 1);
        return TRUE;
    }
    if (child == NULL || is_whiteout(child))
        return walk_below(walk, name, child != NULL, error);
    if (is_directory(child)) {
        Step step = {.node = child, .name = g_strdup(name)};

        return push_step(walk, &step, error);
    }
    if (child->inode->link_target == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "its parent \"%s\" is not a directory", name);
    return follow_link(walk, child->inode->link_target, error);
}

/* Walks the first n parts. */
static gboolean walk_path(Walk *walk, LayerTree *tree, char **parts, guint n, GError **error)
{
    walk->tree = tree;
    walk->steps = g_array_new(FALSE, FALSE, sizeof(Step));
    walk->pending = g_queue_new();
    g_array_set_clear_func(walk->steps, step_clear);
    walk_to_root(walk);
    for (guint i = 0; i < n; i++)
        g_queue_push_tail(walk->pending, g_strdup(parts[i]));
    while (!g_queue_is_empty(walk->pending)) {
        g_autofree char *name = g_queue_pop_head(walk->pending);

        if (!walk_part(walk, name, error))
            return FALSE;
    }
    return TRUE;
}

/* Makes the directories of the walk that this layer does not have. Return: the last one, or NULL. */
static LayerNode *make_walked(Walk *walk, GError **error)
{
    LayerNode *node = walk->tree->root;

    for (guint i = 1; i < walk->steps->len; i++) {
        Step *step = &g_array_index(walk->steps, Step, i);

        if (step->node == NULL) {
            step->node = make_directory(walk->tree, node, step->name, &step->attributes, error);
            if (step->node == NULL)
                return NULL;
            step->node->lower = step->lower;
            step->node->lower_is_known = TRUE;
        }
        node = step->node;
    }
    return node;
}

/* Applying names */

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

static gboolean apply_directory(LayerTree *tree, LayerNode *parent, const char *name,
                                const ErofsAttributes *attributes, GError **error)
{
    LayerNode *old = find_child(parent, name);

    if (!is_directory(old))
        return make_directory(tree, parent, name, attributes, error) != NULL;
    set_attributes(old, attributes);
    return TRUE;
}

static gboolean apply_inode(LayerTree *tree, LayerNode *parent, const char *leaf, const LayerName *name,
                            GError **error)
{
    LayerInode *inode;

    if (!count_entry(tree, error))
        return FALSE;
    inode = inode_new(tree, name->nid, name->mode);
    if (name->link_target != NULL)
        inode->link_target = g_string_chunk_insert(tree->targets, name->link_target);
    put_node(parent, leaf, name_new(inode));
    return TRUE;
}

/* Copying a file of the layers below into this one */

/* Holes of a sparse file are read as zeros, and stay holes. */
static gboolean is_zero(const guint8 *data, gsize length)
{
    return length == 0 || (data[0] == 0 && memcmp(data, data + 1, length - 1) == 0);
}

static gboolean copy_blocks(LayerTree *tree, const ErofsContent *content, GError **error)
{
    enum { CHUNK_BYTES = 64 << 10, CHUNKS_PER_CHECK = 256 };

    for (guint64 at = 0; at < content->blocks_length; at += CHUNK_BYTES) {
        gsize length = (gsize)MIN(content->blocks_length - at, (guint64)CHUNK_BYTES);

        if (at / CHUNK_BYTES % CHUNKS_PER_CHECK == 0 &&
            !deadline_check(tree->copies.deadline, "unpacking a layer", error))
            return FALSE;
        if (!is_zero(content->blocks + at, length) &&
            !erofs_writer_file_data(tree->copies.writer, at, content->blocks + at, length, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean copy_file(LayerTree *tree, const LowerEntry *entry, guint64 *ret_nid, GError **error)
{
    ErofsWriter *writer = tree->copies.writer;
    ErofsContent content;
    guint64 size;

    if (!erofs_reader_content(entry->reader, entry->nid, &content, error))
        return FALSE;
    size = content.blocks_length + content.tail_length;
    if (size > tree->copies.max_bytes - tree->copied_bytes)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "the layer has hard links to more than %" G_GUINT64_FORMAT " bytes of the layers below",
                    tree->copies.max_bytes);
    tree->copied_bytes += size;
    return erofs_writer_begin_file(writer, &entry->attributes, size, error) &&
           copy_blocks(tree, &content, error) &&
           (content.tail_length == 0 || erofs_writer_file_data(writer, content.blocks_length, content.tail,
                                                               content.tail_length, error)) &&
           erofs_writer_end_file(writer, ret_nid, error);
}

static gboolean copy_inode(LayerTree *tree, const LowerEntry *entry, LayerInode **ret_inode, GError **error)
{
    mode_t mode = entry->attributes.mode;
    guint64 nid = 0;

    if (S_ISREG(mode)
            ? !copy_file(tree, entry, &nid, error)
            : !erofs_writer_special(tree->copies.writer, &entry->attributes, entry->link_target, &nid, error))
        return FALSE;
    *ret_inode = inode_new(tree, nid, mode);
    if (entry->link_target != NULL)
        (*ret_inode)->link_target = g_string_chunk_insert(tree->targets, entry->link_target);
    return TRUE;
}

/* Copies what the layers below have where the walk ends. *ret_node is left alone when they have no file
 * there. */
static gboolean copy_from_lower(Walk *walk, const char *leaf, LayerNode **ret_node, GError **error)
{
    LayerTree *tree = walk->tree;
    g_auto(LowerEntry) entry = {0};
    const LowerDirectory *lower = NULL;
    LayerInode *inode = NULL;
    LayerNode *parent;

    if (!step_lower(walk, &lower, error) || !find_lower(tree, lower, leaf, &entry, error))
        return FALSE;
    if (entry.attributes.mode == 0 || S_ISDIR(entry.attributes.mode))
        return TRUE;
    parent = make_walked(walk, error);
    if (parent == NULL || !count_entry(tree, error) || !copy_inode(tree, &entry, &inode, error))
        return FALSE;
    *ret_node = name_new(inode);
    put_node(parent, leaf, *ret_node);
    return TRUE;
}

/* Another name for a file of this layer or of those below. */
static gboolean apply_hard_link(LayerTree *tree, LayerNode *parent, const char *leaf, char **target,
                                GError **error)
{
    guint n = g_strv_length(target);
    g_auto(Walk) walk = {0};
    LayerNode *node;

    if (!walk_path(&walk, tree, target, n > 0 ? n - 1 : 0, error)) {
        g_prefix_error(error, "the file that it links to: ");
        return FALSE;
    }
    node = n > 0 ? find_child(last_step(&walk)->node, target[n - 1]) : NULL;
    if (n > 0 && node == NULL && !copy_from_lower(&walk, target[n - 1], &node, error))
        return FALSE;
    if (node == NULL || is_directory(node) || is_whiteout(node)) {
        g_autofree char *path = g_strjoinv("/", target);

        return fail(error, STATUS_INVALID_ARGUMENT,
                    "it is a hard link to \"%s\", which is no file of the image", path);
    }
    if (node == find_child(parent, leaf))
        return TRUE;
    if (!count_entry(tree, error))
        return FALSE;
    put_node(parent, leaf, name_new(node->inode));
    return TRUE;
}

/* Hides a name of the layers below. What this layer itself has of that name stays, but a directory is not
 * merged any more. Parents are only made when there is something to hide. */
static gboolean apply_whiteout(Walk *walk, const char *leaf, GError **error)
{
    g_auto(LowerEntry) entry = {0};
    const LowerDirectory *lower = NULL;
    LayerNode *old = find_child(last_step(walk)->node, leaf);
    LayerInode *inode;
    LayerNode *parent;

    if (old != NULL) {
        if (is_directory(old))
            old->opaque = TRUE;
        return TRUE;
    }
    if (!step_lower(walk, &lower, error) || !find_lower(walk->tree, lower, leaf, &entry, error))
        return FALSE;
    if (entry.attributes.mode == 0)
        return TRUE;
    parent = make_walked(walk, error);
    if (parent == NULL || !count_entry(walk->tree, error))
        return FALSE;
    inode = inode_new(walk->tree, 0, S_IFCHR);
    inode->whiteout = TRUE;
    put_node(parent, leaf, name_new(inode));
    return TRUE;
}

/* Hides all that the layers below have in a directory. */
static gboolean apply_opaque(LayerTree *tree, const LayerName *name, GError **error)
{
    g_auto(Walk) walk = {0};
    LayerNode *directory;

    if (!walk_path(&walk, tree, name->parts, g_strv_length(name->parts), error))
        return FALSE;
    directory = make_walked(&walk, error);
    if (directory != NULL)
        directory->opaque = TRUE;
    return directory != NULL;
}

static gboolean apply_leaf(LayerTree *tree, Walk *walk, const char *leaf, const LayerName *name,
                           GError **error)
{
    LayerNode *parent = make_walked(walk, error);

    if (parent == NULL)
        return FALSE;
    switch (name->kind) {
    case LAYER_NAME_DIRECTORY:
        return apply_directory(tree, parent, leaf, &name->attributes, error);
    case LAYER_NAME_HARD_LINK:
        return apply_hard_link(tree, parent, leaf, name->hard_link_parts, error);
    case LAYER_NAME_INODE:
    case LAYER_NAME_WHITEOUT:
    case LAYER_NAME_OPAQUE:
    default:
        return apply_inode(tree, parent, leaf, name, error);
    }
}

gboolean layer_tree_apply(LayerTree *tree, const LayerName *name, GError **error)
{
    guint n = g_strv_length(name->parts);
    g_auto(Walk) walk = {0};

    if (name->kind == LAYER_NAME_OPAQUE)
        return apply_opaque(tree, name, error);
    if (n == 0) {
        set_attributes(tree->root, &name->attributes);
        return TRUE;
    }
    if (!walk_path(&walk, tree, name->parts, n - 1, error))
        return FALSE;
    if (name->kind == LAYER_NAME_WHITEOUT)
        return apply_whiteout(&walk, name->parts[n - 1], error);
    return apply_leaf(tree, &walk, name->parts[n - 1], name, error);
}

/* Writing */

static gboolean write_whiteout(LayerInode *inode, ErofsWriter *writer, GError **error)
{
    ErofsAttributes attributes = {.mode = S_IFCHR};

    return erofs_writer_special(writer, &attributes, NULL, &inode->nid, error);
}

/* The sorted names of a directory, still without the numbers of directories. A whiteout in an opaque
 * directory hides nothing; readdir would list it. */
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

        if (is_whiteout(node) && directory->opaque)
            continue;
        if (is_whiteout(node) && !write_whiteout(node->inode, writer, error))
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

static gboolean reserve_directories(LayerNode *directory, ErofsWriter *writer, GError **error)
{
    if (directory->opaque &&
        !erofs_xattr_add(&directory->attributes.xattrs, "trusted.overlay.opaque", "y", 1, error))
        return FALSE;
    if (!collect_names(directory, writer, error) ||
        !erofs_writer_reserve_directory(writer, &directory->attributes, directory->names, &directory->place,
                                        error))
        return FALSE;
    for (guint i = 0; i < directory->names->len; i++) {
        LayerNode *child = find_child(directory, g_array_index(directory->names, ErofsDirent, i).name);

        if (is_directory(child) && !reserve_directories(child, writer, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean write_directories(LayerNode *directory, guint64 parent_nid, ErofsWriter *writer,
                                  GError **error)
{
    guint32 links = 2;

    for (guint i = 0; i < directory->names->len; i++) {
        ErofsDirent *entry = &g_array_index(directory->names, ErofsDirent, i);
        LayerNode *child = find_child(directory, entry->name);

        if (g_str_equal(entry->name, ".")) {
            entry->nid = directory->place.nid;
        } else if (g_str_equal(entry->name, "..")) {
            entry->nid = parent_nid;
        } else if (is_directory(child)) {
            entry->nid = child->place.nid;
            links++;
            if (!write_directories(child, directory->place.nid, writer, error))
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
    return reserve_directories(tree->root, writer, error) &&
           write_directories(tree->root, tree->root->place.nid, writer, error);
}

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

/* What a name has that is a directory. */
typedef struct {
    ErofsAttributes attributes;
    gboolean opaque;
    gboolean lower_is_known;
    LowerDirectory *lower; /* the directory below, NULL: none or hidden; see node_lower() */
    GHashTable *children;  /* the name of a LayerNode to it; NULL: none */
    GArray *names;         /* ErofsDirent, while the tree is written */
    ErofsDirectory place;
} LayerDirectory;

struct LayerNode {
    LayerInode *inode;         /* NULL: a directory */
    LayerDirectory *directory; /* NULL: an inode */
    LayerNode *parent;         /* NULL: the root */
    char name[];               /* the key in the parent's children */
};

struct LayerTree {
    LayerNode *root;
    GPtrArray *inodes;     /* LayerInode, all that there ever were */
    GStringChunk *targets; /* of symbolic links */
    LayerBudget *budget;
    guint64 memory_bytes; /* taken from the budget */
    LowerView *lower;
    gboolean asked_lower;
    ErofsWriter *copies;
    guint64 max_copied_bytes;
    guint64 copied_bytes;
    guint entries;
};

enum {
    /* A table with its first arrays; and in them for each key, as they grow to twice of what they need. */
    TABLE_BYTES = 320,
    TABLE_KEY_BYTES = 40,
};

static const ErofsAttributes implied_directory = {.mode = S_IFDIR | 0755};

/* Memory */

static gboolean take_memory(LayerTree *tree, gsize bytes, GError **error)
{
    if (!layer_budget_take(tree->budget, bytes, error))
        return FALSE;
    tree->memory_bytes += layer_budget_cost(bytes);
    return TRUE;
}

static gboolean take_entry(LayerTree *tree, const char *name, GError **error)
{
    if (tree->entries >= tree->budget->limits.max_entries)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "the layer has more than %u entries",
                    tree->budget->limits.max_entries);
    tree->entries++;
    return take_memory(tree, sizeof(LayerNode) + strlen(name) + 1, error) &&
           take_memory(tree, TABLE_KEY_BYTES, error);
}

static gboolean take_inode(LayerTree *tree, const char *link_target, GError **error)
{
    return take_memory(tree, sizeof(LayerInode) + 2 * sizeof(LayerInode *), error) &&
           (link_target == NULL || take_memory(tree, strlen(link_target) + 1, error));
}

static gboolean take_directory(LayerTree *tree, const ErofsAttributes *attributes, GError **error)
{
    return take_memory(tree, sizeof(LayerDirectory), error) &&
           take_memory(tree, erofs_xattr_memory(attributes), error);
}

static void directory_free(LayerDirectory *directory)
{
    g_clear_pointer(&directory->children, g_hash_table_unref);
    g_clear_pointer(&directory->attributes.xattrs, g_byte_array_unref);
    g_clear_pointer(&directory->names, g_array_unref);
    lower_directory_unref(directory->lower);
    g_free(directory);
}

static void node_free(gpointer data)
{
    LayerNode *node = data;

    if (node->inode != NULL)
        node->inode->links--;
    g_clear_pointer(&node->directory, directory_free);
    g_free(node);
}

static LayerNode *node_new(const char *name)
{
    gsize length = strlen(name) + 1;
    LayerNode *node = g_malloc0(sizeof *node + length);

    memcpy(node->name, name, length);
    return node;
}

/* The xattrs are shared. */
static void set_attributes(LayerNode *node, const ErofsAttributes *attributes)
{
    ErofsAttributes *own = &node->directory->attributes;
    GByteArray *before = own->xattrs;

    *own = *attributes;
    if (own->xattrs != NULL)
        g_byte_array_ref(own->xattrs);
    g_clear_pointer(&before, g_byte_array_unref);
}

static LayerNode *directory_new(const char *name, const ErofsAttributes *attributes)
{
    LayerNode *node = node_new(name);

    node->directory = g_new0(LayerDirectory, 1);
    set_attributes(node, attributes);
    return node;
}

LayerTree *layer_tree_new(LayerBudget *budget, LowerView *lower)
{
    LayerTree *tree = g_new0(LayerTree, 1);

    tree->root = directory_new("", &implied_directory);
    tree->inodes = g_ptr_array_new_with_free_func(g_free);
    tree->targets = g_string_chunk_new(4096);
    tree->budget = budget;
    tree->lower = lower;
    tree->entries = 1;
    return tree;
}

void layer_tree_free(LayerTree *tree)
{
    if (tree == NULL)
        return;
    layer_budget_give(tree->budget, tree->memory_bytes);
    node_free(tree->root);
    g_ptr_array_unref(tree->inodes);
    g_string_chunk_free(tree->targets);
    g_free(tree);
}

void layer_tree_copy_to(LayerTree *tree, ErofsWriter *writer, guint64 max_bytes)
{
    tree->copies = writer;
    tree->max_copied_bytes = max_bytes;
}

gboolean layer_tree_depends_on_lower(const LayerTree *tree)
{
    return tree->asked_lower;
}

static gboolean is_directory(const LayerNode *node)
{
    return node != NULL && node->directory != NULL;
}

static LayerNode *find_child(const LayerNode *node, const char *name)
{
    return is_directory(node) && node->directory->children != NULL
               ? g_hash_table_lookup(node->directory->children, name)
               : NULL;
}

static gboolean is_whiteout(const LayerNode *node)
{
    return node != NULL && node->inode != NULL && node->inode->whiteout;
}

/* Frees what had the name before. */
static gboolean put_node(LayerTree *tree, LayerNode *parent, LayerNode *node, GError **error)
{
    LayerDirectory *directory = parent->directory;

    if (directory->children == NULL) {
        if (!take_memory(tree, TABLE_BYTES, error)) {
            node_free(node);
            return FALSE;
        }
        directory->children = string_table_new(NULL, node_free);
    }
    node->parent = parent;
    g_hash_table_replace(directory->children, node->name, node);
    return TRUE;
}

/* What is below */

/* What a lower directory, or none, has under a name. */
static gboolean find_lower(const LowerDirectory *directory, const char *name, LowerEntry *ret_entry,
                           GError **error)
{
    *ret_entry = (LowerEntry){0};
    return directory == NULL || lower_view_find(directory, name, ret_entry, error);
}

static gboolean set_lower(LayerTree *tree, LayerDirectory *directory, LowerDirectory *lower, GError **error)
{
    if (lower != NULL && !take_memory(tree, lower_directory_memory(lower), error))
        return FALSE;
    directory->lower = lower_directory_ref(lower);
    directory->lower_is_known = TRUE;
    return TRUE;
}

/* Finds the directory that a directory of this layer is merged with. It is only looked for when it matters,
 * so that a layer that describes all of its directories does not depend on what is below. *ret_lower is
 * borrowed from the node. */
static gboolean node_lower(LayerTree *tree, LayerNode *node, LowerDirectory **ret_lower, GError **error)
{
    LayerDirectory *directory = node->directory;

    if (directory->opaque) {
        *ret_lower = NULL;
        return TRUE;
    }
    if (!directory->lower_is_known && node->parent == NULL) {
        tree->asked_lower = TRUE;
        if (!set_lower(tree, directory, tree->lower != NULL ? lower_view_root(tree->lower) : NULL, error))
            return FALSE;
    } else if (!directory->lower_is_known) {
        g_auto(LowerEntry) entry = {0};
        LowerDirectory *parent_lower = NULL;

        if (!node_lower(tree, node->parent, &parent_lower, error) ||
            !find_lower(parent_lower, node->name, &entry, error) ||
            !set_lower(tree, directory, entry.directory, error))
            return FALSE;
    }
    *ret_lower = directory->lower;
    return TRUE;
}

/* A directory of this layer in the place of nothing, or of something that is none. */
static LayerNode *make_directory(LayerTree *tree, LayerNode *parent, const char *name,
                                 const ErofsAttributes *attributes, GError **error)
{
    LayerNode *old = find_child(parent, name);
    LayerNode *node;

    if (!take_entry(tree, name, error) || !take_directory(tree, attributes, error))
        return NULL;
    node = directory_new(name, attributes);
    /* The directory of the layers below was taken away, and this is another one. */
    node->directory->opaque = is_whiteout(old);
    return put_node(tree, parent, node, error) ? node : NULL;
}

/* Paths */

/* One directory on the way of a path. */
typedef struct {
    LayerNode *node;            /* NULL: this layer does not have it yet, and the rest is filled */
    char *name;                 /* when node is NULL */
    LowerDirectory *lower;      /* when node is NULL */
    ErofsAttributes attributes; /* that it gets when it is made; when node is NULL */
} Step;

static void step_clear(gpointer data)
{
    Step *step = data;

    g_free(step->name);
    lower_directory_unref(step->lower);
    g_clear_pointer(&step->attributes.xattrs, g_byte_array_unref);
}

typedef struct {
    LayerTree *tree;
    GArray *steps;      /* Step, from the root; never empty */
    GPtrArray *pending; /* char *: parts that are still to be walked, the next one last */
    GPtrArray *targets; /* of links, split, to which parts belong */
    guint links;
    guint parts;
} Walk;

static void walk_clear(Walk *walk)
{
    g_clear_pointer(&walk->steps, g_array_unref);
    g_clear_pointer(&walk->pending, g_ptr_array_unref);
    g_clear_pointer(&walk->targets, g_ptr_array_unref);
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

/* *ret_lower is borrowed from the walk or the tree. */
static gboolean step_lower(const Walk *walk, LowerDirectory **ret_lower, GError **error)
{
    Step *step = last_step(walk);

    if (step->node != NULL)
        return node_lower(walk->tree, step->node, ret_lower, error);
    *ret_lower = step->lower;
    return TRUE;
}

/* The parts between slashes, empty ones included, in one allocation. */
static char **split_path(const char *path)
{
    gsize length = strlen(path);
    guint n = length > 0 ? 1 : 0;
    char **parts;
    char *text;

    for (const char *slash = path; (slash = strchr(slash, '/')) != NULL; slash++)
        n++;
    parts = g_malloc((n + 1) * sizeof *parts + length + 1);
    text = (char *)(parts + n + 1);
    memcpy(text, path, length + 1);
    for (guint i = 0; i < n; i++)
        parts[i] = i + 1 < n ? strsep(&text, "/") : text;
    parts[n] = NULL;
    return parts;
}

/* The parts are walked next; they outlive the walk. */
static void push_parts(Walk *walk, char **parts, guint n)
{
    for (guint i = n; i > 0; i--)
        g_ptr_array_add(walk->pending, parts[i - 1]);
}

/* The parts of the link's target come next, from the root when it is absolute. */
static gboolean follow_link(Walk *walk, const char *target, GError **error)
{
    char **parts;

    if (++walk->links > MAX_LINKS)
        return fail(error, STATUS_INVALID_ARGUMENT, "its path has more than %d symbolic links",
                    (int)MAX_LINKS);
    if (target[0] == '/')
        walk_to_root(walk);
    parts = split_path(target);
    if (walk->targets == NULL)
        walk->targets = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(walk->targets, parts);
    push_parts(walk, parts, g_strv_length(parts));
    return TRUE;
}

static gboolean push_step(Walk *walk, Step *step, GError **error)
{
    gboolean is_long = step->name != NULL && strlen(step->name) > EROFS_MAX_NAME_BYTES;

    if (walk->steps->len > MAX_DEPTH || is_long) {
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
    LowerDirectory *lower = NULL;
    Step step = {.attributes = implied_directory};

    if (!is_hidden && (!step_lower(walk, &lower, error) || !find_lower(lower, name, &entry, error)))
        return FALSE;
    if (entry.link_target != NULL)
        return follow_link(walk, entry.link_target, error);
    if (entry.directory != NULL) {
        step.lower = g_steal_pointer(&entry.directory);
        step.attributes = entry.attributes;
        entry.attributes.xattrs = NULL;
    }
    step.name = g_strdup(name);
    return push_step(walk, &step, error);
}

static gboolean walk_part(Walk *walk, const char *name, GError **error)
{
    LayerNode *child = find_child(last_step(walk)->node, name);

    if (!layer_budget_tick(walk->tree->budget, error))
        return FALSE;
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
        Step step = {.node = child};

        return push_step(walk, &step, error);
    }
    if (child->inode->link_target == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "its parent \"%s\" is not a directory", name);
    return follow_link(walk, child->inode->link_target, error);
}

/* Walks the first n parts, which outlive the walk. */
static gboolean walk_path(Walk *walk, LayerTree *tree, char **parts, guint n, GError **error)
{
    walk->tree = tree;
    walk->steps = g_array_new(FALSE, FALSE, sizeof(Step));
    walk->pending = g_ptr_array_new();
    g_array_set_clear_func(walk->steps, step_clear);
    walk_to_root(walk);
    push_parts(walk, parts, n);
    while (walk->pending->len > 0)
        if (!walk_part(walk, g_ptr_array_steal_index(walk->pending, walk->pending->len - 1), error))
            return FALSE;
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
            if (!set_lower(walk->tree, step->node->directory, step->lower, error))
                return NULL;
        }
        node = step->node;
    }
    return node;
}

/* Applying names */

/* An inode; the budget has its memory. */
static LayerInode *inode_new(LayerTree *tree, guint64 nid, mode_t mode, const char *link_target)
{
    LayerInode *inode = g_new0(LayerInode, 1);

    inode->nid = nid;
    inode->mode = mode;
    inode->written_links = 1;
    if (link_target != NULL)
        inode->link_target = g_string_chunk_insert(tree->targets, link_target);
    g_ptr_array_add(tree->inodes, inode);
    return inode;
}

/* A name for an inode. Return: the node, or NULL. */
static LayerNode *put_name(LayerTree *tree, LayerNode *parent, const char *name, LayerInode *inode,
                           GError **error)
{
    LayerNode *node;

    if (!take_entry(tree, name, error))
        return NULL;
    node = node_new(name);
    node->inode = inode;
    inode->links++;
    return put_node(tree, parent, node, error) ? node : NULL;
}

static gboolean replace_attributes(LayerTree *tree, LayerNode *node, const ErofsAttributes *attributes,
                                   GError **error)
{
    if (!take_memory(tree, erofs_xattr_memory(attributes), error))
        return FALSE;
    set_attributes(node, attributes);
    return TRUE;
}

static gboolean apply_directory(LayerTree *tree, LayerNode *parent, const char *name,
                                const ErofsAttributes *attributes, GError **error)
{
    LayerNode *old = find_child(parent, name);

    if (!is_directory(old))
        return make_directory(tree, parent, name, attributes, error) != NULL;
    return replace_attributes(tree, old, attributes, error);
}

static gboolean apply_inode(LayerTree *tree, LayerNode *parent, const char *leaf, const LayerName *name,
                            GError **error)
{
    return take_inode(tree, name->link, error) &&
           put_name(tree, parent, leaf, inode_new(tree, name->nid, name->mode, name->link), error) != NULL;
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

        if (at / CHUNK_BYTES % CHUNKS_PER_CHECK == 0 && !layer_budget_check(tree->budget, error))
            return FALSE;
        if (!is_zero(content->blocks + at, length) &&
            !erofs_writer_file_data(tree->copies, at, content->blocks + at, length, error))
            return FALSE;
        layer_budget_add_content(tree->budget, length);
    }
    return TRUE;
}

static gboolean copy_file(LayerTree *tree, const LowerEntry *entry, guint64 *ret_nid, GError **error)
{
    ErofsWriter *writer = tree->copies;
    ErofsContent content;
    guint64 size;

    if (!erofs_reader_content(entry->reader, entry->nid, &content, error))
        return FALSE;
    size = content.blocks_length + content.tail_length;
    if (size > tree->max_copied_bytes - tree->copied_bytes)
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "the layer has hard links to more than %" G_GUINT64_FORMAT " bytes of the layers below "
                    "(images.max_layer_size)",
                    tree->max_copied_bytes);
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

    if (!take_inode(tree, entry->link_target, error))
        return FALSE;
    if (S_ISREG(mode)
            ? !copy_file(tree, entry, &nid, error)
            : !erofs_writer_special(tree->copies, &entry->attributes, entry->link_target, &nid, error))
        return FALSE;
    *ret_inode = inode_new(tree, nid, mode, entry->link_target);
    return TRUE;
}

/* Copies what the layers below have where the walk ends. *ret_node is left alone when they have no file
 * there. */
static gboolean copy_from_lower(Walk *walk, const char *leaf, LayerNode **ret_node, GError **error)
{
    LayerTree *tree = walk->tree;
    g_auto(LowerEntry) entry = {0};
    LowerDirectory *lower = NULL;
    LayerInode *inode = NULL;
    LayerNode *parent;

    if (!step_lower(walk, &lower, error) || !find_lower(lower, leaf, &entry, error))
        return FALSE;
    if (entry.attributes.mode == 0 || S_ISDIR(entry.attributes.mode))
        return TRUE;
    parent = make_walked(walk, error);
    if (parent == NULL || !copy_inode(tree, &entry, &inode, error))
        return FALSE;
    *ret_node = put_name(tree, parent, leaf, inode, error);
    return *ret_node != NULL;
}

/* Another name for a file of this layer or of those below. */
static gboolean apply_hard_link(LayerTree *tree, LayerNode *parent, const char *leaf, const char *path,
                                GError **error)
{
    g_autofree char **target = split_path(path);
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
    if (node == NULL || is_directory(node) || is_whiteout(node))
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "it is a hard link to \"%s\", which is no file of the image", path);
    return node == find_child(parent, leaf) || put_name(tree, parent, leaf, node->inode, error) != NULL;
}

/* Hides a name of the layers below. What this layer itself has of that name stays, but a directory is not
 * merged any more. Parents are only made when there is something to hide. */
static gboolean apply_whiteout(Walk *walk, const char *leaf, GError **error)
{
    g_auto(LowerEntry) entry = {0};
    LowerDirectory *lower = NULL;
    LayerNode *old = find_child(last_step(walk)->node, leaf);
    LayerInode *inode;
    LayerNode *parent;

    if (old != NULL) {
        if (is_directory(old))
            old->directory->opaque = TRUE;
        return TRUE;
    }
    if (!step_lower(walk, &lower, error) || !find_lower(lower, leaf, &entry, error))
        return FALSE;
    if (entry.attributes.mode == 0)
        return TRUE;
    parent = make_walked(walk, error);
    if (parent == NULL || !take_inode(walk->tree, NULL, error))
        return FALSE;
    inode = inode_new(walk->tree, 0, S_IFCHR, NULL);
    inode->whiteout = TRUE;
    return put_name(walk->tree, parent, leaf, inode, error) != NULL;
}

/* Hides all that the layers below have in a directory. */
static gboolean apply_opaque(LayerTree *tree, char **parts, GError **error)
{
    g_auto(Walk) walk = {0};
    LayerNode *node;

    if (!walk_path(&walk, tree, parts, g_strv_length(parts), error))
        return FALSE;
    node = make_walked(&walk, error);
    if (node != NULL)
        node->directory->opaque = TRUE;
    return node != NULL;
}

static gboolean apply_leaf(LayerTree *tree, Walk *walk, const char *leaf, const LayerName *name,
                           GError **error)
{
    LayerNode *parent = make_walked(walk, error);

    if (parent == NULL)
        return FALSE;
    switch (name->kind) {
    case LAYER_NAME_DIRECTORY:
        return apply_directory(tree, parent, leaf, name->attributes, error);
    case LAYER_NAME_HARD_LINK:
        return apply_hard_link(tree, parent, leaf, name->link, error);
    case LAYER_NAME_INODE:
    case LAYER_NAME_WHITEOUT:
    case LAYER_NAME_OPAQUE:
    default:
        return apply_inode(tree, parent, leaf, name, error);
    }
}

gboolean layer_tree_apply(LayerTree *tree, const LayerName *name, GError **error)
{
    g_autofree char **parts = split_path(name->path);
    guint n = g_strv_length(parts);
    g_auto(Walk) walk = {0};

    if (name->kind == LAYER_NAME_OPAQUE)
        return apply_opaque(tree, parts, error);
    if (n == 0)
        return replace_attributes(tree, tree->root, name->attributes, error);
    if (!walk_path(&walk, tree, parts, n - 1, error))
        return FALSE;
    if (name->kind == LAYER_NAME_WHITEOUT)
        return apply_whiteout(&walk, parts[n - 1], error);
    return apply_leaf(tree, &walk, parts[n - 1], name, error);
}

/* Writing */

static gboolean write_whiteout(LayerInode *inode, ErofsWriter *writer, GError **error)
{
    ErofsAttributes attributes = {.mode = S_IFCHR};

    return erofs_writer_special(writer, &attributes, NULL, &inode->nid, error);
}

/* Adds a name to those of its directory, still without the number of a directory. A whiteout in an opaque
 * directory hides nothing; readdir would list it. */
static void collect_name(const LayerDirectory *directory, const LayerNode *node)
{
    ErofsDirent entry = {.name = node->name, .mode = S_IFDIR};

    if (is_whiteout(node) && directory->opaque)
        return;
    if (node->inode != NULL) {
        entry.mode = node->inode->mode;
        entry.nid = node->inode->nid;
    }
    g_array_append_val(directory->names, entry);
}

/* In the order of the names, so that the image is the same each time. */
static gboolean write_whiteouts(const LayerNode *node, ErofsWriter *writer, GError **error)
{
    const GArray *names = node->directory->names;

    for (guint i = 0; i < names->len; i++) {
        ErofsDirent *entry = &g_array_index(names, ErofsDirent, i);
        LayerNode *child = find_child(node, entry->name);

        if (!is_whiteout(child))
            continue;
        if (!write_whiteout(child->inode, writer, error))
            return FALSE;
        entry->nid = child->inode->nid;
    }
    return TRUE;
}

/* The sorted names of a directory. */
static gboolean collect_names(LayerTree *tree, LayerDirectory *directory, GError **error)
{
    static const ErofsDirent dots[] = {{".", 0, S_IFDIR}, {"..", 0, S_IFDIR}};
    guint n = G_N_ELEMENTS(dots);
    GHashTableIter iterator;
    gpointer node;

    if (directory->children != NULL)
        n += g_hash_table_size(directory->children);
    if (!take_memory(tree, n * sizeof(ErofsDirent), error))
        return FALSE;
    directory->names = g_array_sized_new(FALSE, FALSE, sizeof(ErofsDirent), n);
    g_array_append_vals(directory->names, dots, G_N_ELEMENTS(dots));
    if (directory->children != NULL) {
        g_hash_table_iter_init(&iterator, directory->children);
        while (g_hash_table_iter_next(&iterator, NULL, &node))
            collect_name(directory, node);
    }
    g_array_sort(directory->names, erofs_dirent_compare);
    return TRUE;
}

/* Other directories may share the xattrs, so they are copied before overlayfs's is added. */
static gboolean mark_opaque(LayerTree *tree, LayerDirectory *directory, GError **error)
{
    GByteArray *shared = directory->attributes.xattrs;

    if (!take_memory(tree, erofs_xattr_memory(&directory->attributes) + EROFS_BLOCK_BYTES / 32, error))
        return FALSE;
    directory->attributes.xattrs = NULL;
    if (shared != NULL) {
        directory->attributes.xattrs = g_byte_array_new();
        g_byte_array_append(directory->attributes.xattrs, shared->data, shared->len);
        g_byte_array_unref(shared);
    }
    return erofs_xattr_add(&directory->attributes.xattrs, "trusted.overlay.opaque", "y", 1, error);
}

static gboolean reserve_directories(LayerTree *tree, LayerNode *node, ErofsWriter *writer, GError **error)
{
    LayerDirectory *directory = node->directory;

    if (!layer_budget_tick(tree->budget, error) ||
        (directory->opaque && !mark_opaque(tree, directory, error)))
        return FALSE;
    if (!collect_names(tree, directory, error) || !write_whiteouts(node, writer, error) ||
        !erofs_writer_reserve_directory(writer, &directory->attributes, directory->names, &directory->place,
                                        error))
        return FALSE;
    for (guint i = 0; i < directory->names->len; i++) {
        LayerNode *child = find_child(node, g_array_index(directory->names, ErofsDirent, i).name);

        if (is_directory(child) && !reserve_directories(tree, child, writer, error))
            return FALSE;
    }
    return TRUE;
}

/* The writer encodes the whole directory at once. */
static gboolean write_directory(LayerTree *tree, const LayerDirectory *directory, guint32 links,
                                ErofsWriter *writer, GError **error)
{
    gsize bytes =
        (gsize)directory->place.size + EROFS_BLOCK_BYTES + erofs_xattr_memory(&directory->attributes);
    gboolean done;

    if (!layer_budget_tick(tree->budget, error) || !layer_budget_take(tree->budget, bytes, error))
        return FALSE;
    done = erofs_writer_directory(writer, &directory->place, &directory->attributes, directory->names, links,
                                  error);
    layer_budget_give(tree->budget, layer_budget_cost(bytes));
    return done;
}

static gboolean write_directories(LayerTree *tree, const LayerNode *node, guint64 parent_nid,
                                  ErofsWriter *writer, GError **error)
{
    const LayerDirectory *directory = node->directory;
    guint32 links = 2;

    for (guint i = 0; i < directory->names->len; i++) {
        ErofsDirent *entry = &g_array_index(directory->names, ErofsDirent, i);
        LayerNode *child = find_child(node, entry->name);

        if (g_str_equal(entry->name, ".")) {
            entry->nid = directory->place.nid;
        } else if (g_str_equal(entry->name, "..")) {
            entry->nid = parent_nid;
        } else if (is_directory(child)) {
            entry->nid = child->directory->place.nid;
            links++;
            if (!write_directories(tree, child, directory->place.nid, writer, error))
                return FALSE;
        }
    }
    return write_directory(tree, directory, links, writer, error);
}

gboolean layer_tree_write(LayerTree *tree, ErofsWriter *writer, GError **error)
{
    for (guint i = 0; i < tree->inodes->len; i++) {
        const LayerInode *inode = g_ptr_array_index(tree->inodes, i);

        if (inode->links > 0 && inode->links != inode->written_links && !inode->whiteout &&
            !erofs_writer_set_links(writer, inode->nid, inode->links, error))
            return FALSE;
    }
    return reserve_directories(tree, tree->root, writer, error) &&
           write_directories(tree, tree->root, tree->root->directory->place.nid, writer, error);
}

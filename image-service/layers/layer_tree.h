/* SPDX-License-Identifier: Apache-2.0 */
/* The names of one layer while it is being read: what is where, what a later entry replaced, what it hides of
 * the layers below.
 *
 * Names live here only, never on the host's file system, so there is nothing that a symbolic link in a layer
 * could lead to: a parent that is not a directory is refused. Whiteouts of OCI layers
 * (https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts) become those of overlayfs: a
 * character device 0:0, and trusted.overlay.opaque on directories. One thread per tree.
 */
#pragma once

#include "image-service/layers/erofs.h"

typedef struct LayerTree LayerTree;
typedef struct LayerNode LayerNode;

/* max_entries bounds the names, parents that no entry mentions included. */
LayerTree *layer_tree_new(guint max_entries);
void layer_tree_free(LayerTree *tree); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LayerTree, layer_tree_free)

/* A path as tars have it ("./a/b/", "/a/b", "a/b") in parts; "." gives none. INVALID_ARGUMENT: "..", a part
 * or a path that is too long. */
gboolean layer_path_split(const char *path, char ***ret_parts, GError **error);

/* The directory that the last part belongs into; parents that are missing are made (0755, root). Borrowed.
 * parts is not empty. INVALID_ARGUMENT when one of them is not a directory. */
LayerNode *layer_tree_parent(LayerTree *tree, char **parts, GError **error);

/* Each puts a name where the last entry wins. The attributes' xattrs are the node's to keep when it succeeds
 * (a directory), else the caller's. */
gboolean layer_tree_put_inode(LayerTree *tree, LayerNode *parent, const char *name, guint64 nid, mode_t mode,
                              GError **error);
gboolean layer_tree_put_directory(LayerTree *tree, LayerNode *parent, const char *name,
                                  const ErofsAttributes *attributes, GError **error);
void layer_tree_set_root(LayerTree *tree, const ErofsAttributes *attributes);
/* Another name for what the parts name, which must be in the tree and no directory: INVALID_ARGUMENT. */
gboolean layer_tree_link(LayerTree *tree, LayerNode *parent, const char *name, char **target, GError **error);
/* Hides name, and only what the layers below have under it. */
gboolean layer_tree_whiteout(LayerTree *tree, LayerNode *parent, const char *name, GError **error);
/* Hides all that the layers below have in this directory. */
void layer_tree_set_opaque(LayerNode *directory);

/* Directories, whiteouts and link counts go to the image; then it only lacks the super block. */
gboolean layer_tree_write(LayerTree *tree, ErofsWriter *writer, GError **error);

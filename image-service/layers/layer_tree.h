/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of one layer: what is where, what a later entry replaced, what it hides of the layers below.
 *
 * Names are applied in the order of the tar to what is below, as if they were unpacked onto it:
 * - A directory that the layer does not describe keeps the mode, owner, times and attributes that it has
 * below.
 * - Symbolic links in the parents of a name are followed, whether they are in this layer or below it, and
 *   wherever they lead inside the image; ".." ends at its root. What is missing on the way is made.
 * - A whiteout of what is not there is dropped.
 * - A file that only the layers below have, and that gets another name by a hard link, is copied into this
 *   layer under both names, as overlayfs does it.
 *
 * Names live here only, never on the host's file system, so no link can lead out of the image. Whiteouts of
 * OCI layers (https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts) become those of
 * overlayfs: a character device 0:0, and trusted.overlay.opaque on directories. One thread per tree.
 */
#pragma once

#include "image-service/layers/erofs_writer.h"
#include "image-service/layers/layer_budget.h"
#include "image-service/layers/layer_names.h"
#include "image-service/layers/lower_view.h"

typedef struct LayerTree LayerTree;

/* The budget bounds the names, parents that no entry mentions included, their memory and the time; lower is
 * NULL when what is below is not known, which is like nothing. Both are borrowed and outlive the tree. */
LayerTree *layer_tree_new(LayerBudget *budget, LowerView *lower);
/* Gives the memory back to the budget; takes NULL. */
void layer_tree_free(LayerTree *tree);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LayerTree, layer_tree_free)

/* Where files of the layers below are copied to that this layer has hard links to (borrowed), and how much of
 * them, all copied files together. Without this, nothing is copied and lower must be NULL. */
void layer_tree_copy_to(LayerTree *tree, ErofsWriter *writer, guint64 max_bytes);

/* Applies one name, of which the tree keeps copies, and a reference to the xattrs. Errors: INVALID_ARGUMENT
 * when a parent is no directory, or for a hard link to what neither the layer nor those below have;
 * RESOURCE_EXHAUSTED over a limit; the deadline's. */
gboolean layer_tree_apply(LayerTree *tree, const LayerName *name, GError **error);

/* Return: whether anything that was applied could have another result with other layers below. */
gboolean layer_tree_depends_on_lower(const LayerTree *tree);

/* Directories, whiteouts and link counts go to the image, which then only lacks the super block. */
gboolean layer_tree_write(LayerTree *tree, ErofsWriter *writer, GError **error);

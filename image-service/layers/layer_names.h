/* SPDX-License-Identifier: Apache-2.0 */
/* The names of a layer in the order of its tar, kept until it is known what is below the layer.
 *
 * The contents of files are in the EROFS image by then; what remains is which name stands for which inode,
 * and that can depend on the layers below (layer_tree.h). A large layer has hundreds of thousands of them, so
 * a name takes no more than it needs, out of the layer's budget. One thread.
 */
#pragma once

#include "image-service/layers/erofs_attributes.h"
#include "image-service/layers/layer_budget.h"

typedef enum {
    LAYER_NAME_DIRECTORY, /* the layer describes it; the path "" is the root */
    LAYER_NAME_INODE,     /* a file, symbolic link, device or FIFO */
    LAYER_NAME_HARD_LINK,
    LAYER_NAME_WHITEOUT, /* path is what it hides */
    LAYER_NAME_OPAQUE,   /* path is the directory of which everything below is hidden */
} LayerNameKind;

typedef struct {
    LayerNameKind kind;
    mode_t mode;                 /* of an inode */
    guint64 nid;                 /* of an inode */
    ErofsAttributes *attributes; /* of a directory, with its own reference to the xattrs */
    char *link;                  /* the target of a symbolic link, or the path of what a hard link links to */
    char path[];                 /* checked: "a/b/c" */
} LayerName;

/* A name with a checked path. Return: NULL over the budget, with the error set. */
LayerName *layer_name_new(LayerBudget *budget, const char *path, GError **error);
void layer_name_free(LayerName *name); /* takes NULL; what it took stays taken */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LayerName, layer_name_free)

gboolean layer_name_set_link(LayerName *name, LayerBudget *budget, const char *link, GError **error);
/* Copies the attributes and takes a reference to their xattrs. */
gboolean layer_name_set_attributes(LayerName *name, LayerBudget *budget, const ErofsAttributes *attributes,
                                   GError **error);

/* Checks a path as tars have it ("./a/b/", "/a/b", "a/b"). *ret_parts: its parts; none for ".".
 * Errors: INVALID_ARGUMENT for "..", and for a part or a path that is too long or too deep. */
gboolean layer_path_split(const char *path, char ***ret_parts, GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
/* The names of a layer in the order of its tar, kept until it is known what is below the layer.
 *
 * The contents of files are in the EROFS image by then; what remains is which name stands for which inode,
 * and that can depend on the layers below (layer_tree.h). One thread.
 */
#pragma once

#include "image-service/layers/erofs_attributes.h"

typedef enum {
    LAYER_NAME_DIRECTORY, /* the layer describes it; the path "/" is the root */
    LAYER_NAME_INODE,     /* a file, symbolic link, device or FIFO */
    LAYER_NAME_HARD_LINK,
    LAYER_NAME_WHITEOUT, /* path is what it hides */
    LAYER_NAME_OPAQUE,   /* path is the directory of which everything below is hidden */
} LayerNameKind;

typedef struct {
    LayerNameKind kind;
    char *path;                 /* as the tar has it, for messages */
    char **parts;               /* the path, split and checked; empty for the root */
    ErofsAttributes attributes; /* of a directory; its xattrs belong to this */
    guint64 nid;                /* of an inode */
    mode_t mode;                /* of an inode */
    char *link_target;          /* of a symbolic link */
    char **hard_link_parts;     /* what a hard link links to */
} LayerName;
void layer_name_free(LayerName *name); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LayerName, layer_name_free)

/* Splits a path as tars have it ("./a/b/", "/a/b", "a/b"); "." gives no parts.
 * Errors: INVALID_ARGUMENT for "..", and for a part or a path that is too long or too deep. */
gboolean layer_path_split(const char *path, char ***ret_parts, GError **error);

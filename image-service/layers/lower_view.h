/* SPDX-License-Identifier: Apache-2.0 */
/* What an image has below one of its layers: the names of the layers under it, merged as overlayfs merges
 * them (whiteouts, opaque directories).
 *
 * Directories have references, so that looking below many names does not pile them up; a view outlives them.
 * A view belongs to one thread.
 */
#pragma once

#include "image-service/layers/erofs_reader.h"

typedef struct LowerView LowerView;
typedef struct LowerDirectory LowerDirectory;

/* paths: the EROFS files of the layers, lowest first, ended by NULL; may be empty. */
LowerView *lower_view_open(const char *const *paths, GError **error);
void lower_view_free(LowerView *view); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LowerView, lower_view_free)

/* Return: borrowed from the view; NULL when there are no layers. */
LowerDirectory *lower_view_root(const LowerView *view);

LowerDirectory *lower_directory_ref(LowerDirectory *directory); /* takes NULL */
void lower_directory_unref(LowerDirectory *directory);          /* takes NULL */
/* The bytes of memory that it takes. */
gsize lower_directory_memory(const LowerDirectory *directory);

typedef struct {
    ErofsAttributes attributes; /* mode 0: there is nothing of that name */
    char *link_target;          /* of a symbolic link */
    LowerDirectory *directory;  /* of a directory */
    const ErofsReader *reader;  /* the layer that decides what it is; borrowed from the view */
    guint64 nid;                /* in that layer */
} LowerEntry;
void lower_entry_clear(LowerEntry *entry);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LowerEntry, lower_entry_clear)

/* Finds a name in a directory. Errors: DATA_LOSS for a damaged layer. */
gboolean lower_view_find(const LowerDirectory *directory, const char *name, LowerEntry *ret_entry,
                         GError **error);

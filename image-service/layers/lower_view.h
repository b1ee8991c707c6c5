/* SPDX-License-Identifier: Apache-2.0 */
/* What an image has below one of its layers: the names of the layers under it, merged as overlayfs merges
 * them (whiteouts, opaque directories).
 *
 * Directories are the view's and live as long as it. A view belongs to one thread.
 */
#pragma once

#include "image-service/layers/erofs_reader.h"

typedef struct LowerView LowerView;
typedef struct LowerDirectory LowerDirectory;

/* paths: the EROFS files of the layers, lowest first, ended by NULL; may be empty. */
LowerView *lower_view_open(const char *const *paths, GError **error);
void lower_view_free(LowerView *view); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LowerView, lower_view_free)

/* Return: NULL when there are no layers. */
const LowerDirectory *lower_view_root(const LowerView *view);

typedef struct {
    ErofsAttributes attributes;      /* mode 0: there is nothing of that name */
    char *link_target;               /* of a symbolic link */
    const LowerDirectory *directory; /* of a directory; borrowed from the view */
    const ErofsReader *reader;       /* the layer that decides what it is; borrowed from the view */
    guint64 nid;                     /* in that layer */
} LowerEntry;
void lower_entry_clear(LowerEntry *entry);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LowerEntry, lower_entry_clear)

/* Finds a name in a directory. Errors: DATA_LOSS for a damaged layer. */
gboolean lower_view_find(LowerView *view, const LowerDirectory *directory, const char *name,
                         LowerEntry *ret_entry, GError **error);

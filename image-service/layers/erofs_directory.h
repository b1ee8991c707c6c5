/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of an EROFS image as they lie on disk: blocks of entries, sorted by name. */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* A name in a directory. */
typedef struct {
    const char *name;
    guint64 nid;
    mode_t mode;
} ErofsDirent;

int erofs_dirent_compare(gconstpointer a, gconstpointer b);

/* names: ErofsDirent, sorted by erofs_dirent_compare(). */
guint64 erofs_directory_size(const GArray *names);
/* data is zeroed and has room for the size, rounded up to whole blocks. */
void erofs_directory_encode(const GArray *names, guint8 *data);

/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/erofs_directory.h"

#include <string.h>
#include <sys/stat.h>

#include "image-service/layers/erofs_format.h"

int erofs_dirent_compare(gconstpointer a, gconstpointer b)
{
    return strcmp(((const ErofsDirent *)a)->name, ((const ErofsDirent *)b)->name);
}

static guint8 dirent_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return 1;
    case S_IFDIR:
        return 2;
    case S_IFCHR:
        return 3;
    case S_IFBLK:
        return 4;
    case S_IFIFO:
        return 5;
    case S_IFSOCK:
        return 6;
    case S_IFLNK:
        return 7;
    default:
        return 0;
    }
}

/* How many names from first on share a block, and the bytes that they take in it. */
static guint dirents_in_block(const GArray *names, guint first, gsize *ret_bytes)
{
    gsize bytes = 0;
    guint count = 0;

    for (guint i = first; i < names->len; i++) {
        gsize needed = sizeof(ErofsDiskDirent) + strlen(g_array_index(names, ErofsDirent, i).name);

        if (bytes + needed > EROFS_BLOCK_BYTES)
            break;
        bytes += needed;
        count++;
    }
    *ret_bytes = bytes;
    return count;
}

guint64 erofs_directory_size(const GArray *names)
{
    guint64 size = 0;

    for (guint first = 0; first < names->len;) {
        gsize bytes;

        first += dirents_in_block(names, first, &bytes);
        size += first < names->len ? EROFS_BLOCK_BYTES : bytes;
    }
    return size;
}

/* The table of entries, then the names, each block by itself. */
void erofs_directory_encode(const GArray *names, guint8 *data)
{
    for (guint first = 0; first < names->len; data += EROFS_BLOCK_BYTES) {
        gsize bytes;
        guint count = dirents_in_block(names, first, &bytes);
        gsize name_offset = count * sizeof(ErofsDiskDirent);

        for (guint i = 0; i < count; i++) {
            const ErofsDirent *entry = &g_array_index(names, ErofsDirent, first + i);
            ErofsDiskDirent dirent = {
                .nid = GUINT64_TO_LE(entry->nid),
                .name_offset = GUINT16_TO_LE((guint16)name_offset),
                .type = dirent_type(entry->mode),
            };

            memcpy(data + i * sizeof dirent, &dirent, sizeof dirent);
            memcpy(data + name_offset, entry->name, strlen(entry->name));
            name_offset += strlen(entry->name);
        }
        first += count;
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/lower_view.h"

#include <string.h>
#include <sys/stat.h>

/* One of the directories that are merged. */
typedef struct {
    const ErofsReader *reader;
    guint64 nid;
} Part;

struct LowerDirectory {
    guint references;
    guint n_parts;
    Part parts[]; /* highest first */
};

struct LowerView {
    GPtrArray *readers; /* ErofsReader, lowest first */
    LowerDirectory *root;
};

static LowerDirectory *directory_new(const GArray *parts)
{
    gsize bytes = parts->len * sizeof(Part);
    LowerDirectory *directory = g_malloc0(sizeof *directory + bytes);

    directory->references = 1;
    directory->n_parts = parts->len;
    memcpy(directory->parts, parts->data, bytes);
    return directory;
}

LowerDirectory *lower_directory_ref(LowerDirectory *directory)
{
    if (directory != NULL)
        directory->references++;
    return directory;
}

void lower_directory_unref(LowerDirectory *directory)
{
    if (directory != NULL && --directory->references == 0)
        g_free(directory);
}

gsize lower_directory_memory(const LowerDirectory *directory)
{
    return sizeof *directory + directory->n_parts * sizeof(Part);
}

/* The roots of all layers, merged. */
static LowerDirectory *root_new(const GPtrArray *readers)
{
    g_autoptr(GArray) parts = g_array_new(FALSE, FALSE, sizeof(Part));

    for (guint i = readers->len; i > 0; i--) {
        const ErofsReader *reader = g_ptr_array_index(readers, i - 1);
        Part part = {reader, erofs_reader_root(reader)};

        g_array_append_val(parts, part);
    }
    return parts->len > 0 ? directory_new(parts) : NULL;
}

LowerView *lower_view_open(const char *const *paths, GError **error)
{
    g_autoptr(LowerView) view = g_new0(LowerView, 1);

    view->readers = g_ptr_array_new_with_free_func((GDestroyNotify)erofs_reader_free);
    for (; *paths != NULL; paths++) {
        ErofsReader *reader = erofs_reader_open(*paths, error);

        if (reader == NULL)
            return NULL;
        g_ptr_array_add(view->readers, reader);
    }
    view->root = root_new(view->readers);
    return g_steal_pointer(&view);
}

void lower_view_free(LowerView *view)
{
    if (view == NULL)
        return;
    lower_directory_unref(view->root);
    g_clear_pointer(&view->readers, g_ptr_array_unref);
    g_free(view);
}

LowerDirectory *lower_view_root(const LowerView *view)
{
    return view->root;
}

void lower_entry_clear(LowerEntry *entry)
{
    g_clear_pointer(&entry->attributes.xattrs, g_byte_array_unref);
    g_clear_pointer(&entry->link_target, g_free);
    g_clear_pointer(&entry->directory, lower_directory_unref);
}

static gboolean is_whiteout(const ErofsAttributes *attributes)
{
    return S_ISCHR(attributes->mode) && attributes->rdev_major == 0 && attributes->rdev_minor == 0;
}

/* Takes what one layer has of the name into the entry. *ret_is_last: nothing below counts. The highest layer
 * that has the name decides what it is; a directory is merged with those below until something hides them. */
static gboolean merge_part(const Part *found, LowerEntry *entry, GArray *parts, gboolean *ret_is_last,
                           GError **error)
{
    gboolean is_first = entry->attributes.mode == 0;
    gboolean is_opaque = FALSE;
    ErofsAttributes attributes;
    gboolean is_directory;

    if (!erofs_reader_attributes(found->reader, found->nid, &attributes, &is_opaque, error))
        return FALSE;
    is_directory = S_ISDIR(attributes.mode);
    if (is_directory)
        g_array_append_val(parts, *found);
    *ret_is_last = !is_directory || is_opaque;
    if (!is_first || is_whiteout(&attributes)) {
        g_clear_pointer(&attributes.xattrs, g_byte_array_unref);
        return TRUE;
    }
    entry->attributes = attributes;
    entry->reader = found->reader;
    entry->nid = found->nid;
    if (S_ISLNK(attributes.mode))
        entry->link_target = erofs_reader_link_target(found->reader, found->nid, error);
    return !S_ISLNK(attributes.mode) || entry->link_target != NULL;
}

gboolean lower_view_find(const LowerDirectory *directory, const char *name, LowerEntry *ret_entry,
                         GError **error)
{
    g_auto(LowerEntry) entry = {0};
    g_autoptr(GArray) parts = g_array_new(FALSE, FALSE, sizeof(Part));
    gboolean is_last = FALSE;

    for (guint i = 0; i < directory->n_parts && !is_last; i++) {
        Part part = directory->parts[i];
        gboolean found = FALSE;

        if (!erofs_reader_find(part.reader, part.nid, name, &found, &part.nid, error) ||
            (found && !merge_part(&part, &entry, parts, &is_last, error)))
            return FALSE;
    }
    if (parts->len > 0)
        entry.directory = directory_new(parts);
    *ret_entry = entry;
    entry = (LowerEntry){0};
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "common/mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <libmount.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "common/error.h"

struct MountTable {
    struct libmnt_table *lines; /* owns the strings */
    GArray *mounts;             /* Mount */
};

void mount_table_free(MountTable *table)
{
    if (table == NULL)
        return;
    g_array_unref(table->mounts);
    mnt_unref_table(table->lines);
    g_free(table);
}

static const char *text_or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static void mount_add(MountTable *table, struct libmnt_fs *line)
{
    unsigned long propagation = 0;
    Mount mount = {
        .id = mnt_fs_get_id(line),
        .device = mnt_fs_get_devno(line),
        .root = text_or_empty(mnt_fs_get_root(line)),
        .target = mnt_fs_get_target(line),
        .type = text_or_empty(mnt_fs_get_fstype(line)),
        .options = text_or_empty(mnt_fs_get_fs_options(line)),
    };

    if (mount.id <= 0 || mount.target == NULL)
        return; /* a line of another format */
    if (mnt_fs_get_propagation(line, &propagation) == 0)
        mount.shared = (propagation & MS_SHARED) != 0;
    g_array_append_val(table->mounts, mount);
}

static MountTable *table_from_stream(FILE *stream, const char *name, GError **error)
{
    g_autoptr(MountTable) table = g_new0(MountTable, 1);
    struct libmnt_iter *lines = mnt_new_iter(MNT_ITER_FORWARD);
    struct libmnt_fs *line;
    int code;

    table->lines = mnt_new_table();
    table->mounts = g_array_new(FALSE, TRUE, sizeof(Mount));
    code = mnt_table_parse_stream(table->lines, stream, name);
    if (code < 0) {
        fail_errno(error, -code, "cannot read %s", name);
        mnt_free_iter(lines);
        return NULL;
    }
    while (mnt_table_next_fs(table->lines, lines, &line) == 0)
        mount_add(table, line);
    mnt_free_iter(lines);
    return g_steal_pointer(&table);
}

MountTable *mount_table_read(const char *path, GError **error)
{
    const char *name = path != NULL ? path : "/proc/thread-self/mountinfo";
    FILE *stream = fopen(name, "re");
    MountTable *table;

    if (stream == NULL) {
        fail_errno(error, errno, "cannot open %s", name);
        return NULL;
    }
    table = table_from_stream(stream, name, error);
    fclose(stream);
    return table;
}

MountTable *mount_table_parse(const char *text, gsize length, GError **error)
{
    FILE *stream = fmemopen((void *)(length > 0 ? text : "\n"), length > 0 ? length : 1, "r");
    MountTable *table;

    if (stream == NULL) {
        fail_errno(error, errno, "cannot read a mountinfo of %zu bytes", length);
        return NULL;
    }
    table = table_from_stream(stream, "mountinfo", error);
    fclose(stream);
    return table;
}

guint mount_table_length(const MountTable *table)
{
    return table->mounts->len;
}

const Mount *mount_table_at(const MountTable *table, guint index)
{
    return &g_array_index(table->mounts, Mount, index);
}

const Mount *mount_table_find_target(const MountTable *table, const char *target)
{
    for (guint i = table->mounts->len; i > 0; i--)
        if (strcmp(mount_table_at(table, i - 1)->target, target) == 0)
            return mount_table_at(table, i - 1);
    return NULL;
}

const Mount *mount_table_find_path(const MountTable *table, const char *path, gboolean follow)
{
    struct statx info;

    if (statx(AT_FDCWD, path, follow ? 0 : AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &info) != 0 ||
        (info.stx_mask & STATX_MNT_ID) == 0)
        return NULL;
    for (guint i = 0; i < table->mounts->len; i++)
        if ((guint64)mount_table_at(table, i)->id == info.stx_mnt_id)
            return mount_table_at(table, i);
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The mounts of a process, read by libmount (proc_pid_mountinfo(5)).
 *
 * A table is a snapshot that its caller owns; mounts and their strings are borrowed from it. Names are
 * unescaped. Errors are those of reading the file. Any thread may read a table.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct {
    int id;
    dev_t device;
    const char *root;    /* what of the file system is mounted */
    const char *target;  /* where */
    const char *type;    /* of the file system: "tmpfs" */
    const char *options; /* of the file system: "rw,size=64k"; "" when there are none */
    gboolean shared;     /* in a peer group: mounts below it propagate */
} Mount;

typedef struct MountTable MountTable;

/* Return: the mounts of this thread (path NULL) or of a mountinfo file, lowest first; NULL with the error
 * set. */
MountTable *mount_table_read(const char *path, GError **error);
/* The same from text; lines that are none are left out. */
MountTable *mount_table_parse(const char *text, gsize length, GError **error);
void mount_table_free(MountTable *table); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MountTable, mount_table_free)

guint mount_table_length(const MountTable *table);
const Mount *mount_table_at(const MountTable *table, guint index);
/* Return: NULL when there is none. Of several mounts on one target the uppermost is found. */
const Mount *mount_table_find_target(const MountTable *table, const char *target);

/* Return: the mount that path is on, in this thread's namespace; NULL when that cannot be found out. A
 * symbolic link at the path's end is followed only if follow. */
const Mount *mount_table_find_path(const MountTable *table, const char *path, gboolean follow);

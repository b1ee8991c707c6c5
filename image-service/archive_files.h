/* SPDX-License-Identifier: Apache-2.0 */
/* The files of an archive or directory, by the names that they have in it.
 *
 * An archive is streamed into numbered temporary files, removed with the object; links inside it are followed
 * by name. A directory is read in place: names are taken beneath it without following symbolic links. Not
 * thread-safe.
 */
#pragma once

#include "common/deadline.h"

typedef struct ArchiveFiles ArchiveFiles;

/* A directory in temporary_dir takes the files of an archive, at most max_bytes of them together. */
ArchiveFiles *archive_files_open(const char *path, const char *temporary_dir, guint64 max_bytes,
                                 const Deadline *deadline, GError **error);
void archive_files_free(ArchiveFiles *files); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ArchiveFiles, archive_files_free)

gboolean archive_files_has(ArchiveFiles *files, const char *name);

/* A descriptor of one's own, at the start of the file, whose content was verified when digest is not NULL
 * (DATA_LOSS). NOT_FOUND when it is missing. */
gboolean archive_files_get(ArchiveFiles *files, const char *name, const char *digest,
                           const Deadline *deadline, int *ret_fd, guint64 *ret_size, GError **error);

/* A small file whole, NUL-terminated, verified likewise. */
gboolean archive_files_read(ArchiveFiles *files, const char *name, const char *digest, gsize max_bytes,
                            char **ret_data, gsize *ret_length, GError **error);

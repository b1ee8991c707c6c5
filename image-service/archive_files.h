/* SPDX-License-Identifier: Apache-2.0 */
/* The files of an archive or directory, by the names that they have in it.
 *
 * An archive is streamed into numbered temporary files, which are removed with the object; links inside it
 * are followed by name. A directory is read in place: names are looked up beneath it without following
 * symbolic links. Not thread-safe.
 */
#pragma once

#include "common/deadline.h"

typedef struct ArchiveFiles ArchiveFiles;

/* The files of an archive go into a new directory in temporary_dir; together they may have max_bytes. */
ArchiveFiles *archive_files_open(const char *path, const char *temporary_dir, guint64 max_bytes,
                                 const Deadline *deadline, GError **error);
void archive_files_free(ArchiveFiles *files); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ArchiveFiles, archive_files_free)

/* Return: whether there is a file of that name. */
gboolean archive_files_has(ArchiveFiles *files, const char *name);

/* *ret_fd: a descriptor of the caller's, at the start of the file. Unless digest is NULL the content is
 * verified. Errors: NOT_FOUND, DATA_LOSS (the digest), the deadline's. */
gboolean archive_files_get(ArchiveFiles *files, const char *name, const char *digest,
                           const Deadline *deadline, int *ret_fd, GError **error);

gboolean archive_files_size(ArchiveFiles *files, const char *name, guint64 *ret_bytes, GError **error);

/* Reads a small file whole, NUL-terminated behind its end. Errors: as archive_files_get(), and
 * RESOURCE_EXHAUSTED when it is larger than max_bytes. */
gboolean archive_files_read(ArchiveFiles *files, const char *name, const char *digest, gsize max_bytes,
                            GBytes **ret_bytes, GError **error);

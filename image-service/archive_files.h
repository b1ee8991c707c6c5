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

/* What an archive may cost the node. Memory is for the names of its files and the documents that are read
 * with archive_files_read(); time is processor time for its decompression, besides 1 s for each 16 MiB that
 * come out. */
typedef struct {
    guint64 max_bytes; /* of the tar, and of the sizes of its files together */
    guint64 max_memory_bytes;
    gint64 max_time_ms;
} ArchiveLimits;

/* The files of an archive go into a new directory in temporary_dir. Errors: INVALID_ARGUMENT for what is no
 * archive, RESOURCE_EXHAUSTED for a limit, the deadline's. */
ArchiveFiles *archive_files_open(const char *path, const char *temporary_dir, const ArchiveLimits *limits,
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
 * RESOURCE_EXHAUSTED when it is larger than max_bytes, or all that were read so have filled the memory. */
gboolean archive_files_read(ArchiveFiles *files, const char *name, const char *digest, gsize max_bytes,
                            GBytes **ret_bytes, GError **error);

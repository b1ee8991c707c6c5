/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint as one file: a tar archive in the pax format, sparse as its files are, with the files of
 * checkpoint.h and nothing else. `request` is the first, so that a client finds it quickly.
 *
 * An archive may come from anyone. The archive itself is never compressed, so that it cannot grow: what is
 * written to the disk when it is opened is at most what it holds. Each of the names may come once, and has to
 * be a regular file; the sizes of those that are read into memory have the bounds of checkpoint_parts.h. The
 * digests are checked as those of a directory are.
 *
 * Errors: INVALID_ARGUMENT for an archive that holds something else, DATA_LOSS for a damaged one; also those
 * of the file system, DEADLINE_EXCEEDED and CANCELLED. Threads: any.
 */
#pragma once

#include "common/deadline.h"
#include "sandbox/checkpoint/checkpoint.h"

/* Writes the files of a finished checkpoint into an empty file. */
gboolean checkpoint_archive_write(int directory, int file, const Deadline *deadline, GError **error);

/* Writes the files of an archive into an empty directory. After a failure some of them may be there. */
gboolean checkpoint_archive_read(int file, int directory, const Deadline *deadline, GError **error);

/* Opens a checkpoint that is a directory (checkpoint_open()) or an archive. The files of an archive are
 * copied below scratch, a directory of the daemon's own that is made if it does not exist; nothing of them is
 * left there when the Checkpoint is closed or the daemon has ended, except when it is killed in this call. */
Checkpoint *checkpoint_open_any(const char *path, const CheckpointStorage *storage, const char *scratch,
                                const Deadline *deadline, GError **error);

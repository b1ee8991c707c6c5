/* SPDX-License-Identifier: Apache-2.0 */
/* Files and directories that must survive a crash, and their removal.
 *
 * Errors name the path; their status follows from errno. Any thread. Paths are the daemon's own: names from a
 * guest or a layer never reach these functions, except as entries of a tree that is removed.
 */
#pragma once

#include <glib.h>

#include "common/deadline.h"

/* Reads a whole file of at most max_bytes (a larger one: RESOURCE_EXHAUSTED). *ret_data is NUL-terminated and
 * the caller's; ret_length may be NULL. */
gboolean file_read(const char *path, gsize max_bytes, char **ret_data, gsize *ret_length, GError **error);

/* Replaces path atomically: written beside it, fsynced, renamed, directory fsynced. */
gboolean file_write_atomic(const char *path, const void *data, gsize length, int mode, GError **error);

/* Writes all of it at the descriptor's position. Return: FALSE with errno. */
gboolean file_write_all(int fd, const void *data, gsize length);
/* The same at that offset, without moving the position. */
gboolean file_write_at(int fd, const void *data, gsize length, goffset offset);
/* Reads that many bytes from that offset. Return: FALSE with errno; EIO when the file ends before. */
gboolean file_read_at(int fd, void *ret_data, gsize length, goffset offset);

/* Makes the file unless it exists, and sets its mode so that only its owner can read it. For libraries that
 * open a file without a mode. */
gboolean file_make_private(const char *path, GError **error);

/* Copies a sparse file with its holes (by reflink where the file system can). to must not exist; a part of it
 * is removed after a failure. Errors also: DEADLINE_EXCEEDED, CANCELLED; deadline may be NULL. */
gboolean file_copy_sparse(const char *from, const char *to, int mode, const Deadline *deadline,
                          GError **error);

/* mkdir -p; existing directories are left as they are. */
gboolean dir_make(const char *path, int mode, GError **error);

/* rm -rf without following symbolic links or entering a mount point below path, not even one of the same file
 * system (it fails then); a missing path is no error. The tree may be a guest's: its depth costs no stack and
 * no descriptors, and nothing but directories is opened. */
gboolean dir_remove_tree(const char *path, GError **error);

/* The same for name in the directory behind parent. */
gboolean dir_remove_tree_at(int parent, const char *name, GError **error);

/* Takes an exclusive lock that ends with the process or with close(*ret_fd), and writes the caller's pid into
 * the file. UNAVAILABLE when another process has it; the message has the pid from the file. */
gboolean file_lock(const char *path, int *ret_fd, GError **error);

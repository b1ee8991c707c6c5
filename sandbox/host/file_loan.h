/* SPDX-License-Identifier: Apache-2.0 */
/* Lets a group open a file of the node for the moment in which QEMU opens it. Each loan is recorded on the
 * disk before the file's ACL has it, so that a process that is killed meanwhile leaves no group that may open
 * the file for good: its ids are used again, by other pods.
 *
 * records: the path of a directory that exists, in which each loan is a symbolic link to its file.
 * Errors: those of file_access.h; those of the directory. Threads: any, but for the same file and group one
 * at a time.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* Lets the group read the file, and write it where asked for, until file_loan_end(). A failure leaves neither
 * entry nor record. */
gboolean file_loan_begin(const char *records, const char *path, gid_t group, gboolean writes, GError **error);
/* Takes the group's entry away. The record stays when that fails. */
gboolean file_loan_end(const char *records, const char *path, gid_t group, GError **error);
/* Ends the loans of a process that was killed. What cannot be ended, as at a file that is not there any more,
 * is logged and forgotten. */
void file_loan_end_all(const char *records);

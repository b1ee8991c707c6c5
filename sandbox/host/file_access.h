/* SPDX-License-Identifier: Apache-2.0 */
/* Lets single users open a file or device of the node, by its POSIX ACL (acl(5), linux/posix_acl_xattr.h).
 * Owner, group and other entries stay as they are.
 *
 * Errors: FAILED_PRECONDITION when the file system has no ACLs; else those of the file. Threads: any; changes
 * follow one another. Other programs (udev, chmod) may change the permissions as well: the last one wins.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* Lets the user read the file, and write it where asked for. */
gboolean file_access_grant(const char *path, uid_t user, gboolean writes, GError **error);
/* Takes the user's entry away. A user without one is success. */
gboolean file_access_revoke(const char *path, uid_t user, GError **error);

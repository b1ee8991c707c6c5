/* SPDX-License-Identifier: Apache-2.0 */
/* Lets single groups open a file or device of the node, by its POSIX ACL (acl(5), linux/posix_acl_xattr.h).
 * Owner, group and other entries stay as they are. The entries are those of groups, because udev takes the
 * users' entries of /dev/kvm away at each event of the device, and KVM sends one for each VM that is created.
 *
 * Errors: FAILED_PRECONDITION when the file system has no ACLs; else those of the file. Threads: any; changes
 * follow one another. Other programs (udev, chmod) may change the permissions as well: the last one wins.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* Lets the group read the file, and write it where asked for. */
gboolean file_access_grant(const char *path, gid_t group, gboolean writes, GError **error);
/* Takes the group's entry away. A group without one is success. */
gboolean file_access_revoke(const char *path, gid_t group, GError **error);

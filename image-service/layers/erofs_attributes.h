/* SPDX-License-Identifier: Apache-2.0 */
/* What an inode of an EROFS image carries besides its content. */
#pragma once

#include <glib.h>
#include <sys/types.h>

#define EROFS_BLOCK_BYTES 4096
#define EROFS_MAX_NAME_BYTES 255
/* Of one inode, encoded. */
#define EROFS_MAX_XATTR_BYTES 61440U

typedef struct {
    mode_t mode; /* with the type bits */
    guint32 uid;
    guint32 gid;
    gint64 mtime_s;
    guint32 mtime_ns;
    guint32 rdev_major;
    guint32 rdev_minor;
    GByteArray *xattrs; /* made by erofs_xattr_add(); NULL: none; borrowed */
} ErofsAttributes;

/* Appends one attribute to *xattrs, which is made when it is NULL. Errors: INVALID_ARGUMENT for names other
 * than user.*, trusted.*, security.* and the two POSIX ACLs, and for what is too long. */
gboolean erofs_xattr_add(GByteArray **xattrs, const char *name, const void *value, gsize length,
                         GError **error);

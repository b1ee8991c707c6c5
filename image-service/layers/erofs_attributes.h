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

/* The bytes of memory that the xattrs take. */
gsize erofs_xattr_memory(const ErofsAttributes *attributes);

/* Appends one attribute to *xattrs, which is made when it is NULL. Errors: INVALID_ARGUMENT for names other
 * than user.*, trusted.*, security.* and the two POSIX ACLs, and for what is too long: a name over 255 bytes
 * (as in the kernel), or more than EROFS_MAX_XATTR_BYTES together. */
gboolean erofs_xattr_add(GByteArray **xattrs, const char *name, const void *value, gsize length,
                         GError **error);

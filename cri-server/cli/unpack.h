/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacks a tar archive of a container, which is not trusted, into a directory of the node.
 *
 * Only the requested member is unpacked, or what is below a directory. Nothing is written outside of the
 * directory: names that lead upwards and names below a symbolic link are refused, whether the link is in the
 * archive or was there before. Device nodes are refused. Files belong to the caller and have no setuid,
 * setgid and sticky bits, unless `keeps` is set.
 *
 * Errors: INTERNAL when a member was refused or could not be written; the others are unpacked, and each
 * problem is a line on stderr. INVALID_ARGUMENT when the archive is broken or the headers of one member are
 * too large (image-service/layers/tar_reader.h). Threads: it changes the working directory, so a process of
 * its own calls it.
 */
#pragma once

#include <glib.h>

typedef struct {
    const char *into;
    const char *name;     /* "." for everything */
    const char *new_name; /* instead of name; NULL: keep it */
    gboolean keeps;       /* owners and all mode bits */
} UnpackSpec;

gboolean unpack_tar(int fd, const UnpackSpec *spec, GError **error);

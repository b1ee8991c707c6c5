/* SPDX-License-Identifier: Apache-2.0 */
/* The writable disk of a guest: a sparse ext4 image, copied from one template. Threads: any. */
#pragma once

#include <glib.h>

/* Makes state_dir/upper-template.ext4 with mkfs.ext4, unless it exists with that size. */
gboolean writable_disk_template_make(const char *state_dir, guint64 size_bytes, GError **error);

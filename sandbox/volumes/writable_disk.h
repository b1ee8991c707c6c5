/* The writable disk that each pod's guest has: a sparse ext4 image, copied from one template. */
#pragma once

#include <glib.h>

/* Makes state_dir/upper-template.ext4 with mkfs.ext4, unless it is there with that size. */
gboolean writable_disk_template_make(const char *state_dir, guint64 size_bytes, GError **error);

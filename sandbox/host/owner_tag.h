/* Whose something on the node is that lies in no directory of the daemon's own: taps and cgroups carry its
 * mark. The mark is random, made once for each state directory and kept in it, so that no two daemons have
 * the same one and a daemon that has lost its pods still knows what was theirs.
 */
#pragma once

#include <glib.h>

/* "crivirt-" and 16 hexadecimal digits; the caller frees it. INTERNAL when the file holds something else. */
char *owner_tag_get(const char *state_dir, GError **error);

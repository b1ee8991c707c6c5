/* Id-mapped copies of mounts, for containers in a user namespace (mount_setattr(2)): what root owns in an
 * image belongs to the container's root.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/guest/fault.h"
#include "agent/guest/messages.h"

/* A descriptor of a new user namespace with these mappings, or -1 in *ret_fd where there are none. With the
 * first one, what containers in such a namespace cannot mount themselves appears: SANDBOX_DIR/mqueue. */
bool idmap_open(IdMapping *const *uids, size_t n_uids, IdMapping *const *gids, size_t n_gids, int *ret_fd,
                Fault *ret_fault);

/* Mounts what is at `from` at the existing directory `to`, with the owners mapped; userns_fd -1: as they are.
 */
bool idmap_bind(const char *from, const char *to, int userns_fd, Fault *ret_fault);

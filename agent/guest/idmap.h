/* SPDX-License-Identifier: Apache-2.0 */
/* Id-mapped copies of mounts, for containers in a user namespace (mount_setattr(2)): files that root owns in
 * an image belong to the container's root.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/guest/fault.h"
#include "agent/guest/messages.h"

/* Opens a new user namespace with these mappings; *ret_fd is -1 when there are none. The first one also
 * mounts SANDBOX_DIR/mqueue, because containers in such a namespace cannot mount mqueue themselves. */
bool idmap_open(IdMapping *const *uids, size_t n_uids, IdMapping *const *gids, size_t n_gids, int *ret_fd,
                Fault *ret_fault);

/* Mounts `from` also at the existing directory `to`, with the owners mapped; userns_fd -1: unmapped.
 */
bool idmap_bind(const char *from, const char *to, int userns_fd, Fault *ret_fault);

/* Who a container runs as: agent.proto's User against the /etc/passwd and /etc/group of its rootfs.
 *
 * The rootfs is a stranger's: its files are opened beneath it (no link leads out), must be regular, and are
 * read to at most a bound.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/guest/fault.h"
#include "agent/guest/messages.h"

enum { USER_GROUPS_MAX = 1024 };

typedef struct {
    uint32_t uid, gid;
    uint32_t n_groups;
    uint32_t groups[USER_GROUPS_MAX]; /* the gid first: a process loses no right, nor restriction, of it */
} Identity;

/* rootfs_fd: the rootfs directory. want may be NULL: root. */
bool user_resolve(int rootfs_fd, const User *want, Identity *ret_identity, Fault *ret_fault);

/* The OCI process.user object; the length, or 0 when room is too small. */
size_t user_to_json(const Identity *identity, char *ret_json, size_t room);

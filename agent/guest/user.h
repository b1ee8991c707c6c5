/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the user that a container runs as: agent.proto's User, looked up in /etc/passwd and /etc/group of its
 * rootfs.
 *
 * A user or group that consists of digits is an id, also when an entry has these digits as its name. An id
 * that is not 0 to USER_ID_MAX is an error that names it, whether it is given or is in the entry of the user
 * or group.
 *
 * The rootfs is not trusted: links in it are resolved inside it, the two files must be regular and of a
 * limited size.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/guest/fault.h"
#include "agent/guest/messages.h"

enum { USER_GROUPS_MAX = 1024, USER_HOME_MAX = 1024 };
#define USER_ID_MAX (UINT32_MAX - 1) /* (uid_t)-1 means "no user" to the kernel */

typedef struct {
    uint32_t uid, gid;
    uint32_t n_groups;
    uint32_t groups[USER_GROUPS_MAX]; /* the gid is the first, so that setgroups(2) keeps it */
    char home[USER_HOME_MAX];         /* from /etc/passwd; "/" without an entry */
} Identity;

/* rootfs_fd is the rootfs directory. want NULL: root. */
bool user_resolve(int rootfs_fd, const User *want, Identity *ret_identity, Fault *ret_fault);

/* Writes the OCI process.user object. Return: its length, or 0 when room is too small. */
size_t user_to_json(const Identity *identity, char *ret_json, size_t room);

/* SPDX-License-Identifier: Apache-2.0 */
/* Opens what a path names as seen from a directory, by openat2(2), which lets nothing of the path lead out of
 * it. A header alone, because the agent uses it, too, and has no other part of this library.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { OPEN_INSIDE_TRIES = 1000 };

/* directory: a descriptor. flags: as for open(2); O_CLOEXEC is added. resolve: RESOLVE_….
 * Return: the descriptor, which the caller closes; -1 with errno.
 *
 * openat2() gives up with EAGAIN when anything on the node was renamed or mounted while it followed a "..",
 * because it cannot tell then whether that led out. On a busy node this is common; another try does better.
 */
static inline int open_inside(int directory, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC), .resolve = resolve};
    int fd = -1;

    for (int i = 0; i < OPEN_INSIDE_TRIES; i++) {
        fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN)
            break;
    }
    return fd;
}

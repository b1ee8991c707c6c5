/* Small files: of /proc, /sys and the cgroup tree, and the agent's own under /run/crivirt. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/guest/fault.h"

/* One write to a file that exists. errno is set on failure. */
bool sysfile_write(const char *path, const char *text);
/* At most room - 1 bytes, NUL-terminated, trailing white space removed; false when it cannot be read. */
bool sysfile_read(const char *path, char *ret_text, size_t room);
/* The number that follows "key " at the start of a line, as in memory.events; 0 when there is none. */
int64_t sysfile_read_key(const char *path, const char *key);
/* Creates or replaces; the pieces are written one after the other. */
typedef struct {
    const void *data;
    size_t length;
} Piece;
bool file_put(const char *path, mode_t mode, const Piece *pieces, size_t n_pieces, Fault *ret_fault);
/* mkdir, an existing directory being fine. */
bool dir_put(const char *path, mode_t mode, Fault *ret_fault);

/* SPDX-License-Identifier: Apache-2.0 */
/* Small files: those of /proc, /sys and the cgroup tree, and the agent's own under /run/crivirt. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/guest/fault.h"

/* Writes the text to an existing file with one write(2). Return: false with errno. */
bool sysfile_write(const char *path, const char *text);
/* Reads at most room - 1 bytes as a string, without trailing white space. Return: false with errno. */
bool sysfile_read(const char *path, char *ret_text, size_t room);
/* Return: the number that follows "key " at the start of a line in the first KiB, as in memory.events; 0 for
 * none. */
int64_t sysfile_read_key(const char *path, const char *key);
/* Return: a value of /proc/meminfo in bytes; key: "MemFree:". */
int64_t sysfile_meminfo_bytes(const char *key);

typedef struct {
    const void *data;
    size_t length;
} Piece;
/* Creates the file or replaces its content by the pieces, one after the other. */
bool file_put(const char *path, mode_t mode, const Piece *pieces, size_t n_pieces, Fault *ret_fault);
/* Makes the directory unless it exists. */
bool dir_put(const char *path, mode_t mode, Fault *ret_fault);

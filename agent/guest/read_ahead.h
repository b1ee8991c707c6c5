/* SPDX-License-Identifier: Apache-2.0 */
/* Has the kernel read a container's program into memory between CreateContainer and StartContainer, so that
 * the first container of an image starts nearly as fast as later ones. Without it the program waits for the
 * disk of its layer at each part of it that it reaches, a dozen times before its first own line.
 *
 * The program, the interpreter of a script, the loader of an ELF program and the libraries that it names are
 * read: the first READ_AHEAD_FILE_BYTES of each, READ_AHEAD_BYTES in all. It is a hint: what is not found, or
 * is in a volume, is left out without a message. The rootfs is not trusted: names are resolved inside it,
 * only regular files are opened, and what an ELF file says is checked.
 */
#pragma once

#include <stdint.h>

#include "agent/guest/json.h"

enum {
    READ_AHEAD_FILES = 16,
    READ_AHEAD_FILE_BYTES = 4 << 20, /* a program larger than this is rarely read from end to end */
    READ_AHEAD_BYTES = 16 << 20,     /* of one container */
};

/* The files of a program; each descriptor is open. */
typedef struct {
    int fds[READ_AHEAD_FILES];
    unsigned n_files;
    uint64_t n_bytes; /* that the kernel has been asked for */
} ReadAheadFiles;

/* Starts to read the files of config's process (an OCI configuration) below rootfs_fd. The caller calls
 * read_ahead_close(). */
void read_ahead_find(int rootfs_fd, JsonSpan config, ReadAheadFiles *ret_files);
void read_ahead_close(ReadAheadFiles *files);

/* Starts to read the files of the container with that id, whose configuration is written and whose rootfs is
 * mounted. It waits for the disk only where it looks for names in the program. */
void read_ahead_container(const char *id);

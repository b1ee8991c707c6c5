/* SPDX-License-Identifier: Apache-2.0 */
/* Trees that a container has made, which may be of any depth and change meanwhile. No function follows a
 * symbolic link, leaves the tree's mount, opens anything but directories, or recurses.
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

/* Calls visit for the directory and for everything in it, with what lstat() returns. It has at most 66
 * descriptors open, and remembers 32 bytes for each level below. What is added, removed or renamed during the
 * walk may be missed, no matter how deep the rest is. Return: false with errno when path is no directory that
 * can be opened, or memory is short. */
bool walk_tree(const char *path, void (*visit)(const struct stat *status, void *data), void *data);

/* Removes a file, or a directory with everything in it. Directories move up into the directory that is being
 * removed, so three descriptors are enough. Return: false with errno when something is left; it removes what
 * it can. There was nothing: true. */
bool walk_remove(const char *path);

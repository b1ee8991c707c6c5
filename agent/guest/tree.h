/* Removing directory trees, which may be large, without stopping the loop: a process of our own program does
 * it.
 */
#pragma once

#include <stdbool.h>

/* The program's option for that process. */
#define TREE_REMOVE_OPTION "--remove-tree"

/* Moves parent/name aside at once, so that the name is free, and removes it in the background. */
void tree_remove_later(const char *parent, const char *name);

/* rm -rf: follows no symbolic link, stays on one file system. */
bool tree_remove(const char *path);

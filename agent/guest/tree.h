/* SPDX-License-Identifier: Apache-2.0 */
/* Removes directory trees. A tree may be large, so a process of the agent's own program does it.
 */
#pragma once

#include <stdbool.h>

/* The program's option for that process. Its arguments are the trees. */
#define TREE_REMOVE_OPTION "--remove-tree"

/* Renames parent/name at once, so that the name is free, and removes it in the background, after the loop has
 * sent the answer of the operation that calls this. */
void tree_remove_later(const char *parent, const char *name);

/* Removes a tree as `rm -rf` does (walk.h). Return: false, after a message on stderr, when something is left.
 */
bool tree_remove(const char *path);

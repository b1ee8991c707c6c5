/* SPDX-License-Identifier: Apache-2.0 */
/* Measures how much a container's writable layer takes on its disk. A tree may have millions of files, so a
 * process of the agent's own program walks it, one tree at a time and at the lowest priority. The last result
 * is kept.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The program's option for that process. Its arguments are the tree and the file for the result. */
#define MEASURE_OPTION "--measure-tree"

enum {
    MEASURE_EVERY_MS = 10000,
    MEASURE_TIMEOUT_S = 120, /* the longest walk */
};

/* A part of its Container. */
typedef struct {
    uint64_t bytes;
    uint64_t inodes;
    int64_t at_ns;    /* when the values were measured (monotonic); 0: never */
    int64_t tried_ns; /* when the last walk began, which may have failed */
} Measure;

/* Measures the containers whose values are old, one after the other, in the background. */
void measure_refresh(void);

/* Walks the tree and writes "bytes inodes" into result_path. A file with several names counts once. Return:
 * false when it failed. */
bool measure_tree(const char *path, const char *result_path);

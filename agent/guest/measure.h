/* How much a container's writable layer takes on its disk. A tree may have millions of files, so a process of
 * our own program walks it, one tree at a time and at the lowest priority, and what it found is kept.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The program's option for that process: the tree, and the file for the result. */
#define MEASURE_OPTION "--measure-tree"

enum {
    MEASURE_EVERY_MS = 10000,
    MEASURE_TIMEOUT_S = 120, /* of one walk */
};

/* Lives in its container. */
typedef struct {
    uint64_t bytes;
    uint64_t inodes;
    int64_t at_ns;    /* monotonic; 0: never */
    int64_t tried_ns; /* a walk may also fail */
} Measure;

/* Somebody wants to know: containers whose measure is old are measured, one after the other. */
void measure_refresh(void);

/* Walks the tree and writes "bytes inodes" into result_path. A file with several names counts once. */
bool measure_tree(const char *path, const char *result_path);

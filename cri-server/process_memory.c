/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/process_memory.h"

#include "common/huge_pages.h"

#include <malloc.h>

/* Each malloc arena keeps memory that its threads freed, which adds up with a hundred mostly idle workers. */
enum { MALLOC_ARENAS = 2 };

/* Larger blocks return to the kernel when they are freed, so that a rare message of 16 MiB leaves no memory
 * behind. */
enum { MALLOC_LARGE_BYTES = 128 * 1024 };

void process_memory_prepare(void)
{
    huge_pages_avoid();
    mallopt(M_ARENA_MAX, MALLOC_ARENAS);
    mallopt(M_MMAP_THRESHOLD, MALLOC_LARGE_BYTES);
    mallopt(M_TRIM_THRESHOLD, MALLOC_LARGE_BYTES);
}

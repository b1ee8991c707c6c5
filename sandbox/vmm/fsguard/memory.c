/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/fsguard/memory.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void region_free(MemoryRegion *region)
{
    if (region->map != NULL)
        munmap(region->map, region->offset + region->size);
    if (region->fd >= 0)
        close(region->fd);
}

/* Access to a part of a map that lies behind the end of its file would end the process. */
static bool file_has(int fd, uint64_t bytes)
{
    struct stat status;

    return fstat(fd, &status) == 0 && status.st_size >= 0 && (uint64_t)status.st_size >= bytes;
}

bool memory_add(Memory *memory, uint64_t guest, uint64_t size, uint64_t user, uint64_t offset, int fd)
{
    uint64_t end;
    bool good = fd >= 0 && size > 0 && memory->n_regions < MEMORY_REGIONS_MAX &&
                !__builtin_add_overflow(guest, size, &end) && !__builtin_add_overflow(user, size, &end) &&
                !__builtin_add_overflow(offset, size, &end) && end <= PTRDIFF_MAX && file_has(fd, end);

    if (good)
        memory->regions[memory->n_regions++] =
            (MemoryRegion){.guest = guest, .size = size, .user = user, .offset = offset, .fd = fd};
    else if (fd >= 0)
        close(fd);
    return good;
}

void memory_remove(Memory *memory, uint64_t guest, uint64_t size)
{
    for (size_t i = 0; i < memory->n_regions; i++)
        if (memory->regions[i].guest == guest && memory->regions[i].size == size) {
            region_free(&memory->regions[i]);
            memory->regions[i] = memory->regions[--memory->n_regions];
            return;
        }
}

void memory_clear(Memory *memory)
{
    while (memory->n_regions > 0)
        region_free(&memory->regions[--memory->n_regions]);
}

static bool region_equal(const MemoryRegion *one, const MemoryRegion *other)
{
    struct stat first, second;

    return one->guest == other->guest && one->size == other->size && one->user == other->user &&
           one->offset == other->offset && fstat(one->fd, &first) == 0 && fstat(other->fd, &second) == 0 &&
           first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

bool memory_equal(const Memory *one, const Memory *other)
{
    size_t n_same = 0;

    for (size_t i = 0; i < one->n_regions; i++)
        for (size_t j = 0; j < other->n_regions; j++)
            n_same += region_equal(&one->regions[i], &other->regions[j]);
    return n_same == one->n_regions && n_same == other->n_regions;
}

void memory_map(Memory *memory)
{
    for (size_t i = 0; i < memory->n_regions; i++) {
        MemoryRegion *region = &memory->regions[i];
        void *map;

        if (region->map != NULL)
            continue;
        /* The map begins at the start of the file, because the offset may not be a multiple of the page size.
         */
        map = mmap(NULL, region->offset + region->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                   region->fd, 0);
        region->map = map != MAP_FAILED ? map : NULL;
    }
}

bool memory_has_hole(const Memory *memory, uint64_t address, uint64_t length)
{
    size_t first = 0, n = memory->n_holes; /* those that may be the first to end after the address */

    while (n > 0) {
        size_t half = n / 2;

        if (memory->holes[first + half].end <= address) {
            first += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return first < memory->n_holes && length > 0 &&
           (memory->holes[first].begin <= address || memory->holes[first].begin - address < length);
}

/* start: where the region is in the address space of the address. */
static void *region_at(const Memory *memory, const MemoryRegion *region, uint64_t start, uint64_t address,
                       uint64_t length)
{
    const uint64_t at = address - start;

    if (region->map == NULL || address < start || at > region->size || length > region->size - at ||
        memory_has_hole(memory, region->guest + at, length))
        return NULL;
    return region->map + region->offset + at;
}

void *memory_at_guest(const Memory *memory, uint64_t address, uint64_t length)
{
    void *found = NULL;

    for (size_t i = 0; i < memory->n_regions && found == NULL; i++)
        found = region_at(memory, &memory->regions[i], memory->regions[i].guest, address, length);
    return found;
}

void *memory_at_user(const Memory *memory, uint64_t address, uint64_t length)
{
    void *found = NULL;

    for (size_t i = 0; i < memory->n_regions && found == NULL; i++)
        found = region_at(memory, &memory->regions[i], memory->regions[i].user, address, length);
    return found;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's memory as a vhost-user front end describes it: regions, each a part of a file with its place in
 * three address spaces. (https://qemu-project.gitlab.io/qemu/interop/vhost-user.html, "Memory region
 * description")
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MEMORY_REGIONS_MAX = 32 };

typedef struct {
    uint64_t guest;  /* physical address in the guest */
    uint64_t size;   /* bytes */
    uint64_t user;   /* address in the front end's process */
    uint64_t offset; /* in the file */
    int fd;          /* owned */
    uint8_t *map;    /* of the file from its start; NULL: not mapped yet */
} MemoryRegion;

/* What QEMU has privately: the file has something else there, or nothing. Guest's addresses. */
typedef struct {
    uint64_t begin, end;
} MemoryHole;

typedef struct {
    MemoryRegion regions[MEMORY_REGIONS_MAX];
    size_t n_regions;
    const MemoryHole *holes; /* in ascending order; borrowed */
    size_t n_holes;
} Memory;

/* Adds a region, and takes ownership of the descriptor in any case. Return: false when there are too many
 * regions, or the region wraps around or is not all in the file. */
bool memory_add(Memory *memory, uint64_t guest, uint64_t size, uint64_t user, uint64_t offset, int fd);
void memory_remove(Memory *memory, uint64_t guest, uint64_t size);
void memory_clear(Memory *memory);
/* Return: whether both have the same parts of the same files at the same addresses, in any order. */
bool memory_equal(const Memory *one, const Memory *other);
/* Maps the regions that are not mapped yet. A region that cannot be mapped is treated as missing. */
void memory_map(Memory *memory);

/* Return: whether any of these bytes are in a hole. */
bool memory_has_hole(const Memory *memory, uint64_t address, uint64_t length);
/* Return: the bytes at that address; NULL when they are not all in one mapped region, or any are in a hole.
 */
void *memory_at_guest(const Memory *memory, uint64_t address, uint64_t length);
void *memory_at_user(const Memory *memory, uint64_t address, uint64_t length);

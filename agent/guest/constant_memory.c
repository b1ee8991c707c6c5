/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/constant_memory.h"

#include <fcntl.h>
#include <ftw.h>
#include <linux/kernel-page-flags.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    PAGES_MAX = 1 << 19, /* two gigabytes: a template's guest has less */
    FIRST_PAGE = (1 << 20) / PAGE,
    FLAGS_STEP = 512,
    RANGES_MAX = 512,
    DIRECTORIES_OPEN = 8,
};

/* In the kernel's own header only (include/linux/kernel-page-flags.h); a part of the ABI all the same. */
#define RESERVED_FLAG (UINT64_C(1) << 32)
/* Documentation/admin-guide/mm/pagemap.rst */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_FRAME ((UINT64_C(1) << 55) - 1)

struct ConstantMemory {
    uint8_t pages[PAGES_MAX / 8]; /* a bit for each page frame */
    MemoryRange ranges[RANGES_MAX];
    MemoryRange *pointers[RANGES_MAX];
};

static bool has_page(const ConstantMemory *memory, uint64_t frame)
{
    return (memory->pages[frame / 8] >> frame % 8 & 1) != 0;
}

static void add_page(ConstantMemory *memory, uint64_t frame)
{
    if (frame >= FIRST_PAGE && frame < PAGES_MAX)
        memory->pages[frame / 8] |= (uint8_t)(1 << frame % 8);
}

static void remove_pages(ConstantMemory *memory, uint64_t begin, uint64_t end)
{
    for (uint64_t frame = begin; frame < end && frame < PAGES_MAX; frame++)
        memory->pages[frame / 8] &= (uint8_t) ~(1 << frame % 8);
}

/* ---- reserved pages ---- */

static void add_reserved(ConstantMemory *memory, int flags_fd, uint64_t begin, uint64_t end)
{
    uint64_t flags[FLAGS_STEP];

    end = end < PAGES_MAX ? end : PAGES_MAX;
    while (begin < end) {
        uint64_t wanted = end - begin < FLAGS_STEP ? end - begin : FLAGS_STEP;
        ssize_t n = pread(flags_fd, flags, wanted * sizeof *flags, (off_t)(begin * sizeof *flags));

        if (n < (ssize_t)sizeof *flags)
            return;
        for (size_t i = 0; i < (size_t)n / sizeof *flags; i++)
            if ((flags[i] & RESERVED_FLAG) != 0)
                add_page(memory, begin + i);
        begin += (uint64_t)n / sizeof *flags;
    }
}

typedef struct {
    uint64_t begin, end; /* the kernel's data, in pages */
} KernelData;

/* A line is like "  01000000-01bfffff : Kernel code"; what is in a range follows it. */
static void take_line(ConstantMemory *memory, int flags_fd, const char *line, KernelData *data)
{
    char *end, *name;
    uint64_t first = strtoull(line, &end, 16), last;

    if (*end != '-')
        return;
    last = strtoull(end + 1, &name, 16);
    if (strncmp(name, " : ", 3) != 0 || last < first)
        return;
    name += strlen(" : ");
    if (strcmp(name, "System RAM\n") == 0)
        add_reserved(memory, flags_fd, first / PAGE, (last + 1) / PAGE);
    if (strcmp(name, "Kernel rodata\n") == 0 || strcmp(name, "Kernel data\n") == 0 ||
        strcmp(name, "Kernel bss\n") == 0) {
        data->begin = first / PAGE < data->begin ? first / PAGE : data->begin;
        data->end = last / PAGE + 1 > data->end ? last / PAGE + 1 : data->end;
    }
}

/* Return: false when the kernel's data are not known. */
static bool read_reserved(ConstantMemory *memory, FILE *iomem, int flags_fd)
{
    KernelData data = {.begin = UINT64_MAX};
    char line[256];

    while (fgets(line, sizeof line, iomem) != NULL)
        take_line(memory, flags_fd, line, &data);
    remove_pages(memory, data.begin, data.end);
    return data.end > 0;
}

ConstantMemory *constant_memory_read(const char *iomem_path, const char *page_flags)
{
    ConstantMemory *memory = calloc(1, sizeof *memory);
    FILE *iomem = fopen(iomem_path, "re");
    int flags_fd = open(page_flags, O_RDONLY | O_CLOEXEC);

    if (memory == NULL || iomem == NULL || flags_fd < 0 || !read_reserved(memory, iomem, flags_fd)) {
        free(memory);
        memory = NULL;
    }
    if (iomem != NULL)
        fclose(iomem);
    if (flags_fd >= 0)
        close(flags_fd);
    return memory;
}

void constant_memory_free(ConstantMemory *memory)
{
    free(memory);
}

/* ---- programs ---- */

static struct {
    ConstantMemory *memory;
    int pagemap_fd;
} adding; /* nftw() passes no data */

static void add_mapped(const uint8_t *map, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += PAGE) {
        uint64_t entry = 0;
        off_t place = (off_t)((uintptr_t)(map + at) / PAGE * sizeof entry);

        if (pread(adding.pagemap_fd, &entry, sizeof entry, place) == (ssize_t)sizeof entry &&
            (entry & PAGEMAP_PRESENT) != 0)
            add_page(adding.memory, entry & PAGEMAP_FRAME);
    }
}

static int add_file(const char *path, const struct stat *status, int type, struct FTW *place)
{
    bool is_program = type == FTW_F && S_ISREG(status->st_mode) && status->st_size >= PAGE &&
                      ((status->st_mode & S_IXUSR) != 0 || strstr(path + place->base, ".so") != NULL);
    int fd = is_program ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    void *map;

    if (fd < 0)
        return 0;
    map = mmap(NULL, (size_t)status->st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (map != MAP_FAILED) {
        add_mapped(map, (size_t)status->st_size);
        munmap(map, (size_t)status->st_size);
    }
    close(fd);
    return 0;
}

void constant_memory_add_programs(ConstantMemory *memory)
{
    struct statfs status;

    if (statfs("/", &status) != 0 || (unsigned long)status.f_type != RAMFS_MAGIC)
        return;
    adding.memory = memory;
    adding.pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (adding.pagemap_fd < 0)
        return;
    (void)nftw("/", add_file, DIRECTORIES_OPEN, FTW_PHYS | FTW_MOUNT); /* what it has missed is copied */
    close(adding.pagemap_fd);
}

/* ---- the report ---- */

/* Return: how many ranges have that many pages at least. */
static size_t list_ranges(ConstantMemory *memory, uint64_t least)
{
    size_t n = 0;
    uint64_t begin = 0;

    for (uint64_t frame = 0; frame <= PAGES_MAX; frame++) {
        if (frame < PAGES_MAX && has_page(memory, frame))
            continue;
        if (frame - begin >= least && frame > begin && n++ < RANGES_MAX) {
            MemoryRange *range = &memory->ranges[n - 1];

            *range = (MemoryRange)CRIVIRT__AGENT__V1__MEMORY_RANGE__INIT;
            range->address = begin * PAGE;
            range->bytes = (frame - begin) * PAGE;
        }
        begin = frame + 1;
    }
    return n;
}

void constant_memory_report(ConstantMemory *memory, PrepareResponse *ret_response)
{
    uint64_t least = 1;
    size_t n;

    while ((n = list_ranges(memory, least)) > RANGES_MAX)
        least *= 2;
    for (size_t i = 0; i < n; i++)
        memory->pointers[i] = &memory->ranges[i];
    ret_response->constant = memory->pointers;
    ret_response->n_constant = n;
}

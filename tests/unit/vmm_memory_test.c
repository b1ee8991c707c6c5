/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's memory in QEMU: what is private, by /proc/PID/maps, and lists of parts. */
#include "sandbox/vmm/vmm_memory.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fileio.h"
#include "tests/unit/harness.h"

enum { PAGE = 4096, PAGES = 16 };

static GArray *parts_of(const guint64 *numbers, guint n)
{
    GArray *parts = g_array_new(FALSE, FALSE, sizeof(MemoryPart));

    for (guint i = 0; i + 1 < n; i += 2) {
        const MemoryPart part = {numbers[i], numbers[i + 1]};

        g_array_append_val(parts, part);
    }
    return parts;
}

/* ---- this process, with a memory as QEMU has one ---- */

static void map_privately(guint8 *at, gsize n_pages, int file, off_t page)
{
    CU_ASSERT_TRUE(
        mmap(at, n_pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file, page * PAGE) == at);
}

static void finds_private_parts(void)
{
    g_autoptr(GArray) memories = g_array_new(FALSE, FALSE, sizeof(VmmMemory));
    VmmMemory memory = {.fd = memfd_create("memory", 0), .bytes = PAGES * PAGE};
    int file = memfd_create("template", 0);
    g_autofree char *maps = NULL;
    g_autoptr(GError) error = NULL;
    const MemoryPart *part;
    guint8 *at;

    CU_ASSERT_EQUAL_FATAL(ftruncate(memory.fd, PAGES * PAGE), 0);
    CU_ASSERT_EQUAL_FATAL(ftruncate(file, PAGES * PAGE), 0);
    memory.parts = g_array_new(FALSE, FALSE, sizeof(MemoryPart));
    at = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory.fd, 0);
    map_privately(at + (gsize)3 * PAGE, 2, file, 3);
    map_privately(at + (gsize)5 * PAGE, 1, file, 7);
    map_privately(at + (gsize)15 * PAGE, 1, file, 15);
    g_array_append_val(memories, memory);
    TEST_OK(file_read("/proc/self/maps", 1 << 20, &maps, NULL, &error), error);
    CU_ASSERT_TRUE(vmm_memory_find(memories, maps));
    CU_ASSERT_EQUAL(g_array_index(memories, VmmMemory, 0).address, (guint64)(uintptr_t)at);
    CU_ASSERT_EQUAL_FATAL(memory.parts->len, 2);
    part = &g_array_index(memory.parts, MemoryPart, 0);
    CU_ASSERT_EQUAL(part[0].begin, 3 * PAGE);
    CU_ASSERT_EQUAL(part[0].end, 6 * PAGE);
    CU_ASSERT_EQUAL(part[1].begin, 15 * PAGE);
    CU_ASSERT_EQUAL(part[1].end, 16 * PAGE);
    munmap(at, PAGES * PAGE);
    g_array_unref(memory.parts);
    close(memory.fd);
    close(file);
}

static void refuses_two_places(void)
{
    g_autoptr(GArray) memories = g_array_new(FALSE, FALSE, sizeof(VmmMemory));
    VmmMemory memory = {.fd = memfd_create("memory", 0), .bytes = PAGE};
    g_autofree char *maps = NULL;
    struct stat status;

    memory.parts = g_array_new(FALSE, FALSE, sizeof(MemoryPart));
    g_array_append_val(memories, memory);
    CU_ASSERT_EQUAL_FATAL(fstat(memory.fd, &status), 0);
    maps =
        g_strdup_printf("not a mapping\n\n7000-8000 rw-s 0 %x:%x %lu /memfd:x\n9000-a000 rw-s 0 %x:%x %lu\n",
                        (guint)(status.st_dev >> 8), (guint)(status.st_dev & 0xff), status.st_ino,
                        (guint)(status.st_dev >> 8), (guint)(status.st_dev & 0xff), status.st_ino);
    CU_ASSERT_FALSE(vmm_memory_find(memories, maps));
    g_array_unref(memory.parts);
    close(memory.fd);
}

/* ---- lists of parts ---- */

static gboolean note_range(guint64 begin, guint64 end, gpointer data)
{
    g_string_append_printf(data, "%" G_GUINT64_FORMAT "-%" G_GUINT64_FORMAT " ", begin, end);
    return end != 99;
}

static void check_outside(const GArray *parts, guint64 begin, guint64 end, const char *expected)
{
    g_autoptr(GString) found = g_string_new(NULL);

    CU_ASSERT_TRUE(memory_parts_outside(parts, begin, end, note_range, found));
    CU_ASSERT_STRING_EQUAL(found->str, expected);
}

static void visits_what_is_outside(void)
{
    g_autoptr(GArray) parts = parts_of((const guint64[]){10, 20, 20, 30, 50, 60}, 6);
    g_autoptr(GString) found = g_string_new(NULL);

    check_outside(NULL, 0, 100, "0-100 ");
    check_outside(parts, 0, 100, "0-10 30-50 60-100 ");
    check_outside(parts, 10, 30, "");
    check_outside(parts, 15, 55, "30-50 ");
    check_outside(parts, 60, 60, "");
    check_outside(parts, 0, 10, "0-10 ");
    CU_ASSERT_FALSE(memory_parts_outside(parts, 90, 99, note_range, found));
}

static void reads_its_own_text(void)
{
    g_autoptr(GArray) parts = parts_of((const guint64[]){0, 2 * PAGE, 4 * PAGE, 5 * PAGE}, 4);
    g_autofree char *text = memory_parts_format(parts);
    g_autoptr(GArray) again = memory_parts_parse(text, 5 * PAGE);
    g_autoptr(GArray) none = memory_parts_parse("begin end\n", 0);

    CU_ASSERT_STRING_EQUAL(text, "begin end\n0 8192\n16384 20480\n");
    CU_ASSERT_PTR_NOT_NULL_FATAL(again);
    CU_ASSERT_EQUAL_FATAL(again->len, 2);
    CU_ASSERT_EQUAL(memcmp(again->data, parts->data, 2 * sizeof(MemoryPart)), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(none);
    CU_ASSERT_EQUAL(none->len, 0);
}

static void check_refused(const char *lines, guint64 bytes)
{
    g_autofree char *text = g_strconcat("begin end\n", lines, NULL);

    CU_ASSERT_PTR_NULL(memory_parts_parse(text, bytes));
}

static void refuses_other_text(void)
{
    static const char *const bad[] = {
        "\n",
        "0\n",
        "0 0\n",
        "4096 0\n",
        "0 4095\n",
        "1 4096\n",
        "0 4096 1\n",
        "0 4096\n\n0 1",
        "x 4096\n",
        "-4096 4096\n",
        "0 8192\n4096 12288\n",
        "0 69632\n",
        "0x0 0x1000\n",
        "0 4096\n0 4096\n",
        "0 18446744073709551616\n",
    };

    for (guint i = 0; i < G_N_ELEMENTS(bad); i++)
        check_refused(bad[i], PAGES * PAGE);
    check_refused("2147483648 2147487744\n", (guint64)8 << 30);
    CU_ASSERT_PTR_NULL(memory_parts_parse("", PAGE));
    CU_ASSERT_PTR_NULL(memory_parts_parse("begin end", PAGE));
    CU_ASSERT_PTR_NULL(memory_parts_parse("0 4096\n", PAGE));
}

int main(void)
{
    static const TestCase cases[] = {
        {"what is mapped from elsewhere is private", finds_private_parts},
        {"a memory that is mapped at two places is refused", refuses_two_places},
        {"what is outside of parts is visited in order", visits_what_is_outside},
        {"a list of parts is read as it was written", reads_its_own_text},
        {"anything but whole pages in ascending order is refused", refuses_other_text},
    };

    return test_main("vmm_memory", cases, G_N_ELEMENTS(cases));
}

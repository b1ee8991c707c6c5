/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages of a guest are constant, from files like those of /proc. */
#include "agent/guest/constant_memory.h"

#include "tests/unit/harness.h"

enum { PAGE = 4096, N_PAGES = 16384 };

static const guint64 reserved = G_GUINT64_CONSTANT(1) << 32;
static guint64 flags[N_PAGES];
static char *directory;

static void reserve(gsize begin, gsize end)
{
    for (gsize i = begin; i < end; i++)
        flags[i] |= reserved;
}

static ConstantMemory *read_files(const char *iomem)
{
    g_autofree char *text = g_build_filename(directory, "iomem", NULL);
    g_autofree char *pages = g_build_filename(directory, "kpageflags", NULL);

    CU_ASSERT_TRUE(g_file_set_contents(text, iomem, -1, NULL));
    CU_ASSERT_TRUE(g_file_set_contents(pages, (const char *)flags, sizeof flags, NULL));
    return constant_memory_read(text, pages);
}

static const char iomem[] = "00000000-00000fff : Reserved\n"
                            "00001000-0009fbff : System RAM\n"
                            "000f0000-000fffff : System ROM\n"
                            "00100000-02ffffff : System RAM\n"
                            "  01000000-015fffff : Kernel code\n"
                            "  01600000-017fffff : Kernel rodata\n"
                            "  01800000-018fffff : Kernel data\n"
                            "  01a00000-01afffff : Kernel bss\n"
                            "b0000000-bfffffff : PCI MMCONFIG 0000 [bus 00-ff]\n";

static void finds_reserved_pages(void)
{
    PrepareResponse response = CRIVIRT__AGENT__V1__PREPARE_RESPONSE__INIT;
    ConstantMemory *memory;

    memset(flags, 0, sizeof flags);
    reserve(0, 0x100);       /* below the first megabyte */
    reserve(0x1000, 0x1b00); /* the kernel */
    reserve(0x2000, 0x2080); /* descriptors of pages */
    reserve(0x2100, 0x2101);
    reserve(0x3000, 0x3010);   /* no memory */
    flags[0x2200] = ~reserved; /* in use in another way */
    memory = read_files(iomem);
    CU_ASSERT_PTR_NOT_NULL_FATAL(memory);
    constant_memory_report(memory, &response);
    CU_ASSERT_EQUAL_FATAL(response.n_constant, 3);
    CU_ASSERT_EQUAL(response.constant[0]->address, 0x1000000); /* its code, and not its data */
    CU_ASSERT_EQUAL(response.constant[0]->bytes, 0x600000);
    CU_ASSERT_EQUAL(response.constant[1]->address, 0x2000000);
    CU_ASSERT_EQUAL(response.constant[1]->bytes, 0x80000);
    CU_ASSERT_EQUAL(response.constant[2]->address, 0x2100000);
    CU_ASSERT_EQUAL(response.constant[2]->bytes, PAGE);
    constant_memory_free(memory);
}

static void leaves_short_ranges_out(void)
{
    PrepareResponse response = CRIVIRT__AGENT__V1__PREPARE_RESPONSE__INIT;
    ConstantMemory *memory;

    memset(flags, 0, sizeof flags);
    for (gsize i = 0x100; i < 0x1000; i += 2)
        reserve(i, i + 1);
    reserve(0x1000, 0x1600);
    memory = read_files(iomem);
    CU_ASSERT_PTR_NOT_NULL_FATAL(memory);
    constant_memory_report(memory, &response);
    CU_ASSERT_EQUAL_FATAL(response.n_constant, 1);
    CU_ASSERT_EQUAL(response.constant[0]->address, 0x1000000);
    constant_memory_free(memory);
}

static void knows_nothing_without_the_files(void)
{
    g_autofree char *text = g_build_filename(directory, "iomem", NULL);

    CU_ASSERT_PTR_NULL(read_files("00100000-02ffffff : System RAM\n")); /* where are the kernel's data? */
    CU_ASSERT_PTR_NULL(read_files("not a line\n : \n-\n"));
    CU_ASSERT_PTR_NULL(constant_memory_read(text, "/nowhere"));
    CU_ASSERT_PTR_NULL(constant_memory_read("/nowhere", text));
}

int main(void)
{
    static const TestCase cases[] = {
        {"reserved pages are constant, but for the kernel's data and the first megabyte",
         finds_reserved_pages},
        {"when there are too many ranges, the short ones are left out", leaves_short_ranges_out},
        {"nothing is constant when the files do not say so", knows_nothing_without_the_files},
    };

    directory = test_directory();
    return test_main("agent_constant_memory", cases, G_N_ELEMENTS(cases));
}

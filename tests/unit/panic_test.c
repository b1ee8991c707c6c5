/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/panic.h"

#include <string.h>

#include "tests/unit/harness.h"

/* As Linux 6.1 writes it, with fewer registers. */
#define NO_INIT                                                                                              \
    "[    0.512033] Run /init as init process\n"                                                             \
    "[    0.515001] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009\n"               \
    "[    0.515100] CPU: 0 PID: 1 Comm: init Not tainted 6.1.158 #1\n"                                       \
    "[    0.515200] Call Trace:\n"                                                                           \
    "[    0.515300] RIP: 0033:0x7f0000001234\n"                                                              \
    "[    0.516000] Kernel Offset: 0x1c000000 from 0xffffffff81000000\n"                                     \
    "[    0.517000] Rebooting in 1 seconds..\n"
#define LOCKUP "[    9.000001] BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 31s!\n"
#define OOPS                                                                                                 \
    "[   10.000001] BUG: kernel NULL pointer dereference, address: 0000000000000008\n"                       \
    "[   10.000002] #PF: supervisor read access in kernel mode\n"                                            \
    "[   10.000003] Oops: 0000 [#1] PREEMPT SMP\n"                                                           \
    "[   10.000004] RIP: 0010:virtio_fs_park+0x12/0x90\n"                                                    \
    "[   10.000005] RIP: 0033:0x401000\n"                                                                    \
    "[   10.000006] ---[ end trace 0000000000000000 ]---\n"
#define FATAL "[   10.000008] Kernel panic - not syncing: Fatal exception\n"

static void check(const char *console, const char *wanted)
{
    g_autofree char *panic = panic_find(console);

    CU_ASSERT_STRING_EQUAL(panic != NULL ? panic : "none", wanted);
}

static void finds_the_reason(void)
{
    check(NO_INIT, "Attempted to kill init! exitcode=0x00000009");
    check("Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
          "VFS: Unable to mount root fs on unknown-block(0,0)");
    check("[    0.1] Linux version 6.1\n[    1.0] BUG: it goes on\n", "none");
    check("[x] said: Kernel panic - not syncing: no\n", "none");
    check("[\nKernel panic\n[    0.1\n", "none");
    check("", "none");
}

static void has_the_exception(void)
{
    check(OOPS FATAL, "Fatal exception (BUG: kernel NULL pointer dereference, address: 0000000000000008; "
                      "RIP: 0010:virtio_fs_park+0x12/0x90)");
    check(
        "general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP\n"
        "RIP: 0010:0xffffffff81000000\n"
        "Kernel panic - not syncing: Fatal exception in interrupt\n",
        "Fatal exception in interrupt (general protection fault, probably for non-canonical address 0xdead: "
        "0000 [#1] SMP; RIP: 0010:0xffffffff81000000)");
    check("[    1.0] Unable to handle kernel paging request at virtual address dead0000\n"
          "[    1.0] Internal error: Oops: 0000000096000004 [#1] SMP\n"
          "[    1.0] pc : foo+0x10/0x20\n[    1.0] lr : bar+0x10/0x20\n" FATAL,
          "Fatal exception (Unable to handle kernel paging request at virtual address dead0000; pc : "
          "foo+0x10/0x20)");
    check("Oops: 0000\n" FATAL, "Fatal exception (Oops: 0000)");
}

static void is_the_last(void)
{
    check(OOPS FATAL NO_INIT, "Attempted to kill init! exitcode=0x00000009"); /* of another boot */
    check(LOCKUP "---[ end trace 1 ]---\n" OOPS FATAL,
          "Fatal exception (BUG: kernel NULL pointer dereference, address: 0000000000000008; RIP: "
          "0010:virtio_fs_park+0x12/0x90)");
}

static void is_short(void)
{
    g_autofree char *long_text = g_strnfill(100000, 'x');
    g_autofree char *console = g_strconcat("BUG: ", long_text, "\nRIP: ", long_text,
                                           "\nKernel panic - not syncing: ", long_text, NULL);
    g_autofree char *panic = panic_find(console);

    CU_ASSERT_TRUE(g_str_has_prefix(panic, "xxx"));
    CU_ASSERT_TRUE(strlen(panic) < 1000);
    CU_ASSERT_TRUE(g_utf8_validate(panic, -1, NULL));
}

static void reads_a_file(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "console.log", NULL);
    g_autofree char *panic = NULL;

    CU_ASSERT_PTR_NULL(panic_read(NULL));
    CU_ASSERT_PTR_NULL(panic_read(path));
    g_file_set_contents(path, "\033[2JKernel panic - not syncing: Out\a of \xff memory\r\nend\r\n", -1, NULL);
    panic = panic_read(path);
    CU_ASSERT_STRING_EQUAL(panic, "Out of \xef\xbf\xbd memory");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"the reason of a panic is found, and no other line is taken for one", finds_the_reason},
        {"a panic after an exception has the exception and its instruction", has_the_exception},
        {"the last panic counts, and an earlier report is not part of it", is_the_last},
        {"what a guest may have forged is of a limited length", is_short},
        {"the console's file is read without control sequences, and a missing one has no panic",
         reads_a_file},
    };
    return test_main_args("panic", cases, G_N_ELEMENTS(cases), argc, argv);
}

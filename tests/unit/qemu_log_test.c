/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/qemu_log.h"

#include <signal.h>

#include <string.h>

#include "tests/unit/harness.h"

/* As libvirt 9.0 and QEMU 7.2 write it, with a shorter command line. */
#define STARTING                                                                                             \
    "2026-11-29 02:05:17.013+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4, qemu version: "     \
    "7.2.17, kernel: 6.1.0, hostname: node\n"                                                                \
    "LC_ALL=C \\\nPATH=/usr/bin \\\n/usr/bin/qemu-system-x86_64 \\\n"                                        \
    "-name guest=1111,debug-threads=on \\\n-msg timestamp=on\n"
#define WARNING                                                                                              \
    "2026-11-29T02:05:17.113229Z qemu-system-x86_64: warning: TCG doesn't support requested feature\n"
#define MEMORY_MESSAGE "cannot set up guest memory 'ram-node0': Cannot allocate memory"
#define RESET "the guest was reset, by a triple fault or by itself: there is no panic on its console"
#define CRASHED "2026-11-29 02:05:18.000+0000: shutting down, reason=crashed\n"

static void check(const char *log, const char *wanted)
{
    g_autofree char *message = qemu_log_find_message(log);

    CU_ASSERT_STRING_EQUAL(message != NULL ? message : "none", wanted);
}

static void finds_the_last_message(void)
{
    check(STARTING WARNING "2026-11-29T02:05:17.213229Z qemu-system-x86_64: " MEMORY_MESSAGE "\n" CRASHED,
          "qemu-system-x86_64: " MEMORY_MESSAGE);
    check(STARTING "2026-11-29T02:05:17.213229Z qemu-system-x86_64: first\n"
                   "**\nERROR:../hw/core/cpu.c:1:cpu_reset: assertion failed\n" CRASHED,
          "ERROR:../hw/core/cpu.c:1:cpu_reset: assertion failed");
}

static void skips_what_is_not_a_message(void)
{
    check(STARTING CRASHED, "none");
    check(STARTING WARNING CRASHED, "none");
    check("", "none");
    check("1, kernel: 6.1.0-13-amd64, hostname: node\nLC_ALL=C \\\nPATH=/bin \\\n-msg timestamp=on\n" CRASHED,
          "none"); /* begins within libvirt's first line */
    check("st=1111,debug-threads=on \\\n-msg timestamp=on\n" CRASHED, "none"); /* begins within the command */
}

static void describe_killed(VmmStopReason reason, int signal_number, const char *message, const char *wanted)
{
    LastWords words = {.signal_number = signal_number, .message = message};
    g_autofree char *text = qemu_log_describe_end(reason, &words);

    CU_ASSERT_STRING_EQUAL(text, wanted);
}

static void describe(VmmStopReason reason, const char *message, const char *wanted)
{
    describe_killed(reason, 0, message, wanted);
}

static void names_the_signal(void)
{
    describe_killed(VMM_STOPPED_CRASHED, SIGKILL, NULL, "QEMU was killed by signal 9 (Killed)");
    describe_killed(VMM_STOPPED_CRASHED, SIGSYS, NULL,
                    "QEMU was killed by signal 31 (Bad system call), as its seccomp filter does for a "
                    "forbidden system call");
    describe_killed(
        VMM_STOPPED_CRASHED, SIGABRT, "ERROR:cpu.c:1: assertion failed",
        "QEMU was killed by signal 6 (Aborted); its last message: ERROR:cpu.c:1: assertion failed");
    describe_killed(VMM_STOPPED_RESET, SIGKILL, NULL, RESET);
    describe_killed(VMM_STOPPED_DESTROYED, SIGKILL, NULL, "the VM was destroyed");
}

static void has_the_panic(void)
{
    LastWords words = {.panic = "Fatal exception (Oops: 0000; RIP: 0010:foo+0x1/0x20)"};
    g_autofree char *reset = qemu_log_describe_end(VMM_STOPPED_RESET, &words);
    g_autofree char *destroyed = qemu_log_describe_end(VMM_STOPPED_DESTROYED, &words);

    CU_ASSERT_STRING_EQUAL(
        reset, "the guest's kernel panicked: Fatal exception (Oops: 0000; RIP: 0010:foo+0x1/0x20)");
    CU_ASSERT_STRING_EQUAL(destroyed, "the VM was destroyed");
}

static void says_why_a_vm_ended(void)
{
    const char *signal = "qemu-system-x86_64: terminating on signal 15 from pid 1 (init)";

    describe(VMM_STOPPED_SHUTDOWN, NULL, "the guest powered itself off");
    describe(VMM_STOPPED_SHUTDOWN, signal,
             "QEMU ended: qemu-system-x86_64: terminating on signal 15 from "
             "pid 1 (init)");
    describe(VMM_STOPPED_DESTROYED, signal, "the VM was destroyed");
    describe(VMM_STOPPED_RESET, NULL, RESET);
    describe(VMM_STOPPED_CRASHED, NULL, "QEMU was killed or crashed without a message");
    describe(VMM_STOPPED_CRASHED, "qemu-system-x86_64: " MEMORY_MESSAGE,
             "QEMU ended: qemu-system-x86_64: " MEMORY_MESSAGE);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"QEMU's last message is found, without its time", finds_the_last_message},
        {"libvirt's own lines, the command line and warnings are not QEMU's message",
         skips_what_is_not_a_message},
        {"the reason of an end names QEMU's message, the reset or the signal", says_why_a_vm_ended},
        {"the reason of a guest that panicked has what its kernel said", has_the_panic},
        {"the reason of the end of a QEMU that was killed names the signal", names_the_signal},
    };
    return test_main_args("qemu_log", cases, G_N_ELEMENTS(cases), argc, argv);
}

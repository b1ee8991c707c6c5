/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/reaper.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "common/error.h"
#include "tests/unit/harness.h"

/* Daemonizes a `sleep` under that name, as libvirt does with QEMU. Return: the process id of the orphan. */
static pid_t daemonize(const char *directory, const char *name, const char *seconds)
{
    g_autofree char *program = g_build_filename(directory, name, NULL);
    g_autofree char *script =
        g_strdup_printf("setsid %s %s >/dev/null 2>&1 </dev/null & echo $!", program, seconds);
    const char *argv[] = {"sh", "-c", script, NULL};
    g_autofree char *output = NULL;
    g_autofree char *copy = g_strdup_printf("cp /bin/sleep %s", program);

    CU_ASSERT_EQUAL(system(copy), 0);
    CU_ASSERT_TRUE(g_spawn_sync(NULL, (char **)(void *)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &output,
                                NULL, NULL, NULL));
    return output != NULL ? (pid_t)g_ascii_strtoll(output, NULL, 10) : 0;
}

static gboolean vanishes(pid_t pid, guint within_ms)
{
    for (guint i = 0; i < within_ms; i += 5) {
        if (kill(pid, 0) != 0 && errno == ESRCH)
            return TRUE;
        g_usleep(5000);
    }
    return FALSE;
}

static void reaps_qemu(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(GError) error = NULL;
    g_autoptr(Reaper) reaper G_GNUC_UNUSED = reaper_start(&error);
    pid_t qemu = daemonize(directory, "qemu-system-x86", "0.3");
    pid_t server = daemonize(directory, "virtiofsd", "1000");

    CU_ASSERT_PTR_NOT_NULL_FATAL(reaper);
    CU_ASSERT_TRUE(vanishes(qemu, 3000));
    CU_ASSERT_FALSE(vanishes(server, 50));
    kill(server, SIGKILL);
    CU_ASSERT_TRUE(vanishes(server, 2000));
}

static void keeps_how_they_ended(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(Reaper) reaper = reaper_start(NULL);
    pid_t exits = daemonize(directory, "qemu-system-x86", "0.1");
    pid_t killed = daemonize(directory, "qemu-system-arm", "1000");
    int number = -1;

    CU_ASSERT_TRUE(reaper_find_end(reaper, exits, 5000, &number)); /* waits */
    CU_ASSERT_EQUAL(number, 0);
    CU_ASSERT_FALSE(reaper_find_end(reaper, killed, 10, &number)); /* it lives */
    kill(killed, SIGSYS);
    CU_ASSERT_TRUE(reaper_find_end(reaper, killed, 5000, &number));
    CU_ASSERT_EQUAL(number, SIGSYS);
    CU_ASSERT_TRUE(reaper_find_end(reaper, killed, 0, &number));        /* again */
    CU_ASSERT_FALSE(reaper_find_end(reaper, getppid(), 5000, &number)); /* no child: nothing to wait for */
}

static void leaves_others(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(Reaper) reaper G_GNUC_UNUSED = reaper_start(NULL);
    g_autofree char *program = g_build_filename(directory, "qemu-system-x86", NULL);
    g_autofree char *copy = g_strdup_printf("cp /bin/true %s", program);
    const char *argv[] = {program, NULL};
    int status = -1;
    GPid pid;

    CU_ASSERT_EQUAL(system(copy), 0);
    CU_ASSERT_TRUE_FATAL(
        g_spawn_async(NULL, (char **)(void *)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, NULL));
    g_usleep(300 * 1000);
    CU_ASSERT_EQUAL(
        waitpid(pid, &status, 0),
        pid); /* a direct child in the session of this process belongs to the code that started it */
    CU_ASSERT_EQUAL(status, 0);
}

static void sleeps(void)
{
    g_autoptr(Reaper) reaper G_GNUC_UNUSED = reaper_start(NULL);
    const char *argv[] = {"/bin/true", NULL};
    struct timespec before;
    struct timespec after;
    GPid pid;

    /* a foreign zombie must not make the thread spin */
    CU_ASSERT_TRUE_FATAL(
        g_spawn_async(NULL, (char **)(void *)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, NULL));
    g_usleep(100 * 1000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    g_usleep(500 * 1000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    CU_ASSERT_TRUE((after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec < 5000000L);
    waitpid(pid, NULL, 0);
}

static void only_one(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Reaper) reaper G_GNUC_UNUSED = reaper_start(NULL);

    TEST_FAILS(reaper_start(&error) != NULL, error, STATUS_FAILED_PRECONDITION, "already");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"daemonized QEMU and virtiofsd processes are reaped when they end", reaps_qemu},
        {"the reaper keeps which signal killed a QEMU, and waits for one that is ending",
         keeps_how_they_ended},
        {"a child that other code waits for is left alone, whatever its name", leaves_others},
        {"the reaper sleeps while no child ends", sleeps},
        {"a second reaper in a process is refused", only_one},
    };
    return test_main_args("reaper", cases, G_N_ELEMENTS(cases), argc, argv);
}

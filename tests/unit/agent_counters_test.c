/* SPDX-License-Identifier: Apache-2.0 */
/* The counters of cgroups and interfaces, read from files that the test makes. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guest/cgroup.h"
#include "agent/guest/cgroup_v1.h"
#include "agent/guest/netdev.h"
#include "agent/guest/process_tree.h"
#include "tests/unit/harness.h"

static void put(const char *directory, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);

    CU_ASSERT_TRUE(g_file_set_contents(path, text, -1, NULL));
}

static void reads_a_cgroup(void)
{
    g_autofree char *directory = test_directory();
    CgroupReading reading;
    const CgroupUsage *usage = &reading.usage;
    int pids[2];

    put(directory, "cpu.stat",
        "usage_usec 100\nuser_usec 60\nsystem_usec 40\nnr_periods 5\nnr_throttled 2\nthrottled_usec 9\n");
    put(directory, "memory.current", "1000\n");
    put(directory, "memory.max", "max\n");
    put(directory, "memory.stat",
        "anon 11\nfile 22\nkernel 33\ninactive_file 44\npgfault 55\npgmajfault 66\nfile_mapped 77\nanon_thp "
        "999\n");
    put(directory, "memory.events", "low 0\nmax 3\noom 2\noom_kill 1\n");
    put(directory, "memory.pressure",
        "some avg10=1.50 avg60=0.25 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 "
        "total=45\n");
    put(directory, "io.stat",
        "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:16 rbytes=10 wbytes=20 rios=30 wios=40\n");
    put(directory, "pids.current", "7\n");
    put(directory, "cgroup.procs", "12\n13\n14\n");
    cgroup_read(directory, &reading);
    CU_ASSERT_EQUAL(usage->cpu_usage_us, 100);
    CU_ASSERT_EQUAL(usage->cpu_throttled_us, 9);
    CU_ASSERT_EQUAL(usage->memory_current_bytes, 1000);
    CU_ASSERT_EQUAL(usage->memory_max_bytes, 0);
    CU_ASSERT_EQUAL(usage->memory_anon_bytes, 11);
    CU_ASSERT_EQUAL(usage->memory_inactive_file_bytes, 44);
    CU_ASSERT_EQUAL(usage->memory_max_hits, 3);
    CU_ASSERT_EQUAL(usage->oom_kills, 1);
    CU_ASSERT_EQUAL(usage->io_read_bytes, 11);
    CU_ASSERT_EQUAL(usage->io_writes, 44);
    CU_ASSERT_EQUAL(usage->threads, 7);
    CU_ASSERT_EQUAL(usage->processes, 3);
    CU_ASSERT_EQUAL(cgroup_processes(directory, pids, 2), 2);
    CU_ASSERT_EQUAL(pids[1], 13);
    CU_ASSERT_PTR_NULL(usage->cpu_pressure);
    CU_ASSERT_PTR_NOT_NULL_FATAL(usage->memory_pressure);
    CU_ASSERT_EQUAL(usage->memory_pressure->some->total_us, 123);
    CU_ASSERT_DOUBLE_EQUAL(usage->memory_pressure->some->avg10, 1.5, 0.001);
    CU_ASSERT_EQUAL(usage->memory_pressure->full->total_us, 45);
}

/* As crun makes them: a directory of the same name in each hierarchy. */
static char *hierarchy(const char *root, const char *controller)
{
    char *directory = g_build_filename(root, controller, "pod", "ctr", NULL);

    g_mkdir_with_parents(directory, 0755);
    return directory;
}

static void reads_a_cgroup_of_version_1(void)
{
    g_autofree char *root = test_directory();
    g_autofree char *memory = hierarchy(root, "memory");
    g_autofree char *cpuacct = hierarchy(root, "cpuacct");
    g_autofree char *cpu = hierarchy(root, "cpu");
    g_autofree char *pids = hierarchy(root, "pids");
    CgroupReading reading;
    const CgroupUsage *usage = &reading.usage;

    put(memory, "memory.usage_in_bytes", "1000\n");
    put(memory, "memory.limit_in_bytes", "9223372036854771712\n");
    put(memory, "memory.failcnt", "3\n");
    put(memory, "memory.stat",
        "rss 1\ntotal_rss 11\ntotal_cache 22\ntotal_inactive_file 44\ntotal_pgfault 55\n");
    put(memory, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    put(memory, "cgroup.procs", "12\n13\n");
    put(cpuacct, "cpuacct.usage", "5000000\n");
    put(cpuacct, "cpuacct.stat", "user 3\nsystem 2\n");
    put(cpu, "cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 9000\n");
    put(pids, "pids.current", "7\n");
    cgroup_read(memory, &reading);
    CU_ASSERT_EQUAL(usage->memory_current_bytes, 1000);
    CU_ASSERT_EQUAL(usage->memory_max_bytes, 0);
    CU_ASSERT_EQUAL(usage->memory_max_hits, 3);
    CU_ASSERT_EQUAL(usage->memory_anon_bytes, 11);
    CU_ASSERT_EQUAL(usage->memory_file_bytes, 22);
    CU_ASSERT_EQUAL(usage->memory_inactive_file_bytes, 44);
    CU_ASSERT_EQUAL(usage->page_faults, 55);
    CU_ASSERT_EQUAL(usage->oom_kills, 2);
    CU_ASSERT_EQUAL(usage->cpu_usage_us, 5000);
    CU_ASSERT_EQUAL(usage->cpu_user_us, 30000);
    CU_ASSERT_EQUAL(usage->cpu_throttled_periods, 2);
    CU_ASSERT_EQUAL(usage->cpu_throttled_us, 9);
    CU_ASSERT_EQUAL(usage->threads, 7);
    CU_ASSERT_EQUAL(usage->processes, 2);
    CU_ASSERT_EQUAL(cgroup_oom_kills(memory), 2);
}

static void finds_a_cgroup_of_version_1(void)
{
    char directory[64] = "";

    CU_ASSERT_TRUE(
        cgroup_v1_parse("9:name=systemd:/a\n4:memory:/pod/ctr\n0::/b\n", "/cg", directory, sizeof directory));
    CU_ASSERT_STRING_EQUAL(directory, "/cg/memory/pod/ctr");
    CU_ASSERT_FALSE(cgroup_v1_parse("4:memory:/\n0::/b\n", "/cg", directory, sizeof directory));
    CU_ASSERT_FALSE(cgroup_v1_parse("0::/b\n", "/cg", directory, sizeof directory));
    CU_ASSERT_FALSE(cgroup_v1_parse("4:memory:/pod/ctr\n", "/cg", directory, 10));
}

static void reads_nothing_of_nothing(void)
{
    CgroupReading reading;

    cgroup_read("/nonexistent", &reading);
    CU_ASSERT_EQUAL(reading.usage.memory_current_bytes, 0);
    CU_ASSERT_PTR_NULL(reading.usage.memory_pressure);
    CU_ASSERT_EQUAL(crivirt__agent__v1__cgroup_usage__get_packed_size(&reading.usage), 0);
}

static void reads_interfaces(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "dev", NULL);
    InterfaceReading readings[4];

    put(directory, "dev",
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo "
        "colls carrier compressed\n"
        "    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
        "  eth0:1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n");
    CU_ASSERT_EQUAL_FATAL(netdev_read(path, readings, 4), 1);
    CU_ASSERT_STRING_EQUAL(readings[0].usage.name, "eth0");
    CU_ASSERT_EQUAL(readings[0].usage.rx_bytes, 1000);
    CU_ASSERT_EQUAL(readings[0].usage.rx_dropped, 2);
    CU_ASSERT_EQUAL(readings[0].usage.tx_bytes, 2000);
    CU_ASSERT_EQUAL(readings[0].usage.tx_dropped, 4);
    CU_ASSERT_EQUAL(netdev_read("/nonexistent", readings, 4), 0);
}

static void finds_empty_cgroups(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *old = test_directory();

    CU_ASSERT_TRUE(cgroup_is_empty(""));
    CU_ASSERT_TRUE(cgroup_is_empty("/nonexistent"));
    put(directory, "cgroup.events", "populated 1\nfrozen 0\n");
    CU_ASSERT_FALSE(cgroup_is_empty(directory));
    put(directory, "cgroup.events", "populated 0\nfrozen 0\n");
    CU_ASSERT_TRUE(cgroup_is_empty(directory));
    put(old, "memory.usage_in_bytes", "1\n"); /* of version 1 */
    put(old, "cgroup.procs", "12\n");
    CU_ASSERT_FALSE(cgroup_is_empty(old));
    put(old, "cgroup.procs", "");
    CU_ASSERT_TRUE(cgroup_is_empty(old));
}

static void removes_cgroups_of_version_2(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *cgroup = g_build_filename(directory, "ctr", NULL);
    g_autofree char *deep = g_build_filename(cgroup, "below", "deep", NULL);
    g_autofree char *beside = g_build_filename(cgroup, "beside", NULL);

    g_mkdir_with_parents(deep, 0755);
    g_mkdir_with_parents(beside, 0755);
    CU_ASSERT_TRUE(cgroup_remove(cgroup));
    CU_ASSERT_FALSE(g_file_test(cgroup, G_FILE_TEST_EXISTS));
    CU_ASSERT_TRUE(cgroup_remove(cgroup));

    g_mkdir_with_parents(deep, 0755);
    g_mkdir_with_parents(beside, 0755);
    put(deep, "a-file", "keeps its directory, as a process keeps a cgroup");
    CU_ASSERT_FALSE(cgroup_remove(cgroup));
    CU_ASSERT_TRUE(g_file_test(deep, G_FILE_TEST_EXISTS));
    CU_ASSERT_FALSE(g_file_test(beside, G_FILE_TEST_EXISTS));
}

static void leaves_cgroups_of_version_1(void)
{
    g_autofree char *old = test_directory();

    put(old, "memory.usage_in_bytes", "1\n");
    CU_ASSERT_FALSE(cgroup_remove(old));
    CU_ASSERT_TRUE(g_file_test(old, G_FILE_TEST_EXISTS));
}

static gboolean is_running(int pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", pid);
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) && strstr(text, ") Z ") == NULL;
}

static gboolean all_end(const int *pids, guint n)
{
    guint running = n;

    for (int i = 0; i < 500 && running > 0; i++) {
        running = 0;
        for (guint j = 0; j < n; j++)
            running += is_running(pids[j]) ? 1 : 0;
        if (running > 0)
            g_usleep(10000);
    }
    return running == 0;
}

static GPid spawn(char **argv)
{
    GPid pid = 0;

    CU_ASSERT_TRUE_FATAL(g_spawn_async(NULL, argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                                       NULL, NULL, &pid, NULL));
    return pid;
}

/* The leader of a session starts a child in it, one in a session of its own, and a grandchild. A process of
 * the cgroup that does not belong to it goes on. */
static void signals_a_process_with_all_that_it_started(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *list = g_build_filename(directory, "pids", NULL);
    g_autofree char *text = NULL;
    g_autofree char *procs = NULL;
    char *argv[] = {
        (char *)"setsid",
        (char *)"sh",
        (char *)"-c",
        (char *)"sleep 300 & echo $! >> $0.new; setsid sleep 300 & echo $! >> $0.new; "
                "sh -c 'sleep 300 & echo $! >> $0.new; wait' $0 & while [ $(wc -l < $0.new) -lt 3 ]; "
                "do sleep 0.01; done; mv $0.new $0; wait",
        list,
        NULL};
    char *other[] = {(char *)"sleep", (char *)"300", NULL};
    GPid leader = spawn(argv), stranger = spawn(other);
    int pids[3];
    int n;

    for (int i = 0; i < 1000 && !g_file_get_contents(list, &text, NULL, NULL); i++)
        g_usleep(10000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    n = sscanf(text, "%d %d %d", &pids[0], &pids[1], &pids[2]); /* NOLINT: a shell's numbers */
    CU_ASSERT_EQUAL_FATAL(n, 3);
    procs = g_strdup_printf("%d\n%d\n%s", (int)leader, (int)stranger, text);
    put(directory, "cgroup.procs", procs);
    CU_ASSERT_TRUE(process_tree_signal(directory, leader, 0, SIGKILL));
    CU_ASSERT_TRUE(all_end(pids, 3) && all_end(&leader, 1));
    CU_ASSERT_TRUE(is_running(stranger));
    kill(stranger, SIGKILL);
    CU_ASSERT_EQUAL(waitpid(leader, NULL, 0), leader);
    CU_ASSERT_EQUAL(waitpid(stranger, NULL, 0), stranger);
    CU_ASSERT_TRUE(process_tree_signal(directory, leader, 0, SIGKILL)); /* it is gone */
}

/* The pids that a script has written to a file, one a line. */
static guint read_pids(const char *path, int *ret_pids, guint max)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    guint n = 0;

    for (int i = 0; i < 1000 && !g_file_get_contents(path, &text, NULL, NULL); i++)
        g_usleep(10000);
    lines = g_strsplit(text != NULL ? text : "", "\n", -1);
    for (; n < max && lines[n] != NULL && *lines[n] != '\0'; n++)
        ret_pids[n] = atoi(lines[n]); /* NOLINT: a shell's number */
    return n;
}

/* The leader starts two daemons, each in a session of its own, whose parents end at once. One of them has
 * moved to a cgroup below the container's. A daemon of another leader goes on. */
static void signals_daemons_by_their_mark(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *below = g_build_filename(directory, "a", "b", NULL);
    g_autofree char *list = g_build_filename(directory, "pids", NULL);
    g_autofree char *other_list = g_build_filename(directory, "others", NULL);
    g_autofree char *procs = NULL, *procs_below = NULL;
    const char script[] =
        ": > $0.new; for i in 1 2; do (setsid sh -c 'echo $$ >> $0.new; exec sleep 300' $0 &); done; "
        "while [ $(wc -l < $0.new) -lt 2 ]; do sleep 0.01; done; mv $0.new $0; exec sleep 300";
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)script, list, NULL};
    char *other[] = {(char *)"sh", (char *)"-c", (char *)script, other_list, NULL};
    uint64_t mark = process_tree_new_mark(), other_mark = process_tree_new_mark();
    int pids[2], others[2];
    GPid leader, stranger;

    CU_ASSERT_NOT_EQUAL(mark, other_mark);
    process_tree_carry(mark);
    leader = spawn(argv);
    process_tree_carry(other_mark);
    stranger = spawn(other);
    process_tree_carry(0);
    CU_ASSERT_EQUAL_FATAL(read_pids(list, pids, 2), 2);
    CU_ASSERT_EQUAL_FATAL(read_pids(other_list, others, 2), 2);
    g_mkdir_with_parents(below, 0755);
    procs =
        g_strdup_printf("%d\n%d\n%d\n%d\n%d\n", (int)leader, (int)stranger, others[0], others[1], pids[0]);
    procs_below = g_strdup_printf("%d\n", pids[1]);
    put(directory, "cgroup.procs", procs);
    put(below, "cgroup.procs", procs_below);
    CU_ASSERT_TRUE(process_tree_signal(directory, leader, mark, SIGKILL));
    CU_ASSERT_TRUE(all_end(pids, 2) && all_end(&leader, 1));
    CU_ASSERT_TRUE(is_running(stranger) && is_running(others[0]) && is_running(others[1]));
    kill(stranger, SIGKILL);
    CU_ASSERT_EQUAL(waitpid(stranger, NULL, 0), stranger);
    CU_ASSERT_TRUE(process_tree_signal(directory, 0, other_mark, SIGKILL)); /* its leader has been reaped */
    CU_ASSERT_TRUE(all_end(others, 2));
    CU_ASSERT_EQUAL(waitpid(leader, NULL, 0), leader);
}

static void finds_processes_below(void)
{
    g_autofree char *root = test_directory();
    g_autofree char *memory = hierarchy(root, "memory");
    g_autofree char *below = g_build_filename(memory, "system.slice", "x.service", NULL);
    g_autofree char *procs = NULL;
    char *argv[] = {(char *)"sleep", (char *)"300", NULL};
    GPid pid = spawn(argv);
    CgroupReading reading;
    int pids[4];

    procs = g_strdup_printf("%d\n", (int)pid);
    g_mkdir_with_parents(below, 0755);
    put(memory, "memory.usage_in_bytes", "1000\n");
    put(memory, "cgroup.procs", "");
    put(below, "cgroup.procs", procs);
    cgroup_read(memory, &reading);
    CU_ASSERT_EQUAL(reading.usage.processes, 1);
    CU_ASSERT_EQUAL(cgroup_processes(memory, pids, 4), 1);
    CU_ASSERT_EQUAL(pids[0], pid);
    CU_ASSERT_FALSE(cgroup_is_empty(memory));
    CU_ASSERT_TRUE(cgroup_kill(memory));
    CU_ASSERT_TRUE(all_end(&pid, 1));
    CU_ASSERT_EQUAL(waitpid(pid, NULL, 0), pid);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"the files of a cgroup are read", reads_a_cgroup},
        {"a cgroup of version 1 is read from all its hierarchies", reads_a_cgroup_of_version_1},
        {"a process's cgroup of version 1 is the one of the memory controller", finds_a_cgroup_of_version_1},
        {"counters of missing files are 0", reads_nothing_of_nothing},
        {"a cgroup without processes is empty", finds_empty_cgroups},
        {"a cgroup is removed with those below it, unless one of them is in use",
         removes_cgroups_of_version_2},
        {"a cgroup of version 1 is left to crun, which knows its other hierarchies",
         leaves_cgroups_of_version_1},
        {"a signal reaches a process with all that it has started, and no other",
         signals_a_process_with_all_that_it_started},
        {"a signal reaches daemons of the process by their mark, also when the process has ended",
         signals_daemons_by_their_mark},
        {"processes in cgroups that a container has made are counted and killed", finds_processes_below},
        {"the counters of interfaces are read, except lo", reads_interfaces},
    };

    return test_main_args("agent_counters", cases, G_N_ELEMENTS(cases), argc, argv);
}

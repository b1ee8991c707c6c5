/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/cgroup.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "tests/unit/harness.h"

#define ROOT "/sys/fs/cgroup"

static void slices_are_unfolded(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *slice = NULL;
    g_autofree char *top = NULL;
    g_autofree char *plain = NULL;

    TEST_OK(cgroup_parent_path("kubepods-burstable-pod1_2.slice", &slice, &error), error);
    CU_ASSERT_STRING_EQUAL(slice, "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice");
    TEST_OK(cgroup_parent_path("user.slice", &top, &error), error);
    CU_ASSERT_STRING_EQUAL(top, "/user.slice");
    TEST_OK(cgroup_parent_path("/kubepods/pod1", &plain, &error), error);
    CU_ASSERT_STRING_EQUAL(plain, "/kubepods/pod1");
}

static void odd_names_are_refused(void)
{
    static const char *const bad[] = {"kubepods/pod1", "/a/../../etc", "-x.slice",
                                      "a--b.slice",    ".slice",       ""};

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        char *path = NULL;

        TEST_FAILS(cgroup_parent_path(bad[i], &path, &error), error, STATUS_INVALID_ARGUMENT,
                   "cgroup_parent");
    }
}

/* The paths of a process in every hierarchy, one line each. */
static char *cgroups_of(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/cgroup", (int)pid);
    char *text = NULL;

    return file_read(path, 65536, &text, NULL, NULL) ? text : g_strdup("");
}

/* Return: FALSE when this node has no cgroups that limit memory. */
static gboolean memory_limit(const char *parent, const char *bytes)
{
    g_autofree char *v1 = g_build_filename(ROOT, "memory", parent, "memory.limit_in_bytes", NULL);
    g_autofree char *v2 = g_build_filename(ROOT, parent, "memory.max", NULL);
    FILE *file = fopen(access(v1, F_OK) == 0 ? v1 : v2, "re+");

    if (file == NULL)
        return FALSE;
    fputs(bytes, file);
    return fclose(file) == 0;
}

static void processes_come_and_go(void)
{
    g_autofree char *parent = g_strdup_printf("/crivirt-test-%d", (int)getpid());
    g_autofree char *name = g_strdup_printf("guest-%d", (int)getpid());
    g_autofree char *inside = g_strdup_printf("%s/%s\n", parent, name);
    g_autofree char *beside = g_strdup_printf(":/%s\n", name);
    g_autoptr(GError) error = NULL;
    g_autofree char *found = NULL;
    pid_t pid;

    if (getuid() != 0 || access(ROOT, W_OK) != 0) {
        printf("     skipped: no cgroups to write to\n");
        return;
    }
    pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    TEST_OK(cgroup_join(ROOT, parent, name, &pid, 1, &error), error);
    found = cgroups_of(pid);
    CU_ASSERT_PTR_NOT_NULL(strstr(found, inside));
    if (memory_limit(parent, "1048576")) {
        g_autofree char *moved = NULL;
        guint64 limit_bytes = 0;

        TEST_OK(cgroup_make_room(ROOT, parent, name, 1048577, &limit_bytes, &error), error);
        CU_ASSERT_EQUAL(limit_bytes, 1048576);
        TEST_OK(cgroup_join(ROOT, parent, name, &pid, 1, &error), error);
        moved = cgroups_of(pid);
        CU_ASSERT_PTR_NOT_NULL(strstr(moved, beside));
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    TEST_OK(cgroup_leave(ROOT, parent, name, &error), error);
    TEST_OK(cgroup_leave(ROOT, parent, name, &error), error);
    /* Only a test removes the parent. */
    TEST_OK(cgroup_leave(ROOT, "/", parent + 1, &error), error);
}

static void put(const char *directory, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);

    CU_ASSERT_TRUE(g_file_set_contents(path, text, -1, NULL));
}

/* What cgroup_make_room() finds too small in a tree that looks like version 1 or 2, and whether the child is
 * beside the pod's cgroup then. */
static guint64 limit_of(const char *file, const char *text, guint64 needed_bytes, gboolean *ret_beside)
{
    g_autofree char *root = test_directory();
    g_autofree char *top = g_build_filename(root, "memory", NULL);
    g_autofree char *pod = g_build_filename(top, "pods", "pod", NULL);
    g_autofree char *below = g_build_filename(pod, "guest", NULL);
    g_autofree char *beside = g_build_filename(top, "pods", "guest", NULL);
    g_autoptr(GError) error = NULL;
    guint64 bytes = 1;

    CU_ASSERT_EQUAL(g_mkdir_with_parents(below, 0755), 0);
    put(top, "cgroup.procs", "");
    put(pod, file, text);
    TEST_OK(cgroup_make_room(root, "/pods/pod", "guest", needed_bytes, &bytes, &error), error);
    *ret_beside = g_file_test(beside, G_FILE_TEST_IS_DIR);
    CU_ASSERT_NOT_EQUAL(*ret_beside, g_file_test(below, G_FILE_TEST_IS_DIR));
    return bytes;
}

static void room_is_made_where_there_is_too_little(void)
{
    static const struct {
        const char *file, *text;
        guint64 needed, found;
    } cases[] = {
        {"memory.max", "1048576\n", 1048577, 1048576},
        {"memory.max", "1048576\n", 1048576, 0},
        {"memory.max", "max\n", 1048577, 0},
        {"memory.limit_in_bytes", "1048576\n", 1048577, 1048576},
        {"memory.limit_in_bytes", "9223372036854771712\n", 1048577, 0},
        {"cgroup.procs", "", 1048577, 0},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        gboolean beside;

        CU_ASSERT_EQUAL(limit_of(cases[i].file, cases[i].text, cases[i].needed, &beside), cases[i].found);
        CU_ASSERT_EQUAL(beside, cases[i].found != 0);
    }
}

static void the_limit_of_processes_is_read(void)
{
    static const struct {
        const char *text;
        guint64 most;
    } cases[] = {{"100\n", 100}, {"max\n", 0}};
    g_autofree char *root = test_directory();
    g_autofree char *top = g_build_filename(root, "pids", NULL);
    g_autofree char *pod = g_build_filename(top, "pods", "pod", NULL);

    CU_ASSERT_EQUAL(g_mkdir_with_parents(pod, 0755), 0);
    put(top, "cgroup.procs", "");
    CU_ASSERT_EQUAL(cgroup_pids_max(root, "/pods/pod"), 0);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        put(pod, "pids.max", cases[i].text);
        CU_ASSERT_EQUAL(cgroup_pids_max(root, "/pods/pod"), cases[i].most);
    }
}

static char *limited(const char *root, const char *file)
{
    g_autofree char *path = g_build_filename(root, "cpu", "pod", "guest", file, NULL);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? text : g_strdup("");
}

static void cpu_is_limited(void)
{
    g_autofree char *root = test_directory();
    g_autofree char *top = g_build_filename(root, "cpu", NULL);
    g_autofree char *directory = g_build_filename(top, "pod", "guest", NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *one = NULL;
    g_autofree char *two = NULL;

    CU_ASSERT_EQUAL(g_mkdir_with_parents(directory, 0755), 0);
    put(top, "cgroup.procs", "");
    TEST_FAILS(cgroup_limit_cpu(root, "/pod", "guest", 50000, 100000, &error), error, STATUS_INTERNAL,
               "no cpu controller");
    TEST_OK(cgroup_limit_cpu(root, "/pod", "guest", 0, 100000, &error), error);
    put(directory, "cpu.max", "");
    TEST_OK(cgroup_limit_cpu(root, "/pod", "guest", 50000, 100000, &error), error);
    one = limited(root, "cpu.max");
    CU_ASSERT_TRUE(g_str_has_prefix(one, "50000 100000"));
    put(directory, "cpu.max", "");
    TEST_OK(cgroup_limit_cpu(root, "/pod", "guest", 0, 100000, &error), error);
    two = limited(root, "cpu.max");
    CU_ASSERT_TRUE(g_str_has_prefix(two, "max 100000"));
}

static char *cpuset_file(const char *root, const char *file)
{
    g_autofree char *path = g_build_filename(root, "cpuset", "pod", "guest", file, NULL);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? text : g_strdup("");
}

/* Return: what is in the files when those lists have been written to them; empty: before that, and at last
 * where nothing needs to be written. */
static char *cpus_used(const char *root, const char *directory, gboolean empty, const char *cpus,
                       const char *mems)
{
    CpuList cpu_list = {0};
    CpuList mem_list = {0};
    g_autoptr(GError) error = NULL;
    g_autofree char *one = NULL;
    g_autofree char *two = NULL;

    put(directory, "cpuset.cpus", empty ? "" : "2\n");
    put(directory, "cpuset.mems", empty ? "" : "1\n");
    cpu_list_add(&cpu_list, cpus, "cpus", NULL);
    cpu_list_add(&mem_list, mems, "mems", NULL);
    TEST_OK(cgroup_use_cpus(root, "/pod", "guest", &cpu_list, &mem_list, &error), error);
    one = cpuset_file(root, "cpuset.cpus");
    two = cpuset_file(root, "cpuset.mems");
    return g_strdup_printf("%s;%s", g_strstrip(one), g_strstrip(two));
}

static void cpus_are_limited(void)
{
    g_autofree char *root = test_directory();
    g_autofree char *top = g_build_filename(root, "cpuset", NULL);
    g_autofree char *parent = g_build_filename(top, "pod", NULL);
    g_autofree char *directory = g_build_filename(parent, "guest", NULL);
    const CpuList none = {0};
    CpuList one = {0};
    g_autoptr(GError) error = NULL;
    g_autofree char *some = NULL;
    g_autofree char *inherited = NULL;
    g_autofree char *effective = NULL;
    g_autofree char *untouched = NULL;

    CU_ASSERT_EQUAL(g_mkdir_with_parents(directory, 0755), 0);
    put(top, "cgroup.procs", "");
    cpu_list_add(&one, "1", "cpus", NULL);
    TEST_FAILS(cgroup_use_cpus(root, "/pod", "guest", &one, &none, &error), error, STATUS_INTERNAL,
               "no cpuset controller");
    TEST_OK(cgroup_use_cpus(root, "/pod", "guest", &none, &none, &error), error);
    put(parent, "cpuset.cpus", "0-3\n");
    put(parent, "cpuset.mems", "0\n");
    some = cpus_used(root, directory, TRUE, "1,2,3", "");
    CU_ASSERT_STRING_EQUAL(some, "1-3;");
    inherited = cpus_used(root, directory, FALSE, "", "");
    CU_ASSERT_STRING_EQUAL(inherited, "0-3;0");
    /* version 2 */
    put(parent, "cpuset.cpus", "\n");
    put(parent, "cpuset.cpus.effective", "0-5\n");
    effective = cpus_used(root, directory, FALSE, "", "0");
    CU_ASSERT_STRING_EQUAL(effective, "0-5;0");
    untouched = cpus_used(root, directory, TRUE, "", "");
    CU_ASSERT_STRING_EQUAL(untouched, ";");
}

/* Every file system that a test's directory may be on keeps trusted attributes. */
static void an_owner_tag_is_found(void)
{
    g_autofree char *root = test_directory();
    g_autofree char *procs = g_build_filename(root, "cgroup.procs", NULL);
    g_autofree char *others = g_build_filename(root, "kubepods/pod2/crivirt-2", NULL);
    g_autofree char *ours = g_build_filename(root, "kubepods/pod1/crivirt-1", NULL);
    g_autoptr(GPtrArray) found = NULL;
    g_autoptr(GError) error = NULL;

    CU_ASSERT_TRUE(g_file_set_contents(procs, "", 0, NULL));
    TEST_OK(dir_make(ours, 0755, &error) && dir_make(others, 0755, &error), error);
    cgroup_set_owner_tag(root, "/kubepods/pod1", "crivirt-1", "crivirt-one");
    cgroup_set_owner_tag(root, "/kubepods/pod2", "crivirt-2", "crivirt-other");
    found = cgroup_list_by_owner_tag(root, "crivirt-one");
    CU_ASSERT_EQUAL_FATAL(found->len, 1);
    CU_ASSERT_STRING_EQUAL(found->pdata[0], ours);
}

static char *contents(const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    char *text = NULL;

    return file_read(path, 65536, &text, NULL, NULL) ? text : g_strdup("");
}

/* Return: where a hierarchy of version 2 is mounted, alone or beside others; NULL: there is none. */
static const char *unified_root(void)
{
    static const char *const places[] = {ROOT, ROOT "/unified"};

    for (gsize i = 0; getuid() == 0 && i < G_N_ELEMENTS(places); i++) {
        g_autofree char *file = g_build_filename(places[i], "cgroup.controllers", NULL);

        if (access(file, F_OK) == 0 && access(places[i], W_OK) == 0)
            return places[i];
    }
    return NULL;
}

static void version_2_has_its_controllers(void)
{
    const char *root = unified_root();
    g_autofree char *parent = g_strdup_printf("/crivirt-test2-%d", (int)getpid());
    g_autofree char *path = NULL;
    g_autofree char *had = NULL;
    g_autofree char *has = NULL;
    g_autofree char *inside = g_strdup_printf("0::%s/guest\n", parent);
    g_autofree char *found = NULL;
    Deadline deadline = deadline_in_ms(10000);
    g_autoptr(GError) error = NULL;
    pid_t pid;

    if (root == NULL) {
        printf("     skipped: no cgroups of version 2 to write to\n");
        return;
    }
    pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    path = g_build_filename(root, parent, "guest", NULL);
    TEST_OK(cgroup_join(root, parent, "guest", &pid, 1, &error), error);
    had = contents(root, "cgroup.controllers");
    has = contents(path, "cgroup.controllers");
    CU_ASSERT_STRING_EQUAL(has, had);
    found = cgroups_of(pid);
    CU_ASSERT_PTR_NOT_NULL(strstr(found, inside));
    TEST_OK(cgroup_kill(root, parent, "guest", &deadline, &error), error);
    waitpid(pid, NULL, 0);
    TEST_OK(cgroup_leave(root, "/", parent + 1, &error), error);
}

static void controllers_are_handed_down(void)
{
    g_autofree char *root = test_directory();
    g_autofree char *pod = g_build_filename(root, "kubepods", "pod1", NULL);
    g_autofree char *guest = g_build_filename(pod, "guest", NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *top = NULL;
    g_autofree char *below = NULL;

    CU_ASSERT_EQUAL(g_mkdir_with_parents(guest, 0755), 0);
    put(root, "cgroup.procs", "");
    put(root, "cgroup.controllers", "cpu\n");
    put(root, "cgroup.subtree_control", "");
    put(pod, "cgroup.controllers", "memory\n");
    put(pod, "cgroup.subtree_control", "");
    put(guest, "cgroup.subtree_control", ""); /* which the guest itself may do for its children */
    TEST_OK(cgroup_join(root, "/kubepods/pod1", "guest", NULL, 0, &error), error);
    top = contents(root, "cgroup.subtree_control");
    below = contents(pod, "cgroup.subtree_control");
    CU_ASSERT_STRING_EQUAL(top, "+cpu");
    CU_ASSERT_STRING_EQUAL(below, "+memory");
}

int main(void)
{
    static const TestCase cases[] = {
        {"a systemd slice is unfolded into its ancestors, a path is used as it is", slices_are_unfolded},
        {"a name that cannot be a cgroup's is refused, with the name of the field", odd_names_are_refused},
        {"a process joins the child of the pod's cgroup, and leaving removes it", processes_come_and_go},
        {"a child is moved beside a cgroup whose limit is less than it needs, in both versions",
         room_is_made_where_there_is_too_little},
        {"a cgroup is found by its owner tag, and no other is", an_owner_tag_is_found},
        {"the limit of processes of a pod's cgroup is read", the_limit_of_processes_is_read},
        {"the CPU time of the pod's VM is limited, and the limit is removed", cpu_is_limited},
        {"a pod's VM is limited to some CPUs and memory nodes, and to those of its parent", cpus_are_limited},
        {"in version 2 every cgroup above the pod's VM enables its controllers", controllers_are_handed_down},
        {"in version 2 the pod's VM has all controllers, and is killed at once",
         version_2_has_its_controllers},
    };

    return test_main("cgroup", cases, G_N_ELEMENTS(cases));
}

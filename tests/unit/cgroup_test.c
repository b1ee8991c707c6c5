#include "sandbox/cgroup.h"

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

static void processes_come_and_go(void)
{
    g_autofree char *parent = g_strdup_printf("/crivirt-test-%d", (int)getpid());
    g_autofree char *inside = g_strdup_printf("%s/guest\n", parent);
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
    TEST_OK(cgroup_join(ROOT, parent, "guest", &pid, 1, &error), error);
    found = cgroups_of(pid);
    CU_ASSERT_PTR_NOT_NULL(strstr(found, inside));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    TEST_OK(cgroup_leave(ROOT, parent, "guest", &error), error);
    TEST_OK(cgroup_leave(ROOT, parent, "guest", &error), error);
    /* The parent is not ours to remove in earnest. */
    TEST_OK(cgroup_leave(ROOT, "/", parent + 1, &error), error);
}

int main(void)
{
    static const TestCase cases[] = {
        {"a systemd slice stands for its ancestors too, a path for itself", slices_are_unfolded},
        {"what is no cgroup's name is refused, naming the field", odd_names_are_refused},
        {"a process joins the child of the pod's cgroup, and leaving removes it", processes_come_and_go},
    };

    return test_main("cgroup", cases, G_N_ELEMENTS(cases));
}

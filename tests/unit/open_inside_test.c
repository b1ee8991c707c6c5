/* SPDX-License-Identifier: Apache-2.0 */
#include "common/open_inside.h"

#include <stdio.h>
#include <sys/stat.h>

#include "tests/unit/harness.h"

enum { OPENS = 20000, RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

typedef struct {
    int directory;
    gint stop;
} Renames;

static gpointer rename_on_and_on(gpointer data)
{
    Renames *renames = data;

    while (!g_atomic_int_get(&renames->stop)) {
        renameat(renames->directory, "a", renames->directory, "b");
        renameat(renames->directory, "b", renames->directory, "a");
    }
    return NULL;
}

static int directory_make(void)
{
    g_autofree char *path = test_directory();
    int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    CU_ASSERT_EQUAL_FATAL(mkdirat(directory, "a", 0755), 0);
    CU_ASSERT_EQUAL_FATAL(mkdirat(directory, "etc", 0755), 0);
    CU_ASSERT_EQUAL_FATAL(symlinkat("../../../etc", directory, "climb"), 0);
    return directory;
}

static void opens_while_others_rename(void)
{
    Renames renames = {.directory = directory_make()};
    GThread *thread = g_thread_new("rename", rename_on_and_on, &renames);
    guint failed = 0;

    for (guint i = 0; i < OPENS; i++) {
        int fd = open_inside(renames.directory, "climb/../etc", O_PATH, RESOLVE);

        failed += fd < 0;
        if (fd >= 0)
            close(fd);
    }
    g_atomic_int_set(&renames.stop, 1);
    g_thread_join(thread);
    CU_ASSERT_EQUAL(failed, 0);
    close(renames.directory);
}

static void keeps_inside(void)
{
    int directory = directory_make();
    int fd = open_inside(directory, "climb", O_PATH, RESOLVE);
    struct stat inside, opened;

    CU_ASSERT_EQUAL(fstatat(directory, "etc", &inside, 0), 0);
    CU_ASSERT_EQUAL(fstat(fd, &opened), 0);
    CU_ASSERT_EQUAL(inside.st_ino, opened.st_ino);
    CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
    CU_ASSERT_TRUE(open_inside(directory, "climb", O_PATH, RESOLVE_BENEATH) < 0 && errno == EXDEV);
    close(fd);
    close(directory);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"nothing of a path leads out of the directory", keeps_inside},
        {"a path with .. opens while other programs rename files", opens_while_others_rename},
    };

    return test_main_args("open_inside", cases, G_N_ELEMENTS(cases), argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "common/fileio.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "tests/unit/harness.h"

static char *path_in(const char *directory, const char *name)
{
    return g_build_filename(directory, name, NULL);
}

static void put(const char *path, const char *text)
{
    GError *error = NULL;

    TEST_OK(file_write_atomic(path, text, strlen(text), 0644, &error), error);
}

static void a_written_file_is_read_back(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = path_in(directory, "file");
    g_autofree char *data = NULL;
    struct stat status;
    gsize length = 0;
    GError *error = NULL;

    put(path, "old and longer");
    TEST_OK(file_write_atomic(path, "a\0b", 3, 0640, &error), error);
    TEST_OK(file_read(path, 100, &data, &length, &error), error);
    CU_ASSERT_EQUAL(length, 3);
    CU_ASSERT_EQUAL(memcmp(data, "a\0b", 4), 0);
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 07777, 0640);
}

static void a_failed_write_leaves_the_old_file_and_nothing_else(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *target = path_in(directory, "target");
    g_autoptr(GDir) entries = NULL;
    GError *error = NULL;

    CU_ASSERT_EQUAL(mkdir(target, 0700), 0); /* a directory cannot be replaced by a file */
    TEST_FAILS(file_write_atomic(target, "x", 1, 0600, &error), error, STATUS_INTERNAL, target);
    entries = g_dir_open(directory, 0, NULL);
    CU_ASSERT_STRING_EQUAL(g_dir_read_name(entries), "target");
    CU_ASSERT_PTR_NULL(g_dir_read_name(entries));
}

static void a_file_over_the_limit_is_not_read(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = path_in(directory, "file");
    char *data = NULL;
    gsize length = 7;
    GError *error = NULL;

    put(path, "12345");
    TEST_FAILS(file_read(path, 4, &data, &length, &error), error, STATUS_RESOURCE_EXHAUSTED, path);
    CU_ASSERT_PTR_NULL(data);
    CU_ASSERT_EQUAL(length, 7);
    TEST_OK(file_read(path, 5, &data, NULL, &error), error);
    g_free(data);
    data = NULL;
    TEST_FAILS(file_read("/nonexistent", 5, &data, NULL, &error), error, STATUS_NOT_FOUND, "/nonexistent");
}

static char *make_sparse(const char *directory)
{
    char *path = path_in(directory, "sparse");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    CU_ASSERT_EQUAL(pwrite(fd, "begin", 5, 0), 5);
    CU_ASSERT_EQUAL(pwrite(fd, "middle", 6, 5 << 20), 6);
    CU_ASSERT_EQUAL(ftruncate(fd, 20 << 20), 0);
    close(fd);
    return path;
}

static void expect_sparse(const char *path)
{
    g_autofree char *data = NULL;
    struct stat status;
    gsize length = 0;
    GError *error = NULL;

    TEST_OK(file_read(path, 32 << 20, &data, &length, &error), error);
    CU_ASSERT_EQUAL_FATAL(length, 20 << 20);
    CU_ASSERT_STRING_EQUAL(data, "begin");
    CU_ASSERT_STRING_EQUAL(data + (5 << 20), "middle");
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_TRUE(status.st_blocks * 512 < 1 << 20);
    CU_ASSERT_EQUAL(status.st_mode & 07777, 0664);
}

static void a_sparse_copy_keeps_holes_and_mode(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *from = make_sparse(directory);
    g_autofree char *to = path_in(directory, "copy");
    mode_t mask = umask(077);
    GError *error = NULL;

    TEST_OK(file_copy_sparse(from, to, 0664, NULL, &error), error);
    umask(mask);
    expect_sparse(to);
    TEST_FAILS(file_copy_sparse(from, to, 0600, NULL, &error), error, STATUS_INTERNAL, "cannot create");
    TEST_FAILS(file_copy_sparse("/nonexistent", to, 0600, NULL, &error), error, STATUS_NOT_FOUND,
               "cannot open");
}

static void a_sparse_copy_ends_at_its_deadline(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *from = make_sparse(directory);
    g_autofree char *to = path_in(directory, "copy");
    Deadline deadline = deadline_in_ms(0);
    GError *error = NULL;

    TEST_FAILS(file_copy_sparse(from, to, 0664, &deadline, &error), error, STATUS_DEADLINE_EXCEEDED,
               "copying a file");
    CU_ASSERT_NOT_EQUAL(access(to, F_OK), 0);
}

static void a_sparse_copy_may_cross_file_systems(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *from = make_sparse(directory);
    g_autofree char *to = g_strdup_printf("/dev/shm/crivirt-test-%d", (int)getpid());
    GError *error = NULL;

    if (access("/dev/shm", W_OK) != 0)
        return;
    TEST_OK(file_copy_sparse(from, to, 0664, NULL, &error), error);
    g_chmod(to, 0664);
    expect_sparse(to);
    unlink(to);
}

static void a_tree_is_removed_without_following_links(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *tree = path_in(directory, "tree");
    g_autofree char *deep = path_in(directory, "tree/a/b/c");
    g_autofree char *file = path_in(directory, "tree/a/b/file");
    g_autofree char *link = path_in(directory, "tree/a/link");
    g_autofree char *outside = path_in(directory, "outside");
    g_autofree char *kept = path_in(directory, "outside/kept");
    GError *error = NULL;

    TEST_OK(dir_make(deep, 0755, &error), error);
    TEST_OK(dir_make(deep, 0755, &error), error);
    TEST_OK(dir_make(outside, 0755, &error), error);
    put(file, "x");
    put(kept, "x");
    CU_ASSERT_EQUAL(symlink(outside, link), 0);
    TEST_OK(dir_remove_tree(tree, &error), error);
    CU_ASSERT_NOT_EQUAL(access(tree, F_OK), 0);
    CU_ASSERT_EQUAL(access(kept, F_OK), 0);
    TEST_OK(dir_remove_tree(tree, &error), error);
}

static void a_link_or_file_is_removed_by_itself(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *link = path_in(directory, "link");
    g_autofree char *kept = path_in(directory, "kept");
    GError *error = NULL;

    put(kept, "x");
    CU_ASSERT_EQUAL(symlink(directory, link), 0);
    TEST_OK(dir_remove_tree(link, &error), error);
    CU_ASSERT_EQUAL(access(kept, F_OK), 0);
    TEST_OK(dir_remove_tree(kept, &error), error);
    CU_ASSERT_NOT_EQUAL(access(kept, F_OK), 0);
}

/* What kubelet mounts into a pod is often on the node's own file system. */
static void a_mount_of_the_same_file_system_is_not_emptied(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *volume = path_in(directory, "volume");
    g_autofree char *kept = path_in(directory, "volume/kept");
    g_autofree char *tree = path_in(directory, "tree");
    g_autofree char *point = path_in(directory, "tree/point");
    GError *error = NULL;

    TEST_OK(dir_make(volume, 0755, &error), error);
    TEST_OK(dir_make(point, 0755, &error), error);
    put(kept, "x");
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(volume, point, NULL, MS_BIND, NULL) != 0) {
        printf("     skipped: may not mount\n");
        return;
    }
    TEST_FAILS(dir_remove_tree(tree, &error), error, STATUS_INTERNAL, tree);
    CU_ASSERT_EQUAL(access(kept, F_OK), 0);
    CU_ASSERT_EQUAL(umount(point), 0);
    TEST_OK(dir_remove_tree(tree, &error), error);
    CU_ASSERT_EQUAL(access(kept, F_OK), 0);
}

/* Makes directories inside each other below path, by descriptor: the path of the last is too long for the
 * kernel. */
static void nest(const char *path, guint depth)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (guint i = 0; fd >= 0 && i < depth; i++) {
        int next;

        CU_ASSERT_EQUAL_FATAL(mkdirat(fd, "d", 0700), 0);
        /* Names that the removal uses are the tree's, too. */
        CU_ASSERT_EQUAL(i > 5 || mkdirat(fd, ".removed-0", 0700) == 0, TRUE);
        next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = next;
    }
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(mkfifoat(fd, "fifo", 0600), 0);
    CU_ASSERT_EQUAL(symlinkat("/", fd, "root"), 0);
    close(fd);
}

static void a_tree_of_any_depth_is_removed_with_few_descriptors(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *tree = path_in(directory, "tree");
    struct rlimit usual;
    struct rlimit few;
    GError *error = NULL;

    CU_ASSERT_EQUAL(mkdir(tree, 0700), 0);
    nest(tree, 20000);
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &usual), 0);
    few = (struct rlimit){.rlim_cur = 16, .rlim_max = usual.rlim_max};
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &few), 0);
    TEST_OK(dir_remove_tree(tree, &error), error);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &usual), 0);
    CU_ASSERT_NOT_EQUAL(access(tree, F_OK), 0);
}

static void a_wide_tree_with_fifos_and_links_is_removed(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *tree = path_in(directory, "tree");
    g_autofree char *kept = path_in(directory, "kept");
    int parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    GError *error = NULL;

    put(kept, "kept");
    CU_ASSERT_EQUAL(mkdir(tree, 0700), 0);
    for (guint i = 0; i < 300; i++) {
        g_autofree char *branch = g_strdup_printf("%s/%u", tree, i);
        g_autofree char *fifo = g_strdup_printf("%s/fifo-%u", tree, i);
        g_autofree char *link = g_strdup_printf("%s/link-%u", tree, i);

        CU_ASSERT_EQUAL(mkdir(branch, 0700), 0);
        CU_ASSERT_EQUAL(mkfifo(fifo, 0600), 0);
        CU_ASSERT_EQUAL(symlink(directory, link), 0);
        nest(branch, 5);
    }
    TEST_OK(dir_remove_tree_at(parent, "tree", &error), error);
    CU_ASSERT_NOT_EQUAL(access(tree, F_OK), 0);
    CU_ASSERT_EQUAL(access(kept, F_OK), 0);
    /* A FIFO or a link in the place of the tree is removed by itself, without waiting for a writer. */
    CU_ASSERT_EQUAL(mkfifo(tree, 0600), 0);
    TEST_OK(dir_remove_tree_at(parent, "tree", &error), error);
    CU_ASSERT_EQUAL(symlink(directory, tree), 0);
    TEST_OK(dir_remove_tree_at(parent, "tree", &error), error);
    TEST_OK(dir_remove_tree_at(parent, "tree", &error), error);
    CU_ASSERT_EQUAL(access(kept, F_OK), 0);
    close(parent);
}

/* Exchanges a directory of the tree with a link that leads out of it, again and again. */
static gpointer swap_links(gpointer data)
{
    const char *tree = data;
    g_autofree char *inside = path_in(tree, "a");
    g_autofree char *link = path_in(tree, "b");

    for (guint i = 0; i < 2000; i++) {
        mkdir(inside, 0700);
        (void)!symlink("../outside", link);
        renameat2(AT_FDCWD, inside, AT_FDCWD, link, RENAME_EXCHANGE);
    }
    return NULL;
}

static void links_that_are_swapped_in_are_not_followed(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *tree = path_in(directory, "tree");
    g_autofree char *outside = path_in(directory, "outside");
    g_autofree char *kept = path_in(outside, "kept");
    GThread *swapper;
    GError *error = NULL;

    CU_ASSERT_EQUAL(mkdir(tree, 0700), 0);
    CU_ASSERT_EQUAL(mkdir(outside, 0700), 0);
    put(kept, "kept");
    swapper = g_thread_new("swap", swap_links, tree);
    for (guint i = 0; i < 200; i++) {
        dir_remove_tree(tree, NULL);
        mkdir(tree, 0700);
    }
    g_thread_join(swapper);
    TEST_OK(dir_remove_tree(tree, &error), error);
    CU_ASSERT_EQUAL(access(kept, F_OK), 0);
}

static void a_lock_is_exclusive_and_names_its_holder(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = path_in(directory, "lock");
    g_autofree char *holder = g_strdup_printf("pid %d", (int)getpid());
    int fd = -1;
    int second = -1;
    GError *error = NULL;

    TEST_OK(file_lock(path, &fd, &error), error);
    TEST_FAILS(file_lock(path, &second, &error), error, STATUS_UNAVAILABLE, holder);
    CU_ASSERT_EQUAL(second, -1);
    close(fd);
    TEST_OK(file_lock(path, &second, &error), error);
    close(second);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a written file is read back", a_written_file_is_read_back},
        {"a failed write leaves the old file and nothing else",
         a_failed_write_leaves_the_old_file_and_nothing_else},
        {"a file over the limit is not read", a_file_over_the_limit_is_not_read},
        {"a sparse copy keeps holes and mode", a_sparse_copy_keeps_holes_and_mode},
        {"a sparse copy ends at its deadline and leaves no file", a_sparse_copy_ends_at_its_deadline},
        {"a sparse copy may cross file systems", a_sparse_copy_may_cross_file_systems},
        {"a tree is removed without following links", a_tree_is_removed_without_following_links},
        {"a link or file is removed by itself", a_link_or_file_is_removed_by_itself},
        {"a tree of any depth is removed with few descriptors",
         a_tree_of_any_depth_is_removed_with_few_descriptors},
        {"a wide tree with FIFOs and links is removed, and nothing beside it",
         a_wide_tree_with_fifos_and_links_is_removed},
        {"links that are swapped into a tree while it is removed are not followed",
         links_that_are_swapped_in_are_not_followed},
        {"a lock is exclusive and names its holder", a_lock_is_exclusive_and_names_its_holder},
        /* Last: it leaves the process in a mount namespace of its own. */
        {"a mount of the same file system is not emptied", a_mount_of_the_same_file_system_is_not_emptied},
    };

    return test_main_args("fileio", cases, G_N_ELEMENTS(cases), argc, argv);
}

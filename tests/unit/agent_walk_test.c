/* SPDX-License-Identifier: Apache-2.0 */
/* Walking and removing trees that a hostile container could have made. */
#include "agent/guest/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/harness.h"

enum {
    DEEP = 10000, /* far more than a path has room for, or a stack in a recursion of its own frames */
    DESCRIPTORS = 100,
};

static char *place;

static char *in_place(const char *path)
{
    return g_build_filename(place, path, NULL);
}

static void file_make(int parent, const char *name)
{
    int fd = openat(parent, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    CU_ASSERT_TRUE(fd >= 0);
    close(fd);
}

/* Directories "d" in each other, with a file beside each. */
static void deep_make(const char *path, guint levels)
{
    int fd = -1;

    CU_ASSERT_EQUAL(mkdir(path, 0700), 0);
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (guint i = 0; i < levels; i++) {
        int below;

        CU_ASSERT_EQUAL(mkdirat(fd, "d", 0700), 0);
        file_make(fd, "file");
        below = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = below;
    }
    close(fd);
}

typedef struct {
    guint directories;
    guint others;
} Count;

static void count_entry(const struct stat *status, void *data)
{
    Count *count = data;

    if (S_ISDIR(status->st_mode))
        count->directories++;
    else
        count->others++;
}

static Count count_of(const char *path)
{
    Count count = {0};

    CU_ASSERT_TRUE(walk_tree(path, count_entry, &count));
    return count;
}

static gboolean exists(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0;
}

static void every_entry_is_visited_once(void)
{
    g_autofree char *root = in_place("flat");
    g_autofree char *link = in_place("flat/1/link");
    g_autofree char *fifo = in_place("flat/2/fifo");
    Count count;
    int fd;

    CU_ASSERT_EQUAL(mkdir(root, 0700), 0);
    fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (guint i = 0; i < 300; i++) {
        g_autofree char *directory = g_strdup_printf("%u", i);
        g_autofree char *file = g_strdup_printf("%u/file", i);

        CU_ASSERT_EQUAL(mkdirat(fd, directory, 0700), 0);
        file_make(fd, file);
    }
    close(fd);
    CU_ASSERT_EQUAL(symlink("/", link), 0);
    CU_ASSERT_EQUAL(mkfifo(fifo, 0600), 0);
    count = count_of(root);
    CU_ASSERT_EQUAL(count.directories, 301);
    CU_ASSERT_EQUAL(count.others, 302);
    CU_ASSERT_TRUE(walk_remove(root));
    CU_ASSERT_FALSE(exists(root));
}

/* With so few descriptors as a process of the agent has at most. */
static void depth_has_no_limit(void)
{
    g_autofree char *root = in_place("deep");
    struct rlimit before;
    struct rlimit few;
    Count count;

    deep_make(root, DEEP);
    getrlimit(RLIMIT_NOFILE, &before);
    few = before;
    few.rlim_cur = DESCRIPTORS;
    setrlimit(RLIMIT_NOFILE, &few);
    count = count_of(root);
    CU_ASSERT_EQUAL(count.directories, DEEP + 1);
    CU_ASSERT_EQUAL(count.others, DEEP);
    CU_ASSERT_TRUE(walk_remove(root));
    CU_ASSERT_FALSE(exists(root));
    setrlimit(RLIMIT_NOFILE, &before);
}

typedef struct {
    Count count;
    char *from; /* a directory deep below, which is moved when the walk is in it */
    char *to;
} Mover;

static void count_and_move(const struct stat *status, void *data)
{
    Mover *mover = data;

    count_entry(status, &mover->count);
    if (mover->count.directories == 151)
        rename(mover->from, mover->to);
}

/* From a directory that was moved, ".." leads out of what was walked. */
static void moved_directories_do_not_lead_out(void)
{
    g_autofree char *root = in_place("moved");
    g_autofree char *outside = in_place("outside");
    g_autoptr(GString) from = g_string_new(root);
    Mover mover = {.to = in_place("outside/d")};
    int fd;

    deep_make(root, 200);
    deep_make(outside, 0);
    fd = open(outside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (guint i = 0; i < 1000; i++) {
        g_autofree char *name = g_strdup_printf("file%u", i);

        file_make(fd, name);
    }
    close(fd);
    for (guint i = 0; i < 120; i++)
        g_string_append(from, "/d");
    mover.from = from->str;
    CU_ASSERT_TRUE(walk_tree(root, count_and_move, &mover));
    CU_ASSERT_TRUE(exists(mover.to));
    CU_ASSERT_EQUAL(mover.count.directories, 201);
    CU_ASSERT_TRUE(mover.count.others <= 200);
    CU_ASSERT_TRUE(walk_remove(root));
    CU_ASSERT_TRUE(walk_remove(outside));
    g_free(mover.to);
}

static void links_and_mounts_are_not_followed(void)
{
    g_autofree char *root = in_place("tree");
    g_autofree char *kept = in_place("kept");
    g_autofree char *kept_file = in_place("kept/file");
    g_autofree char *link = in_place("tree/link");
    g_autofree char *below = in_place("tree/below");
    g_autofree char *mounted = in_place("tree/below/mounted");
    int fd;

    CU_ASSERT_EQUAL(mkdir(root, 0700) | mkdir(kept, 0700) | mkdir(below, 0700) | mkdir(mounted, 0700), 0);
    fd = open(kept, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    file_make(fd, "file");
    close(fd);
    CU_ASSERT_EQUAL(symlink(kept, link), 0);
    if (mount(kept, mounted, NULL, MS_BIND, NULL) == 0) {
        CU_ASSERT_EQUAL(count_of(root).others, 1);
        CU_ASSERT_FALSE(walk_remove(root));
        CU_ASSERT_EQUAL(errno, EBUSY);
        CU_ASSERT_FALSE(exists(link));
        CU_ASSERT_EQUAL(umount(mounted), 0);
    }
    CU_ASSERT_TRUE(walk_remove(root));
    CU_ASSERT_TRUE(exists(kept_file));
    CU_ASSERT_TRUE(walk_remove(kept));
}

static void what_is_no_directory_is_removed(void)
{
    g_autofree char *file = in_place("file");
    g_autofree char *link = in_place("link");
    g_autofree char *missing = in_place("missing");
    Count count = {0};

    CU_ASSERT_TRUE(walk_remove(missing));
    CU_ASSERT_FALSE(walk_tree(missing, count_entry, &count));
    file_make(AT_FDCWD, file);
    CU_ASSERT_EQUAL(symlink(place, link), 0);
    CU_ASSERT_FALSE(walk_tree(link, count_entry, &count));
    CU_ASSERT_TRUE(walk_remove(link));
    CU_ASSERT_TRUE(walk_remove(file));
    CU_ASSERT_FALSE(exists(file) || exists(link));
    CU_ASSERT_TRUE(exists(place));
}

int main(void)
{
    static const TestCase cases[] = {
        {"every file and directory is visited once", every_entry_is_visited_once},
        {"a tree of any depth is walked and removed with few descriptors", depth_has_no_limit},
        {"a directory that is moved during the walk does not lead out of the tree",
         moved_directories_do_not_lead_out},
        {"symbolic links and mounts are not followed", links_and_mounts_are_not_followed},
        {"a file, a link and nothing are removed", what_is_no_directory_is_removed},
    };
    int code;

    place = test_directory();
    /* Mounts of the test disappear with it. In memory the deep tree takes no time of the disk. */
    if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
        mount("test", place, "tmpfs", 0, NULL);
    code = test_main("agent_walk", cases, G_N_ELEMENTS(cases));
    umount2(place, MNT_DETACH);
    g_free(place);
    return code;
}

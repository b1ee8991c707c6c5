/* SPDX-License-Identifier: Apache-2.0 */
/* Binds of volumes into a share. They need the right to mount, so without root the tests are skipped. */
#include "sandbox/volumes/share.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "sandbox/volumes/userns.h"
#include "tests/unit/harness.h"

typedef struct {
    char *directory;
    char *share;
    char *volume;
} Fixture;

static void fixture_init(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;

    fixture->directory = g_dir_make_tmp("crivirt-share-XXXXXX", &error);
    fixture->share = g_build_filename(fixture->directory, "share", NULL);
    fixture->volume = g_build_filename(fixture->directory, "volume", NULL);
    TEST_OK(dir_make(fixture->volume, 0755, &error), error);
    TEST_OK(share_create(fixture->share, &error), error);
}

static void fixture_clear(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;

    TEST_OK(share_delete(fixture->share, &error), error);
    TEST_OK(dir_remove_tree(fixture->directory, &error), error);
    g_free(fixture->directory);
    g_free(fixture->share);
    g_free(fixture->volume);
}

/* The path of a file in the first volume of "c1". */
static char *inside(const Fixture *fixture, const char *name)
{
    return g_build_filename(fixture->share, "c1", "0", name, NULL);
}

static gboolean can_create(const char *path)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void bind(Fixture *fixture, ShareVolume volume, gboolean expect_nested)
{
    g_autoptr(GError) error = NULL;
    ShareBind made = {0};

    volume.host_path = fixture->volume;
    TEST_OK(share_bind(fixture->share, "c1", 0, &volume, &made, &error), error);
    CU_ASSERT_STRING_EQUAL(made.name, "c1/0");
    CU_ASSERT_EQUAL(made.nested, expect_nested);
    g_free(made.name);
}

static void readonly_reaches_as_far_as_asked(void)
{
    for (int recursive = 0; recursive < 2; recursive++) {
        Fixture fixture;
        g_autofree char *nested = NULL;
        g_autofree char *file = NULL;
        g_autofree char *nested_file = NULL;

        fixture_init(&fixture);
        nested = g_build_filename(fixture.volume, "nested", NULL);
        CU_ASSERT_EQUAL(mkdir(nested, 0755), 0);
        CU_ASSERT_EQUAL(mount("none", nested, "tmpfs", 0, NULL), 0);
        bind(&fixture, (ShareVolume){.readonly = TRUE, .recursive = recursive == 1, .userns_fd = -1}, TRUE);
        file = inside(&fixture, "x");
        nested_file = inside(&fixture, "nested/x");
        CU_ASSERT_FALSE(can_create(file));
        CU_ASSERT_EQUAL(can_create(nested_file), recursive == 0);
        CU_ASSERT_EQUAL(umount(nested), 0);
        fixture_clear(&fixture);
    }
}

static void later_mounts_appear_only_where_asked(void)
{
    for (int follow = 0; follow < 2; follow++) {
        Fixture fixture;
        g_autofree char *nested = NULL;
        g_autofree char *host_file = NULL;
        g_autofree char *file = NULL;

        fixture_init(&fixture);
        CU_ASSERT_EQUAL(mount(fixture.volume, fixture.volume, NULL, MS_BIND, NULL), 0);
        CU_ASSERT_EQUAL(mount(NULL, fixture.volume, NULL, MS_SHARED, NULL), 0);
        nested = g_build_filename(fixture.volume, "nested", NULL);
        CU_ASSERT_EQUAL(mkdir(nested, 0755), 0);
        bind(&fixture, (ShareVolume){.follow = follow == 1, .userns_fd = -1}, FALSE);
        CU_ASSERT_EQUAL(mount("none", nested, "tmpfs", 0, NULL), 0);
        host_file = g_build_filename(nested, "flag", NULL);
        CU_ASSERT_TRUE(can_create(host_file));
        file = inside(&fixture, "nested/flag");
        CU_ASSERT_EQUAL(access(file, F_OK) == 0, follow == 1);
        CU_ASSERT_EQUAL(umount2(nested, MNT_DETACH), 0);
        CU_ASSERT_EQUAL(umount2(fixture.volume, MNT_DETACH), 0);
        fixture_clear(&fixture);
    }
}

static void owners_are_shown_mapped(void)
{
    Runtime__V1__UserNamespace user = RUNTIME__V1__USER_NAMESPACE__INIT;
    Runtime__V1__IDMapping mapping = RUNTIME__V1__IDMAPPING__INIT;
    Runtime__V1__IDMapping *mappings[] = {&mapping};
    Fixture fixture;
    g_autofree char *path = NULL;
    g_autoptr(GError) error = NULL;
    struct stat status;
    int fd = -1;

    mapping.host_id = 70000;
    mapping.length = 65536;
    user.uids = user.gids = mappings;
    user.n_uids = user.n_gids = 1;
    fixture_init(&fixture);
    TEST_OK(userns_open(&user, &fd, &error), error);
    bind(&fixture, (ShareVolume){.userns_fd = fd}, FALSE);
    close(fd);
    path = inside(&fixture, "");
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_uid, 70000);
    CU_ASSERT_EQUAL(status.st_gid, 70000);
    fixture_clear(&fixture);
}

static void a_missing_source_becomes_a_directory(void)
{
    Fixture fixture;
    g_autofree char *path = NULL;

    fixture_init(&fixture);
    CU_ASSERT_EQUAL(rmdir(fixture.volume), 0);
    bind(&fixture, (ShareVolume){.userns_fd = -1}, FALSE);
    CU_ASSERT_TRUE(g_file_test(fixture.volume, G_FILE_TEST_IS_DIR));
    path = inside(&fixture, "x");
    CU_ASSERT_TRUE(can_create(path));
    fixture_clear(&fixture);
}

static char *bind_common(Fixture *fixture, const char *container, gboolean readonly)
{
    const ShareVolume volume = {
        .host_path = fixture->volume, .readonly = readonly, .userns_fd = -1, .common = TRUE};
    g_autoptr(GError) error = NULL;
    ShareBind made = {0};

    TEST_OK(share_bind(fixture->share, container, 3, &volume, &made, &error), error);
    return made.name;
}

static void common_volumes_are_bound_once(void)
{
    g_autofree char *one = NULL, *two = NULL, *other = NULL, *again = NULL, *file = NULL;
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    one = bind_common(&fixture, "c1", FALSE);
    two = bind_common(&fixture, "c2", FALSE);
    other = bind_common(&fixture, "c2", TRUE);
    CU_ASSERT_STRING_EQUAL(one, two);
    CU_ASSERT_STRING_NOT_EQUAL(one, other);
    CU_ASSERT_TRUE(g_str_has_prefix(one, "v/"));
    file = g_build_filename(fixture.share, one, "x", NULL);
    CU_ASSERT_TRUE(can_create(file));
    TEST_OK(share_unbind(fixture.share, "c1", &error), error);
    again = bind_common(&fixture, "c3", FALSE);
    CU_ASSERT_STRING_EQUAL(one, again);
    TEST_OK(share_unbind(fixture.share, "c2", &error), error);
    CU_ASSERT_EQUAL(access(file, F_OK), 0);
    TEST_OK(share_unbind(fixture.share, "c3", &error), error);
    CU_ASSERT_NOT_EQUAL(access(file, F_OK), 0);
    TEST_OK(share_unbind(fixture.share, "c3", &error), error);
    fixture_clear(&fixture);
}

static void bind_again(const Fixture *fixture, const char *container, const char *name)
{
    const ShareVolume volume = {.host_path = fixture->volume, .userns_fd = -1, .common = TRUE};
    g_autoptr(GError) error = NULL;

    TEST_OK(share_bind_again(fixture->share, container, 3, name, &volume, &error), error);
}

static void later_containers_join_what_was_bound_again(void)
{
    static const char *const saved = "v/0123456789abcdef0123456789abcdef";
    g_autofree char *later = NULL, *other = NULL, *last = NULL, *name = NULL, *own = NULL;
    g_autofree char *file = NULL;
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    bind_again(&fixture, "c1", saved);
    bind_again(&fixture, "c2", saved);
    later = bind_common(&fixture, "c3", FALSE);
    CU_ASSERT_STRING_EQUAL(later, saved);
    name = share_bind_name(fixture.share, "c3", 3);
    CU_ASSERT_STRING_EQUAL(name, saved);
    other = bind_common(&fixture, "c3", TRUE);
    CU_ASSERT_STRING_NOT_EQUAL(other, saved);
    file = g_build_filename(fixture.share, saved, "x", NULL);
    CU_ASSERT_TRUE(can_create(file));
    TEST_OK(share_unbind(fixture.share, "c1", &error), error);
    TEST_OK(share_unbind(fixture.share, "c2", &error), error);
    TEST_OK(share_unbind(fixture.share, "c3", &error), error);
    CU_ASSERT_NOT_EQUAL(access(file, F_OK), 0);
    last = bind_common(&fixture, "c4", FALSE);
    CU_ASSERT_EQUAL(access(file, F_OK), 0);
    bind_again(&fixture, "c5", last); /* as it would be named without a saved pod */
    own = bind_common(&fixture, "c6", FALSE);
    CU_ASSERT_STRING_EQUAL(own, last);
    fixture_clear(&fixture);
}

static void only_volumes_are_writable(void)
{
    g_autofree char *at_root = NULL, *beside = NULL, *in_volume = NULL, *later = NULL;
    Fixture fixture;
    struct statvfs status;

    fixture_init(&fixture);
    bind(&fixture, (ShareVolume){.userns_fd = -1, .confined = TRUE}, FALSE);
    at_root = g_build_filename(fixture.share, "x", NULL);
    beside = g_build_filename(fixture.share, "c1", "1", NULL);
    in_volume = inside(&fixture, "x");
    CU_ASSERT_FALSE(can_create(at_root));
    CU_ASSERT_EQUAL(errno, EROFS);
    CU_ASSERT_FALSE(can_create(beside));
    CU_ASSERT_EQUAL(errno, EROFS);
    CU_ASSERT_TRUE(can_create(in_volume));
    CU_ASSERT_EQUAL(statvfs(in_volume, &status), 0);
    CU_ASSERT_EQUAL(status.f_flag & (ST_NODEV | ST_NOSUID | ST_RDONLY), ST_NODEV | ST_NOSUID);
    CU_ASSERT_EQUAL(statvfs(fixture.share, &status), 0);
    CU_ASSERT_EQUAL(status.f_flag & (ST_NODEV | ST_NOSUID | ST_RDONLY), ST_NODEV | ST_NOSUID | ST_RDONLY);
    /* The volume on the node is as it was. */
    CU_ASSERT_EQUAL(statvfs(fixture.volume, &status), 0);
    CU_ASSERT_EQUAL(status.f_flag & ST_RDONLY, 0);
    later = bind_common(&fixture, "c2", FALSE);
    CU_ASSERT_TRUE(g_str_has_prefix(later, "v/"));
    fixture_clear(&fixture);
}

/* Puts what a guest could, if the root were writable. */
static void plant(const Fixture *fixture, const char *name, const char *link)
{
    struct mount_attr writable = {.attr_clr = MOUNT_ATTR_RDONLY};
    struct mount_attr readonly = {.attr_set = MOUNT_ATTR_RDONLY};
    g_autofree char *path = g_build_filename(fixture->share, name, NULL);
    g_autofree char *parent = g_path_get_dirname(path);

    CU_ASSERT_EQUAL(mount_setattr(AT_FDCWD, fixture->share, 0, &writable, sizeof(writable)), 0);
    CU_ASSERT_EQUAL(g_mkdir_with_parents(parent, 0711), 0);
    CU_ASSERT_EQUAL(link != NULL ? symlink(link, path) : mkfifo(path, 0600), 0);
    CU_ASSERT_EQUAL(mount_setattr(AT_FDCWD, fixture->share, 0, &readonly, sizeof(readonly)), 0);
}

static void links_and_fifos_at_mount_points_are_replaced(void)
{
    g_autofree char *outside = NULL;
    g_autoptr(GError) error = NULL;

    for (int deep = 0; deep < 2; deep++) {
        for (int link = 0; link < 2; link++) {
            for (int is_file = 0; is_file < 2; is_file++) {
                g_autofree char *made = NULL;
                Fixture fixture;

                fixture_init(&fixture);
                outside = g_build_filename(fixture.directory, "outside", NULL);
                CU_ASSERT_EQUAL(mkdir(outside, 0700), 0);
                if (is_file) {
                    CU_ASSERT_EQUAL(rmdir(fixture.volume), 0);
                    CU_ASSERT_TRUE(can_create(fixture.volume));
                }
                plant(&fixture, deep ? "c1/0" : "c1", link ? outside : NULL);
                bind(&fixture, (ShareVolume){.userns_fd = -1}, FALSE);
                made = g_build_filename(fixture.share, "c1", "0", NULL);
                CU_ASSERT_EQUAL(g_file_test(made, G_FILE_TEST_IS_DIR), !is_file);
                CU_ASSERT_FALSE(g_file_test(made, G_FILE_TEST_IS_SYMLINK));
                /* It is still empty. */
                CU_ASSERT_EQUAL(rmdir(outside), 0);
                TEST_OK(share_unbind(fixture.share, "c1", &error), error);
                CU_ASSERT_FALSE(g_file_test(made, G_FILE_TEST_EXISTS));
                fixture_clear(&fixture);
                g_clear_pointer(&outside, g_free);
            }
        }
    }
}

/* A process in a mount namespace of its own, whose root is a directory as it is a file server's, and in which
 * a function has mounted. */
typedef struct {
    pid_t pid;
    int namespace_fd;
} Server;

static Server server_start(const char *root, unsigned namespaces, void (*prepare)(void))
{
    Server server = {.namespace_fd = -1};
    g_autofree char *path = NULL;
    int ends[2];
    char byte;

    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    fflush(NULL);
    /* Not fork() and unshare(): ThreadSanitizer gives the child of a fork() a second thread, with which it
     * cannot enter a user namespace. */
    server.pid =
        (pid_t)syscall(SYS_clone, (unsigned long)(SIGCHLD | CLONE_NEWNS | namespaces), NULL, NULL, NULL, 0UL);
    if (server.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
        if (mount(root, root, NULL, MS_BIND, NULL) == 0 && chdir(root) == 0 &&
            syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 && chdir("/") == 0 &&
            prepare != NULL)
            prepare();
        (void)!write(ends[1], "", 1);
        pause();
        _exit(0);
    }
    CU_ASSERT_EQUAL(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    close(ends[1]);
    path = g_strdup_printf("/proc/%d/ns/mnt", (int)server.pid);
    server.namespace_fd = open(path, O_RDONLY | O_CLOEXEC);
    return server;
}

static void server_kill(Server *server)
{
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
}

static void mount_read_only(void)
{
    mount("none", "/c1/0", "tmpfs", 0, NULL);
    mkdir("/c1/0/below", 0700);
    mount("none", "/c1/0/below", "tmpfs", 0, NULL);
    close(open("/c1/0/below/file", O_CREAT | O_CLOEXEC, 0600));
    mount(NULL, "/c1/0", NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

static void mount_elsewhere(void)
{
    mount("none", "/other", "tmpfs", 0, NULL);
}

static void binds_are_copied_to_the_next_server(void)
{
    g_autofree char *top = test_directory();
    g_autofree char *bound = g_build_filename(top, "c1", "0", NULL);
    g_autofree char *other = g_build_filename(top, "other", NULL);
    g_autofree char *seen = NULL;
    g_autoptr(GError) error = NULL;
    Server old, next, foreign;

    g_mkdir_with_parents(bound, 0700);
    g_mkdir_with_parents(other, 0700);
    old = server_start(top, 0, mount_read_only);
    server_kill(&old);
    next = server_start(top, 0, NULL);
    TEST_OK(share_copy_binds(old.namespace_fd, next.pid, &error), error);
    seen = g_strdup_printf("/proc/%d/root/c1/0/below/file", (int)next.pid);
    CU_ASSERT_EQUAL(access(seen, F_OK), 0);
    g_free(seen);
    seen = g_strdup_printf("/proc/%d/root/c1/0/new", (int)next.pid);
    CU_ASSERT_FALSE(can_create(seen));
    CU_ASSERT_EQUAL(errno, EROFS);
    /* What a hostile fsguard could pass instead: a namespace of an ordinary user, or one of the node, or any
     * file. */
    foreign = server_start(top, CLONE_NEWUSER, mount_read_only);
    TEST_FAILS(share_copy_binds(foreign.namespace_fd, next.pid, &error), error, STATUS_INTERNAL,
               "node's root");
    server_kill(&foreign);
    close(foreign.namespace_fd);
    foreign = server_start(top, 0, mount_elsewhere);
    TEST_FAILS(share_copy_binds(foreign.namespace_fd, next.pid, &error), error, STATUS_INTERNAL,
               "has a mount at /other");
    server_kill(&foreign);
    TEST_FAILS(share_copy_binds(STDERR_FILENO, next.pid, &error), error, STATUS_INTERNAL, "node's root");
    close(foreign.namespace_fd);
    server_kill(&next);
    close(next.namespace_fd);
    close(old.namespace_fd);
}

int main(void)
{
    static const TestCase cases[] = {
        {"read-only holds for mounts below the volume only when it is recursive",
         readonly_reaches_as_far_as_asked},
        {"later mounts appear only in a volume that follows those of the node",
         later_mounts_appear_only_where_asked},
        {"the owners of a volume are mapped", owners_are_shown_mapped},
        {"a common volume is bound once, until its last container is unbound", common_volumes_are_bound_once},
        {"later containers join a volume that was bound again for a saved guest",
         later_containers_join_what_was_bound_again},
        {"only volumes are writable in a share, and they have no device files and no setuid programs",
         only_volumes_are_writable},
        {"links and FIFOs where mount points are made are replaced, not followed or opened",
         links_and_fifos_at_mount_points_are_replaced},
        {"binds of a dead file server are copied to the next one, and from no other namespace",
         binds_are_copied_to_the_next_server},
        {"a missing source becomes a directory", a_missing_source_becomes_a_directory},
    };

    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        printf("skip share: it takes root to mount\n");
        return 0;
    }
    return test_main("share", cases, G_N_ELEMENTS(cases));
}

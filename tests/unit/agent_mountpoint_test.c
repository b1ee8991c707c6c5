/* SPDX-License-Identifier: Apache-2.0 */
/* Mount points behind symbolic links of a rootfs, made in a directory of the test. It needs root, to change
 * owners. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/mountpoint.h"
#include "tests/unit/harness.h"

enum { OWNER = 4321, GROUP = 8765 };

static char *place; /* has the rootfs, and what a link could reach outside it */
static MountpointRoot root;

static char *in_place(const char *path)
{
    return g_build_filename(place, path, NULL);
}

static void link_make(const char *target, const char *path)
{
    g_autofree char *full = in_place(path);

    unlink(full);
    CU_ASSERT_EQUAL(symlink(target, full), 0);
}

static void prepare(void)
{
    g_autofree char *rootfs = NULL, *etc = NULL, *run = NULL;

    place = test_directory();
    rootfs = in_place("rootfs");
    etc = in_place("rootfs/etc");
    run = in_place("rootfs/var");
    CU_ASSERT_EQUAL(g_mkdir_with_parents(etc, 0755), 0);
    CU_ASSERT_EQUAL(g_mkdir_with_parents(run, 0755), 0);
    root = (MountpointRoot){
        .rootfs_fd = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC), .uid = OWNER, .gid = GROUP};
    CU_ASSERT_TRUE_FATAL(root.rootfs_fd >= 0);
}

/* kind: S_IFDIR, S_IFREG, or 0 when there must be nothing. */
static void expect(const char *path, mode_t kind)
{
    g_autofree char *full = in_place(path);
    struct stat status;
    gboolean exists = lstat(full, &status) == 0;

    CU_ASSERT_EQUAL(exists, kind != 0);
    if (!exists || kind == 0) {
        if (exists || kind != 0)
            g_printerr("%s\n", path);
        return;
    }
    CU_ASSERT_EQUAL(status.st_mode & S_IFMT, kind);
    CU_ASSERT_TRUE(status.st_uid == OWNER && status.st_gid == GROUP);
    CU_ASSERT_EQUAL(status.st_mode & 07777, kind == S_IFDIR ? 0755 : 0644);
}

static void make(const char *path, bool is_file)
{
    Fault problem;

    if (!mountpoint_make(&root, path, is_file, &problem)) {
        g_printerr("%s: %s\n", path, problem.message);
        CU_FAIL("a mount point");
    }
}

static void leaves_the_rest_to_crun(void)
{
    make("/plain/below", false);
    make("/etc/hosts", true);
    make("/etc/../new/./x", false);
    make("", false);
    make("/", false);
    expect("rootfs/plain", 0);
    expect("rootfs/etc/hosts", 0);
    expect("rootfs/new", 0);
}

static void makes_targets_of_dangling_links(void)
{
    link_make("/run", "rootfs/var/run");
    make("/var/run/secrets/kubernetes.io", false);
    expect("rootfs/run", S_IFDIR);
    expect("rootfs/run/secrets/kubernetes.io", S_IFDIR);
    link_make("../run/systemd/resolve/stub-resolv.conf", "rootfs/etc/resolv.conf");
    make("/etc/resolv.conf", true);
    expect("rootfs/run/systemd/resolve", S_IFDIR);
    expect("rootfs/run/systemd/resolve/stub-resolv.conf", S_IFREG);
    make("/etc/resolv.conf", true); /* it is there now */
    link_make("second", "rootfs/first");
    link_make("/third/", "rootfs/second");
    make("/first", false);
    expect("rootfs/third", S_IFDIR);
    link_make("gone", "rootfs/etc/a");
    make("/etc/a/b/../c", true);
    expect("rootfs/etc/gone/b", S_IFDIR);
    expect("rootfs/etc/gone/c", S_IFREG);
}

static void stays_in_the_rootfs(void)
{
    g_autofree char *outside = in_place("outside");

    link_make("../../../../../../../../climbed", "rootfs/up");
    make("/up/x", false);
    expect("rootfs/climbed/x", S_IFDIR);
    link_make(outside, "rootfs/absolute");
    make("/absolute", true);
    expect("outside", 0);
    link_make("/proc/self/root/tmp/crivirt-mountpoint", "rootfs/magic");
    make("/magic", false);
    expect("rootfs/proc/self/root/tmp/crivirt-mountpoint", S_IFDIR);
    CU_ASSERT_NOT_EQUAL(access("/tmp/crivirt-mountpoint", F_OK), 0);
    make("/up/../../../../../besides", false);
    expect("besides", 0);
}

static void refuses_circles(void)
{
    g_autoptr(GString) deep = g_string_new(NULL);
    Fault problem;

    link_make("loop", "rootfs/loop");
    CU_ASSERT_FALSE(mountpoint_make(&root, "/loop/x", false, &problem));
    CU_ASSERT_PTR_NOT_NULL(strstr(problem.message, "the mount point /loop/x"));
    while (deep->len < 4000)
        g_string_append(deep, "/..//.");
    link_make(deep->str, "rootfs/long");
    CU_ASSERT_FALSE(mountpoint_make(&root,
                                    "/long/1234567890/1234567890/1234567890/1234567890/1234567890/1234567890/"
                                    "1234567890/1234567890/1234567890/x",
                                    false, &problem));
    CU_ASSERT_PTR_NOT_NULL(strstr(problem.message, "too long"));
}

static void reads_the_configuration(void)
{
    static const char config[] =
        "{\"mounts\":[{\"destination\":\"/m/a\",\"type\":\"bind\",\"source\":\"/etc/passwd\"},"
        "{\"destination\":\"\\/"
        "m\\u002fb\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"},{\"type\":\"proc\"}],\"x\":1}";
    Fault problem;

    link_make("/made", "rootfs/m");
    CU_ASSERT_TRUE(mountpoints_make(&root, (JsonSpan){config, strlen(config)}, &problem));
    expect("rootfs/made/a", S_IFREG);
    expect("rootfs/made/b", S_IFDIR);
    CU_ASSERT_TRUE(mountpoints_make(&root, (JsonSpan){"{}", 2}, &problem));
}

/* The configuration has a bind mount of the volume at /data, and two more mounts below it. */
static bool make_in_volume(const char *options, const char *below, const char *other, Fault *ret_fault)
{
    g_autofree char *source = in_place("volume");
    g_autofree char *config =
        g_strdup_printf("{\"mounts\":[{\"destination\":\"/"
                        "data\",\"type\":\"bind\",\"source\":\"%s\",\"options\":[\"rbind\"%s]},"
                        "{\"destination\":\"%s\",\"type\":\"tmpfs\",\"source\":\"tmpfs\"},"
                        "{\"destination\":\"%s\",\"type\":\"bind\",\"source\":\"/etc/passwd\"}]}",
                        source, options, below, other);

    return mountpoints_make(&root, (JsonSpan){config, strlen(config)}, ret_fault);
}

static void follows_links_in_mounted_volumes(void)
{
    g_autofree char *existing = in_place("volume/existing");
    Fault problem = {0};

    CU_ASSERT_EQUAL(g_mkdir_with_parents(existing, 0755), 0);
    link_make("inside/deep", "volume/relative");
    link_make("../of-the-rootfs", "volume/up");
    link_make("/data/file", "volume/absolute");
    link_make("existing", "volume/there");
    CU_ASSERT_TRUE(make_in_volume("", "/data/relative", "/data/absolute", &problem));
    expect("volume/inside/deep", S_IFDIR);
    expect("volume/file", S_IFREG);
    CU_ASSERT_TRUE(make_in_volume("", "/data/up/x", "/data/there/missing", &problem));
    expect("rootfs/of-the-rootfs/x", S_IFDIR);
    expect("of-the-rootfs", 0);
    CU_ASSERT_TRUE(make_in_volume("", "/data/existing", "/data/existing/relative", &problem));
    expect("volume/existing/relative", 0); /* covered by a tmpfs */
    expect("rootfs/data", 0);
    link_make("lost", "volume/dangling");
    CU_ASSERT_FALSE(make_in_volume(",\"ro\"", "/data/dangling", "/x", &problem));
    CU_ASSERT_PTR_NOT_NULL(strstr(problem.message,
                                  "the mount point /data/dangling leads to /data/lost, which "
                                  "is missing in a read-only volume"));
    expect("volume/lost", 0);
}

int main(void)
{
    static const TestCase cases[] = {
        {"the test has a rootfs", prepare},
        {"a mount point without links is left to crun", leaves_the_rest_to_crun},
        {"the targets of dangling links are made, with their owner", makes_targets_of_dangling_links},
        {"links that lead out of the rootfs end inside it", stays_in_the_rootfs},
        {"circles of links and paths that are too long are refused", refuses_circles},
        {"links in a volume that is mounted before are followed there", follows_links_in_mounted_volumes},
        {"the mounts of a configuration are files or directories as their sources", reads_the_configuration},
    };
    if (geteuid() != 0) {
        g_print("skipped: this test needs root\n");
        return 0;
    }
    return test_main("agent_mountpoint", cases, G_N_ELEMENTS(cases));
}

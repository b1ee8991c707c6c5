/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/volumes/memory_volume.h"

#include <string.h>
#include <sys/sysmacros.h>

#include "tests/unit/harness.h"

#define KUBELET "/var/lib/kubelet/pods/uid-1"
static const char mounts[] =
    "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
    "30 22 0:44 / " KUBELET "/volumes/kubernetes.io~empty-dir/cache rw,relatime shared:7 - tmpfs tmpfs "
    "rw,size=4096k,nr_inodes=99,inode64\n"
    "31 22 0:44 /sub/dir " KUBELET "/volume-subpaths/cache/main/0 rw shared:7 - tmpfs tmpfs rw,size=4096k\n"
    "32 22 0:45 / /tmp rw - tmpfs tmpfs rw,size=1g\n"
    "33 22 0:46 / " KUBELET "/volumes/kubernetes.io~secret/token rw - tmpfs tmpfs rw,size=1g\n"
    "34 22 0:47 / " KUBELET "/volumes/kubernetes.io~empty-dir/with\\040blank rw - tmpfs tmpfs rw\n"
    "nonsense\n";

static void expect(const char *path, guint number, const char *sub_path, guint64 bytes)
{
    g_auto(MemoryVolume) volume = {0};
    g_autofree char *mountpoint = NULL;

    CU_ASSERT_TRUE_FATAL(memory_volume_parse(mounts, makedev(0, number), path, &volume, &mountpoint));
    CU_ASSERT_STRING_EQUAL(volume.sub_path, sub_path);
    CU_ASSERT_EQUAL(volume.size_bytes, bytes);
    CU_ASSERT_EQUAL(strlen(volume.id), 24);
}

static void finds_volumes(void)
{
    g_auto(MemoryVolume) whole = {0}, part = {0};
    g_autofree char *one = NULL, *two = NULL;

    expect(KUBELET "/volumes/kubernetes.io~empty-dir/cache", 44, "", 4 << 20);
    expect(KUBELET "/volumes/kubernetes.io~empty-dir/cache/a/b", 44, "a/b", 4 << 20);
    expect(KUBELET "/volume-subpaths/cache/main/0", 44, "sub/dir", 4 << 20);
    expect(KUBELET "/volumes/kubernetes.io~empty-dir/with blank", 47, "", 0);
    CU_ASSERT_TRUE(memory_volume_parse(mounts, makedev(0, 44),
                                       KUBELET "/volumes/kubernetes.io~empty-dir/cache", &whole, &one));
    CU_ASSERT_TRUE(
        memory_volume_parse(mounts, makedev(0, 44), KUBELET "/volume-subpaths/cache/main/0", &part, &two));
    CU_ASSERT_STRING_EQUAL(whole.id, part.id);
    CU_ASSERT_EQUAL(whole.size_inodes, 99);
}

static void leaves_others(void)
{
    g_auto(MemoryVolume) volume = {0};
    g_autofree char *mountpoint = NULL;

    CU_ASSERT_FALSE(memory_volume_parse(mounts, makedev(0, 45), "/tmp/x", &volume, &mountpoint));
    CU_ASSERT_FALSE(memory_volume_parse(mounts, makedev(0, 46), KUBELET "/volumes/kubernetes.io~secret/token",
                                        &volume, &mountpoint));
    CU_ASSERT_FALSE(memory_volume_parse(
        mounts, makedev(254, 0), KUBELET "/volumes/kubernetes.io~empty-dir/disk", &volume, &mountpoint));
    CU_ASSERT_FALSE(memory_volume_parse("", makedev(0, 44), "/", &volume, &mountpoint));
}

static void only_the_pod_s_own_emptydir_counts(void)
{
    static const char *const others[] = {
        "/var/lib/kubelet/pods/uid-2/volumes/kubernetes.io~empty-dir/cache",
        "/pods/uid-10/volumes/kubernetes.io~empty-dir/cache",
        "/pods/x-uid-1/volumes/kubernetes.io~empty-dir/cache",
        KUBELET "/volumes/kubernetes.io~empty-dir/",
        KUBELET "/volumes/kubernetes.io~empty-dir",
        KUBELET "/volumes/kubernetes.io~empty-dir/cache/below",
        KUBELET "/volumes/kubernetes.io~empty-dir/..",
        KUBELET "/volumes/kubernetes.io~empty-dir/../../../uid-2",
        "/srv/volumes/kubernetes.io~empty-dir/cache",
        "/var/lib/../pods/uid-1/volumes/kubernetes.io~empty-dir/cache",
        "cache",
        "",
    };

    CU_ASSERT_TRUE(volume_is_empty_dir_of(KUBELET "/volumes/kubernetes.io~empty-dir/cache", "uid-1"));
    CU_ASSERT_TRUE(volume_is_empty_dir_of("/pods/uid-1/volumes/kubernetes.io~empty-dir/x", "uid-1"));
    for (guint i = 0; i < G_N_ELEMENTS(others); i++)
        if (volume_is_empty_dir_of(others[i], "uid-1"))
            CU_FAIL("an emptyDir of another pod counts");
    CU_ASSERT_FALSE(volume_is_empty_dir_of("/pods//volumes/kubernetes.io~empty-dir/x", ""));
    CU_ASSERT_FALSE(volume_is_empty_dir_of("/pods/a/b/volumes/kubernetes.io~empty-dir/x", "a/b"));
}

int main(void)
{
    static const TestCase cases[] = {
        {"an emptyDir in memory is found with its size, also by a sub-path", finds_volumes},
        {"other file systems, also other ones in memory, are not taken for an emptyDir", leaves_others},
        {"an emptyDir is a pod's only in exactly the directory of that pod",
         only_the_pod_s_own_emptydir_counts},
    };
    return test_main("memory_volume", cases, G_N_ELEMENTS(cases));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's volumes and mapped mounts, in a mount namespace of the test with a /run of its own. It needs
 * root. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/idmap.h"
#include "agent/guest/paths.h"
#include "agent/guest/sysfile.h"
#include "agent/guest/volume.h"
#include "tests/unit/harness.h"

#define ID "ctr"
#define HERE CONTAINERS_DIR "/" ID

static Fault problem;

static void file_make(const char *path, const char *text)
{
    g_autofree char *directory = g_path_get_dirname(path);

    CU_ASSERT_EQUAL(g_mkdir_with_parents(directory, 0755), 0);
    CU_ASSERT_TRUE(g_file_set_contents(path, text, -1, NULL));
}

static gboolean file_says(const char *path, const char *expected)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) && g_str_equal(text, expected);
}

static VolumeBase base_of(void)
{
    VolumeBase base = {.id = ID, .layers = LAYERS_DIR};

    g_strlcpy(base.upper, UPPER_DIR "/" ID, sizeof base.upper);
    return base;
}

/* Makes two layers, and a rootfs. */
static void prepare(void)
{
    CU_ASSERT_EQUAL_FATAL(unshare(CLONE_NEWNS), 0);
    CU_ASSERT_EQUAL_FATAL(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(mount("run", "/run", "tmpfs", 0, "mode=755"), 0);
    file_make(LAYERS_DIR "/1/etc/lower", "lower");
    file_make(LAYERS_DIR "/1/etc/both", "hidden");
    file_make(LAYERS_DIR "/2/etc/both", "upper");
    CU_ASSERT_EQUAL(symlink("/etc/lower", LAYERS_DIR "/2/link"), 0);
    CU_ASSERT_EQUAL(symlink("../../../../../../..", LAYERS_DIR "/2/out"), 0);
    file_make(HERE "/rootfs/etc/hosts", "");
    file_make(LAYERS_DIR "/2/data/seed", "seed");
    CU_ASSERT_EQUAL(chmod(LAYERS_DIR "/2/data", 0750), 0);
    CU_ASSERT_EQUAL(chown(LAYERS_DIR "/2/data", 7, 8), 0);
    CU_ASSERT_EQUAL(g_mkdir_with_parents(UPPER_DIR "/" ID, 0700), 0);
    CU_ASSERT_EQUAL(g_mkdir_with_parents(NO_LAYER_DIR, 0755), 0);
    CU_ASSERT_EQUAL(g_mkdir_with_parents(SANDBOX_DIR, 0755), 0);
}

static void names_layers(void)
{
    char options[32] = "lowerdir=", small[12] = "lowerdir=";

    CU_ASSERT_TRUE(volume_lower_names((const uint32_t[]){2, 30, 4}, 3, options, sizeof options));
    CU_ASSERT_STRING_EQUAL(options, "lowerdir=4:30:2");
    CU_ASSERT_FALSE(volume_lower_names((const uint32_t[]){2, 30, 4}, 3, small, sizeof small));
}

static void mounts_images(void)
{
    const VolumeBase base = base_of();
    const uint32_t luns[] = {1, 2};

    CU_ASSERT_TRUE(volume_mount_image(&base, 0, luns, 2, "", &problem));
    CU_ASSERT_TRUE(file_says(HERE "/v0/etc/both", "upper"));
    CU_ASSERT_TRUE(file_says(HERE "/v0/etc/lower", "lower"));
    CU_ASSERT_TRUE(open(HERE "/v0/new", O_CREAT | O_WRONLY, 0600) < 0 && errno == EROFS);
    CU_ASSERT_TRUE(volume_mount_image(&base, 1, luns, 2, "etc/both", &problem));
    CU_ASSERT_TRUE(file_says(HERE "/v1", "upper"));
    CU_ASSERT_TRUE(volume_mount_image(&base, 2, luns, 2, "link", &problem));
    CU_ASSERT_TRUE(file_says(HERE "/v2", "lower"));
    /* A link that climbs out of the image ends at the image's root. */
    CU_ASSERT_TRUE(volume_mount_image(&base, 3, luns, 2, "out/etc", &problem));
    CU_ASSERT_TRUE(file_says(HERE "/v3/both", "upper"));
    CU_ASSERT_FALSE(volume_mount_image(&base, 4, luns, 2, "no/such", &problem));
    CU_ASSERT_EQUAL(problem.status, FAULT_NOT_FOUND);
    CU_ASSERT_PTR_NOT_NULL(strstr(problem.message, "no/such"));
}

static void mounts_memory(void)
{
    const VolumeBase base = base_of();
    MemoryVolume volume = CRIVIRT__AGENT__V1__MEMORY_VOLUME__INIT;
    struct stat status;

    g_autofree char *mounts = NULL;

    volume.index = 10;
    volume.id = (char *)"cache";
    volume.size_bytes = 1 << 20;
    volume.mode = 02770;
    volume.uid = 5;
    volume.gid = 6;
    CU_ASSERT_TRUE(volume_mount_memory(&base, &volume, &problem));
    CU_ASSERT_EQUAL(stat(HERE "/v10", &status), 0);
    CU_ASSERT_TRUE(status.st_uid == 5 && status.st_gid == 6 && (status.st_mode & 07777) == 02770);
    CU_ASSERT_TRUE(g_file_get_contents("/proc/self/mounts", &mounts, NULL, NULL));
    CU_ASSERT_PTR_NOT_NULL(strstr(mounts, "tmpfs " HERE "/v10 tmpfs ")); /* programs look for that source */
    file_make(HERE "/v10/word", "word");
    /* The same volume again, with a sub-path that does not exist yet. */
    volume.index = 11;
    volume.sub_path = (char *)"deep//part";
    CU_ASSERT_TRUE(volume_mount_memory(&base, &volume, &problem));
    file_make(HERE "/v11/x", "deep");
    CU_ASSERT_TRUE(file_says(HERE "/v10/deep/part/x", "deep"));
    CU_ASSERT_TRUE(file_says(MEMORY_DIR "/cache/word", "word"));
    /* A link that a container made in the volume is not followed. */
    CU_ASSERT_EQUAL(symlink("/etc", HERE "/v10/trap"), 0);
    volume.index = 12;
    volume.sub_path = (char *)"trap";
    CU_ASSERT_FALSE(volume_mount_memory(&base, &volume, &problem));
    volume.sub_path = (char *)"..";
    CU_ASSERT_FALSE(volume_mount_memory(&base, &volume, &problem));
    volume.sub_path = (char *)"";
    volume.id = (char *)"../cache";
    CU_ASSERT_FALSE(volume_mount_memory(&base, &volume, &problem));
    CU_ASSERT_EQUAL(problem.status, FAULT_INVALID_ARGUMENT);
}

static void mounts_declared(void)
{
    const VolumeBase base = base_of();
    const uint32_t luns[] = {1, 2};
    struct stat status;

    CU_ASSERT_TRUE(volume_mount_anonymous(&base, luns, 2, 0, "/data", &problem));
    CU_ASSERT_TRUE(file_says(HERE "/a0/seed", "seed"));
    CU_ASSERT_EQUAL(stat(HERE "/a0", &status), 0);
    CU_ASSERT_TRUE(status.st_uid == 7 && status.st_gid == 8 && (status.st_mode & 07777) == 0750);
    file_make(HERE "/a0/mine", "mine");
    CU_ASSERT_NOT_EQUAL(access(LAYERS_DIR "/2/data/mine", F_OK), 0);
    CU_ASSERT_TRUE(volume_mount_anonymous(&base, luns, 2, 1, "/not/there", &problem));
    CU_ASSERT_EQUAL(stat(HERE "/a1", &status), 0);
    CU_ASSERT_EQUAL(status.st_uid, 0);
    CU_ASSERT_FALSE(volume_mount_anonymous(&base, luns, 2, 2, "/data/seed", &problem));
    CU_ASSERT_PTR_NOT_NULL(strstr(problem.message, "/data/seed"));
}

static void maps_owners(void)
{
    IdMapping mapping = CRIVIRT__AGENT__V1__ID_MAPPING__INIT, *mappings[] = {&mapping, &mapping};
    struct stat status;
    int userns_fd = 0;

    mapping.guest_id = 200000;
    mapping.size = 65536;
    CU_ASSERT_TRUE(idmap_open(NULL, 0, NULL, 0, &userns_fd, &problem));
    CU_ASSERT_EQUAL(userns_fd, -1);
    CU_ASSERT_FALSE(idmap_open(mappings, 2, mappings, 1, &userns_fd, &problem));
    CU_ASSERT_EQUAL(problem.status, FAULT_INVALID_ARGUMENT);
    if (!idmap_open(mappings, 1, mappings, 1, &userns_fd, &problem)) {
        g_print("note: no user namespaces here: %s\n", problem.message);
        return;
    }
    CU_ASSERT_EQUAL(g_mkdir_with_parents("/run/from", 0755), 0);
    CU_ASSERT_EQUAL(g_mkdir_with_parents("/run/to", 0755), 0);
    CU_ASSERT_TRUE(idmap_bind("/run/from", "/run/to", -1, &problem));
    CU_ASSERT_EQUAL(stat("/run/to", &status), 0);
    CU_ASSERT_EQUAL(status.st_uid, 0);
    CU_ASSERT_EQUAL(g_mkdir_with_parents("/run/missing-source", 0755), 0);
    CU_ASSERT_FALSE(idmap_bind("/run/no-such", "/run/to", userns_fd, &problem));
    CU_ASSERT_PTR_NOT_NULL(strstr(problem.message, "/run/no-such"));
    /* /run is a tmpfs, whose owners Linux 6.1 cannot map: the message names it. The guest maps EROFS and
     * ext4.
     */
    if (!idmap_bind("/run/from", "/run/missing-source", userns_fd, &problem))
        CU_ASSERT_PTR_NOT_NULL(strstr(problem.message, "/run/from"));
    close(userns_fd);
}

int main(void)
{
    static const TestCase cases[] = {
        {"the test has a mount namespace of its own", prepare},
        {"layers are named uppermost first, and too long an option is refused", names_layers},
        {"an image is mounted read-only, and its links are resolved inside it", mounts_images},
        {"a memory volume has its owner, and links that containers make in it are not followed",
         mounts_memory},
        {"a declared volume starts with the image's content and does not change the image", mounts_declared},
        {"owners are mapped, and the message names a mount that cannot be mapped", maps_owners},
    };
    if (geteuid() != 0) {
        g_print("skipped: only root can mount\n");
        return 0;
    }
    return test_main("agent_volume", cases, G_N_ELEMENTS(cases));
}

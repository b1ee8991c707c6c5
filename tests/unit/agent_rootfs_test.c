/* SPDX-License-Identifier: Apache-2.0 */
/* The rootfs of containers, from layers that are files as for a host pod, in a mount namespace of the test
 * with a /run of its own. It needs root, and a kernel with EROFS and loop devices. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/guest/paths.h"
#include "agent/guest/rootfs.h"
#include "agent/guest/tree.h"
#include "tests/unit/harness.h"

enum { LAYERS = 3 };

/* On the disk, because the test hides /run. */
static char *place;
static Disk disks[LAYERS];
static Fault problem;

/* Replaces the agent's function, which runs the agent's program. */
void tree_remove_later(const char *parent, const char *name)
{
    g_autofree char *command = g_strdup_printf("rm -rf %s/%s", parent, name);

    CU_ASSERT_TRUE(g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL));
}

static char *in_place(const char *name)
{
    return g_build_filename(place, name, NULL);
}

static gboolean file_says(const char *path, const char *expected)
{
    g_autofree char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) && g_str_equal(text, expected);
}

static guint mounts_below(const char *path)
{
    g_autofree char *field = g_strdup_printf(" %s", path);
    g_autofree char *text = NULL;
    guint count = 0;

    CU_ASSERT_TRUE(g_file_get_contents("/proc/self/mountinfo", &text, NULL, NULL));
    for (const char *at = text; (at = strstr(at, field)) != NULL; at++)
        count++;
    return count;
}

/* Makes a layer of what the script makes in an empty directory. */
static void layer_make(uint32_t lun, const char *script)
{
    g_autofree char *name = g_strdup_printf("%u", lun);
    g_autofree char *image = g_strdup_printf("%s.erofs", name);
    g_autofree char *directory = in_place(name);
    g_autofree char *file = in_place(image);
    g_autofree char *quoted = g_shell_quote(script);
    g_autofree char *command =
        g_strdup_printf("sh -ec 'mkdir %s; cd %s; sh -ec \"$1\"; mkfs.erofs --quiet %s .' sh %s", directory,
                        directory, file, quoted);
    int status = -1;

    CU_ASSERT_TRUE_FATAL(g_spawn_command_line_sync(command, NULL, NULL, &status, NULL) && status == 0);
    crivirt__agent__v1__disk__init(&disks[lun]);
    disks[lun].lun = lun;
    disks[lun].serial = g_steal_pointer(&name);
    disks[lun].path = g_steal_pointer(&file);
}

static void container_directory(const char *id)
{
    g_autofree char *path = g_build_filename(CONTAINERS_DIR, id, NULL);

    CU_ASSERT_EQUAL(g_mkdir_with_parents(path, 0755), 0);
}

static void prepare(void)
{
    place = test_directory();
    layer_make(0,
               "mkdir etc dir; echo -n lower > etc/which; echo -n below > etc/lower; echo -n file > plain");
    layer_make(
        1, "mkdir etc; echo -n upper > etc/which; mknod null c 1 3; ln -s /../../../../run/crivirt climb");
    /* A malicious image: links out of the image instead of directories. */
    layer_make(
        2, "ln -s /../../../../../../run etc; ln -s .. dir; ln -s /proc/self/root/run out; ln -s loop loop");
    CU_ASSERT_EQUAL_FATAL(unshare(CLONE_NEWNS), 0);
    CU_ASSERT_EQUAL_FATAL(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(mount("run", "/run", "tmpfs", 0, "mode=755"), 0);
    for (gsize i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(
            g_mkdir_with_parents(((const char *[]){LAYERS_DIR, UPPER_DIR, NO_LAYER_DIR})[i], 0700), 0);
}

static CreateContainerRequest request_of(const char *id, Disk **layers, size_t n_layers)
{
    CreateContainerRequest request = CRIVIRT__AGENT__V1__CREATE_CONTAINER_REQUEST__INIT;

    container_directory(id);
    request.id = (char *)id;
    request.layers = layers;
    request.n_layers = n_layers;
    return request;
}

static gboolean mounts(const CreateContainerRequest *request, Rootfs *ret_rootfs)
{
    gboolean ready = rootfs_mount(request, -1, ret_rootfs, &problem) == DISK_READY;

    if (!ready)
        g_printerr("%s\n", problem.message);
    return ready;
}

static void has_its_layers(void)
{
    Disk *layers[] = {&disks[0], &disks[1], &disks[0]}; /* the first layer again, as the uppermost */
    CreateContainerRequest request = request_of("a", layers, 2), again = request_of("b", layers, 3);
    Disk other = disks[0];
    Rootfs a, b, c;
    uint32_t released[LAYERS_MAX];

    CU_ASSERT_TRUE_FATAL(mounts(&request, &a));
    CU_ASSERT_TRUE(file_says(CONTAINERS_DIR "/a/rootfs/etc/which", "upper"));
    CU_ASSERT_TRUE(file_says(CONTAINERS_DIR "/a/rootfs/etc/lower", "below"));
    CU_ASSERT_TRUE(g_file_set_contents(CONTAINERS_DIR "/a/rootfs/etc/which", "mine", -1, NULL));
    CU_ASSERT_TRUE_FATAL(mounts(&again, &b));
    CU_ASSERT_TRUE(file_says(CONTAINERS_DIR "/b/rootfs/etc/which", "lower"));
    /* Two disks cannot have the same unit. */
    other.serial = (char *)"other";
    again.layers = &(Disk *){&other};
    again.n_layers = 1;
    CU_ASSERT_EQUAL(rootfs_mount(&again, -1, &c, &problem), DISK_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(problem.message, "in use"));
    /* A layer is unmounted with the last rootfs that has it. */
    CU_ASSERT_EQUAL(rootfs_unmount(&a, released), 0);
    CU_ASSERT_EQUAL(rootfs_unmount(&a, released), 0);
    CU_ASSERT_EQUAL(rootfs_unmount(&b, released), 2);
    CU_ASSERT_EQUAL(mounts_below("/run/crivirt"), 0);
}

/* The numbers by which programs know files: device, and inode as stat(2) and readdir(3) see it. */
typedef struct {
    dev_t device;
    ino_t inode, listed;
} Numbers;

static Numbers numbers_of(const char *path)
{
    g_autofree char *directory = g_path_get_dirname(path);
    g_autofree char *name = g_path_get_basename(path);
    struct stat status;
    Numbers numbers = {0};
    DIR *entries = opendir(directory);

    CU_ASSERT_EQUAL_FATAL(lstat(path, &status), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(entries);
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries))
        if (g_str_equal(entry->d_name, name))
            numbers.listed = entry->d_ino;
    closedir(entries);
    numbers.device = status.st_dev;
    numbers.inode = status.st_ino;
    return numbers;
}

static void expect_numbers(const char *path, const Numbers *before)
{
    Numbers now = numbers_of(path);

    CU_ASSERT_TRUE(now.device == before->device && now.inode == before->inode &&
                   now.listed == before->listed);
    CU_ASSERT_EQUAL(now.inode, now.listed);
}

/* A declared volume, with files of two layers and a new one. */
static void expect_one_device(const char *directory, const char *one, const char *other)
{
    g_autofree char *fresh = g_build_filename(directory, "fresh", NULL);
    Numbers before = numbers_of(one);

    CU_ASSERT_TRUE(g_file_set_contents(fresh, "", -1, NULL));
    CU_ASSERT_EQUAL(numbers_of(directory).device, before.device);
    CU_ASSERT_EQUAL(numbers_of(other).device, before.device);
    CU_ASSERT_EQUAL(numbers_of(fresh).device, before.device);
    CU_ASSERT_EQUAL(chmod(one, 0700), 0);
    expect_numbers(one, &before);
}

static void has_constant_numbers(void)
{
    static const char *const paths[] = {CONTAINERS_DIR "/a/rootfs/etc", CONTAINERS_DIR "/a/rootfs/etc/which",
                                        CONTAINERS_DIR "/a/rootfs/etc/lower",
                                        CONTAINERS_DIR "/a/rootfs/plain"};
    Disk *layers[] = {&disks[0], &disks[1]};
    char *volumes[] = {(char *)"/etc"};
    CreateContainerRequest request = request_of("a", layers, 2);
    Numbers before[G_N_ELEMENTS(paths)];
    Rootfs rootfs;
    uint32_t released[LAYERS_MAX];

    request.anonymous_volumes = volumes;
    request.n_anonymous_volumes = 1;
    CU_ASSERT_TRUE_FATAL(mounts(&request, &rootfs));
    expect_one_device(CONTAINERS_DIR "/a/a0", CONTAINERS_DIR "/a/a0/which", CONTAINERS_DIR "/a/a0/lower");
    for (gsize i = 0; i < G_N_ELEMENTS(paths); i++) {
        before[i] = numbers_of(paths[i]);
        CU_ASSERT_EQUAL(before[i].device, before[0].device);
        for (gsize j = 0; j < i; j++)
            CU_ASSERT_NOT_EQUAL(before[i].inode, before[j].inode);
    }
    CU_ASSERT_TRUE(g_file_set_contents(CONTAINERS_DIR "/a/rootfs/new", "", -1, NULL));
    CU_ASSERT_EQUAL(numbers_of(CONTAINERS_DIR "/a/rootfs/new").device, before[0].device);
    /* Copied to the writable directory, and then read again. */
    for (gsize i = 0; i < G_N_ELEMENTS(paths); i++)
        CU_ASSERT_EQUAL(chmod(paths[i], 0700), 0);
    for (gsize i = 0; i < G_N_ELEMENTS(paths); i++)
        expect_numbers(paths[i], &before[i]);
    CU_ASSERT_TRUE(g_file_set_contents("/proc/sys/vm/drop_caches", "2", -1, NULL) || errno != 0);
    for (gsize i = 0; i < G_N_ELEMENTS(paths); i++)
        expect_numbers(paths[i], &before[i]);
    CU_ASSERT_EQUAL(rootfs_unmount(&rootfs, released), 2);
}

/* In the layer itself; in the rootfs, the container's cgroup decides about devices. */
static void opens_no_devices_of_layers(void)
{
    Disk *layers[] = {&disks[1]};
    CreateContainerRequest request = request_of("a", layers, 1);
    Rootfs rootfs;
    uint32_t released[LAYERS_MAX];

    CU_ASSERT_TRUE_FATAL(mounts(&request, &rootfs));
    CU_ASSERT_TRUE(open(LAYERS_DIR "/1/null", O_RDWR | O_CLOEXEC) < 0 && errno == EACCES);
    CU_ASSERT_EQUAL(rootfs_unmount(&rootfs, released), 1);
}

/* The agent itself looks up declared volumes in an untrusted rootfs. */
static void follows_links_inside_only(void)
{
    static const char *const harmless[] = {"/etc", "/etc/crivirt", "/dir/../etc", "/climb/l"};
    Disk *layers[] = {&disks[2], &disks[1]};
    CreateContainerRequest request = request_of("a", layers + 1, 1);
    char *volumes[G_N_ELEMENTS(harmless)];
    Rootfs rootfs;
    uint32_t released[LAYERS_MAX];

    memcpy(volumes, harmless, sizeof volumes);
    for (gsize i = 0; i < 2; i++) { /* the second time without directories that hide the links */
        request.layers = i == 0 ? layers + 1 : layers;
        request.n_layers = 1;
        request.anonymous_volumes = volumes;
        request.n_anonymous_volumes = G_N_ELEMENTS(volumes);
        CU_ASSERT_TRUE_FATAL(mounts(&request, &rootfs));
        for (gsize j = 0; j < G_N_ELEMENTS(volumes); j++) {
            g_autofree char *secret = g_strdup_printf(CONTAINERS_DIR "/a/a%zu/crivirt", j);
            g_autofree char *layer = g_strdup_printf(CONTAINERS_DIR "/a/a%zu/1", j);

            CU_ASSERT_NOT_EQUAL(access(secret, F_OK), 0);
            CU_ASSERT_NOT_EQUAL(access(layer, F_OK), 0);
        }
        CU_ASSERT_EQUAL(rootfs_unmount(&rootfs, released), 1);
    }
}

static void refused(const CreateContainerRequest *request, const char *word)
{
    Rootfs rootfs;

    CU_ASSERT_EQUAL(rootfs_mount(request, -1, &rootfs, &problem), DISK_FAILED);
    CU_ASSERT_PTR_NOT_NULL(strstr(problem.message, word));
    if (strstr(problem.message, word) == NULL)
        g_printerr("\"%s\" lacks \"%s\"\n", problem.message, word);
    /* All or nothing. */
    CU_ASSERT_EQUAL(mounts_below("/run/crivirt"), 0);
}

static void leaves_nothing_of_a_failure(void)
{
    Disk missing = disks[0], *layers[] = {&disks[0], &disks[1]}, *with_missing[] = {&disks[0], &missing};
    Disk *other_layers[] = {&disks[2]};
    CreateContainerRequest request = request_of("a", with_missing, 2);
    char *file[] = {(char *)"/dir", (char *)"/plain"}, *below[] = {(char *)"/plain/below"};
    char *circle[] = {(char *)"/loop"}, *magic[] = {(char *)"/out"};

    missing.lun = 7;
    missing.path = (char *)"/nonexistent/layer";
    refused(&request, "/nonexistent/layer");
    missing.path = (char *)"/etc/passwd"; /* a file that is not a layer */
    refused(&request, "mounting layer");
    request = request_of("a", layers, 2);
    request.anonymous_volumes = file;
    request.n_anonymous_volumes = 2;
    refused(&request, "/plain");
    request.anonymous_volumes = below;
    request.n_anonymous_volumes = 1;
    refused(&request, "/plain/below");
    request.layers = other_layers;
    request.n_layers = 1;
    request.anonymous_volumes = circle;
    refused(&request, "/loop");
    request.anonymous_volumes = magic; /* a magic link, which would lead through the agent's /proc */
    {
        Rootfs rootfs;
        uint32_t released[LAYERS_MAX];

        CU_ASSERT_TRUE_FATAL(mounts(&request, &rootfs));
        CU_ASSERT_NOT_EQUAL(access(CONTAINERS_DIR "/a/a0/crivirt", F_OK), 0);
        CU_ASSERT_EQUAL(rootfs_unmount(&rootfs, released), 1);
    }
}

static void refuses_too_many_layers(void)
{
    Disk many[LAYERS_MAX + 1], *layers[LAYERS_MAX + 1];
    CreateContainerRequest request = request_of("a", layers, 1);

    for (gsize i = 0; i < G_N_ELEMENTS(layers); i++) {
        many[i] = disks[0];
        many[i].lun = (uint32_t)i;
        layers[i] = &many[i];
    }
    request.n_layers = G_N_ELEMENTS(layers);
    refused(&request, "layers");
}

static void takes_many_volumes(void)
{
    enum { MANY = 200 };
    Disk *layers[] = {&disks[0]};
    char *volumes[MANY];
    CreateContainerRequest request = request_of("a", layers, 1);
    uint32_t released[LAYERS_MAX];
    Rootfs rootfs;

    for (gsize i = 0; i < MANY; i++)
        volumes[i] = (char *)"/etc";
    request.anonymous_volumes = volumes;
    request.n_anonymous_volumes = MANY;
    CU_ASSERT_TRUE_FATAL(mounts(&request, &rootfs));
    CU_ASSERT_TRUE(file_says(CONTAINERS_DIR "/a/a199/which", "lower"));
    CU_ASSERT_EQUAL(rootfs_unmount(&rootfs, released), 1);
    CU_ASSERT_EQUAL(mounts_below("/run/crivirt"), 0);
}

static gboolean kernel_can(void)
{
    int fd = fsopen("erofs", FSOPEN_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return fd >= 0 && access("/dev/loop-control", R_OK | W_OK) == 0;
}

int main(void)
{
    static const TestCase cases[] = {
        {"the test has a mount namespace of its own, and layers", prepare},
        {"a rootfs has its layers in their order, and the last one that uses a layer releases it",
         has_its_layers},
        {"files have one device and inode numbers that copies and caches do not change",
         has_constant_numbers},
        {"device files in a mounted layer cannot be opened", opens_no_devices_of_layers},
        {"links that climb out of an image end inside it", follows_links_inside_only},
        {"a failed rootfs leaves no mount, and the message names what failed", leaves_nothing_of_a_failure},
        {"too many layers are refused", refuses_too_many_layers},
        {"a container may have hundreds of volumes", takes_many_volumes},
    };
    if (geteuid() != 0 || !kernel_can()) {
        g_print("skipped: this test needs root, EROFS and loop devices\n");
        return 0;
    }
    return test_main("agent_rootfs", cases, G_N_ELEMENTS(cases));
}

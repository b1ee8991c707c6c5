/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/layers/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/error.h"
#include "common/process.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_layers.h"

enum { DIR_MODE = S_IFDIR | 0755, FILE_MODE = S_IFREG | 0644, LINK_MODE = S_IFLNK | 0777 };

static const LayerSpec default_spec = {.max_bytes = 1 << 30};

/* Unpacks and builds the layer. lower: paths of the layers below, lowest first, ended by NULL. */
static gboolean write_on(const char *const *lower, int blob, const LayerSpec *spec, int image,
                         const Deadline *deadline, GError **error)
{
    LayerFiles files = {.blob_fd = blob, .image_fd = image};
    g_autoptr(LayerDraft) draft = layer_read(&files, spec, deadline, error);
    g_autoptr(LowerView) view = draft != NULL ? lower_view_open(lower, error) : NULL;
    g_autofree char *key = test_digest_of_fd(blob);

    return view != NULL && layer_draft_finish(draft, view, key, deadline, error);
}

static gboolean write_image(int blob, const LayerSpec *spec, int image, const Deadline *deadline,
                            GError **error)
{
    static const char *const nothing[] = {NULL};

    return write_on(nothing, blob, spec, image, deadline, error);
}

/* Frees the tar. */
static gboolean unpack_as(TestTar *tar, const LayerSpec *spec, const char *path, GError **error)
{
    int blob = test_tar_finish(tar);
    int image = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    gboolean done = write_image(blob, spec, image, NULL, error);

    close(blob);
    close(image);
    return done;
}

static void refuse(TestTar *tar, const LayerSpec *spec, StatusCode status, const char *text)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image", NULL);
    GError *error = NULL;

    TEST_FAILS(unpack_as(tar, spec, path, &error), error, status, text);
}

/* The image as the kernel sees it, checked by fsck.erofs, at a new directory beside it; NULL where the test
 * may not mount. */
static char *mount_image(const char *image)
{
    g_autofree char *root = g_strconcat(image, ".root", NULL);
    const char *fsck[] = {"fsck.erofs", image, NULL};
    const char *mount_it[] = {"mount", "-t", "erofs", "-o", "ro,loop", image, root, NULL};
    GError *error = NULL;

    TEST_OK(process_check(&(ProcessSpec){.argv = fsck}, NULL, &error), error);
    g_clear_error(&error);
    g_mkdir_with_parents(root, 0755);
    if (!process_check(&(ProcessSpec){.argv = mount_it}, NULL, &error)) {
        printf("     not mounted: %s\n", error->message);
        g_clear_error(&error);
        return NULL;
    }
    return g_steal_pointer(&root);
}

/* Mounts the layer with no layer below it. */
static char *mount_layer(TestTar *tar)
{
    g_autofree char *directory = test_directory();
    g_autofree char *image = g_build_filename(directory, "image", NULL);
    GError *error = NULL;

    TEST_OK(unpack_as(tar, &default_spec, image, &error), error);
    g_clear_error(&error);
    return mount_image(image);
}

/* Layers on top of each other. */
typedef struct {
    char *directory;
    char *paths[8]; /* of their images, lowest first */
    char *roots[8];
    guint count;
    char *merged; /* NULL: not mounted */
} Stack;

static gboolean stack_add(Stack *stack, TestTar *tar, const LayerSpec *spec, GError **error)
{
    int blob = test_tar_finish(tar);
    gboolean done;
    char *path;
    int image;

    if (stack->directory == NULL)
        stack->directory = test_directory();
    path = g_strdup_printf("%s/%u", stack->directory, stack->count);
    image = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    done = write_on((const char *const *)stack->paths, blob, spec, image, NULL, error);
    stack->paths[stack->count++] = path;
    close(blob);
    close(image);
    return done;
}

static void stack_add_good(Stack *stack, TestTar *tar)
{
    GError *error = NULL;

    TEST_OK(stack_add(stack, tar, &default_spec, &error), error);
    g_clear_error(&error);
}

/* Mounts the layers as a container has them, without the writable one. Return: whether that succeeded. */
static gboolean stack_mount(Stack *stack)
{
    g_autoptr(GString) options = g_string_new("lowerdir=");
    g_autofree char *empty = g_build_filename(stack->directory, "empty", NULL);
    g_autofree char *merged = g_build_filename(stack->directory, "merged", NULL);

    for (guint i = stack->count; i > 0; i--) {
        stack->roots[i - 1] = mount_image(stack->paths[i - 1]);
        if (stack->roots[i - 1] == NULL)
            return FALSE;
        g_string_append_printf(options, "%s:", stack->roots[i - 1]);
    }
    /* overlayfs needs two layers, and the test may have one. */
    g_string_append(options, empty);
    mkdir(empty, 0755);
    mkdir(merged, 0755);
    if (mount("overlay", merged, "overlay", 0, options->str) != 0) {
        printf("     not mounted: %s\n", g_strerror(errno));
        return FALSE;
    }
    stack->merged = g_steal_pointer(&merged);
    return TRUE;
}

static void stack_clear(Stack *stack)
{
    if (stack->merged != NULL)
        umount2(stack->merged, MNT_DETACH);
    g_free(stack->merged);
    for (guint i = 0; i < stack->count; i++) {
        if (stack->roots[i] != NULL)
            umount2(stack->roots[i], MNT_DETACH);
        g_free(stack->roots[i]);
        g_free(stack->paths[i]);
    }
    g_free(stack->directory);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Stack, stack_clear)

static void unmount_layer(const char *root)
{
    if (root != NULL)
        umount2(root, MNT_DETACH);
}

static gboolean status_of(const char *root, const char *name, struct stat *ret_status)
{
    g_autofree char *path = g_build_filename(root, name, NULL);

    return lstat(path, ret_status) == 0;
}

static gboolean has_text(const char *root, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(root, name, NULL);
    g_autofree char *found = NULL;

    return g_file_get_contents(path, &found, NULL, NULL) && g_str_equal(found, text);
}

static gboolean has_bytes(const char *root, const char *name, const void *bytes, gsize length)
{
    g_autofree char *path = g_build_filename(root, name, NULL);
    g_autofree char *found = NULL;
    gsize found_length = 0;

    return g_file_get_contents(path, &found, &found_length, NULL) && found_length == length &&
           memcmp(found, bytes, length) == 0;
}

static gboolean has_xattr(const char *root, const char *name, const char *attribute, const char *value)
{
    g_autofree char *path = g_build_filename(root, name, NULL);
    char found[256];
    ssize_t length = lgetxattr(path, attribute, found, sizeof found);

    return length == (ssize_t)strlen(value) && memcmp(found, value, strlen(value)) == 0;
}

static void keeps_files(void)
{
    static const char *const formats[] = {"pax", "gnutar", "ustar"};
    static const char *const filters[] = {"none", "gzip", "zstd"};

    for (gsize i = 0; i < 3; i++) {
        TestTar *tar = test_tar_new(formats[i], filters[i]);
        g_autofree char *root = NULL;

        test_tar_add(tar, "./", DIR_MODE, NULL);
        test_tar_add(tar, "./etc/", DIR_MODE, NULL);
        test_tar_add(tar, "./etc/passwd", FILE_MODE, "root:x:0:0\n");
        test_tar_add(tar, "/etc/empty", FILE_MODE, "");
        test_tar_add(tar, "etc/link", LINK_MODE, "../../outside");
        root = mount_layer(tar);
        if (root == NULL)
            return;
        CU_ASSERT_TRUE(has_text(root, "etc/passwd", "root:x:0:0\n"));
        CU_ASSERT_TRUE(has_text(root, "etc/empty", ""));
        g_autofree char *link_path = g_build_filename(root, "etc/link", NULL);
        g_autofree char *target = g_file_read_link(link_path, NULL);
        CU_ASSERT_STRING_EQUAL(target, "../../outside");
        unmount_layer(root);
    }
}

/* Tails inline, tails in a block, whole blocks, and no block. */
static void keeps_every_size(void)
{
    static const gsize sizes[] = {0, 1, 4031, 4032, 4033, 4095, 4096, 4097, 8128, 8192, 12000, 1048577};
    TestTar *tar = test_tar_new("pax", "none");
    g_autofree char *data = g_malloc(1048577);
    g_autofree char *root = NULL;

    for (gsize i = 0; i < 1048577; i++)
        data[i] = (char)(i * 2654435761U >> 13);
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *name = g_strdup_printf("%zu", sizes[i]);

        test_tar_add_bytes(tar, name, data, sizes[i]);
    }
    root = mount_layer(tar);
    for (gsize i = 0; root != NULL && i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *path = g_strdup_printf("%s/%zu", root, sizes[i]);
        g_autofree char *found = NULL;
        gsize length = 0;

        CU_ASSERT_TRUE(g_file_get_contents(path, &found, &length, NULL));
        CU_ASSERT_EQUAL(length, sizes[i]);
        CU_ASSERT_TRUE(length == sizes[i] && memcmp(found, data, length) == 0);
    }
    unmount_layer(root);
}

static void keeps_attributes(void)
{
    TestTar *tar = test_tar_new("pax", "none");
    g_autofree char *root = NULL;
    struct stat status;

    test_tar_add_entry(tar, &(TestTarEntry){.path = "su",
                                            .mode = S_IFREG | 04755,
                                            .text = "x",
                                            .uid = 3000000000,
                                            .gid = 100000,
                                            .mtime_s = 1234567890,
                                            .mtime_ns = 123456789});
    test_tar_add_entry(tar, &(TestTarEntry){.path = "tmp", .mode = S_IFDIR | 01777, .mtime_s = -5});
    root = mount_layer(tar);
    if (root == NULL)
        return;
    CU_ASSERT_TRUE(status_of(root, "su", &status));
    CU_ASSERT_EQUAL(status.st_mode, S_IFREG | 04755);
    CU_ASSERT_EQUAL(status.st_uid, 3000000000);
    CU_ASSERT_EQUAL(status.st_gid, 100000);
    CU_ASSERT_EQUAL(status.st_mtim.tv_sec, 1234567890);
    CU_ASSERT_EQUAL(status.st_mtim.tv_nsec, 123456789);
    CU_ASSERT_TRUE(status_of(root, "tmp", &status));
    CU_ASSERT_EQUAL(status.st_mode, S_IFDIR | 01777);
    CU_ASSERT_EQUAL(status.st_mtim.tv_sec, -5);
    CU_ASSERT_TRUE(status_of(root, ".", &status));
    CU_ASSERT_EQUAL(status.st_mode, S_IFDIR | 0755);
    unmount_layer(root);
}

static void keeps_xattrs(void)
{
    TestTar *tar = test_tar_new("pax", "none");
    g_autofree char *root = NULL;
    static const char *const dropped[] = {"trusted.overlay.redirect", "security.selinux"};
    /* cap_net_raw, as the kernel checks it on the way out */
    static const char capability[20] = {1, 0, 0, 2, 0, 0x20};
    char found[sizeof capability];

    test_tar_add_entry(tar, &(TestTarEntry){.path = "user",
                                            .mode = FILE_MODE,
                                            .text = "x",
                                            .xattr_name = "user.colour",
                                            .xattr_value = "green"});
    test_tar_add_entry(tar, &(TestTarEntry){.path = "ping",
                                            .mode = FILE_MODE,
                                            .text = "x",
                                            .xattr_name = "security.capability",
                                            .xattr_value = capability,
                                            .xattr_length = sizeof capability});
    for (int i = 0; i < 2; i++)
        test_tar_add_entry(tar, &(TestTarEntry){.path = dropped[i],
                                                .mode = FILE_MODE,
                                                .text = "x",
                                                .xattr_name = dropped[i],
                                                .xattr_value = "v"});
    root = mount_layer(tar);
    if (root == NULL)
        return;
    CU_ASSERT_TRUE(has_xattr(root, "user", "user.colour", "green"));
    CU_ASSERT_TRUE(has_text(root, "user", "x"));
    g_autofree char *ping = g_build_filename(root, "ping", NULL);
    CU_ASSERT_EQUAL(lgetxattr(ping, "security.capability", found, sizeof found), sizeof found);
    CU_ASSERT_EQUAL(memcmp(found, capability, sizeof found), 0);
    for (int i = 0; i < 2; i++)
        CU_ASSERT_FALSE(has_xattr(root, dropped[i], dropped[i], "v"));
    unmount_layer(root);
}

static void keeps_special_files(void)
{
    TestTar *tar = test_tar_new("pax", "none");
    g_autofree char *root = NULL;
    struct stat status;

    test_tar_add_entry(
        tar, &(TestTarEntry){.path = "null", .mode = S_IFCHR | 0666, .rdev_major = 1, .rdev_minor = 3});
    test_tar_add_entry(
        tar, &(TestTarEntry){.path = "disk", .mode = S_IFBLK | 0600, .rdev_major = 259, .rdev_minor = 1000});
    test_tar_add(tar, "fifo", S_IFIFO | 0640, NULL);
    root = mount_layer(tar);
    if (root == NULL)
        return;
    CU_ASSERT_TRUE(status_of(root, "null", &status));
    CU_ASSERT_EQUAL(status.st_rdev, makedev(1, 3));
    CU_ASSERT_TRUE(status_of(root, "disk", &status));
    CU_ASSERT_TRUE(S_ISBLK(status.st_mode));
    CU_ASSERT_EQUAL(status.st_rdev, makedev(259, 1000));
    CU_ASSERT_TRUE(status_of(root, "fifo", &status));
    CU_ASSERT_EQUAL(status.st_mode, S_IFIFO | 0640);
    unmount_layer(root);
}

static void keeps_hard_links(void)
{
    TestTar *tar = test_tar_new("pax", "none");
    g_autofree char *root = NULL;
    struct stat first;
    struct stat second;

    test_tar_add(tar, "a/one", FILE_MODE, "shared");
    test_tar_add_hardlink(tar, "b/two", "a/one");
    test_tar_add_hardlink(tar, "b/three", "./b/two");
    test_tar_add(tar, "a/one", FILE_MODE, "replaced");
    root = mount_layer(tar);
    if (root == NULL)
        return;
    CU_ASSERT_TRUE(status_of(root, "b/two", &first) && status_of(root, "b/three", &second));
    CU_ASSERT_EQUAL(first.st_ino, second.st_ino);
    CU_ASSERT_EQUAL(first.st_nlink, 2);
    CU_ASSERT_TRUE(has_text(root, "b/two", "shared"));
    CU_ASSERT_TRUE(has_text(root, "a/one", "replaced"));
    unmount_layer(root);
}

static void keeps_sparse_files_sparse(void)
{
    TestTar *tar = test_tar_new("pax", "none");
    g_autofree char *directory = test_directory();
    g_autofree char *image = g_build_filename(directory, "image", NULL);
    GError *error = NULL;
    struct stat status;

    test_tar_add_entry(
        tar, &(TestTarEntry){.path = "sparse", .mode = FILE_MODE, .text = "end", .sparse_size = 64 << 20});
    TEST_OK(unpack_as(tar, &default_spec, image, &error), error);
    CU_ASSERT_EQUAL(stat(image, &status), 0);
    CU_ASSERT_TRUE(status.st_size > 64 << 20);
    CU_ASSERT_TRUE(status.st_blocks * 512 < 1 << 20);
}

static void turns_whiteouts_into_overlays(void)
{
    TestTar *below = test_tar_new("pax", "none");
    TestTar *tar = test_tar_new("pax", "none");
    g_auto(Stack) stack = {0};
    const char *root;
    struct stat status;

    test_tar_add(below, "etc/gone", FILE_MODE, "x");
    test_tar_add(below, "var/old", FILE_MODE, "x");
    stack_add_good(&stack, below);
    test_tar_add(tar, "etc/.wh.gone", FILE_MODE, "");
    test_tar_add(tar, "var/.wh..wh..opq", FILE_MODE, "");
    test_tar_add(tar, "var/new", FILE_MODE, "new");
    test_tar_add(tar, ".wh..wh.plnk", FILE_MODE, "");
    stack_add_good(&stack, tar);
    if (!stack_mount(&stack))
        return;
    root = stack.roots[1];
    CU_ASSERT_TRUE(status_of(root, "etc/gone", &status));
    CU_ASSERT_TRUE(S_ISCHR(status.st_mode) && status.st_rdev == 0);
    CU_ASSERT_FALSE(status_of(root, "etc/.wh.gone", &status));
    CU_ASSERT_FALSE(status_of(root, "var/.wh..wh..opq", &status));
    CU_ASSERT_FALSE(status_of(root, ".wh..wh.plnk", &status));
    CU_ASSERT_TRUE(has_xattr(root, "var", "trusted.overlay.opaque", "y"));
    CU_ASSERT_FALSE(has_xattr(root, "etc", "trusted.overlay.opaque", "y"));
    CU_ASSERT_FALSE(status_of(stack.merged, "etc/gone", &status));
    CU_ASSERT_FALSE(status_of(stack.merged, "var/old", &status));
    CU_ASSERT_TRUE(has_text(stack.merged, "var/new", "new"));
}

static void whiteouts_hide_only_what_is_below(void)
{
    TestTar *below = test_tar_new("pax", "none");
    TestTar *tar = test_tar_new("pax", "none");
    g_auto(Stack) stack = {0};
    const char *root;
    struct stat status;

    test_tar_add(below, "kept", FILE_MODE, "lower");
    test_tar_add(below, "dir/lower", FILE_MODE, "lower");
    stack_add_good(&stack, below);
    test_tar_add(tar, "kept", FILE_MODE, "mine");
    test_tar_add(tar, ".wh.kept", FILE_MODE, "");
    test_tar_add(tar, ".wh.dir", FILE_MODE, "");
    test_tar_add(tar, "dir/file", FILE_MODE, "mine");
    stack_add_good(&stack, tar);
    if (!stack_mount(&stack))
        return;
    root = stack.roots[1];
    CU_ASSERT_TRUE(has_text(root, "kept", "mine"));
    CU_ASSERT_TRUE(has_text(root, "dir/file", "mine"));
    CU_ASSERT_TRUE(has_xattr(root, "dir", "trusted.overlay.opaque", "y"));
    CU_ASSERT_FALSE(status_of(stack.merged, "dir/lower", &status));
}

/* Return: how many names readdir lists that stat does not find. */
static guint count_phantoms(const char *root, const char *name)
{
    g_autofree char *path = g_build_filename(root, name, NULL);
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    const char *entry;
    guint count = 0;

    while (directory != NULL && (entry = g_dir_read_name(directory)) != NULL) {
        struct stat status;

        count += !status_of(path, entry, &status);
    }
    return directory != NULL ? count : G_MAXUINT;
}

static void whiteouts_that_hide_nothing_are_dropped(void)
{
    TestTar *below = test_tar_new("pax", "none");
    TestTar *tar = test_tar_new("pax", "none");
    TestTar *above = test_tar_new("pax", "none");
    g_auto(Stack) stack = {0};
    struct stat status;

    test_tar_add(below, "old/file", FILE_MODE, "x");
    test_tar_add(below, ".wh.below-nothing", FILE_MODE, "");
    stack_add_good(&stack, below);
    test_tar_add(tar, "new/", DIR_MODE, NULL);
    test_tar_add(tar, "new/.wh.nothing", FILE_MODE, "");
    test_tar_add(tar, "old/.wh.other", FILE_MODE, "");
    test_tar_add(tar, "nowhere/at/.wh.all", FILE_MODE, "");
    test_tar_add(tar, "old/.wh..wh..opq", FILE_MODE, "");
    test_tar_add(tar, "old/.wh.file", FILE_MODE, "");
    stack_add_good(&stack, tar);
    test_tar_add(above, "old/.wh.file", FILE_MODE, "");
    stack_add_good(&stack, above);
    if (!stack_mount(&stack))
        return;
    CU_ASSERT_EQUAL(count_phantoms(stack.merged, "."), 0);
    CU_ASSERT_EQUAL(count_phantoms(stack.merged, "new"), 0);
    CU_ASSERT_EQUAL(count_phantoms(stack.merged, "old"), 0);
    CU_ASSERT_FALSE(status_of(stack.merged, "nowhere", &status));
    CU_ASSERT_FALSE(status_of(stack.merged, "old/file", &status));
}

static void add_directory(TestTar *tar, const char *path, mode_t mode, gint64 uid, gint64 gid)
{
    test_tar_add_entry(tar, &(TestTarEntry){.path = path,
                                            .mode = S_IFDIR | mode,
                                            .uid = uid,
                                            .gid = gid,
                                            .mtime_s = 1000000000,
                                            .mtime_ns = 5,
                                            .xattr_name = "user.kind",
                                            .xattr_value = path});
}

static gboolean has_attributes(const char *root, const char *path, mode_t mode, uid_t uid, gid_t gid)
{
    struct stat status;

    return status_of(root, path, &status) && status.st_mode == (S_IFDIR | mode) && status.st_uid == uid &&
           status.st_gid == gid && status.st_mtim.tv_sec == 1000000000 && status.st_mtim.tv_nsec == 5 &&
           has_xattr(root, path, "user.kind", path);
}

static void directories_that_are_not_described_keep_their_attributes(void)
{
    TestTar *below = test_tar_new("pax", "none");
    TestTar *middle = test_tar_new("pax", "none");
    TestTar *tar = test_tar_new("pax", "none");
    g_auto(Stack) stack = {0};
    struct stat status;

    add_directory(below, "tmp", 01777, 0, 0);
    add_directory(below, "home", 0755, 0, 0);
    add_directory(below, "home/app", 0700, 1000, 1000);
    add_directory(below, "secret", 0700, 0, 0);
    test_tar_add(below, "secret/old", FILE_MODE, "x");
    add_directory(below, "gone", 0700, 5, 5);
    stack_add_good(&stack, below);
    /* Through a layer that does not describe them either. */
    test_tar_add(middle, "home/app/.profile", FILE_MODE, "x");
    test_tar_add(middle, "secret/.wh.old", FILE_MODE, "");
    test_tar_add(middle, ".wh.gone", FILE_MODE, "");
    stack_add_good(&stack, middle);
    test_tar_add(tar, "tmp/x", FILE_MODE, "x");
    test_tar_add(tar, "home/app/.config/settings", FILE_MODE, "x");
    test_tar_add(tar, "gone/again", FILE_MODE, "x");
    stack_add_good(&stack, tar);
    if (!stack_mount(&stack))
        return;
    CU_ASSERT_TRUE(has_attributes(stack.merged, "tmp", 01777, 0, 0));
    CU_ASSERT_TRUE(has_attributes(stack.merged, "home", 0755, 0, 0));
    CU_ASSERT_TRUE(has_attributes(stack.merged, "home/app", 0700, 1000, 1000));
    CU_ASSERT_TRUE(has_attributes(stack.merged, "secret", 0700, 0, 0));
    CU_ASSERT_TRUE(status_of(stack.merged, "home/app/.config", &status));
    CU_ASSERT_EQUAL(status.st_mode, S_IFDIR | 0755);
    CU_ASSERT_TRUE(status_of(stack.merged, "gone", &status));
    CU_ASSERT_TRUE(status.st_mode == (S_IFDIR | 0755) && status.st_uid == 0);
    CU_ASSERT_FALSE(status_of(stack.merged, "secret/old", &status));
}

static void entries_below_a_link_are_put_where_the_link_leads_inside_the_image(void)
{
    TestTar *below = test_tar_new("pax", "none");
    TestTar *tar = test_tar_new("pax", "none");
    g_auto(Stack) stack = {0};
    g_autofree char *lib = NULL;
    g_autofree char *target = NULL;
    struct stat status;

    test_tar_add(below, "usr/lib/libold", FILE_MODE, "old");
    test_tar_add(below, "lib", LINK_MODE, "usr/lib");
    test_tar_add(below, "opt", LINK_MODE, "/data/opt");
    test_tar_add(below, "a/up", LINK_MODE, "../../../../etc");
    stack_add_good(&stack, below);
    test_tar_add(tar, "lib/libnew", FILE_MODE, "new");
    test_tar_add(tar, "lib/.wh.libold", FILE_MODE, "");
    test_tar_add(tar, "opt/tool", FILE_MODE, "tool");
    test_tar_add(tar, "a/up/passwd", FILE_MODE, "mine");
    test_tar_add(tar, "store/x", DIR_MODE, NULL);
    test_tar_add(tar, "node/x", LINK_MODE, "/store/x");
    test_tar_add(tar, "node/x/index", FILE_MODE, "js");
    test_tar_add_hardlink(tar, "node/hard", "node/x/index");
    test_tar_add(tar, "first", LINK_MODE, "second/");
    test_tar_add(tar, "second", LINK_MODE, "./third/.");
    test_tar_add(tar, "first/deep/file", FILE_MODE, "deep");
    test_tar_add(tar, "e", LINK_MODE, "usr");
    test_tar_add(tar, "e", DIR_MODE, NULL);
    test_tar_add(tar, "e/y", FILE_MODE, "y");
    stack_add_good(&stack, tar);
    if (!stack_mount(&stack))
        return;
    CU_ASSERT_TRUE(has_text(stack.merged, "usr/lib/libnew", "new"));
    CU_ASSERT_FALSE(status_of(stack.merged, "usr/lib/libold", &status));
    lib = g_build_filename(stack.merged, "lib", NULL);
    target = g_file_read_link(lib, NULL);
    CU_ASSERT_TRUE(g_strcmp0(target, "usr/lib") == 0);
    CU_ASSERT_TRUE(has_text(stack.merged, "data/opt/tool", "tool"));
    CU_ASSERT_TRUE(has_text(stack.merged, "etc/passwd", "mine"));
    CU_ASSERT_TRUE(has_text(stack.merged, "store/x/index", "js"));
    CU_ASSERT_TRUE(has_text(stack.merged, "node/hard", "js"));
    CU_ASSERT_TRUE(has_text(stack.merged, "third/deep/file", "deep"));
    CU_ASSERT_TRUE(status_of(stack.merged, "e", &status) && S_ISDIR(status.st_mode));
    CU_ASSERT_TRUE(has_text(stack.merged, "e/y", "y"));
    CU_ASSERT_FALSE(status_of(stack.merged, "usr/y", &status));
}

static gboolean is_self_contained(TestTar *tar)
{
    int blob = test_tar_finish(tar);
    LayerFiles files = {.blob_fd = blob, .image_fd = memfd_create("image", MFD_CLOEXEC)};
    g_autoptr(LayerDraft) draft = layer_read(&files, &default_spec, NULL, NULL);

    close(blob);
    close(files.image_fd);
    CU_ASSERT_PTR_NOT_NULL_FATAL(draft);
    return layer_draft_is_self_contained(draft);
}

static void a_layer_that_describes_its_directories_is_self_contained(void)
{
    TestTar *whole = test_tar_new("pax", "none");
    TestTar *implied = test_tar_new("pax", "none");
    TestTar *late = test_tar_new("pax", "none");
    TestTar *whiteout = test_tar_new("pax", "none");
    TestTar *own_link = test_tar_new("pax", "none");

    test_tar_add(whole, "usr/", DIR_MODE, NULL);
    test_tar_add(whole, "usr/bin", DIR_MODE, NULL);
    test_tar_add(whole, "usr/bin/x", FILE_MODE, "x");
    test_tar_add_hardlink(whole, "y", "usr/bin/x");
    CU_ASSERT_TRUE(is_self_contained(whole));
    test_tar_add(own_link, "usr/", DIR_MODE, NULL);
    test_tar_add(own_link, "bin", LINK_MODE, "usr");
    test_tar_add(own_link, "bin/x", FILE_MODE, "x");
    CU_ASSERT_TRUE(is_self_contained(own_link));
    test_tar_add(implied, "usr/x", FILE_MODE, "x");
    CU_ASSERT_FALSE(is_self_contained(implied));
    test_tar_add(late, "usr/x", FILE_MODE, "x");
    test_tar_add(late, "usr", DIR_MODE, NULL);
    CU_ASSERT_FALSE(is_self_contained(late));
    test_tar_add(whiteout, ".wh.x", FILE_MODE, "");
    CU_ASSERT_FALSE(is_self_contained(whiteout));
}

/* Finds names in directories of one block and of many. */
static void layers_below_are_read_back(void)
{
    enum { COUNT = 3000 };
    TestTar *below = test_tar_new("pax", "none");
    TestTar *tar = test_tar_new("pax", "none");
    g_auto(Stack) stack = {0};

    for (guint i = 0; i < COUNT; i++) {
        g_autofree char *name = g_strdup_printf("many/directory-%u", i * 7919U);

        test_tar_add_entry(tar, &(TestTarEntry){.path = "x", .mode = FILE_MODE, .text = ""});
        test_tar_add_entry(below, &(TestTarEntry){.path = name, .mode = S_IFDIR | 0711, .uid = i});
        name = (g_free(name), g_strdup_printf("many/directory-%u/file", i * 7919U));
        test_tar_add(tar, name, FILE_MODE, "");
    }
    stack_add_good(&stack, below);
    stack_add_good(&stack, tar);
    if (!stack_mount(&stack))
        return;
    for (guint i = 0; i < COUNT; i += 7) {
        g_autofree char *name = g_strdup_printf("many/directory-%u", i * 7919U);
        struct stat status;

        CU_ASSERT_TRUE(status_of(stack.roots[1], name, &status));
        CU_ASSERT_TRUE(status.st_mode == (S_IFDIR | 0711) && status.st_uid == i);
    }
}

static void last_entry_wins(void)
{
    TestTar *tar = test_tar_new("pax", "none");
    g_autofree char *root = NULL;
    struct stat status;

    test_tar_add(tar, "file", FILE_MODE, "first");
    test_tar_add(tar, "file", FILE_MODE, "second");
    test_tar_add(tar, "was-dir/inside", FILE_MODE, "x");
    test_tar_add(tar, "was-dir", FILE_MODE, "now a file");
    test_tar_add(tar, "was-link", LINK_MODE, "/etc");
    test_tar_add(tar, "was-link", DIR_MODE, NULL);
    test_tar_add(tar, "was-link/file", FILE_MODE, "inside");
    test_tar_add(tar, "late/file", FILE_MODE, "x");
    test_tar_add(tar, "late", S_IFDIR | 0700, NULL);
    root = mount_layer(tar);
    if (root == NULL)
        return;
    CU_ASSERT_TRUE(has_text(root, "file", "second"));
    CU_ASSERT_TRUE(has_text(root, "was-dir", "now a file"));
    CU_ASSERT_TRUE(has_text(root, "was-link/file", "inside"));
    CU_ASSERT_TRUE(has_text(root, "late/file", "x"));
    CU_ASSERT_TRUE(status_of(root, "late", &status) && status.st_mode == (S_IFDIR | 0700));
    unmount_layer(root);
}

static void keeps_long_and_odd_names(void)
{
    TestTar *tar = test_tar_new("pax", "none");
    g_autofree char *longest = g_strnfill(255, 'n');
    g_autofree char *deep = g_strdup_printf("%s/%s/%s", longest, longest, longest);
    g_autofree char *target = g_strnfill(4000, 't');
    g_autofree char *root = NULL;
    g_autofree char *link_path = NULL;
    g_autofree char *found = NULL;

    test_tar_add(tar, deep, FILE_MODE, "deep");
    test_tar_add(tar, "gr\xc3\xbc\xc3\x9f", FILE_MODE, "utf-8");
    test_tar_add(tar, "new\nline", FILE_MODE, "nl");
    test_tar_add(tar, "-sorts before dots", FILE_MODE, "-");
    test_tar_add(tar, "link", LINK_MODE, target);
    root = mount_layer(tar);
    if (root == NULL)
        return;
    CU_ASSERT_TRUE(has_text(root, deep, "deep"));
    CU_ASSERT_TRUE(has_text(root, "gr\xc3\xbc\xc3\x9f", "utf-8"));
    CU_ASSERT_TRUE(has_text(root, "new\nline", "nl"));
    CU_ASSERT_TRUE(has_text(root, "-sorts before dots", "-"));
    link_path = g_build_filename(root, "link", NULL);
    found = g_file_read_link(link_path, NULL);
    CU_ASSERT_STRING_EQUAL(found, target);
    unmount_layer(root);
}

static void keeps_large_directories(void)
{
    enum { COUNT = 5000 };
    TestTar *tar = test_tar_new("gnutar", "gzip");
    g_autofree char *root = NULL;
    g_autoptr(GDir) directory = NULL;
    g_autofree char *path = NULL;
    guint count = 0;

    for (guint i = 0; i < COUNT; i++) {
        g_autofree char *name = g_strdup_printf("many/file-with-a-longish-name-%u", i * 7919U);

        test_tar_add(tar, name, FILE_MODE, name);
    }
    root = mount_layer(tar);
    if (root == NULL)
        return;
    path = g_build_filename(root, "many", NULL);
    directory = g_dir_open(path, 0, NULL);
    while (g_dir_read_name(directory) != NULL)
        count++;
    CU_ASSERT_EQUAL(count, COUNT);
    for (guint i = 0; i < COUNT; i += 97) {
        g_autofree char *name = g_strdup_printf("many/file-with-a-longish-name-%u", i * 7919U);

        CU_ASSERT_TRUE(has_text(root, name, name));
    }
    unmount_layer(root);
}

static void accepts_an_empty_layer(void)
{
    static const char *const filters[] = {"none", "gzip", "zstd"};

    for (int i = 0; i < 3; i++) {
        g_autofree char *root = mount_layer(test_tar_new("pax", filters[i]));
        struct stat status;

        if (root == NULL)
            return;
        CU_ASSERT_TRUE(status_of(root, ".", &status));
        CU_ASSERT_EQUAL(status.st_nlink, 2);
        unmount_layer(root);
    }
}

static TestTar *tar_with(const char *path, mode_t mode, const char *text)
{
    TestTar *tar = test_tar_new("pax", "none");

    test_tar_add(tar, path, mode, text);
    return tar;
}

/* As pigz and estargz write them; some tools also pad the blob with zeros. */
static void reads_several_gzip_members(void)
{
    TestTar *tar = test_tar_new("pax", "none");
    g_autofree char *digest = NULL;
    g_autofree char *directory = test_directory();
    g_autofree char *script = NULL;
    GError *error = NULL;
    int fd;

    for (int i = 0; i < 3000; i++) {
        g_autofree char *name = g_strdup_printf("%d", i);

        test_tar_add(tar, name, FILE_MODE, name);
    }
    fd = test_tar_finish(tar);
    digest = test_diff_id_of_fd(fd);
    g_autoptr(GBytes) bytes = test_bytes_of_fd(fd);
    g_autofree char *plain = g_build_filename(directory, "tar", NULL);
    CU_ASSERT_TRUE(
        g_file_set_contents(plain, g_bytes_get_data(bytes, NULL), (gssize)g_bytes_get_size(bytes), NULL));
    close(fd);
    script =
        g_strdup_printf("cd '%s' && split -b 100001 tar part. && for p in part.*; do gzip -c $p; done > all"
                        " && head -c 512 /dev/zero >> all",
                        directory);
    const char *argv[] = {"sh", "-c", script, NULL};
    TEST_OK(process_check(&(ProcessSpec){.argv = argv}, NULL, &error), error);
    g_autofree char *all = g_build_filename(directory, "all", NULL);
    g_autofree char *image_path = g_build_filename(directory, "image", NULL);
    LayerSpec spec = {.diff_id = digest, .max_bytes = 1 << 30};
    int blob = open(all, O_RDONLY | O_CLOEXEC);
    int image = open(image_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    TEST_OK(write_image(blob, &spec, image, NULL, &error), error);
    close(blob);
    close(image);
}

/* The UUID is at byte 48 of the super block, which is at byte 1024. */
static void uuid_of_layer(const char *name, guint8 ret_uuid[16])
{
    g_autofree char *directory = test_directory();
    g_autofree char *image = g_build_filename(directory, "image", NULL);
    g_autofree char *content = NULL;
    gsize length = 0;
    GError *error = NULL;

    TEST_OK(unpack_as(tar_with(name, FILE_MODE, "text"), &default_spec, image, &error), error);
    CU_ASSERT_TRUE_FATAL(g_file_get_contents(image, &content, &length, NULL) && length > 1088);
    memcpy(ret_uuid, content + 1024 + 48, 16);
}

static void gives_layers_their_uuids(void)
{
    static const guint8 none[16];
    guint8 one[16], again[16], other[16];

    uuid_of_layer("one", one);
    uuid_of_layer("one", again);
    uuid_of_layer("other", other);
    CU_ASSERT_TRUE(memcmp(one, none, sizeof one) != 0);
    CU_ASSERT_TRUE(memcmp(one, again, sizeof one) == 0);
    CU_ASSERT_TRUE(memcmp(one, other, sizeof one) != 0);
}

static void skips_trailing_bytes(void)
{
    static const char *const filters[] = {"gzip", "zstd"};
    static const char junk[] = {'t', 'r', 'a', 'i', 'l', 0x1f, (char)0x8b, 0};
    static const gsize lengths[] = {1, 3, sizeof junk, 600};

    for (gsize i = 0; i < G_N_ELEMENTS(filters); i++)
        for (gsize j = 0; j < G_N_ELEMENTS(lengths); j++) {
            TestTar *tar = test_tar_new("pax", filters[i]);
            g_autofree char *padding = g_malloc0(lengths[j]);
            g_autofree char *digest = NULL;
            GError *error = NULL;
            int image = memfd_create("image", MFD_CLOEXEC);
            int blob;

            test_tar_add(tar, "file", FILE_MODE, "x");
            blob = test_tar_finish(tar);
            digest = test_diff_id_of_fd(blob);
            memcpy(padding, junk, MIN(lengths[j], sizeof junk));
            lseek(blob, 0, SEEK_END);
            CU_ASSERT_EQUAL(write(blob, padding, lengths[j]), (ssize_t)lengths[j]);
            lseek(blob, 0, SEEK_SET);
            LayerSpec spec = {.diff_id = digest, .max_bytes = 1 << 30};

            TEST_OK(write_image(blob, &spec, image, NULL, &error), error);
            g_clear_error(&error);
            close(blob);
            close(image);
        }
}

static void refuse_entry(const TestTarEntry *entry, const char *message)
{
    TestTar *tar = test_tar_new("pax", "none");

    test_tar_add_entry(tar, entry);
    refuse(tar, &default_spec, STATUS_INVALID_ARGUMENT, message);
}

static void refuses_numbers_out_of_range(void)
{
    refuse_entry(&(TestTarEntry){.path = "f", .mode = FILE_MODE, .text = "", .uid = 4294967296},
                 "entry \"f\": its owner 4294967296:0 is out of range");
    refuse_entry(&(TestTarEntry){.path = "f", .mode = FILE_MODE, .text = "", .gid = 4294967295},
                 "its owner 0:4294967295 is out of range");
    refuse_entry(&(TestTarEntry){.path = "d", .mode = DIR_MODE, .gid = G_MAXINT64}, "is out of range");
    refuse_entry(&(TestTarEntry){.path = "c", .mode = S_IFCHR | 0600, .rdev_major = 4096, .rdev_minor = 1},
                 "its device number 4096:1 is out of range");
}

static void refuses_paths_that_lead_up(void)
{
    refuse(tar_with("../etc/passwd", FILE_MODE, "x"), &default_spec, STATUS_INVALID_ARGUMENT,
           "entry \"../etc/passwd\": its path leads upwards");
    refuse(tar_with("a/../../b", FILE_MODE, "x"), &default_spec, STATUS_INVALID_ARGUMENT, "a/../../b");
    refuse(tar_with("/..", DIR_MODE, NULL), &default_spec, STATUS_INVALID_ARGUMENT, "upwards");
    refuse(tar_with("a/.wh...", FILE_MODE, ""), &default_spec, STATUS_INVALID_ARGUMENT,
           "whiteout of nothing");
    refuse(tar_with(".wh.", FILE_MODE, ""), &default_spec, STATUS_INVALID_ARGUMENT, "whiteout of nothing");
}

static void refuses_names_that_are_too_long(void)
{
    g_autofree char *name = g_strnfill(256, 'n');
    g_autoptr(GString) deep = g_string_new(NULL);

    refuse(tar_with(name, FILE_MODE, "x"), &default_spec, STATUS_INVALID_ARGUMENT, "longer than 255");
    for (int i = 0; i < 600; i++)
        g_string_append(deep, "d/");
    refuse(tar_with(deep->str, DIR_MODE, NULL), &default_spec, STATUS_INVALID_ARGUMENT, "too deep");
    for (int i = 0; i < 2000; i++)
        g_string_append(deep, "d/");
    refuse(tar_with(deep->str, DIR_MODE, NULL), &default_spec, STATUS_INVALID_ARGUMENT, "longer than 4095");
}

static void refuses_parents_that_are_no_directories(void)
{
    TestTar *through_link = tar_with("etc", LINK_MODE, "/etc"); /* to itself */
    TestTar *through_file = tar_with("file", FILE_MODE, "x");
    TestTar *through_whiteout = tar_with(".wh.dir/file", FILE_MODE, "x");

    test_tar_add(through_link, "etc/passwd", FILE_MODE, "owned");
    refuse(through_link, &default_spec, STATUS_INVALID_ARGUMENT,
           "entry \"etc/passwd\": its path has more than 255 symbolic links");
    test_tar_add(through_file, "file/inside", FILE_MODE, "x");
    refuse(through_file, &default_spec, STATUS_INVALID_ARGUMENT, "not a directory");
    refuse(through_whiteout, &default_spec, STATUS_INVALID_ARGUMENT, "is a whiteout");
    refuse(tar_with(".", FILE_MODE, "x"), &default_spec, STATUS_INVALID_ARGUMENT, "root");
}

static void a_hard_link_to_a_file_of_a_lower_layer_copies_it(void)
{
    enum { BIG_BYTES = 200000 };
    TestTar *below = test_tar_new("pax", "none");
    TestTar *middle = test_tar_new("pax", "none");
    TestTar *tar = test_tar_new("pax", "none");
    TestTar *alone = test_tar_new("pax", "none");
    g_autofree char *big = g_malloc0(BIG_BYTES + 1);
    g_autofree char *target = NULL;
    g_autofree char *link = NULL;
    g_auto(Stack) stack = {0};
    struct stat one, two;

    memset(big, 'b', 5000);
    memset(big + BIG_BYTES - 70000, 'e', 70000); /* a hole is between */
    test_tar_add(below, "etc/", DIR_MODE, NULL);
    test_tar_add(below, "etc/small", FILE_MODE, "old");
    test_tar_add(below, "etc/big", FILE_MODE, big);
    test_tar_add_bytes(below, "etc/sparse", big, BIG_BYTES);
    test_tar_add(below, "etc/empty", FILE_MODE, "");
    test_tar_add(below, "etc/link", LINK_MODE, "small");
    test_tar_add(below, "conf", LINK_MODE, "etc");
    stack_add_good(&stack, below);
    test_tar_add(middle, "etc/small", FILE_MODE, "new");
    stack_add_good(&stack, middle);
    test_tar_add_hardlink(tar, "a/small", "conf/small");
    test_tar_add_hardlink(tar, "a/again", "etc/small");
    test_tar_add_hardlink(tar, "a/big", "etc/big");
    test_tar_add_hardlink(tar, "a/sparse", "etc/sparse");
    test_tar_add_hardlink(tar, "a/empty", "etc/empty");
    test_tar_add_hardlink(tar, "a/link", "etc/link");
    stack_add_good(&stack, tar);
    if (!stack_mount(&stack))
        return;
    CU_ASSERT_TRUE(has_text(stack.merged, "a/small", "new"));
    CU_ASSERT_TRUE(has_text(stack.merged, "etc/small", "new"));
    CU_ASSERT_TRUE(has_text(stack.merged, "a/big", big));
    CU_ASSERT_TRUE(has_text(stack.merged, "a/empty", ""));
    CU_ASSERT_TRUE(has_bytes(stack.merged, "a/sparse", big, BIG_BYTES));
    CU_ASSERT_TRUE(status_of(stack.merged, "a/again", &one) && status_of(stack.merged, "etc/small", &two));
    CU_ASSERT_TRUE(one.st_ino == two.st_ino && one.st_nlink == 3 && two.st_nlink == 3);
    link = g_build_filename(stack.merged, "a/link", NULL);
    target = g_file_read_link(link, NULL);
    CU_ASSERT_TRUE(g_strcmp0(target, "small") == 0);
    test_tar_add(alone, "etc/", DIR_MODE, NULL);
    test_tar_add_hardlink(alone, "etc/other", "etc/small");
    CU_ASSERT_FALSE(is_self_contained(alone));
}

static void refuses_hard_links_that_copy_too_much(void)
{
    LayerSpec small = {.max_bytes = 8 << 10};
    TestTar *below = test_tar_new("pax", "none");
    TestTar *tar = test_tar_new("pax", "none");
    g_autofree char *text = g_strnfill(5000, 'x');
    g_auto(Stack) stack = {0};
    GError *error = NULL;

    test_tar_add(below, "one", FILE_MODE, text);
    test_tar_add(below, "two", FILE_MODE, text);
    stack_add_good(&stack, below);
    test_tar_add_hardlink(tar, "a", "one");
    test_tar_add_hardlink(tar, "b", "two");
    TEST_FAILS(stack_add(&stack, tar, &small, &error), error, STATUS_RESOURCE_EXHAUSTED,
               "entry \"b\": the layer has hard links to more than 8192 bytes");
}

static void refuses_hard_links_out_of_the_layer(void)
{
    static const char *const targets[] = {"/etc/shadow", "missing", "../../etc/shadow", "dir", "link/x"};

    for (gsize i = 0; i < G_N_ELEMENTS(targets); i++) {
        TestTar *tar = tar_with("dir", DIR_MODE, NULL);

        test_tar_add(tar, "link", LINK_MODE, "/etc");
        test_tar_add_hardlink(tar, "stolen", targets[i]);
        refuse(tar, &default_spec, STATUS_INVALID_ARGUMENT, "entry \"stolen\"");
    }
}

static void refuses_bombs(void)
{
    LayerSpec small = {.max_bytes = 1 << 20};
    LayerSpec few = {.max_bytes = 1 << 20, .max_entries = 10};
    g_autofree char *zeros = g_malloc0(8 << 20);
    static const char *const filters[] = {"none", "gzip", "zstd"};
    TestTar *tar;

    for (int i = 0; i < 3; i++) {
        tar = test_tar_new("pax", filters[i]);
        test_tar_add_bytes(tar, "zeros", zeros, 8 << 20);
        refuse(tar, &small, STATUS_RESOURCE_EXHAUSTED, "larger than 1048576 bytes");
    }
    tar = test_tar_new("pax", "none");
    test_tar_add_entry(
        tar, &(TestTarEntry){.path = "sparse", .mode = FILE_MODE, .text = "x", .sparse_size = 1 << 30});
    refuse(tar, &small, STATUS_RESOURCE_EXHAUSTED, "sparse");
    tar = test_tar_new("pax", "none");
    for (int i = 0; i < 11; i++) {
        g_autofree char *name = g_strdup_printf("%d", i);

        test_tar_add(tar, name, FILE_MODE, "");
    }
    refuse(tar, &few, STATUS_RESOURCE_EXHAUSTED, "more than 10 entries");
    refuse(tar_with("a/b/c/d/e/f/g/h/i/j/k", FILE_MODE, ""), &few, STATUS_RESOURCE_EXHAUSTED, "10 entries");
}

static void refuses_the_wrong_diff_id(void)
{
    TestTar *tar = tar_with("file", FILE_MODE, "x");
    int fd = test_tar_finish(tar);
    g_autofree char *digest = test_diff_id_of_fd(fd);
    LayerSpec right = {.max_bytes = 1 << 20, .diff_id = digest};
    LayerSpec wrong = {.max_bytes = 1 << 20,
                       .diff_id = "sha256:0000000000000000000000000000000000000000000000000000000000000000"};
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image", NULL);
    int image = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    GError *error = NULL;

    TEST_OK(write_image(fd, &right, image, NULL, &error), error);
    close(fd);
    close(image);
    refuse(tar_with("file", FILE_MODE, "x"), &wrong, STATUS_DATA_LOSS, digest);
}

static void refuses_broken_data(void)
{
    static const char *const filters[] = {"none", "gzip", "zstd"};
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image", NULL);

    for (int i = 0; i < 3; i++) {
        TestTar *tar = test_tar_new("pax", filters[i]);
        GError *error = NULL;
        struct stat status;
        int image;
        int fd;

        for (int file = 0; file < 200; file++) {
            g_autofree char *name = g_strdup_printf("%d", file * 7919);

            test_tar_add(tar, name, FILE_MODE, name);
        }
        fd = test_tar_finish(tar);
        fstat(fd, &status);
        /* In the middle of a header or of the data. */
        CU_ASSERT_EQUAL(ftruncate(fd, i == 0 ? 512 * 3 + 100 : status.st_size / 2), 0);
        image = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        TEST_FAILS(write_image(fd, &default_spec, image, NULL, &error), error, STATUS_INVALID_ARGUMENT, "");
        close(image);
        close(fd);
    }
}

static void refuses_other_media_types(void)
{
    LayerSpec encrypted = {.max_bytes = 1 << 20,
                           .media_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"};
    LayerSpec mismatch = {.max_bytes = 1 << 20, .media_type = "application/vnd.oci.image.layer.v1.tar+gzip"};
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image", NULL);
    GError *error = NULL;

    refuse(tar_with("file", FILE_MODE, "x"), &encrypted, STATUS_UNIMPLEMENTED, "encrypted");
    TEST_OK(unpack_as(tar_with("file", FILE_MODE, "x"), &mismatch, path, &error), error);
}

/* Limits of memory and time */

/* One header of a tar, as a program may write it that is no archiver. */
static void append_header(GString *tar, const char *name, char type, gsize size)
{
    char header[512] = {0};
    guint sum = 0;

    g_snprintf(header, 100, "%s", name);
    memcpy(header + 100, "0000644", 8);
    memcpy(header + 108, "0000000", 8);
    memcpy(header + 116, "0000000", 8);
    g_snprintf(header + 124, 12, "%011o", (guint)size);
    memcpy(header + 136, "00000000000", 12);
    header[156] = type;
    memcpy(header + 257, "ustar", 6);
    header[263] = header[264] = '0';
    memset(header + 148, ' ', 8);
    for (gsize i = 0; i < sizeof header; i++)
        sum += (guint8)header[i];
    g_snprintf(header + 148, 7, "%06o", sum);
    g_string_append_len(tar, header, sizeof header);
}

static void append_padded(GString *tar, const GString *body)
{
    g_string_append_len(tar, body->str, (gssize)body->len);
    while (tar->len % 512 != 0)
        g_string_append_c(tar, '\0');
}

/* A record of a pax header, whose length counts itself. */
static void append_record(GString *body, const char *key, const char *value)
{
    gsize rest = strlen(key) + strlen(value) + 3;
    gsize length = rest + 1;

    for (int i = 0; i < 3; i++) {
        g_autofree char *digits = g_strdup_printf("%zu", length);

        length = rest + strlen(digits);
    }
    g_string_append_printf(body, "%zu %s=%s\n", length, key, value);
}

static void refuse_bytes(const GString *bytes, const LayerSpec *spec, StatusCode status, const char *text)
{
    int blob = memfd_create("blob", MFD_CLOEXEC);
    int image = memfd_create("image", MFD_CLOEXEC);
    GError *error = NULL;

    CU_ASSERT_EQUAL(pwrite(blob, bytes->str, bytes->len, 0), (ssize_t)bytes->len);
    TEST_FAILS(write_image(blob, spec, image, NULL, &error), error, status, text);
    close(blob);
    close(image);
}

static void refuses_attributes_that_fill_memory(void)
{
    enum { DIRECTORIES = 100, VALUE_BYTES = 60000 };
    static const LayerSpec spec = {.max_bytes = 1 << 30, .max_memory_bytes = 4 << 20};
    g_autofree char *value = g_malloc0(VALUE_BYTES);
    TestTar *tar = test_tar_new("pax", "zstd");

    for (guint i = 0; i < DIRECTORIES; i++) {
        g_autofree char *name = g_strdup_printf("directory-%u", i);

        test_tar_add_entry(tar, &(TestTarEntry){.path = name,
                                                .mode = DIR_MODE,
                                                .xattr_name = "user.large",
                                                .xattr_value = value,
                                                .xattr_length = VALUE_BYTES});
    }
    refuse(tar, &spec, STATUS_RESOURCE_EXHAUSTED, "4194304 bytes of memory (images.max_layer_memory)");
}

/* Names of each kind; none of them fills the memory alone with its content. */
static void refuses_names_that_fill_memory(void)
{
    enum { NAMES = 40000 };
    static const mode_t modes[] = {DIR_MODE, FILE_MODE, LINK_MODE};
    static const LayerSpec spec = {.max_bytes = 1 << 30, .max_memory_bytes = 4 << 20};
    TestTar *tar;

    for (gsize kind = 0; kind < G_N_ELEMENTS(modes); kind++) {
        tar = test_tar_new("ustar", "none");
        for (guint i = 0; i < NAMES; i++) {
            g_autofree char *name = g_strdup_printf("%u/%u", i % 7, i);

            test_tar_add(tar, name, modes[kind], "target");
        }
        refuse(tar, &spec, STATUS_RESOURCE_EXHAUSTED, "images.max_layer_memory");
    }
    tar = test_tar_new("ustar", "none");
    test_tar_add(tar, "file", FILE_MODE, "");
    for (guint i = 0; i < NAMES; i++) {
        g_autofree char *name = g_strdup_printf("link-%u", i);

        test_tar_add_hardlink(tar, name, "file");
    }
    refuse(tar, &spec, STATUS_RESOURCE_EXHAUSTED, "images.max_layer_memory");
}

static void takes_memory_in_proportion(void)
{
    enum { FILES = 20000, BYTES_PER_FILE = 640 };
    static const LayerSpec spec = {.max_bytes = 1 << 30, .max_memory_bytes = FILES * BYTES_PER_FILE};
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image", NULL);
    TestTar *tar = test_tar_new("pax", "gzip");
    GError *error = NULL;

    for (guint i = 0; i < FILES; i++) {
        g_autofree char *name =
            g_strdup_printf("usr/lib/node_modules/package-%u/lib/source/file-%u.js", i / 10, i);

        test_tar_add(tar, name, FILE_MODE, name);
    }
    TEST_OK(unpack_as(tar, &spec, path, &error), error);
    g_clear_error(&error);
}

/* Each path walks thousands of parts of links. */
static void refuses_paths_that_take_too_long(void)
{
    enum { NAMES = 4000, TARGET_PARTS = 400 };
    static const LayerSpec spec = {.max_bytes = 1 << 30, .max_time_ms = 1};
    g_autoptr(GString) target = g_string_new("x");
    TestTar *tar = test_tar_new("pax", "zstd");

    for (guint i = 0; i < TARGET_PARTS; i++)
        g_string_append(target, "/../x");
    test_tar_add(tar, "x", DIR_MODE, NULL);
    test_tar_add(tar, "l", LINK_MODE, target->str);
    test_tar_add(tar, "x/l", LINK_MODE, "../l");
    for (guint i = 0; i < NAMES; i++) {
        g_autofree char *name = g_strdup_printf("l/l/l/l/l/l/l/%u", i);

        test_tar_add(tar, name, FILE_MODE, "");
    }
    refuse(tar, &spec, STATUS_RESOURCE_EXHAUSTED, "0.0 s of processor time (images.max_layer_time");
}

/* Nothing comes out of them, however many there are. */
static void refuses_empty_gzip_members_that_take_too_long(void)
{
    enum { MEMBERS = 300000 };
    static const char member[] = {0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    static const LayerSpec spec = {.max_bytes = 1 << 30, .max_time_ms = 1};
    g_autoptr(GString) blob = g_string_new(NULL);

    for (guint i = 0; i < MEMBERS; i++)
        g_string_append_len(blob, member, sizeof member);
    refuse_bytes(blob, &spec, STATUS_RESOURCE_EXHAUSTED, "images.max_layer_time");
}

static void refuses_headers_that_are_too_large(void)
{
    enum { RECORD_BYTES = 700 << 10 };
    g_autoptr(GString) tar = g_string_new(NULL);
    g_autoptr(GString) sparse = test_tar_with_large_headers();
    g_autoptr(GString) body = g_string_new(NULL);
    g_autofree char *value = g_strnfill(RECORD_BYTES, 'v');

    append_record(body, "comment", value);
    for (int i = 0; i < 4; i++) {
        append_header(tar, "headers", 'x', body->len);
        append_padded(tar, body);
    }
    append_header(tar, "file", '0', 0);
    refuse_bytes(tar, &default_spec, STATUS_INVALID_ARGUMENT,
                 "the headers of one entry take more than 1048576 bytes");

    refuse_bytes(sparse, &default_spec, STATUS_INVALID_ARGUMENT,
                 "the headers of one entry take more than 1048576 bytes");
}

/* The frame's header asks for a window of 2^31 bytes. */
static void refuses_large_zstd_windows(void)
{
    static const char frame[] = {0x28, (char)0xb5, 0x2f, (char)0xfd, 0x00, (char)((31 - 10) << 3), 0, 0};
    g_autoptr(GString) blob = g_string_new_len(frame, sizeof frame);

    refuse_bytes(blob, &default_spec, STATUS_INVALID_ARGUMENT,
                 "bad zstd data: its window is larger than 134217728 bytes");
}

static void limits_xattrs_as_the_kernel(void)
{
    g_autofree char *large = g_strnfill(61441, 'v');
    g_autofree char *half = g_strnfill(40000, 'v');
    g_autofree char *long_name = g_strnfill(256 - strlen("user."), 'n');
    g_autofree char *user_name = g_strconcat("user.", long_name, NULL);
    g_autofree char *fitting = g_strndup(user_name, 255);
    g_autoptr(GByteArray) xattrs = NULL;
    GError *error = NULL;

    TEST_FAILS(erofs_xattr_add(&xattrs, user_name, "v", 1, &error), error, STATUS_INVALID_ARGUMENT,
               "is longer than 255 bytes");
    TEST_FAILS(erofs_xattr_add(&xattrs, "user.large", large, strlen(large), &error), error,
               STATUS_INVALID_ARGUMENT, "\"user.large\" is too large: over 61440 bytes");
    TEST_OK(erofs_xattr_add(&xattrs, fitting, half, strlen(half), &error), error);
    TEST_FAILS(erofs_xattr_add(&xattrs, "user.second", half, strlen(half), &error), error,
               STATUS_INVALID_ARGUMENT, "\"user.second\" is too large: with the others over 61440 bytes");
}

/* As programs write them that use two encodings, or that are hostile. */
static void keeps_the_last_of_equal_xattrs(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image", NULL);
    g_autoptr(GString) tar = g_string_new(NULL);
    g_autoptr(GString) body = g_string_new(NULL);
    g_autofree char *root = NULL;
    GError *error = NULL;
    char list[64];
    int blob;
    int image;

    append_record(body, "SCHILY.xattr.user.colour", "blue");
    append_record(body, "SCHILY.xattr.user.colour", "green");
    append_header(tar, "headers", 'x', body->len);
    append_padded(tar, body);
    append_header(tar, "file", '0', 0);
    g_string_set_size(tar, tar->len + 1024);
    memset(tar->str + tar->len - 1024, 0, 1024);
    blob = memfd_create("blob", MFD_CLOEXEC);
    image = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    CU_ASSERT_EQUAL(pwrite(blob, tar->str, tar->len, 0), (ssize_t)tar->len);
    TEST_OK(write_image(blob, &default_spec, image, NULL, &error), error);
    close(blob);
    close(image);
    root = mount_image(path);
    if (root == NULL)
        return;
    g_autofree char *file = g_build_filename(root, "file", NULL);
    CU_ASSERT_EQUAL(llistxattr(file, list, sizeof list), (ssize_t)sizeof "user.colour");
    CU_ASSERT_TRUE(has_xattr(root, "file", "user.colour", "green"));
    unmount_layer(root);
}

static void stops_when_cancelled(void)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Deadline deadline = {.at_us = G_MAXINT64, .cancellable = cancellable};
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image", NULL);
    int fd = test_tar_finish(tar_with("file", FILE_MODE, "x"));
    int image = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    GError *error = NULL;

    g_cancellable_cancel(cancellable);
    TEST_FAILS(write_image(fd, &default_spec, image, &deadline, &error), error, STATUS_CANCELLED, "");
    close(fd);
    close(image);
}

static void cancel(G_GNUC_UNUSED guint64 consumed_bytes, gpointer data)
{
    g_cancellable_cancel(data);
}

/* The blob's first megabyte cancels the call. */
static void stops_in_the_middle(void)
{
    enum { BYTES = 8 << 20 };
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Deadline deadline = {.at_us = G_MAXINT64, .cancellable = cancellable};
    g_autofree char *zeros = g_malloc0(BYTES);
    TestTar *tar = test_tar_new("pax", "none");
    LayerFiles files = {.progress = cancel, .progress_data = cancellable};
    GError *error = NULL;

    test_tar_add_bytes(tar, "zeros", zeros, BYTES);
    files.blob_fd = test_tar_finish(tar);
    files.image_fd = memfd_create("image", MFD_CLOEXEC);
    TEST_FAILS(layer_read(&files, &default_spec, &deadline, &error) != NULL, error, STATUS_CANCELLED, "");
    CU_ASSERT_TRUE(lseek(files.blob_fd, 0, SEEK_CUR) < BYTES / 2);
    close(files.blob_fd);
    close(files.image_fd);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"files and links survive in every tar format and compression", keeps_files},
        {"files of every size read back as they were", keeps_every_size},
        {"owners, modes and times to the nanosecond are kept", keeps_attributes},
        {"extended attributes are kept, except those of overlayfs and SELinux", keeps_xattrs},
        {"devices and FIFOs are kept", keeps_special_files},
        {"hard links share an inode with the right link count", keeps_hard_links},
        {"holes take no space", keeps_sparse_files_sparse},
        {"whiteouts are converted to those of overlayfs", turns_whiteouts_into_overlays},
        {"whiteouts hide only entries of lower layers", whiteouts_hide_only_what_is_below},
        {"whiteouts that hide nothing are dropped", whiteouts_that_hide_nothing_are_dropped},
        {"directories that a layer does not describe keep their attributes",
         directories_that_are_not_described_keep_their_attributes},
        {"entries below a link are put where the link leads, inside the image",
         entries_below_a_link_are_put_where_the_link_leads_inside_the_image},
        {"a layer that describes its directories first is self-contained",
         a_layer_that_describes_its_directories_is_self_contained},
        {"the names of layers below are found in directories of any size", layers_below_are_read_back},
        {"ids and device numbers that do not fit are refused by their value", refuses_numbers_out_of_range},
        {"bytes after the compressed data are skipped", skips_trailing_bytes},
        {"of two entries with one name the last is used", last_entry_wins},
        {"long and odd names are kept", keeps_long_and_odd_names},
        {"a directory of thousands of files is complete", keeps_large_directories},
        {"a layer may be empty", accepts_an_empty_layer},
        {"a layer has a UUID of its own, the same each time", gives_layers_their_uuids},
        {"a blob of several gzip members is one tar", reads_several_gzip_members},
        {"a path that leads upwards is refused", refuses_paths_that_lead_up},
        {"a name that is too long is refused", refuses_names_that_are_too_long},
        {"a parent that is a link to itself, a file or a whiteout is refused",
         refuses_parents_that_are_no_directories},
        {"a hard link to a file of a lower layer copies the file under both names",
         a_hard_link_to_a_file_of_a_lower_layer_copies_it},
        {"hard links that copy more from lower layers than the limit are refused",
         refuses_hard_links_that_copy_too_much},
        {"a hard link to a file that the image does not have is refused",
         refuses_hard_links_out_of_the_layer},
        {"a layer that unpacks to too many bytes or entries is refused", refuses_bombs},
        {"a layer whose directories' attributes fill the memory is refused",
         refuses_attributes_that_fill_memory},
        {"a layer whose names fill the memory is refused", refuses_names_that_fill_memory},
        {"a layer of many files takes less than 640 bytes of memory for each", takes_memory_in_proportion},
        {"a layer whose paths take too much processor time is refused", refuses_paths_that_take_too_long},
        {"gzip members without content that take too much processor time are refused",
         refuses_empty_gzip_members_that_take_too_long},
        {"an entry whose headers are too large is refused", refuses_headers_that_are_too_large},
        {"a zstd frame with too large a window is refused", refuses_large_zstd_windows},
        {"names and values of extended attributes have limits", limits_xattrs_as_the_kernel},
        {"of two equal extended attributes the last is used", keeps_the_last_of_equal_xattrs},
        {"a layer with the wrong diff id is refused", refuses_the_wrong_diff_id},
        {"truncated data is refused", refuses_broken_data},
        {"a media type that is not a layer's is refused", refuses_other_media_types},
        {"a cancelled call ends", stops_when_cancelled},
        {"a call that is cancelled while it reads ends there", stops_in_the_middle},
    };

    /* Mounts end with the process. */
    if (unshare(CLONE_NEWNS) == 0)
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    return test_main_args("layer", cases, G_N_ELEMENTS(cases), argc, argv);
}

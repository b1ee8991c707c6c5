/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a checkpoint, without a guest: what was sealed opens unchanged, and any other directory is
 * refused by name of what is wrong. */
#include "sandbox/checkpoint/checkpoint_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "tests/unit/harness.h"

enum { RAM_BYTES = 1 << 20 };

static const CheckpointStorage plain = {.level = 1};

static Checkpoint *checkpoint_open_plain(const char *path, GError **error)
{
    return checkpoint_open(path, &plain, error);
}

static const char *const inputs[] = {"versions=QEMU 7", "machine=<domain type='qemu'/>", NULL};

static Checkpoint *describe(void)
{
    static const gint64 groups[] = {10, 20};
    Checkpoint *checkpoint = checkpoint_new();
    CheckpointContainer *container = checkpoint_add_container(checkpoint);
    CheckpointDisk *disk = checkpoint_add_disk(checkpoint);
    CheckpointBlock *block;
    Runtime__V1__RestorePodRequest *request = g_new0(Runtime__V1__RestorePodRequest, 1);

    checkpoint->handler = g_strdup("crivirt");
    checkpoint->made_at_s = 1234;
    checkpoint->inputs = g_strdupv((char **)inputs);
    checkpoint->size = (CheckpointSize){1, 2, 4, 256 << 20, 256 << 20, 512 << 20};
    container->name = g_strdup("main");
    container->id = g_strdup("0123abc");
    container->image_id = g_strdup("sha256:1");
    container->layers = g_strsplit("sha256:2 sha256:3", " ", -1);
    container->uid = 5;
    container->gid = 6;
    container->stop_signal = 15;
    checkpoint_add_mount(container->binds, 3, g_strdup("0123abc/3"));
    block = checkpoint_add_block(container);
    *block = (CheckpointBlock){FALSE, 2, 7, 4096, g_strdup("/dev/xvda"), g_strdup("/dev/vg/one")};
    block = checkpoint_add_block(container);
    *block = (CheckpointBlock){TRUE, 5, 7, 4096, g_strdup("/disk"), g_strdup("/dev/vg/one")};
    checkpoint_add_mount(container->images, 4, g_strdup("sha256:9"));
    checkpoint->share = 2;
    g_free(checkpoint->volume_cache);
    checkpoint->volume_cache = g_strdup("never");
    checkpoint->volume_locks = FALSE;
    g_array_append_vals(container->groups, groups, G_N_ELEMENTS(groups));
    disk->lun = 1;
    disk->key = g_strdup("sha256:2");
    g_ptr_array_add(checkpoint->others, g_strdup("other"));
    runtime__v1__restore_pod_request__init(request);
    request->config = g_new0(Runtime__V1__PodSandboxConfig, 1);
    runtime__v1__pod_sandbox_config__init(request->config);
    request->config->metadata = g_new0(Runtime__V1__PodSandboxMetadata, 1);
    runtime__v1__pod_sandbox_metadata__init(request->config->metadata);
    request->config->metadata->name = g_strdup("pod");
    request->config->metadata->uid = g_strdup("uid");
    request->config->metadata->namespace_ = g_strdup("default");
    checkpoint->request = request;
    return checkpoint;
}

static void fill(int fd, const char *text)
{
    CU_ASSERT_EQUAL(pwrite(fd, text, strlen(text), 4096 * 3), (ssize_t)strlen(text));
}

/* Makes a checkpoint. Return: its directory, which the caller frees. */
static char *make_by(const CheckpointStorage *storage)
{
    char *path = test_directory();
    g_autofree char *aside = test_directory();
    g_autoptr(Checkpoint) checkpoint = describe();
    g_autoptr(GError) error = NULL;
    g_autoptr(CheckpointPacking) packing = checkpoint_packing_new(storage, &error);
    int result = checkpoint_directory(path, &error);
    int directory =
        checkpoint_packing_packs(packing) ? open(aside, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : dup(result);
    g_autofree char *disk_path = checkpoint_disk_path(directory);
    int ram;
    int devices;
    int disk;
    int volumes;

    CU_ASSERT_TRUE_FATAL(directory >= 0);
    TEST_OK(checkpoint_make_files(directory, &ram, &devices, &error), error);
    disk = open(disk_path, O_RDWR | O_CREAT | O_EXCL, 0600);
    volumes = checkpoint_make_volumes(directory, &error);
    TEST_OK(volumes >= 0, error);
    fill(ram, "memory");
    CU_ASSERT_EQUAL(ftruncate(ram, RAM_BYTES), 0);
    fill(devices, "devices");
    fill(disk, "disk");
    fill(volumes, "volumes");
    close(ram);
    close(devices);
    close(disk);
    close(volumes);
    TEST_OK(checkpoint_seal(result, directory, checkpoint, packing, NULL, &error), error);
    close(directory);
    close(result);
    return path;
}

static char *make(void)
{
    return make_by(&plain);
}

static void opens_what_was_sealed(void)
{
    g_autofree char *path = make();
    g_autoptr(GError) error = NULL;
    g_autoptr(Checkpoint) checkpoint = checkpoint_open_plain(path, &error);
    const CheckpointContainer *container;
    char text[8] = "";

    TEST_OK(checkpoint != NULL, error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(checkpoint);
    CU_ASSERT_STRING_EQUAL(checkpoint->handler, "crivirt");
    CU_ASSERT_EQUAL(checkpoint->made_at_s, 1234);
    CU_ASSERT_EQUAL(checkpoint->size.max_memory_bytes, 512 << 20);
    CU_ASSERT_EQUAL(checkpoint->ram.bytes, RAM_BYTES);
    CU_ASSERT_EQUAL_FATAL(checkpoint->containers->len, 1);
    container = checkpoint->containers->pdata[0];
    CU_ASSERT_STRING_EQUAL(container->name, "main");
    CU_ASSERT_STRING_EQUAL(container->layers[1], "sha256:3");
    CU_ASSERT_EQUAL(g_array_index(container->groups, gint64, 1), 20);
    CU_ASSERT_EQUAL(container->uid, 5);
    CU_ASSERT_STRING_EQUAL((char *)checkpoint->others->pdata[0], "other");
    CU_ASSERT_EQUAL(((CheckpointDisk *)checkpoint->disks->pdata[0])->lun, 1);
    CU_ASSERT_STRING_EQUAL(checkpoint->request->config->metadata->name, "pod");
    CU_ASSERT_EQUAL(pread(checkpoint->device_fd, text, 7, 4096 * 3), 7);
    CU_ASSERT_STRING_EQUAL(text, "devices");
    CU_ASSERT_EQUAL(checkpoint->share, 2);
    CU_ASSERT_STRING_EQUAL(checkpoint->volume_cache, "never");
    CU_ASSERT_EQUAL(checkpoint->volume_locks, FALSE);
    CU_ASSERT_EQUAL_FATAL(container->binds->len, 1);
    CU_ASSERT_EQUAL(((CheckpointMount *)container->binds->pdata[0])->index, 3);
    CU_ASSERT_STRING_EQUAL(((CheckpointMount *)container->binds->pdata[0])->name, "0123abc/3");
    CU_ASSERT_EQUAL_FATAL(container->blocks->len, 2);
    for (guint i = 0; i < 2; i++) {
        const CheckpointBlock *block = container->blocks->pdata[i];

        CU_ASSERT_EQUAL(block->is_mount, i == 1);
        CU_ASSERT_EQUAL(block->index, i == 1 ? 5 : 2);
        CU_ASSERT_EQUAL(block->lun, 7);
        CU_ASSERT_EQUAL(block->bytes, 4096);
        CU_ASSERT_STRING_EQUAL(block->container_path, i == 1 ? "/disk" : "/dev/xvda");
        CU_ASSERT_STRING_EQUAL(block->host_path, "/dev/vg/one");
    }
    CU_ASSERT_EQUAL_FATAL(container->images->len, 1);
    CU_ASSERT_EQUAL(((CheckpointMount *)container->images->pdata[0])->index, 4);
    CU_ASSERT_STRING_EQUAL(((CheckpointMount *)container->images->pdata[0])->name, "sha256:9");
    CU_ASSERT_EQUAL(pread(checkpoint->volumes_fd, text, 7, 4096 * 3), 7);
    CU_ASSERT_STRING_EQUAL(text, "volumes");
}

static void files_are_private(void)
{
    static const char *const names[] = {"manifest.json", "request", "ram", "devices", "disk", "volumes"};
    g_autofree char *path = make();

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *file = g_build_filename(path, names[i], NULL);
        struct stat status;

        CU_ASSERT_EQUAL_FATAL(stat(file, &status), 0);
        CU_ASSERT_EQUAL(status.st_mode & 07777, 0600);
    }
}

static void compares_inputs(void)
{
    static const char *const others[] = {"versions=QEMU 7", "machine=<domain type='kvm'/>", NULL};
    static const char *const more[] = {"versions=QEMU 7", "processor=x", NULL};
    g_autoptr(Checkpoint) checkpoint = describe();
    g_autofree char *same = checkpoint_difference(checkpoint, inputs);
    g_autofree char *other = checkpoint_difference(checkpoint, others);
    g_autofree char *missing = checkpoint_difference(checkpoint, more);

    CU_ASSERT_PTR_NULL(same);
    CU_ASSERT_PTR_NOT_NULL_FATAL(other);
    CU_ASSERT_TRUE(g_str_has_prefix(other, "machine: the checkpoint has "));
    CU_ASSERT_PTR_NOT_NULL_FATAL(missing);
    CU_ASSERT_TRUE(g_str_has_prefix(missing, "processor: the checkpoint has \"none\""));
}

static char *difference_of(const char *saved, const char *here)
{
    const char *const there[] = {saved, NULL};
    const char *const node[] = {here, NULL};
    g_autoptr(Checkpoint) checkpoint = checkpoint_new();

    checkpoint->inputs = g_strdupv((char **)there);
    return checkpoint_difference(checkpoint, node);
}

static void compares_processors(void)
{
    g_autofree char *same = difference_of("time_stamp=2000000 kHz", "time_stamp=2000100 kHz");
    g_autofree char *scaled = difference_of("time_stamp=3000000 kHz", "time_stamp=2000000 kHz or any other");
    g_autofree char *rate = difference_of("time_stamp=3000000 kHz", "time_stamp=2000000 kHz");
    g_autofree char *level = difference_of("processor=x86-64-v2, AuthenticAMD family 23, with smep ibpb",
                                           "processor=x86-64-v3, AuthenticAMD family 23, with smep ibpb");
    g_autofree char *family = difference_of("processor=x86-64-v3, AuthenticAMD family 23, with smep ibpb",
                                            "processor=x86-64-v3, AuthenticAMD family 25, with smep ibpb");
    g_autoptr(Checkpoint) without = describe();

    CU_ASSERT_PTR_NULL(same);
    CU_ASSERT_PTR_NULL(scaled);
    CU_ASSERT_STRING_EQUAL(rate,
                           "time_stamp: the checkpoint has \"3000000 kHz\", this node has \"2000000 kHz\"");
    CU_ASSERT_PTR_NOT_NULL(strstr(level, "processor: the checkpoint has \"x86-64-v2"));
    CU_ASSERT_PTR_NOT_NULL(strstr(level, "this node has \"x86-64-v3"));
    CU_ASSERT_PTR_NOT_NULL(strstr(family, "has \"x86-64-v3, AuthenticAMD family 23"));
    CU_ASSERT_PTR_NOT_NULL(strstr(family, "family 25"));
    CU_ASSERT_EQUAL(checkpoint_time_stamp_khz(without), 0);
}

/* ---- what is refused ---- */

static void a_directory_must_be_empty(void)
{
    g_autofree char *path = make();
    g_autofree char *missing = g_build_filename(path, "missing", NULL);
    g_autoptr(GError) error = NULL;

    TEST_FAILS(checkpoint_directory(path, &error) >= 0, error, STATUS_FAILED_PRECONDITION, "is not empty");
    TEST_FAILS(checkpoint_directory(missing, &error) >= 0, error, STATUS_NOT_FOUND, "missing");
    TEST_FAILS(checkpoint_directory("relative", &error) >= 0, error, STATUS_INVALID_ARGUMENT,
               "is not absolute");
    TEST_FAILS(checkpoint_open_plain("relative", &error) != NULL, error, STATUS_INVALID_ARGUMENT,
               "is not absolute");
}

static void a_directory_is_used_by_one_call(void)
{
    g_autofree char *path = test_directory();
    g_autoptr(GError) error = NULL;
    int first = checkpoint_directory(path, &error);

    CU_ASSERT_TRUE_FATAL(first >= 0);
    TEST_FAILS(checkpoint_directory(path, &error) >= 0, error, STATUS_FAILED_PRECONDITION,
               "in use by another checkpoint");
    close(first);
    first = checkpoint_directory(path, &error);
    TEST_OK(first >= 0, error);
    close(first);
}

static void discards_its_own_files_only(void)
{
    g_autofree char *path = make();
    g_autofree char *other = g_build_filename(path, "other", NULL);
    int directory = open(path, O_RDONLY | O_DIRECTORY);
    g_autoptr(GDir) entries = NULL;

    CU_ASSERT_TRUE_FATAL(g_file_set_contents(other, "x", 1, NULL));
    checkpoint_discard(directory);
    close(directory);
    entries = g_dir_open(path, 0, NULL);
    CU_ASSERT_STRING_EQUAL(g_dir_read_name(entries), "other");
    CU_ASSERT_PTR_NULL(g_dir_read_name(entries));
}

static void change_byte(const char *path, const char *name, off_t at)
{
    g_autofree char *file = g_build_filename(path, name, NULL);
    int fd = open(file, O_RDWR);
    char byte = 0;

    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(pread(fd, &byte, 1, at), 1);
    byte ^= 1;
    CU_ASSERT_EQUAL(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void damage_is_found(void)
{
    g_autofree char *devices = make();
    g_autofree char *request = make();
    g_autofree char *ram = make();
    g_autofree char *file = g_build_filename(ram, "ram", NULL);
    g_autoptr(GError) error = NULL;

    change_byte(devices, "devices", 4096 * 3);
    TEST_FAILS(checkpoint_open_plain(devices, &error) != NULL, error, STATUS_DATA_LOSS, "devices is damaged");
    change_byte(request, "request", 5);
    TEST_FAILS(checkpoint_open_plain(request, &error) != NULL, error, STATUS_DATA_LOSS, "request is damaged");
    CU_ASSERT_EQUAL(truncate(file, RAM_BYTES / 2), 0);
    TEST_FAILS(checkpoint_open_plain(ram, &error) != NULL, error, STATUS_DATA_LOSS,
               "ram has not the size in the manifest");
}

static void other_kinds_of_files_are_refused(void)
{
    g_autofree char *link = make();
    g_autofree char *fifo = make();
    g_autofree char *missing = make();
    g_autofree char *link_path = g_build_filename(link, "ram", NULL);
    g_autofree char *fifo_path = g_build_filename(fifo, "disk", NULL);
    g_autofree char *manifest = g_build_filename(missing, "manifest.json", NULL);
    g_autoptr(GError) error = NULL;

    unlink(link_path);
    CU_ASSERT_EQUAL(symlink("/etc/passwd", link_path), 0);
    TEST_FAILS(checkpoint_open_plain(link, &error) != NULL, error, STATUS_INTERNAL, "cannot open");
    unlink(fifo_path);
    CU_ASSERT_EQUAL(mkfifo(fifo_path, 0600), 0);
    TEST_FAILS(checkpoint_open_plain(fifo, &error) != NULL, error, STATUS_INVALID_ARGUMENT,
               "disk is not a regular file");
    unlink(manifest);
    TEST_FAILS(checkpoint_open_plain(missing, &error) != NULL, error, STATUS_NOT_FOUND, "manifest.json");
}

static void check_manifest(const char *from, const char *to, StatusCode status, const char *message)
{
    g_autofree char *path = make();
    g_autofree char *file = g_build_filename(path, "manifest.json", NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) parts = NULL;
    g_autofree char *changed = NULL;
    g_autoptr(GError) error = NULL;

    CU_ASSERT_TRUE_FATAL(g_file_get_contents(file, &text, NULL, NULL));
    parts = g_strsplit(text, from, -1);
    CU_ASSERT_TRUE_FATAL(g_strv_length(parts) > 1);
    changed = g_strjoinv(to, parts);
    CU_ASSERT_TRUE_FATAL(g_file_set_contents(file, changed, -1, NULL));
    TEST_FAILS(checkpoint_open_plain(path, &error) != NULL, error, status, message);
}

static void lies_in_the_manifest_are_refused(void)
{
    check_manifest("\"format\": \"1\"", "\"format\": \"9\"", STATUS_FAILED_PRECONDITION,
                   "the format \"9\", and this crivirt reads the formats 1 and 2");
    check_manifest("\"vcpus\": 2", "\"vcpus\": 9", STATUS_INVALID_ARGUMENT, "contradict");
    check_manifest("\"lun\": 1", "\"lun\": 0", STATUS_INVALID_ARGUMENT, "order of their numbers");
    check_manifest("\"lun\": 7", "\"lun\": 0", STATUS_INVALID_ARGUMENT, "no number of a disk");
    check_manifest("\"device\": 2", "\"other\": 2", STATUS_INVALID_ARGUMENT, "no number of a disk");
    check_manifest("\"bytes\": 4096", "\"bytes\": -1", STATUS_INVALID_ARGUMENT, "bytes");
    check_manifest("0123abc", "../../x", STATUS_INVALID_ARGUMENT, "is not the id of a container");
    check_manifest("\"other\"", "\"a/b\"", STATUS_INVALID_ARGUMENT, "is not the id of a container");
    check_manifest("\"name\": \"main\"", "\"name\": \"\"", STATUS_INVALID_ARGUMENT, "has no name");
    check_manifest("\"uid\": 5", "\"uid\": -7", STATUS_INVALID_ARGUMENT, "uid");
    check_manifest("\"volume_cache\": \"never\"", "\"volume_cache\": \"none\"", STATUS_INVALID_ARGUMENT,
                   "vm.volume_cache: there is no such mode: \"none\"");
    check_manifest("{", "", STATUS_INVALID_ARGUMENT, "manifest.json");
}

/* ---- packed checkpoints ---- */

/* Makes a key file. Return: its path, which the caller frees. */
static char *make_key(const char *digits)
{
    g_autofree char *directory = test_directory();
    g_autofree char *text = g_strnfill(64, *digits);
    char *path = g_build_filename(directory, "key", NULL);

    CU_ASSERT_TRUE_FATAL(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL));
    return path;
}

static gboolean collect(guint64 offset, const guint8 *data, gsize length, gpointer user_data)
{
    g_assert_cmpuint(offset + length, <=, RAM_BYTES);
    memcpy((char *)user_data + offset, data, length);
    return TRUE;
}

/* Asserts that a checkpoint is what make_by() has made of describe(). */
static void check_opens(const char *path, const CheckpointStorage *storage)
{
    g_autofree char *scratch = g_strconcat(path, ".scratch", NULL);
    g_autofree char *ram = g_malloc0(RAM_BYTES);
    g_autoptr(GError) error = NULL;
    g_autoptr(Checkpoint) checkpoint = checkpoint_open_any(path, storage, scratch, NULL, &error);
    int disk = memfd_create("disk", MFD_CLOEXEC);
    char text[8] = "";

    TEST_OK(checkpoint != NULL, error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(checkpoint);
    CU_ASSERT_STRING_EQUAL(checkpoint->request->config->metadata->name, "pod");
    CU_ASSERT_EQUAL(pread(checkpoint->device_fd, text, 7, 4096 * 3), 7);
    CU_ASSERT_STRING_EQUAL(text, "devices");
    CU_ASSERT_EQUAL(pread(checkpoint->volumes_fd, text, 7, 4096 * 3), 7);
    CU_ASSERT_STRING_EQUAL(text, "volumes");
    TEST_OK(checkpoint_ram_each(checkpoint, collect, ram, NULL, &error), error);
    CU_ASSERT_STRING_EQUAL(ram + 4096 * 3, "memory");
    TEST_OK(checkpoint_disk_unpack(checkpoint, disk, NULL, &error), error);
    CU_ASSERT_EQUAL(pread(disk, text, 8, 4096 * 3), 4);
    CU_ASSERT_EQUAL(memcmp(text, "disk", 4), 0);
    close(disk);
}

static gboolean contains(const char *path, const char *name, const char *text)
{
    g_autofree char *file = g_build_filename(path, name, NULL);
    g_autofree char *content = NULL;
    gsize length = 0;

    CU_ASSERT_TRUE_FATAL(g_file_get_contents(file, &content, &length, NULL));
    return memmem(content, length, text, strlen(text)) != NULL;
}

static void packed_checkpoints_open_unchanged(void)
{
    g_autofree char *key = make_key("a");
    const char *const keys[] = {key, NULL};
    const CheckpointStorage compressed = {.compress = TRUE, .level = 1, .threads = 2};
    const CheckpointStorage encrypted = {.level = 1, .threads = 2, .key_files = keys};
    const CheckpointStorage both = {.compress = TRUE, .level = 3, .key_files = keys};
    g_autofree char *first = make_by(&compressed);
    g_autofree char *second = make_by(&encrypted);
    g_autofree char *third = make_by(&both);

    check_opens(first, &compressed);
    check_opens(first, &plain);
    check_opens(second, &encrypted);
    check_opens(third, &encrypted);
}

static void an_encrypted_checkpoint_shows_nothing_of_the_pod(void)
{
    static const char *const names[] = {"request", "ram", "devices", "disk", "volumes"};
    static const char *const texts[] = {"default", "memory", "devices", "disk", "volumes"};
    g_autofree char *key = make_key("b");
    const char *const keys[] = {key, NULL};
    const CheckpointStorage encrypted = {.level = 1, .key_files = keys};
    g_autofree char *path = make_by(&encrypted);
    g_autofree char *open = make();

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        CU_ASSERT_TRUE(contains(open, names[i], texts[i]));
        CU_ASSERT_FALSE(contains(path, names[i], texts[i]));
    }
    CU_ASSERT_FALSE(contains(path, "manifest.json", "bbbbbbbb"));
    CU_ASSERT_TRUE(contains(path, "manifest.json", "\"encryption\": \"aes-256-gcm\""));
}

static void a_checkpoint_needs_its_key(void)
{
    g_autofree char *key = make_key("c");
    g_autofree char *other = make_key("d");
    g_autofree char *missing = g_strconcat(key, ".missing", NULL);
    const char *const keys[] = {key, NULL};
    const char *const others[] = {other, NULL};
    const char *const rotated[] = {other, key, NULL};
    const char *const no_file[] = {missing, NULL};
    const CheckpointStorage encrypted = {.level = 1, .key_files = keys};
    const CheckpointStorage wrong = {.level = 1, .key_files = others};
    const CheckpointStorage both = {.level = 1, .key_files = rotated};
    const CheckpointStorage none = {.level = 1, .key_files = no_file};
    g_autofree char *path = make_by(&encrypted);
    g_autoptr(GError) error = NULL;

    check_opens(path, &both);
    TEST_FAILS(checkpoint_open(path, &wrong, &error) != NULL, error, STATUS_FAILED_PRECONDITION, other);
    TEST_FAILS(checkpoint_open(path, &plain, &error) != NULL, error, STATUS_FAILED_PRECONDITION,
               "and no key file is given");
    TEST_FAILS(checkpoint_open(path, &none, &error) != NULL, error, STATUS_FAILED_PRECONDITION, missing);
    TEST_FAILS(checkpoint_packing_new(&none, &error) != NULL, error, STATUS_FAILED_PRECONDITION, missing);
}

static void encryption_can_be_required(void)
{
    g_autofree char *key = make_key("e");
    const char *const keys[] = {key, NULL};
    const CheckpointStorage required = {.level = 1, .key_files = keys, .require_encryption = TRUE};
    const CheckpointStorage impossible = {.level = 1, .require_encryption = TRUE};
    const CheckpointStorage compressed = {.compress = TRUE, .level = 1};
    g_autofree char *path = make_by(&required);
    g_autofree char *open = make();
    g_autofree char *packed = make_by(&compressed);
    g_autoptr(GError) error = NULL;

    check_opens(path, &required);
    TEST_FAILS(checkpoint_open(open, &required, &error) != NULL, error, STATUS_FAILED_PRECONDITION,
               "is not encrypted");
    TEST_FAILS(checkpoint_open(packed, &required, &error) != NULL, error, STATUS_FAILED_PRECONDITION,
               "is not encrypted");
    TEST_FAILS(checkpoint_packing_new(&impossible, &error) != NULL, error, STATUS_FAILED_PRECONDITION,
               "has no key");
}

static void move(const char *from, const char *to, const char *name)
{
    g_autofree char *first = g_build_filename(from, name, NULL);
    g_autofree char *second = g_build_filename(to, name, NULL);

    CU_ASSERT_EQUAL(rename(first, second), 0);
}

static void parts_of_other_checkpoints_are_refused(void)
{
    g_autofree char *key = make_key("f");
    const char *const keys[] = {key, NULL};
    const CheckpointStorage encrypted = {.level = 1, .key_files = keys};
    g_autofree char *from = make_by(&encrypted);
    g_autofree char *to = make_by(&encrypted);
    g_autofree char *changed = make_by(&encrypted);
    g_autofree char *manifest = g_build_filename(changed, "manifest.json", NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;

    move(from, to, "ram");
    TEST_FAILS(checkpoint_open(to, &encrypted, &error) != NULL, error, STATUS_DATA_LOSS, "ram is damaged");
    move(from, to, "manifest.json");
    TEST_FAILS(checkpoint_open(to, &encrypted, &error) != NULL, error, STATUS_DATA_LOSS,
               "manifest.json is not what was written with the key");
    CU_ASSERT_TRUE_FATAL(g_file_get_contents(manifest, &text, NULL, NULL));
    strstr(text, "1234")[0] = '2';
    CU_ASSERT_TRUE_FATAL(g_file_set_contents(manifest, text, -1, NULL));
    TEST_FAILS(checkpoint_open(changed, &encrypted, &error) != NULL, error, STATUS_DATA_LOSS,
               "manifest.json is not what was written with the key");
}

static void damage_of_packed_files_is_found(void)
{
    const CheckpointStorage compressed = {.compress = TRUE, .level = 1};
    g_autofree char *path = make_by(&compressed);
    g_autofree char *ram = g_malloc0(RAM_BYTES);
    g_autoptr(Checkpoint) checkpoint = NULL;
    g_autoptr(GError) error = NULL;

    change_byte(path, "ram", 7); /* in its only chunk */
    checkpoint = checkpoint_open(path, &compressed, &error);
    TEST_OK(checkpoint != NULL, error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(checkpoint);
    TEST_FAILS(checkpoint_ram_each(checkpoint, collect, ram, NULL, &error), error, STATUS_DATA_LOSS,
               "ram is damaged: MiB 0 of it is not what was written");
    change_byte(path, "devices", 7);
    TEST_FAILS(checkpoint_open(path, &compressed, &error) != NULL, error, STATUS_DATA_LOSS,
               "devices is damaged");
}

/* ---- archives ---- */

/* Return: the path of an archive of a checkpoint, which the caller frees. */
static char *make_archive_by(const char *directory, const CheckpointStorage *storage)
{
    g_autofree char *path = make_by(storage);
    char *archive = g_build_filename(directory, "archive", NULL);
    g_autoptr(GError) error = NULL;
    int from = open(path, O_RDONLY | O_DIRECTORY);
    int to = open(archive, O_RDWR | O_CREAT | O_EXCL, 0600);

    TEST_OK(checkpoint_archive_write(from, to, NULL, &error), error);
    close(from);
    close(to);
    return archive;
}

static char *make_archive(const char *directory)
{
    return make_archive_by(directory, &plain);
}

/* Return: how many entries the directory has. */
static guint count_entries(const char *path)
{
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    guint count = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(directory);
    while (g_dir_read_name(directory) != NULL)
        count++;
    return count;
}

static void an_archive_opens_as_its_directory_does(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *scratch = g_build_filename(directory, "scratch", NULL);
    g_autofree char *archive = make_archive(directory);
    g_autoptr(GError) error = NULL;
    g_autoptr(Checkpoint) checkpoint = checkpoint_open_any(archive, &plain, scratch, NULL, &error);
    FileFacts facts;
    struct stat status;

    TEST_OK(checkpoint != NULL, error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(checkpoint);
    CU_ASSERT_STRING_EQUAL(checkpoint->request->config->metadata->name, "pod");
    CU_ASSERT_TRUE(file_facts(checkpoint->ram_fd, &facts));
    CU_ASSERT_STRING_EQUAL(facts.digest, checkpoint->ram.digest);
    CU_ASSERT_TRUE(file_facts(checkpoint->disk_fd, &facts));
    CU_ASSERT_STRING_EQUAL(facts.digest, checkpoint->disk.digest);
    CU_ASSERT_EQUAL(count_entries(scratch), 0);
    /* The memory is sparse in the archive, and in the copy. */
    CU_ASSERT_EQUAL(stat(archive, &status), 0);
    CU_ASSERT_TRUE(status.st_size < RAM_BYTES / 4);
    CU_ASSERT_EQUAL(fstat(checkpoint->ram_fd, &status), 0);
    CU_ASSERT_EQUAL(status.st_size, RAM_BYTES);
    CU_ASSERT_TRUE(status.st_blocks * 512 < RAM_BYTES / 4);
}

static void check_request(const char *path, const CheckpointStorage *storage)
{
    g_autoptr(GError) error = NULL;
    Runtime__V1__RestorePodRequest *request = checkpoint_request(path, storage, &error);

    TEST_OK(request != NULL, error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(request);
    CU_ASSERT_STRING_EQUAL(request->config->metadata->name, "pod");
    runtime__v1__restore_pod_request__free_unpacked(request, NULL);
}

static void the_request_is_read_alone(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *key = make_key("9");
    const char *const keys[] = {key, NULL};
    const CheckpointStorage both = {.compress = TRUE, .level = 1, .key_files = keys};
    g_autofree char *open = make();
    g_autofree char *packed = make_by(&both);
    g_autofree char *archive = make_archive_by(directory, &both);
    g_autoptr(GError) error = NULL;

    check_request(open, &plain);
    check_request(packed, &both);
    check_request(archive, &both);
    TEST_FAILS(checkpoint_request(packed, &plain, &error) != NULL, error, STATUS_FAILED_PRECONDITION,
               "no key file is given");
    TEST_FAILS(checkpoint_request("/nowhere", &plain, &error) != NULL, error, STATUS_NOT_FOUND, "/nowhere");
}

static void a_directory_opens_by_the_same_call(void)
{
    g_autofree char *path = make();
    g_autofree char *scratch = g_build_filename(path, "scratch", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(Checkpoint) checkpoint = checkpoint_open_any(path, &plain, scratch, NULL, &error);

    TEST_OK(checkpoint != NULL, error);
    CU_ASSERT_NOT_EQUAL(access(scratch, F_OK), 0);
}

typedef struct {
    const char *name;
    unsigned type;
    gint64 size;
    const char *link;
} Member;

/* Makes an archive of these members, the last of which has no name. */
static void write_members(const char *path, const Member *members, gboolean compressed)
{
    struct archive *archive = archive_write_new();

    archive_write_set_format_pax(archive);
    if (compressed)
        archive_write_add_filter_gzip(archive);
    CU_ASSERT_EQUAL_FATAL(archive_write_open_filename(archive, path), ARCHIVE_OK);
    for (; members->name != NULL; members++) {
        struct archive_entry *entry = archive_entry_new();

        archive_entry_set_pathname(entry, members->name);
        archive_entry_set_filetype(entry, members->type);
        archive_entry_set_size(entry, members->size);
        archive_entry_set_perm(entry, 0600);
        if (members->link != NULL && members->type == AE_IFLNK)
            archive_entry_set_symlink(entry, members->link);
        else if (members->link != NULL)
            archive_entry_set_hardlink(entry, members->link);
        CU_ASSERT_EQUAL(archive_write_header(archive, entry), ARCHIVE_OK);
        for (gint64 i = 0; i < members->size; i++)
            archive_write_data(archive, "x", 1);
        archive_entry_free(entry);
    }
    archive_write_close(archive);
    archive_write_free(archive);
}

/* Asserts that the file is refused, and that nothing of it stays. */
static void check_refused(const char *archive, StatusCode status, const char *message)
{
    g_autofree char *scratch = g_strconcat(archive, ".scratch", NULL);
    g_autoptr(GError) error = NULL;

    TEST_FAILS(checkpoint_open_any(archive, &plain, scratch, NULL, &error) != NULL, error, status, message);
    CU_ASSERT_EQUAL(count_entries(scratch), 0);
}

static void an_encrypted_archive_opens_as_its_directory_does(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *key = make_key("8");
    const char *const keys[] = {key, NULL};
    const CheckpointStorage both = {.compress = TRUE, .level = 1, .key_files = keys};
    g_autofree char *archive = make_archive_by(directory, &both);

    check_opens(archive, &both);
    check_refused(archive, STATUS_FAILED_PRECONDITION, "no key file is given");
}

static void check_members(const Member *members, StatusCode status, const char *message)
{
    g_autofree char *directory = test_directory();
    g_autofree char *archive = g_build_filename(directory, "hostile", NULL);

    write_members(archive, members, FALSE);
    check_refused(archive, status, message);
}

static void hostile_archives_are_refused(void)
{
    const Member outside[] = {{"../ram", AE_IFREG, 5, NULL}, {0}};
    const Member twice[] = {{"request", AE_IFREG, 5, NULL}, {"request", AE_IFREG, 5, NULL}, {0}};
    const Member link[] = {{"ram", AE_IFLNK, 0, "/etc/passwd"}, {0}};
    const Member hard_link[] = {{"request", AE_IFREG, 5, NULL}, {"ram", AE_IFREG, 0, "request"}, {0}};
    const Member directory[] = {{"disk", AE_IFDIR, 0, NULL}, {0}};
    const Member large[] = {{"request", AE_IFREG, (17 << 20) + 1, NULL}, {0}};
    const Member missing[] = {{"request", AE_IFREG, 5, NULL}, {0}};

    check_members(outside, STATUS_INVALID_ARGUMENT, "a file of another name");
    check_members(twice, STATUS_INVALID_ARGUMENT, "request twice");
    check_members(link, STATUS_INVALID_ARGUMENT, "ram is not a regular file");
    check_members(hard_link, STATUS_INVALID_ARGUMENT, "ram is not a regular file");
    check_members(directory, STATUS_INVALID_ARGUMENT, "another name");
    check_members(large, STATUS_RESOURCE_EXHAUSTED, "request has");
    check_members(missing, STATUS_INVALID_ARGUMENT, "it has no file manifest.json");
}

static void what_is_no_archive_is_refused(void)
{
    const Member members[] = {{"request", AE_IFREG, 5, NULL}, {0}};
    g_autofree char *directory = test_directory();
    g_autofree char *text = g_build_filename(directory, "text", NULL);
    g_autofree char *compressed = g_build_filename(directory, "compressed", NULL);
    g_autofree char *cut = make_archive(directory);
    struct stat status;

    CU_ASSERT_TRUE_FATAL(g_file_set_contents(text, "no archive", -1, NULL));
    check_refused(text, STATUS_INVALID_ARGUMENT, "is not an archive of a checkpoint");
    write_members(compressed, members, TRUE);
    check_refused(compressed, STATUS_INVALID_ARGUMENT, "is not an archive of a checkpoint");
    CU_ASSERT_EQUAL(stat(cut, &status), 0);
    CU_ASSERT_EQUAL(truncate(cut, status.st_size / 2), 0);
    check_refused(cut, STATUS_DATA_LOSS, "the archive is damaged");
}

static void an_archive_ends_at_its_deadline(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *scratch = g_build_filename(directory, "scratch", NULL);
    g_autofree char *archive = make_archive(directory);
    g_autofree char *path = make();
    Deadline deadline = deadline_in_ms(0);
    g_autoptr(GError) error = NULL;
    int from = open(path, O_RDONLY | O_DIRECTORY);
    int to = open(directory, O_TMPFILE | O_RDWR, 0600);

    TEST_FAILS(checkpoint_archive_write(from, to, &deadline, &error), error, STATUS_DEADLINE_EXCEEDED,
               "writing the archive");
    TEST_FAILS(checkpoint_open_any(archive, &plain, scratch, &deadline, &error) != NULL, error,
               STATUS_DEADLINE_EXCEEDED, "reading the archive");
    CU_ASSERT_EQUAL(count_entries(scratch), 0);
    close(from);
    close(to);
}

int main(void)
{
    static const TestCase cases[] = {
        {"a checkpoint that was sealed opens unchanged", opens_what_was_sealed},
        {"only their owner can read the files", files_are_private},
        {"a VM that differs from the saved one is named by the difference", compares_inputs},
        {"another processor, or one whose counter has another rate, is named", compares_processors},
        {"the directory must exist and be empty", a_directory_must_be_empty},
        {"a directory is used by one call at a time", a_directory_is_used_by_one_call},
        {"an unfinished checkpoint is removed, and nothing else", discards_its_own_files_only},
        {"a damaged file is refused by its name", damage_is_found},
        {"links, FIFOs and missing files are refused", other_kinds_of_files_are_refused},
        {"a manifest that contradicts itself is refused", lies_in_the_manifest_are_refused},
        {"compressed and encrypted checkpoints open unchanged", packed_checkpoints_open_unchanged},
        {"the files of an encrypted checkpoint show nothing of the pod",
         an_encrypted_checkpoint_shows_nothing_of_the_pod},
        {"an encrypted checkpoint opens with its key alone, which may be one of several",
         a_checkpoint_needs_its_key},
        {"checkpoints without encryption are refused where it is required", encryption_can_be_required},
        {"files of another checkpoint, and a changed manifest, are refused",
         parts_of_other_checkpoints_are_refused},
        {"a damaged packed file is refused by its name", damage_of_packed_files_is_found},
        {"an encrypted archive opens as its directory does",
         an_encrypted_archive_opens_as_its_directory_does},
        {"the request is read without the rest, of directories and archives", the_request_is_read_alone},
        {"an archive opens as its directory does, sparse, and leaves no file",
         an_archive_opens_as_its_directory_does},
        {"a directory opens by the same call", a_directory_opens_by_the_same_call},
        {"archives with other files, links and sizes are refused, and leave no file",
         hostile_archives_are_refused},
        {"what is not an archive of a checkpoint is refused", what_is_no_archive_is_refused},
        {"an archive is written and read as long as the caller waits", an_archive_ends_at_its_deadline},
    };

    return test_main("checkpoint", cases, G_N_ELEMENTS(cases));
}

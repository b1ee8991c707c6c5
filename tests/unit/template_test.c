/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a template, without a guest: a sealed template opens unchanged, and any other directory is
 * refused. */
#include "sandbox/templates/template.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "tests/unit/harness.h"

enum { RAM_BYTES = 1 << 20, DATA_AT = 512 << 10, PAGE_BYTES = 4096 };

static const char *const inputs[] = {"format=1", "machine=<domain type='qemu'/>", "kernel=/boot/vmlinux = 5",
                                     NULL};

static void write_at(const char *directory, const char *name, const char *data, off_t at)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    CU_ASSERT_TRUE_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(pwrite(fd, data, strlen(data), at), (ssize_t)strlen(data));
    close(fd);
}

static void truncate_to(const char *directory, const char *name, off_t length)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);

    CU_ASSERT_EQUAL(truncate(path, length), 0);
}

/* Makes a template of the two texts. Return: its directory, which the caller frees. */
static char *make(void)
{
    g_autofree char *parent = test_directory();
    g_autofree char *key = template_key(inputs);
    char *directory = g_build_filename(parent, key, NULL);
    g_autoptr(GError) error = NULL;

    CU_ASSERT_TRUE_FATAL(dir_make(directory, 0700, NULL));
    write_at(directory, TEMPLATE_RAM, "what the guest knows", DATA_AT);
    truncate_to(directory, TEMPLATE_RAM, RAM_BYTES);
    write_at(directory, TEMPLATE_DEVICES, "devices", 0);
    write_at(directory, TEMPLATE_DISK, "disk", 0);
    write_at(directory, TEMPLATE_CONSTANT, "begin end\n0 4096\n", 0);
    TEST_OK(template_seal(directory, inputs, &error), error);
    return directory;
}

static void keys_follow_inputs(void)
{
    static const char *const other[] = {"format=1", "machine=<domain type='kvm'/>",
                                        "kernel=/boot/vmlinux = 5", NULL};
    static const char *const split[] = {"format=1machine=<domain type='qemu'/>", "kernel=/boot/vmlinux = 5",
                                        NULL};
    g_autofree char *key = template_key(inputs);
    g_autofree char *again = template_key(inputs);
    g_autofree char *of_other = template_key(other);
    g_autofree char *of_split = template_key(split);

    CU_ASSERT_EQUAL(strlen(key), 32);
    CU_ASSERT_STRING_EQUAL(key, again);
    CU_ASSERT_STRING_NOT_EQUAL(key, of_other);
    CU_ASSERT_STRING_NOT_EQUAL(key, of_split);
}

static void opens_what_was_sealed(void)
{
    g_autofree char *directory = make();
    g_autofree char *key = template_key(inputs);
    g_autoptr(GError) error = NULL;
    g_autoptr(Template) template = template_open(directory, &error);

    TEST_OK(template != NULL, error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(template);
    CU_ASSERT_STRING_EQUAL(template->key, key);
    CU_ASSERT_EQUAL(template->ram_bytes, RAM_BYTES);
    CU_ASSERT_EQUAL(template->ram_data_bytes, PAGE_BYTES); /* the rest is zeros */
    CU_ASSERT_TRUE(template->made_at_s > 0);
}

static void manifest_names_inputs(void)
{
    g_autofree char *directory = make();
    g_autofree char *path = g_build_filename(directory, TEMPLATE_MANIFEST, NULL);
    g_autofree char *text = NULL;

    CU_ASSERT_TRUE_FATAL(g_file_get_contents(path, &text, NULL, NULL));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"machine\": \"<domain type='qemu'/>\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"kernel\": \"/boot/vmlinux = 5\""));
}

/* A process that has the template open can still read its files. */
static void outlives_its_directory(void)
{
    g_autofree char *directory = make();
    g_autoptr(GError) error = NULL;
    g_autoptr(Template) template = template_open(directory, &error);
    g_autofree char *disk = NULL;
    g_autofree char *text = NULL;
    char data[64] = "";
    off_t position;
    int ram;
    int devices;

    CU_ASSERT_PTR_NOT_NULL_FATAL(template);
    CU_ASSERT_TRUE_FATAL(dir_remove_tree(directory, NULL));
    TEST_OK(template_open_ram_and_devices(template, &ram, &devices, &error), error);
    position = lseek(template->device_fd, 0, SEEK_CUR);
    CU_ASSERT_EQUAL(pread(ram, data, 20, DATA_AT), 20);
    CU_ASSERT_STRING_EQUAL(data, "what the guest knows");
    CU_ASSERT_EQUAL(read(devices, data, 7), 7);
    CU_ASSERT_EQUAL(lseek(template->device_fd, 0, SEEK_CUR),
                    position); /* each opening has a position of its own */
    disk = template_disk_path(template);
    CU_ASSERT_TRUE(file_read(disk, 64, &text, NULL, NULL));
    CU_ASSERT_STRING_EQUAL(text, "disk");
    close(ram);
    close(devices);
}

static void refuses_what_was_changed(void)
{
    static const char *const names[] = {TEMPLATE_RAM, TEMPLATE_DEVICES, TEMPLATE_DISK, TEMPLATE_CONSTANT};

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *changed = make();
        g_autofree char *moved = make();
        g_autofree char *shorter = make();
        g_autofree char *gone = make();
        g_autofree char *path = g_build_filename(gone, names[i], NULL);
        g_autoptr(GError) error = NULL;

        write_at(changed, names[i], "x", 1);
        TEST_FAILS(template_open(changed, &error) != NULL, error, STATUS_DATA_LOSS, names[i]);
        write_at(moved, names[i], "and more", RAM_BYTES);
        TEST_FAILS(template_open(moved, &error) != NULL, error, STATUS_DATA_LOSS, "size");
        truncate_to(shorter, names[i], 0);
        TEST_FAILS(template_open(shorter, &error) != NULL, error, STATUS_DATA_LOSS, names[i]);
        unlink(path);
        TEST_FAILS(template_open(gone, &error) != NULL, error, STATUS_DATA_LOSS, names[i]);
    }
}

/* The same bytes at another offset are another memory. */
static void pages_have_places(void)
{
    g_autofree char *directory = make();
    g_autoptr(GError) error = NULL;

    truncate_to(directory, TEMPLATE_RAM, 0);
    write_at(directory, TEMPLATE_RAM, "what the guest knows", DATA_AT + PAGE_BYTES);
    truncate_to(directory, TEMPLATE_RAM, RAM_BYTES);
    TEST_FAILS(template_open(directory, &error) != NULL, error, STATUS_DATA_LOSS, "digest");
}

static void refuses_bad_manifests(void)
{
    static const char *const texts[] = {"", "{", "[]", "{\"key\": 1}", "{\"key\": \"other\"}"};

    for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *directory = make();
        g_autofree char *path = g_build_filename(directory, TEMPLATE_MANIFEST, NULL);
        g_autoptr(GError) error = NULL;

        CU_ASSERT_TRUE(file_write_atomic(path, texts[i], strlen(texts[i]), 0600, NULL));
        TEST_FAILS(template_open(directory, &error) != NULL, error, STATUS_DATA_LOSS, "manifest");
    }
}

static void refuses_other_names(void)
{
    g_autofree char *directory = make();
    g_autofree char *other = g_strconcat(directory, "x", NULL);
    g_autoptr(GError) error = NULL;

    CU_ASSERT_EQUAL(rename(directory, other), 0);
    TEST_FAILS(template_open(other, &error) != NULL, error, STATUS_DATA_LOSS, "another template");
}

static void needs_all_files(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(GError) error = NULL;

    write_at(directory, TEMPLATE_RAM, "x", 0);
    TEST_FAILS(template_seal(directory, inputs, &error), error, STATUS_NOT_FOUND, TEMPLATE_DEVICES);
}

int main(void)
{
    static const TestCase cases[] = {
        {"a key depends on every input and on where each one ends", keys_follow_inputs},
        {"a sealed template can be opened, and only pages with data are counted", opens_what_was_sealed},
        {"the manifest names the inputs", manifest_names_inputs},
        {"a template that is open outlives its directory", outlives_its_directory},
        {"a file that was changed, grew, shrank or is gone is refused by its name", refuses_what_was_changed},
        {"the same bytes at another offset are refused", pages_have_places},
        {"a manifest that is damaged is refused", refuses_bad_manifests},
        {"a directory whose name is not the key is refused", refuses_other_names},
        {"a template without all its files is not sealed", needs_all_files},
    };

    return test_main("template", cases, G_N_ELEMENTS(cases));
}

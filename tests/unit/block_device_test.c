/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/block_device.h"

#include <unistd.h>

#include "common/error.h"
#include "tests/unit/harness.h"

static void keys_are_no_digests(void)
{
    const BlockDevice disk = {.device = 7};
    const BlockDevice file = {.is_file = TRUE, .device = 7, .inode = 9};
    g_autofree char *disk_key = block_device_key(&disk, FALSE);
    g_autofree char *file_key = block_device_key(&file, TRUE);

    CU_ASSERT_TRUE(block_device_is_key(disk_key));
    CU_ASSERT_TRUE(block_device_is_key(file_key));
    CU_ASSERT_FALSE(block_device_is_key("sha256:0123"));
    CU_ASSERT_STRING_NOT_EQUAL(disk_key, file_key);
}

static void a_file_has_whole_sectors(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "disk", NULL);
    g_autofree char *none = g_build_filename(directory, "none", NULL);
    g_autoptr(GError) error = NULL;
    guint64 bytes = 1;

    CU_ASSERT_TRUE_FATAL(g_file_set_contents(path, "", 0, NULL));
    CU_ASSERT_EQUAL_FATAL(truncate(path, 512 * 3 + 100), 0);
    TEST_OK(block_device_size(path, &bytes, &error), error);
    CU_ASSERT_EQUAL(bytes, 512 * 3);
    TEST_FAILS(block_device_size(none, &bytes, &error), error, STATUS_NOT_FOUND, none);
    CU_ASSERT_EQUAL(bytes, 512 * 3);
}

static void a_file_is_held_once(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "disk", NULL);
    g_autoptr(GError) error = NULL;
    BlockDevice device;
    int hold = -1;
    int second = -1;

    CU_ASSERT_TRUE_FATAL(g_file_set_contents(path, "", 0, NULL));
    CU_ASSERT_TRUE_FATAL(block_device_find(path, TRUE, &device));
    CU_ASSERT_FALSE(block_device_find(path, FALSE, &device));
    TEST_OK(block_device_hold(path, &device, &hold, &error), error);
    TEST_FAILS(block_device_hold(path, &device, &second, &error), error, STATUS_FAILED_PRECONDITION, path);
    CU_ASSERT_EQUAL(second, -1);
    close(hold);
    TEST_OK(block_device_hold(path, &device, &second, &error), error);
    close(second);
}

int main(void)
{
    static const TestCase cases[] = {
        {"keys of devices and files are not digests of layers", keys_are_no_digests},
        {"a file has the size of its whole sectors, as a loop device of it", a_file_has_whole_sectors},
        {"a file that is a device is held by one caller at a time", a_file_is_held_once},
    };

    return test_main("block_device", cases, G_N_ELEMENTS(cases));
}

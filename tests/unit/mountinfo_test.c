/* SPDX-License-Identifier: Apache-2.0 */
#include "common/mountinfo.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "common/error.h"
#include "tests/unit/harness.h"

static MountTable *parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    MountTable *table = mount_table_parse(text, strlen(text), &error);

    TEST_OK(table != NULL, error);
    return table;
}

static void fields_of_a_mount_are_read(void)
{
    g_autoptr(MountTable) table =
        parse("22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
              "90 22 0:44 /sub /var/lib/with\\040blank rw master:3 - tmpfs tmpfs rw,size=64k,nr_inodes=10\n");
    const Mount *root;
    const Mount *volume;

    CU_ASSERT_EQUAL_FATAL(mount_table_length(table), 2);
    root = mount_table_at(table, 0);
    volume = mount_table_at(table, 1);
    CU_ASSERT_EQUAL(root->id, 22);
    CU_ASSERT_STRING_EQUAL(root->target, "/");
    CU_ASSERT_TRUE(root->shared);
    CU_ASSERT_EQUAL(volume->id, 90);
    CU_ASSERT_EQUAL(volume->device, makedev(0, 44));
    CU_ASSERT_STRING_EQUAL(volume->root, "/sub");
    CU_ASSERT_STRING_EQUAL(volume->target, "/var/lib/with blank");
    CU_ASSERT_STRING_EQUAL(volume->type, "tmpfs");
    CU_ASSERT_STRING_EQUAL(volume->options, "rw,size=64k,nr_inodes=10");
    CU_ASSERT_FALSE(volume->shared);
}

static void uppermost_mount_of_a_target_is_found(void)
{
    g_autoptr(MountTable) table = parse("1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:4 / /mnt rw - tmpfs x rw\n"
                                        "3 2 0:5 / /mnt rw - tmpfs y rw\n");

    CU_ASSERT_EQUAL(mount_table_find_target(table, "/mnt")->id, 3);
    CU_ASSERT_PTR_NULL(mount_table_find_target(table, "/mnt/"));
    CU_ASSERT_PTR_NULL(mount_table_find_target(table, "/m"));
}

static void lines_of_another_format_are_left_out(void)
{
    g_autoptr(MountTable) empty = parse("");
    g_autoptr(MountTable) table = parse("1 0 8:1 / / rw - ext4 /dev/a rw\nthis is none\n\n7 1 0:4 /\n"
                                        "2 1 0:4 / /mnt rw - tmpfs x rw\n");

    CU_ASSERT_EQUAL(mount_table_length(empty), 0);
    CU_ASSERT_EQUAL(mount_table_length(table), 2);
    CU_ASSERT_PTR_NOT_NULL(mount_table_find_target(table, "/mnt"));
}

static void mount_of_a_path_is_found(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(MountTable) table = mount_table_read(NULL, &error);
    const Mount *mount;
    struct stat status;

    TEST_OK(table != NULL, error);
    mount = mount_table_find_path(table, "/proc/self/status", TRUE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(mount);
    CU_ASSERT_STRING_EQUAL(mount->type, "proc");
    CU_ASSERT_EQUAL(stat("/proc/self/status", &status), 0);
    CU_ASSERT_EQUAL(mount->device, status.st_dev);
    CU_ASSERT_PTR_NULL(mount_table_find_path(table, "/no/such/path", TRUE));
}

static void file_that_is_missing_is_an_error(void)
{
    g_autoptr(GError) error = NULL;

    TEST_FAILS(mount_table_read("/proc/0/mountinfo", &error) != NULL, error, STATUS_NOT_FOUND,
               "cannot open /proc/0/mountinfo");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"the fields of a mount are read and unescaped", fields_of_a_mount_are_read},
        {"of several mounts on one target the uppermost is found", uppermost_mount_of_a_target_is_found},
        {"lines of another format are left out", lines_of_another_format_are_left_out},
        {"the mount that a path is on is found", mount_of_a_path_is_found},
        {"a file that is missing is an error with its name", file_that_is_missing_is_an_error},
    };

    return test_main_args("mountinfo", cases, G_N_ELEMENTS(cases), argc, argv);
}

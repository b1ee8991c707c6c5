/* SPDX-License-Identifier: Apache-2.0 */
/* Who may open a device file. A plain file takes its place, opened by other users in child processes, which
 * needs root; without it, and where the file system has no ACLs, the tests are skipped. */
#include "sandbox/host/file_access.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <grp.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "sandbox/host/file_loan.h"
#include "tests/unit/harness.h"

enum { ONE = 2000000001, OTHER = 2000000002, GROUP = 2000000003 };

/* Return: a file that its owner and the group GROUP may open; the caller removes it with its directory. */
static char *file_make(void)
{
    g_autofree char *directory = g_dir_make_tmp("crivirt-access-XXXXXX", NULL);
    char *path = g_build_filename(directory, "kvm", NULL);

    CU_ASSERT_EQUAL(chmod(directory, 0711), 0);
    CU_ASSERT_TRUE(g_file_set_contents(path, "", 0, NULL));
    CU_ASSERT_EQUAL(chown(path, 0, GROUP), 0);
    CU_ASSERT_EQUAL(chmod(path, 0660), 0);
    return path;
}

static void file_drop(const char *path)
{
    g_autofree char *directory = g_path_get_dirname(path);

    g_unlink(path);
    g_rmdir(directory);
}

static gboolean opens_as(const char *path, uid_t user, gid_t group, int flags)
{
    pid_t child = fork();
    int status = 0;

    if (child == 0)
        _exit(setgroups(0, NULL) == 0 && setresgid(group, group, group) == 0 &&
                      setresuid(user, user, user) == 0 && open(path, flags | O_CLOEXEC) >= 0
                  ? 0
                  : 1);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static gboolean opens(const char *path, uid_t user, gid_t group)
{
    return opens_as(path, user, group, O_RDWR);
}

static void single_groups_are_let_in(void)
{
    g_autofree char *path = file_make();
    g_autoptr(GError) error = NULL;
    struct stat status;

    CU_ASSERT_FALSE(opens(path, ONE, ONE));
    TEST_OK(file_access_grant(path, ONE, TRUE, &error), error);
    TEST_OK(file_access_grant(path, ONE, TRUE, &error), error);
    CU_ASSERT_TRUE(opens(path, ONE, ONE));
    CU_ASSERT_FALSE(opens(path, OTHER, OTHER));
    CU_ASSERT_TRUE(opens(path, OTHER, GROUP));
    TEST_OK(file_access_grant(path, OTHER, TRUE, &error), error);
    CU_ASSERT_TRUE(opens(path, OTHER, OTHER));
    TEST_OK(file_access_revoke(path, ONE, &error), error);
    CU_ASSERT_FALSE(opens(path, ONE, ONE));
    CU_ASSERT_TRUE(opens(path, OTHER, OTHER));
    TEST_OK(file_access_revoke(path, OTHER, &error), error);
    TEST_OK(file_access_revoke(path, OTHER, &error), error);
    CU_ASSERT_FALSE(opens(path, OTHER, OTHER));
    /* It is as it was. */
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 07777, 0660);
    CU_ASSERT_TRUE(getxattr(path, "system.posix_acl_access", NULL, 0) < 0);
    file_drop(path);
}

/* udev takes the entries of users away at each event of a device with the tag "uaccess". */
static void no_user_has_an_entry(void)
{
    struct {
        struct posix_acl_xattr_header header;
        struct posix_acl_xattr_entry entries[16];
    } acl;
    g_autofree char *path = file_make();
    g_autoptr(GError) error = NULL;
    ssize_t length;

    TEST_OK(file_access_grant(path, ONE, TRUE, &error), error);
    length = getxattr(path, "system.posix_acl_access", &acl, sizeof acl);
    CU_ASSERT_TRUE_FATAL(length > (ssize_t)sizeof acl.header);
    for (gsize i = 0; i < ((gsize)length - sizeof acl.header) / sizeof *acl.entries; i++)
        CU_ASSERT_NOT_EQUAL(GUINT16_FROM_LE(acl.entries[i].e_tag), ACL_USER);
    file_drop(path);
}

/* The group may not open a device whose mask would let it in. */
static void others_entries_stay(void)
{
    g_autofree char *path = file_make();
    g_autoptr(GError) error = NULL;
    struct stat status;

    CU_ASSERT_EQUAL(chmod(path, 0600), 0);
    TEST_OK(file_access_grant(path, ONE, TRUE, &error), error);
    CU_ASSERT_TRUE(opens(path, ONE, ONE));
    CU_ASSERT_FALSE(opens(path, OTHER, GROUP));
    TEST_OK(file_access_revoke(path, ONE, &error), error);
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 07777, 0600);
    file_drop(path);
}

/* An administrator closes the device while a VM starts. */
static void a_chmod_is_not_undone(void)
{
    g_autofree char *path = file_make();
    g_autoptr(GError) error = NULL;
    struct stat status;

    TEST_OK(file_access_grant(path, ONE, TRUE, &error), error);
    TEST_OK(file_access_grant(path, OTHER, TRUE, &error), error);
    CU_ASSERT_EQUAL(chmod(path, 0600), 0);
    TEST_OK(file_access_revoke(path, ONE, &error), error);
    CU_ASSERT_FALSE(opens(path, OTHER, GROUP));
    TEST_OK(file_access_revoke(path, OTHER, &error), error);
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 07777, 0600);
    file_drop(path);
}

static void readers_do_not_write(void)
{
    g_autofree char *path = file_make();
    g_autoptr(GError) error = NULL;
    struct stat status;

    CU_ASSERT_EQUAL(chmod(path, 0440), 0);
    TEST_OK(file_access_grant(path, ONE, FALSE, &error), error);
    CU_ASSERT_FALSE(opens(path, ONE, ONE));
    CU_ASSERT_TRUE(opens_as(path, ONE, ONE, O_RDONLY));
    CU_ASSERT_FALSE(opens_as(path, OTHER, OTHER, O_RDONLY));
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 07777, 0440);
    TEST_OK(file_access_revoke(path, ONE, &error), error);
    CU_ASSERT_FALSE(opens_as(path, ONE, ONE, O_RDONLY));
    file_drop(path);
}

/* Return: a directory for records of loans, the caller's. */
static char *records_make(void)
{
    char *records = g_dir_make_tmp("crivirt-loans-XXXXXX", NULL);

    CU_ASSERT_PTR_NOT_NULL_FATAL(records);
    return records;
}

static guint records_count(const char *records)
{
    g_autoptr(GDir) entries = g_dir_open(records, 0, NULL);
    guint count = 0;

    while (g_dir_read_name(entries) != NULL)
        count++;
    return count;
}

static void a_loan_ends(void)
{
    g_autofree char *path = file_make();
    g_autofree char *records = records_make();
    g_autoptr(GError) error = NULL;

    TEST_OK(file_loan_begin(records, path, ONE, TRUE, &error), error);
    CU_ASSERT_TRUE(opens(path, ONE, ONE));
    CU_ASSERT_EQUAL(records_count(records), 1);
    TEST_OK(file_loan_end(records, path, ONE, &error), error);
    CU_ASSERT_FALSE(opens(path, ONE, ONE));
    CU_ASSERT_EQUAL(records_count(records), 0);
    TEST_FAILS(file_loan_begin(records, "/nowhere/kvm", ONE, TRUE, &error), error, STATUS_NOT_FOUND,
               "/nowhere/kvm");
    CU_ASSERT_EQUAL(records_count(records), 0);
    TEST_OK(dir_remove_tree(records, &error), error);
    file_drop(path);
}

/* As a process leaves them that is killed between the beginning and the end of loans. */
static void left_loans_are_ended(void)
{
    g_autofree char *path = file_make();
    g_autofree char *gone = file_make();
    g_autofree char *records = records_make();
    g_autofree char *foreign = g_build_filename(records, "README", NULL);
    g_autoptr(GError) error = NULL;

    TEST_OK(file_loan_begin(records, path, ONE, TRUE, &error), error);
    TEST_OK(file_loan_begin(records, path, OTHER, FALSE, &error), error);
    TEST_OK(file_loan_begin(records, gone, ONE, TRUE, &error), error);
    CU_ASSERT_TRUE(g_file_set_contents(foreign, "", 0, NULL));
    file_drop(gone);
    file_loan_end_all(records);
    CU_ASSERT_FALSE(opens(path, ONE, ONE));
    CU_ASSERT_FALSE(opens_as(path, OTHER, OTHER, O_RDONLY));
    CU_ASSERT_EQUAL(records_count(records), 1);
    TEST_OK(file_loan_begin(records, path, ONE, TRUE, &error), error);
    CU_ASSERT_TRUE(opens(path, ONE, ONE));
    TEST_OK(file_loan_end(records, path, ONE, &error), error);
    TEST_OK(dir_remove_tree(records, &error), error);
    file_drop(path);
}

static void a_missing_device_is_named(void)
{
    g_autoptr(GError) error = NULL;

    TEST_FAILS(file_access_grant("/nowhere/kvm", ONE, TRUE, &error), error, STATUS_NOT_FOUND, "/nowhere/kvm");
}

static gboolean can_test(void)
{
    static const char acl[] = "system.posix_acl_access";
    g_autofree char *directory = g_dir_make_tmp("crivirt-access-XXXXXX", NULL);
    gboolean can =
        geteuid() == 0 && directory != NULL && (getxattr(directory, acl, NULL, 0) >= 0 || errno == ENODATA);

    if (directory != NULL)
        g_rmdir(directory);
    return can;
}

int main(void)
{
    static const TestCase cases[] = {
        {"single groups are let in to a device, and out again", single_groups_are_let_in},
        {"no entry is of a user, which udev would take away", no_user_has_an_entry},
        {"an entry for one group lets no other in", others_entries_stay},
        {"what a chmod takes away while a group is let in stays away", a_chmod_is_not_undone},
        {"a group that is let in to read does not write", readers_do_not_write},
        {"a loan ends with its record, and a failure leaves none", a_loan_ends},
        {"loans that a killed process left are ended", left_loans_are_ended},
        {"an error names the device", a_missing_device_is_named},
    };

    if (!can_test()) {
        printf("skip file_access: it takes root, and a file system with ACLs\n");
        return 0;
    }
    return test_main("file_access", cases, G_N_ELEMENTS(cases));
}

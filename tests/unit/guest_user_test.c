/* SPDX-License-Identifier: Apache-2.0 */
/* Which user each guest's QEMU gets. Files change their owners, so without root the tests are skipped. */
#include "sandbox/templates/guest_user.h"

#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "tests/unit/harness.h"

enum { FIRST = 2000000000, ACCOUNT = 990 };

typedef struct {
    GuestEnvironment env;
    char *directory;
    char *run_dir;
    char *state_dir;
} Fixture;

static void fixture_init(Fixture *fixture, guint count)
{
    *fixture = (Fixture){.directory = g_dir_make_tmp("crivirt-users-XXXXXX", NULL)};
    fixture->run_dir = g_build_filename(fixture->directory, "run", NULL);
    fixture->state_dir = g_build_filename(fixture->directory, "state", NULL);
    fixture->env.run_dir = fixture->run_dir;
    fixture->env.state_dir = fixture->state_dir;
    fixture->env.qemu_uid = fixture->env.qemu_gid = ACCOUNT;
    fixture->env.users = guest_users_new(FIRST, count);
}

static void fixture_clear(Fixture *fixture)
{
    guest_users_free(fixture->env.users);
    CU_ASSERT_TRUE(dir_remove_tree(fixture->directory, NULL));
    g_free(fixture->directory);
    g_free(fixture->run_dir);
    g_free(fixture->state_dir);
}

static uid_t take(Fixture *fixture, const char *id)
{
    g_autofree char *directory = guest_run_dir(&fixture->env, id);
    g_autoptr(GError) error = NULL;
    struct stat status = {0};
    uid_t uid = 0;
    gid_t gid = 0;

    TEST_OK(guest_user_take(&fixture->env, id, &error), error);
    TEST_OK(guest_user_find(&fixture->env, id, &uid, &gid, &error), error);
    CU_ASSERT_EQUAL(uid, gid);
    CU_ASSERT_EQUAL(stat(directory, &status), 0);
    CU_ASSERT_EQUAL(status.st_uid, uid);
    CU_ASSERT_EQUAL(status.st_mode & 07777, 0700);
    return uid;
}

static void drop(Fixture *fixture, const char *id)
{
    g_autofree char *directory = guest_run_dir(&fixture->env, id);

    CU_ASSERT_EQUAL(g_rmdir(directory), 0);
}

static void each_guest_has_its_own(void)
{
    Fixture fixture;

    fixture_init(&fixture, 100);
    CU_ASSERT_EQUAL(take(&fixture, "a"), FIRST);
    CU_ASSERT_EQUAL(take(&fixture, "b"), FIRST + 1);
    CU_ASSERT_EQUAL(take(&fixture, "a"), FIRST);
    drop(&fixture, "b");
    CU_ASSERT_EQUAL(take(&fixture, "c"), FIRST + 2); /* an id is used again late */
    fixture_clear(&fixture);
}

static void another_daemon_sees_them(void)
{
    Fixture fixture;

    fixture_init(&fixture, 100);
    CU_ASSERT_EQUAL(take(&fixture, "a"), FIRST);
    CU_ASSERT_EQUAL(take(&fixture, "b"), FIRST + 1);
    guest_users_free(fixture.env.users);
    fixture.env.users = guest_users_new(FIRST, 100);
    CU_ASSERT_EQUAL(take(&fixture, "c"), FIRST + 2);
    CU_ASSERT_EQUAL(take(&fixture, "b"), FIRST + 1);
    fixture_clear(&fixture);
}

static void all_can_be_in_use(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;

    fixture_init(&fixture, 2);
    take(&fixture, "a");
    take(&fixture, "b");
    TEST_FAILS(guest_user_take(&fixture.env, "c", &error), error, STATUS_RESOURCE_EXHAUSTED, "vm_users");
    drop(&fixture, "a");
    CU_ASSERT_EQUAL(take(&fixture, "c"), FIRST);
    fixture_clear(&fixture);
}

/* After a reboot the run directory is empty, and the disks are still there. */
static void the_owner_of_a_disk_is_in_use(void)
{
    g_autofree char *disk = NULL;
    g_autofree char *parent = NULL;
    Fixture fixture;

    fixture_init(&fixture, 100);
    disk = guest_disk_path(&fixture.env, "old");
    parent = guest_state_dir(&fixture.env, "old");
    CU_ASSERT_EQUAL(g_mkdir_with_parents(parent, 0711), 0);
    CU_ASSERT_TRUE(g_file_set_contents(disk, "", 0, NULL));
    CU_ASSERT_EQUAL(chown(disk, FIRST, FIRST), 0);
    CU_ASSERT_EQUAL(take(&fixture, "a"), FIRST + 1);
    fixture_clear(&fixture);
}

static void without_a_range_all_share_the_account(void)
{
    Fixture fixture;

    fixture_init(&fixture, 0);
    CU_ASSERT_EQUAL(take(&fixture, "a"), ACCOUNT);
    CU_ASSERT_EQUAL(take(&fixture, "b"), ACCOUNT);
    fixture_clear(&fixture);
}

int main(void)
{
    static const TestCase cases[] = {
        {"each guest has a user that no other has", each_guest_has_its_own},
        {"the next daemon sees which users have guests", another_daemon_sees_them},
        {"when all users have guests the message names the option", all_can_be_in_use},
        {"a user whose disk is left from before a reboot is in use", the_owner_of_a_disk_is_in_use},
        {"without a range all guests share the account", without_a_range_all_share_the_account},
    };

    if (geteuid() != 0) {
        printf("skip guest_user: it takes root to change owners\n");
        return 0;
    }
    return test_main("guest_user", cases, G_N_ELEMENTS(cases));
}

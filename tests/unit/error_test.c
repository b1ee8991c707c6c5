/* SPDX-License-Identifier: Apache-2.0 */
#include "common/error.h"

#include <errno.h>
#include <gio/gio.h>

#include "common/deadline.h"
#include "tests/unit/harness.h"

static void expect_errno(int errnum, StatusCode status)
{
    GError *error = NULL;

    CU_ASSERT_FALSE(fail_errno(&error, errnum, "cannot open %s", "/x"));
    test_check_error(&error, (int)status, g_strerror(errnum), __FILE__, __LINE__);
}

static void what_the_system_says_becomes_the_status_that_a_client_can_act_on(void)
{
    expect_errno(ENOENT, STATUS_NOT_FOUND);
    expect_errno(ENOSPC, STATUS_RESOURCE_EXHAUSTED);
    expect_errno(EMFILE, STATUS_RESOURCE_EXHAUSTED);
    expect_errno(EACCES, STATUS_PERMISSION_DENIED);
    expect_errno(ECANCELED, STATUS_CANCELLED);
    expect_errno(ETIMEDOUT, STATUS_DEADLINE_EXCEEDED);
    expect_errno(EIO, STATUS_INTERNAL);
    CU_ASSERT_FALSE(fail(NULL, STATUS_INTERNAL, "nobody asks"));
}

static void expect_adopted(GQuark domain, int code, StatusCode status)
{
    GError *error = g_error_new_literal(domain, code, "theirs");

    CU_ASSERT_EQUAL(error_status(error), status);
    error_adopt(&error);
    CU_ASSERT_EQUAL(error->domain, CRIVIRT_ERROR);
    test_check_error(&error, (int)status, "theirs", __FILE__, __LINE__);
}

static void errors_of_glib_are_adopted_with_the_nearest_status(void)
{
    GError *none = NULL;
    GError *ours = NULL;

    expect_adopted(G_IO_ERROR, G_IO_ERROR_CANCELLED, STATUS_CANCELLED);
    expect_adopted(G_IO_ERROR, G_IO_ERROR_TIMED_OUT, STATUS_DEADLINE_EXCEEDED);
    expect_adopted(G_IO_ERROR, G_IO_ERROR_NO_SPACE, STATUS_RESOURCE_EXHAUSTED);
    expect_adopted(G_FILE_ERROR, G_FILE_ERROR_NOSPC, STATUS_RESOURCE_EXHAUSTED);
    expect_adopted(G_FILE_ERROR, G_FILE_ERROR_NOENT, STATUS_NOT_FOUND);
    expect_adopted(G_IO_ERROR, G_IO_ERROR_FAILED, STATUS_INTERNAL);
    error_adopt(NULL);
    error_adopt(&none);
    CU_ASSERT_PTR_NULL(none);
    fail(&ours, STATUS_ABORTED, "ours");
    error_adopt(&ours);
    test_check_error(&ours, STATUS_ABORTED, "ours", __FILE__, __LINE__);
}

static void the_sooner_of_two_deadlines_holds_and_keeps_its_cancellable(void)
{
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Deadline caller = deadline_in_ms(3600 * 1000);
    Deadline sooner;
    GError *error = NULL;

    caller.cancellable = cancellable;
    sooner = deadline_sooner(&caller, 1000 * 1000);
    CU_ASSERT_TRUE(sooner.at_us < caller.at_us && sooner.cancellable == cancellable);
    CU_ASSERT_EQUAL(deadline_sooner(&caller, 7200 * 1000).at_us, caller.at_us);
    TEST_OK(deadline_check(&sooner, "waiting", &error), error);
    g_cancellable_cancel(cancellable);
    TEST_FAILS(deadline_check(&sooner, "waiting for the agent", &error), error, STATUS_CANCELLED,
               "waiting for the agent");
}

static void a_deadline_that_has_passed_is_an_error_and_none_never_passes(void)
{
    Deadline passed = deadline_in_ms(0);
    Deadline never = {.at_us = G_MAXINT64};
    GError *error = NULL;

    CU_ASSERT_EQUAL(deadline_left_ms(&passed), 0);
    TEST_FAILS(deadline_check(&passed, "booting", &error), error, STATUS_DEADLINE_EXCEEDED, "booting");
    CU_ASSERT_EQUAL(deadline_left_ms(NULL), G_MAXINT);
    CU_ASSERT_EQUAL(deadline_left_ms(&never), G_MAXINT);
    TEST_OK(deadline_check(NULL, "booting", &error) && deadline_check(&never, "booting", &error), error);
}

static void waiting_ends_with_the_deadline(void)
{
    Deadline deadline = deadline_in_ms(1);
    GError *error = NULL;
    GMutex lock;
    GCond cond;

    g_mutex_init(&lock);
    g_cond_init(&cond);
    g_mutex_lock(&lock);
    while (deadline_cond_wait(&deadline, &cond, &lock, "waiting", &error))
        ;
    g_mutex_unlock(&lock);
    test_check_error(&error, STATUS_DEADLINE_EXCEEDED, "waiting", __FILE__, __LINE__);
    g_mutex_clear(&lock);
    g_cond_clear(&cond);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"an errno becomes the status that a client can act on",
         what_the_system_says_becomes_the_status_that_a_client_can_act_on},
        {"errors of GLib are adopted with the nearest status",
         errors_of_glib_are_adopted_with_the_nearest_status},
        {"the earlier of two deadlines is used with the cancellable of the caller",
         the_sooner_of_two_deadlines_holds_and_keeps_its_cancellable},
        {"a deadline that has passed is an error, and none never passes",
         a_deadline_that_has_passed_is_an_error_and_none_never_passes},
        {"waiting ends with the deadline", waiting_ends_with_the_deadline},
    };

    return test_main_args("error", cases, G_N_ELEMENTS(cases), argc, argv);
}

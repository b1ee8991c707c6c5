/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/vmm_table.h"

#include <string.h>

#include "common/error.h"
#include "tests/unit/harness.h"

/* What a watch was called with. */
typedef struct {
    guint count;
    char *text;
} Seen;

static void on_end(const char *text, gpointer data)
{
    Seen *seen = data;

    seen->count++;
    g_free(seen->text);
    seen->text = g_strdup(text);
}

static void reserve(VmmTable *table, const char *name)
{
    g_autoptr(GError) error = NULL;

    TEST_OK(vmm_table_reserve(table, name, NULL, &error), error);
}

static VmmTable *table_with(const char *name)
{
    VmmTable *table = vmm_table_new();

    reserve(table, name);
    return table;
}

/* Return: whether the end is to be reported. */
static gboolean end_domain(VmmTable *table, const char *name, VmmStopReason *reason, const char *message)
{
    LastWords words = {.message = message};
    g_autofree char *text = NULL;

    return vmm_table_end(table, name, reason, &words, &text);
}

static void check_text(VmmTable *table, const char *name, const char *wanted)
{
    g_autofree char *text = vmm_table_stop_text(table, name);

    CU_ASSERT_STRING_EQUAL(text != NULL ? text : "none", wanted);
}

static void reports_the_end_of_a_running_domain(void)
{
    VmmStopReason reason = VMM_STOPPED_CRASHED;
    VmmTable *table = table_with("a");

    CU_ASSERT_TRUE(vmm_table_live(table, "a"));
    CU_ASSERT_TRUE(end_domain(table, "a", &reason, NULL));
    CU_ASSERT_EQUAL(reason, VMM_STOPPED_CRASHED);
    CU_ASSERT_FALSE(vmm_table_live(table, "a"));
    CU_ASSERT_FALSE(end_domain(table, "a", &reason, NULL)); /* once */
    vmm_table_free(table);
}

static void on_blocked(const char *text, gpointer data)
{
    on_end(text != NULL ? text : "it runs", data);
}

static void check_seen(const Seen *seen, guint count, const char *text)
{
    CU_ASSERT_EQUAL(seen->count, count);
    CU_ASSERT_STRING_EQUAL(seen->text != NULL ? seen->text : "none", text);
}

#define FULL "the node's disk is full: /disk: QEMU has paused the guest until there is space"

static void reports_what_blocks_a_guest(void)
{
    VmmTable *table = table_with("a");
    VmmStopReason reason = VMM_STOPPED_CRASHED;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    g_autofree char *again = NULL;
    Seen seen = {0};
    Seen late = {0};

    vmm_table_watch_blocked(table, "a", on_blocked, &seen);
    CU_ASSERT_TRUE(vmm_table_check_blocked(table, "a", "waiting", &error));
    vmm_table_set_full_disk(table, "a", "/disk");
    check_seen(&seen, 0, "none");
    CU_ASSERT_TRUE(vmm_table_block(table, "a", &text));
    CU_ASSERT_STRING_EQUAL(text, FULL);
    check_seen(&seen, 1, FULL);
    CU_ASSERT_FALSE(vmm_table_block(table, "a", &again)); /* each try to resume the guest is another event */
    check_seen(&seen, 1, FULL);
    TEST_FAILS(vmm_table_check_blocked(table, "a", "waiting", &error), error, STATUS_UNAVAILABLE,
               "waiting: " FULL);
    vmm_table_watch_blocked(table, "a", on_blocked, &late);
    check_seen(&late, 1, FULL);
    vmm_table_unblock(table, "a");
    check_seen(&seen, 2, "it runs");
    vmm_table_unwatch_blocked(table, "a", &seen);
    CU_ASSERT_TRUE(vmm_table_block(table, "a", &again));
    CU_ASSERT_FALSE(end_domain(table, "a", &reason, NULL)); /* an end leaves nobody waiting for space */
    check_seen(&seen, 2, "it runs");
    check_seen(&late, 4, "it runs");
    g_free(seen.text);
    g_free(late.text);
    vmm_table_free(table);
}

static void does_not_report_the_end_of_a_start(void)
{
    VmmStopReason reason = VMM_STOPPED_CRASHED;
    VmmTable *table = table_with("a");

    CU_ASSERT_FALSE(end_domain(table, "a", &reason, "out of memory"));
    check_text(table, "a", "QEMU ended: out of memory"); /* but a caller that asks gets the reason */
    vmm_table_free(table);
}

static void corrects_the_reason(void)
{
    LastWords words = {.panic = "Fatal exception"};
    VmmStopReason reason = VMM_STOPPED_SHUTDOWN;
    g_autofree char *text = NULL;
    VmmTable *table = table_with("a");

    vmm_table_live(table, "a");
    vmm_table_reset(table, "a");
    CU_ASSERT_TRUE(vmm_table_end(table, "a", &reason, &words, &text));
    CU_ASSERT_EQUAL(reason, VMM_STOPPED_RESET);
    CU_ASSERT_STRING_EQUAL(text, "the guest's kernel panicked: Fatal exception");
    check_text(table, "a", text);
    reserve(table, "a");
    check_text(table, "a", "none"); /* a new domain has not ended */
    vmm_table_live(table, "a");
    vmm_table_destroying(table, "a");
    reason = VMM_STOPPED_CRASHED;
    CU_ASSERT_TRUE(end_domain(table, "a", &reason, "terminating on signal 9"));
    CU_ASSERT_EQUAL(reason, VMM_STOPPED_DESTROYED);
    check_text(table, "a", "none"); /* it did not end by itself */
    vmm_table_free(table);
}

static void tells_who_watches(void)
{
    VmmStopReason reason = VMM_STOPPED_CRASHED;
    VmmTable *table = table_with("a");
    Seen seen = {0};
    Seen late = {0};
    Seen gone = {0};

    vmm_table_watch(table, "a", on_end, &seen);
    vmm_table_watch(table, "a", on_end, &gone);
    vmm_table_unwatch(table, "a", &gone);
    CU_ASSERT_EQUAL(seen.count, 0);
    end_domain(table, "a", &reason, "no disk");
    CU_ASSERT_EQUAL(seen.count, 1);
    CU_ASSERT_STRING_EQUAL(seen.text, "QEMU ended: no disk");
    vmm_table_watch(table, "a", on_end, &late);
    CU_ASSERT_EQUAL(late.count, 1);
    CU_ASSERT_STRING_EQUAL(late.text, "QEMU ended: no disk");
    CU_ASSERT_EQUAL(gone.count, 0);
    vmm_table_unwatch(table, "a", &seen);
    vmm_table_unwatch(table, "a", &late);
    g_free(seen.text);
    g_free(late.text);
    vmm_table_free(table);
}

static void watches_one_domain(void)
{
    VmmStopReason reason = VMM_STOPPED_CRASHED;
    VmmTable *table = table_with("a");
    Seen seen = {0};

    reserve(table, "b");
    vmm_table_watch(table, "a", on_end, &seen);
    end_domain(table, "b", &reason, NULL);
    CU_ASSERT_EQUAL(seen.count, 0);
    vmm_table_unwatch(table, "a", &seen);
    end_domain(table, "a", &reason, NULL);
    CU_ASSERT_EQUAL(seen.count, 0);
    vmm_table_free(table);
}

static void forgets_old_ends(void)
{
    VmmStopReason reason = VMM_STOPPED_CRASHED;
    VmmTable *table = table_with("first");

    end_domain(table, "first", &reason, "x");
    check_text(table, "first", "QEMU ended: x");
    for (guint i = 0; i < VMM_TABLE_ENDS_MAX; i++) {
        g_autofree char *name = g_strdup_printf("%u", i);

        reserve(table, name);
        reason = VMM_STOPPED_CRASHED;
        end_domain(table, name, &reason, "y");
    }
    check_text(table, "first", "none");
    check_text(table, "0", "QEMU ended: y");
    vmm_table_forget(table, "0");
    check_text(table, "0", "none");
    vmm_table_free(table);
}

static void waits_for_an_end(void)
{
    VmmStopReason reason = VMM_STOPPED_CRASHED;
    VmmTable *table = table_with("a");

    vmm_table_wait_end(table, "unknown", 60 * 1000);
    vmm_table_wait_end(table, "a", 10);
    end_domain(table, "a", &reason, NULL);
    vmm_table_wait_end(table, "a", 60 * 1000);
    vmm_table_free(table);
}

static void a_name_is_used_once(void)
{
    g_autoptr(GError) error = NULL;
    VmmTable *table = table_with("a");

    TEST_FAILS(vmm_table_reserve(table, "a", NULL, &error), error, STATUS_ALREADY_EXISTS, "a");
    vmm_table_forget(table, "a");
    TEST_OK(vmm_table_reserve(table, "a", NULL, &error), error);
    vmm_table_free(table);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"who waits for a guest learns that the full disk of the node blocks it, and when it runs again",
         reports_what_blocks_a_guest},
        {"the end of a running domain is reported once", reports_the_end_of_a_running_domain},
        {"the end of a domain that still starts is not reported, but its reason is kept",
         does_not_report_the_end_of_a_start},
        {"a reset is a crash, and a wanted end is no crash", corrects_the_reason},
        {"a watcher of a domain gets the reason of its end, also after the end", tells_who_watches},
        {"a watch is for one domain, and ends when it is removed", watches_one_domain},
        {"only the reasons of the last ends are kept", forgets_old_ends},
        {"waiting for an end returns when the domain is gone or the time is over", waits_for_an_end},
        {"a name belongs to one domain at a time", a_name_is_used_once},
    };
    return test_main_args("vmm_table", cases, G_N_ELEMENTS(cases), argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "common/semaphore.h"

#include "common/error.h"
#include "tests/unit/harness.h"

typedef struct {
    Semaphore *slots;
    GMutex *lock;
    GString *order;
    char name;
} Waiter;

static gpointer wait_and_note(gpointer data)
{
    Waiter *waiter = data;

    semaphore_acquire(waiter->slots, NULL, "testing", NULL);
    g_mutex_lock(waiter->lock);
    g_string_append_c(waiter->order, waiter->name);
    g_mutex_unlock(waiter->lock);
    semaphore_release(waiter->slots);
    return NULL;
}

static void in_order(void)
{
    Semaphore slots;
    GMutex lock;
    g_autoptr(GString) order = g_string_new(NULL);
    GThread *threads[5];
    Waiter waiters[5];

    semaphore_init(&slots, 1);
    g_mutex_init(&lock);
    semaphore_acquire(&slots, NULL, "testing", NULL);
    for (guint i = 0; i < 5; i++) {
        waiters[i] = (Waiter){&slots, &lock, order, (char)('a' + i)};
        threads[i] = g_thread_new("waiter", wait_and_note, &waiters[i]);
        for (;;) { /* until it stands in the queue */
            guint64 tickets;

            g_mutex_lock(&slots.lock);
            tickets = slots.next_ticket;
            g_mutex_unlock(&slots.lock);
            if (tickets == i + 2)
                break;
            g_thread_yield();
        }
    }
    semaphore_release(&slots);
    for (guint i = 0; i < 5; i++)
        g_thread_join(threads[i]);
    CU_ASSERT_STRING_EQUAL(order->str, "abcde");
    semaphore_clear(&slots);
    g_mutex_clear(&lock);
}

static void late_ones_leave(void)
{
    Semaphore slots;
    Deadline soon = deadline_in_ms(20);
    g_autoptr(GError) error = NULL;

    semaphore_init(&slots, 1);
    TEST_OK(semaphore_acquire(&slots, NULL, "testing", &error), error);
    TEST_FAILS(semaphore_acquire(&slots, &soon, "waiting in line", &error), error, STATUS_DEADLINE_EXCEEDED,
               "waiting in line");
    semaphore_release(&slots);
    TEST_OK(semaphore_acquire(&slots, NULL, "testing", &error), error);
    semaphore_clear(&slots);
}

static void cancelled_ones_leave(void)
{
    Semaphore slots;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Deadline deadline = {.at_us = G_MAXINT64, .cancellable = cancellable};
    g_autoptr(GError) error = NULL;

    semaphore_init(&slots, 0);
    g_cancellable_cancel(cancellable);
    TEST_FAILS(semaphore_acquire(&slots, &deadline, "waiting", &error), error, STATUS_CANCELLED, "waiting");
    semaphore_clear(&slots);
}

/* One of two slots is taken: a caller that asks for an idle semaphore waits until it is released. */
static void idle_ones_wait(void)
{
    Semaphore slots;
    Deadline soon = deadline_in_ms(20);
    g_autoptr(GError) error = NULL;

    semaphore_init(&slots, 2);
    TEST_OK(semaphore_acquire(&slots, NULL, "testing", &error), error);
    TEST_FAILS(semaphore_acquire_idle(&slots, 1000, &soon, "waiting for a pause", &error), error,
               STATUS_DEADLINE_EXCEEDED, "waiting for a pause");
    CU_ASSERT_EQUAL(slots.free, 1);
    semaphore_release(&slots);
    TEST_OK(semaphore_acquire_idle(&slots, 1000, NULL, "testing", &error), error);
    TEST_OK(semaphore_acquire(&slots, NULL, "testing", &error), error);
    semaphore_clear(&slots);
}

static void idle_ones_lose_patience(void)
{
    Semaphore slots;
    g_autoptr(GError) error = NULL;

    semaphore_init(&slots, 2);
    TEST_OK(semaphore_acquire(&slots, NULL, "testing", &error), error);
    TEST_OK(semaphore_acquire_idle(&slots, 10, NULL, "testing", &error), error);
    CU_ASSERT_EQUAL(slots.free, 0);
    semaphore_clear(&slots);
}

int main(void)
{
    static const TestCase cases[] = {
        {"waiting threads are served in order", in_order},
        {"a thread that leaves at its deadline does not block those behind it", late_ones_leave},
        {"a cancelled caller leaves", cancelled_ones_leave},
        {"a caller that asks for an idle semaphore waits until all are free", idle_ones_wait},
        {"a caller that asks for an idle semaphore takes its turn when its time is over",
         idle_ones_lose_patience},
    };

    return test_main("semaphore", cases, G_N_ELEMENTS(cases));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Container events: what subscribers get. */

#include <string.h>

#include "common/error.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/events.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_manager.h"

static void tells_with_statuses(void)
{
    SandboxManager *manager = test_manager_new();
    Pod *pod = test_manager_add_pod(manager, 1, POD_READY, CONTAINER_RUNNING_STATE);
    EventSubscriber *first = event_subscribe(manager->events);
    EventSubscriber *second = event_subscribe(manager->events);
    EventSubscriber *both[] = {first, second};

    event_publish(manager->events, EVENT(STARTED), test_pod_container(pod)->id, pod);
    for (guint i = 0; i < G_N_ELEMENTS(both); i++) {
        g_autoptr(GError) error = NULL;
        Deadline deadline = deadline_in_ms(1000);
        g_autoptr(Event) event = event_next(both[i], &deadline, &error);
        const Runtime__V1__ContainerEventResponse *message;

        TEST_OK(event != NULL, error);
        message = event_message(event);
        CU_ASSERT_EQUAL(message->container_event_type, EVENT(STARTED));
        CU_ASSERT_STRING_EQUAL(message->pod_sandbox_status->metadata->name, "pod-1");
        CU_ASSERT_EQUAL(message->n_containers_statuses, 1);
        CU_ASSERT_EQUAL(message->containers_statuses[0]->state,
                        RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING);
        CU_ASSERT_TRUE(message->created_at > 0);
    }
    event_unsubscribe(first);
    event_unsubscribe(second);
    test_manager_free(manager);
}

static void cuts_off_who_does_not_read(void)
{
    SandboxManager *manager = test_manager_new();
    Pod *pod = test_manager_add_pod(manager, 1, POD_READY, CONTAINER_RUNNING_STATE);
    EventSubscriber *slow = event_subscribe(manager->events);
    EventSubscriber *quick = event_subscribe(manager->events);
    Deadline deadline = deadline_in_ms(1000);
    GError *error = NULL;

    for (guint i = 0; i <= EVENTS_QUEUE_MAX; i++) {
        g_autoptr(Event) event = NULL;

        event_publish(manager->events, EVENT(STOPPED), pod->id, pod);
        event = event_next(quick, &deadline, &error);
        CU_ASSERT_PTR_NOT_NULL(event);
    }
    TEST_FAILS(event_next(slow, &deadline, &error), error, STATUS_RESOURCE_EXHAUSTED, "connect again");
    event_unsubscribe(slow);
    event_unsubscribe(quick);
    test_manager_free(manager);
}

static void bounds_what_waits_by_its_size(void)
{
    enum { LARGE_BYTES = 1 << 20 };
    SandboxManager *manager = test_manager_new();
    Pod *pod = test_manager_add_pod(manager, 1, POD_READY, CONTAINER_EXITED_STATE);
    EventSubscriber *slow = event_subscribe(manager->events);
    Deadline deadline = deadline_in_ms(1000);
    GError *error = NULL;

    g_free(test_pod_container(pod)->message);
    test_pod_container(pod)->message = g_strnfill(LARGE_BYTES, 'x');
    for (guint i = 0; i <= EVENTS_QUEUE_MAX_BYTES / LARGE_BYTES; i++)
        event_publish(manager->events, EVENT(STOPPED), pod->id, pod);
    TEST_FAILS(event_next(slow, &deadline, &error), error, STATUS_RESOURCE_EXHAUSTED, "connect again");
    event_unsubscribe(slow);
    test_manager_free(manager);
}

/* The end of a container may be reported before its start has been answered. */
static void keeps_the_order_of_a_life(void)
{
    static const Runtime__V1__ContainerEventType told[] = {EVENT(CREATED), EVENT(STOPPED), EVENT(DELETED)};
    SandboxManager *manager = test_manager_new();
    Pod *pod = test_manager_add_pod(manager, 1, POD_READY, CONTAINER_EXITED_STATE);
    Container *container = test_pod_container(pod);
    EventSubscriber *subscriber = event_subscribe(manager->events);
    Deadline deadline = deadline_in_ms(1000);
    GError *error = NULL;

    container_announce(container, EVENT(DELETED)); /* no event of this container was sent before */
    container_announce(container, EVENT(STOPPED));
    container_announce(container, EVENT(STARTED));
    container_announce(container, EVENT(STOPPED));
    container_announce(container, EVENT(DELETED));
    for (guint i = 0; i < G_N_ELEMENTS(told); i++) {
        g_autoptr(Event) event = event_next(subscriber, &deadline, &error);

        CU_ASSERT_PTR_NOT_NULL_FATAL(event);
        CU_ASSERT_EQUAL(event_message(event)->container_event_type, told[i]);
    }
    deadline = deadline_in_ms(10);
    TEST_FAILS(event_next(subscriber, &deadline, &error), error, STATUS_DEADLINE_EXCEEDED, "");
    event_unsubscribe(subscriber);
    test_manager_free(manager);
}

static gpointer cancel_soon(gpointer cancellable)
{
    g_usleep(50 * 1000);
    g_cancellable_cancel(cancellable);
    return NULL;
}

static void ends_when_cancelled(void)
{
    SandboxManager *manager = test_manager_new();
    EventSubscriber *subscriber = event_subscribe(manager->events);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Deadline deadline = {.at_us = G_MAXINT64, .cancellable = cancellable};
    GThread *thread = g_thread_new("cancel", cancel_soon, cancellable);
    GError *error = NULL;

    TEST_FAILS(event_next(subscriber, &deadline, &error), error, STATUS_CANCELLED, "container events");
    TEST_FAILS(event_next(subscriber, &deadline, &error), error, STATUS_CANCELLED, "container events");
    g_thread_join(thread);
    event_unsubscribe(subscriber);
    test_manager_free(manager);
}

static void ends_at_the_deadline(void)
{
    SandboxManager *manager = test_manager_new();
    EventSubscriber *subscriber = event_subscribe(manager->events);
    Deadline deadline = deadline_in_ms(20);
    GError *error = NULL;

    TEST_FAILS(event_next(subscriber, &deadline, &error), error, STATUS_DEADLINE_EXCEEDED, "");
    event_unsubscribe(subscriber);
    test_manager_free(manager);
}

typedef struct {
    SandboxManager *manager;
    gint stop;
} Churn;

static gpointer come_and_go(gpointer data)
{
    Churn *churn = data;

    while (!g_atomic_int_get(&churn->stop)) {
        g_autoptr(EventSubscriber) subscriber = event_subscribe(churn->manager->events);
        Deadline deadline = deadline_in_ms(1);
        G_GNUC_UNUSED g_autoptr(Event) event = event_next(subscriber, &deadline, NULL);
    }
    return NULL;
}

static void survives_vanishing_subscribers(void)
{
    Churn churn = {.manager = test_manager_new()};
    Pod *pod = test_manager_add_pod(churn.manager, 1, POD_READY, CONTAINER_RUNNING_STATE);
    GThread *threads[4];

    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("subscriber", come_and_go, &churn);
    for (guint i = 0; i < 2000; i++)
        event_publish(churn.manager->events, EVENT(STARTED), pod->id, pod);
    g_atomic_int_set(&churn.stop, 1);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    CU_PASS("nothing crashed or leaked");
    test_manager_free(churn.manager);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"every subscriber gets an event with the statuses of pod and containers", tells_with_statuses},
        {"a subscriber that does not read is cut off with an error, and the others are not",
         cuts_off_who_does_not_read},
        {"the queue of a subscriber is bounded by size as well as by number", bounds_what_waits_by_its_size},
        {"the events of a container come in the order of its life, whatever is reported first",
         keeps_the_order_of_a_life},
        {"waiting ends at once when the client disconnects", ends_when_cancelled},
        {"waiting ends at the deadline", ends_at_the_deadline},
        {"subscribers may be added and freed while events are published", survives_vanishing_subscribers},
    };

    return test_main_args("events", cases, G_N_ELEMENTS(cases), argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/events.h"
#include "common/ids.h"

#include "common/arena.h"
#include "common/error.h"
#include "common/ids.h"
#include "common/lock_assert.h"
#include "sandbox/pods/status.h"

struct Event {
    gint references;
    gsize bytes;
    Arena *arena; /* contains the whole message */
    Runtime__V1__ContainerEventResponse message;
};

struct EventHub {
    GMutex lock; /* taken before a subscriber's lock and before pod->lock, so that events are built in their
                    order */
    GPtrArray *subscribers;
};

struct EventSubscriber {
    EventHub *hub;
    GMutex lock;
    GCond changed;
    GQueue events;
    gsize queued_bytes;
    gboolean cut_off;
};

/* ---- events ---- */

static Event *event_new(Runtime__V1__ContainerEventType type, const char *id, Pod *pod)
{
    Event *event = g_new0(Event, 1);

    event->references = 1;
    event->arena = arena_new();
    runtime__v1__container_event_response__init(&event->message);
    event->message.container_id = arena_strdup(event->arena, id);
    event->message.container_event_type = type;
    event->message.created_at = time_now_ns();
    event->message.pod_sandbox_status = pod_status_message(pod, event->arena);
    event->message.containers_statuses =
        pod_container_statuses(pod, event->arena, &event->message.n_containers_statuses);
    event->bytes = runtime__v1__container_event_response__get_packed_size(&event->message);
    return event;
}

static Event *event_ref(Event *event)
{
    g_atomic_int_inc(&event->references);
    return event;
}

void event_unref(Event *event)
{
    if (event == NULL || !g_atomic_int_dec_and_test(&event->references))
        return;
    arena_free(event->arena);
    g_free(event);
}

Runtime__V1__ContainerEventResponse *event_message(Event *event)
{
    return &event->message;
}

/* ---- publishing ---- */

EventHub *event_hub_new(void)
{
    EventHub *hub = g_new0(EventHub, 1);

    g_mutex_init(&hub->lock);
    hub->subscribers = g_ptr_array_new();
    return hub;
}

void event_hub_free(EventHub *hub)
{
    if (hub == NULL)
        return;
    g_mutex_clear(&hub->lock);
    g_ptr_array_unref(hub->subscribers);
    g_free(hub);
}

static void drop_events(EventSubscriber *subscriber)
{
    g_queue_clear_full(&subscriber->events, (GDestroyNotify)event_unref);
    subscriber->queued_bytes = 0;
}

static void deliver(EventSubscriber *subscriber, Event *event)
{
    guint waiting;

    g_mutex_lock(&subscriber->lock);
    waiting = g_queue_get_length(&subscriber->events);
    if (!subscriber->cut_off &&
        (waiting >= EVENTS_QUEUE_MAX ||
         (waiting > 0 && subscriber->queued_bytes + event->bytes > EVENTS_QUEUE_MAX_BYTES))) {
        subscriber->cut_off = TRUE;
        drop_events(subscriber); /* an incomplete sequence is useless, and the memory is freed */
    }
    if (!subscriber->cut_off) {
        g_queue_push_tail(&subscriber->events, event_ref(event));
        subscriber->queued_bytes += event->bytes;
    }
    g_cond_signal(&subscriber->changed);
    g_mutex_unlock(&subscriber->lock);
}

void event_publish(EventHub *hub, Runtime__V1__ContainerEventType type, const char *id, Pod *pod)
{
    g_mutex_lock(&hub->lock);
    if (hub->subscribers->len > 0) {
        g_autoptr(Event) event = event_new(type, id, pod);

        for (guint i = 0; i < hub->subscribers->len; i++)
            deliver(hub->subscribers->pdata[i], event);
    }
    g_mutex_unlock(&hub->lock);
}

/* ---- subscribing ---- */

EventSubscriber *event_subscribe(EventHub *hub)
{
    EventSubscriber *subscriber = g_new0(EventSubscriber, 1);

    subscriber->hub = hub;
    g_mutex_init(&subscriber->lock);
    g_cond_init(&subscriber->changed);
    g_queue_init(&subscriber->events);
    g_mutex_lock(&hub->lock);
    g_ptr_array_add(hub->subscribers, subscriber);
    g_mutex_unlock(&hub->lock);
    return subscriber;
}

void event_unsubscribe(EventSubscriber *subscriber)
{
    if (subscriber == NULL)
        return;
    g_mutex_lock(&subscriber->hub->lock);
    g_ptr_array_remove_fast(subscriber->hub->subscribers, subscriber);
    g_mutex_unlock(&subscriber->hub->lock);
    drop_events(subscriber);
    g_mutex_clear(&subscriber->lock);
    g_cond_clear(&subscriber->changed);
    g_free(subscriber);
}

/* Called on the thread that cancels. */
static void wake_waiter(GCancellable *cancellable, gpointer data)
{
    EventSubscriber *subscriber = data;

    (void)cancellable;
    g_mutex_lock(&subscriber->lock);
    g_cond_signal(&subscriber->changed);
    g_mutex_unlock(&subscriber->lock);
}

/* Called with the lock held. A stream may be quiet for hours, so there is no polling. */
static Event *wait_for_event_locked(EventSubscriber *subscriber, const Deadline *deadline, GError **error)
{
    Event *event;

    LOCK_ASSERT_HELD(&subscriber->lock);
    while (!subscriber->cut_off && g_queue_is_empty(&subscriber->events)) {
        if (!deadline_check(deadline, "waiting for container events", error))
            return NULL;
        if (deadline == NULL || deadline->at_us == G_MAXINT64)
            g_cond_wait(&subscriber->changed, &subscriber->lock);
        else
            g_cond_wait_until(&subscriber->changed, &subscriber->lock, deadline->at_us);
    }
    if (subscriber->cut_off) {
        fail(error, STATUS_RESOURCE_EXHAUSTED,
             "the subscriber did not take its events, and too many waited for it; connect again and list");
        return NULL;
    }
    event = g_queue_pop_head(&subscriber->events);
    subscriber->queued_bytes -= event->bytes;
    return event;
}

Event *event_next(EventSubscriber *subscriber, const Deadline *deadline, GError **error)
{
    GCancellable *cancellable = deadline != NULL ? deadline->cancellable : NULL;
    gulong connection = cancellable != NULL
                            ? g_cancellable_connect(cancellable, G_CALLBACK(wake_waiter), subscriber, NULL)
                            : 0;
    Event *event;

    g_mutex_lock(&subscriber->lock);
    event = wait_for_event_locked(subscriber, deadline, error);
    g_mutex_unlock(&subscriber->lock);
    g_cancellable_disconnect(cancellable, connection);
    return event;
}

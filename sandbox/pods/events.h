/* The CRI's container events: who subscribes to them, and what happens to whom.
 *
 * An event is built once, when it happens, with the statuses as they are then, and shared by all subscribers;
 * without subscribers it costs nothing. Each subscriber has a queue of its own. One that does not read is
 * cut off when EVENTS_QUEUE_MAX or EVENTS_QUEUE_MAX_BYTES wait for it (RESOURCE_EXHAUSTED): the kubelet's
 * event source relies on having seen everything, and connects again and lists when its stream ends, while an
 * event left out would go unnoticed.
 *
 * Threads: any. event_publish() never waits for a subscriber, but takes pod->lock for a moment: none may be
 * held. Events of one pod reach each subscriber in the order in which they were published.
 */
#pragma once

#include "api.pb-c.h"
#include "common/deadline.h"

enum { EVENTS_QUEUE_MAX = 1000, EVENTS_QUEUE_MAX_BYTES = 8 << 20 };

typedef struct EventHub EventHub;
typedef struct EventSubscriber EventSubscriber;
typedef struct Event Event;
typedef struct Pod Pod;

/* CREATED, STARTED, STOPPED, DELETED */
#define EVENT(name) RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_##name##_EVENT

EventHub *event_hub_new(void);
/* After the last subscriber has gone; takes NULL. */
void event_hub_free(EventHub *hub);

/* id is the container's, or the pod's own for the sandbox itself. */
void event_publish(EventHub *hub, Runtime__V1__ContainerEventType type, const char *id, Pod *pod);

EventSubscriber *event_subscribe(EventHub *hub);
void event_unsubscribe(EventSubscriber *subscriber); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EventSubscriber, event_unsubscribe)

/* Waits for the next one. NULL with CANCELLED, DEADLINE_EXCEEDED, or RESOURCE_EXHAUSTED when it was cut off.
 */
Event *event_next(EventSubscriber *subscriber, const Deadline *deadline, GError **error);
Runtime__V1__ContainerEventResponse *event_message(Event *event); /* shared: not to be changed */
void event_unref(Event *event);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Event, event_unref)

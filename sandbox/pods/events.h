/* SPDX-License-Identifier: Apache-2.0 */
/* The CRI's container events and their subscribers.
 *
 * An event is built once, when it happens, with the statuses of that moment, and is shared by all
 * subscribers; without subscribers it costs nothing. Each subscriber has a queue. A subscriber that does not
 * read is cut off when EVENTS_QUEUE_MAX events or EVENTS_QUEUE_MAX_BYTES wait for it (RESOURCE_EXHAUSTED):
 * the kubelet relies on having seen every event, and when its stream ends it connects again and lists.
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
/* After the last subscriber has been freed. Takes NULL. */
void event_hub_free(EventHub *hub);

/* id: the container's, or the pod's for an event of the sandbox itself. */
void event_publish(EventHub *hub, Runtime__V1__ContainerEventType type, const char *id, Pod *pod);

EventSubscriber *event_subscribe(EventHub *hub);
void event_unsubscribe(EventSubscriber *subscriber); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EventSubscriber, event_unsubscribe)

/* Waits for the next event. Return: NULL with CANCELLED, DEADLINE_EXCEEDED, or RESOURCE_EXHAUSTED when the
 * subscriber was cut off. */
Event *event_next(EventSubscriber *subscriber, const Deadline *deadline, GError **error);
Runtime__V1__ContainerEventResponse *event_message(Event *event); /* shared and constant */
void event_unref(Event *event);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Event, event_unref)

/* The virtio-serial port to the daemon (agent/wire/wire.h), over and over as daemons come and go.
 *
 * Out go, in this order: the sync, queued messages (responses, notices), then what the source has: output and
 * exits, which their owner keeps until they are acknowledged and so need no queue here. A sync from the
 * daemon begins a new connection: what is queued for the old one is dropped, and nothing but responses is
 * sent until channel_greeted().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/messages.h"

typedef struct {
    /* A frame's payload came. */
    void (*received)(const uint8_t *payload, size_t length);
    /* A new connection began: whatever was sent to the old one may be lost. */
    void (*connected)(void);
    /* Encodes the next message of the source into room bytes; 0 when there is none. */
    size_t (*next)(uint8_t *payload, size_t room);
} ChannelUser;

/* Looks for the port now and, until it appears, every millisecond. */
void channel_open(const ChannelUser *user);
/* On connections to a listening socket, one at a time: a new one ends the one before. */
void channel_listen(const ChannelUser *user, int listener);

/* Queues a message for the present connection. */
void channel_send(const FromGuest *message);
void channel_notice(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* HelloResponse is queued: the source may be asked from now on, and the daemon speaks that version. */
void channel_greeted(uint32_t daemon_protocol);
/* Counts connections: a response to a request of an earlier one is not sent. */
uint64_t channel_connection(void);
/* Writes what the port takes; call it after anything that may have made something to send. */
void channel_flush(void);
/* Nothing queued, nothing half-written. */
bool channel_is_drained(void);

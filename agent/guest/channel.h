/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's end of the connection to the daemon: the virtio-serial port in a guest, a listening unix socket
 * for a host pod. Daemons come and go; each begins a new connection (agent/wire/wire.h).
 *
 * The order of what is sent: the sync, queued messages (responses, notices), then messages of the source. The
 * source has output and exits, which their owner keeps until they are acknowledged, so they need no queue
 * here. A sync from the daemon begins a new connection: messages queued for the old one are dropped, and only
 * responses and notices are sent until channel_greeted().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/messages.h"

typedef struct {
    /* The payload of a frame has come. */
    void (*received)(const uint8_t *payload, size_t length);
    /* A new connection has begun: what was sent over the old one may be lost. */
    void (*connected)(void);
    /* Encodes the next message of the source into room bytes. Return: its length, 0 when there is none. */
    size_t (*next)(uint8_t *payload, size_t room);
} ChannelUser;

/* Looks for the port now and then every millisecond until it appears. */
void channel_open(const ChannelUser *user);
/* Uses connections to a listening socket, one at a time: a new one ends the one before. */
void channel_listen(const ChannelUser *user, int listener);

/* Queues a message for the current connection. */
void channel_send(const FromGuest *message);
void channel_notice(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Called when HelloResponse is queued: messages of the source are sent from now on, and the daemon speaks
 * that version. */
void channel_greeted(uint32_t daemon_protocol);
/* Return: the number of the current connection. A response to a request of an earlier one is not sent. */
uint64_t channel_connection(void);
/* Writes what the port takes. To be called after each event, because any may have made something to send. */
void channel_flush(void);
/* Return: true when nothing is queued or half-written. */
bool channel_is_drained(void);

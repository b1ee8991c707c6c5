/* SPDX-License-Identifier: Apache-2.0 */
/* Passes a guest's requests to its file server, and the answers back, so that the server can be replaced.
 *
 * The guest's rings end here. The server has rings of its own in a file that it maps (the window): its
 * requests are made of a header and arguments in the window, where the numbers of nodes and handles are the
 * server's (call.h), and of the guest's own buffers, which the server reads and writes directly. Requests
 * that a server has taken with it are executed by the next one, except those of which nobody knows whether
 * they were executed.
 *
 * What has to outlive this process is in memory that its forks share. There is one thread.
 */
#pragma once

#include "sandbox/vmm/fsguard/device.h"
#include "sandbox/vmm/fsguard/table.h"

typedef struct Relay Relay;

typedef struct {
    uint32_t nodes, handles; /* that the new server has */
    uint32_t lost;           /* nodes that are not there any more */
    uint32_t closed;         /* handles that are lost, also those whose lock is */
    uint32_t repeated;       /* requests that the dead server had taken */
    uint32_t refused;        /* of these, those that got EIO */
} RelayRecovery;

/* The device stays the caller's. Return: NULL when there is no memory. */
Relay *relay_new(Device *device);
void relay_free(Relay *relay);

/* Whether the relay can work with what QEMU and the server have agreed on. */
bool relay_suits(const Device *device);
/* Records a message of QEMU, before the device does. Return: whether it is about the guest's rings, and not
 * for the server. */
bool relay_note(Relay *relay, const Message *message);
/* What the server gets instead of a message of QEMU, and QEMU instead of the server's answer. */
void relay_adapt(Message *message);
void relay_adapt_answer(Message *message);

/* Uses the server at this connection, to which QEMU's messages were passed on. Return: false when it has
 * died.
 */
bool relay_begin(Relay *relay, int server_fd);
bool relay_has_begun(const Relay *relay);
/* Return: whether the guest has mounted the share. */
bool relay_has_session(const Relay *relay);
/* Uses a new server: sets it up and gives it what the guest has. Return: false when it has died, or does not
 * answer as the first one did; the caller closes the connection. */
bool relay_recover(Relay *relay, int server_fd, RelayRecovery *ret_recovery);
/* The server has died: its requests wait for the next one. */
void relay_lose_server(Relay *relay);

/* Readable when the server has answered; -1: there is none. */
int relay_answers_fd(const Relay *relay);
/* Does what there is to do. Without a server nothing is taken from the guest. */
void relay_work(Relay *relay);
/* The same when that descriptor is readable. */
void relay_hear(Relay *relay);
/* Answers the requests of one ring that are under way, and those that wait in it, with an error. */
void relay_fail(Relay *relay, size_t index, int error);
/* Waits until the server has answered the requests of a ring that stops; those without an answer fail. */
void relay_drain(Relay *relay, size_t index, int error);

/* Continues in a standby. Return: false when the server is not the one that this process knows. */
bool relay_take_over(Relay *relay);

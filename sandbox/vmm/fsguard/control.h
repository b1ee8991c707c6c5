/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of the daemon to fsguard: one message with at most one descriptor each way, on a connection of its
 * own (SOCK_SEQPACKET).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A command is one of these bytes. */
enum {
    /* Keeps the descriptor of the server's mount namespace, in which the volumes are bound, also when the
     * server has died. Without it fsguard does not wait for a successor. */
    CONTROL_KEEP_NAMESPACE = 'n',
    /* Asks for that descriptor. Problem: ENOENT when there is none, EBUSY when the server has not ended. */
    CONTROL_GET_NAMESPACE = 'g',
    /* Passes the connection of a new server, whose volumes are bound. The answer comes when the guest's files
     * are open there. Problem: EEXIST when the server lives, EPIPE when the new one has died or differs. */
    CONTROL_SUCCESSOR = 's',
    /* Writes what the guest has of its server to the descriptor (relay_state.h); QEMU has to have stopped the
     * guest. Problem: ENOTSUP without recovery, ENOENT before the guest has mounted the share, EBUSY, or an
     * errno of writing.
     */
    CONTROL_SAVE = 'w',
    /* Reads such a file, of a guest that QEMU is about to restore, before QEMU connects. Byte 'R': the
     * volumes are copies of the saved guest's. Problem: ENOTSUP, EBUSY, EINVAL for an invalid file. */
    CONTROL_LOAD = 'r',
    CONTROL_LOAD_COPIES = 'R',
    /* Passes a listening socket: fsguard and the server stay when QEMU closes the connection, and QEMU
     * connects there again. The guest keeps the share mounted meanwhile (kernel/patches). After that,
     * CONTROL_SAVE is BUSY until QEMU has closed. Problem: ENOTSUP, ENOENT as above, EPIPE without a server.
     */
    CONTROL_PARK = 'p',
    /* The device is back for good, or will not come back: the socket of CONTROL_PARK is closed. Until then
     * QEMU may come and go. Without QEMU, fsguard ends. */
    CONTROL_UNPARK = 'u',
    /* No new server will come: requests fail from now on. */
    CONTROL_GIVE_UP = 'f',
};

typedef struct {
    int32_t problem; /* errno; 0: done */
    /* Of a new server: what the guest has there, what is lost, and the requests that were under way. */
    uint32_t nodes, handles, lost, closed, repeated, refused;
} ControlAnswer;

/* fd -1: none. */
bool control_send(int connection, const void *message, size_t size, int fd);
/* Return: false unless a message of that size has come. The caller closes the descriptor; -1: none has come.
 */
bool control_receive(int connection, void *ret_message, size_t size, int *ret_fd);

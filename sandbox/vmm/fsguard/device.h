/* SPDX-License-Identifier: Apache-2.0 */
/* Records what a vhost-user front end (QEMU) tells its back end about a device, which is enough to answer in
 * place of a back end that has died. (https://qemu-project.gitlab.io/qemu/interop/vhost-user.html)
 *
 * A Device owns the descriptors that came with the messages. There is one thread.
 */
#pragma once

#include "sandbox/vmm/fsguard/memory.h"
#include "sandbox/vmm/fsguard/ring.h"

/* The messages that a Device records or answers. */
enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    SET_VRING_ERR = 14,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    GET_QUEUE_NUM = 17,
    SET_VRING_ENABLE = 18,
    GET_CONFIG = 24,
    GET_INFLIGHT_FD = 31,
    GET_MAX_MEM_SLOTS = 36,
    ADD_MEM_REG = 37,
    REM_MEM_REG = 38,
};

enum { DEVICE_RINGS_MAX = 64, MESSAGE_FDS_MAX = 8, MESSAGE_PAYLOAD_MAX = 1024 };

typedef struct {
    uint32_t request;
    uint32_t flags;
    uint32_t size; /* of the payload */
    uint8_t payload[MESSAGE_PAYLOAD_MAX];
} __attribute__((packed)) Message;
enum { MESSAGE_HEADER_BYTES = 12 };

typedef struct {
    Ring ring;
    int kick_fd; /* -1: the ring is stopped */
    int call_fd; /* -1: none */
} DeviceRing;

typedef struct {
    Memory memory;
    DeviceRing rings[DEVICE_RINGS_MAX];
    bool event_index;
    uint64_t features, protocol_features; /* that QEMU has set */
    uint64_t answers[64]; /* the back end's answers to questions about the whole device, by request */
} Device;

void device_init(Device *device);
/* Forgets the guest's rings and memory, which QEMU has taken away. *ret_memory gets the memory. */
void device_detach(Device *device, Memory *ret_memory);
/* Records a message to the back end; takes ownership of the descriptors. */
void device_note(Device *device, const Message *message, const int *fds, size_t n_fds);
/* Records the back end's answer to the last message. */
void device_note_answer(Device *device, const Message *message);

/* Return: whether the back end has to answer the message. */
bool message_wants_answer(const Message *message);
/* Makes the answer in place of the back end that has died. */
void device_answer(Device *device, const Message *message, Message *ret_answer);
/* To be called when another process has failed requests meanwhile: reads the rings again, and notifies the
 * guest, which the other process may not have done. */
void device_start_over(Device *device);
/* Fails the requests that wait in a ring, and notifies the guest. While the guest adds more, it writes to the
 * kick descriptor, so that the next turn comes after other work. */
void device_fail_ring(Device *device, size_t index, int error);

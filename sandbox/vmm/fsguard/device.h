/* What a vhost-user front end (QEMU) has told its back end about a device: enough to take the back end's
 * place when it dies. (https://qemu-project.gitlab.io/qemu/interop/vhost-user.html)
 *
 * Owns the descriptors that came with the messages.
 */
#pragma once

#include "sandbox/vmm/fsguard/memory.h"
#include "sandbox/vmm/fsguard/ring.h"

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
    int kick_fd; /* -1: it is stopped */
    int call_fd; /* -1: none */
} DeviceRing;

typedef struct {
    Memory memory;
    DeviceRing rings[DEVICE_RINGS_MAX];
    bool event_index;
    uint64_t answers[64]; /* the dead back end's, to what is asked about it as a whole */
} Device;

void device_init(Device *device);
/* A message to the back end; takes the descriptors over. */
void device_note(Device *device, const Message *message, const int *fds, size_t n_fds);
/* The back end's answer to one. */
void device_note_answer(Device *device, const Message *message);

/* It wants an answer of the back end's. */
bool message_wants_answer(const Message *message);
/* The answer in the dead back end's place. */
void device_answer(Device *device, const Message *message, Message *ret_answer);
/* Another process has failed requests since, of which this one knows nothing, and may not have told the
 * guest. */
void device_start_over(Device *device);
/* Fails what waits in a ring, and tells the guest. */
void device_fail_ring(Device *device, size_t index, int error);

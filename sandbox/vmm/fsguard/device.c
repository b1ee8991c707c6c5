/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/fsguard/device.h"

#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

enum { FLAG_VERSION = 1, FLAG_REPLY = 4, FLAG_NEED_REPLY = 8 };
#define NO_DESCRIPTOR (UINT64_C(1) << 8)

typedef struct {
    uint64_t guest, size, user, offset;
} RegionPayload;

typedef struct {
    uint32_t index, flags;
    uint64_t descriptors, used, available, log;
} AddressPayload;

typedef struct {
    uint32_t index, number;
} StatePayload;

void device_init(Device *device)
{
    memset(device, 0, sizeof *device);
    for (size_t i = 0; i < DEVICE_RINGS_MAX; i++)
        device->rings[i].kick_fd = device->rings[i].call_fd = -1;
}

/* Reads a part of the payload; zeros when the payload is too short. */
static void payload_read(const Message *message, size_t offset, void *ret_value, size_t size)
{
    memset(ret_value, 0, size);
    if (offset < message->size && size <= message->size - offset)
        memcpy(ret_value, message->payload + offset, size);
}

static uint64_t payload_number(const Message *message)
{
    uint64_t number;

    payload_read(message, 0, &number, sizeof number);
    return number;
}

/* Return: NULL when there is no such ring. */
static DeviceRing *ring_find(Device *device, uint64_t index)
{
    return index < DEVICE_RINGS_MAX ? &device->rings[index] : NULL;
}

static int steal_fd(int *fds, size_t n_fds, size_t index)
{
    int fd = -1;

    if (index < n_fds) {
        fd = fds[index];
        fds[index] = -1;
    }
    return fd;
}

static void replace_fd(int *place, int fd)
{
    if (*place >= 0)
        close(*place);
    *place = fd;
}

static void record_region(Device *device, const Message *message, size_t offset, int fd)
{
    RegionPayload region;

    payload_read(message, offset, &region, sizeof region);
    memory_add(&device->memory, region.guest, region.size, region.user, region.offset, fd);
}

static void record_table(Device *device, const Message *message, int *fds, size_t n_fds)
{
    uint32_t count;

    payload_read(message, 0, &count, sizeof count);
    memory_clear(&device->memory);
    for (uint32_t i = 0; i < count && i < n_fds; i++)
        record_region(device, message, 8 + i * sizeof(RegionPayload), steal_fd(fds, n_fds, i));
}

static void record_region_gone(Device *device, const Message *message)
{
    RegionPayload region;

    payload_read(message, 8, &region, sizeof region);
    memory_remove(&device->memory, region.guest, region.size);
}

static void record_address(Device *device, const Message *message)
{
    AddressPayload address;
    DeviceRing *place;

    payload_read(message, 0, &address, sizeof address);
    place = ring_find(device, address.index);
    if (place == NULL)
        return;
    place->ring.descriptors = address.descriptors;
    place->ring.available = address.available;
    place->ring.used = address.used;
}

static void record_size(Device *device, const Message *message)
{
    StatePayload state;
    DeviceRing *place;

    payload_read(message, 0, &state, sizeof state);
    place = ring_find(device, state.index);
    if (place != NULL)
        place->ring.size = state.number;
}

/* A ring that is started again has no request of its past in progress. */
static void record_base(Device *device, const Message *message)
{
    StatePayload state;
    DeviceRing *place;

    payload_read(message, 0, &state, sizeof state);
    place = ring_find(device, state.index);
    if (place != NULL)
        place->ring.taken_over = false;
}

static void record_descriptor(Device *device, const Message *message, int *fds, size_t n_fds)
{
    uint64_t number = payload_number(message);
    DeviceRing *place = ring_find(device, number & ~NO_DESCRIPTOR & UINT8_MAX);
    int fd = (number & NO_DESCRIPTOR) != 0 ? -1 : steal_fd(fds, n_fds, 0);

    if (place != NULL)
        replace_fd(message->request == SET_VRING_KICK ? &place->kick_fd : &place->call_fd, fd);
    else if (fd >= 0)
        close(fd);
}

static void record_stopped(Device *device, const Message *message)
{
    StatePayload state;
    DeviceRing *place;

    payload_read(message, 0, &state, sizeof state);
    place = ring_find(device, state.index);
    if (place != NULL)
        replace_fd(&place->kick_fd, -1);
}

void device_detach(Device *device, Memory *ret_memory)
{
    *ret_memory = device->memory;
    device->memory = (Memory){.holes = ret_memory->holes, .n_holes = ret_memory->n_holes};
    for (size_t i = 0; i < DEVICE_RINGS_MAX; i++) {
        replace_fd(&device->rings[i].kick_fd, -1);
        replace_fd(&device->rings[i].call_fd, -1);
        device->rings[i].ring = (Ring){0};
    }
}

void device_note(Device *device, const Message *message, const int *fds, size_t n_fds)
{
    int left[MESSAGE_FDS_MAX];

    n_fds = n_fds < MESSAGE_FDS_MAX ? n_fds : MESSAGE_FDS_MAX;
    if (n_fds > 0)
        memcpy(left, fds, n_fds * sizeof *fds);
    switch (message->request) {
    case SET_FEATURES:
        device->features = payload_number(message);
        device->event_index = (payload_number(message) >> VIRTIO_RING_F_EVENT_IDX & 1) != 0;
        break;
    case SET_PROTOCOL_FEATURES:
        device->protocol_features = payload_number(message);
        break;
    case SET_MEM_TABLE:
        record_table(device, message, left, n_fds);
        break;
    case ADD_MEM_REG:
        record_region(device, message, 8, steal_fd(left, n_fds, 0));
        break;
    case REM_MEM_REG:
        record_region_gone(device, message);
        break;
    case SET_VRING_NUM:
        record_size(device, message);
        break;
    case SET_VRING_ADDR:
        record_address(device, message);
        break;
    case SET_VRING_BASE:
        record_base(device, message);
        break;
    case GET_VRING_BASE:
        record_stopped(device, message);
        break;
    case SET_VRING_KICK:
    case SET_VRING_CALL:
        record_descriptor(device, message, left, n_fds);
        break;
    default:
        break;
    }
    for (size_t i = 0; i < n_fds; i++)
        if (left[i] >= 0)
            close(left[i]);
}

void device_note_answer(Device *device, const Message *message)
{
    if (message->request < sizeof device->answers / sizeof *device->answers)
        device->answers[message->request] = payload_number(message);
}

bool message_wants_answer(const Message *message)
{
    switch (message->request) {
    case GET_FEATURES:
    case GET_VRING_BASE:
    case GET_PROTOCOL_FEATURES:
    case GET_QUEUE_NUM:
    case GET_CONFIG:
    case GET_INFLIGHT_FD:
    case GET_MAX_MEM_SLOTS:
        return true;
    default:
        return (message->flags & FLAG_NEED_REPLY) != 0;
    }
}

static uint64_t answer_number(const Device *device, const Message *message)
{
    StatePayload state;

    switch (message->request) {
    case GET_FEATURES:
    case GET_PROTOCOL_FEATURES:
    case GET_QUEUE_NUM:
    case GET_MAX_MEM_SLOTS:
        return device->answers[message->request];
    case GET_VRING_BASE:
        payload_read(message, 0, &state, sizeof state);
        state.number = state.index < DEVICE_RINGS_MAX ? device->rings[state.index].ring.next : 0;
        return (uint64_t)state.number << 32 | state.index;
    default:
        return 0; /* success */
    }
}

void device_answer(Device *device, const Message *message, Message *ret_answer)
{
    uint64_t number = answer_number(device, message);

    memset(ret_answer, 0, sizeof *ret_answer);
    ret_answer->request = message->request;
    ret_answer->flags = FLAG_VERSION | FLAG_REPLY;
    ret_answer->size = sizeof number;
    memcpy(ret_answer->payload, &number, sizeof number);
}

/* When the counter is full, the other end has been notified already. */
static void add_to_eventfd(int fd)
{
    static const uint64_t one = 1;

    if (fd >= 0)
        (void)!write(fd, &one, sizeof one);
}

static void notify_guest(const DeviceRing *place)
{
    add_to_eventfd(place->call_fd);
}

void device_start_over(Device *device)
{
    for (size_t i = 0; i < DEVICE_RINGS_MAX; i++) {
        device->rings[i].ring.taken_over = false;
        notify_guest(&device->rings[i]);
    }
}

void device_fail_ring(Device *device, size_t index, int error)
{
    DeviceRing *place = &device->rings[index];
    bool more = false;

    memory_map(&device->memory);
    if (place->kick_fd >= 0 && ring_fail(&place->ring, &device->memory, device->event_index, error, &more))
        notify_guest(place);
    if (more)
        add_to_eventfd(place->kick_fd);
}

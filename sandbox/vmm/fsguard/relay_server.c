/* SPDX-License-Identifier: Apache-2.0 */
/* The server's end of the relay: its rings, and what it is told of them. */
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sandbox/vmm/fsguard/message_io.h"
#include "sandbox/vmm/fsguard/relay_private.h"

enum {
    CONFIGURE_MEM_SLOTS = 15, /* bits of features */
    FEATURE_LOG_ALL = 26,
};

void relay_wake(int fd)
{
    static const uint64_t one = 1;

    if (fd >= 0)
        (void)!write(fd, &one, sizeof one);
}

void relay_calm(int fd)
{
    uint64_t count;

    (void)!read(fd, &count, sizeof count);
}

bool relay_suits(const Device *device)
{
    return (device->protocol_features >> CONFIGURE_MEM_SLOTS & 1) != 0 &&
           (device->answers[GET_FEATURES] >> VIRTIO_RING_F_INDIRECT_DESC & 1) != 0;
}

/* ---- the server's end ---- */

struct vring_avail *server_available(const Relay *relay)
{
    return (void *)relay->window->rings[REQUEST_RING].available;
}

struct vring_used *server_used(const Relay *relay)
{
    return (void *)relay->window->rings[REQUEST_RING].used;
}

static bool tell(int fd, uint32_t request, const void *payload, uint32_t size, int passed)
{
    Message message = {.request = request, .flags = 1, .size = size};

    memcpy(message.payload, payload, size);
    return message_write(fd, &message, &passed, passed >= 0 ? 1 : 0);
}

static bool tell_number(int fd, uint32_t request, uint64_t number, int passed)
{
    return tell(fd, request, &number, sizeof number, passed);
}

static bool tell_region(int fd, uint64_t guest, uint64_t size, uint64_t user, uint64_t offset, int passed)
{
    const uint64_t region[] = {0, guest, size, user, offset};

    return tell(fd, ADD_MEM_REG, region, sizeof region, passed);
}

/* kick_fd: each ring has one of its own, because a thread of the server reads it. */
static bool tell_ring(const Relay *relay, uint32_t index, int kick_fd)
{
    const uint32_t size[] = {index, SLOTS}, base[] = {index, 0}, enable[] = {index, 1};
    const uint64_t at = WINDOW_USER + index * sizeof(WindowRing);
    const uint64_t address[] = {index, at + offsetof(WindowRing, descriptors),
                                at + offsetof(WindowRing, used), at + offsetof(WindowRing, available), 0};
    int fd = relay->server_fd;

    return kick_fd >= 0 && tell(fd, SET_VRING_NUM, size, sizeof size, -1) &&
           tell(fd, SET_VRING_BASE, base, sizeof base, -1) &&
           tell(fd, SET_VRING_ADDR, address, sizeof address, -1) &&
           tell_number(fd, SET_VRING_CALL, index, relay->call_fd) &&
           tell_number(fd, SET_VRING_KICK, index, kick_fd) &&
           tell(fd, SET_VRING_ENABLE, enable, sizeof enable, -1);
}

static bool tell_rings(const Relay *relay)
{
    int unused = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool good = tell_ring(relay, 0, unused) && tell_ring(relay, REQUEST_RING, relay->kick_fd);

    if (unused >= 0)
        close(unused);
    return good;
}

static uint64_t server_features(uint64_t features)
{
    return (features | UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC) &
           ~(UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX | UINT64_C(1) << FEATURE_LOG_ALL);
}

/* The window takes one place of the server's memory regions. */
void relay_adapt_answer(Message *message)
{
    uint64_t number;

    if (message->request != GET_MAX_MEM_SLOTS || message->size < sizeof number)
        return;
    memcpy(&number, message->payload, sizeof number);
    number -= number > 0;
    memcpy(message->payload, &number, sizeof number);
}

void relay_adapt(Message *message)
{
    uint64_t features;

    if (message->request != SET_FEATURES || message->size < sizeof features)
        return;
    memcpy(&features, message->payload, sizeof features);
    features = server_features(features);
    memcpy(message->payload, &features, sizeof features);
}

bool server_connect(Relay *relay, int server_fd)
{
    Shared *shared = relay->shared;

    relay->server_fd = server_fd;
    memset(relay->window->rings, 0, sizeof relay->window->rings);
    shared->server_seen = 0;
    relay->generation = ++shared->generation;
    shared->begun = 1;
    relay_calm(relay->call_fd);
    relay_calm(relay->kick_fd);
    return tell_region(server_fd, WINDOW_GUEST, sizeof(Window), WINDOW_USER, 0, relay->window_fd) &&
           tell_rings(relay);
}

bool relay_begin(Relay *relay, int server_fd)
{
    return server_connect(relay, server_fd) &&
           (!relay->shared->is_restored || replay(relay, &(RelayRecovery){0}));
}

bool relay_has_begun(const Relay *relay)
{
    return relay->shared->begun != 0;
}

bool relay_has_session(const Relay *relay)
{
    return relay->shared->begun && relay->shared->n_init_answer > 0;
}

/* What QEMU told the first server. */
bool server_introduce(const Device *device, int fd)
{
    bool good = tell_number(fd, SET_PROTOCOL_FEATURES, device->protocol_features & ~(UINT64_C(1) << 5), -1) &&
                tell(fd, SET_OWNER, "", 0, -1) &&
                tell_number(fd, SET_FEATURES, server_features(device->features), -1);

    for (size_t i = 0; i < device->memory.n_regions; i++) {
        const MemoryRegion *region = &device->memory.regions[i];

        good = good && tell_region(fd, region->guest, region->size, region->user, region->offset, region->fd);
    }
    return good;
}

int relay_answers_fd(const Relay *relay)
{
    return relay->server_fd >= 0 && relay->shared->begun ? relay->call_fd : -1;
}

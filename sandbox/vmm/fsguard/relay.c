/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/fsguard/relay.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sandbox/vmm/fsguard/relay_private.h"

enum { ROUNDS = 2 /* as in ring.c */ };

/* ---- the relay ---- */

static bool relay_map(Relay *relay)
{
    relay->window_fd = memfd_create("fsguard", MFD_CLOEXEC);
    if (relay->window_fd < 0 || ftruncate(relay->window_fd, sizeof(Window)) != 0)
        return false;
    relay->window =
        mmap(NULL, sizeof(Window), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, relay->window_fd, 0);
    relay->shared =
        mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    relay->table = table_new();
    return relay->window != MAP_FAILED && relay->shared != MAP_FAILED && relay->table != NULL;
}

static void free_slots_find(Relay *relay)
{
    Shared *shared = relay->shared;

    shared->free_slot = shared->n_free = 0;
    for (uint32_t i = SLOTS; i-- > 0;)
        if (shared->slots[i].state == SLOT_FREE) {
            shared->slots[i].next_free = shared->free_slot;
            shared->free_slot = i + 1;
            shared->n_free++;
        }
}

Relay *relay_new(Device *device)
{
    Relay *relay = calloc(1, sizeof *relay);

    if (relay == NULL)
        return NULL;
    relay->device = device;
    relay->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    relay->server_fd = -1;
    if (relay->kick_fd < 0 || relay->call_fd < 0 || !relay_map(relay)) {
        relay_free(relay);
        return NULL;
    }
    free_slots_find(relay);
    return relay;
}

void relay_free(Relay *relay)
{
    if (relay == NULL)
        return;
    if (relay->window != NULL && relay->window != MAP_FAILED)
        munmap(relay->window, sizeof(Window));
    if (relay->shared != NULL && relay->shared != MAP_FAILED)
        munmap(relay->shared, sizeof(Shared));
    table_free(relay->table);
    close(relay->window_fd);
    close(relay->kick_fd);
    close(relay->call_fd);
    free(relay);
}

/* ---- the guest's end ---- */

/* Takes the requests of a ring that the guest has made available, at most `most`. */
static void take_requests(Relay *relay, uint32_t index, const RingView *view, uint32_t most)
{
    uint16_t *next = &relay->shared->next[index];

    for (; most > 0 && *next != ring_available(view); most--) {
        Slot *slot = slot_new(relay, SLOTS_RESERVE);

        if (slot == NULL)
            return;
        slot->ring = index;
        slot->head = view->available->ring[*next & (view->size - 1)];
        slot->position = *next;
        slot->state = SLOT_GUEST;
        ++*next;
        slot_submit(relay, slot, false);
    }
}

static void work_ring(Relay *relay, uint32_t index)
{
    DeviceRing *place = &relay->device->rings[index];
    RingView view;

    if (place->kick_fd < 0 || !guest_view(relay, index, &view))
        return;
    take_requests(relay, index, &view, ROUNDS * view.size);
    ring_ask_for_kicks(&view, relay->shared->next[index], relay->device->event_index);
    if (relay->shared->next[index] != ring_available(&view) && relay->shared->n_free > SLOTS_RESERVE)
        relay_wake(place->kick_fd);
}

/* The index of a ring's used part, to know later whether the guest wants a notice. */
static void note_used(const Relay *relay, uint16_t *ret_used)
{
    RingView view;

    for (uint32_t i = 0; i < DEVICE_RINGS_MAX; i++)
        if (relay->device->rings[i].kick_fd >= 0 && guest_view(relay, i, &view))
            ret_used[i] = view.used->idx;
}

static void notify_guest(const Relay *relay, const uint16_t *used)
{
    RingView view;

    for (uint32_t i = 0; i < DEVICE_RINGS_MAX; i++)
        if (relay->device->rings[i].kick_fd >= 0 && guest_view(relay, i, &view) &&
            view.used->idx != used[i] && ring_wants_notice(&view, relay->device->event_index, used[i]))
            relay_wake(relay->device->rings[i].call_fd);
}

void relay_work(Relay *relay)
{
    uint16_t used[DEVICE_RINGS_MAX] = {0};
    uint16_t before;

    if (relay->server_fd < 0 || !relay->shared->begun)
        return;
    memory_map(&relay->device->memory);
    note_used(relay, used);
    take_answers(relay);
    before = server_available(relay)->idx;
    for (uint32_t i = 0; i < DEVICE_RINGS_MAX; i++)
        work_ring(relay, i);
    pass_forgets(relay);
    if (server_available(relay)->idx != before)
        server_kick(relay);
    notify_guest(relay, used);
}

void relay_hear(Relay *relay)
{
    relay_calm(relay->call_fd);
    relay_work(relay);
}

/* ---- without a server ---- */

void relay_lose_server(Relay *relay)
{
    Shared *shared = relay->shared;

    memory_map(&relay->device->memory);
    if (relay->server_fd >= 0 && shared->begun) {
        uint16_t used[DEVICE_RINGS_MAX] = {0};

        note_used(relay, used);
        take_answers(relay); /* the last ones */
        notify_guest(relay, used);
    }
    relay->server_fd = -1;
    relay->generation = ++shared->generation; /* a standby that is older takes over without a server */
    for (uint32_t i = 0; i < SLOTS; i++)
        if (shared->slots[i].state == SLOT_PRIVATE || shared->slots[i].state == SLOT_ANSWERED)
            slot_free(relay, &shared->slots[i]);
    table_begin(relay->table);
    table_displace(relay->table);
    table_end(relay->table);
}

/* Answers what is under way for a ring. */
static void give_up(Relay *relay, size_t index, int error)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        if (relay->shared->slots[i].state == SLOT_GUEST && relay->shared->slots[i].ring == index)
            slot_give_up(relay, &relay->shared->slots[i], error);
    relay_wake(relay->device->rings[index].call_fd);
}

void relay_fail(Relay *relay, size_t index, int error)
{
    Ring *ring = &relay->device->rings[index].ring;

    if (relay->device->rings[index].kick_fd < 0)
        return;
    memory_map(&relay->device->memory);
    give_up(relay, index, error);
    ring->taken_over = true;
    ring->next = relay->shared->next[index];
    device_fail_ring(relay->device, index, error);
    relay->shared->next[index] = ring->next;
}

static bool is_busy(const Relay *relay, size_t index)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        if (relay->shared->slots[i].state == SLOT_GUEST && relay->shared->slots[i].ring == index)
            return true;
    return false;
}

void relay_drain(Relay *relay, size_t index, int error)
{
    Ring *ring;

    if (index >= DEVICE_RINGS_MAX)
        return;
    ring = &relay->device->rings[index].ring;
    memory_map(&relay->device->memory);
    while (relay->server_fd >= 0 && is_busy(relay, index)) {
        struct pollfd polled[] = {{.fd = relay->call_fd, .events = POLLIN}, {.fd = relay->server_fd}};

        if (poll(polled, 2, ANSWER_TIMEOUT_MS) <= 0 || (polled[1].revents & (POLLHUP | POLLERR)) != 0)
            break;
        relay_calm(relay->call_fd);
        take_answers(relay);
    }
    give_up(relay, index, error);
    ring->next = relay->shared->next[index];
}

bool relay_note(Relay *relay, const Message *message)
{
    uint32_t state[2] = {DEVICE_RINGS_MAX, 0};

    switch (message->request) {
    case SET_VRING_BASE:
        if (message->size >= sizeof state)
            memcpy(state, message->payload, sizeof state);
        if (state[0] < DEVICE_RINGS_MAX)
            relay->shared->next[state[0]] = (uint16_t)state[1];
        return true;
    case GET_VRING_BASE:
        if (message->size >= sizeof state)
            memcpy(state, message->payload, sizeof state);
        relay_drain(relay, state[0], ENOTCONN);
        return true;
    case SET_VRING_NUM:
    case SET_VRING_ADDR:
    case SET_VRING_KICK:
    case SET_VRING_CALL:
    case SET_VRING_ERR:
    case SET_VRING_ENABLE:
        return true;
    default:
        return false;
    }
}

/* ---- the next server ---- */

static int earlier(const void *a, const void *b)
{
    const Slot *one = *(Slot *const *)a, *other = *(Slot *const *)b;

    return one->sequence < other->sequence ? -1 : one->sequence > other->sequence;
}

/* Passes on what the dead server had taken, in its order. */
static void repeat_all(Relay *relay, RelayRecovery *recovery)
{
    static Slot *waiting[SLOTS];
    uint16_t before = server_available(relay)->idx;
    size_t n = 0;

    for (uint32_t i = 0; i < SLOTS; i++)
        if (relay->shared->slots[i].state == SLOT_GUEST)
            waiting[n++] = &relay->shared->slots[i];
    qsort(waiting, n, sizeof(Slot *), earlier); /* NOLINT(bugprone-sizeof-expression): pointers are sorted */
    for (size_t i = 0; i < n; i++) {
        slot_submit(relay, waiting[i], true);
        recovery->refused += waiting[i]->state == SLOT_FREE;
    }
    recovery->repeated = (uint32_t)n;
    if (server_available(relay)->idx != before)
        server_kick(relay);
}

bool relay_recover(Relay *relay, int server_fd, RelayRecovery *ret_recovery)
{
    uint16_t used[DEVICE_RINGS_MAX] = {0};
    bool good;

    *ret_recovery = (RelayRecovery){0};
    memory_map(&relay->device->memory);
    note_used(relay, used);
    good = server_introduce(relay->device, server_fd) &&
           (!relay->shared->begun || (server_connect(relay, server_fd) && replay(relay, ret_recovery)));
    if (!good) {
        relay_lose_server(relay);
        return false;
    }
    if (relay->shared->begun)
        repeat_all(relay, ret_recovery);
    notify_guest(relay, used);
    relay_work(relay);
    return true;
}

/* ---- a standby ---- */

/* A request at which the killed process was cut off. */
static void slot_take_over(Relay *relay, Slot *slot)
{
    RingView view;

    const bool is_in_ring = slot->state == SLOT_GUEST && slot->position == relay->shared->next[slot->ring];

    if (is_in_ring || slot->state == SLOT_ANSWERED) {
        slot->state = SLOT_FREE;
    } else if (slot->state == SLOT_GUEST && relay->server_fd >= 0) {
        if (!slot->published)
            slot_submit(relay, slot, false);
        else if (slot->available_at == server_available(relay)->idx)
            slot_publish(relay, slot);
    } else if (slot->state == SLOT_DONE) {
        if (guest_view(relay, slot->ring, &view) && view.used->idx == slot->used_at)
            ring_return(&view, slot->head, slot->used_length);
        slot->state = SLOT_FREE;
    }
}

bool relay_take_over(Relay *relay)
{
    bool same = relay->generation == relay->shared->generation;

    if (!same)
        relay->server_fd = -1;
    memory_map(&relay->device->memory);
    if (table_is_dirty(relay->table))
        table_repair(relay->table);
    for (uint32_t i = 0; i < SLOTS; i++)
        slot_take_over(relay, &relay->shared->slots[i]);
    free_slots_find(relay);
    for (uint32_t i = 0; i < DEVICE_RINGS_MAX; i++)
        relay_wake(relay->device->rings[i].call_fd);
    if (relay->server_fd >= 0 && relay->shared->begun) {
        relay_wake(relay->kick_fd);
        relay_work(relay);
    }
    return same;
}

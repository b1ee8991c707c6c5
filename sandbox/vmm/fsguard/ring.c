/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/fsguard/ring.h"

#include <linux/fuse.h>
#include <linux/virtio_ring.h>
#include <string.h>

/* How often all entries of a ring are answered before others have their turn: a guest that adds requests as
 * fast as they are answered must not keep the process from QEMU's messages. */
enum { ROUNDS = 2 };

typedef RingView View;

/* Return: whether the pointer is not NULL, and aligned. */
static bool is_aligned(const void *pointer, uintptr_t alignment)
{
    return pointer != NULL && (uintptr_t)pointer % alignment == 0;
}

bool ring_view(const Ring *ring, const Memory *memory, RingView *ret_view)
{
    uint64_t size = ring->size;
    View view = {.size = ring->size};

    if (size == 0 || size > RING_SIZE_MAX || (size & (size - 1)) != 0)
        return false;
    view.descriptors = memory_at_user(memory, ring->descriptors, size * sizeof(struct vring_desc));
    view.available = memory_at_user(memory, ring->available, 4 + size * 2 + 2);
    view.used = memory_at_user(memory, ring->used, 4 + size * sizeof(struct vring_used_elem) + 2);
    *ret_view = view;
    return is_aligned(view.descriptors, 16) && is_aligned(view.available, 2) && is_aligned(view.used, 4);
}

uint16_t ring_available(const View *view)
{
    return __atomic_load_n(&view->available->idx, __ATOMIC_ACQUIRE);
}

/* ---- one request ---- */

/* The start of a request's readable part, and where the start of its writable part is. */
typedef struct {
    struct fuse_in_header in;
    size_t n_in;
    uint8_t *out[sizeof(struct fuse_out_header)]; /* the place of each byte: parts may be cut anywhere */
    size_t n_out;
} Request;

typedef struct {
    Request *request;
    const Memory *memory;
} Reading;

static void request_add_part(void *data, const struct vring_desc *part)
{
    Request *request = ((const Reading *)data)->request;
    const Memory *memory = ((const Reading *)data)->memory;
    bool writable = (part->flags & VRING_DESC_F_WRITE) != 0;
    size_t wanted =
        writable ? sizeof(struct fuse_out_header) - request->n_out : sizeof request->in - request->n_in;
    size_t length = part->len < wanted ? part->len : wanted;
    uint8_t *bytes = length > 0 ? memory_at_guest(memory, part->addr, length) : NULL;

    if (bytes == NULL)
        return;
    if (writable) {
        for (size_t i = 0; i < length; i++)
            request->out[request->n_out++] = bytes + i;
    } else {
        memcpy((uint8_t *)&request->in + request->n_in, bytes, length);
        request->n_in += length;
    }
}

/* A chain is at most as long as its table, which also ends the walk along a circle. */
static void chain_walk(const Memory *memory, const void *table, uint32_t size, uint32_t at, bool indirect,
                       RingVisit visit, void *data)
{
    for (uint32_t steps = 0; at < size && steps < size; steps++) {
        struct vring_desc part;

        memcpy(&part, (const uint8_t *)table + (size_t)at * sizeof part, sizeof part);

        if ((part.flags & VRING_DESC_F_INDIRECT) != 0 && !indirect) {
            uint32_t count = part.len / sizeof(struct vring_desc);
            const void *inner = count <= RING_SIZE_MAX ? memory_at_guest(memory, part.addr, part.len) : NULL;

            if (inner != NULL)
                chain_walk(memory, inner, count, 0, true, visit, data);
            return;
        }
        visit(data, &part);
        if ((part.flags & VRING_DESC_F_NEXT) == 0)
            return;
        at = part.next;
    }
}

void ring_walk(const View *view, const Memory *memory, uint32_t head, RingVisit visit, void *data)
{
    chain_walk(memory, view->descriptors, view->size, head, false, visit, data);
}

static void request_read(const View *view, const Memory *memory, uint32_t head, Request *ret_request)
{
    Reading reading = {ret_request, memory};

    ret_request->n_in = ret_request->n_out = 0;
    ring_walk(view, memory, head, request_add_part, &reading);
}

/* An answer has the number of its request; in a new request there are zeros in its place. */
static bool is_answered(const View *view, const Memory *memory, uint32_t head)
{
    struct fuse_out_header answer;
    Request request;

    request_read(view, memory, head, &request);
    if (request.n_in < sizeof request.in || request.n_out < sizeof answer)
        return false;
    for (size_t i = 0; i < sizeof answer; i++)
        ((uint8_t *)&answer)[i] = *request.out[i];
    return answer.unique == request.in.unique && answer.len >= sizeof answer;
}

/* Return: the number of bytes written; 0 when the request needs no answer (FORGET). */
static uint32_t request_fail(const View *view, const Memory *memory, uint32_t head, int error)
{
    struct fuse_out_header answer = {.len = sizeof answer, .error = -error};
    Request request;

    request_read(view, memory, head, &request);
    if (request.n_in < sizeof request.in || request.n_out < sizeof answer)
        return 0;
    answer.unique = request.in.unique;
    for (size_t i = 0; i < sizeof answer; i++)
        *request.out[i] = ((const uint8_t *)&answer)[i]; /* NOLINT: clang loses the fields after the first */
    return sizeof answer;
}

void ring_return(const View *view, uint32_t head, uint32_t length)
{
    uint16_t at = view->used->idx;
    struct vring_used_elem *element = &view->used->ring[at & (view->size - 1)];

    element->len = length;
    element->id = head;
    __atomic_store_n(&view->used->idx, (uint16_t)(at + 1), __ATOMIC_RELEASE);
}

static void answer_request(const View *view, const Memory *memory, uint32_t head, int error)
{
    ring_return(view, head, request_fail(view, memory, head, error));
}

/* ---- the ring ---- */

/* By head: how often it was made available since some moment, less how often it was answered since. */
typedef struct {
    int32_t open[RING_SIZE_MAX];
    uint8_t answers[RING_SIZE_MAX]; /* Answer: looked at once, or a guest's long chains would take minutes */
    uint32_t n_odd;                 /* heads whose balance is neither 0 nor 1 */
} Balance;
typedef enum { ANSWER_UNKNOWN, ANSWER_NONE, ANSWER_FOUND } Answer;

static void balance_add(Balance *balance, uint32_t head, int change)
{
    int32_t *open = &balance->open[head % RING_SIZE_MAX];

    balance->n_odd -= *open != 0 && *open != 1;
    *open += change;
    balance->n_odd += *open != 0 && *open != 1;
}

static bool has_answer(Balance *balance, const View *view, const Memory *memory, uint32_t head)
{
    uint8_t *answer = &balance->answers[head];

    if (*answer == ANSWER_UNKNOWN)
        *answer = is_answered(view, memory, head) ? ANSWER_FOUND : ANSWER_NONE;
    return *answer == ANSWER_FOUND;
}

static bool balance_is_true(Balance *balance, const View *view, const Memory *memory)
{
    if (balance->n_odd > 0)
        return false;
    for (uint32_t head = 0; head < view->size; head++)
        if (balance->open[head] == 1 && has_answer(balance, view, memory, head))
            return false;
    return true;
}

/* Only the dead server had a record of the requests that it took and did not answer. But if at some moment
 * all requests were answered, then the requests since that moment, less the answers since, are the open ones.
 * The moment is right when each head is open once or not at all. The rings reach back far enough, because a
 * server works on one batch of requests at a time. */
static void balance_find(Balance *balance, const View *view, const Memory *memory, uint16_t answered,
                         uint16_t end)
{
    uint32_t mask = view->size - 1;
    uint16_t begin = (uint16_t)(end - view->size);

    memset(balance, 0, sizeof *balance);
    for (uint16_t at = begin; at != end; at++)
        balance_add(balance, view->available->ring[at & mask], 1);
    for (uint16_t at = begin; at != answered; at++)
        balance_add(balance, view->used->ring[at & mask].id, -1);
    for (; begin != answered && !balance_is_true(balance, view, memory); begin++) {
        balance_add(balance, view->available->ring[begin & mask], -1);
        balance_add(balance, view->used->ring[begin & mask].id, 1);
    }
}

static void answer_taken(Ring *ring, const View *view, const Memory *memory, int error)
{
    static Balance balance;
    uint16_t end = ring_available(view), answered = view->used->idx;
    uint16_t under_way = (uint16_t)(end - answered);

    ring->taken_over = true;
    ring->next = end;
    if (under_way == 0 ||
        under_way > view->size) /* more than the ring holds: the guest has changed an index */
        return;
    balance_find(&balance, view, memory, answered, end);
    for (uint32_t head = 0; head < view->size && under_way > 0; head++)
        if (balance.open[head] > 0) {
            answer_request(view, memory, head, error);
            under_way--;
        }
}

bool ring_wants_notice(const View *view, bool event_index, uint16_t before)
{
    const uint16_t *event = &view->available->ring[view->size];

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (event_index)
        return vring_need_event(__atomic_load_n(event, __ATOMIC_RELAXED), view->used->idx, before) != 0;
    return view->used->idx != before && (view->available->flags & VRING_AVAIL_F_NO_INTERRUPT) == 0;
}

void ring_ask_for_kicks(const View *view, uint16_t next, bool event_index)
{
    uint16_t *event = (uint16_t *)(void *)&view->used->ring[view->size];

    view->used->flags = 0;
    if (event_index)
        *event = next;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool ring_fail(Ring *ring, const Memory *memory, bool event_index, int error, bool *ret_more)
{
    uint32_t left;
    uint16_t before;
    View view;

    *ret_more = false;
    if (!ring_view(ring, memory, &view))
        return false;
    before = view.used->idx;
    left = ROUNDS * view.size;
    if (!ring->taken_over)
        answer_taken(ring, &view, memory, error);
    do {
        for (; left > 0 && ring->next != ring_available(&view); ring->next++, left--)
            answer_request(&view, memory, view.available->ring[ring->next & (view.size - 1)], error);
        ring_ask_for_kicks(&view, ring->next, event_index);
    } while (left > 0 && ring->next != ring_available(&view));
    *ret_more = left == 0 && ring->next != ring_available(&view);
    return view.used->idx != before;
}

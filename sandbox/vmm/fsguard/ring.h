/* SPDX-License-Identifier: Apache-2.0 */
/* The device's end of a virtqueue of a guest: takes FUSE requests and returns them, or answers every one with
 * an error, in place of a file server that has died (VIRTIO 1.2, 2.7 "Split Virtqueues" and 5.11 "File System
 * Device").
 *
 * The ring is in the guest's memory, which the guest may change at any time: every index, address and length
 * is checked before it is used.
 */
#pragma once

#include <linux/virtio_ring.h>

#include "sandbox/vmm/fsguard/memory.h"

enum { RING_SIZE_MAX = 32768 };

typedef struct {
    uint32_t size;                         /* entries */
    uint64_t descriptors, available, used; /* addresses in the front end's process */
    bool taken_over;
    uint16_t next; /* the next available entry to answer, once taken over */
} Ring;

/* The three parts of a ring in this process, with room for the event index behind the last two. */
typedef struct {
    uint32_t size;
    const struct vring_desc *descriptors;
    const struct vring_avail *available;
    struct vring_used *used;
} RingView;

/* Return: false when the ring is not set up, or not in the guest's memory. */
bool ring_view(const Ring *ring, const Memory *memory, RingView *ret_view);
/* The number of requests that the guest has made available, modulo 65536. */
uint16_t ring_available(const RingView *view);
/* Calls visit for each part of a request, indirect ones too, at most as many as the table of parts has. */
typedef void (*RingVisit)(void *data, const struct vring_desc *part);
void ring_walk(const RingView *view, const Memory *memory, uint32_t head, RingVisit visit, void *data);
/* Returns a request to the guest, with that many bytes written. */
void ring_return(const RingView *view, uint32_t head, uint32_t length);
/* Return: whether the guest wants a notice of what was returned since the index of the used part was before.
 */
bool ring_wants_notice(const RingView *view, bool event_index, uint16_t before);
/* Asks the guest for a kick when it adds a request after `next`. */
void ring_ask_for_kicks(const RingView *view, uint16_t next, bool event_index);

/* Answers all requests without an answer with -error. The first call also answers those that the dead server
 * had taken and not answered. *ret_more: the guest adds requests meanwhile, and it has to be called again.
 * Return: whether the guest has to be notified. */
bool ring_fail(Ring *ring, const Memory *memory, bool event_index, int error, bool *ret_more);

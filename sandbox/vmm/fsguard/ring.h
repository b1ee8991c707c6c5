/* SPDX-License-Identifier: Apache-2.0 */
/* Answers every FUSE request in a virtqueue with an error, in place of a file server that has died
 * (VIRTIO 1.2, 2.7 "Split Virtqueues" and 5.11 "File System Device").
 *
 * The ring is in the guest's memory, which the guest may change at any time: every index, address and length
 * is checked before it is used.
 */
#pragma once

#include "sandbox/vmm/fsguard/memory.h"

enum { RING_SIZE_MAX = 32768 };

typedef struct {
    uint32_t size;                         /* entries */
    uint64_t descriptors, available, used; /* addresses in the front end's process */
    bool taken_over;
    uint16_t next; /* the next available entry to answer, once taken over */
} Ring;

/* Answers all requests without an answer with -error. The first call also answers those that the dead server
 * had taken and not answered. *ret_more: the guest adds requests meanwhile, and it has to be called again.
 * Return: whether the guest has to be notified. */
bool ring_fail(Ring *ring, const Memory *memory, bool event_index, int error, bool *ret_more);

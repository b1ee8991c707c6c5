/* Answers every FUSE request in a virtqueue with an error, in a dead file server's place.
 *
 * (VIRTIO 1.2, 2.7 "Split Virtqueues" and 5.11 "File System Device".) The ring is the guest's memory, which
 * the guest changes as it likes: every index, address and length is checked before it is used.
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

/* Answers what has no answer yet, with -error. The first time that includes what the dead server had taken
 * and not answered. True: the guest is to be notified. */
bool ring_fail(Ring *ring, const Memory *memory, bool event_index, int error);

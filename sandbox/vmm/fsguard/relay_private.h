/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the relay share: relay.c, relay_server.c, relay_request.c, relay_ask.c and replay.c. */
#pragma once

#include "sandbox/vmm/fsguard/call.h"
#include "sandbox/vmm/fsguard/relay.h"

/* The window in the address spaces of the guest and of QEMU, where neither has anything. */
#define WINDOW_GUEST (UINT64_C(1) << 52)
#define WINDOW_USER (UINT64_C(1) << 60)

enum {
    SLOTS = 1024, /* the size of the server's ring; libvhost-user allows no more parts of a request either */
    REQUEST_RING = 1,
    SLOTS_RESERVE = 8, /* for requests of the relay itself */
    PARTS_MAX = 1024,
    BOUNCE_BYTES = 2048,
    REPLY_BYTES = 512,
    INIT_BYTES = 64,
    INIT_ANSWER_BYTES = 80,
    ANSWER_TIMEOUT_MS = 20 * 1000,
};

/* The part of the window that belongs to a request. */
typedef struct {
    struct vring_desc parts[PARTS_MAX];
    uint8_t bounce[BOUNCE_BYTES]; /* the header and the first arguments */
    uint8_t reply[REPLY_BYTES];   /* to a request of the relay itself */
} WindowSlot;

typedef struct {
    _Alignas(4096) struct vring_desc descriptors[SLOTS];
    _Alignas(4096) uint16_t available[2 + SLOTS + 1];
    _Alignas(4096) uint8_t used[4 + SLOTS * sizeof(struct vring_used_elem) + 2];
} WindowRing;

typedef struct {
    WindowRing rings[2]; /* the server wants one for FORGET, which is not used */
    _Alignas(4096) WindowSlot slots[SLOTS];
} Window;

typedef enum {
    SLOT_FREE,
    SLOT_GUEST,   /* a request of the guest */
    SLOT_DONE,    /* its answer is being returned */
    SLOT_PRIVATE, /* a request of the relay */
    SLOT_ANSWERED,
} SlotState;

typedef struct {
    uint64_t sequence;
    uint32_t state;
    uint32_t ring;
    uint16_t head, position; /* position: the place of the request among those of its ring */
    uint16_t available_at, used_at;
    uint32_t used_length;
    uint32_t next_free;
    uint16_t n_parts, first_writable;
    uint8_t published, translated, waits;
    Call call;
} Slot;

/* In memory that forks share. */
typedef struct {
    uint64_t sequence;
    uint32_t generation; /* changes when a server comes or goes */
    uint32_t begun;
    uint8_t is_restored; /* the first server has yet to get what was loaded (relay_state.h) */
    uint8_t any_files;   /* files of other inodes may take the place of the guest's */
    uint32_t free_slot;  /* plus 1 */
    uint32_t n_free;
    uint16_t server_seen;            /* the server's answers that were dealt with */
    uint16_t next[DEVICE_RINGS_MAX]; /* the next request of the guest's rings */
    uint32_t n_init, n_init_answer;
    uint8_t init[INIT_BYTES], init_answer[INIT_ANSWER_BYTES];
    Slot slots[SLOTS];
} Shared;

struct Relay {
    Device *device;
    Table *table;
    Shared *shared;
    Window *window;
    int window_fd;
    int kick_fd, call_fd; /* of the server's rings */
    int server_fd;        /* -1: none; the caller's */
    uint32_t generation;
};

/* ---- relay_server.c ---- */

void relay_wake(int fd); /* an eventfd; -1: none */
void relay_calm(int fd);
struct vring_avail *server_available(const Relay *relay);
struct vring_used *server_used(const Relay *relay);
/* Tells a new server what QEMU told the first one. Return: false when it has died. */
bool server_introduce(const Device *device, int fd);

/* Gives the server its rings. */
bool server_connect(Relay *relay, int server_fd);

/* ---- relay_request.c ---- */

/* The parts of a request in the guest's memory. */
typedef struct {
    struct vring_desc out[PARTS_MAX], in[PARTS_MAX]; /* that the server reads, and writes */
    size_t n_out, n_in;
    uint64_t out_bytes, in_bytes;
    bool too_many;
} Parts;

/* Return: NULL when no more than `reserve` are free. */
Slot *slot_new(Relay *relay, uint32_t reserve);
void slot_free(Relay *relay, Slot *slot);
/* Fills the table of parts in the window: the header, n_args bytes of arguments, and the guest's parts from
 * `at`. */
void slot_build(const Relay *relay, Slot *slot, const Parts *parts, size_t at, size_t n_args);
/* Makes a request available to the server, which is kicked later. */
void slot_publish(Relay *relay, Slot *slot);
void server_kick(const Relay *relay);
WindowSlot *window_slot(const Relay *relay, const Slot *slot);
/* The guest's address of a place in the window. */
uint64_t window_address(const Relay *relay, const void *at);

bool guest_view(const Relay *relay, uint32_t ring, RingView *ret_view);
/* Reads a request from the guest's memory, and passes it on or answers it. again: a dead server had taken it.
 */
void slot_submit(Relay *relay, Slot *slot, bool again);
/* Returns a request to the guest, which is notified later. */
void slot_return(Relay *relay, Slot *slot, uint32_t length);
void slot_give_up(Relay *relay, Slot *slot, int error);
/* Deals with what the server has answered. */
void take_answers(Relay *relay);

/* ---- relay_ask.c ---- */

/* Has the server forget the nodes that the guest has forgotten. */
void pass_forgets(Relay *relay);
/* A request of the relay itself. Return: the server's errno; -1: the server has died or does not answer. */
int relay_ask(Relay *relay, uint32_t opcode, uint64_t server_node, const void *args, size_t n_args,
              void *ret_answer, size_t n_answer);
/* Takes back one LOOKUP of a node of the server. */
void relay_forget(Relay *relay, uint64_t server_node);

/* ---- replay.c ---- */

/* Gives the new server the session, the nodes, the handles and the locks. Return: as relay_recover(). */
bool replay(Relay *relay, RelayRecovery *recovery);

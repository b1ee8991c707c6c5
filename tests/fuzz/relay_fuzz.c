/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile guest of fsguard's relay: FUSE requests of any content, with a file server that answers anything,
 * dies at any time and is followed by a standby. What the guest may know of its server is checked to be
 * consistent.
 *
 * The input is a program: a byte chooses the step, and the bytes behind it are its parameters; an input that
 * ends is zeros. */
#include "sandbox/vmm/fsguard/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/vmm/fsguard/relay_private.h"
#include "tests/fuzz/input.h"

enum {
    MEMORY_BYTES = 1 << 18,
    SIZE = 16, /* of the rings */
    RING_BYTES = 0x4000,
    BUFFERS_AT = 2 * RING_BYTES,
    BUFFER_BYTES = 4096,
    ANSWER_AT = 2048,
    HOLE_AT = BUFFERS_AT + 3 * BUFFER_BYTES, /* memory that the server cannot see */
    MAX_STEPS = 200,
};
#define GUEST_BASE UINT64_C(0x40000000)
#define USER_BASE UINT64_C(0x7f0000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    Device device;
    Relay *relay;
    uint8_t *memory;
    int server, other_end;
    uint16_t answered; /* requests of the window that the server has answered or forgotten */
} guest;

static void take_bytes(Input *input, uint8_t *ret_bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ret_bytes[i] = take(input);
}

static void tell(uint32_t request, const void *payload, uint32_t length, int fd)
{
    Message message = {.request = request, .flags = 1, .size = length};

    memcpy(message.payload, payload, length);
    relay_note(guest.relay, &message);
    device_note(&guest.device, &message, &fd, fd >= 0 ? 1 : 0);
}

static void set_up_ring(uint32_t index)
{
    const uint32_t number[] = {index, SIZE}, base[] = {index, 0};
    const uint64_t at = USER_BASE + index * RING_BYTES, ring = index;
    const uint64_t addresses[] = {index, at, at + 0x2000, at + 0x1000, 0};

    tell(SET_VRING_NUM, number, sizeof number, -1);
    tell(SET_VRING_BASE, base, sizeof base, -1);
    tell(SET_VRING_ADDR, addresses, sizeof addresses, -1);
    tell(SET_VRING_CALL, &ring, sizeof ring, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    tell(SET_VRING_KICK, &ring, sizeof ring, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

static void server_begin(void)
{
    int ends[2];

    if (guest.server >= 0)
        return;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        abort();
    guest.server = ends[0];
    guest.other_end = ends[1];
    guest.answered = 0;
    if (!relay_begin(guest.relay, guest.server))
        abort();
}

static void server_end(Input *input)
{
    (void)input;
    if (guest.server < 0)
        return;
    relay_lose_server(guest.relay);
    close(guest.server);
    close(guest.other_end);
    guest.server = -1;
}

static void set_up(void)
{
    static const MemoryHole hole = {GUEST_BASE + HOLE_AT, GUEST_BASE + HOLE_AT + BUFFER_BYTES};
    const uint64_t table[] = {1, GUEST_BASE, MEMORY_BYTES, USER_BASE, 0};
    int file = memfd_create("guest", MFD_CLOEXEC);

    if (file < 0 || ftruncate(file, MEMORY_BYTES) != 0)
        abort();
    guest.memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    device_init(&guest.device);
    guest.device.memory.holes = &hole;
    guest.device.memory.n_holes = 1;
    guest.relay = relay_new(&guest.device);
    if (guest.memory == MAP_FAILED || guest.relay == NULL)
        abort();
    guest.server = -1;
    tell(SET_MEM_TABLE, table, sizeof table, file);
    set_up_ring(0);
    set_up_ring(1);
    server_begin();
}

static void tear_down(void)
{
    server_end(NULL);
    relay_free(guest.relay);
    for (uint64_t i = 0; i < 2; i++) {
        const uint64_t none = i | UINT64_C(1) << 8;
        Message message = {.request = SET_VRING_KICK, .flags = 1, .size = sizeof none};

        memcpy(message.payload, &none, sizeof none);
        device_note(&guest.device, &message, NULL, 0);
        message.request = SET_VRING_CALL;
        device_note(&guest.device, &message, NULL, 0);
    }
    memory_clear(&guest.device.memory);
    munmap(guest.memory, MEMORY_BYTES);
}

/* ---- the guest ---- */

/* Mostly small numbers, which may be those of nodes or handles. */
static void put_arguments(Input *input, uint8_t *at, size_t length)
{
    memset(at, 0, length);
    for (uint8_t n = take(input) % 8; n > 0; n--) {
        size_t place = take(input) % (length > 0 ? length : 1);

        if (place < length)
            at[place] = take(input);
    }
}

static void request(Input *input)
{
    static const uint32_t opcodes[] = {
        FUSE_LOOKUP,  FUSE_FORGET,       FUSE_GETATTR,   FUSE_SETATTR, FUSE_SYMLINK,     FUSE_MKNOD,
        FUSE_MKDIR,   FUSE_UNLINK,       FUSE_RENAME,    FUSE_LINK,    FUSE_OPEN,        FUSE_READ,
        FUSE_WRITE,   FUSE_RELEASE,      FUSE_FLUSH,     FUSE_INIT,    FUSE_OPENDIR,     FUSE_READDIR,
        FUSE_GETLK,   FUSE_SETLK,        FUSE_RENAME2,   FUSE_CREATE,  FUSE_READDIRPLUS, FUSE_COPY_FILE_RANGE,
        FUSE_DESTROY, FUSE_BATCH_FORGET, FUSE_FALLOCATE, 4711};
    const uint32_t ring = take(input) & 1, head = take(input) % (SIZE / 2) * 2;
    uint8_t *at = guest.memory + BUFFERS_AT + head / 2 * BUFFER_BYTES, shape = take(input);
    uint8_t *base = guest.memory + ring * RING_BYTES;
    struct vring_desc *descriptors = (void *)base;
    struct vring_avail *available = (void *)(base + 0x1000);
    struct fuse_in_header in = {.opcode = opcodes[take(input) % (sizeof opcodes / sizeof *opcodes)],
                                .unique = take(input),
                                .nodeid = take(input) % 8};
    uint32_t n_args = take(input);

    in.len = (uint32_t)sizeof in + n_args - ((shape & 1) != 0);
    memcpy(at, &in, sizeof in);
    put_arguments(input, at + sizeof in, n_args);
    memset(at + ANSWER_AT, 0, sizeof(struct fuse_out_header));
    descriptors[head] = (struct vring_desc){.addr = GUEST_BASE + (uint64_t)(at - guest.memory),
                                            .len = (uint32_t)sizeof in + n_args,
                                            .flags = VRING_DESC_F_NEXT,
                                            .next = (uint16_t)(head + 1)};
    descriptors[head + 1] =
        (struct vring_desc){.addr = GUEST_BASE + (uint64_t)(at - guest.memory) + ANSWER_AT,
                            .len = (shape & 2) != 0 ? take(input) : BUFFER_BYTES - ANSWER_AT,
                            .flags = VRING_DESC_F_WRITE};
    if ((shape & 4) != 0) /* anywhere, or a circle */
        descriptors[head + (take(input) & 1U)].addr = GUEST_BASE + take(input) * 1024U;
    if ((shape & 8) != 0) {
        descriptors[head + 1].flags |= VRING_DESC_F_NEXT;
        descriptors[head + 1].next = take(input) % SIZE;
    }
    available->ring[available->idx % SIZE] = (uint16_t)head;
    available->idx++;
}

static void poke(Input *input)
{
    uint32_t at = (uint32_t)(take(input) | take(input) << 8 | take(input) << 16) % (MEMORY_BYTES - 16);

    take_bytes(input, guest.memory + at, take(input) % 16);
}

/* ---- the server ---- */

/* An answer of that many bytes, which begins as answers do, to the oldest request or to any. */
static void answer(Input *input)
{
    Window *window = guest.relay->window;
    const struct vring_avail *available = (void *)window->rings[1].available;
    struct vring_used *used = (void *)window->rings[1].used;
    uint8_t shape = take(input);
    uint32_t id = (shape & 1) != 0 ? take(input) : available->ring[guest.answered % SLOTS];
    uint32_t length = (uint32_t)sizeof(struct fuse_out_header) + take(input);
    const Slot *slot = &guest.relay->shared->slots[id % SLOTS];

    if (guest.server < 0 || ((shape & 1) == 0 && guest.answered == available->idx))
        return;
    guest.answered += (shape & 1) == 0;
    if (slot->n_parts > slot->first_writable && slot->state == SLOT_GUEST) {
        const struct vring_desc *part = &window->slots[id % SLOTS].parts[slot->first_writable];
        uint8_t *at = memory_at_guest(&guest.device.memory, part->addr, part->len);
        struct fuse_out_header header = {.len = length, .error = (shape & 2) != 0 ? -EIO : 0};

        if (memory_has_hole(&guest.device.memory, part->addr, part->len))
            abort();
        if (at != NULL && part->len >= sizeof header) {
            memcpy(at, &header, sizeof header);
            put_arguments(input, at + sizeof header,
                          part->len - sizeof header < length ? part->len - sizeof header : length);
        }
    }
    used->ring[used->idx % SLOTS] = (struct vring_used_elem){.id = id, .len = length};
    used->idx++;
}

static void successor(Input *input)
{
    RelayRecovery recovery;
    int ends[2];

    (void)input;
    if (guest.server >= 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return;
    close(ends[1]); /* it dies while it is set up */
    if (relay_recover(guest.relay, ends[0], &recovery))
        abort();
    close(ends[0]);
}

static void next_server(Input *input)
{
    (void)input;
    server_begin();
}

/* ---- fsguard ---- */

static void work(Input *input)
{
    (void)input;
    relay_work(guest.relay);
}

static void give_up(Input *input)
{
    server_end(input);
    relay_fail(guest.relay, take(input) & 1U, ENOTCONN);
}

static void take_over(Input *input)
{
    if ((take(input) & 1) != 0)
        table_begin(guest.relay->table);
    relay_take_over(guest.relay);
}

/* Each child of a node, and each handle, is counted. */
static void check(void)
{
    Table *table = guest.relay->table;

    for (uint32_t id = TABLE_ROOT; id <= table_last_node(table); id++) {
        const Node *node = table_node(table, id);
        uint32_t children = 0, handles = 0;

        if (node == NULL)
            continue;
        for (uint32_t other = TABLE_ROOT; other <= table_last_node(table); other++) {
            const Node *child = table_node(table, other);

            children += child != NULL && child->parent == id;
        }
        for (uint32_t fh = 1; fh <= table_last_handle(table); fh++) {
            const Handle *handle = table_handle(table, fh);

            handles += handle != NULL && handle->node == id;
        }
        if (children != node->children || handles != node->handles)
            abort();
        if (node->parent != 0 && table_find(table, node->parent, table_name(table, node)) != id)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const steps[])(Input *) = {work,      request,   request, answer,     work,
                                             answer,    request,   poke,    server_end, next_server,
                                             successor, take_over, give_up};
    Input input = {data, size};

    set_up();
    for (int i = 0; i < MAX_STEPS && input.left > 0; i++)
        steps[take(&input) % (sizeof steps / sizeof *steps)](&input);
    check();
    tear_down();
    return 0;
}

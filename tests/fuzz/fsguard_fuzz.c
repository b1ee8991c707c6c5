/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile guest and a hostile QEMU of fsguard: rings with requests of any shape in a guest's memory that is
 * set up as QEMU does it, messages of any content, and what a dead server has left.
 *
 * The input is a program: a byte chooses the step, and the bytes behind it are its parameters; an input that
 * ends is zeros. Most addresses lie where they should, because a random one is refused at once. */
#include <errno.h>
#include <linux/fuse.h>
#include <linux/virtio_ring.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sandbox/vmm/fsguard/device.h"
#include "sandbox/vmm/fsguard/message_io.h"
#include "tests/fuzz/input.h"

/* Places in the memory; the largest ring has 256 entries. */
enum {
    MEMORY_BYTES = 1 << 16,
    DESCRIPTORS_AT = 0x0000,
    AVAILABLE_AT = 0x2000,
    USED_AT = 0x3000,
    INDIRECT_AT = 0x5000,
    BUFFERS_AT = 0x8000,
    BUFFER_BYTES = 128,
    BUFFERS = (MEMORY_BYTES - BUFFERS_AT) / BUFFER_BYTES,
    RINGS = 2,
    MAX_STEPS = 300,
};
#define GUEST_BASE UINT64_C(0x40000000)
#define USER_BASE UINT64_C(0x7f0000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    Device device;
    int file;
    uint8_t *memory;
    uint32_t size; /* of the rings */
} guest;

static uint16_t take16(Input *input)
{
    uint16_t low = take(input);

    return (uint16_t)(low | take(input) << 8);
}

static void tell(uint32_t request, const void *payload, uint32_t length, int fd)
{
    Message message = {.request = request, .flags = 1, .size = length};

    memcpy(message.payload, payload, length);
    device_note(&guest.device, &message, &fd, fd >= 0 ? 1 : 0);
}

static void set_up_ring(uint32_t index)
{
    const uint32_t number[] = {index, guest.size}, base[] = {index, 0};
    const uint64_t addresses[] = {index, USER_BASE + DESCRIPTORS_AT, USER_BASE + USED_AT,
                                  USER_BASE + AVAILABLE_AT, 0};
    const uint64_t ring = index;

    tell(SET_VRING_NUM, number, sizeof number, -1);
    tell(SET_VRING_BASE, base, sizeof base, -1);
    tell(SET_VRING_ADDR, addresses, sizeof addresses, -1);
    tell(SET_VRING_CALL, &ring, sizeof ring, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    tell(SET_VRING_KICK, &ring, sizeof ring, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

static void set_up(uint8_t shape)
{
    const uint64_t table[] = {1, GUEST_BASE, MEMORY_BYTES, USER_BASE, 0};
    const uint64_t features = (uint64_t)(shape >> 7) << VIRTIO_RING_F_EVENT_IDX;

    guest.file = memfd_create("guest", MFD_CLOEXEC);
    if (guest.file < 0 || ftruncate(guest.file, MEMORY_BYTES) != 0)
        abort();
    guest.memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, guest.file, 0);
    if (guest.memory == MAP_FAILED)
        abort();
    guest.size = 1U << (shape % 9);
    device_init(&guest.device);
    tell(SET_FEATURES, &features, sizeof features, -1);
    tell(SET_MEM_TABLE, table, sizeof table, dup(guest.file));
    for (uint32_t i = 0; i < RINGS; i++)
        set_up_ring(i);
}

static void tear_down(void)
{
    for (uint64_t i = 0; i < DEVICE_RINGS_MAX; i++) {
        const uint64_t none = i | UINT64_C(1) << 8;

        tell(SET_VRING_KICK, &none, sizeof none, -1);
        tell(SET_VRING_CALL, &none, sizeof none, -1);
    }
    memory_clear(&guest.device.memory);
    munmap(guest.memory, MEMORY_BYTES);
    close(guest.file);
}

static struct vring_avail *available(void)
{
    return (void *)(guest.memory + AVAILABLE_AT);
}

static struct vring_used *used(void)
{
    return (void *)(guest.memory + USED_AT);
}

static void make_available(uint16_t head)
{
    available()->ring[available()->idx % guest.size] = head;
    available()->idx++;
}

/* A part of a chain in the descriptor at that place of its table. */
static void put_part(Input *input, uint8_t *table, uint16_t at, uint16_t next)
{
    static const uint32_t lengths[] = {
        0,    1,         7, sizeof(struct fuse_out_header), sizeof(struct fuse_in_header), BUFFER_BYTES,
        4096, UINT32_MAX};
    uint8_t shape = take(input);
    struct vring_desc part = {.addr =
                                  GUEST_BASE + BUFFERS_AT + (uint64_t)(take(input) % BUFFERS) * BUFFER_BYTES,
                              .len = lengths[shape % 8],
                              .next = next};

    if ((shape & 0x08) != 0)
        part.flags |= VRING_DESC_F_WRITE;
    if ((shape & 0x10) == 0)
        part.flags |= VRING_DESC_F_NEXT;
    if ((shape & 0x60) == 0x60) { /* a table of descriptors, or of nonsense */
        part.flags |= VRING_DESC_F_INDIRECT;
        part.addr = GUEST_BASE + INDIRECT_AT;
        part.len = (shape & 0x07) * (uint32_t)sizeof part + (shape & 0x80 ? 3 : 0);
    }
    memcpy(table + at * sizeof part, &part, sizeof part);
}

/* A chain that begins at a head; each part leads to the next one, or to where the input says. */
static void put_chain(Input *input)
{
    uint16_t head = (uint16_t)(take(input) % guest.size);
    uint8_t shape = take(input);
    uint8_t *table = guest.memory + ((shape & 0x80) != 0 ? INDIRECT_AT : DESCRIPTORS_AT);
    uint32_t size = (shape & 0x80) != 0 ? 256 : guest.size;

    for (uint32_t i = 0; i <= shape % 8U; i++) {
        uint16_t at = (uint16_t)((head + i) % size);

        put_part(input, table, at, (shape & 0x40) != 0 ? take16(input) : (uint16_t)((at + 1U) % size));
    }
    if ((shape & 0x80) == 0)
        make_available(head);
}

/* A request as guests make it: readable header, writable answer. */
static void put_request(Input *input)
{
    uint16_t head = (uint16_t)(take(input) % guest.size);
    uint8_t *request = guest.memory + BUFFERS_AT + (head * 2U % BUFFERS) * BUFFER_BYTES;
    struct fuse_in_header in = {.len = sizeof in, .opcode = FUSE_GETATTR, .unique = take(input)};
    struct vring_desc parts[] = {
        {GUEST_BASE + (uint64_t)(request - guest.memory), sizeof in, VRING_DESC_F_NEXT,
         (uint16_t)((head + 1U) % guest.size)},
        {GUEST_BASE + (uint64_t)(request - guest.memory) + sizeof in, BUFFER_BYTES - sizeof in,
         VRING_DESC_F_WRITE, 0},
    };

    memcpy(request, &in, sizeof in);
    memset(request + sizeof in, 0, BUFFER_BYTES - sizeof in);
    for (uint32_t i = 0; i < 2; i++)
        memcpy(guest.memory + DESCRIPTORS_AT + (head + i) % guest.size * sizeof *parts, &parts[i],
               sizeof *parts);
    make_available(head);
}

/* The answer of the server, before it died: whole, or half done. */
static void put_answer(Input *input)
{
    uint16_t head = (uint16_t)(take(input) % guest.size);
    uint8_t shape = take(input);
    uint8_t *request = guest.memory + BUFFERS_AT + (head * 2U % BUFFERS) * BUFFER_BYTES;
    struct fuse_out_header out = {.len = sizeof out};

    memcpy(&out.unique, request + 8, sizeof out.unique);
    if ((shape & 1) != 0)
        memcpy(request + sizeof(struct fuse_in_header), &out, sizeof out);
    if ((shape & 2) == 0) {
        used()->ring[used()->idx % guest.size] = (struct vring_used_elem){head, sizeof out};
        used()->idx++;
    }
}

/* Any bytes at any place. */
static void poke(Input *input)
{
    uint16_t at = take16(input);

    for (uint8_t n = take(input) % 16; n > 0; n--)
        guest.memory[at++] = take(input);
}

static uint32_t take_message(Input *input, Message *ret_message)
{
    memset(ret_message, 0, sizeof *ret_message);
    ret_message->request = take(input) % 45;
    ret_message->flags = take(input);
    ret_message->size = take(input) % 64;
    for (uint32_t i = 0; i < ret_message->size; i++)
        ret_message->payload[i] = take(input);
    return ret_message->size;
}

static void note_message(Input *input)
{
    Message message, answer;
    int fds[MESSAGE_FDS_MAX];
    size_t n_fds = take(input) % 4;

    take_message(input, &message);
    for (size_t i = 0; i < n_fds; i++)
        fds[i] = dup(guest.file);
    device_note(&guest.device, &message, fds, n_fds);
    if (message_wants_answer(&message))
        device_answer(&guest.device, &message, &answer);
    device_note_answer(&guest.device, &message);
}

/* Moves a part of a ring to where the input says, also out of the memory or off its alignment. */
static void move_ring(Input *input)
{
    uint64_t addresses[] = {take(input) % RINGS, USER_BASE + DESCRIPTORS_AT, USER_BASE + USED_AT,
                            USER_BASE + AVAILABLE_AT, 0};

    addresses[1 + take(input) % 3] = USER_BASE + take16(input);
    tell(SET_VRING_ADDR, addresses, sizeof addresses, -1);
}

/* Another region with a part of the file. */
static void add_region(Input *input)
{
    const uint64_t region[] = {0, GUEST_BASE + MEMORY_BYTES * (uint64_t)(take(input) % 4),
                               (take16(input) % MEMORY_BYTES) & ~UINT64_C(7),
                               USER_BASE + MEMORY_BYTES * (uint64_t)(take(input) % 4), 0};

    tell((take(input) & 1) != 0 ? 38 : 37, region, sizeof region, dup(guest.file));
}

/* Raw bytes on the socket, where the other end closes in the middle of a message. */
static void read_messages(Input *input)
{
    uint8_t bytes[256];
    size_t length = take(input);
    int fds[MESSAGE_FDS_MAX], ends[2];
    size_t n_fds = 0;
    Message message, sent;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        abort();
    take_message(input, &sent);
    if (!message_write(ends[0], &sent, &guest.file, take(input) & 1))
        abort();
    for (size_t i = 0; i < length; i++)
        bytes[i] = take(input);
    (void)!send(ends[0], bytes, length, MSG_NOSIGNAL);
    close(ends[0]);
    while (message_read(ends[1], &message, fds, &n_fds)) {
        device_note(&guest.device, &message, fds, n_fds);
        n_fds = 0;
    }
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]); /* of a message that was cut off */
    close(ends[1]);
}

static void fail_ring(Input *input)
{
    uint8_t index = take(input);

    device_fail_ring(&guest.device, index % 8 != 7 ? index % RINGS : index % DEVICE_RINGS_MAX, ENOTCONN);
}

static void start_over(Input *input)
{
    (void)input;
    device_start_over(&guest.device);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const steps[])(Input *) = {fail_ring, put_request,  put_request,   put_chain,
                                             put_chain, put_answer,   poke,          start_over,
                                             move_ring, note_message, read_messages, add_region};
    Input input = {data, size};

    set_up(take(&input));
    for (int i = 0; i < MAX_STEPS && input.left > 0; i++)
        steps[take(&input) % (sizeof steps / sizeof *steps)](&input);
    device_fail_ring(&guest.device, 0, ENOTCONN);
    tear_down();
    return 0;
}

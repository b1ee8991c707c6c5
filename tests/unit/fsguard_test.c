/* SPDX-License-Identifier: Apache-2.0 */
/* fsguard: what it records of QEMU's messages, and how it answers in place of the file server.
 */
#include "sandbox/vmm/fsguard/device.h"

#include <errno.h>
#include <linux/fuse.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/vmm/fsguard/standby.h"
#include "tests/unit/harness.h"

enum {
    MEMORY_BYTES = 1 << 16,
    RING_SIZE = 8,
    DESCRIPTORS_AT = 0,
    AVAILABLE_AT = 0x1000,
    USED_AT = 0x2000,
    INDIRECT_AT = 0x3000,
    REQUESTS_AT = 0x4000, /* 256 bytes each: the request, and at 128 the answer */
};
#define GUEST_BASE UINT64_C(0x40000000)
#define USER_BASE UINT64_C(0x7f0000000000)

static struct {
    Device device;
    guint8 *memory;
    int kick, call;
} guest;

static struct vring_desc *descriptors(void)
{
    return (gpointer)(guest.memory + DESCRIPTORS_AT);
}

static struct vring_avail *available(void)
{
    return (gpointer)(guest.memory + AVAILABLE_AT);
}

static struct vring_used *used(void)
{
    return (gpointer)(guest.memory + USED_AT);
}

static void tell_with(guint32 request, gconstpointer payload, guint32 size, const int *fds, gsize n_fds)
{
    Message message = {.request = request, .flags = 1, .size = size};

    memcpy(message.payload, payload, size);
    device_note(&guest.device, &message, fds, n_fds);
}

static void tell(guint32 request, gconstpointer payload, guint32 size)
{
    tell_with(request, payload, size, NULL, 0);
}

/* Sets up one queue as QEMU does. */
static void set_up(void)
{
    const guint64 table[] = {1, GUEST_BASE, MEMORY_BYTES - 4096, USER_BASE, 4096};
    const guint32 size[] = {0, RING_SIZE}, base[] = {0, 0};
    const guint64 addresses[] = {0, USER_BASE + DESCRIPTORS_AT, USER_BASE + USED_AT, USER_BASE + AVAILABLE_AT,
                                 0};
    const guint64 ring = 0, features = 1ULL << VIRTIO_RING_F_EVENT_IDX;
    int memory = memfd_create("guest", MFD_CLOEXEC);

    device_init(&guest.device);
    CU_ASSERT_EQUAL(ftruncate(memory, MEMORY_BYTES), 0);
    guest.memory = (guint8 *)mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0) + 4096;
    guest.kick = eventfd(0, EFD_NONBLOCK);
    guest.call = eventfd(0, EFD_NONBLOCK);
    tell(2, &features, sizeof features);
    tell_with(5, table, sizeof table, &memory, 1);
    tell(8, size, sizeof size);
    tell(10, base, sizeof base);
    tell(9, addresses, sizeof addresses);
    tell_with(13, &ring, sizeof ring, &(int){dup(guest.call)}, 1);
    tell_with(12, &ring, sizeof ring, &(int){dup(guest.kick)}, 1);
}

static void tear_down(void)
{
    const guint32 stop[] = {0, 0};

    tell(11, stop, sizeof stop);
    memory_clear(&guest.device.memory);
    munmap(guest.memory - 4096, MEMORY_BYTES);
    close(guest.kick);
    close(guest.call);
}

static struct fuse_out_header *answer_of(guint head)
{
    return (gpointer)(guest.memory + REQUESTS_AT + head * 256 + 128);
}

/* A request of two descriptors, head and head + 1, made available. */
static void ask(guint head, guint64 unique)
{
    struct fuse_in_header in = {.len = sizeof in, .opcode = FUSE_GETATTR, .unique = unique};

    memcpy(guest.memory + REQUESTS_AT + head * 256, &in, sizeof in);
    memset(answer_of(head), 0, sizeof(struct fuse_out_header));
    descriptors()[head] = (struct vring_desc){GUEST_BASE + REQUESTS_AT + head * 256, sizeof in,
                                              VRING_DESC_F_NEXT, (guint16)(head + 1)};
    descriptors()[head + 1] =
        (struct vring_desc){GUEST_BASE + REQUESTS_AT + head * 256 + 128, 100, VRING_DESC_F_WRITE, 0};
    available()->ring[available()->idx % RING_SIZE] = (guint16)head;
    available()->idx++;
}

/* Plays the server while it lives. */
static void server_answers(guint head)
{
    used()->ring[used()->idx % RING_SIZE] = (struct vring_used_elem){head, 16};
    used()->idx++;
    answer_of(head)->len = sizeof(struct fuse_out_header);
    answer_of(head)->unique =
        ((struct fuse_in_header *)(gpointer)(guest.memory + REQUESTS_AT + head * 256))->unique;
}

static gboolean is_failed(guint head, guint64 unique)
{
    const struct fuse_out_header *answer = answer_of(head);

    return answer->len == sizeof *answer && answer->error == -ENOTCONN && answer->unique == unique;
}

static gboolean guest_was_told(void)
{
    guint64 count = 0;

    return read(guest.call, &count, sizeof count) == sizeof count;
}

static void fails_what_waits(void)
{
    set_up();
    ask(0, 70);
    ask(2, 71);
    device_fail_ring(&guest.device, 0, ENOTCONN);
    CU_ASSERT_TRUE(is_failed(0, 70) && is_failed(2, 71));
    CU_ASSERT_EQUAL(used()->idx, 2);
    CU_ASSERT_TRUE(guest_was_told());
    ask(4, 72);
    device_fail_ring(&guest.device, 0, ENOTCONN);
    CU_ASSERT_TRUE(is_failed(4, 72));
    CU_ASSERT_EQUAL(used()->ring[2].id, 4);
    CU_ASSERT_TRUE(guest_was_told());
    device_fail_ring(&guest.device, 0, ENOTCONN);
    CU_ASSERT_FALSE(guest_was_told());
    tear_down();
}

static void fails_what_the_server_had_taken(void)
{
    set_up();
    for (guint round = 0; round < 7; round++) { /* the indexes of the ring wrap around */
        ask(0, round);
        ask(2, round);
        ask(4, round);
        server_answers(4); /* out of order */
        server_answers(0);
        server_answers(2);
    }
    ask(0, 90);
    ask(2, 91);
    ask(4, 92);
    server_answers(2);
    device_fail_ring(&guest.device, 0, ENOTCONN);
    CU_ASSERT_TRUE(is_failed(0, 90) && is_failed(4, 92));
    CU_ASSERT_EQUAL(answer_of(2)->error, 0);
    CU_ASSERT_EQUAL(used()->idx, available()->idx);
    tear_down();
}

static void understands_indirect_requests(void)
{
    struct vring_desc *inner;

    set_up();
    ask(0, 5);
    inner = (gpointer)(guest.memory + INDIRECT_AT);
    inner[0] = descriptors()[0];
    inner[1] = descriptors()[1];
    descriptors()[0] =
        (struct vring_desc){GUEST_BASE + INDIRECT_AT, 2 * sizeof *inner, VRING_DESC_F_INDIRECT, 0};
    /* A request that needs no answer. */
    ask(2, 6);
    descriptors()[2].flags = 0;
    device_fail_ring(&guest.device, 0, ENOTCONN);
    CU_ASSERT_TRUE(is_failed(0, 5));
    CU_ASSERT_EQUAL(used()->ring[1].id, 2);
    CU_ASSERT_EQUAL(used()->ring[1].len, 0);
    tear_down();
}

static void survives_nonsense(void)
{
    const guint64 nowhere[] = {0, 1, 2, 3, 4};

    set_up();
    ask(0, 1);
    descriptors()[0].addr = 12;                  /* outside of the guest's memory */
    descriptors()[1].flags |= VRING_DESC_F_NEXT; /* a circle */
    descriptors()[1].next = 0;
    available()->ring[1] = 60000; /* not a descriptor */
    available()->idx++;
    device_fail_ring(&guest.device, 0, ENOTCONN);
    CU_ASSERT_TRUE(used()->idx <= 2);
    available()->idx = 30000; /* more than the ring holds */
    device_fail_ring(&guest.device, 0, ENOTCONN);
    tell(9, nowhere, sizeof nowhere);
    device_fail_ring(&guest.device, 0, ENOTCONN);
    tell(8, (const guint32[]){0, 7}, 8);
    device_fail_ring(&guest.device, 0, ENOTCONN);
    tell(8, (const guint32[]){5000, 8}, 8);
    tear_down();
}

static void answers_for_the_server(void)
{
    Message question = {.request = 1, .flags = 1}, answer = {.request = 1, .flags = 5, .size = 8};
    const guint64 features = 0x1234567890, base = 0;

    set_up();
    memcpy(answer.payload, &features, sizeof features);
    device_note_answer(&guest.device, &answer);
    CU_ASSERT_TRUE(message_wants_answer(&question));
    memset(&answer, 0, sizeof answer);
    device_answer(&guest.device, &question, &answer);
    CU_ASSERT_EQUAL(answer.flags, 5);
    CU_ASSERT_EQUAL(memcmp(answer.payload, &features, sizeof features), 0);
    ask(0, 1);
    device_fail_ring(&guest.device, 0, ENOTCONN);
    question = (Message){.request = 11, .flags = 1, .size = 8};
    memcpy(question.payload, &base, sizeof base);
    device_answer(&guest.device, &question, &answer);
    CU_ASSERT_EQUAL(memcmp(answer.payload, (const guint32[]){0, 1}, 8), 0);
    question = (Message){.request = 9, .flags = 1};
    CU_ASSERT_FALSE(message_wants_answer(&question));
    question.flags |= 8;
    CU_ASSERT_TRUE(message_wants_answer(&question));
    tear_down();
}

/* Another process makes a standby and then ends, with a goodbye or without. Return: what is written to the
 * pipe. */
static char *stand_in(gboolean with_goodbye)
{
    char text[16] = "";
    int ends[2];
    pid_t pid;

    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        Standby standby = STANDBY_NONE;

        for (int i = 0; i < 2; i++) /* the first standby is replaced, and never continues */
            if (standby_make(&standby))
                _exit(write(ends[1], i == 0 ? "old" : "new", 3) != 3);
        if (with_goodbye)
            standby_dismiss(&standby);
        raise(SIGKILL);
    }
    close(ends[1]);
    waitpid(pid, NULL, 0);
    CU_ASSERT_TRUE(read(ends[0], text, sizeof text - 1) >= 0); /* ends when both processes have ended */
    close(ends[0]);
    return g_strdup(text);
}

static void stands_in_for_who_was_killed(void)
{
    g_autofree char *killed = stand_in(FALSE);
    g_autofree char *ended = stand_in(TRUE);

    CU_ASSERT_STRING_EQUAL(killed, "new");
    CU_ASSERT_STRING_EQUAL(ended, "");
}

/* The state of the standby is older than the rings. */
static void goes_on_where_another_one_was_killed(void)
{
    Device before;

    set_up();
    ask(0, 1);
    before = guest.device;
    device_fail_ring(&guest.device, 0, ENOTCONN);
    CU_ASSERT_EQUAL(used()->idx, 1);
    guest.device = before;
    device_start_over(&guest.device);
    device_fail_ring(&guest.device, 0, ENOTCONN);
    CU_ASSERT_EQUAL(used()->idx, 1);
    ask(4, 2);
    device_fail_ring(&guest.device, 0, ENOTCONN);
    CU_ASSERT_EQUAL(used()->idx, 2);
    tear_down();
}

static bool is_kicked(void)
{
    uint64_t count;

    return read(guest.kick, &count, sizeof count) == (ssize_t)sizeof count;
}

/* The index runs ahead of the ring, as it would while a guest adds requests without a pause. */
static void requests_without_end_leave_time_for_others(void)
{
    set_up();
    ask(0, 1);
    device_fail_ring(&guest.device, 0, ENOTCONN);
    CU_ASSERT_FALSE(is_kicked());
    available()->idx += 3 * RING_SIZE;
    device_fail_ring(&guest.device, 0, ENOTCONN);
    CU_ASSERT_EQUAL(used()->idx, 1 + 2 * RING_SIZE);
    CU_ASSERT_TRUE(is_kicked());
    device_fail_ring(&guest.device, 0, ENOTCONN);
    CU_ASSERT_EQUAL(used()->idx, 1 + 3 * RING_SIZE);
    CU_ASSERT_FALSE(is_kicked());
    tear_down();
}

static void refuses_memory_behind_the_end_of_its_file(void)
{
    Memory memory = {0};
    int whole = memfd_create("test", MFD_CLOEXEC);
    int cut = memfd_create("test", MFD_CLOEXEC);

    CU_ASSERT_TRUE_FATAL(whole >= 0 && cut >= 0);
    CU_ASSERT_EQUAL(ftruncate(whole, MEMORY_BYTES), 0);
    CU_ASSERT_EQUAL(ftruncate(cut, MEMORY_BYTES - 1), 0);
    CU_ASSERT_FALSE(memory_add(&memory, GUEST_BASE, MEMORY_BYTES, USER_BASE, 0, cut));
    CU_ASSERT_FALSE(memory_add(&memory, GUEST_BASE, MEMORY_BYTES, USER_BASE, 4096, dup(whole)));
    CU_ASSERT_TRUE(memory_add(&memory, GUEST_BASE, MEMORY_BYTES, USER_BASE, 0, whole));
    memory_clear(&memory);
}

static void leaves_holes_alone(void)
{
    static const MemoryHole holes[] = {{GUEST_BASE + 0x1000, GUEST_BASE + 0x2000},
                                       {GUEST_BASE + 0x2000, GUEST_BASE + 0x3000},
                                       {GUEST_BASE + 0x8000, GUEST_BASE + 0x9000}};
    Memory memory = {.holes = holes, .n_holes = G_N_ELEMENTS(holes)};
    int file = memfd_create("guest", MFD_CLOEXEC);

    CU_ASSERT_EQUAL_FATAL(ftruncate(file, MEMORY_BYTES), 0);
    CU_ASSERT_TRUE(memory_add(&memory, GUEST_BASE, MEMORY_BYTES, USER_BASE, 0, file));
    memory_map(&memory);
    CU_ASSERT_PTR_NOT_NULL(memory_at_guest(&memory, GUEST_BASE, 0x1000));
    CU_ASSERT_PTR_NULL(memory_at_guest(&memory, GUEST_BASE, 0x1001));
    CU_ASSERT_PTR_NULL(memory_at_guest(&memory, GUEST_BASE + 0x2fff, 1));
    CU_ASSERT_PTR_NOT_NULL(memory_at_guest(&memory, GUEST_BASE + 0x3000, 0x5000));
    CU_ASSERT_PTR_NULL(memory_at_guest(&memory, GUEST_BASE + 0x3000, 0x5001));
    CU_ASSERT_PTR_NULL(memory_at_user(&memory, USER_BASE + 0x8800, 16));
    CU_ASSERT_PTR_NOT_NULL(memory_at_user(&memory, USER_BASE + 0x9000, 16));
    CU_ASSERT_FALSE(memory_has_hole(&memory, GUEST_BASE + 0x8800, 0));
    CU_ASSERT_TRUE(memory_has_hole(&memory, 0, UINT64_MAX));
    CU_ASSERT_FALSE(memory_has_hole(&memory, UINT64_MAX, 1));
    memory_clear(&memory);
}

/* Of a guest whose device was away, and comes back. */
static void knows_the_same_memory(void)
{
    int file = memfd_create("guest", MFD_CLOEXEC), other = memfd_create("other", MFD_CLOEXEC);
    Memory first = {0}, second = {0}, third = {0};
    const guint64 half = MEMORY_BYTES / 2;

    CU_ASSERT_EQUAL_FATAL(ftruncate(file, MEMORY_BYTES), 0);
    CU_ASSERT_EQUAL_FATAL(ftruncate(other, MEMORY_BYTES), 0);
    memory_add(&first, GUEST_BASE, half, USER_BASE, 0, dup(file));
    memory_add(&first, GUEST_BASE + half, half, USER_BASE + half, half, dup(file));
    memory_add(&second, GUEST_BASE + half, half, USER_BASE + half, half, dup(file));
    CU_ASSERT_FALSE(memory_equal(&first, &second));
    CU_ASSERT_FALSE(memory_equal(&second, &first));
    memory_add(&second, GUEST_BASE, half, USER_BASE, 0, dup(file));
    CU_ASSERT_TRUE(memory_equal(&first, &second));
    memory_add(&third, GUEST_BASE, half, USER_BASE, 0, dup(other));
    memory_add(&third, GUEST_BASE + half, half, USER_BASE + half, half, dup(file));
    CU_ASSERT_FALSE(memory_equal(&first, &third));
    memory_clear(&first);
    memory_clear(&second);
    memory_clear(&third);
    close(file);
    close(other);
}

int main(void)
{
    static const TestCase cases[] = {
        {"memory that lies behind the end of its file is refused", refuses_memory_behind_the_end_of_its_file},
        {"memory that QEMU has privately is not touched", leaves_holes_alone},
        {"memory is the same when all of its parts are", knows_the_same_memory},
        {"waiting and new requests are failed, and the guest is notified", fails_what_waits},
        {"requests that the dead server had taken and not answered are failed, and none twice",
         fails_what_the_server_had_taken},
        {"indirect requests and requests without an answer are handled", understands_indirect_requests},
        {"a guest that adds requests without end leaves fsguard time for QEMU",
         requests_without_end_leave_time_for_others},
        {"invalid rings of a guest do no harm", survives_nonsense},
        {"QEMU's questions are answered as the dead server did", answers_for_the_server},
        {"a standby continues when the first process is killed, and ends when that one ends",
         stands_in_for_who_was_killed},
        {"a standby fails no request twice, and misses none", goes_on_where_another_one_was_killed},
    };
    return test_main("fsguard", cases, G_N_ELEMENTS(cases));
}

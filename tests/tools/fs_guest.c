/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/fs_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/vmm/fsguard/message_io.h"
#include "sandbox/vmm/fsguard/relay_state.h"

enum {
    SIZE = 64, /* of the rings */
    MEMORY_BYTES = 64 << 20,
    RING_BYTES = 1 << 16,
    PLACES = 16,                    /* requests at a time */
    PLACE_BYTES = (3 << 20) + 4096, /* the answer has a header, too */
    ANSWER_AT = 1 << 21,
    PARTS = 4, /* of a request */
};
#define GUEST_BASE UINT64_C(0x40000000)
#define USER_BASE UINT64_C(0x7f0000000000)

FsGuest fs_guest;
int fs_guest_load = -1;
static int kicks[2], calls[2];
static guint next_place;
static guint64 next_unique;

static int high(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 10);

    close(fd);
    return copy;
}

pid_t fs_server_start(const char *directory, int *ret_connection)
{
    g_autofree char *path = g_strconcat(directory, ".sock", NULL);
    g_autofree char *source = g_strdup_printf("source=%s", directory);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = high(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    pid_t pid;

    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    unlink(path);
    g_assert_cmpint(bind(listener, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(listen(listener, 1), ==, 0);
    *ret_connection = high(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    g_assert_cmpint(connect(*ret_connection, (struct sockaddr *)&address, sizeof address), ==, 0);
    unlink(path);
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        int nowhere =
            open(g_getenv("FS_LOG") ? g_getenv("FS_LOG") : "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0600);

        dup2(listener, 3);
        dup2(nowhere, 1);
        dup2(nowhere, 2);
        execl(FS_GUEST_SERVER, FS_GUEST_SERVER, "--fd=3", "-o", source, "-o", "cache=auto", "-o",
              "sandbox=namespace", "-o", "posix_lock,flock", g_getenv("FS_LOG") ? "-d" : NULL, NULL);
        _exit(127);
    }
    close(listener);
    return pid;
}

/* ---- QEMU ---- */

static void tell(guint32 request, gconstpointer payload, guint32 size, int fd)
{
    Message message = {.request = request, .flags = 1, .size = size};
    gboolean is_own;

    memcpy(message.payload, payload, size);
    is_own = fs_guest.relay != NULL && relay_note(fs_guest.relay, &message);
    if (!is_own) {
        Message sent = message;

        if (fs_guest.relay != NULL)
            relay_adapt(&sent);
        g_assert_true(message_write(fs_guest.server_fd, &sent, &fd, fd >= 0 ? 1 : 0));
    }
    if (fd >= 0)
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 10);
    device_note(&fs_guest.device, &message, &fd, fd >= 0 ? 1 : 0);
}

static guint64 question(guint32 request)
{
    Message answer;
    int fds[MESSAGE_FDS_MAX];
    gsize n_fds = 0;
    guint64 number;

    tell(request, "", 0, -1);
    g_assert_true(message_read(fs_guest.server_fd, &answer, fds, &n_fds));
    device_note_answer(&fs_guest.device, &answer);
    memcpy(&number, answer.payload, sizeof number);
    return number;
}

static gsize ring_at(guint ring)
{
    return (gsize)ring * RING_BYTES;
}

static struct vring_desc *descriptors(guint ring)
{
    return (gpointer)(fs_guest.memory + ring_at(ring));
}

static struct vring_avail *available(guint ring)
{
    return (gpointer)(fs_guest.memory + ring_at(ring) + 0x4000);
}

static struct vring_used *used(guint ring)
{
    return (gpointer)(fs_guest.memory + ring_at(ring) + 0x8000);
}

static void start_ring(guint32 ring, guint32 first)
{
    const guint32 size[] = {ring, SIZE}, base[] = {ring, first}, enable[] = {ring, 1};
    const guint64 at = USER_BASE + ring_at(ring), index = ring;
    const guint64 address[] = {ring, at, at + 0x8000, at + 0x4000, 0};

    tell(SET_VRING_NUM, size, sizeof size, -1);
    tell(SET_VRING_BASE, base, sizeof base, -1);
    tell(SET_VRING_ADDR, address, sizeof address, -1);
    tell(SET_VRING_CALL, &index, sizeof index, calls[ring]);
    tell(SET_VRING_KICK, &index, sizeof index, kicks[ring]);
    tell(SET_VRING_ENABLE, enable, sizeof enable, -1);
}

void fs_guest_start(const char *directory, gboolean relayed)
{
    guint64 protocol = UINT64_C(1) << 15 | 1, features = UINT64_C(1) << 32 | UINT64_C(1) << 30 | 1 << 28;
    int memory = memfd_create("guest", MFD_CLOEXEC);
    const guint64 region[] = {0, GUEST_BASE, MEMORY_BYTES, USER_BASE, 0};

    memset(&fs_guest, 0, sizeof fs_guest);
    next_place = 0;
    device_init(&fs_guest.device);
    fs_guest.server = fs_server_start(directory, &fs_guest.server_fd);
    g_assert_cmpint(ftruncate(memory, MEMORY_BYTES), ==, 0);
    fs_guest.memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    for (guint i = 0; i < 2; i++) {
        kicks[i] = high(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        calls[i] = high(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    }
    question(GET_FEATURES);
    protocol &= question(GET_PROTOCOL_FEATURES);
    tell(SET_PROTOCOL_FEATURES, &protocol, sizeof protocol, -1);
    g_assert_true(relay_suits(&fs_guest.device));
    fs_guest.relay = relayed ? relay_new(&fs_guest.device) : NULL;
    if (relayed && fs_guest_load >= 0)
        g_assert_cmpint(relay_load(fs_guest.relay, fs_guest_load, FALSE), ==, 0);
    fs_guest_load = -1;
    tell(SET_OWNER, "", 0, -1);
    tell(SET_FEATURES, &features, sizeof features, -1);
    tell(ADD_MEM_REG, region, sizeof region, memory);
    close(memory);
    start_ring(0, 0);
    start_ring(1, 0);
    if (relayed)
        g_assert_true(relay_begin(fs_guest.relay, fs_guest.server_fd));
}

/* The process that serves is the child of the one that was started; it may be stopped. */
pid_t fs_server_child(void)
{
    g_autofree char *file =
        g_strdup_printf("/proc/%d/task/%d/children", (int)fs_guest.server, (int)fs_guest.server);
    g_autofree char *text = NULL;

    return g_file_get_contents(file, &text, NULL, NULL) ? (pid_t)g_ascii_strtoll(text, NULL, 10) : 0;
}

void fs_guest_stop(guint32 *ret_bases)
{
    for (guint32 ring = 0; ring < 2; ring++) {
        const guint32 state[] = {ring, 0};
        Message message = {.request = GET_VRING_BASE, .flags = 1, .size = sizeof state}, answer;

        memcpy(message.payload, state, sizeof state);
        relay_note(fs_guest.relay, &message);
        device_note(&fs_guest.device, &message, NULL, 0);
        device_answer(&fs_guest.device, &message, &answer);
        memcpy(&ret_bases[ring], answer.payload + sizeof ring, sizeof ring);
    }
}

void fs_guest_continue(const guint32 *bases)
{
    for (guint32 ring = 0; ring < 2; ring++)
        start_ring(ring, bases[ring]);
}

void fs_server_kill(void)
{
    pid_t child = fs_server_child();

    if (child > 0)
        kill(child, SIGKILL);
    kill(fs_guest.server, SIGKILL);
    waitpid(fs_guest.server, NULL, 0);
    fs_guest.server = 0;
    if (fs_guest.relay != NULL) {
        /* Its child ends with it a moment later, and the connection closes then. */
        struct pollfd polled = {.fd = fs_guest.server_fd};

        while (poll(&polled, 1, 10000) < 0)
            continue;
        relay_lose_server(fs_guest.relay);
    }
    close(fs_guest.server_fd);
}

gboolean fs_guest_recover(const char *directory, RelayRecovery *ret_recovery)
{
    fs_guest.server = fs_server_start(directory, &fs_guest.server_fd);
    return relay_recover(fs_guest.relay, fs_guest.server_fd, ret_recovery);
}

void fs_guest_end(void)
{
    if (fs_guest.server != 0)
        fs_server_kill();
    relay_free(fs_guest.relay);
    for (guint64 i = 0; i < 2; i++) {
        const guint64 none = i | 1 << 8;
        Message message = {.request = SET_VRING_KICK, .flags = 1, .size = sizeof none};

        memcpy(message.payload, &none, sizeof none);
        device_note(&fs_guest.device, &message, NULL, 0);
        message.request = SET_VRING_CALL;
        device_note(&fs_guest.device, &message, NULL, 0);
        close(kicks[i]);
        close(calls[i]);
    }
    memory_clear(&fs_guest.device.memory);
    munmap(fs_guest.memory, MEMORY_BYTES);
}

/* ---- the guest ---- */

static guint8 *place_at(guint place)
{
    return fs_guest.memory + 2 * RING_BYTES + (gsize)place * PLACE_BYTES;
}

static struct vring_desc part(gconstpointer at, gsize length, guint flags, guint next)
{
    return (struct vring_desc){GUEST_BASE + (guint64)((const guint8 *)at - fs_guest.memory), (guint32)length,
                               (guint16)flags, (guint16)next};
}

guint fs_submit(guint32 opcode, guint64 node, gconstpointer args, gsize n_args, gconstpointer data,
                gsize n_data, gsize room)
{
    const guint ring = opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET ? 0 : 1;
    guint place = next_place++ % PLACES, head = place * PARTS, n = 0;
    guint8 *at = place_at(place), *answer = at + ANSWER_AT;
    struct fuse_in_header in = {.len = (guint32)(sizeof in + n_args + n_data),
                                .opcode = opcode,
                                .unique = ++next_unique,
                                .nodeid = node};
    struct vring_desc *table = descriptors(ring) + head;

    memcpy(at, &in, sizeof in);
    if (n_args > 0)
        memcpy(at + sizeof in, args, n_args);
    if (n_data > 0 && data != NULL)
        memcpy(at + 4096, data, n_data);
    memset(answer, 0, sizeof(struct fuse_out_header));
    table[n++] = part(at, sizeof in, 0, 0);
    if (n_args > 0)
        table[n++] = part(at + sizeof in, n_args, 0, 0);
    if (n_data > 0)
        table[n++] = part(at + 4096, n_data, 0, 0);
    if (ring == 1)
        table[n++] = part(answer, sizeof(struct fuse_out_header) + room, VRING_DESC_F_WRITE, 0);
    for (guint i = 0; i + 1 < n; i++) {
        table[i].flags |= VRING_DESC_F_NEXT;
        table[i].next = (guint16)(head + i + 1);
    }
    available(ring)->ring[available(ring)->idx % SIZE] = (guint16)head;
    __atomic_store_n(&available(ring)->idx, (guint16)(available(ring)->idx + 1), __ATOMIC_SEQ_CST);
    if ((used(ring)->flags & VRING_USED_F_NO_NOTIFY) == 0)
        (void)!write(kicks[ring], &(guint64){1}, 8);
    return place;
}

guint64 fs_data_address(guint place)
{
    return GUEST_BASE + (guint64)(place_at(place % PLACES) + 4096 - fs_guest.memory);
}

void fs_work(void)
{
    const gboolean relays = fs_guest.relay != NULL && !fs_guest.has_thread;
    struct pollfd polled = {.fd = relays ? relay_answers_fd(fs_guest.relay) : calls[1], .events = POLLIN};
    guint64 count;

    if (relays)
        relay_work(fs_guest.relay);
    poll(&polled, 1, 1000);
    if (relays)
        relay_hear(fs_guest.relay);
    else
        (void)!read(calls[1], &count, sizeof count);
}

gboolean fs_is_answered(guint place)
{
    const struct fuse_out_header *out = (gconstpointer)(place_at(place) + ANSWER_AT);

    return __atomic_load_n(&out->len, __ATOMIC_ACQUIRE) != 0;
}

int fs_await(guint place, const guint8 **ret_answer)
{
    const struct fuse_out_header *out = (gconstpointer)(place_at(place) + ANSWER_AT);
    for (int i = 0; i < 20 && !fs_is_answered(place); i++)
        fs_work();
    if (!fs_is_answered(place))
        return ETIMEDOUT;
    if (ret_answer != NULL)
        *ret_answer = (const guint8 *)(out + 1);
    return -out->error;
}

int fs_call(guint32 opcode, guint64 node, gconstpointer args, gsize n_args, gsize room,
            const guint8 **ret_answer)
{
    return fs_await(fs_submit(opcode, node, args, n_args, NULL, 0, room), ret_answer);
}

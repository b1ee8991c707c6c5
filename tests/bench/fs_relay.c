/* SPDX-License-Identifier: Apache-2.0 */
/* What fsguard's relay costs: FUSE calls to a real virtiofsd, directly and through the relay in a thread of
 * its own, in turns. The guest is this process, so that no VM hides the cost. Prints the time of the relayed
 * calls divided by that of the direct ones, for one call at a time and for eight.
 *
 * Usage: fs_relay DIRECTORY, an empty one. Needs root.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tools/fs_guest.h"

enum { TURNS = 7, FILE_BYTES = 64 << 20 };

static struct {
    const char *directory;
    guint64 node, fh;
    gint stops;
} bench;

static gpointer relay_thread(gpointer unused)
{
    while (!g_atomic_int_get(&bench.stops)) {
        struct pollfd polled[] = {
            {.fd = relay_answers_fd(fs_guest.relay), .events = POLLIN},
            {.fd = fs_guest.device.rings[0].kick_fd, .events = POLLIN},
            {.fd = fs_guest.device.rings[1].kick_fd, .events = POLLIN},
        };
        guint64 count;

        poll(polled, 3, 100);
        for (guint i = 1; i < 3; i++)
            if (polled[i].revents != 0)
                (void)!read(polled[i].fd, &count, sizeof count);
        if (polled[0].revents != 0)
            relay_hear(fs_guest.relay);
        else
            relay_work(fs_guest.relay);
    }
    return unused;
}

typedef struct {
    const char *name;
    guint32 opcode, bytes;
    gboolean random;
    guint calls;
} Load;

static guint submit(const Load *load, guint i)
{
    guint64 offset = (guint64)(load->random ? g_random_int() : i) * load->bytes % FILE_BYTES;
    const struct fuse_read_in in = {.fh = bench.fh, .offset = offset, .size = load->bytes};
    const struct fuse_write_in out = {.fh = bench.fh, .offset = offset, .size = load->bytes};
    static const struct fuse_getattr_in attributes;

    switch (load->opcode) {
    case FUSE_READ:
        return fs_submit(FUSE_READ, bench.node, &in, sizeof in, NULL, 0, load->bytes);
    case FUSE_WRITE:
        return fs_submit(FUSE_WRITE, bench.node, &out, sizeof out, NULL, load->bytes,
                         sizeof(struct fuse_write_out));
    case FUSE_LOOKUP:
        return fs_submit(FUSE_LOOKUP, 1, "file", 5, NULL, 0, sizeof(struct fuse_entry_out));
    default:
        return fs_submit(FUSE_GETATTR, bench.node, &attributes, sizeof attributes, NULL, 0,
                         sizeof(struct fuse_attr_out));
    }
}

/* Return: microseconds for a call. */
static double run(const Load *load, guint depth)
{
    guint places[16];
    gint64 begin = g_get_monotonic_time();

    for (guint i = 0; i < load->calls + depth; i++) {
        if (i >= depth && fs_await(places[i % depth], NULL) != 0)
            abort();
        if (i < load->calls)
            places[i % depth] = submit(load, i);
    }
    return (double)(g_get_monotonic_time() - begin) / load->calls;
}

static void begin(gboolean relayed)
{
    const struct fuse_init_in init = {.major = 7, .minor = 36, .flags = FUSE_BIG_WRITES | FUSE_MAX_PAGES};
    const struct fuse_open_in open_in = {.flags = O_RDWR};
    const guint8 *answer;

    fs_guest_start(bench.directory, relayed);
    if (fs_call(FUSE_INIT, 0, &init, sizeof init, sizeof(struct fuse_init_out), NULL) != 0 ||
        fs_call(FUSE_LOOKUP, 1, "file", 5, sizeof(struct fuse_entry_out), &answer) != 0)
        abort();
    bench.node = ((const struct fuse_entry_out *)(gconstpointer)answer)->nodeid;
    if (fs_call(FUSE_OPEN, bench.node, &open_in, sizeof open_in, sizeof(struct fuse_open_out), &answer) != 0)
        abort();
    bench.fh = ((const struct fuse_open_out *)(gconstpointer)answer)->fh;
}

static double measure(const Load *load, guint depth, gboolean relayed)
{
    GThread *thread;
    double result;

    begin(relayed);
    fs_guest.has_thread = relayed;
    bench.stops = 0;
    thread = relayed ? g_thread_new("relay", relay_thread, NULL) : NULL;
    result = run(load, depth);
    g_atomic_int_set(&bench.stops, 1);
    if (thread != NULL)
        g_thread_join(thread);
    fs_guest.has_thread = FALSE;
    fs_guest_end();
    return result;
}

static int smaller(const void *a, const void *b)
{
    return *(const double *)a < *(const double *)b ? -1 : 1;
}

static double median(double *values)
{
    qsort(values, TURNS, sizeof *values, smaller);
    return values[TURNS / 2];
}

int main(int argc, char **argv)
{
    static const Load loads[] = {
        {"GETATTR", FUSE_GETATTR, 0, FALSE, 4000},
        {"LOOKUP", FUSE_LOOKUP, 0, FALSE, 4000},
        {"read, 4 KiB, random", FUSE_READ, 4096, TRUE, 4000},
        {"write, 4 KiB, random", FUSE_WRITE, 4096, TRUE, 4000},
        {"read, 128 KiB, sequential", FUSE_READ, 128 << 10, FALSE, 2000},
        {"write, 128 KiB, sequential", FUSE_WRITE, 128 << 10, FALSE, 2000},
        {"read, 1 MiB, sequential", FUSE_READ, 1 << 20, FALSE, 500},
        {"write, 1 MiB, sequential", FUSE_WRITE, 1 << 20, FALSE, 500},
    };
    g_autofree char *file = NULL;
    int fd;

    if (argc != 2) {
        fprintf(stderr, "usage: fs_relay DIRECTORY\n");
        return 2;
    }
    bench.directory = argv[1];
    file = g_build_filename(argv[1], "file", NULL);
    fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, FILE_BYTES) != 0) {
        fprintf(stderr, "cannot make %s\n", file);
        return 1;
    }
    close(fd);
    printf("%-28s %12s %12s  (time relayed : direct; direct, us)\n", "", "1 at a time", "8 at a time");
    for (gsize i = 0; i < G_N_ELEMENTS(loads); i++) {
        printf("%-28s", loads[i].name);
        for (guint depth = 1; depth <= 8; depth += 7) {
            double direct[TURNS], relayed[TURNS];

            for (guint turn = 0; turn < TURNS; turn++) {
                direct[turn] = measure(&loads[i], depth, FALSE);
                relayed[turn] = measure(&loads[i], depth, TRUE);
            }
            printf(" %5.2f (%4.0f)", median(relayed) / median(direct), median(direct));
        }
        printf("\n");
        fflush(stdout);
    }
    unlink(file);
    return 0;
}

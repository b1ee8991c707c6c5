/* SPDX-License-Identifier: Apache-2.0 */
/* A program with state of every kind, for tests that save and restore what it runs in. It is static, so that
 * it runs in any image.
 *
 *   stateful MIB PORT FILE
 *
 * It has MIB MiB of memory that a pool of threads never stops to check and to change, a counter that a timer
 * advances in memory and in FILE, which stays open, a child process with a counter of its own behind two
 * pipes, and a socket that listens at PORT. Who connects is told one line:
 *
 *   counter=N file=N path=N child=N jobs=N rounds=N bad=N
 *
 * the counter in memory, in the open file and in the file of that name; how often the child has been asked;
 * how many jobs the pool has done; how often every page has been changed at least; and how many pages had a
 * content that was not theirs. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, WORDS = PAGE_BYTES / 8, THREADS = 4, TICK_MS = 10, COUNTER_BYTES = 20 };

static struct {
    uint64_t *memory;
    uint64_t n_pages;
    uint64_t jobs;
    uint64_t bad;
    pthread_mutex_t lock; /* of jobs and bad */
    const char *path;
    int file;
    uint64_t counter;
    int to_child;
    int from_child;
} self = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- memory ---- */

/* A word of a page: its first word is how often the page has been changed. */
static uint64_t word_of(uint64_t page, uint64_t generation, uint64_t word)
{
    uint64_t mixed = (page << 32) ^ (generation << 12) ^ word;

    mixed *= UINT64_C(0x9e3779b97f4a7c15);
    return mixed ^ (mixed >> 29);
}

static void page_fill(uint64_t page, uint64_t generation)
{
    uint64_t *words = self.memory + page * WORDS;

    words[0] = generation;
    for (uint64_t i = 1; i < WORDS; i++)
        words[i] = word_of(page, generation, i);
}

static int page_is_good(uint64_t page, uint64_t generation)
{
    const uint64_t *words = self.memory + page * WORDS;

    if (words[0] != generation)
        return 0;
    for (uint64_t i = 1; i < WORDS; i++)
        if (words[i] != word_of(page, generation, i))
            return 0;
    return 1;
}

/* A job checks and changes one page of the thread's own. */
static void work_page(uint64_t page, uint64_t generation)
{
    int good = page_is_good(page, generation);

    page_fill(page, generation + 1);
    pthread_mutex_lock(&self.lock);
    self.jobs++;
    self.bad += !good;
    pthread_mutex_unlock(&self.lock);
}

static void *work(void *number)
{
    for (uint64_t generation = 0;; generation++)
        for (uint64_t page = (uintptr_t)number; page < self.n_pages; page += THREADS) {
            work_page(page, generation);
            if (page % 64 < THREADS)
                usleep(1000); /* others have the processor, too */
        }
    return NULL;
}

static void pool_start(uint64_t mib)
{
    pthread_t thread;

    self.n_pages = (mib << 20) / PAGE_BYTES;
    self.memory = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (self.memory == MAP_FAILED)
        die("memory");
    for (uint64_t page = 0; page < self.n_pages; page++)
        page_fill(page, 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&thread, NULL, work, (void *)i) != 0)
            die("thread");
}

/* ---- the child ---- */

static void child_serve(int in, int out)
{
    uint64_t asked = 0;
    char byte;

    while (read(in, &byte, 1) == 1) {
        asked++;
        if (write(out, &asked, sizeof asked) != sizeof asked)
            break;
    }
    _exit(0);
}

static void child_start(void)
{
    int asks[2];
    int answers[2];
    pid_t child;

    if (pipe(asks) != 0 || pipe(answers) != 0)
        die("pipe");
    child = fork();
    if (child < 0)
        die("child");
    if (child == 0) {
        close(asks[1]);
        child_serve(asks[0], answers[1]);
    }
    close(asks[0]);
    close(answers[1]);
    self.to_child = asks[1];
    self.from_child = answers[0];
}

static uint64_t child_ask(void)
{
    uint64_t asked = 0;

    if (write(self.to_child, "", 1) != 1 || read(self.from_child, &asked, sizeof asked) != sizeof asked)
        return 0;
    return asked;
}

/* ---- the counter ---- */

static uint64_t counter_read(int fd)
{
    char text[COUNTER_BYTES + 1] = "";

    return pread(fd, text, COUNTER_BYTES, 0) == COUNTER_BYTES ? strtoull(text, NULL, 10) : 0;
}

static void count(uint64_t ticks)
{
    char text[COUNTER_BYTES + 1];

    self.counter += ticks;
    snprintf(text, sizeof text, "%0*llu", COUNTER_BYTES, (unsigned long long)self.counter);
    if (pwrite(self.file, text, COUNTER_BYTES, 0) != COUNTER_BYTES)
        die(self.path);
}

static int timer_start(void)
{
    const struct timespec tick = {.tv_nsec = TICK_MS * 1000000};
    const struct itimerspec each = {tick, tick};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

    if (timer < 0 || timerfd_settime(timer, 0, &each, NULL) != 0)
        die("timer");
    return timer;
}

/* ---- the socket ---- */

static int socket_listen(uint16_t port)
{
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 16) != 0)
        die("socket");
    return fd;
}

static void answer(int listener)
{
    int client = accept(listener, NULL, NULL);
    int named = open(self.path, O_RDONLY);
    uint64_t jobs;
    uint64_t bad;

    if (client < 0)
        return;
    pthread_mutex_lock(&self.lock);
    jobs = self.jobs;
    bad = self.bad;
    pthread_mutex_unlock(&self.lock);
    dprintf(client, "counter=%llu file=%llu path=%llu child=%llu jobs=%llu rounds=%llu bad=%llu\n",
            (unsigned long long)self.counter, (unsigned long long)counter_read(self.file),
            (unsigned long long)counter_read(named), (unsigned long long)child_ask(),
            (unsigned long long)jobs, (unsigned long long)(jobs / self.n_pages), (unsigned long long)bad);
    close(named);
    close(client);
}

int main(int argc, char **argv)
{
    struct pollfd polled[2] = {{.events = POLLIN}, {.events = POLLIN}};

    if (argc != 4)
        return fprintf(stderr, "usage: stateful MIB PORT FILE\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    self.path = argv[3];
    self.file = open(self.path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (self.file < 0)
        die(self.path);
    child_start();
    pool_start(strtoull(argv[1], NULL, 10));
    polled[0].fd = timer_start();
    polled[1].fd = socket_listen((uint16_t)strtoul(argv[2], NULL, 10));
    count(0);
    puts("ready");
    fflush(stdout);
    while (poll(polled, 2, -1) >= 0 || errno == EINTR) {
        uint64_t ticks;

        if ((polled[0].revents & POLLIN) && read(polled[0].fd, &ticks, sizeof ticks) == sizeof ticks)
            count(ticks);
        if (polled[1].revents & POLLIN)
            answer(polled[1].fd);
    }
    return 1;
}

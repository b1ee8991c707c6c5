/* SPDX-License-Identifier: Apache-2.0 */
/* Measures the network and the files of a container, from within (tests/bench/io.js). It is a static program,
 * which is all that its image needs.
 *
 *   pod_io serve                   takes connections at port 5001 for ever
 *   pod_io stream ADDRESS SECONDS  sends; prints bytes for each second
 *   pod_io ask ADDRESS SECONDS     one byte there, one back, and so on; prints answers for each second
 *
 * The others print milliseconds:
 *
 *   pod_io read FILE               128 KiB at a time
 *   pod_io write FILE MIB          likewise, with an fsync() at the end
 *   pod_io readat FILE COUNT       4 KiB at a random place, so many times
 *   pod_io writeat FILE COUNT      likewise, with an fsync() at the end
 *   pod_io map FILE                reads a byte of each page that it maps
 *   pod_io tree DIRECTORY          reads all files of a directory
 *   pod_io make DIRECTORY COUNT    creates files of 100 bytes
 *   pod_io stat DIRECTORY COUNT    looks at them
 *   pod_io remove DIRECTORY COUNT  removes them
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 5001, CHUNK = 128 * 1024, PAGE = 4096 };

static char chunk[CHUNK];

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "pod_io: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int file_open(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0644);
    must(fd >= 0, path);
    return fd;
}

/* ---- network ---- */

/* The first byte says which: 's' takes all that comes and answers once at the end, 'a' answers each byte. */
static void serve_one(int fd)
{
    char kind = 0;
    ssize_t n;
    if (read(fd, &kind, 1) != 1)
        return;
    while ((n = read(fd, chunk, sizeof chunk)) > 0)
        if (kind == 'a' && write(fd, chunk, (size_t)n) != n)
            return;
    if (kind == 's' && write(fd, &kind, 1) != 1)
        perror("pod_io: answering");
}

static void serve(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    signal(SIGCHLD, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    must(bind(listener, (struct sockaddr *)&any, sizeof any) == 0 && listen(listener, 8) == 0, "listening");
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        must(fd >= 0, "accepting");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (fork() == 0) {
            serve_one(fd);
            exit(0);
        }
        close(fd);
    }
}

static int reach(const char *address, char kind)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(inet_pton(AF_INET, address, &to.sin_addr) == 1, address);
    must(connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connecting");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    must(write(fd, &kind, 1) == 1, "sending");
    return fd;
}

static void stream(const char *address, double seconds)
{
    int fd = reach(address, 's');
    double begin = now_s();
    uint64_t bytes = 0;
    char answer;
    while (now_s() - begin < seconds) {
        ssize_t n = write(fd, chunk, sizeof chunk);
        must(n > 0, "sending");
        bytes += (uint64_t)n;
    }
    shutdown(fd, SHUT_WR);
    must(read(fd, &answer, 1) == 1, "waiting for the other end");
    printf("%.0f\n", (double)bytes / (now_s() - begin));
}

static void ask(const char *address, double seconds)
{
    int fd = reach(address, 'a');
    double begin = now_s();
    uint64_t answers = 0;
    char byte = 'x';
    for (; now_s() - begin < seconds; answers++)
        must(write(fd, &byte, 1) == 1 && read(fd, &byte, 1) == 1, "asking");
    printf("%.1f\n", (double)answers / (now_s() - begin));
}

/* ---- one file ---- */

static void read_all(const char *path)
{
    int fd = file_open(path, O_RDONLY);
    ssize_t n;
    while ((n = read(fd, chunk, sizeof chunk)) > 0)
        continue;
    must(n == 0, path);
    close(fd);
}

static void write_all(const char *path, int mib)
{
    int fd = file_open(path, O_WRONLY | O_CREAT | O_TRUNC);
    for (int i = 0; i < mib * (1024 * 1024 / CHUNK); i++)
        must(write(fd, chunk, sizeof chunk) == sizeof chunk, path);
    must(fsync(fd) == 0, path);
}

static off_t size_of(int fd)
{
    struct stat status;
    must(fstat(fd, &status) == 0 && status.st_size >= PAGE, "the size of the file");
    return status.st_size;
}

static void at_random(const char *path, int count, bool writes)
{
    int fd = file_open(path, writes ? O_WRONLY : O_RDONLY);
    long pages = size_of(fd) / PAGE;
    srandom(1);
    for (int i = 0; i < count; i++) {
        off_t at = random() % pages * PAGE;
        ssize_t n = writes ? pwrite(fd, chunk, PAGE, at) : pread(fd, chunk, PAGE, at);
        must(n == PAGE, path);
    }
    must(!writes || fsync(fd) == 0, path);
}

static void map(const char *path)
{
    int fd = file_open(path, O_RDONLY);
    size_t size = (size_t)size_of(fd);
    const volatile char *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    must(bytes != MAP_FAILED, path);
    for (size_t at = 0; at < size; at += PAGE)
        (void)bytes[at];
}

/* ---- many files ---- */

static void tree(const char *path)
{
    DIR *directory = opendir(path);
    const struct dirent *entry;
    must(directory != NULL && chdir(path) == 0, path);
    while ((entry = readdir(directory)) != NULL)
        if (entry->d_name[0] != '.')
            read_all(entry->d_name);
}

static void make_one(const char *name)
{
    int fd = file_open(name, O_WRONLY | O_CREAT | O_EXCL);
    must(write(fd, chunk, 100) == 100, name);
    close(fd);
}

static void stat_one(const char *name)
{
    struct stat status;
    must(stat(name, &status) == 0 && status.st_size == 100, name);
}

static void remove_one(const char *name)
{
    must(unlink(name) == 0, name);
}

static void each(const char *path, int count, void (*what)(const char *name))
{
    must(chdir(path) == 0, path);
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "file%d", i);
        what(name);
    }
}

/* Return: whether there is such a work. */
static bool run(const char *work, const char *where, const char *number)
{
    int count = atoi(number);
    if (strcmp(work, "read") == 0)
        read_all(where);
    else if (strcmp(work, "write") == 0)
        write_all(where, count);
    else if (strcmp(work, "readat") == 0)
        at_random(where, count, false);
    else if (strcmp(work, "writeat") == 0)
        at_random(where, count, true);
    else if (strcmp(work, "map") == 0)
        map(where);
    else if (strcmp(work, "tree") == 0)
        tree(where);
    else if (strcmp(work, "make") == 0)
        each(where, count, make_one);
    else if (strcmp(work, "stat") == 0)
        each(where, count, stat_one);
    else if (strcmp(work, "remove") == 0)
        each(where, count, remove_one);
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    const char *work = argc > 1 ? argv[1] : "";
    double begin = now_s();
    if (strcmp(work, "serve") == 0) {
        serve();
    } else if (strcmp(work, "stream") == 0 && argc == 4) {
        stream(argv[2], atof(argv[3]));
    } else if (strcmp(work, "ask") == 0 && argc == 4) {
        ask(argv[2], atof(argv[3]));
    } else if (argc >= 3 && run(work, argv[2], argc > 3 ? argv[3] : "0")) {
        printf("%.2f\n", (now_s() - begin) * 1000);
    } else {
        fprintf(stderr, "usage: see pod_io.c\n");
        return 1;
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Does what busybox cannot, for tests in containers. It is static, so that it runs in any image.
 *   guest_tool watch DIRECTORY    names that are made in it, a line each, as inotify tells
 *   guest_tool listen SOCKET      says "hello" to who connects, for ever
 *   guest_tool connect SOCKET     prints what it is told
 *   guest_tool echo PORT          sends back what who connects to the loopback's port sends, for ever
 *   guest_tool greet PORT         the same after "welcome"
 *   guest_tool reset PORT         sends "partial", and resets the connection when it has been sent something
 *   guest_tool receive PORT       prints the datagrams that come to it (UDP over IPv4), for ever
 *   guest_tool syn PORT           of four connections to it, always between the same addresses and ports: by
 * how much the first packet's sequence number and time stamp (RFC 7323) are ahead of the clocks that they
 * follow. Whose secrets (RFC 6528) are the same, for those it is the same. Needs CAP_NET_RAW
 *   guest_tool advertise IFNAME   announces itself as a router (RFC 4861), as whoever may send raw ICMPv6 can
 *   guest_tool map FILE           prints the first line of a file by a shared mapping of it
 *   guest_tool try-KIND FILE      prints "got" or "busy"; KIND is a lock for writing (flock, posix, ofd) or
 * for reading (read) guest_tool hold-KIND FILE     waits for the lock, prints "got", and has it until its
 * standard input ends guest_tool close-KIND FILE    the same, but then it closes the file and waits to be
 * killed guest_tool cost-KIND FILE     prints the ns that a lock with its unlock takes
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int watch(const char *directory)
{
    union { /* aligned for the first event */
        struct inotify_event event;
        char bytes[4096];
    } buffer;
    int fd = inotify_init();
    ssize_t length;

    if (fd < 0 || inotify_add_watch(fd, directory, IN_CREATE) < 0)
        return perror(directory), 1;
    puts("watching");
    fflush(stdout);
    while ((length = read(fd, &buffer, sizeof buffer)) > 0) {
        for (char *at = buffer.bytes; at < buffer.bytes + length;) {
            struct inotify_event event;

            memcpy(&event, at, sizeof event);
            puts(at + sizeof event);
            at += sizeof event + event.len;
        }
        fflush(stdout);
    }
    return 1;
}

static int serve(int fd)
{
    for (;;) {
        int client = accept(fd, NULL, NULL);

        if (client < 0 || write(client, "hello\n", 6) != 6)
            return perror("serving"), 1;
        close(client);
    }
}

static int say(int fd)
{
    char text[100];
    ssize_t length = read(fd, text, sizeof text);

    return length > 0 && write(STDOUT_FILENO, text, (size_t)length) == length ? 0 : 1;
}

/* ---- TCP, each connection in a process of its own ---- */

static void echo(int fd)
{
    char bytes[4096];
    ssize_t length;

    while ((length = read(fd, bytes, sizeof bytes)) > 0)
        if (write(fd, bytes, (size_t)length) != length)
            _exit(1);
}

static void greet(int fd)
{
    if (write(fd, "welcome\n", 8) == 8)
        echo(fd);
}

static void reset(int fd)
{
    struct linger at_once = {.l_onoff = 1};
    char byte;

    if (write(fd, "partial\n", 8) == 8 && read(fd, &byte, 1) == 1)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

static int serve_tcp(const char *port, void (*talk)(int fd))
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    int fd = socket(AF_INET, SOCK_STREAM, 0), client;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    signal(SIGCHLD, SIG_IGN);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 128) < 0)
        return perror(port), 1;
    while ((client = accept(fd, NULL, NULL)) >= 0) {
        if (fork() == 0) {
            talk(client);
            _exit(0);
        }
        close(client);
    }
    return perror("accept"), 1;
}

/* ---- the first packet of TCP connections ---- */

enum { CONNECTIONS = 4, FIRST_SOURCE_PORT = 40000, TIMESTAMP_OPTION = 8 };

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Returns 0 when the packet has no time stamp. */
static uint32_t timestamp_of(const uint8_t *options, size_t length)
{
    uint32_t value;

    for (size_t at = 0; at + 1 < length && options[at] != 0; at += options[at] == 1 ? 1 : options[at + 1]) {
        if (options[at] == TIMESTAMP_OPTION && at + 6 <= length) {
            memcpy(&value, options + at + 2, sizeof value);
            return ntohl(value);
        }
        if (options[at] != 1 && options[at + 1] < 2)
            return 0;
    }
    return 0;
}

/* Linux counts sequence numbers by 64 ns of the real time, time stamps by ms of the monotonic one. */
static int say_syn(int sniffer, uint16_t source_port)
{
    struct {
        struct iphdr ip;
        struct tcphdr tcp;
        uint8_t options[40];
    } packet;

    for (;;) {
        ssize_t length = recv(sniffer, &packet, sizeof packet, 0);

        if (length < (ssize_t)(sizeof packet.ip + sizeof packet.tcp) || packet.ip.ihl != 5)
            return 1;
        if (packet.tcp.syn && !packet.tcp.ack && packet.tcp.source == htons(source_port))
            break;
    }
    printf("%u %u\n", ntohl(packet.tcp.seq) - (uint32_t)(clock_ns(CLOCK_REALTIME) >> 6),
           timestamp_of(packet.options, packet.tcp.doff * 4U - sizeof packet.tcp) -
               (uint32_t)(clock_ns(CLOCK_MONOTONIC) / 1000000));
    return 0;
}

static int syn(const char *port)
{
    int sniffer = socket(AF_INET, SOCK_RAW, IPPROTO_TCP);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (sniffer < 0)
        return perror("a raw socket"), 1;
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        struct sockaddr_in from = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)(FIRST_SOURCE_PORT + i))};
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + i); /* time stamps depend on the addresses */
        if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
            return perror("bind"), 1;
        (void)!connect(fd, (struct sockaddr *)&to, sizeof to); /* no server needs to listen there */
        if (say_syn(sniffer, (uint16_t)(FIRST_SOURCE_PORT + i)) != 0)
            return perror("reading packets"), 1;
        close(fd);
    }
    return 0;
}

/* ---- locks ---- */

enum { LOCK_ROUNDS = 2000 };

/* Return: 0, or -1 with errno. */
static int lock_file(int fd, const char *kind, int wait, int unlock)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (strcmp(kind, "flock") == 0)
        return flock(fd, unlock ? LOCK_UN : LOCK_EX | (wait ? 0 : LOCK_NB));
    if (strcmp(kind, "read") == 0)
        lock.l_type = F_RDLCK;
    if (unlock)
        lock.l_type = F_UNLCK;
    if (strcmp(kind, "ofd") == 0)
        return fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock);
    return fcntl(fd, wait ? F_SETLKW : F_SETLK, &lock);
}

static int print_cost(int fd, const char *kind)
{
    uint64_t start = clock_ns(CLOCK_MONOTONIC);

    for (unsigned i = 0; i < LOCK_ROUNDS; i++)
        if (lock_file(fd, kind, 0, 0) != 0 || lock_file(fd, kind, 0, 1) != 0)
            return perror(kind), 1;
    printf("%llu\n", (unsigned long long)((clock_ns(CLOCK_MONOTONIC) - start) / LOCK_ROUNDS));
    return 0;
}

static int use_lock(const char *action, const char *kind, const char *file)
{
    int fd = open(file, strcmp(kind, "read") == 0 ? O_RDONLY : O_RDWR);
    int wait = strncmp(action, "try-", 4) != 0;
    char byte;

    if (fd < 0)
        return perror(file), 1;
    if (strncmp(action, "cost-", 5) == 0)
        return print_cost(fd, kind);
    if (lock_file(fd, kind, wait, 0) != 0) {
        if (wait || (errno != EAGAIN && errno != EACCES))
            return perror(file), 1;
        return puts("busy"), 0;
    }
    puts("got");
    fflush(stdout);
    while (wait && read(STDIN_FILENO, &byte, 1) > 0)
        ;
    if (strncmp(action, "close-", 6) == 0) {
        close(fd);
        puts("closed");
        fflush(stdout);
        pause();
    }
    return 0;
}

static int receive(const char *port)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    char datagram[1500];
    ssize_t length;

    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        return perror(port), 1;
    while ((length = read(fd, datagram, sizeof datagram)) >= 0) {
        fwrite(datagram, 1, (size_t)length, stdout);
        fflush(stdout);
    }
    return 1;
}

/* Three times, because nobody confirms it. The kernel adds the checksum and the link-local source. */
static int advertise(const char *interface)
{
    struct sockaddr_in6 all_nodes = {.sin6_family = AF_INET6, .sin6_scope_id = if_nametoindex(interface)};
    const struct nd_router_advert advertisement = {.nd_ra_type = ND_ROUTER_ADVERT,
                                                   .nd_ra_router_lifetime = htons(60)};
    int fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
    int hops = 255;

    inet_pton(AF_INET6, "ff02::1", &all_nodes.sin6_addr);
    if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops) < 0)
        return perror(interface), 1;
    for (int i = 0; i < 3; i++)
        if (sendto(fd, &advertisement, sizeof advertisement, 0, (struct sockaddr *)&all_nodes,
                   sizeof all_nodes) < 0)
            return perror(interface), 1;
    return 0;
}

static int map(const char *file)
{
    int fd = open(file, O_RDWR);
    off_t length = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;
    const char *text =
        length > 0 ? mmap(NULL, (size_t)length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    const char *end;

    if (text == MAP_FAILED)
        return perror(file), 1;
    end = memchr(text, '\n', (size_t)length);
    fwrite(text, 1, end != NULL ? (size_t)(end - text) : (size_t)length, stdout);
    return 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (argc != 3 || strlen(argv[2]) >= sizeof address.sun_path || fd < 0)
        return 2;
    if (strcmp(argv[1], "watch") == 0)
        return watch(argv[2]);
    if (strcmp(argv[1], "echo") == 0)
        return serve_tcp(argv[2], echo);
    if (strcmp(argv[1], "greet") == 0)
        return serve_tcp(argv[2], greet);
    if (strcmp(argv[1], "reset") == 0)
        return serve_tcp(argv[2], reset);
    if (strcmp(argv[1], "receive") == 0)
        return receive(argv[2]);
    if (strcmp(argv[1], "map") == 0)
        return map(argv[2]);
    if (strcmp(argv[1], "advertise") == 0)
        return advertise(argv[2]);
    if (strcmp(argv[1], "syn") == 0)
        return syn(argv[2]);
    if (strchr(argv[1], '-') != NULL)
        return use_lock(argv[1], strchr(argv[1], '-') + 1, argv[2]);
    strcpy(address.sun_path, argv[2]); /* NOLINT: its length has been checked */
    if (strcmp(argv[1], "listen") == 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        listen(fd, 5) == 0)
        return serve(fd);
    if (strcmp(argv[1], "connect") == 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return say(fd);
    return perror(argv[2]), 1;
}

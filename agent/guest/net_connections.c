/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/net_connections.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BATCH = 64,        /* how many are found before they are removed: a dump is not changed while it runs */
    PASSES_MAX = 1024, /* more than a pod can have addresses or connections */
    ANSWER_BYTES = 32 << 10,
    LISTEN_STATE = 10, /* TCP_LISTEN of include/net/tcp_states.h */
};

typedef struct {
    struct nlmsghdr header;
    uint8_t body[128];
} Query;

static void query_make(Query *query, uint16_t type, uint16_t flags, const void *body, size_t length)
{
    memset(query, 0, sizeof *query);
    query->header.nlmsg_type = type;
    query->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    query->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(length);
    memcpy(query->body, body, length);
}

static int netlink_open(int protocol)
{
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
}

/* Calls take() with each message of the dump. Return: 0, or an errno value. */
static int netlink_dump(int fd, const Query *query, void (*take)(const struct nlmsghdr *, void *), void *data)
{
    static union {
        struct nlmsghdr first;
        uint8_t bytes[ANSWER_BYTES];
    } answer;

    if (send(fd, query, query->header.nlmsg_len, 0) < 0)
        return errno;
    for (;;) {
        ssize_t n = recv(fd, &answer, sizeof answer, 0);
        if (n < 0)
            return errno;
        size_t left = (size_t)n;
        for (struct nlmsghdr *message = &answer.first; NLMSG_OK(message, left);
             message = NLMSG_NEXT(message, left)) {
            if (message->nlmsg_type == NLMSG_DONE)
                return 0;
            if (message->nlmsg_type == NLMSG_ERROR)
                return -((struct nlmsgerr *)NLMSG_DATA(message))->error;
            take(message, data);
        }
    }
}

/* Sends a request that the kernel acknowledges. Return: 0, or the errno value of the answer. */
static int netlink_ask(int fd, const Query *query)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        uint8_t rest[1024];
    } answer;

    if (send(fd, query, query->header.nlmsg_len, 0) < 0 || recv(fd, &answer, sizeof answer, 0) < 0)
        return errno;
    return answer.header.nlmsg_type == NLMSG_ERROR ? -answer.error.error : EIO;
}

/* ---- addresses ---- */

typedef struct {
    struct ifaddrmsg fixed;
    uint8_t local[RTA_SPACE(16)]; /* the attribute that names the address */
    size_t length;
} Address;

typedef struct {
    int index;
    Address found[BATCH];
    size_t n;
} Addresses;

/* The local address of an interface is IFA_LOCAL, where there is none (IPv6) IFA_ADDRESS. */
static void address_take(const struct nlmsghdr *message, void *data)
{
    Addresses *addresses = data;
    const struct ifaddrmsg *fixed = NLMSG_DATA(message);
    const struct rtattr *chosen = NULL;
    size_t left = IFA_PAYLOAD(message);

    if (message->nlmsg_type != RTM_NEWADDR || (int)fixed->ifa_index != addresses->index ||
        addresses->n == BATCH)
        return;
    for (const struct rtattr *one = IFA_RTA(fixed); RTA_OK(one, left); one = RTA_NEXT(one, left))
        if (one->rta_type == IFA_LOCAL || (one->rta_type == IFA_ADDRESS && chosen == NULL))
            chosen = one;
    if (chosen == NULL || chosen->rta_len > sizeof addresses->found[0].local)
        return;
    Address *address = &addresses->found[addresses->n++];
    address->fixed = *fixed;
    address->length = chosen->rta_len;
    memcpy(address->local, chosen, chosen->rta_len);
}

static int address_remove(int fd, const Address *address)
{
    Query query;

    query_make(&query, RTM_DELADDR, NLM_F_ACK, &address->fixed, sizeof address->fixed);
    memcpy(query.body + NLMSG_ALIGN(sizeof address->fixed), address->local, address->length);
    query.header.nlmsg_len = (uint32_t)(NLMSG_LENGTH(NLMSG_ALIGN(sizeof address->fixed)) + address->length);
    return netlink_ask(fd, &query);
}

static int addresses_remove(int fd, int index)
{
    static Addresses addresses;
    const struct ifaddrmsg all = {.ifa_family = AF_UNSPEC};
    Query query;

    query_make(&query, RTM_GETADDR, NLM_F_DUMP, &all, sizeof all);
    for (int pass = 0; pass < PASSES_MAX; pass++) {
        addresses.index = index;
        addresses.n = 0;
        int problem = netlink_dump(fd, &query, address_take, &addresses);
        if (problem != 0 || addresses.n == 0)
            return problem;
        for (size_t i = 0; i < addresses.n; i++) {
            problem = address_remove(fd, &addresses.found[i]);
            /* A secondary address goes with its primary one. */
            if (problem != 0 && problem != EADDRNOTAVAIL)
                return problem;
        }
    }
    return E2BIG;
}

bool net_remove_addresses(int index, Fault *ret_fault)
{
    int fd = netlink_open(NETLINK_ROUTE);

    errno = fd < 0 ? errno : addresses_remove(fd, index);
    if (errno != 0)
        fault_errno(ret_fault, "removing the addresses of the former pod");
    bool ok = errno == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* ---- connections ---- */

typedef struct {
    struct inet_diag_req_v2 request; /* of the dump */
    struct inet_diag_sockid found[BATCH];
    size_t n;
} Connections;

static bool is_loopback(uint8_t family, const uint8_t *address)
{
    static const uint8_t one[16] = {[15] = 1}, mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (family == AF_INET)
        return address[0] == IN_LOOPBACKNET;
    return memcmp(address, one, sizeof one) == 0 ||
           (memcmp(address, mapped, sizeof mapped) == 0 && address[12] == IN_LOOPBACKNET);
}

static void connection_take(const struct nlmsghdr *message, void *data)
{
    Connections *connections = data;
    const struct inet_diag_msg *one = NLMSG_DATA(message);

    if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY || connections->n == BATCH || one->id.idiag_dport == 0 ||
        is_loopback(one->idiag_family, (const uint8_t *)one->id.idiag_src))
        return;
    connections->found[connections->n++] = one->id;
}

/* Return: 0, or an errno value; ENOENT when the kernel or the process has ended the connection already. */
static int connection_end(int fd, const Connections *connections, const struct inet_diag_sockid *id)
{
    struct inet_diag_req_v2 request = connections->request;
    Query query;

    request.id = *id;
    query_make(&query, SOCK_DESTROY, NLM_F_ACK, &request, sizeof request);
    return netlink_ask(fd, &query);
}

static int connections_end(int fd, uint8_t family, uint8_t protocol)
{
    static Connections connections;
    Query query;
    size_t ended = 1;

    connections.request = (struct inet_diag_req_v2){
        .sdiag_family = family, .sdiag_protocol = protocol, .idiag_states = ~(UINT32_C(1) << LISTEN_STATE)};
    query_make(&query, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &connections.request, sizeof connections.request);
    for (int pass = 0; pass < PASSES_MAX && ended > 0; pass++) {
        ended = connections.n = 0;
        int problem = netlink_dump(fd, &query, connection_take, &connections);
        for (size_t i = 0; problem == 0 && i < connections.n; i++) {
            int refusal = connection_end(fd, &connections, &connections.found[i]);

            if (refusal == 0)
                ended++;
            else if (refusal != ENOENT)
                problem = refusal;
        }
        if (problem != 0)
            return problem;
    }
    return 0;
}

bool net_end_connections(Fault *ret_fault)
{
    static const uint8_t families[] = {AF_INET, AF_INET6}, protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
    int fd = netlink_open(NETLINK_SOCK_DIAG);
    int problem = fd < 0 ? errno : 0;

    for (int i = 0; i < 4 && problem == 0; i++) {
        problem = connections_end(fd, families[i / 2], protocols[i % 2]);
        /* The kernel knows no such sockets, or cannot end them. */
        if (problem == ENOENT || problem == EOPNOTSUPP)
            problem = 0;
    }
    if (fd >= 0)
        close(fd);
    errno = problem;
    return problem == 0 || fault_errno(ret_fault, "ending the connections of the former pod");
}

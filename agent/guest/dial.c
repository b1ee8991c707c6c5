/* SPDX-License-Identifier: Apache-2.0 */
/* Dial: connections to ports of the pod's loopback, for port-forwarding.
 *
 * The pod's network namespace is the guest's own, so the agent itself connects. It tries IPv4 first, then
 * IPv6. The connection becomes a Process without a pid (process.h).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/guest/call.h"
#include "agent/guest/process.h"

/* Loopback answers at once, unless a firewall in the pod drops the packets. */
enum { CONNECT_MS = 5000 };

typedef struct {
    Call *call;
    Watch watch; /* of the connection that is being made; fd -1: none */
    Timer patience;
    bool is_second; /* IPv6 is being tried */
    int first_error;
} Dial;

static void dial_connect_next(Dial *dial);

static void dial_free(Dial *dial)
{
    watch_remove(&dial->watch);
    if (dial->watch.fd >= 0)
        close(dial->watch.fd);
    timer_stop(&dial->patience);
    free(dial);
}

static void dial_fail(Dial *dial, const Fault *error)
{
    call_fail(dial->call, error);
    dial_free(dial);
}

static void dial_succeed(Dial *dial)
{
    const DialRequest *request = dial->call->request->dial;
    DialResponse result = CRIVIRT__AGENT__V1__DIAL_RESPONSE__INIT;
    int fd = dial->watch.fd, yes = 1;
    Fault error;

    watch_remove(&dial->watch);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    Process *process = process_new("", request->process->exec_id, true, true, &error);
    if (process == NULL) {
        dial_fail(dial, &error);
        return;
    }
    dial->watch.fd = -1;
    if (!process_set_connection(process, fd)) {
        process_forget(process);
        fault(&error, FAULT_RESOURCE_EXHAUSTED, "cannot connect: out of memory in the guest");
        dial_fail(dial, &error);
        return;
    }
    reply_dial(dial->call, &result);
    dial_free(dial);
}

/* Tries the other family, or fails. The failure is that of the first family, because most servers listen on
 * IPv4. */
static void dial_attempt_failed(Dial *dial, int error_number)
{
    Fault error;

    watch_remove(&dial->watch);
    if (dial->watch.fd >= 0)
        close(dial->watch.fd);
    dial->watch.fd = -1;
    if (!dial->is_second) {
        dial->is_second = true;
        dial->first_error = error_number;
        dial_connect_next(dial);
        return;
    }
    fault(&error, FAULT_UNAVAILABLE, "connecting to port %u of the pod's loopback: %s",
          dial->call->request->dial->port, strerror(dial->first_error));
    dial_fail(dial, &error);
}

static void dial_answered(void *data)
{
    Dial *dial = data;
    int error_number = 0;
    socklen_t length = sizeof error_number;

    if (getsockopt(dial->watch.fd, SOL_SOCKET, SO_ERROR, &error_number, &length) < 0)
        error_number = errno;
    if (error_number != 0)
        dial_attempt_failed(dial, error_number);
    else
        dial_succeed(dial);
}

static void dial_timed_out(void *data)
{
    dial_attempt_failed(data, ETIMEDOUT);
}

static void dial_connect_next(Dial *dial)
{
    uint16_t port = htons((uint16_t)dial->call->request->dial->port);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = port};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    dial->watch.fd =
        socket(dial->is_second ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (dial->watch.fd < 0) {
        dial_attempt_failed(dial, errno);
        return;
    }
    const void *address = dial->is_second ? (const void *)&v6 : (const void *)&v4;
    if (connect(dial->watch.fd, address, dial->is_second ? sizeof v6 : sizeof v4) == 0)
        dial_succeed(dial);
    else if (errno != EINPROGRESS)
        dial_attempt_failed(dial, errno);
    else {
        watch_add(&dial->watch, EPOLLOUT);
        timer_start(&dial->patience, CONNECT_MS);
    }
}

void op_dial(Call *call)
{
    const DialRequest *request = call->request->dial;
    const ProcessId *id = request->process;
    Dial *dial = NULL;
    Fault error;

    if (id == NULL || id->container_id[0] != '\0' || !id_is_valid(id->exec_id) || request->port == 0 ||
        request->port > UINT16_MAX)
        fault(&error, FAULT_INVALID_ARGUMENT, "Dial needs an exec_id and a port of 1 to %d", UINT16_MAX);
    else if (process_find("", id->exec_id) != NULL)
        fault(&error, FAULT_ALREADY_EXISTS, "connection %s exists already", id->exec_id);
    else if ((dial = calloc(1, sizeof *dial)) == NULL)
        fault(&error, FAULT_RESOURCE_EXHAUSTED, "cannot connect: out of memory in the guest");
    if (dial == NULL) {
        call_fail(call, &error);
        return;
    }
    dial->call = call;
    dial->watch = (Watch){.fd = -1, .call = dial_answered, .data = dial};
    dial->patience.call = dial_timed_out;
    dial->patience.data = dial;
    dial_connect_next(dial);
}

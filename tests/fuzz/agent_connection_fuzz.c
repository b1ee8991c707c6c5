/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's end of the agent channel, with a guest that sends any payload in a well-formed frame. Each
 * event that the AgentConnection delivers is read to its last byte. */
#include "sandbox/agent/agent_connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char END[] = "this is the end of the input";

static struct {
    LoopThread *loop;
    AgentConnections *agents;
    char path[64];
    int listener;
    int end; /* readable when END was delivered */
} fuzz;

/* Reads the whole message, so that a sanitizer sees memory that is not the message's. */
static void look_at(const ProtobufCMessage *message)
{
    g_autofree guint8 *packed = g_malloc(protobuf_c_message_get_packed_size(message) + 1);

    protobuf_c_message_pack(message, packed);
}

static void on_ready(const Crivirt__Agent__V1__HelloResponse *hello, gpointer data)
{
    (void)data;
    look_at(&hello->base);
}

static void on_output(const Crivirt__Agent__V1__Output *output, gpointer data)
{
    (void)data;
    look_at(&output->base);
    look_at(&output->process->base);
}

static void on_exited(const Crivirt__Agent__V1__Exited *exited, gpointer data)
{
    (void)data;
    look_at(&exited->base);
    look_at(&exited->process->base);
}

static void on_input_ack(const Crivirt__Agent__V1__InputAck *ack, gpointer data)
{
    (void)data;
    look_at(&ack->base);
    look_at(&ack->process->base);
}

static void on_notice(const char *message, gpointer data)
{
    static const uint64_t one = 1;

    (void)data;
    if (strcmp(message, END) == 0 &&
        TEMP_FAILURE_RETRY(write(fuzz.end, &one, sizeof one)) != (ssize_t)sizeof one)
        abort();
}

static void on_started_late(const char *container_id, gpointer data)
{
    (void)container_id;
    (void)data;
}

static gboolean on_dead(const char *why, gpointer data)
{
    (void)why;
    (void)data;
    return TRUE;
}

static const AgentEvents events = {.ready = on_ready,
                                   .output = on_output,
                                   .exited = on_exited,
                                   .input_ack = on_input_ack,
                                   .notice = on_notice,
                                   .started_late = on_started_late,
                                   .dead = on_dead};

static void prepare(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char directory[] = "/tmp/agent-connection-fuzz-XXXXXX";

    if (mkdtemp(directory) == NULL)
        abort();
    snprintf(fuzz.path, sizeof fuzz.path, "%s/s", directory);
    memcpy(address.sun_path, fuzz.path, strlen(fuzz.path) + 1);
    fuzz.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fuzz.end = eventfd(0, EFD_CLOEXEC);
    if (bind(fuzz.listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fuzz.listener, 4) != 0)
        abort();
    fuzz.loop = loop_thread_new("agents");
    fuzz.agents = agent_connections_new(fuzz.loop, 0);
}

static void leave(void)
{
    char *slash = strrchr(fuzz.path, '/');

    loop_thread_free(fuzz.loop);
    agent_connections_free(fuzz.agents);
    unlink(fuzz.path);
    *slash = '\0';
    rmdir(fuzz.path);
}

/* libFuzzer's timer interrupts system calls, so each one is repeated. The daemon may have closed the
 * connection. */
static gboolean put(int fd, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    while (length > 0) {
        ssize_t sent = TEMP_FAILURE_RETRY(send(fd, at, length, MSG_NOSIGNAL));

        if (sent <= 0)
            return FALSE;
        at += sent;
        length -= (size_t)sent;
    }
    return TRUE;
}

static void put_frame(int fd, const uint8_t *payload, size_t length)
{
    uint8_t header[WIRE_HEADER_BYTES];

    if (length == 0)
        return;
    wire_header_encode(payload, length, 0, header);
    if (put(fd, header, sizeof header))
        put(fd, payload, length);
}

static void put_end(int fd)
{
    Crivirt__Agent__V1__FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    Crivirt__Agent__V1__Notice notice = CRIVIRT__AGENT__V1__NOTICE__INIT;
    uint8_t payload[128];

    notice.message = (char *)END;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_NOTICE;
    message.notice = &notice;
    put_frame(fd, payload, crivirt__agent__v1__from_guest__pack(&message, payload));
}

/* Echoes the daemon's sync. */
static void greet(int fd)
{
    uint8_t sync[WIRE_SYNC_BYTES];
    size_t have = 0;

    while (have < sizeof sync) {
        ssize_t got = TEMP_FAILURE_RETRY(recv(fd, sync + have, sizeof sync - have, 0));

        if (got <= 0)
            return;
        have += (size_t)got;
    }
    put(fd, sync, sizeof sync);
}

/* Waits until the daemon has delivered END, or has closed the connection. */
static void await_end(int fd)
{
    struct pollfd polled[] = {{.fd = fuzz.end, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    uint8_t bytes[4096];
    uint64_t count;

    while (TEMP_FAILURE_RETRY(poll(polled, 2, -1)) > 0 && polled[0].revents == 0)
        if (polled[1].revents != 0 && TEMP_FAILURE_RETRY(recv(fd, bytes, sizeof bytes, 0)) <= 0)
            return;
    if (TEMP_FAILURE_RETRY(read(fuzz.end, &count, sizeof count)) != (ssize_t)sizeof count)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AgentConnection *agent;
    int fd;

    if (fuzz.loop == NULL) {
        prepare();
        atexit(leave);
    }
    if (size == 0 || size > WIRE_MAX_FRAME_BYTES / 16)
        return 0;
    agent = agent_connection_open(fuzz.agents, fuzz.path, TRUE, &events, NULL);
    fd = (int)TEMP_FAILURE_RETRY(accept4(fuzz.listener, NULL, NULL, SOCK_CLOEXEC));
    if (fd < 0)
        abort();
    greet(fd);
    put_frame(fd, data, size);
    put_end(fd);
    await_end(fd);
    close(fd);
    agent_connection_close(agent);
    agent_connection_unref(agent);
    return 0;
}

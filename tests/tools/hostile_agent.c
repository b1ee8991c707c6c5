/* SPDX-License-Identifier: Apache-2.0 */
/* A guest that attacks the daemon, for integration tests: it serves the socket of a VM's agent in QEMU's
 * place.
 *
 *   hostile_agent SOCKET SANDBOX CONTAINER
 *
 * It greets as the agent of that sandbox, in which that container runs, answers pings, with clocks that are
 * wrong, and nothing else, and makes the attack whose name it reads from its standard input, one a line,
 * until the next one. With a new attack it closes the connection, so that the daemon connects again. It
 * prints a line "NAME COUNT" when an attack ends: how many frames of it were sent. It ends with its standard
 * input.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <glib.h>

#include "agent.pb-c.h"
#include "agent/wire/wire.h"

typedef Crivirt__Agent__V1__FromGuest FromGuest;
typedef Crivirt__Agent__V1__ToGuest ToGuest;
typedef Crivirt__Agent__V1__Response Response;

enum { BATCH_BYTES = 256 << 10, LONG_BYTES = 1000 * 1000, TEXT_BYTES = 300, MANY = 100 * 1000 };

typedef struct Attack Attack;

static struct {
    const char *sandbox;
    const char *container;
    int listener;
    int connection; /* -1: none */
    WireDecoder *decoder;
    gboolean greeted;
    GByteArray *out; /* frames that are not sent yet */
    gsize sent;      /* bytes of it that are */
    const Attack *attack;
    guint64 frames;
    guint64 round; /* grows with each message of an attack */
    char *text;    /* TEXT_BYTES */
    char *long_text;
} self;

/* ---- frames ---- */

static void put_message(const FromGuest *message)
{
    gsize length = crivirt__agent__v1__from_guest__get_packed_size(message);
    guint at = self.out->len;

    g_byte_array_set_size(self.out, (guint)(at + WIRE_HEADER_BYTES + length));
    crivirt__agent__v1__from_guest__pack(message, self.out->data + at + WIRE_HEADER_BYTES);
    wire_header_encode(self.out->data + at + WIRE_HEADER_BYTES, length, 0, self.out->data + at);
    self.frames++;
}

static void put_response(Response *response)
{
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;

    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE;
    message.response = response;
    put_message(&message);
}

static void put_hello(const char *version)
{
    Crivirt__Agent__V1__HelloResponse hello = CRIVIRT__AGENT__V1__HELLO_RESPONSE__INIT;
    Crivirt__Agent__V1__ContainerReport report = CRIVIRT__AGENT__V1__CONTAINER_REPORT__INIT;
    Crivirt__Agent__V1__ContainerReport *reports[] = {&report};
    Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;

    report.id = (char *)self.container;
    report.state = CRIVIRT__AGENT__V1__CONTAINER_REPORT__STATE__RUNNING;
    hello.protocol_version = WIRE_PROTOCOL_VERSION;
    hello.agent_version = (char *)version;
    hello.sandbox_id = (char *)self.sandbox;
    hello.containers = reports;
    hello.n_containers = 1;
    response.result_case = CRIVIRT__AGENT__V1__RESPONSE__RESULT_HELLO;
    response.hello = &hello;
    put_response(&response);
}

static void put_output(const char *container, const char *exec, guint64 offset)
{
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
    Crivirt__Agent__V1__Output output = CRIVIRT__AGENT__V1__OUTPUT__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;

    process.container_id = (char *)container;
    process.exec_id = (char *)exec;
    output.process = &process;
    output.stream = (Crivirt__Agent__V1__Stream)(self.round % 2);
    output.offset = offset;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_OUTPUT;
    message.output = &output;
    put_message(&message);
}

static void put_exited(const char *container, const char *exec, gint32 code, gint64 at_ns)
{
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
    Crivirt__Agent__V1__Exited exited = CRIVIRT__AGENT__V1__EXITED__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;

    process.container_id = (char *)container;
    process.exec_id = (char *)exec;
    exited.process = &process;
    exited.exit_code = code;
    exited.finished_at_ns = at_ns;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_EXITED;
    message.exited = &exited;
    put_message(&message);
}

/* ---- attacks ---- */

static void notices(void)
{
    Crivirt__Agent__V1__Notice notice = CRIVIRT__AGENT__V1__NOTICE__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;

    notice.message = self.text;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_NOTICE;
    message.notice = &notice;
    put_message(&message);
}

/* Of the container, of an exec that does not exist, and of a container that does not exist. */
static void outputs(void)
{
    put_output(self.container, "", self.round * 4096);
    put_output(self.container, "none", self.round);
    put_output("none", "", G_MAXUINT64 - self.round);
}

static void exits(void)
{
    put_exited("none", "", 1, G_MININT64);
    put_exited(self.container, "none", G_MININT32, G_MAXINT64);
}

static void input_acks(void)
{
    Crivirt__Agent__V1__ProcessId process = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
    Crivirt__Agent__V1__InputAck ack = CRIVIRT__AGENT__V1__INPUT_ACK__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;

    process.container_id = (char *)self.container;
    ack.process = &process;
    ack.offset = G_MAXUINT64 - self.round;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_INPUT_ACK;
    message.input_ack = &ack;
    put_message(&message);
}

/* Answers to all requests that the daemon may have sent, and to others: statistics that are no numbers, more
 * groups than a kernel takes, a failure with a long text. */
static void responses(void)
{
    static guint32 groups[MANY];
    Crivirt__Agent__V1__PressureLine line = CRIVIRT__AGENT__V1__PRESSURE_LINE__INIT;
    Crivirt__Agent__V1__Pressure pressure = CRIVIRT__AGENT__V1__PRESSURE__INIT;
    Crivirt__Agent__V1__CgroupUsage usage = CRIVIRT__AGENT__V1__CGROUP_USAGE__INIT;
    Crivirt__Agent__V1__StatsResponse stats = CRIVIRT__AGENT__V1__STATS_RESPONSE__INIT;
    Crivirt__Agent__V1__CreateContainerResponse create = CRIVIRT__AGENT__V1__CREATE_CONTAINER_RESPONSE__INIT;
    Crivirt__Agent__V1__Failure failure = CRIVIRT__AGENT__V1__FAILURE__INIT;
    Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;

    response.id = 1 + self.round / 3 % 1000;
    switch (self.round % 3) {
    case 0:
        line.avg10 = NAN;
        pressure.some = &line;
        usage.cpu_pressure = &pressure;
        stats.pod = &usage;
        response.result_case = CRIVIRT__AGENT__V1__RESPONSE__RESULT_STATS;
        response.stats = &stats;
        break;
    case 1:
        create.groups = groups;
        create.n_groups = MANY;
        response.result_case = CRIVIRT__AGENT__V1__RESPONSE__RESULT_CREATE_CONTAINER;
        response.create_container = &create;
        break;
    default:
        failure.status = (gint32)self.round;
        failure.message = self.long_text;
        response.failure = &failure;
    }
    put_response(&response);
}

/* A frame whose length or checksum is wrong. */
static void nonsense(void)
{
    guint8 bytes[64];

    for (gsize i = 0; i < sizeof bytes; i++)
        bytes[i] = (guint8)g_random_int();
    g_byte_array_append(self.out, bytes, sizeof bytes);
    self.frames++;
}

static void second_hello(void)
{
    put_hello("1");
}

/* Once only; later calls send nothing. */
static void lie_about_the_end(void)
{
    if (self.round == 0)
        put_exited(self.container, "", 1000000, G_MAXINT64);
}

struct Attack {
    const char *name;
    void (*put)(void); /* NULL: sends nothing */
    gboolean in_hello; /* the Hello is the attack */
};

static const Attack attacks[] = {
    {"silence", NULL, FALSE},          {"notices", notices, FALSE},       {"outputs", outputs, FALSE},
    {"exits", exits, FALSE},           {"input-acks", input_acks, FALSE}, {"responses", responses, FALSE},
    {"nonsense", nonsense, FALSE},     {"hellos", second_hello, FALSE},   {"long-hellos", NULL, TRUE},
    {"end", lie_about_the_end, FALSE},
};

/* ---- the connection ---- */

static void hang_up(void)
{
    if (self.connection >= 0)
        close(self.connection);
    self.connection = -1;
    wire_decoder_free(self.decoder);
    self.decoder = NULL;
    self.greeted = FALSE;
    self.sent = 0;
    g_byte_array_set_size(self.out, 0);
}

static void take_request(const ToGuest *message)
{
    Crivirt__Agent__V1__PingResponse ping = CRIVIRT__AGENT__V1__PING_RESPONSE__INIT;
    Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;

    if (message->body_case != CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST)
        return;
    if (message->request->op_case == CRIVIRT__AGENT__V1__REQUEST__OP_HELLO) {
        put_hello(self.attack->in_hello ? self.long_text : "1");
        self.greeted = TRUE;
    } else if (message->request->op_case == CRIVIRT__AGENT__V1__REQUEST__OP_PING) {
        response.id = message->request->id;
        response.result_case = CRIVIRT__AGENT__V1__RESPONSE__RESULT_PING;
        response.ping = &ping;
        ping.monotonic_ns = G_MAXINT64;
        ping.wall_clock_ns = G_MAXINT64;
        put_response(&response);
    }
}

static void take_bytes(const guint8 *data, size_t length)
{
    while (length > 0) {
        WireItem item;
        guint8 sync[WIRE_SYNC_BYTES];
        ToGuest *message;

        switch (wire_decoder_next(self.decoder, &data, &length, &item)) {
        case WIRE_SYNC:
            wire_sync_encode(item.nonce, sync);
            g_byte_array_append(self.out, sync, sizeof sync);
            break;
        case WIRE_FRAME:
            message = crivirt__agent__v1__to_guest__unpack(NULL, item.payload_length, item.payload);
            if (message != NULL)
                take_request(message);
            crivirt__agent__v1__to_guest__free_unpacked(message, NULL);
            break;
        default:
            break;
        }
    }
}

static gboolean receive(void)
{
    guint8 buffer[64 << 10];
    ssize_t got = recv(self.connection, buffer, sizeof buffer, 0);

    if (got > 0)
        take_bytes(buffer, (size_t)got);
    return got > 0 || (got < 0 && errno == EAGAIN);
}

static gboolean transmit(void)
{
    ssize_t put;

    if (self.sent == self.out->len) {
        self.sent = 0;
        g_byte_array_set_size(self.out, 0);
        while (self.greeted && self.attack->put != NULL && self.out->len < BATCH_BYTES) {
            guint before = self.out->len;

            self.attack->put();
            self.round++;
            if (self.out->len == before)
                break;
        }
    }
    if (self.out->len == 0)
        return TRUE;
    put = send(self.connection, self.out->data + self.sent, self.out->len - self.sent, MSG_NOSIGNAL);
    self.sent += put > 0 ? (gsize)put : 0;
    return put > 0 || errno == EAGAIN;
}

static gboolean wants_to_send(void)
{
    return self.sent < self.out->len || (self.greeted && self.attack->put != NULL &&
                                         (self.round == 0 || self.attack->put != lie_about_the_end));
}

/* ---- the program ---- */

static void listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof address.sun_path)
        exit(2);
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    self.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(self.listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(self.listener, 4) != 0) {
        perror(path);
        exit(1);
    }
}

/* Return: FALSE at the end of the standard input. */
static gboolean next_attack(void)
{
    char line[64];

    if (fgets(line, sizeof line, stdin) == NULL)
        return FALSE;
    g_strchomp(line);
    printf("%s %" G_GUINT64_FORMAT "\n", self.attack->name, self.frames);
    fflush(stdout);
    for (gsize i = 0; i < G_N_ELEMENTS(attacks); i++)
        if (g_str_equal(attacks[i].name, line))
            self.attack = &attacks[i];
    self.frames = 0;
    self.round = 0;
    hang_up();
    return TRUE;
}

int main(int argc, char **argv)
{
    enum { STDIN, LISTENER, CONNECTION, N_POLLED };

    if (argc != 4) {
        fprintf(stderr, "usage: hostile_agent SOCKET SANDBOX CONTAINER\n");
        return 2;
    }
    setvbuf(stdin, NULL, _IONBF, 0); /* so that poll() sees each line */
    self.sandbox = argv[2];
    self.container = argv[3];
    self.connection = -1;
    self.out = g_byte_array_new();
    self.attack = &attacks[0];
    self.text = g_strnfill(TEXT_BYTES, 'x');
    self.long_text = g_strnfill(LONG_BYTES, 'x');
    listen_at(argv[1]);
    for (;;) {
        short events = (short)(POLLIN | (wants_to_send() ? POLLOUT : 0));
        struct pollfd polled[N_POLLED] = {
            {.fd = STDIN_FILENO, .events = POLLIN},
            {.fd = self.connection < 0 ? self.listener : -1, .events = POLLIN},
            {.fd = self.connection, .events = events},
        };

        if (poll(polled, N_POLLED, -1) < 0)
            return 1;
        if (polled[STDIN].revents != 0 && !next_attack())
            return 0;
        if (polled[LISTENER].revents != 0 && self.connection < 0) {
            self.connection = accept4(self.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
            self.decoder = wire_decoder_new();
        } else if (polled[CONNECTION].revents != 0 && polled[CONNECTION].fd == self.connection) {
            if (!receive() || ((polled[CONNECTION].revents & POLLOUT) != 0 && !transmit()))
                hang_up();
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/agent/agent_calls.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/wire/wire.h"
#include "common/error.h"
#include "common/ids.h"
#include "tests/unit/harness.h"
#include "tests/unit/wait.h"

typedef Crivirt__Agent__V1__FromGuest FromGuest;

/* The guest's side of the channel, which the test plays: it sends what an honest or a hostile agent sends. */
typedef struct {
    char *directory;
    char *path;
    int listener;
    int connection;
    guint8 input[64 << 10]; /* of the connection */
    const guint8 *unread;
    size_t n_unread;
    LoopThread *loop;
    AgentConnections *agents;
    AgentConnection *agent;
    gint ready_count;
    gint dead_count;
    gint notice_count;
    gint late_count;
    gint last_count;
    GString *output;
    GMutex lock;
    guint32 protocol;   /* that the agent speaks */
    gboolean is_second; /* loop and agents are another fixture's */
} Fixture;

static void on_ready(const Crivirt__Agent__V1__HelloResponse *hello, gpointer data)
{
    (void)hello;
    g_atomic_int_inc(&((Fixture *)data)->ready_count);
}

static void on_output(const Crivirt__Agent__V1__Output *output, gpointer data)
{
    Fixture *fixture = data;

    g_mutex_lock(&fixture->lock);
    g_string_append_len(fixture->output, (const char *)output->data.data, (gssize)output->data.len);
    g_mutex_unlock(&fixture->lock);
}

static void on_exited(const Crivirt__Agent__V1__Exited *exited, gpointer data)
{
    (void)exited;
    (void)data;
}

static void on_notice(const char *message, gpointer data)
{
    (void)message;
    g_atomic_int_inc(&((Fixture *)data)->notice_count);
}

static void on_started_late(const char *container_id, gpointer data)
{
    Fixture *fixture = data;

    g_atomic_int_inc(g_str_equal(container_id, "last") ? &fixture->last_count : &fixture->late_count);
}

static gboolean on_dead(const char *why, gpointer data)
{
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "agent"));
    g_atomic_int_inc(&((Fixture *)data)->dead_count);
    return TRUE;
}

static const AgentEvents events = {.ready = on_ready,
                                   .output = on_output,
                                   .exited = on_exited,
                                   .notice = on_notice,
                                   .started_late = on_started_late,
                                   .dead = on_dead};

/* loop and agents are set. */
static void fixture_open(Fixture *fixture)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    g_mutex_init(&fixture->lock);
    fixture->output = g_string_new(NULL);
    fixture->directory = test_directory();
    fixture->path = g_build_filename(fixture->directory, "s", NULL);
    g_strlcpy(address.sun_path, fixture->path, sizeof address.sun_path);
    fixture->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(fixture->listener, (struct sockaddr *)&address, sizeof address), 0);
    CU_ASSERT_EQUAL_FATAL(listen(fixture->listener, 4), 0);
    fixture->agent = agent_connection_open(fixture->agents, fixture->path, TRUE, &events, fixture);
    fixture->connection = accept(fixture->listener, NULL, NULL);
    fixture->protocol = 1;
}

static void fixture_init_with(Fixture *fixture, gint64 silence_limit_ms)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->loop = loop_thread_new("agents");
    fixture->agents = agent_connections_new(fixture->loop, silence_limit_ms);
    fixture_open(fixture);
}

/* Makes another guest of the daemon. It is cleared before the first. */
static void fixture_init_second(Fixture *fixture, const Fixture *first)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->is_second = TRUE;
    fixture->loop = first->loop;
    fixture->agents = first->agents;
    fixture_open(fixture);
}

static void fixture_init(Fixture *fixture)
{
    fixture_init_with(fixture, 0);
}

static void fixture_clear(Fixture *fixture)
{
    agent_connection_close(fixture->agent);
    agent_connection_unref(fixture->agent);
    if (!fixture->is_second) {
        loop_thread_free(fixture->loop);
        agent_connections_free(fixture->agents);
    }
    if (fixture->connection >= 0)
        close(fixture->connection);
    close(fixture->listener);
    g_string_free(fixture->output, TRUE);
    g_mutex_clear(&fixture->lock);
    g_free(fixture->path);
    g_free(fixture->directory);
}

static void put(Fixture *fixture, const void *data, gsize length)
{
    CU_ASSERT_EQUAL(send(fixture->connection, data, length, MSG_NOSIGNAL), (ssize_t)length);
}

static void put_message(Fixture *fixture, const FromGuest *message)
{
    gsize length = crivirt__agent__v1__from_guest__get_packed_size(message);
    g_autofree guint8 *payload = g_malloc(length + 1);
    guint8 header[WIRE_HEADER_BYTES];

    crivirt__agent__v1__from_guest__pack(message, payload);

    wire_header_encode(payload, length, 0, header);
    put(fixture, header, sizeof header);
    put(fixture, payload, length);
}

/* Reads until the daemon's next sync or frame. Return: the unpacked frame; NULL after a sync, with its nonce.
 */
static Crivirt__Agent__V1__ToGuest *get(Fixture *fixture, WireDecoder *decoder, guint64 *ret_nonce)
{
    for (;;) {
        WireItem item;

        if (fixture->n_unread == 0) {
            ssize_t length = recv(fixture->connection, fixture->input, sizeof fixture->input, 0);

            if (length <= 0)
                return NULL;
            fixture->unread = fixture->input;
            fixture->n_unread = (size_t)length;
        }
        switch (wire_decoder_next(decoder, &fixture->unread, &fixture->n_unread, &item)) {
        case WIRE_SYNC:
            *ret_nonce = item.nonce;
            return NULL;
        case WIRE_FRAME:
            return crivirt__agent__v1__to_guest__unpack(NULL, item.payload_length, item.payload);
        default:
            break;
        }
    }
}

static void put_response(Fixture *fixture, guint64 id)
{
    Crivirt__Agent__V1__HelloResponse hello = CRIVIRT__AGENT__V1__HELLO_RESPONSE__INIT;
    Crivirt__Agent__V1__StartContainerResponse start = CRIVIRT__AGENT__V1__START_CONTAINER_RESPONSE__INIT;
    Crivirt__Agent__V1__Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;

    response.id = id;
    if (id == 0) {
        response.result_case = CRIVIRT__AGENT__V1__RESPONSE__RESULT_HELLO;
        hello.protocol_version = fixture->protocol;
        response.hello = &hello;
    } else {
        response.result_case = CRIVIRT__AGENT__V1__RESPONSE__RESULT_START_CONTAINER;
        response.start_container = &start;
    }
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE;
    message.response = &response;
    put_message(fixture, &message);
}

/* Answers the sync as an agent does, and the Hello with that message; NULL: as an agent does. */
static WireDecoder *greet_with(Fixture *fixture, const FromGuest *answer)
{
    WireDecoder *decoder = wire_decoder_new();
    guint8 sync[WIRE_SYNC_BYTES];
    guint64 nonce = 0;
    Crivirt__Agent__V1__ToGuest *hello;

    CU_ASSERT_PTR_NULL(get(fixture, decoder, &nonce));
    wire_sync_encode(nonce, sync);
    put(fixture, sync, sizeof sync);
    hello = get(fixture, decoder, &nonce);
    CU_ASSERT_PTR_NOT_NULL_FATAL(hello);
    CU_ASSERT_EQUAL(hello->request->op_case, CRIVIRT__AGENT__V1__REQUEST__OP_HELLO);
    crivirt__agent__v1__to_guest__free_unpacked(hello, NULL);
    if (answer != NULL)
        put_message(fixture, answer);
    else
        put_response(fixture, 0);
    return decoder;
}

static WireDecoder *greet(Fixture *fixture)
{
    return greet_with(fixture, NULL);
}

static gboolean start_call(Fixture *fixture, gint64 timeout_ms, GError **error)
{
    Crivirt__Agent__V1__StartContainerRequest start = CRIVIRT__AGENT__V1__START_CONTAINER_REQUEST__INIT;
    Deadline deadline = deadline_in_ms(timeout_ms);
    g_autoptr(AgentStartContainerResponse) response = NULL;

    return agent_start_container(fixture->agent, &start, &deadline, &response, error) && response != NULL;
}

static gpointer answer_one(gpointer data)
{
    Fixture *fixture = data;
    WireDecoder *decoder = greet(fixture);
    guint64 nonce;
    Crivirt__Agent__V1__ToGuest *request = get(fixture, decoder, &nonce);

    put_response(fixture, request != NULL ? request->request->id : 1);
    if (request != NULL)
        crivirt__agent__v1__to_guest__free_unpacked(request, NULL);
    wire_decoder_free(decoder);
    return NULL;
}

static void a_call_is_answered(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    GThread *thread;

    fixture_init(&fixture);
    thread = g_thread_new("guest", answer_one, &fixture);
    TEST_OK(start_call(&fixture, 60000, &error), error);
    g_thread_join(thread);
    fixture_clear(&fixture);
}

static void an_older_agent_is_known_as_one(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(60000);

    fixture_init(&fixture);
    wire_decoder_free(greet(&fixture));
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    TEST_OK(agent_connection_check_protocol(fixture.agent, 1, "breathing", &error), error);
    TEST_FAILS(
        agent_connection_check_protocol(fixture.agent, WIRE_PROTOCOL_INPUT_WINDOW, "standard input", &error),
        error, STATUS_FAILED_PRECONDITION, "standard input needs");
    fixture_clear(&fixture);
}

static void silence_ends_at_the_deadline(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;

    fixture_init(&fixture);
    TEST_FAILS(start_call(&fixture, 50, &error), error, STATUS_DEADLINE_EXCEEDED, "agent");
    fixture_clear(&fixture);
}

/* Return: the id of the request. */
static guint64 give_up_start(Fixture *fixture, WireDecoder *decoder, char *container_id)
{
    Crivirt__Agent__V1__StartContainerRequest start = CRIVIRT__AGENT__V1__START_CONTAINER_REQUEST__INIT;
    Deadline deadline = deadline_in_ms(50);
    g_autoptr(GError) error = NULL;
    Crivirt__Agent__V1__ToGuest *request;
    guint64 nonce, id;

    start.id = container_id;
    TEST_FAILS(agent_start_container(fixture->agent, &start, &deadline, NULL, &error), error,
               STATUS_DEADLINE_EXCEEDED, "agent");
    request = get(fixture, decoder, &nonce);
    CU_ASSERT_PTR_NOT_NULL_FATAL(request);
    id = request->request->id;
    crivirt__agent__v1__to_guest__free_unpacked(request, NULL);
    return id;
}

static void a_start_that_was_given_up_is_reported_when_it_is_answered(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(60000);
    WireDecoder *decoder;
    guint64 late, last;

    fixture_init(&fixture);
    decoder = greet(&fixture);
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    late = give_up_start(&fixture, decoder, (char *)"late");
    last = give_up_start(&fixture, decoder, (char *)"last");
    put_response(&fixture, late);
    put_response(&fixture, late);
    put_response(&fixture, last);
    WAIT_UNTIL(g_atomic_int_get(&fixture.last_count) == 1);
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.late_count), 1);
    wire_decoder_free(decoder);
    fixture_clear(&fixture);
}

static void garbage_before_the_sync_is_ignored(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    guint8 garbage[3000];
    GThread *thread;

    fixture_init(&fixture);
    memset(garbage, 0xa5, sizeof garbage);
    put(&fixture, garbage, sizeof garbage);
    thread = g_thread_new("guest", answer_one, &fixture);
    TEST_OK(start_call(&fixture, 60000, &error), error);
    g_thread_join(thread);
    fixture_clear(&fixture);
}

static void broken_framing_reconnects(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    static const guint8 nonsense[] = {4, 0, 0, 0, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4};
    GThread *thread;
    Deadline deadline = deadline_in_ms(60000);
    int first;

    fixture_init(&fixture);
    wire_decoder_free(greet(&fixture));
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    put(&fixture, nonsense, sizeof nonsense);
    first = fixture.connection;
    fixture.connection = accept(fixture.listener, NULL, NULL);
    fixture.n_unread = 0;
    close(first);
    thread = g_thread_new("guest", answer_one, &fixture);
    TEST_OK(start_call(&fixture, 60000, &error), error);
    g_thread_join(thread);
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.ready_count), 2);
    fixture_clear(&fixture);
}

static void bloated_messages_are_refused(void)
{
    enum { MANY = 300000 };
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    Crivirt__Agent__V1__ContainerReport report = CRIVIRT__AGENT__V1__CONTAINER_REPORT__INIT;
    Crivirt__Agent__V1__HelloResponse hello = CRIVIRT__AGENT__V1__HELLO_RESPONSE__INIT;
    Crivirt__Agent__V1__Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    g_autofree Crivirt__Agent__V1__ContainerReport **reports =
        g_new(Crivirt__Agent__V1__ContainerReport *, MANY);
    g_autofree guint8 *payload = g_malloc(WIRE_MAX_FRAME_BYTES);
    guint8 header[WIRE_HEADER_BYTES];
    Deadline deadline = deadline_in_ms(60000);
    gsize length;
    guint8 byte;

    for (guint i = 0; i < MANY; i++)
        reports[i] = &report;
    hello.n_containers = MANY;
    hello.containers = reports;
    response.result_case = CRIVIRT__AGENT__V1__RESPONSE__RESULT_HELLO;
    response.hello = &hello;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE;
    message.response = &response;
    length = crivirt__agent__v1__from_guest__pack(&message, payload);
    fixture_init(&fixture);
    wire_decoder_free(greet(&fixture));
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    wire_header_encode(payload, length, 0, header);
    put(&fixture, header, sizeof header);
    put(&fixture, payload, length);
    /* The daemon hangs up. */
    while (recv(fixture.connection, &byte, 1, 0) == 1)
        ;
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.ready_count), 1);
    fixture_clear(&fixture);
}

/* Waits until the daemon has closed the connection, and accepts the next one. */
static void accept_again(Fixture *fixture)
{
    guint8 bytes[4096];

    while (recv(fixture->connection, bytes, sizeof bytes, 0) > 0)
        ;
    close(fixture->connection);
    fixture->connection = accept(fixture->listener, NULL, NULL);
    fixture->n_unread = 0;
}

/* Answers a Hello with a version that is far too long, each time that the daemon connects, and then keeps the
 * protocol. */
static void a_hello_beyond_its_bounds_is_refused(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    Crivirt__Agent__V1__HelloResponse hello = CRIVIRT__AGENT__V1__HELLO_RESPONSE__INIT;
    Crivirt__Agent__V1__Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    g_autofree char *version = g_strnfill(1000 * 1000, 'x');
    Deadline deadline = deadline_in_ms(60000);

    hello.agent_version = version;
    response.result_case = CRIVIRT__AGENT__V1__RESPONSE__RESULT_HELLO;
    response.hello = &hello;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE;
    message.response = &response;
    fixture_init(&fixture);
    for (int i = 0; i < 3; i++) {
        WireDecoder *decoder = greet_with(&fixture, &message);

        accept_again(&fixture);
        wire_decoder_free(decoder);
    }
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.ready_count), 0);
    wire_decoder_free(greet(&fixture));
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.ready_count), 1);
    fixture_clear(&fixture);
}

static void a_second_hello_is_refused(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(60000);

    fixture_init(&fixture);
    wire_decoder_free(greet(&fixture));
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    put_response(&fixture, 0);
    accept_again(&fixture);
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.ready_count), 1);
    fixture_clear(&fixture);
}

/* The first answer has a text that is too long; the second is right. */
static gpointer answer_badly_then_well(gpointer data)
{
    Fixture *fixture = data;
    WireDecoder *decoder = greet(fixture);
    Crivirt__Agent__V1__Failure failure = CRIVIRT__AGENT__V1__FAILURE__INIT;
    Crivirt__Agent__V1__Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    g_autofree char *text = g_strnfill(100 * 1000, 'x');
    Crivirt__Agent__V1__ToGuest *request;
    guint64 nonce;

    request = get(fixture, decoder, &nonce);
    CU_ASSERT_PTR_NOT_NULL_FATAL(request);
    failure.message = text;
    failure.status = STATUS_NOT_FOUND;
    response.id = request->request->id;
    response.failure = &failure;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE;
    message.response = &response;
    put_message(fixture, &message);
    crivirt__agent__v1__to_guest__free_unpacked(request, NULL);
    request = get(fixture, decoder, &nonce);
    CU_ASSERT_PTR_NOT_NULL_FATAL(request);
    put_response(fixture, request->request->id);
    crivirt__agent__v1__to_guest__free_unpacked(request, NULL);
    wire_decoder_free(decoder);
    return NULL;
}

static void an_answer_beyond_its_bounds_fails_its_call(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    GThread *thread;

    fixture_init(&fixture);
    thread = g_thread_new("guest", answer_badly_then_well, &fixture);
    TEST_FAILS(start_call(&fixture, 60000, &error), error, STATUS_INTERNAL,
               "refused: Failure.message has 100000 bytes");
    TEST_OK(start_call(&fixture, 60000, &error), error);
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.ready_count), 1); /* on one connection */
    g_thread_join(thread);
    fixture_clear(&fixture);
}

/* ---- floods ---- */

enum { FLOOD_BUFFER_BYTES = 64 << 10, CALLS_BESIDE_A_FLOOD = 200 };

/* Sends notices as fast as the socket takes them, until the connection is shut down. */
static gpointer flood_with_notices(gpointer data)
{
    Fixture *fixture = data;
    Crivirt__Agent__V1__Notice notice = CRIVIRT__AGENT__V1__NOTICE__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    g_autofree guint8 *frames = g_malloc(FLOOD_BUFFER_BYTES);
    guint8 payload[64];
    gsize length, filled = 0;

    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_NOTICE;
    message.notice = &notice;
    length = crivirt__agent__v1__from_guest__pack(&message, payload);
    while (filled + WIRE_HEADER_BYTES + length <= FLOOD_BUFFER_BYTES) {
        wire_header_encode(payload, length, 0, frames + filled);
        memcpy(frames + filled + WIRE_HEADER_BYTES, payload, length);
        filled += WIRE_HEADER_BYTES + length;
    }
    for (gsize at = 0;;) {
        ssize_t sent = send(fixture->connection, frames + at, filled - at, MSG_NOSIGNAL);

        if (sent <= 0)
            return NULL;
        at = (at + (gsize)sent) % filled;
    }
}

/* Answers requests until the connection is shut down. */
static gpointer answer_all(gpointer data)
{
    Fixture *fixture = data;
    WireDecoder *decoder = greet(fixture);
    Crivirt__Agent__V1__ToGuest *request;
    guint64 nonce;

    while ((request = get(fixture, decoder, &nonce)) != NULL) {
        put_response(fixture, request->request->id);
        crivirt__agent__v1__to_guest__free_unpacked(request, NULL);
    }
    wire_decoder_free(decoder);
    return NULL;
}

static void a_flood_is_slowed_down(void)
{
    enum { BURST = 10000, PER_SECOND = 5000, SLACK = 1000 };
    Fixture flooded, calm;
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(60000);
    gint64 begin_us, elapsed_ms;
    gint count;
    GThread *flood, *answers;

    fixture_init(&flooded);
    fixture_init_second(&calm, &flooded);
    wire_decoder_free(greet(&flooded));
    TEST_OK(agent_connection_wait_ready(flooded.agent, &deadline, &error), error);
    answers = g_thread_new("calm", answer_all, &calm);
    begin_us = g_get_monotonic_time();
    flood = g_thread_new("flood", flood_with_notices, &flooded);
    WAIT_UNTIL(g_atomic_int_get(&flooded.notice_count) > BURST);
    for (int i = 0; i < CALLS_BESIDE_A_FLOOD; i++)
        TEST_OK(start_call(&calm, 60000, &error), error);
    elapsed_ms = (g_get_monotonic_time() - begin_us) / 1000;
    CU_ASSERT_TRUE(g_atomic_int_get(&flooded.notice_count) <= BURST + SLACK + PER_SECOND * elapsed_ms / 1000);
    /* It is slowed down, not cut off. */
    count = g_atomic_int_get(&flooded.notice_count);
    WAIT_UNTIL(g_atomic_int_get(&flooded.notice_count) > count + SLACK);
    shutdown(flooded.connection, SHUT_RDWR);
    shutdown(calm.connection, SHUT_RDWR);
    g_thread_join(flood);
    g_thread_join(answers);
    fixture_clear(&calm);
    fixture_clear(&flooded);
}

static void an_abandoned_guest_fails_at_once(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;

    fixture_init(&fixture);
    agent_connection_abandon(fixture.agent, "the VM was destroyed");
    TEST_FAILS(start_call(&fixture, 60000, &error), error, STATUS_UNAVAILABLE, "VM was destroyed");
    fixture_clear(&fixture);
}

static gpointer block_soon(gpointer data)
{
    g_usleep(100000);
    agent_connection_block(data, "the node's disk is full");
    return NULL;
}

static void a_blocked_guest_fails_at_once_and_recovers(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(60000);
    WireDecoder *decoder;
    GThread *thread;

    fixture_init_with(&fixture, 400);
    decoder = greet(&fixture);
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    thread = g_thread_new("block", block_soon, fixture.agent);
    TEST_FAILS(start_call(&fixture, 60000, &error), error, STATUS_UNAVAILABLE, "the node's disk is full");
    g_thread_join(thread);
    TEST_FAILS(start_call(&fixture, 60000, &error), error, STATUS_UNAVAILABLE, "the node's disk is full");
    g_usleep(800000); /* the silence that would make it dead */
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.dead_count), 0);
    TEST_FAILS(start_call(&fixture, 60000, &error), error, STATUS_UNAVAILABLE, "the node's disk is full");
    agent_connection_block(fixture.agent, NULL);
    TEST_FAILS(start_call(&fixture, 10, &error), error, STATUS_DEADLINE_EXCEEDED, "agent");
    wire_decoder_free(decoder);
    fixture_clear(&fixture);
}

static void messages_without_parts_are_harmless(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    Crivirt__Agent__V1__Output output = CRIVIRT__AGENT__V1__OUTPUT__INIT;
    Crivirt__Agent__V1__Exited exited = CRIVIRT__AGENT__V1__EXITED__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    WireDecoder *decoder;
    Deadline deadline = deadline_in_ms(60000);

    fixture_init(&fixture);
    decoder = greet(&fixture);
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_OUTPUT;
    message.output = &output;
    put_message(&fixture, &message);
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_EXITED;
    message.exited = &exited;
    put_message(&fixture, &message);
    put_response(&fixture, 4711);
    TEST_FAILS(start_call(&fixture, 100, &error), error, STATUS_DEADLINE_EXCEEDED, "agent");
    CU_ASSERT_EQUAL(fixture.output->len, 0);
    wire_decoder_free(decoder);
    fixture_clear(&fixture);
}

static void too_large_a_request_is_refused(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    Crivirt__Agent__V1__StartContainerRequest start = CRIVIRT__AGENT__V1__START_CONTAINER_REQUEST__INIT;
    g_autofree char *id = g_strnfill(WIRE_MAX_FRAME_BYTES, 'x');
    Deadline deadline = deadline_in_ms(60000);

    fixture_init(&fixture);
    wire_decoder_free(greet(&fixture));
    start.id = id;
    TEST_FAILS(agent_start_container(fixture.agent, &start, &deadline, NULL, &error), error,
               STATUS_INVALID_ARGUMENT, "limit");
    fixture_clear(&fixture);
}

/* Puts together what the daemon sent in parts. */
static gpointer answer_parts(gpointer data)
{
    Fixture *fixture = data;
    g_autoptr(GByteArray) whole = g_byte_array_new();
    WireDecoder *decoder = greet(fixture);
    Crivirt__Agent__V1__ToGuest *request;
    guint64 nonce;
    gboolean last = FALSE;

    while (!last) {
        Crivirt__Agent__V1__ToGuest *piece = get(fixture, decoder, &nonce);

        if (piece == NULL || piece->body_case != CRIVIRT__AGENT__V1__TO_GUEST__BODY_PART)
            return decoder;
        g_byte_array_append(whole, piece->part->data.data, (guint)piece->part->data.len);
        last = piece->part->last;
        crivirt__agent__v1__to_guest__free_unpacked(piece, NULL);
    }
    request = crivirt__agent__v1__to_guest__unpack(NULL, whole->len, whole->data);
    if (request != NULL && strlen(request->request->start_container->id) == 3 * WIRE_MAX_FRAME_BYTES)
        put_response(fixture, request->request->id);
    if (request != NULL)
        crivirt__agent__v1__to_guest__free_unpacked(request, NULL);
    return decoder;
}

static void a_long_request_goes_in_parts(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    Crivirt__Agent__V1__StartContainerRequest start = CRIVIRT__AGENT__V1__START_CONTAINER_REQUEST__INIT;
    g_autofree char *id = g_strnfill(3 * WIRE_MAX_FRAME_BYTES, 'x');
    g_autofree char *longer = g_strnfill(WIRE_MAX_MESSAGE_BYTES, 'x');
    Deadline deadline = deadline_in_ms(60000);
    GThread *thread;

    fixture_init(&fixture);
    fixture.protocol = WIRE_PROTOCOL_PARTS;
    thread = g_thread_new("agent", answer_parts, &fixture);
    start.id = id;
    TEST_OK(agent_start_container(fixture.agent, &start, &deadline, NULL, &error), error);
    wire_decoder_free(g_thread_join(thread));
    start.id = longer;
    TEST_FAILS(agent_start_container(fixture.agent, &start, &deadline, NULL, &error), error,
               STATUS_INVALID_ARGUMENT, "limit");
    fixture_clear(&fixture);
}

/* The longest message is added to the longest queue to which one may be added. */
static void an_agent_that_does_not_read_is_refused(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(60000);
    g_autofree char *id = g_strnfill(WIRE_MAX_MESSAGE_BYTES - 64, 'x');
    Crivirt__Agent__V1__StartContainerRequest start = CRIVIRT__AGENT__V1__START_CONTAINER_REQUEST__INIT;
    Crivirt__Agent__V1__Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;

    fixture_init(&fixture);
    fixture.protocol = WIRE_PROTOCOL_PARTS;
    wire_decoder_free(greet(&fixture));
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_START_CONTAINER;
    request.start_container = &start;
    start.id = id + WIRE_MAX_MESSAGE_BYTES / 2 + 4096;
    agent_connection_send_request(fixture.agent, &request); /* a little less than AGENT_QUEUE_BYTES */
    start.id = id;
    agent_connection_send_request(fixture.agent, &request);
    TEST_FAILS(start_call(&fixture, 60000, &error), error, STATUS_RESOURCE_EXHAUSTED, "does not read");
    agent_connection_send_request(fixture.agent, &request);
    TEST_FAILS(start_call(&fixture, 60000, &error), error, STATUS_RESOURCE_EXHAUSTED, "does not read");
    fixture_clear(&fixture);
}

/* The agent answers the Hello, and none of the requests that follow. */
static void a_silent_agent_fails_calls_and_recovers(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(60000);
    WireDecoder *decoder;
    guint64 nonce;

    fixture_init_with(&fixture, 8000);
    decoder = greet(&fixture);
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    TEST_FAILS(start_call(&fixture, 60000, &error), error, STATUS_UNAVAILABLE, "agent does not answer");
    TEST_FAILS(start_call(&fixture, 60000, &error), error, STATUS_UNAVAILABLE, "agent does not answer");
    put_response(&fixture, 4711); /* any message is a sign of life */
    while (!start_call(&fixture, 10, &error) && error->code == STATUS_UNAVAILABLE)
        g_clear_error(&error);
    CU_ASSERT_EQUAL(error != NULL ? error->code : 0, STATUS_DEADLINE_EXCEEDED);
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.dead_count), 0);
    crivirt__agent__v1__to_guest__free_unpacked(get(&fixture, decoder, &nonce), NULL);
    wire_decoder_free(decoder);
    fixture_clear(&fixture);
}

static void an_agent_that_stays_silent_is_dead_once(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(60000);

    fixture_init_with(&fixture, 400);
    wire_decoder_free(greet(&fixture));
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    while (g_atomic_int_get(&fixture.dead_count) == 0)
        g_usleep(10000);
    g_usleep(500000);
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.dead_count), 1);
    TEST_FAILS(start_call(&fixture, 60000, &error), error, STATUS_UNAVAILABLE, "agent does not answer");
    fixture_clear(&fixture);
}

static void an_agent_that_boots_may_be_silent(void)
{
    Fixture fixture;

    fixture_init_with(&fixture, 100);
    g_usleep(400000);
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.dead_count), 0);
    fixture_clear(&fixture);
}

/* ---- the guest's clock ---- */

#define HOUR_NS G_GINT64_CONSTANT(3600000000000)
#define GUEST_MONOTONIC_NS G_GINT64_CONSTANT(70000000000)

static void set_flag(gpointer data)
{
    g_atomic_int_set((gint *)data, 1);
}

/* Lets the daemon look at the clocks, and waits until it has. */
static void check_clocks(Fixture *fixture)
{
    gint done = 0;

    agent_connections_check_clocks(fixture->agents);
    loop_thread_after(fixture->loop, 0, set_flag, &done);
    WAIT_UNTIL(g_atomic_int_get(&done));
}

/* Reads the daemon's next request, of which the caller frees the message. */
static Crivirt__Agent__V1__ToGuest *expect_request(Fixture *fixture, WireDecoder *decoder, int op_case)
{
    guint64 nonce;
    Crivirt__Agent__V1__ToGuest *message = get(fixture, decoder, &nonce);

    CU_ASSERT_PTR_NOT_NULL_FATAL(message);
    CU_ASSERT_EQUAL_FATAL(message->body_case, CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST);
    CU_ASSERT_EQUAL_FATAL((int)message->request->op_case, op_case);
    return message;
}

static void put_clocks(Fixture *fixture, guint64 id, gint64 monotonic_ns, gint64 wall_ns)
{
    Crivirt__Agent__V1__PingResponse ping = CRIVIRT__AGENT__V1__PING_RESPONSE__INIT;
    Crivirt__Agent__V1__Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;

    ping.monotonic_ns = monotonic_ns;
    ping.wall_clock_ns = wall_ns;
    response.id = id;
    response.result_case = CRIVIRT__AGENT__V1__RESPONSE__RESULT_PING;
    response.ping = &ping;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE;
    message.response = &response;
    put_message(fixture, &message);
}

static void put_failure(Fixture *fixture, guint64 id)
{
    Crivirt__Agent__V1__Failure failure = CRIVIRT__AGENT__V1__FAILURE__INIT;
    Crivirt__Agent__V1__Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;

    failure.status = STATUS_INTERNAL;
    failure.message = (char *)"no clock here";
    response.id = id;
    response.failure = &failure;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE;
    message.response = &response;
    put_message(fixture, &message);
}

static WireDecoder *greet_follower(Fixture *fixture, guint32 protocol)
{
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(60000);
    WireDecoder *decoder;

    fixture_init(fixture);
    fixture->protocol = protocol;
    agent_connection_follow_clock(fixture->agent);
    decoder = greet(fixture);
    TEST_OK(agent_connection_wait_ready(fixture->agent, &deadline, &error), error);
    return decoder;
}

/* Lets the daemon ask and the guest answer. Return: the id of the ping. */
static guint64 answer_with_clock(Fixture *fixture, WireDecoder *decoder, gint64 ahead_ns)
{
    Crivirt__Agent__V1__ToGuest *ping;
    guint64 id;

    check_clocks(fixture);
    ping = expect_request(fixture, decoder, CRIVIRT__AGENT__V1__REQUEST__OP_PING);
    id = ping->request->id;
    put_clocks(fixture, id, GUEST_MONOTONIC_NS, time_now_ns() + ahead_ns);
    crivirt__agent__v1__to_guest__free_unpacked(ping, NULL);
    return id;
}

static void a_half_closed_channel_reconnects(void)
{
    Fixture fixture;
    Deadline deadline = deadline_in_ms(60000);
    g_autoptr(GError) error = NULL;
    GThread *thread;
    int first;

    fixture_init(&fixture);
    wire_decoder_free(greet(&fixture));
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    shutdown(fixture.connection, SHUT_RD);
    agent_connection_send_ack(fixture.agent, "none", NULL, CRIVIRT__AGENT__V1__STREAM__STREAM_STDOUT, 1,
                              FALSE);
    first = fixture.connection;
    fixture.connection = accept(fixture.listener, NULL, NULL);
    fixture.n_unread = 0;
    close(first);
    thread = g_thread_new("guest", answer_one, &fixture);
    TEST_OK(start_call(&fixture, 60000, &error), error);
    g_thread_join(thread);
    fixture_clear(&fixture);
}

/* ---- a channel that is held ---- */

static void send_acks(Fixture *fixture, guint64 first, guint64 count)
{
    for (guint64 i = first; i < first + count; i++)
        agent_connection_send_ack(fixture->agent, "held", NULL, CRIVIRT__AGENT__V1__STREAM__STREAM_STDOUT, i,
                                  FALSE);
}

typedef struct {
    Fixture *fixture;
    gint stopped;
} Flood;

/* A client of the guest that never stops to send. */
static gpointer flood_acks(gpointer data)
{
    Flood *flood = data;

    for (guint64 i = 0; !g_atomic_int_get(&flood->stopped); i++)
        send_acks(flood->fixture, i, 1);
    return NULL;
}

/* Return: how many bytes the guest can read now. */
static int readable_bytes(const Fixture *fixture)
{
    int bytes = 0;

    CU_ASSERT_EQUAL(ioctl(fixture->connection, FIONREAD, &bytes), 0);
    return bytes;
}

/* A guest that reads everything. */
static gpointer read_all(gpointer data)
{
    Fixture *fixture = data;
    guint8 buffer[4096];

    while (recv(fixture->connection, buffer, sizeof buffer, 0) > 0)
        ;
    return NULL;
}

/* Connects, with all read that the daemon has sent. */
static void fixture_init_ready(Fixture *fixture)
{
    Deadline deadline = deadline_in_ms(60000);
    GError *error = NULL;

    fixture_init(fixture);
    wire_decoder_free(greet(fixture));
    TEST_OK(agent_connection_wait_ready(fixture->agent, &deadline, &error), error);
}

static void a_hold_ends_when_the_agent_does_not_read(void)
{
    Fixture fixture;
    Deadline deadline = deadline_in_ms(100);
    GError *error = NULL;
    GThread *thread;

    fixture_init_ready(&fixture);
    send_acks(&fixture, 0, 1000);
    TEST_FAILS(agent_connection_hold(fixture.agent, &deadline, &error), error, STATUS_DEADLINE_EXCEEDED,
               "read what was sent");
    /* Nothing is held: what is sent afterwards arrives. */
    send_acks(&fixture, 1000, 1000);
    thread = g_thread_new("guest", read_all, &fixture);
    deadline = deadline_in_ms(60000);
    TEST_OK(agent_connection_hold(fixture.agent, &deadline, &error), error);
    agent_connection_release(fixture.agent);
    shutdown(fixture.connection, SHUT_RD);
    g_thread_join(thread);
    fixture_clear(&fixture);
}

static void a_hold_is_not_delayed_by_those_who_send(void)
{
    Fixture fixture;
    Flood flood = {.fixture = &fixture};
    Deadline deadline = deadline_in_ms(60000);
    GError *error = NULL;
    GThread *guest;
    GThread *client;

    fixture_init_ready(&fixture);
    guest = g_thread_new("guest", read_all, &fixture);
    client = g_thread_new("client", flood_acks, &flood);
    for (int i = 0; i < 5; i++) {
        TEST_OK(agent_connection_hold(fixture.agent, &deadline, &error), error);
        g_usleep(20 * 1000);
        CU_ASSERT_EQUAL(readable_bytes(&fixture), 0);
        agent_connection_release(fixture.agent);
    }
    g_atomic_int_set(&flood.stopped, TRUE);
    g_thread_join(client);
    shutdown(fixture.connection, SHUT_RD);
    g_thread_join(guest);
    fixture_clear(&fixture);
}

static void what_is_sent_during_a_hold_follows_it(void)
{
    Fixture fixture;
    Deadline deadline = deadline_in_ms(60000);
    GError *error = NULL;

    fixture_init_ready(&fixture);
    TEST_OK(agent_connection_hold(fixture.agent, &deadline, &error), error);
    send_acks(&fixture, 0, 10);
    g_usleep(20 * 1000);
    CU_ASSERT_EQUAL(readable_bytes(&fixture), 0);
    agent_connection_release(fixture.agent);
    WAIT_UNTIL(readable_bytes(&fixture) > 0);
    fixture_clear(&fixture);
}

static void a_hold_without_an_agent_fails_at_once(void)
{
    Fixture fixture;
    Deadline deadline = deadline_in_ms(60000);
    GError *error = NULL;

    fixture_init(&fixture);
    TEST_FAILS(agent_connection_hold(fixture.agent, &deadline, &error), error, STATUS_UNAVAILABLE,
               "is not connected");
    fixture_clear(&fixture);
}

static void a_guests_clock_is_set(void)
{
    static const gint64 ahead_ns[] = {-HOUR_NS, HOUR_NS, -10000 * HOUR_NS};
    Fixture fixture;
    WireDecoder *decoder = greet_follower(&fixture, WIRE_PROTOCOL_CLOCK);

    for (gsize i = 0; i < G_N_ELEMENTS(ahead_ns); i++) {
        gint64 before_ns = time_now_ns();
        Crivirt__Agent__V1__ToGuest *message;

        answer_with_clock(&fixture, decoder, ahead_ns[i]);
        message = expect_request(&fixture, decoder, CRIVIRT__AGENT__V1__REQUEST__OP_SET_CLOCK);
        CU_ASSERT_EQUAL(message->request->set_clock->monotonic_ns, GUEST_MONOTONIC_NS);
        CU_ASSERT_TRUE(message->request->set_clock->wall_clock_ns >= before_ns);
        CU_ASSERT_TRUE(message->request->set_clock->wall_clock_ns <= time_now_ns());
        put_failure(&fixture, message->request->id); /* it is logged, and the next look works */
        crivirt__agent__v1__to_guest__free_unpacked(message, NULL);
    }
    wire_decoder_free(decoder);
    fixture_clear(&fixture);
}

static void a_guests_clock_that_is_right_is_left_alone(void)
{
    Fixture fixture;
    WireDecoder *decoder = greet_follower(&fixture, WIRE_PROTOCOL_CLOCK);

    answer_with_clock(&fixture, decoder, 0);
    answer_with_clock(&fixture, decoder, 0); /* it expects the next ping, and no SetClock before it */
    wire_decoder_free(decoder);
    fixture_clear(&fixture);
}

static void one_ping_sets_a_clock_once(void)
{
    Fixture fixture;
    WireDecoder *decoder = greet_follower(&fixture, WIRE_PROTOCOL_CLOCK);
    guint64 id = answer_with_clock(&fixture, decoder, -HOUR_NS);

    for (guint64 other = id > 2 ? id - 2 : 1; other <= id + 1; other++)
        put_clocks(&fixture, other, GUEST_MONOTONIC_NS, G_MAXINT64);
    crivirt__agent__v1__to_guest__free_unpacked(
        expect_request(&fixture, decoder, CRIVIRT__AGENT__V1__REQUEST__OP_SET_CLOCK), NULL);
    answer_with_clock(&fixture, decoder, 0);
    answer_with_clock(&fixture, decoder, 0);
    wire_decoder_free(decoder);
    fixture_clear(&fixture);
}

/* The daemon's next request is that of the call, and no ping. */
static void expect_no_look(Fixture *fixture, WireDecoder *decoder)
{
    Crivirt__Agent__V1__StartContainerRequest start = CRIVIRT__AGENT__V1__START_CONTAINER_REQUEST__INIT;

    check_clocks(fixture);
    agent_start_container_post(fixture->agent, &start);
    crivirt__agent__v1__to_guest__free_unpacked(
        expect_request(fixture, decoder, CRIVIRT__AGENT__V1__REQUEST__OP_START_CONTAINER), NULL);
}

static void other_clocks_are_not_looked_at(void)
{
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(60000);
    Fixture older, host;
    WireDecoder *decoder = greet_follower(&older, WIRE_PROTOCOL_CLOCK - 1);

    expect_no_look(&older, decoder);
    wire_decoder_free(decoder);
    fixture_clear(&older);

    fixture_init(&host);
    host.protocol = WIRE_PROTOCOL_CLOCK;
    decoder = greet(&host);
    TEST_OK(agent_connection_wait_ready(host.agent, &deadline, &error), error);
    expect_no_look(&host, decoder);
    wire_decoder_free(decoder);
    fixture_clear(&host);
}

/* Pings that ask for a sign of life serve as well: this agent is asked by the heartbeat alone. */
static void the_heartbeats_pings_serve_as_well(void)
{
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(60000);
    Fixture fixture;
    Crivirt__Agent__V1__ToGuest *ping;
    WireDecoder *decoder;

    fixture_init_with(&fixture, 6000);
    fixture.protocol = WIRE_PROTOCOL_CLOCK;
    agent_connection_follow_clock(fixture.agent);
    decoder = greet(&fixture);
    TEST_OK(agent_connection_wait_ready(fixture.agent, &deadline, &error), error);
    ping = expect_request(&fixture, decoder, CRIVIRT__AGENT__V1__REQUEST__OP_PING);
    put_clocks(&fixture, ping->request->id, GUEST_MONOTONIC_NS, time_now_ns() + HOUR_NS);
    crivirt__agent__v1__to_guest__free_unpacked(ping, NULL);
    crivirt__agent__v1__to_guest__free_unpacked(
        expect_request(&fixture, decoder, CRIVIRT__AGENT__V1__REQUEST__OP_SET_CLOCK), NULL);
    wire_decoder_free(decoder);
    fixture_clear(&fixture);
}

int main(void)
{
    static const TestCase cases[] = {
        {"a request gets its response", a_call_is_answered},
        {"a feature that needs a newer protocol than the agent's is refused, others are not",
         an_older_agent_is_known_as_one},
        {"a call to an agent that does not answer ends at its deadline", silence_ends_at_the_deadline},
        {"bytes before the sync are ignored", garbage_before_the_sync_is_ignored},
        {"a guest that breaks the framing is disconnected and connected again", broken_framing_reconnects},
        {"a message that unpacks to far more than its frame is refused", bloated_messages_are_refused},
        {"a Hello with a text beyond its bound is refused, and the agent is connected again",
         a_hello_beyond_its_bounds_is_refused},
        {"a second answer to one Hello ends the connection", a_second_hello_is_refused},
        {"an answer with a text beyond its bound fails its own call only",
         an_answer_beyond_its_bounds_fails_its_call},
        {"a guest that floods is read at a bounded rate, and delays no other guest's calls",
         a_flood_is_slowed_down},
        {"calls on an abandoned connection fail at once, with the reason", an_abandoned_guest_fails_at_once},
        {"calls to a guest that cannot run fail at once, with the reason, until it can run again",
         a_blocked_guest_fails_at_once_and_recovers},
        {"a start that was given up is reported when the agent answers it, once",
         a_start_that_was_given_up_is_reported_when_it_is_answered},
        {"messages that lack parts, and responses without a request, are ignored",
         messages_without_parts_are_harmless},
        {"calls to a silent agent fail until it sends a message again",
         a_silent_agent_fails_calls_and_recovers},
        {"an agent that stays silent is reported as dead, once", an_agent_that_stays_silent_is_dead_once},
        {"an agent that has not answered yet, because its guest boots, is not reported as dead",
         an_agent_that_boots_may_be_silent},
        {"a request that is larger than a frame is refused for an agent that takes no parts",
         too_large_a_request_is_refused},
        {"a request that is too long for a frame goes in parts", a_long_request_goes_in_parts},
        {"what an agent does not read takes bounded memory, and further messages are refused",
         an_agent_that_does_not_read_is_refused},
        {"an agent that closes the half that it reads is connected again", a_half_closed_channel_reconnects},
        {"a hold ends at its deadline when the agent does not read, and holds nothing then",
         a_hold_ends_when_the_agent_does_not_read},
        {"a hold is not delayed by those who send without end", a_hold_is_not_delayed_by_those_who_send},
        {"what is sent during a hold follows when it ends", what_is_sent_during_a_hold_follows_it},
        {"a hold fails at once when the agent is not connected", a_hold_without_an_agent_fails_at_once},
        {"a guest whose clock is not the node's is set, again and again, even if it refuses",
         a_guests_clock_is_set},
        {"a guest whose clock is the node's is left alone", a_guests_clock_that_is_right_is_left_alone},
        {"what a guest answers unasked about its clock is ignored", one_ping_sets_a_clock_once},
        {"the clocks of older agents and of host pods are not looked at", other_clocks_are_not_looked_at},
        {"a guest's clock is set also when its agent is pinged for another reason",
         the_heartbeats_pings_serve_as_well},
    };

    return test_main("agent_connection", cases, G_N_ELEMENTS(cases));
}

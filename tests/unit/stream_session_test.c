/* SPDX-License-Identifier: Apache-2.0 */
/* Stream sessions with an agent of the first version of the protocol. It does not acknowledge input, so a
 * client that sent input would wait for ever. */
#include "sandbox/container/stream_open.h"

#include <malloc.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "agent/wire/wire.h"
#include "common/error.h"
#include "sandbox/pod/stream_dial.h"
#include "sandbox/pods/stream_sessions.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_manager.h"

typedef Crivirt__Agent__V1__Response Response;
typedef Crivirt__Agent__V1__Request Request;

typedef struct {
    SandboxManager *manager;
    Pod *pod;
    const char *container; /* its id */
    int listener, connection;
    GThread *agent;
    gint n_execs; /* requests that the agent got */
} Fixture;

/* ---- the agent ---- */

static void answer(Fixture *fixture, const Request *request)
{
    Crivirt__Agent__V1__HelloResponse hello = CRIVIRT__AGENT__V1__HELLO_RESPONSE__INIT;
    Crivirt__Agent__V1__ExecResponse exec = CRIVIRT__AGENT__V1__EXEC_RESPONSE__INIT;
    Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;
    Crivirt__Agent__V1__FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    guint8 frame[WIRE_HEADER_BYTES + 1024];
    gsize length;

    response.id = request->id;
    if (request->op_case == CRIVIRT__AGENT__V1__REQUEST__OP_HELLO) {
        hello.protocol_version = WIRE_PROTOCOL_INPUT_WINDOW - 1;
        response.result_case = CRIVIRT__AGENT__V1__RESPONSE__RESULT_HELLO;
        response.hello = &hello;
    } else {
        g_atomic_int_add(&fixture->n_execs, request->op_case == CRIVIRT__AGENT__V1__REQUEST__OP_EXEC);
        response.result_case = CRIVIRT__AGENT__V1__RESPONSE__RESULT_EXEC;
        response.exec = &exec;
    }
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE;
    message.response = &response;
    length = crivirt__agent__v1__from_guest__pack(&message, frame + WIRE_HEADER_BYTES);
    wire_header_encode(frame + WIRE_HEADER_BYTES, length, 0, frame);
    CU_ASSERT_EQUAL(send(fixture->connection, frame, WIRE_HEADER_BYTES + length, MSG_NOSIGNAL),
                    (ssize_t)(WIRE_HEADER_BYTES + length));
}

static void take_item(Fixture *fixture, const WireItem *item, WireEvent type)
{
    guint8 sync[WIRE_SYNC_BYTES];

    if (type == WIRE_SYNC) {
        wire_sync_encode(item->nonce, sync);
        CU_ASSERT_EQUAL(send(fixture->connection, sync, sizeof sync, MSG_NOSIGNAL), (ssize_t)sizeof sync);
    } else if (type == WIRE_FRAME) {
        Crivirt__Agent__V1__ToGuest *message =
            crivirt__agent__v1__to_guest__unpack(NULL, item->payload_length, item->payload);

        if (message->body_case == CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST)
            answer(fixture, message->request);
        crivirt__agent__v1__to_guest__free_unpacked(message, NULL);
    }
}

static gpointer agent_run(gpointer data)
{
    Fixture *fixture = data;
    WireDecoder *decoder = wire_decoder_new();
    guint8 byte;

    while (recv(fixture->connection, &byte, 1, 0) == 1) {
        const guint8 *bytes = &byte;
        size_t length = 1;
        WireItem item;

        take_item(fixture, &item, wire_decoder_next(decoder, &bytes, &length, &item));
    }
    wire_decoder_free(decoder);
    return NULL;
}

/* ---- the daemon's side ---- */

static void on_ready(const Crivirt__Agent__V1__HelloResponse *hello, gpointer data)
{
    (void)hello;
    (void)data;
}

static void fixture_init(Fixture *fixture)
{
    static const AgentEvents events = {.ready = on_ready};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "s", NULL);
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(5000);

    *fixture = (Fixture){.manager = test_manager_new()};
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    fixture->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(fixture->listener, (struct sockaddr *)&address, sizeof address), 0);
    CU_ASSERT_EQUAL_FATAL(listen(fixture->listener, 1), 0);
    fixture->pod = test_manager_add_pod(fixture->manager, 1, POD_READY, CONTAINER_RUNNING_STATE);
    fixture->container = test_pod_container(fixture->pod)->id;
    fixture->pod->agent = agent_connection_open(fixture->manager->agents, path, TRUE, &events, fixture);
    fixture->connection = accept(fixture->listener, NULL, NULL);
    fixture->agent = g_thread_new("agent", agent_run, fixture);
    TEST_OK(agent_connection_wait_ready(fixture->pod->agent, &deadline, &error), error);
}

static void fixture_clear(Fixture *fixture)
{
    agent_connection_close(fixture->pod->agent);
    shutdown(fixture->connection, SHUT_RDWR);
    g_thread_join(fixture->agent);
    close(fixture->connection);
    close(fixture->listener);
    test_manager_free(fixture->manager);
}

static void wake(gpointer data)
{
    (void)data;
}

static const StreamSessionClient client = {wake, NULL};

static StreamSession *exec(Fixture *fixture, gboolean with_input, GError **error)
{
    char *args[] = {(char *)"true"};
    const StreamSessionExec request = {
        .container_id = fixture->container, .args = args, .n_args = 1, .with_input = with_input};

    return stream_session_exec(fixture->manager, &request, &client, NULL, error);
}

static void no_input_for_an_older_agent(void)
{
    g_autoptr(GError) exec_error = NULL;
    g_autoptr(GError) attach_error = NULL;
    g_autoptr(GError) dial_error = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    TEST_FAILS(exec(&fixture, TRUE, &exec_error) != NULL, exec_error, STATUS_FAILED_PRECONDITION,
               "standard input needs version");
    TEST_FAILS(
        stream_session_attach(fixture.manager, fixture.container, TRUE, &client, NULL, &attach_error) != NULL,
        attach_error, STATUS_FAILED_PRECONDITION, "standard input needs");
    TEST_FAILS(stream_session_dial(fixture.manager, fixture.pod->id, 80, &client, NULL, &dial_error) != NULL,
               dial_error, STATUS_FAILED_PRECONDITION, "port-forward needs");
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.n_execs), 0);
    CU_ASSERT_EQUAL(g_hash_table_size(fixture.pod->sessions), 0);
    fixture_clear(&fixture);
}

static void the_rest_for_an_older_agent(void)
{
    g_autoptr(GError) error = NULL;
    StreamSession *session;
    StreamSessionEnd end;
    Fixture fixture;

    fixture_init(&fixture);
    session = exec(&fixture, FALSE, &error);
    TEST_OK(session != NULL, error);
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.n_execs), 1);
    CU_ASSERT_EQUAL(stream_session_write(session, "ignored", 7), 7); /* this session has no input */
    CU_ASSERT_FALSE(stream_session_ended(session, &end));
    stream_session_close(session);
    session = stream_session_attach(fixture.manager, fixture.container, FALSE, &client, NULL, &error);
    TEST_OK(session != NULL, error);
    stream_session_close(session);
    CU_ASSERT_EQUAL(g_hash_table_size(fixture.pod->sessions), 0);
    fixture_clear(&fixture);
}

/* The client never catches up: some of the output always waits. */
static void a_slow_reader_costs_what_waits(void)
{
    enum { ROUNDS = 4096, MOST_BYTES = 8 << 20 };
    static guint8 bytes[32 << 10];
    Crivirt__Agent__V1__Output output = CRIVIRT__AGENT__V1__OUTPUT__INIT;
    g_autoptr(GError) error = NULL;
    StreamSession *session;
    StreamSessionEnd end;
    Fixture fixture;
    gsize before;
    gsize after;
    gsize n_read = 0;

    fixture_init(&fixture);
    session = stream_session_attach(fixture.manager, fixture.container, FALSE, &client, NULL, &error);
    TEST_OK(session != NULL, error);
    before = mallinfo2().uordblks + mallinfo2().hblkhd;
    output.data = (ProtobufCBinaryData){.len = sizeof bytes, .data = bytes};
    for (int i = 0; i < ROUNDS; i++) {
        stream_session_receive(session, &output);
        output.offset += sizeof bytes;
        n_read += stream_session_read(session, STREAM_SESSION_STDOUT, bytes, sizeof bytes - (i == 0));
    }
    after = mallinfo2().uordblks + mallinfo2().hblkhd;
    CU_ASSERT_EQUAL(n_read, ROUNDS * sizeof bytes - 1);
    CU_ASSERT_TRUE(after < before + MOST_BYTES);
    CU_ASSERT_FALSE(stream_session_ended(session, &end));
    stream_session_close(session);
    fixture_clear(&fixture);
}

int main(void)
{
    static const TestCase cases[] = {
        {"with an older agent a command that needs input is refused before it starts",
         no_input_for_an_older_agent},
        {"an older agent starts commands without input and passes on their output",
         the_rest_for_an_older_agent},
        {"a client that reads slowly costs memory for what waits, not for all that passed",
         a_slow_reader_costs_what_waits},
    };

    return test_main("session", cases, G_N_ELEMENTS(cases));
}

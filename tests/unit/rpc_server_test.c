/* SPDX-License-Identifier: Apache-2.0 */
/* The server by itself, with handlers of the test's own, called by the command line's client. */
#include "cri-server/rpc/rpc_server.h"

#include "api.pb-c.h"
#include "common/error.h"
#include "cri-server/cli/grpc_client.h"
#include "cri-server/rpc/list_stream.h"
#include "crivirt.pb-c.h"
#include "tests/unit/harness.h"

#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- handlers ---- */

/* What the handlers share with a test. */
struct Daemon {
    gint entered;
    gint left;
    gint open; /* run_pod_sandbox() returns when it is set, or when it is cancelled */
    gint sent;
};

enum { PART_BYTES = 700 * 1024, HELD_BYTES = 5000 };

static char *text_of(char *text, gsize length, char first)
{
    for (gsize i = 0; i < length; i++)
        text[i] = (char)(first + i % 23);
    text[length] = '\0';
    return text;
}

/* Large texts, small ones, and one that is freed as soon as the handler's arena is given back. */
static void answer_in_parts(const RpcCall *call, Runtime__V1__VersionResponse *response)
{
    char *held = g_malloc(HELD_BYTES + 1);

    arena_hold(call->arena, held, g_free);
    response->version = text_of(arena_alloc_raw(call->arena, PART_BYTES + 1), PART_BYTES, 'a');
    response->runtime_name = arena_strdup(call->arena, "small");
    response->runtime_version = text_of(held, HELD_BYTES, 'A');
    response->runtime_api_version = text_of(arena_alloc_raw(call->arena, PART_BYTES + 1), PART_BYTES, 'b');
}

static gboolean answer_version(const RpcCall *call, const ProtobufCMessage *message, ProtobufCMessage *reply,
                               GError **error)
{
    const Runtime__V1__VersionRequest *request = (const void *)message;
    Runtime__V1__VersionResponse *response = (void *)reply;

    if (g_str_equal(request->version, "fail"))
        return fail(error, STATUS_FAILED_PRECONDITION, "pod \xff is not ready");
    if (g_str_equal(request->version, "large")) {
        response->version = arena_alloc(call->arena, RPC_MESSAGE_MAX_BYTES + 1);
        memset(response->version, 'x', RPC_MESSAGE_MAX_BYTES);
        return TRUE;
    }
    if (g_str_equal(request->version, "parts")) {
        answer_in_parts(call, response);
        return TRUE;
    }
    response->version = request->version;
    response->runtime_name = arena_strdup(call->arena, "\xfe");
    response->runtime_version = arena_printf(call->arena, "%d", deadline_left_ms(call->deadline));
    return TRUE;
}

static gboolean wait_for_cancel(const RpcCall *call, const ProtobufCMessage *message, ProtobufCMessage *reply,
                                GError **error)
{
    struct Daemon *shared = (struct Daemon *)call->daemon;
    gboolean in_time = TRUE;

    (void)message;
    (void)reply;
    g_atomic_int_inc(&shared->entered);
    while (in_time && g_atomic_int_get(&shared->open) == 0) {
        g_usleep(2000);
        in_time = deadline_check(call->deadline, "booting the guest", error);
    }
    g_atomic_int_inc(&shared->left);
    return in_time;
}

static gboolean send_many(const RpcCall *call, const ProtobufCMessage *message, ProtobufCMessage *reply,
                          GError **error)
{
    struct Daemon *shared = (struct Daemon *)call->daemon;
    const Crivirt__V1__PullImageWithProgressRequest *request = (const void *)message;
    const guint64 count = g_ascii_strtoull(request->image, NULL, 10);
    g_autofree char *padding = g_strnfill(4096, 'p');
    gboolean sent = TRUE;

    (void)reply;
    g_atomic_int_inc(&shared->entered);
    for (guint64 i = 0; i < count && sent; i++) {
        Crivirt__V1__PullProgress progress = CRIVIRT__V1__PULL_PROGRESS__INIT;
        Crivirt__V1__LayerProgress layer = CRIVIRT__V1__LAYER_PROGRESS__INIT;
        Crivirt__V1__LayerProgress *layers[] = {&layer};

        layer.digest = padding;
        layer.done_bytes = i;
        progress.layers = layers;
        progress.n_layers = 1;
        sent = rpc_stream_send(call->stream, &progress.base, error);
        g_atomic_int_inc(&shared->sent);
    }
    g_atomic_int_inc(&shared->left);
    if (sent && count == 0)
        return fail(error, STATUS_NOT_FOUND, "no such image");
    return sent;
}

/* ---- items that are encoded already ---- */

enum { ENCODED_BLOCKS = 7, BLOCK_ITEMS = 25, ITEM_BYTES = 4000 };

/* Return: a text that begins with a number. */
static char *item_text(Arena *arena, guint number)
{
    char *text = arena_alloc_raw(arena, ITEM_BYTES + 1);

    memset(text, 'x', ITEM_BYTES);
    text[g_snprintf(text, 16, "%u", number)] = ' ';
    text[ITEM_BYTES] = '\0';
    return text;
}

/* A block of items, as a field of which protobuf-c writes the first byte. */
static ProtobufCMessageUnknownField encoded_block(Arena *arena, guint first)
{
    Runtime__V1__PodSandboxMetrics items[BLOCK_ITEMS];
    Runtime__V1__PodSandboxMetrics *pointers[BLOCK_ITEMS];
    Runtime__V1__ListPodSandboxMetricsResponse list = RUNTIME__V1__LIST_POD_SANDBOX_METRICS_RESPONSE__INIT;
    guint8 *data;

    for (guint i = 0; i < BLOCK_ITEMS; i++) {
        runtime__v1__pod_sandbox_metrics__init(&items[i]);
        items[i].pod_sandbox_id = item_text(arena, first + i);
        pointers[i] = &items[i];
    }
    list.pod_metrics = pointers;
    list.n_pod_metrics = BLOCK_ITEMS;
    data = arena_alloc_raw(arena, protobuf_c_message_get_packed_size(&list.base));
    return (ProtobufCMessageUnknownField){.tag = 1,
                                          .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED,
                                          .len = protobuf_c_message_pack(&list.base, data) - 1,
                                          .data = data + 1};
}

static gboolean list_encoded(const RpcCall *call, const ProtobufCMessage *message, ProtobufCMessage *reply,
                             GError **error)
{
    (void)message;
    (void)error;
    reply->unknown_fields = arena_new0(call->arena, ProtobufCMessageUnknownField, ENCODED_BLOCKS);
    reply->n_unknown_fields = ENCODED_BLOCKS;
    for (guint i = 0; i < ENCODED_BLOCKS; i++)
        reply->unknown_fields[i] = encoded_block(call->arena, i * BLOCK_ITEMS);
    return TRUE;
}

static gboolean stream_encoded(const RpcCall *call, const ProtobufCMessage *message, ProtobufCMessage *reply,
                               GError **error)
{
    Runtime__V1__ListPodSandboxMetricsResponse all = RUNTIME__V1__LIST_POD_SANDBOX_METRICS_RESPONSE__INIT;

    (void)reply;
    return list_encoded(call, message, &all.base, error) &&
           list_stream_send(call, &all.base, &runtime__v1__stream_pod_sandbox_metrics_response__descriptor,
                            error);
}

/* ---- a server for a test ---- */

static const RpcMethod methods[] = {
    {&runtime__v1__runtime_service__descriptor, "Version", "", "", RPC_POOL_FAST, FALSE, answer_version},
    {&runtime__v1__runtime_service__descriptor, "RunPodSandbox", "", "", RPC_POOL_POD, FALSE,
     wait_for_cancel},
    {&runtime__v1__runtime_service__descriptor, "Exec", "", "", RPC_POOL_FAST, FALSE, NULL},
    {&crivirt__v1__crivirt__descriptor, "PullImageWithProgress", "", "", RPC_POOL_IMAGE, TRUE, send_many},
    {&runtime__v1__runtime_service__descriptor, "ListPodSandboxMetrics", "", "", RPC_POOL_FAST, FALSE,
     list_encoded},
    {&runtime__v1__runtime_service__descriptor, "StreamPodSandboxMetrics", "", "", RPC_POOL_FAST, TRUE,
     stream_encoded},
};

typedef struct {
    struct Daemon shared;
    char *directory;
    char *path;
    RpcServer *server;
} Fixture;

static RpcServer *open_at(const char *path, const struct Daemon *shared, GError **error)
{
    const RpcServerConfig config = {
        .socket_path = path,
        .methods = methods,
        .n_methods = G_N_ELEMENTS(methods),
        .daemon = shared,
        .pools = {{4, 512}, {1, 1}, {1, 1}, {2, 2}},
    };

    return rpc_server_open(&config, error);
}

static void fixture_init(Fixture *fixture)
{
    GError *error = NULL;

    *fixture = (Fixture){.directory = test_directory()};
    fixture->path = g_build_filename(fixture->directory, "crivirtd test.sock", NULL);
    fixture->server = open_at(fixture->path, &fixture->shared, &error);
    TEST_OK(fixture->server != NULL, error);
    rpc_server_start(fixture->server);
}

static void fixture_clear(Fixture *fixture)
{
    if (fixture->server != NULL) {
        rpc_server_stop(fixture->server, 1000);
        rpc_server_free(fixture->server);
    }
    g_free(fixture->path);
    g_free(fixture->directory);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Fixture, fixture_clear)

static gboolean wait_for(gint *value, gint wanted)
{
    for (guint i = 0; i < 2500 && g_atomic_int_get(value) < wanted; i++)
        g_usleep(2000);
    return g_atomic_int_get(value) >= wanted;
}

/* Makes a call on a connection of its own. The strings of the result belong to the arena. */
static const ProtobufCMessage *call_method(const Fixture *fixture, const char *method,
                                           const ProtobufCMessage *request, const Deadline *deadline,
                                           Arena *arena, GError **error)
{
    g_autoptr(GrpcClient) client = grpc_client_open(fixture->path, error);

    if (client == NULL)
        return NULL;
    return grpc_client_call(client, &runtime__v1__runtime_service__descriptor, method, request, deadline,
                            arena, error);
}

static const Runtime__V1__VersionResponse *
call_version(const Fixture *fixture, const char *text, const Deadline *deadline, Arena *arena, GError **error)
{
    Runtime__V1__VersionRequest request = RUNTIME__V1__VERSION_REQUEST__INIT;

    request.version = (char *)text;
    return (const void *)call_method(fixture, "Version", &request.base, deadline, arena, error);
}

/* ---- tests ---- */

static void answers(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(Arena) arena = arena_new();
    GError *error = NULL;
    const Runtime__V1__VersionResponse *response;

    fixture_init(&fixture);
    response = call_version(&fixture, "hello", NULL, arena, &error);
    TEST_OK(response != NULL, error);
    CU_ASSERT_STRING_EQUAL(response->version, "hello");
    CU_ASSERT_STRING_EQUAL(response->runtime_name, "\xef\xbf\xbd");
}

static void passes_failures_on(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(Arena) arena = arena_new();
    GError *error = NULL;

    fixture_init(&fixture);
    TEST_FAILS(call_version(&fixture, "fail", NULL, arena, &error), error, STATUS_FAILED_PRECONDITION,
               "pod \xef\xbf\xbd is not ready");
}

static void names_unknown_methods(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(Arena) arena = arena_new();
    Runtime__V1__AttachRequest attach = RUNTIME__V1__ATTACH_REQUEST__INIT;
    Runtime__V1__ExecRequest exec = RUNTIME__V1__EXEC_REQUEST__INIT;
    GError *error = NULL;

    fixture_init(&fixture);
    TEST_FAILS(call_method(&fixture, "Attach", &attach.base, NULL, arena, &error), error,
               STATUS_UNIMPLEMENTED, "unknown method /runtime.v1.RuntimeService/Attach");
    TEST_FAILS(call_method(&fixture, "Exec", &exec.base, NULL, arena, &error), error, STATUS_UNIMPLEMENTED,
               "Exec is not implemented yet");
}

static void refuses_what_it_cannot_decode(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(Arena) arena = arena_new();
    Runtime__V1__VersionRequest request = RUNTIME__V1__VERSION_REQUEST__INIT;
    guint8 number[] = {5};
    ProtobufCMessageUnknownField field = {1, PROTOBUF_C_WIRE_TYPE_VARINT, sizeof number, number};
    GError *error = NULL;

    fixture_init(&fixture);
    request.base.n_unknown_fields = 1; /* a number where a text belongs */
    request.base.unknown_fields = &field;
    TEST_FAILS(call_method(&fixture, "Version", &request.base, NULL, arena, &error), error,
               STATUS_INVALID_ARGUMENT, "runtime.v1.VersionRequest");
    TEST_FAILS(call_version(&fixture, "\xff", NULL, arena, &error), error, STATUS_INVALID_ARGUMENT,
               "version is not valid UTF-8");
}

static void refuses_large_messages(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(Arena) arena = arena_new();
    g_autofree char *large = g_strnfill(RPC_MESSAGE_MAX_BYTES + 1, 'x');
    GError *error = NULL;

    fixture_init(&fixture);
    TEST_FAILS(call_version(&fixture, large, NULL, arena, &error), error, STATUS_RESOURCE_EXHAUSTED, "");
    TEST_FAILS(call_version(&fixture, "large", NULL, arena, &error), error, STATUS_RESOURCE_EXHAUSTED,
               "more than the 16777216");
    large[RPC_MESSAGE_MAX_BYTES - 1024] = '\0';
    TEST_OK(call_version(&fixture, large, NULL, arena, &error) != NULL, error);
}

static void sends_large_answers_from_where_they_are(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(Arena) arena = arena_new();
    char *part = arena_alloc(arena, PART_BYTES + 1);
    char *held = arena_alloc(arena, HELD_BYTES + 1);
    GError *error = NULL;

    fixture_init(&fixture);
    for (guint i = 0; i < 3; i++) {
        const Runtime__V1__VersionResponse *response =
            (const void *)call_version(&fixture, "parts", NULL, arena, &error);

        TEST_OK(response != NULL, error);
        if (response == NULL)
            return;
        CU_ASSERT_STRING_EQUAL(response->version, text_of(part, PART_BYTES, 'a'));
        CU_ASSERT_STRING_EQUAL(response->runtime_name, "small");
        CU_ASSERT_STRING_EQUAL(response->runtime_version, text_of(held, HELD_BYTES, 'A'));
        CU_ASSERT_STRING_EQUAL(response->runtime_api_version, text_of(part, PART_BYTES, 'b'));
    }
}

/* Whether these are the items from *number on, which becomes that of the next one. */
static gboolean are_items(Runtime__V1__PodSandboxMetrics *const *items, gsize n_items, guint *number)
{
    gboolean good = TRUE;

    for (gsize i = 0; i < n_items; i++)
        good = good && g_ascii_strtoull(items[i]->pod_sandbox_id, NULL, 10) == (*number)++ &&
               strlen(items[i]->pod_sandbox_id) == ITEM_BYTES;
    return good;
}

static void sends_encoded_items(void)
{
    const Runtime__V1__ListPodSandboxMetricsRequest request =
        RUNTIME__V1__LIST_POD_SANDBOX_METRICS_REQUEST__INIT;
    g_auto(Fixture) fixture;
    g_autoptr(Arena) arena = arena_new();
    const Runtime__V1__ListPodSandboxMetricsResponse *response;
    GError *error = NULL;
    guint number = 0;

    fixture_init(&fixture);
    response =
        (const void *)call_method(&fixture, "ListPodSandboxMetrics", &request.base, NULL, arena, &error);
    TEST_OK(response != NULL, error);
    if (response == NULL)
        return;
    CU_ASSERT_TRUE(are_items(response->pod_metrics, response->n_pod_metrics, &number));
    CU_ASSERT_EQUAL(number, ENCODED_BLOCKS * BLOCK_ITEMS);
}

static void tells_the_deadline(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(Arena) arena = arena_new();
    Deadline deadline = deadline_in_ms(10000);
    GError *error = NULL;
    const Runtime__V1__VersionResponse *response;

    fixture_init(&fixture);
    response = call_version(&fixture, "", &deadline, arena, &error);
    TEST_OK(response != NULL, error);
    CU_ASSERT_TRUE(g_ascii_strtoll(response->runtime_version, NULL, 10) > 5000);
    CU_ASSERT_TRUE(g_ascii_strtoll(response->runtime_version, NULL, 10) < 10000);
    response = call_version(&fixture, "", NULL, arena, &error);
    TEST_OK(response != NULL, error);
    CU_ASSERT_EQUAL(g_ascii_strtoll(response->runtime_version, NULL, 10), G_MAXINT);
}

static void says_what_the_deadline_cut_short(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(Arena) arena = arena_new();
    Runtime__V1__RunPodSandboxRequest request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
    Deadline deadline = deadline_in_ms(2000);
    GError *error = NULL;

    fixture_init(&fixture);
    TEST_FAILS(call_method(&fixture, "RunPodSandbox", &request.base, &deadline, arena, &error), error,
               STATUS_DEADLINE_EXCEEDED, "booting the guest");
}

/* RunPodSandbox in a thread of its own. */
typedef struct {
    Fixture *fixture;
    GCancellable *cancellable;
    GThread *thread;
    GError *error;
} Background;

static gpointer run_background(gpointer data)
{
    Background *background = data;
    g_autoptr(Arena) arena = arena_new();
    Runtime__V1__RunPodSandboxRequest request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
    Deadline deadline = {G_MAXINT64, background->cancellable};

    call_method(background->fixture, "RunPodSandbox", &request.base, &deadline, arena, &background->error);
    return NULL;
}

static Background *background_start(Fixture *fixture)
{
    Background *background = g_new0(Background, 1);

    background->fixture = fixture;
    background->cancellable = g_cancellable_new();
    background->thread = g_thread_new("client", run_background, background);
    return background;
}

/* Return: the error of the call; NULL when it succeeded. */
static GError *background_finish(Background *background)
{
    GError *error;

    g_thread_join(background->thread);
    error = background->error;
    g_object_unref(background->cancellable);
    g_free(background);
    return error;
}

static void fires_the_cancellable(void)
{
    g_auto(Fixture) fixture;
    Background *background;
    GError *error = NULL;

    fixture_init(&fixture);
    background = background_start(&fixture);
    CU_ASSERT_TRUE(wait_for(&fixture.shared.entered, 1));
    g_cancellable_cancel(background->cancellable);
    CU_ASSERT_TRUE(wait_for(&fixture.shared.left, 1));
    error = background_finish(background);
    TEST_FAILS(FALSE, error, STATUS_CANCELLED, "");
}

static void refuses_when_a_worker_pool_is_full(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(Arena) arena = arena_new();
    Runtime__V1__RunPodSandboxRequest request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
    Background *waiting[2];
    GError *error = NULL;

    fixture_init(&fixture);
    waiting[0] = background_start(&fixture);
    CU_ASSERT_TRUE(wait_for(&fixture.shared.entered, 1));
    waiting[1] = background_start(&fixture);
    g_usleep(300 * 1000); /* it waits for the pool's one worker */
    TEST_FAILS(call_method(&fixture, "RunPodSandbox", &request.base, NULL, arena, &error), error,
               STATUS_RESOURCE_EXHAUSTED, "pod worker pool");
    TEST_OK(call_version(&fixture, "other worker pools go on", NULL, arena, &error) != NULL, error);
    g_atomic_int_set(&fixture.shared.open, 1);
    for (guint i = 0; i < G_N_ELEMENTS(waiting); i++) {
        error = background_finish(waiting[i]);
        CU_ASSERT_PTR_NULL(error);
    }
}

static void stops_with_calls_in_flight(void)
{
    g_auto(Fixture) fixture;
    Background *background;
    GError *error = NULL;

    fixture_init(&fixture);
    background = background_start(&fixture);
    CU_ASSERT_TRUE(wait_for(&fixture.shared.entered, 1));
    rpc_server_stop(fixture.server, 200);
    CU_ASSERT_EQUAL(g_atomic_int_get(&fixture.shared.left), 1);
    g_clear_pointer(&fixture.server, rpc_server_free);
    error = background_finish(background);
    CU_ASSERT_PTR_NOT_NULL(error);
    g_clear_error(&error);
    CU_ASSERT_FALSE(g_file_test(fixture.path, G_FILE_TEST_EXISTS));
}

static void lets_calls_end_in_the_grace(void)
{
    g_auto(Fixture) fixture;
    Background *background;
    GError *error = NULL;

    fixture_init(&fixture);
    background = background_start(&fixture);
    CU_ASSERT_TRUE(wait_for(&fixture.shared.entered, 1));
    g_atomic_int_set(&fixture.shared.open, 1);
    rpc_server_stop(fixture.server, 5000);
    g_clear_pointer(&fixture.server, rpc_server_free);
    error = background_finish(background);
    CU_ASSERT_PTR_NULL(error);
    g_clear_error(&error);
}

enum { CLIENTS = 20, CALLS_EACH = 10 };

static gpointer call_repeatedly(gpointer data)
{
    const Fixture *fixture = data;
    gint good = 0;

    for (guint i = 0; i < CALLS_EACH; i++) {
        g_autoptr(Arena) arena = arena_new();
        g_autofree char *text = g_strdup_printf("%p %u", (void *)arena, i);
        const Runtime__V1__VersionResponse *response = call_version(fixture, text, NULL, arena, NULL);

        good += response != NULL && g_str_equal(response->version, text) ? 1 : 0;
    }
    return GINT_TO_POINTER(good);
}

static void answers_many_at_once(void)
{
    g_auto(Fixture) fixture;
    GThread *threads[CLIENTS];
    gint good = 0;

    fixture_init(&fixture);
    for (guint i = 0; i < CLIENTS; i++)
        threads[i] = g_thread_new("client", call_repeatedly, &fixture);
    for (guint i = 0; i < CLIENTS; i++)
        good += GPOINTER_TO_INT(g_thread_join(threads[i]));
    CU_ASSERT_EQUAL(good, CLIENTS * CALLS_EACH);
}

static void is_alone_on_its_socket(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(Arena) arena = arena_new();
    g_autofree char *pid = g_strdup_printf("pid %d", (int)getpid());
    GError *error = NULL;

    fixture_init(&fixture);
    TEST_FAILS(open_at(fixture.path, &fixture.shared, &error), error, STATUS_UNAVAILABLE, pid);
    TEST_OK(call_version(&fixture, "still here", NULL, arena, &error) != NULL, error);
}

static void lets_root_and_the_group_connect(void)
{
    g_auto(Fixture) fixture;
    struct stat status;

    fixture_init(&fixture);
    CU_ASSERT_EQUAL_FATAL(stat(fixture.path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0660);
}

static void spares_what_others_have_at_the_path(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *file = g_build_filename(directory, "file", NULL);
    g_autofree char *live = g_build_filename(directory, "live", NULL);
    g_autoptr(GSocketListener) listener = g_socket_listener_new();
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(live);
    struct Daemon shared = {0};
    GError *error = NULL;

    g_file_set_contents(file, "precious", -1, NULL);
    TEST_FAILS(open_at(file, &shared, &error), error, STATUS_FAILED_PRECONDITION, "is not a socket");
    CU_ASSERT_TRUE(g_file_test(file, G_FILE_TEST_IS_REGULAR));
    g_socket_listener_add_address(listener, address, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, NULL,
                                  NULL, NULL);
    TEST_FAILS(open_at(live, &shared, &error), error, STATUS_UNAVAILABLE, "another program");
    CU_ASSERT_TRUE(g_file_test(live, G_FILE_TEST_EXISTS));
}

static void replaces_a_dead_socket(void)
{
    g_auto(Fixture) fixture = {.directory = test_directory()};
    g_autoptr(Arena) arena = arena_new();
    g_autoptr(GSocketListener) listener = g_socket_listener_new();
    g_autoptr(GSocketAddress) address = NULL;
    GError *error = NULL;

    fixture.path = g_build_filename(fixture.directory, "s", NULL);
    address = g_unix_socket_address_new(fixture.path);
    g_socket_listener_add_address(listener, address, G_SOCKET_TYPE_STREAM, G_SOCKET_PROTOCOL_DEFAULT, NULL,
                                  NULL, NULL);
    g_socket_listener_close(listener);
    CU_ASSERT_TRUE(g_file_test(fixture.path, G_FILE_TEST_EXISTS));
    fixture.server = open_at(fixture.path, &fixture.shared, &error);
    TEST_OK(fixture.server != NULL, error);
    rpc_server_start(fixture.server);
    TEST_OK(call_version(&fixture, "", NULL, arena, &error) != NULL, error);
}

static void frees_a_server_that_never_started(void)
{
    g_auto(Fixture) fixture = {.directory = test_directory()};
    GError *error = NULL;

    fixture.path = g_build_filename(fixture.directory, "s", NULL);
    fixture.server = open_at(fixture.path, &fixture.shared, &error);
    TEST_OK(fixture.server != NULL, error);
    g_clear_pointer(&fixture.server, rpc_server_free);
}

/* ---- streams ---- */

typedef struct {
    guint64 seen;
    gboolean in_order;
    guint64 stop_after; /* 0: never */
    gulong pause_us;    /* after the first message */
} Listener;

static gboolean listen_to_stream(const ProtobufCMessage *message, gpointer data, GError **error)
{
    const Crivirt__V1__PullProgress *progress = (const void *)message;
    Listener *listener = data;

    listener->in_order =
        listener->in_order && progress->n_layers == 1 && progress->layers[0]->done_bytes == listener->seen;
    if (listener->seen++ == 0)
        g_usleep(listener->pause_us);
    if (listener->seen == listener->stop_after)
        return fail(error, STATUS_ABORTED, "heard enough");
    return TRUE;
}

static gboolean stream_from(const Fixture *fixture, const char *count, Listener *listener, GError **error)
{
    Crivirt__V1__PullImageWithProgressRequest request = CRIVIRT__V1__PULL_IMAGE_WITH_PROGRESS_REQUEST__INIT;
    g_autoptr(GrpcClient) client = grpc_client_open(fixture->path, error);

    listener->in_order = TRUE;
    request.image = (char *)count;
    return client != NULL &&
           grpc_client_stream(client, &crivirt__v1__crivirt__descriptor, "PullImageWithProgress",
                              &request.base, NULL, listen_to_stream, listener, error);
}

static void streams_in_order(void)
{
    g_auto(Fixture) fixture;
    Listener listener = {0};
    GError *error = NULL;

    fixture_init(&fixture);
    TEST_OK(stream_from(&fixture, "3000", &listener, &error), error);
    CU_ASSERT_EQUAL(listener.seen, 3000);
    CU_ASSERT_TRUE(listener.in_order);
}

static void ends_a_stream_with_a_status(void)
{
    g_auto(Fixture) fixture;
    Listener listener = {0};
    GError *error = NULL;

    fixture_init(&fixture);
    TEST_FAILS(stream_from(&fixture, "0", &listener, &error), error, STATUS_NOT_FOUND, "no such image");
    CU_ASSERT_EQUAL(listener.seen, 0);
}

static void holds_back_a_fast_sender(void)
{
    g_auto(Fixture) fixture;
    Listener listener = {.pause_us = 500 * 1000, .stop_after = 2};
    GError *error = NULL;

    fixture_init(&fixture);
    TEST_FAILS(stream_from(&fixture, "1000000", &listener, &error), error, STATUS_ABORTED, "heard enough");
    CU_ASSERT_TRUE(wait_for(&fixture.shared.left, 1));
    /* The handler got no further than the queue and the socket have room. */
    CU_ASSERT_TRUE(g_atomic_int_get(&fixture.shared.sent) < 10000);
}

typedef struct {
    guint messages;
    guint items;
    gboolean good;
} EncodedListener;

static gboolean listen_to_items(const ProtobufCMessage *message, gpointer data, GError **error)
{
    const Runtime__V1__StreamPodSandboxMetricsResponse *chunk = (const void *)message;
    EncodedListener *listener = data;

    (void)error;
    listener->messages++;
    listener->good =
        listener->good &&
        are_items(chunk->pod_sandbox_metrics, chunk->n_pod_sandbox_metrics, &listener->items) &&
        protobuf_c_message_get_packed_size(message) < LIST_STREAM_BYTES + (BLOCK_ITEMS + 1) * ITEM_BYTES;
    return TRUE;
}

static void streams_encoded_items(void)
{
    const Runtime__V1__StreamPodSandboxMetricsRequest request =
        RUNTIME__V1__STREAM_POD_SANDBOX_METRICS_REQUEST__INIT;
    g_auto(Fixture) fixture;
    EncodedListener listener = {.good = TRUE};
    g_autoptr(GrpcClient) client = NULL;
    GError *error = NULL;

    fixture_init(&fixture);
    client = grpc_client_open(fixture.path, &error);
    TEST_OK(client != NULL && grpc_client_stream(client, &runtime__v1__runtime_service__descriptor,
                                                 "StreamPodSandboxMetrics", &request.base, NULL,
                                                 listen_to_items, &listener, &error),
            error);
    CU_ASSERT_TRUE(listener.good);
    CU_ASSERT_EQUAL(listener.items, ENCODED_BLOCKS * BLOCK_ITEMS);
    CU_ASSERT_EQUAL(listener.messages, 3); /* of three blocks at most, which are 100 KB each */
}

static gpointer stop_when_streaming(gpointer data)
{
    Fixture *fixture = data;

    wait_for(&fixture->shared.sent, 100);
    rpc_server_stop(fixture->server, 5000);
    return NULL;
}

static void ends_streams_when_it_stops(void)
{
    g_auto(Fixture) fixture;
    Listener listener = {0};
    GError *error = NULL;
    GThread *thread;

    fixture_init(&fixture);
    thread = g_thread_new("stop", stop_when_streaming, &fixture);
    CU_ASSERT_FALSE(stream_from(&fixture, "100000000", &listener, &error));
    g_clear_error(&error);
    g_thread_join(thread);
    g_clear_pointer(&fixture.server, rpc_server_free);
    CU_ASSERT_EQUAL(fixture.shared.left, 1);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a call is answered, with text made UTF-8", answers},
        {"a failure reaches the client with its status and message", passes_failures_on},
        {"a method that is unknown or not implemented is named", names_unknown_methods},
        {"a request that cannot be decoded is refused", refuses_what_it_cannot_decode},
        {"messages of more than 16 MiB are refused both ways", refuses_large_messages},
        {"a large answer arrives whole, whether it is in the call's memory or not",
         sends_large_answers_from_where_they_are},
        {"items that are encoded already arrive whole and in order", sends_encoded_items},
        {"the caller's deadline reaches the handler", tells_the_deadline},
        {"the status after a deadline names what was interrupted", says_what_the_deadline_cut_short},
        {"cancelling a call fires its cancellable", fires_the_cancellable},
        {"a full worker pool refuses and other worker pools go on", refuses_when_a_worker_pool_is_full},
        {"stopping cancels calls after the grace", stops_with_calls_in_flight},
        {"stopping lets calls end in the grace", lets_calls_end_in_the_grace},
        {"two hundred calls from twenty clients are answered", answers_many_at_once},
        {"the socket is for root and its group alone", lets_root_and_the_group_connect},
        {"a second server on the same socket is refused", is_alone_on_its_socket},
        {"a file or a live socket of others at the socket's path is kept",
         spares_what_others_have_at_the_path},
        {"a dead socket is replaced", replaces_a_dead_socket},
        {"a server that never started can be freed", frees_a_server_that_never_started},
        {"a stream arrives whole and in order", streams_in_order},
        {"a list of encoded items is streamed in messages of a few blocks", streams_encoded_items},
        {"a stream ends with its status", ends_a_stream_with_a_status},
        {"a sender waits for a slow client and gets an error when the client disconnects",
         holds_back_a_fast_sender},
        {"streams end when the server stops", ends_streams_when_it_stops},
    };

    rpc_server_prepare_process();
    return test_main_args("rpc-server", cases, G_N_ELEMENTS(cases), argc, argv);
}

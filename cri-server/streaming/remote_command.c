/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/streaming/remote_command.h"

#include <string.h>

#include "common/error.h"
#include "cri-server/streaming/status.h"
#include "sandbox/container/stream_open.h"

enum {
    COPY_BYTES = 32 << 10,
    MAX_INPUT_BYTES = 256 << 10, /* bytes that may wait for the process; the client is not read meanwhile */
    SENDS_STATUS = 4,            /* from this version on the outcome is a v1.Status */
    HAS_RESIZE = 3,
};

/* The values are the numbers of the WebSocket channels. */
typedef enum { STDIN, STDOUT, STDERR, ERROR, RESIZE, N_STREAMS } StreamType;
static const char *const stream_names[N_STREAMS] = {"stdin", "stdout", "stderr", "error", "resize"};

typedef struct {
    StreamUser user; /* must be the first member */
    gint references;
    StreamLoop *loop;
    RemoteRequest *request;
    int version;
    Peer *peer; /* NULL after the client has disconnected */
    GSource *streams_timeout;
    gboolean wanted[N_STREAMS], open[N_STREAMS];
    guint32 ids[N_STREAMS];

    gboolean started, finished;
    StreamSession *session; /* NULL before the process has started, and after its end */
    GError *start_error;
    GCancellable *gone; /* fires when the client has disconnected */
    gint copy_posted;

    ByteRing input;
    gboolean input_ends, input_ended;
    ResizeReader resize;
    guint columns, rows;
} RemoteCommand;

void remote_request_free(RemoteRequest *request)
{
    g_free(request->container_id);
    g_free(request->sandbox_id);
    g_strfreev(request->args);
    g_free(request);
}

static RemoteCommand *command_ref(RemoteCommand *command)
{
    g_atomic_int_inc(&command->references);
    return command;
}

static void command_unref(RemoteCommand *command)
{
    if (!g_atomic_int_dec_and_test(&command->references))
        return;
    remote_request_free(command->request);
    byte_ring_clear(&command->input);
    g_object_unref(command->gone);
    g_clear_error(&command->start_error);
    g_free(command);
}

static void cancel_streams_timeout(RemoteCommand *command)
{
    if (command->streams_timeout == NULL)
        return;
    g_source_destroy(command->streams_timeout);
    g_source_unref(command->streams_timeout);
    command->streams_timeout = NULL;
}

/* ---- ending ---- */

static void command_finish(RemoteCommand *command, const char *outcome)
{
    if (command->peer == NULL || command->finished)
        return;
    command->finished = TRUE;
    cancel_streams_timeout(command);
    if (*outcome != '\0' && command->open[ERROR])
        peer_send(command->peer, command->ids[ERROR], outcome, strlen(outcome));
    for (int i = 0; i < N_STREAMS; i++)
        if (command->open[i] && i != STDIN)
            peer_end(command->peer, command->ids[i]);
    if (command->open[STDIN])
        peer_end(command->peer, command->ids[STDIN]);
    peer_finish(command->peer);
}

static void command_finish_failed(RemoteCommand *command, const char *message)
{
    g_autofree char *outcome = command->version >= SENDS_STATUS ? status_failure(message) : g_strdup(message);

    command_finish(command, outcome);
}

static void command_finish_ended(RemoteCommand *command, const StreamSessionEnd *end)
{
    int exit_code = command->request->is_attach ? 0 : end->exit_code;
    g_autofree char *outcome = NULL;

    if (end->failure != NULL) {
        command_finish_failed(command, end->failure);
        return;
    }
    if (command->version >= SENDS_STATUS)
        outcome = status_exit_code(exit_code);
    else
        outcome = exit_code == 0 ? g_strdup("")
                                 : g_strdup_printf("command terminated with exit code %d", exit_code);
    command_finish(command, outcome);
}

static void command_stop(StreamUser *user, const char *why)
{
    command_finish_failed((RemoteCommand *)user, why);
}

static void command_drop(StreamUser *user)
{
    RemoteCommand *command = (RemoteCommand *)user;

    if (command->peer != NULL)
        peer_drop(command->peer);
}

static void on_gone(gpointer data)
{
    RemoteCommand *command = data;

    command->peer = NULL;
    g_cancellable_cancel(command->gone); /* a start that waits for the guest */
    cancel_streams_timeout(command);
    stream_loop_leave(command->loop, &command->user);
    stream_session_close(g_steal_pointer(&command->session));
    command_unref(command);
}

/* ---- copying ---- */

static void command_copy_output(RemoteCommand *command, StreamSessionStream stream, StreamType type)
{
    guint8 buffer[COPY_BYTES];

    for (;;) {
        gboolean shows = command->open[type];
        gsize room = shows ? peer_room(command->peer, command->ids[type]) : sizeof buffer;
        gsize length = stream_session_read(command->session, stream, buffer, MIN(room, sizeof buffer));

        if (length == 0)
            return;
        if (shows)
            peer_send(command->peer, command->ids[type], buffer, length);
    }
}

static void command_copy_input(RemoteCommand *command)
{
    gsize taken = stream_session_write_ring(command->session, &command->input);

    peer_took(command->peer, command->ids[STDIN], taken);
    if (command->input.length == 0 && command->input_ends && !command->input_ended) {
        command->input_ended = TRUE;
        stream_session_write_end(command->session);
    }
    peer_hold(command->peer, command->input.length >= MAX_INPUT_BYTES);
}

static void command_copy(RemoteCommand *command)
{
    StreamSessionEnd end;

    if (command->session == NULL || command->peer == NULL)
        return;
    command_copy_output(command, STREAM_SESSION_STDOUT, STDOUT);
    command_copy_output(command, STREAM_SESSION_STDERR, STDERR);
    command_copy_input(command);
    if (!stream_session_ended(command->session, &end))
        return;
    command_finish_ended(command, &end);
    stream_session_close(g_steal_pointer(&command->session));
}

static void on_command_session_ready(gpointer data)
{
    RemoteCommand *command = data;

    g_atomic_int_set(&command->copy_posted, 0);
    command_copy(command);
    command_unref(command);
}

/* Called by the stream session on any thread. At most one call is posted at a time. */
static void post_command_copy(gpointer data)
{
    RemoteCommand *command = data;

    if (g_atomic_int_compare_and_exchange(&command->copy_posted, 0, 1))
        stream_loop_post(command->loop, on_command_session_ready, command_ref(command));
}

/* ---- starting ---- */

static void command_connect_session(gpointer data)
{
    RemoteCommand *command = data;

    if (command->peer == NULL || command->finished) {
        stream_session_close(g_steal_pointer(&command->session));
    } else if (command->session == NULL) {
        command_finish_failed(command, command->start_error->message);
    } else {
        if (command->columns > 0)
            stream_session_resize(command->session, command->columns, command->rows);
        command_copy(command);
    }
    command_unref(command);
}

/* A start of the process. The pool's thread fills in session and error; the loop's thread reads them
 * afterwards. */
typedef struct {
    RemoteCommand *command;
    StreamSession *session;
    GError *error;
    guint columns, rows;
} ProcessStart;

static void on_process_started(gpointer data)
{
    ProcessStart *start = data;
    RemoteCommand *command = start->command;

    command->session = start->session;
    command->start_error = start->error;
    g_free(start);
    command_connect_session(command);
}

/* Called on a thread of the starters' pool, because it waits for the guest. */
static void start_process(gpointer data)
{
    ProcessStart *start = data;
    const RemoteRequest *request = start->command->request;
    StreamLoop *loop = start->command->loop;
    StreamSessionClient client = {post_command_copy, start->command};
    const Deadline deadline = {.at_us = G_MAXINT64, .cancellable = start->command->gone};
    StreamSessionExec exec = {.container_id = request->container_id,
                              .args = request->args,
                              .n_args = request->is_attach ? 0 : g_strv_length(request->args),
                              .tty = request->tty,
                              .with_input = request->stdin,
                              .columns = start->columns,
                              .rows = start->rows,
                              .in_guest = request->in_guest};

    if (!deadline_check(&deadline, "waiting for other starts in the sandbox", &start->error))
        start->session = NULL;
    else if (request->is_attach)
        start->session = stream_session_attach(loop->sandboxes, request->container_id, request->stdin,
                                               &client, &deadline, &start->error);
    else
        start->session = stream_session_exec(loop->sandboxes, &exec, &client, &deadline, &start->error);
    if (start->session == NULL && request->is_attach)
        g_prefix_error(&start->error, "error attaching to container: ");
    else if (start->session == NULL)
        g_prefix_error(&start->error, "error executing command in container: %s: ", request->args[0]);
    stream_loop_post(loop, on_process_started, start);
}

static void command_start(RemoteCommand *command)
{
    ProcessStart *start = g_new0(ProcessStart, 1);

    command->started = TRUE;
    cancel_streams_timeout(command);
    start->command = command_ref(command);
    start->columns = command->columns;
    start->rows = command->rows;
    stream_loop_start(command->loop, command->request->sandbox_id, start_process, start);
}

static void start_when_streams_are_open(RemoteCommand *command)
{
    for (int i = 0; i < N_STREAMS; i++)
        if (command->wanted[i] && !command->open[i])
            return;
    if (!command->started)
        command_start(command);
}

static void on_streams_timeout(gpointer data)
{
    RemoteCommand *command = data;

    if (command->peer != NULL)
        command_finish_failed(command, "the client did not open its streams in time");
}

/* ---- the client ---- */

static gboolean on_opened(guint32 stream, GHashTable *headers, gpointer data)
{
    RemoteCommand *command = data;
    const char *type = g_hash_table_lookup(headers, "streamtype");

    for (int i = 0; i < N_STREAMS; i++) {
        if (type == NULL || !g_str_equal(type, stream_names[i]))
            continue;
        if (!command->wanted[i] || command->open[i])
            return FALSE;
        command->ids[i] = stream;
        command->open[i] = TRUE;
        start_when_streams_are_open(command);
        return TRUE;
    }
    return FALSE;
}

static void read_terminal_size(RemoteCommand *command, const guint8 *bytes, gsize length)
{
    if (resize_reader_feed(&command->resize, bytes, length, &command->columns, &command->rows) &&
        command->session != NULL)
        stream_session_resize(command->session, command->columns, command->rows);
}

static void on_received(guint32 stream, const guint8 *bytes, gsize length, gpointer data)
{
    RemoteCommand *command = data;

    if (command->open[RESIZE] && stream == command->ids[RESIZE]) {
        peer_took(command->peer, stream, length);
        read_terminal_size(command, bytes, length);
    } else if (command->open[STDIN] && stream == command->ids[STDIN] && !command->input_ends) {
        if (!byte_ring_push(&command->input, bytes, length))
            peer_drop(command->peer);
        else if (command->session != NULL)
            command_copy_input(command);
        else
            peer_hold(command->peer, command->input.length >= MAX_INPUT_BYTES);
    }
}

static void on_ended(guint32 stream, gboolean reset, gpointer data)
{
    RemoteCommand *command = data;

    for (int i = 0; i < N_STREAMS; i++)
        if (reset && command->open[i] && command->ids[i] == stream && i != STDIN)
            command->open[i] = FALSE;
    if (!command->open[STDIN] || stream != command->ids[STDIN])
        return;
    command->input_ends = TRUE;
    if (command->session != NULL)
        command_copy_input(command);
}

static void on_writable(gpointer data)
{
    command_copy(data);
}

static const PeerEvents peer_events = {.opened = on_opened,
                                       .received = on_received,
                                       .ended = on_ended,
                                       .writable = on_writable,
                                       .gone = on_gone};

static void choose_streams(RemoteCommand *command, gboolean all_there)
{
    const RemoteRequest *request = command->request;

    command->wanted[ERROR] = TRUE;
    command->wanted[STDIN] = request->stdin;
    command->wanted[STDOUT] = request->stdout;
    command->wanted[STDERR] = request->stderr && !request->tty;
    command->wanted[RESIZE] = request->tty && command->version >= HAS_RESIZE;
    for (int i = 0; all_there && i < N_STREAMS; i++) {
        command->open[i] = command->wanted[i];
        command->ids[i] = (guint32)i;
    }
}

void remote_command_serve(StreamLoop *loop, RemoteRequest *request, int version, const PeerConfig *peer,
                          const guint8 *first, gsize n_first)
{
    gboolean has_channels = peer->kind == PEER_CHANNELS || peer->kind == PEER_CHANNELS_BASE64;
    RemoteCommand *command = g_new0(RemoteCommand, 1);

    command->user.stop = command_stop;
    command->user.drop = command_drop;
    command->references = 1;
    command->loop = loop;
    command->request = request;
    command->gone = g_cancellable_new();
    command->version = version;
    byte_ring_init(&command->input, MAX_INPUT_BYTES + PEER_BURST_BYTES);
    choose_streams(command, has_channels);
    stream_loop_join(loop, &command->user);
    command->streams_timeout = stream_loop_after(loop, loop->creation_ms, on_streams_timeout, command);
    peer_start(peer, first, n_first, &peer_events, command, &command->peer);
    if (!has_channels)
        return;
    peer_send(command->peer, request->stdout ? STDOUT : command->wanted[STDERR] ? STDERR : ERROR, "", 0);
    command_start(command);
}

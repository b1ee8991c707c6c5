/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/agent_drive.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef Crivirt__Agent__V1__FromGuest FromGuest;
typedef Crivirt__Agent__V1__ToGuest ToGuest;
typedef Crivirt__Agent__V1__ProcessId ProcessId;

static void process_free(gpointer data)
{
    DriveProcess *process = data;
    g_byte_array_free(process->streams[0], TRUE);
    g_byte_array_free(process->streams[1], TRUE);
    g_free(process);
}

Drive *drive_new(const char *socket_path)
{
    Drive *drive = g_new0(Drive, 1);
    drive->socket_path = g_strdup(socket_path);
    drive->fd = -1;
    drive->fresh = TRUE;
    drive->processes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, process_free);
    drive->notices = g_string_new(NULL);
    return drive;
}

void drive_kill(Drive *drive)
{
    if (drive->fd >= 0)
        close(drive->fd);
    drive->fd = -1;
    wire_decoder_free(drive->decoder);
    drive->decoder = NULL;
    drive->synced = FALSE;
    drive->silent = FALSE;
}

void drive_free(Drive *drive)
{
    drive_kill(drive);
    g_hash_table_destroy(drive->processes);
    g_string_free(drive->notices, TRUE);
    g_free(drive->socket_path);
    g_free(drive);
}

void drive_send_raw(Drive *drive, const void *data, gsize length)
{
    const guint8 *at = data;
    while (length > 0 && drive->fd >= 0) {
        ssize_t n = send(drive->fd, at, length, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        at += n;
        length -= (gsize)n;
    }
}

static void send_frame(Drive *drive, const ToGuest *message)
{
    gsize length = crivirt__agent__v1__to_guest__get_packed_size(message);
    g_autofree guint8 *frame = g_malloc(WIRE_HEADER_BYTES + length);
    crivirt__agent__v1__to_guest__pack(message, frame + WIRE_HEADER_BYTES);
    wire_header_encode(frame + WIRE_HEADER_BYTES, length, WIRE_PROTOCOL_VERSION, frame);
    drive_send_raw(drive, frame, WIRE_HEADER_BYTES + length);
}

/* In parts when it is too long for a frame. */
static void send_message(Drive *drive, const ToGuest *message)
{
    gsize length = crivirt__agent__v1__to_guest__get_packed_size(message);
    g_autofree guint8 *whole = g_malloc(length);

    if (length <= WIRE_MAX_FRAME_BYTES) {
        send_frame(drive, message);
        return;
    }
    crivirt__agent__v1__to_guest__pack(message, whole);
    for (gsize at = 0; at < length; at += WIRE_PART_BYTES) {
        Crivirt__Agent__V1__Part part = CRIVIRT__AGENT__V1__PART__INIT;
        ToGuest piece = CRIVIRT__AGENT__V1__TO_GUEST__INIT;

        part.data.data = whole + at;
        part.data.len = MIN(length - at, WIRE_PART_BYTES);
        part.last = at + part.data.len == length;
        piece.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_PART;
        piece.part = &part;
        send_frame(drive, &piece);
    }
}

static DriveProcess *process_of(Drive *drive, const char *container, const char *exec)
{
    g_autofree char *key = g_strconcat(container, "/", exec, NULL);
    DriveProcess *process = g_hash_table_lookup(drive->processes, key);
    if (process == NULL) {
        process = g_new0(DriveProcess, 1);
        process->streams[0] = g_byte_array_new();
        process->streams[1] = g_byte_array_new();
        g_hash_table_insert(drive->processes, g_steal_pointer(&key), process);
    }
    return process;
}

DriveProcess *drive_process(Drive *drive, const char *container, const char *exec)
{
    return process_of(drive, container, exec);
}

static void send_ack(Drive *drive, ProcessId *id, int stream, guint64 offset, gboolean exited)
{
    Crivirt__Agent__V1__Ack ack = CRIVIRT__AGENT__V1__ACK__INIT;
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;
    ack.process = id;
    ack.stream = (Crivirt__Agent__V1__Stream)stream;
    ack.offset = offset;
    ack.exited = exited;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_ACK;
    message.ack = &ack;
    send_message(drive, &message);
}

static void take_output(Drive *drive, const Crivirt__Agent__V1__Output *output)
{
    DriveProcess *process = process_of(drive, output->process->container_id, output->process->exec_id);
    int number = output->stream == CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR;
    GByteArray *stream = process->streams[number];
    guint64 have = stream->len, end = output->offset + output->data.len;

    if (output->offset > have) {
        process->gaps++;
        return;
    }
    process->repeated += MIN(have, end) - output->offset;
    if (end > have)
        g_byte_array_append(stream, output->data.data + (have - output->offset), (guint)(end - have));
    process->eof[number] |= output->eof;
    if (!drive->silent) {
        process->acked[number] = stream->len;
        send_ack(drive, output->process, number, stream->len, FALSE);
    }
}

static void take_exit(Drive *drive, const Crivirt__Agent__V1__Exited *exited)
{
    DriveProcess *process = process_of(drive, exited->process->container_id, exited->process->exec_id);
    process->exited = TRUE;
    process->exit_code = exited->exit_code;
    process->oom_killed = exited->oom_killed;
    if (!drive->silent)
        send_ack(drive, exited->process, 0, 0, TRUE);
}

static void take_message(Drive *drive, const WireItem *item)
{
    FromGuest *message = crivirt__agent__v1__from_guest__unpack(NULL, item->payload_length, item->payload);
    g_assert_nonnull(message);
    switch (message->body_case) {
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE:
        if (message->response->id == 0) /* the request was posted */
            break;
        if (drive->response != NULL)
            crivirt__agent__v1__response__free_unpacked(drive->response, NULL);
        drive->response = g_steal_pointer(&message->response);
        message->body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY__NOT_SET;
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_OUTPUT:
        take_output(drive, message->output);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_EXITED:
        take_exit(drive, message->exited);
        break;
    case CRIVIRT__AGENT__V1__FROM_GUEST__BODY_NOTICE:
        g_string_append_printf(drive->notices, "%s\n", message->notice->message);
        break;
    default:
        break;
    }
    crivirt__agent__v1__from_guest__free_unpacked(message, NULL);
}

/* Returns FALSE when the connection is lost. */
static gboolean take_bytes(Drive *drive)
{
    guint8 buffer[65536];
    ssize_t n = recv(drive->fd, buffer, sizeof buffer, 0);
    const guint8 *data = buffer;
    size_t length = n > 0 ? (size_t)n : 0;

    while (length > 0) {
        WireItem item;
        WireEvent event = wire_decoder_next(drive->decoder, &data, &length, &item);
        if (event == WIRE_SYNC && item.nonce == drive->nonce)
            drive->synced = TRUE;
        else if (event == WIRE_FRAME && drive->synced)
            take_message(drive, &item);
        else if (event == WIRE_BAD && drive->synced)
            return FALSE;
    }
    return n > 0;
}

gboolean drive_run(Drive *drive, gboolean (*until)(gpointer data), gpointer data, int timeout_ms)
{
    gint64 end_us = g_get_monotonic_time() + (gint64)timeout_ms * 1000;
    while (!until(data)) {
        gint64 left_us = end_us - g_get_monotonic_time();
        struct pollfd port = {.fd = drive->fd, .events = POLLIN};
        if (left_us <= 0 || drive->fd < 0)
            return FALSE;
        if (poll(&port, 1, (int)(left_us / 1000) + 1) > 0 && !take_bytes(drive))
            return until(data);
    }
    return TRUE;
}

static gboolean has_response(gpointer data)
{
    return ((Drive *)data)->response != NULL;
}

static gboolean is_synced(gpointer data)
{
    return ((Drive *)data)->synced;
}

static gboolean has_exited(gpointer data)
{
    return ((DriveProcess *)data)->exited;
}

gboolean drive_wait_exit(Drive *drive, const char *container, const char *exec, int timeout_ms)
{
    return drive_run(drive, has_exited, process_of(drive, container, exec), timeout_ms);
}

static void send_request(Drive *drive, DriveRequest *request, guint64 id)
{
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;
    request->id = id;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST;
    message.request = request;
    send_message(drive, &message);
}

void drive_post(Drive *drive, DriveRequest *request)
{
    send_request(drive, request, 0);
}

DriveResponse *drive_call(Drive *drive, DriveRequest *request, int timeout_ms)
{
    send_request(drive, request, ++drive->next_id);
    drive_run(drive, has_response, drive, timeout_ms);
    if (drive->response != NULL)
        g_assert_cmpuint(drive->response->id, ==, request->id);
    return g_steal_pointer(&drive->response);
}

static void send_input(Drive *drive, const char *container, const char *exec,
                       Crivirt__Agent__V1__Input *input)
{
    ProcessId id = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
    ToGuest message = CRIVIRT__AGENT__V1__TO_GUEST__INIT;
    id.container_id = (char *)container;
    id.exec_id = (char *)exec;
    input->process = &id;
    message.body_case = CRIVIRT__AGENT__V1__TO_GUEST__BODY_INPUT;
    message.input = input;
    send_message(drive, &message);
}

void drive_input(Drive *drive, const char *container, const char *exec, const void *data, gsize length,
                 gboolean eof)
{
    Crivirt__Agent__V1__Input input = CRIVIRT__AGENT__V1__INPUT__INIT;
    input.data.data = (guint8 *)data;
    input.data.len = length;
    input.eof = eof;
    input.offset = process_of(drive, container, exec)->input_sent;
    process_of(drive, container, exec)->input_sent += length;
    send_input(drive, container, exec, &input);
}

void drive_hang_up(Drive *drive, const char *container, const char *exec)
{
    Crivirt__Agent__V1__Input input = CRIVIRT__AGENT__V1__INPUT__INIT;
    input.hangup = TRUE;
    send_input(drive, container, exec, &input);
}

static gboolean open_socket(Drive *drive, gint64 end_us)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_strlcpy(address.sun_path, drive->socket_path, sizeof address.sun_path);
    while (g_get_monotonic_time() < end_us) {
        drive->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(drive->fd, (struct sockaddr *)&address, sizeof address) == 0)
            return TRUE;
        close(drive->fd);
        drive->fd = -1;
        g_usleep(2000);
    }
    return FALSE;
}

DriveResponse *drive_connect(Drive *drive, int timeout_ms)
{
    guint8 sync[WIRE_SYNC_BYTES];
    Crivirt__Agent__V1__HelloRequest hello = CRIVIRT__AGENT__V1__HELLO_REQUEST__INIT;
    DriveRequest request = CRIVIRT__AGENT__V1__REQUEST__INIT;

    if (!open_socket(drive, g_get_monotonic_time() + (gint64)timeout_ms * 1000))
        return NULL;
    drive->decoder = wire_decoder_new();
    drive->nonce = (guint64)g_random_int() << 32 | g_random_int();
    if (!drive->fresh) {
        g_autofree guint8 *padding = g_malloc0(WIRE_MAX_FRAME_BYTES);
        drive_send_raw(drive, padding, WIRE_MAX_FRAME_BYTES);
    }
    drive->fresh = FALSE;
    wire_sync_encode(drive->nonce, sync);
    drive_send_raw(drive, sync, sizeof sync);
    if (!drive_run(drive, is_synced, drive, timeout_ms))
        return NULL;
    hello.protocol_version = WIRE_PROTOCOL_VERSION;
    request.op_case = CRIVIRT__AGENT__V1__REQUEST__OP_HELLO;
    request.hello = &hello;
    return drive_call(drive, &request, timeout_ms);
}

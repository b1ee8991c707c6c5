/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/stream_run.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "api.pb-c.h"
#include "common/error.h"
#include "common/json.h"
#include "cri-server/cli/terminal.h"
#include "crivirt.pb-c.h"

enum { COPY_BYTES = 32 << 10, CTRL_P = 16, CTRL_Q = 17 };

typedef struct {
    Cli *cli;
    StreamRun *run;
    StreamClient *client;
    gboolean has_outcome;
    gboolean after_ctrl_p;
    int resized_fd;
} Runner;

/* ---- from the container ---- */

static gboolean write_all(int fd, const guint8 *bytes, gsize length, GError **error)
{
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(error, STATUS_CANCELLED, "cannot write the output: its reader has closed it");
        bytes += n;
        length -= (gsize)n;
    }
    return TRUE;
}

static const char *text_at(const JsonValue *object, const char *key)
{
    const char *text = json_find_string(object, (const char *const[]){key, NULL});

    return text != NULL ? text : "";
}

/* Return: NULL when the status has no cause. */
static const JsonValue *first_cause(const JsonValue *status)
{
    const JsonValue *details = json_member(status, "details");
    const JsonValue *causes = json_is(details, JSON_OBJECT) ? json_member(details, "causes") : NULL;

    return json_is(causes, JSON_ARRAY) && json_length(causes) > 0 ? json_at(causes, 0) : NULL;
}

/* Reads a v1.Status: success, an exit code, or an error message. */
static gboolean take_outcome(Runner *runner, const char *text, GError **error)
{
    g_autoptr(JsonDocument) document = json_document_parse(text, strlen(text), "status", NULL, error);
    const JsonValue *status = document != NULL ? json_document_object(document, error) : NULL;
    const JsonValue *cause;

    if (status == NULL) {
        g_prefix_error(error, "crivirtd's final status is invalid: ");
        return FALSE;
    }
    runner->has_outcome = TRUE;
    cause = first_cause(status);
    if (strcmp(text_at(status, "reason"), "NonZeroExitCode") == 0 && cause != NULL)
        runner->cli->exit_code = atoi(text_at(cause, "message")); /* NOLINT: crivirtd's own number */
    else if (strcmp(text_at(status, "status"), "Success") != 0)
        return fail(error, STATUS_INTERNAL, "%s", text_at(status, "message"));
    return TRUE;
}

static gboolean on_received(guint channel, const guint8 *bytes, gsize length, gpointer data, GError **error)
{
    Runner *runner = data;
    g_autofree char *text = NULL;

    switch (channel) {
    case CHANNEL_STDOUT:
        return write_all(runner->run->out_fd, bytes, length, error);
    case CHANNEL_STDERR:
        return write_all(runner->run->err_fd, bytes, length, error);
    case CHANNEL_ERROR:
        text = g_strndup((const char *)bytes, length);
        return take_outcome(runner, text, error);
    default:
        return TRUE;
    }
}

/* ---- to the container ---- */

static void send_size(Runner *runner)
{
    g_autofree char *text = NULL;
    guint columns;
    guint rows;

    if (!terminal_size(&columns, &rows))
        return;
    text = g_strdup_printf("{\"Width\":%u,\"Height\":%u}", columns, rows);
    stream_client_send(runner->client, CHANNEL_RESIZE, text, strlen(text));
}

/* Bytes typed before the detach keys still go to the program. */
static gboolean asks_to_detach(Runner *runner, const guint8 *bytes, gsize length, gsize *ret_before)
{
    for (gsize i = 0; i < length; i++) {
        if (runner->after_ctrl_p && bytes[i] == CTRL_Q) {
            *ret_before = i > 0 ? i - 1 : 0;
            return TRUE;
        }
        runner->after_ctrl_p = bytes[i] == CTRL_P;
    }
    return FALSE;
}

static void copy_input(Runner *runner)
{
    guint8 buffer[COPY_BYTES];
    gsize before = 0;
    ssize_t n = TEMP_FAILURE_RETRY(read(runner->run->in_fd, buffer, sizeof buffer));

    if (n <= 0) {
        stream_client_end(runner->client, CHANNEL_STDIN);
        runner->run->in_fd = -1;
    } else if (runner->run->tty && asks_to_detach(runner, buffer, (gsize)n, &before)) {
        runner->run->detached = TRUE;
        if (before > 0)
            stream_client_send(runner->client, CHANNEL_STDIN, buffer, before);
    } else {
        stream_client_send(runner->client, CHANNEL_STDIN, buffer, (gsize)n);
    }
}

/* ---- the loop ---- */

static gboolean wait_once(Runner *runner, gboolean *ret_over, GError **error)
{
    gboolean room = stream_client_has_room(runner->client);
    GPollFD client = stream_client_poll(runner->client);
    struct pollfd fds[] = {
        {client.fd, (short)client.events, 0},
        {room ? runner->run->in_fd : -1, POLLIN, 0},
        {runner->resized_fd, POLLIN, 0},
        {g_cancellable_get_fd(runner->cli->interrupt), POLLIN, 0},
    };

    if (client.revents == 0 && poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
        return fail_errno(error, errno, "cannot wait for the stream's connection");
    if (g_cancellable_is_cancelled(runner->cli->interrupt))
        return fail(error, STATUS_CANCELLED, "interrupted");
    if (fds[1].revents != 0)
        copy_input(runner);
    if (fds[2].revents != 0) {
        struct signalfd_siginfo news;

        if (read(runner->resized_fd, &news, sizeof news) > 0)
            send_size(runner);
    }
    return stream_client_work(runner->client, (gushort)(fds[0].revents | client.revents), ret_over, error);
}

static gboolean run_to_end(Runner *runner, GError **error)
{
    gboolean over = FALSE;

    if (runner->run->tty)
        send_size(runner);
    while (!over && !runner->run->detached)
        if (!wait_once(runner, &over, error))
            return FALSE;
    if (!runner->has_outcome && !runner->run->detached)
        return fail(error, STATUS_UNAVAILABLE, "crivirtd ended the connection without a status");
    return TRUE;
}

gboolean stream_run(Cli *cli, const StreamAddress *address, StreamRun *run, GError **error)
{
    Runner runner = {.cli = cli, .run = run, .resized_fd = -1};
    g_autoptr(StreamClient) client =
        stream_client_open(address, "v5.channel.k8s.io", on_received, &runner, error);
    gboolean good;

    if (client == NULL)
        return FALSE;
    runner.client = client;
    if (run->connected != NULL && !run->connected(run->data, error))
        return FALSE;
    if (run->tty) {
        if (!terminal_make_raw(error))
            return FALSE;
        runner.resized_fd = terminal_resized_fd();
    }
    good = run_to_end(&runner, error);
    g_cancellable_release_fd(cli->interrupt);
    if (runner.resized_fd >= 0)
        close(runner.resized_fd);
    terminal_restore();
    return good;
}

/* ---- addresses ---- */

/* The server is authenticated by its certificate, which the daemon reports over a socket that is trusted. */
gboolean stream_complete_address(Cli *cli, const char *url, StreamAddress *ret_address, GError **error)
{
    Crivirt__V1__StreamingCertificateRequest request = CRIVIRT__V1__STREAMING_CERTIFICATE_REQUEST__INIT;
    const Crivirt__V1__StreamingCertificateResponse *response;

    if (g_str_has_prefix(url, "http://")) {
        *ret_address = (StreamAddress){url, NULL};
        return TRUE;
    }
    if (!g_str_has_prefix(url, "https://"))
        return fail(error, STATUS_UNIMPLEMENTED,
                    "crivirtd serves streams at \"%s\", which is not an HTTP URL", url);
    response = cli_own_call(cli, "StreamingCertificate", &request.base, CLI_CALL_MS, error);
    if (response == NULL)
        return FALSE;
    *ret_address = (StreamAddress){url, response->pem};
    return TRUE;
}

gboolean stream_exec_address(Cli *cli, const char *container_id, const char *const *words, gboolean input,
                             gboolean tty, StreamAddress *ret_address, GError **error)
{
    Runtime__V1__ExecRequest request = RUNTIME__V1__EXEC_REQUEST__INIT;
    const Runtime__V1__ExecResponse *response;

    request.container_id = (char *)container_id;
    request.cmd = (char **)(void *)words;
    request.n_cmd = g_strv_length((char **)(void *)words);
    request.tty = tty;
    request.stdin = input;
    request.stdout = TRUE;
    request.stderr = !tty;
    response = cli_runtime_call(cli, "Exec", &request.base, CLI_CALL_MS, error);
    return response != NULL && stream_complete_address(cli, response->url, ret_address, error);
}

gboolean stream_attach_address(Cli *cli, const char *container_id, gboolean input, gboolean tty,
                               StreamAddress *ret_address, GError **error)
{
    Runtime__V1__AttachRequest request = RUNTIME__V1__ATTACH_REQUEST__INIT;
    const Runtime__V1__AttachResponse *response;

    request.container_id = (char *)container_id;
    request.tty = tty;
    request.stdin = input;
    request.stdout = TRUE;
    request.stderr = !tty;
    response = cli_runtime_call(cli, "Attach", &request.base, CLI_CALL_MS, error);
    return response != NULL && stream_complete_address(cli, response->url, ret_address, error);
}

gboolean stream_forward_address(Cli *cli, const char *pod_id, guint16 port, StreamAddress *ret_address,
                                GError **error)
{
    Runtime__V1__PortForwardRequest request = RUNTIME__V1__PORT_FORWARD_REQUEST__INIT;
    const Runtime__V1__PortForwardResponse *response;
    gint32 number = port;

    request.pod_sandbox_id = (char *)pod_id;
    request.n_port = 1;
    request.port = &number;
    response = cli_runtime_call(cli, "PortForward", &request.base, CLI_CALL_MS, error);
    return response != NULL && stream_complete_address(cli, response->url, ret_address, error);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/log_output.h"

#include <errno.h>
#include <unistd.h>

#include "api.pb-c.h"
#include "common/error.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/log_follow.h"

typedef struct {
    Cli *cli;
    const LogOutput *output;
} Context;

static gboolean write_out(gboolean is_stderr, const char *bytes, gsize length, gpointer data, GError **error)
{
    (void)data;
    while (length > 0) {
        ssize_t written = TEMP_FAILURE_RETRY(write(is_stderr ? STDERR_FILENO : STDOUT_FILENO, bytes, length));

        if (written < 0)
            return fail_errno(error, errno == EPIPE ? ECANCELED : errno, "cannot write the log");
        bytes += written;
        length -= (gsize)written;
    }
    return TRUE;
}

static gboolean handle_interrupt(const LogOutput *output, GError **error)
{
    if (output->interrupted == NULL)
        return fail(error, STATUS_CANCELLED, "interrupted");
    return output->interrupted(output->data, error);
}

/* A container that was removed in the meantime is over, too. */
static gboolean container_is_over(gpointer data, gboolean *ret_over, GError **error)
{
    const Context *context = data;
    g_autoptr(Arena) arena = arena_new(); /* called repeatedly, so it must not use the command's arena */
    g_autoptr(GError) failure = NULL;
    Arena *outer = context->cli->arena;
    const Runtime__V1__ContainerStatus *status;

    *ret_over = FALSE;
    if (g_cancellable_is_cancelled(context->cli->interrupt))
        return handle_interrupt(context->output, error);
    context->cli->arena = arena;
    status = container_status(context->cli, context->output->container_id, &failure);
    context->cli->arena = outer;
    if (g_error_matches(failure, CRIVIRT_ERROR, STATUS_CANCELLED))
        return handle_interrupt(context->output, error);
    if (status == NULL && !g_error_matches(failure, CRIVIRT_ERROR, STATUS_NOT_FOUND)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    *ret_over = status == NULL || status->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED ||
                status->state == RUNTIME__V1__CONTAINER_STATE__CONTAINER_UNKNOWN;
    return TRUE;
}

gboolean log_output(Cli *cli, const LogOutput *output, GError **error)
{
    Context context = {cli, output};
    LogFollow follow = {
        .path = output->path,
        .options = {.timestamps = output->timestamps, .since_ns = output->since_ns, .write = write_out},
        .tail = output->tail,
        .is_over = output->follow ? container_is_over : NULL,
        .over_data = &context,
        .cancellable = cli->interrupt,
    };
    guint64 malformed = 0;

    if (!log_follow(&follow, &malformed, error))
        return FALSE;
    if (malformed > 0)
        cli_warn("%s: %" G_GUINT64_FORMAT " lines are not in the CRI's log format and were left out",
                 output->path, malformed);
    return TRUE;
}

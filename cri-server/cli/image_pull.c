/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/image_pull.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "api.pb-c.h"
#include "common/error.h"
#include "cri-server/cli/auth_file.h"
#include "cri-server/cli/pull_view.h"

typedef struct {
    Cli *cli;
    FILE *stream;
    gboolean is_terminal;
    PullView *view;
    guint drawn_lines;
    gint64 drawn_at_us;
    const char *image_ref; /* in the arena */
} Progress;

static void terminal_size(FILE *stream, guint *ret_columns, guint *ret_rows)
{
    struct winsize size = {0};

    ioctl(fileno(stream), TIOCGWINSZ, &size);
    *ret_columns = size.ws_col > 0 ? size.ws_col : 80;
    *ret_rows = size.ws_row > 2 ? size.ws_row : 24;
}

/* Moves the cursor over the lines drawn before, and clears what is left of longer lines. */
static void redraw(Progress *progress)
{
    enum { MIN_INTERVAL_US = 50000 };
    g_autofree char *text = NULL;
    gint64 now_us = g_get_monotonic_time();
    guint columns;
    guint rows;
    guint lines;

    if (now_us - progress->drawn_at_us < MIN_INTERVAL_US && progress->image_ref == NULL)
        return;
    terminal_size(progress->stream, &columns, &rows);
    text = pull_view_format(progress->view, columns - 1, rows - 1, &lines);
    if (progress->drawn_lines > 0)
        fprintf(progress->stream, "\033[%uA\033[J", progress->drawn_lines);
    fputs(text, progress->stream);
    fflush(progress->stream);
    progress->drawn_lines = lines;
    progress->drawn_at_us = now_us;
}

static gboolean take_progress(const ProtobufCMessage *message, gpointer data, GError **error)
{
    const Crivirt__V1__PullProgress *update = (const Crivirt__V1__PullProgress *)message;
    g_autoptr(GString) changes = g_string_new(NULL);
    Progress *progress = data;

    (void)error;
    if (*update->image_ref != '\0')
        progress->image_ref = arena_strdup(progress->cli->arena, update->image_ref);
    pull_view_update(progress->view, update, changes);
    if (progress->stream == NULL)
        return TRUE;
    if (progress->is_terminal)
        redraw(progress);
    else
        fputs(changes->str, progress->stream);
    return TRUE;
}

static gboolean pull_by_cri(Cli *cli, const ImagePull *pull, const char **ret_image_ref, GError **error)
{
    Runtime__V1__PullImageRequest request = RUNTIME__V1__PULL_IMAGE_REQUEST__INIT;
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__AuthConfig auth = RUNTIME__V1__AUTH_CONFIG__INIT;
    const Runtime__V1__PullImageResponse *response;

    image.image = (char *)pull->image;
    auth.username = (char *)pull->username;
    auth.password = (char *)pull->password;
    request.image = &image;
    request.auth = *pull->username != '\0' ? &auth : NULL;
    response = cli_image_call(cli, "PullImage", &request.base, CLI_NO_LIMIT_MS, error);
    if (response == NULL)
        return FALSE;
    *ret_image_ref = response->image_ref;
    return TRUE;
}

static gboolean pull_with_progress(Cli *cli, const ImagePull *pull, const char **ret_image_ref,
                                   GError **error)
{
    Crivirt__V1__PullImageWithProgressRequest request = CRIVIRT__V1__PULL_IMAGE_WITH_PROGRESS_REQUEST__INIT;
    g_autoptr(PullView) view = pull_view_new();
    g_autoptr(GError) failure = NULL;
    Progress progress = {.cli = cli, .stream = pull->progress, .view = view};

    progress.is_terminal = pull->progress != NULL && isatty(fileno(pull->progress));
    request.image = (char *)pull->image;
    request.username = (char *)pull->username;
    request.password = (char *)pull->password;
    if (!cli_own_stream(cli, "PullImageWithProgress", &request.base, take_progress, &progress, &failure)) {
        if (g_error_matches(failure, CRIVIRT_ERROR, STATUS_UNIMPLEMENTED))
            return pull_by_cri(cli, pull, ret_image_ref, error);
        g_propagate_error(error, g_steal_pointer(&failure));
        return FALSE;
    }
    if (progress.image_ref == NULL)
        return fail(error, STATUS_INTERNAL, "crivirtd ended the pull of %s without naming the image",
                    pull->image);
    *ret_image_ref = progress.image_ref;
    return TRUE;
}

gboolean image_pull(Cli *cli, const ImagePull *pull, const char **ret_image_ref, GError **error)
{
    g_autofree char *path = auth_file_path(pull->auth_file);
    g_autofree char *username = NULL;
    g_autofree char *password = NULL;
    ImagePull with = *pull;

    if (*pull->username == '\0' && !auth_file_find(path, pull->image, &username, &password, error))
        return FALSE;
    if (username != NULL) {
        with.username = username;
        with.password = password;
    }
    return pull_with_progress(cli, &with, ret_image_ref, error);
}

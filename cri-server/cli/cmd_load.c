/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt load: an image archive, from a file or the standard input. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "cri-server/cli/commands.h"
#include "crivirt.pb-c.h"

#define DAEMON_DIRECTORY "/var/lib/crivirt"

/* The daemon opens the file by its path. A service may have a private /tmp and /var/tmp, so the daemon's own
 * directory is preferred. */
static const char *spool_directory(void)
{
    const char *chosen = g_getenv("CRIVIRT_TMPDIR");

    if (chosen != NULL && *chosen != '\0')
        return chosen;
    return access(DAEMON_DIRECTORY, W_OK) == 0 ? DAEMON_DIRECTORY : "/var/tmp";
}

static gboolean write_all(int fd, const char *bytes, gsize length, GError **error)
{
    while (length > 0) {
        ssize_t written = TEMP_FAILURE_RETRY(write(fd, bytes, length));

        if (written < 0)
            return fail_errno(error, errno, "cannot store the archive");
        bytes += written;
        length -= (gsize)written;
    }
    return TRUE;
}

/* Reads with poll(), so that Ctrl-C works while no input arrives. */
static gboolean copy_input(Cli *cli, int to, GError **error)
{
    char buffer[65536];
    gsize total = 0;

    for (;;) {
        GPollFD cancelled = {.fd = -1};
        gboolean pollable = g_cancellable_make_pollfd(cli->interrupt, &cancelled);
        struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                               {.fd = cancelled.fd, .events = POLLIN}};
        ssize_t got;

        poll(fds, G_N_ELEMENTS(fds), -1);
        if (pollable)
            g_cancellable_release_fd(cli->interrupt);
        if (g_cancellable_is_cancelled(cli->interrupt))
            return fail(error, STATUS_CANCELLED, "interrupted");
        got = TEMP_FAILURE_RETRY(read(STDIN_FILENO, buffer, sizeof buffer));
        if (got < 0)
            return fail_errno(error, errno, "cannot read the standard input");
        if (got == 0)
            break;
        total += (gsize)got;
        if (!write_all(to, buffer, (gsize)got, error))
            return FALSE;
    }
    if (total == 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "the standard input is empty");
    return TRUE;
}

static gboolean spool_input(Cli *cli, char **ret_path, GError **error)
{
    g_autofree char *path = g_build_filename(spool_directory(), "crivirt-load-XXXXXX", NULL);
    int fd;
    gboolean good;

    if (isatty(STDIN_FILENO))
        return usage_fail(error, "load needs an archive: crivirt load -i FILE, or crivirt load < FILE");
    fd = g_mkstemp(path);
    if (fd < 0)
        return fail_errno(error, errno, "cannot create a file in %s", spool_directory());
    good = copy_input(cli, fd, error);
    close(fd);
    if (!good) {
        unlink(path);
        return FALSE;
    }
    *ret_path = g_steal_pointer(&path);
    return TRUE;
}

static gboolean load_path(Cli *cli, const char *path, GError **error)
{
    Crivirt__V1__LoadImageRequest request = CRIVIRT__V1__LOAD_IMAGE_REQUEST__INIT;
    const Crivirt__V1__LoadImageResponse *response;
    g_autoptr(GString) text = g_string_new(NULL);

    request.path = (char *)path;
    response = cli_own_call(cli, "LoadImage", &request.base, CLI_NO_LIMIT_MS, error);
    if (response == NULL)
        return FALSE;
    for (size_t i = 0; i < response->n_images; i++) {
        const Crivirt__V1__LoadedImage *image = response->images[i];

        for (size_t k = 0; k < image->n_tags; k++)
            g_string_append_printf(text, "Loaded image: %s\n", image->tags[k]);
        if (image->n_tags == 0)
            g_string_append_printf(text, "Loaded image ID: %s\n", image->id);
    }
    return cli_print(text->str, error);
}

static gboolean load_command(Cli *cli, GError **error)
{
    const char *input = options_value(cli->options, "input", NULL);
    g_autofree char *spooled = NULL;
    gboolean good;

    if (input != NULL) {
        char *path = realpath(input, NULL);

        if (path == NULL)
            return fail_errno(error, errno, "cannot open %s", input);
        good = load_path(cli, path, error);
        free(path);
        return good;
    }
    if (!spool_input(cli, &spooled, error))
        return FALSE;
    good = load_path(cli, spooled, error);
    unlink(spooled);
    return good;
}

static const OptionSpec load_options[] = {
    {"input", 'i', OPTION_VALUE, "FILE", "the archive (default: the standard input)"},
    {NULL},
};

const Command command_load = {
    .name = "load",
    .group = "Images",
    .usage = "[OPTIONS]",
    .help = "Import images from an archive",
    .details =
        "Reads OCI archives and layouts, and the output of \"docker save\", compressed or not. The daemon "
        "reads\n"
        "the file itself. An archive on the standard input is first stored in $CRIVIRT_TMPDIR, or in\n"
        "/var/lib/crivirt, or /var/tmp.",
    .options = load_options,
    .run = load_command,
};

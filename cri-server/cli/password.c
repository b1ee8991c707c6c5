/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/password.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "common/error.h"
#include "cri-server/cli/options.h"

enum { MAX_PASSWORD_BYTES = 64 * 1024 };

gboolean password_read(char **ret_password, GError **error)
{
    g_autoptr(GString) password = g_string_new(NULL);
    char buffer[4096];
    ssize_t got;

    while ((got = TEMP_FAILURE_RETRY(read(STDIN_FILENO, buffer, sizeof buffer))) > 0) {
        g_string_append_len(password, buffer, got);
        if (password->len > MAX_PASSWORD_BYTES)
            return usage_fail(error, "--password-stdin: the input is too long for a password");
    }
    if (got < 0)
        return fail_errno(error, errno, "cannot read the password");
    *ret_password = g_strdup(g_strchomp(password->str));
    return TRUE;
}

/* Reads one line; the terminal gives no more at a time. */
static gboolean read_line(char **ret_line, GError **error)
{
    char buffer[4096];
    ssize_t got = TEMP_FAILURE_RETRY(read(STDIN_FILENO, buffer, sizeof buffer));

    if (got < 0)
        return fail_errno(error, errno, "cannot read the password");
    *ret_line = g_strndup(buffer, (gsize)got);
    g_strchomp(*ret_line);
    explicit_bzero(buffer, sizeof buffer);
    return TRUE;
}

gboolean password_ask(const char *prompt, char **ret_password, GError **error)
{
    struct termios usual;
    struct termios silent;
    gboolean good;

    if (tcgetattr(STDIN_FILENO, &usual) != 0)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "there is no terminal to ask for the password on: use --password-stdin");
    silent = usual;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    dprintf(STDERR_FILENO, "%s", prompt);
    good = read_line(ret_password, error);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &usual);
    dprintf(STDERR_FILENO, "\n");
    return good;
}

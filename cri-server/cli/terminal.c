/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/terminal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "common/error.h"

static struct termios original;
static gboolean is_raw;

void terminal_restore(void)
{
    if (is_raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &original);
    is_raw = FALSE;
}

gboolean terminal_make_raw(GError **error)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &original) < 0)
        return fail(error, STATUS_INVALID_ARGUMENT, "-t needs a terminal, but standard input is not one");
    raw = original;
    cfmakeraw(&raw);
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0)
        return fail_errno(error, errno, "cannot set the terminal's mode");
    is_raw = TRUE;
    atexit(terminal_restore);
    return TRUE;
}

gboolean terminal_size(guint *ret_columns, guint *ret_rows)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_row == 0)
        return FALSE;
    *ret_columns = size.ws_col;
    *ret_rows = size.ws_row;
    return TRUE;
}

int terminal_resized_fd(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGWINCH);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

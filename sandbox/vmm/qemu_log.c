/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/qemu_log.h"

#include <signal.h>
#include <string.h>

/* "2026-11-29 02:05:17.013+0000: starting up …" */
#define LIBVIRT_LINE "^\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d\\.\\d+[+-]\\d{4}: "
/* "2026-11-29T02:05:17.013229Z qemu-system-x86_64: …" (-msg timestamp=on) */
#define QEMU_TIME "^\\d{4}-\\d\\d-\\d\\dT[0-9:.]+Z "

static gboolean is_message(const char *line)
{
    return *line != '\0' && !g_regex_match_simple(LIBVIRT_LINE, line, 0, 0) &&
           strstr(line, ": warning: ") == NULL;
}

static const char *skip_time(const char *line)
{
    return g_regex_match_simple(QEMU_TIME, line, 0, 0) ? strchr(line, ' ') + 1 : line;
}

/* The text may begin within a line, which is then most often libvirt's. */
static gboolean is_whole(const char *first_line)
{
    return g_regex_match_simple(LIBVIRT_LINE, first_line, 0, 0) ||
           g_regex_match_simple(QEMU_TIME, first_line, 0, 0);
}

/* libvirt breaks the command line with backslashes. */
char *qemu_log_find_message(const char *log)
{
    g_auto(GStrv) lines = g_strsplit(log, "\n", -1);
    gboolean is_command = FALSE;
    const char *last = NULL;

    for (gsize i = 0; lines[i] != NULL; i++) {
        gboolean goes_on = g_str_has_suffix(g_strstrip(lines[i]), "\\");

        if (!is_command && !goes_on && is_message(lines[i]) && (i > 0 || is_whole(lines[i])))
            last = lines[i];
        is_command = goes_on;
    }
    return last != NULL ? g_strdup(skip_time(last)) : NULL;
}

/* QEMU runs under a seccomp filter, which kills it for a system call that it is not to make. */
static char *describe_signal(int signal_number, const char *message)
{
    return g_strdup_printf(
        "QEMU was killed by signal %d (%s)%s%s%s", signal_number, g_strsignal(signal_number),
        signal_number == SIGSYS ? ", as its seccomp filter does for a forbidden system call" : "",
        message != NULL ? "; its last message: " : "", message != NULL ? message : "");
}

/* A guest that was reset without a panic has met a triple fault, or has restarted itself: QEMU reports all of
 * them alike. */
static char *describe_reset(const char *panic)
{
    if (panic != NULL)
        return g_strdup_printf("the guest's kernel panicked: %s", panic);
    return g_strdup("the guest was reset, by a triple fault or by itself: there is no panic on its console");
}

char *qemu_log_describe_end(VmmStopReason reason, const LastWords *words)
{
    const char *message = words->message;

    switch (reason) {
    case VMM_STOPPED_DESTROYED:
        return g_strdup("the VM was destroyed");
    case VMM_STOPPED_SHUTDOWN: /* libvirt's word also for a QEMU that ends at SIGTERM */
        if (message != NULL && strstr(message, "terminating on signal") != NULL)
            break;
        return g_strdup("the guest powered itself off");
    case VMM_STOPPED_RESET:
        return describe_reset(words->panic);
    case VMM_STOPPED_CRASHED:
        if (words->signal_number != 0)
            return describe_signal(words->signal_number, message);
        break;
    }
    return message != NULL ? g_strdup_printf("QEMU ended: %s", message)
                           : g_strdup("QEMU was killed or crashed without a message");
}

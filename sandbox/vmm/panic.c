/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/panic.h"

#include <string.h>

#include "sandbox/vmm/console.h"

/* A panic with its call traces and registers takes a few KiB for each processor that reports one. */
enum { READ_BYTES = 128 * 1024, READ_LINES = 4096, PART_CHARS = 160 };

#define PANIC "Kernel panic - not syncing: "

/* How reports of exceptions and failed assertions begin: x86's, then those of arm64. */
static const char *const faults[] = {
    "BUG: ",
    "kernel BUG at ",
    "general protection fault",
    "divide error",
    "invalid opcode",
    "int3: ",
    "stack segment",
    "segment not present",
    "alignment check",
    "PANIC: ",
    "Oops",
    "double fault",
    "traps: ",
    "watchdog: BUG: ",
    "control protection",
    "Unable to handle ",
    "Internal error: ",
    "Bad mode in ",
};

typedef struct {
    const char *fault; /* the first line of the exception that is being reported; NULL: none is */
    const char *place; /* its instruction */
    gboolean is_over;  /* the next line of this kind begins another report */
} Report;

/* Skips the time, "[    1.234567] ", with which a kernel may begin each line. */
static const char *skip_time(const char *line)
{
    const char *end = *line == '[' ? strchr(line, ']') : NULL;

    if (end == NULL || strspn(line + 1, " .0123456789") != (gsize)(end - line - 1))
        return line;
    return end + 1 + strspn(end + 1, " ");
}

static gboolean is_fault(const char *line)
{
    for (gsize i = 0; i < G_N_ELEMENTS(faults); i++)
        if (g_str_has_prefix(line, faults[i]))
            return TRUE;
    return FALSE;
}

static void report_add(Report *report, const char *line)
{
    if (g_str_has_prefix(line, "---[ end trace"))
        report->is_over = TRUE;
    else if (is_fault(line) && (report->fault == NULL || report->is_over))
        *report = (Report){.fault = line};
    else if (report->fault != NULL && report->place == NULL &&
             (g_str_has_prefix(line, "RIP: ") || g_str_has_prefix(line, "pc : ")))
        report->place = line;
}

static char *shortened(const char *text)
{
    g_autofree char *begin = NULL;

    if (g_utf8_strlen(text, -1) <= PART_CHARS)
        return g_strdup(text);
    begin = g_utf8_substring(text, 0, PART_CHARS);
    return g_strconcat(begin, "…", NULL);
}

static char *describe(const char *reason, const Report *report)
{
    g_autofree char *why = shortened(reason);
    g_autofree char *fault = report->fault != NULL ? shortened(report->fault) : NULL;
    g_autofree char *place = report->place != NULL ? shortened(report->place) : NULL;

    if (fault == NULL)
        return g_steal_pointer(&why);
    return g_strdup_printf("%s (%s%s%s)", why, fault, place != NULL ? "; " : "", place != NULL ? place : "");
}

char *panic_find(const char *console)
{
    g_auto(GStrv) lines = g_strsplit(console, "\n", -1);
    char *found = NULL;
    Report report = {0};

    for (gsize i = 0; lines[i] != NULL; i++) {
        const char *line = skip_time(lines[i]);

        if (!g_str_has_prefix(line, PANIC)) {
            report_add(&report, line);
            continue;
        }
        g_free(found);
        found = describe(line + strlen(PANIC), &report);
        report = (Report){0};
    }
    return found;
}

char *panic_read(const char *console_path)
{
    g_autofree char *text = NULL;

    if (console_path == NULL)
        return NULL;
    text = console_tail(console_path, READ_BYTES, READ_LINES);
    return panic_find(text);
}

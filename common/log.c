/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static gint log_threshold = LOG_LEVEL_INFO; /* atomic */
static LogFormat log_output = LOG_FORMAT_TEXT;

static const char *const level_names[] = {"debug", "info", "warning", "error"};
static const char *const format_names[] = {"auto", "text", "json", "journal"};

gboolean log_level_from_name(const char *name, LogLevel *ret_level)
{
    for (guint i = 0; i < G_N_ELEMENTS(level_names); i++)
        if (g_str_equal(name, level_names[i])) {
            *ret_level = (LogLevel)i;
            return TRUE;
        }
    return FALSE;
}

gboolean log_format_from_name(const char *name, LogFormat *ret_format)
{
    for (guint i = 0; i < G_N_ELEMENTS(format_names); i++)
        if (g_str_equal(name, format_names[i])) {
            *ret_format = (LogFormat)i;
            return TRUE;
        }
    return FALSE;
}

/* Quotes for logfmt and JSON alike: both take a JSON string. */
static void append_quoted(GString *line, const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value, -1);

    g_string_append_c(line, '"');
    for (const char *c = valid; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            g_string_append_printf(line, "\\%c", *c);
        else if (*c == '\n')
            g_string_append(line, "\\n");
        else if ((guchar)*c < 0x20 || *c == 0x7f)
            g_string_append_printf(line, "\\u%04x", (guint)(guchar)*c);
        else
            g_string_append_c(line, *c);
    }
    g_string_append_c(line, '"');
}

/* Whether a value needs no quotes. Characters that a terminal would interpret are quoted, whoever sent them.
 */
static gboolean is_plain(const char *value)
{
    for (const char *c = value; *c != '\0'; c++)
        if ((guchar)*c <= ' ' || *c == 0x7f || strchr("\"=\\", *c) != NULL)
            return FALSE;
    return *value != '\0' && g_utf8_validate(value, -1, NULL);
}

static void append_pair(GString *line, const char *name, const char *value)
{
    if (log_output == LOG_FORMAT_JSON) {
        g_string_append_printf(line, "%s\"%s\":", line->len > 1 ? "," : "", name);
        append_quoted(line, value);
        return;
    }
    g_string_append_printf(line, "%s%s=", line->len > 0 ? " " : "", name);
    if (is_plain(value))
        g_string_append(line, value);
    else
        append_quoted(line, value);
}

static void write_line(LogLevel level, const char *const *fields, const char *message)
{
    g_autoptr(GString) line = g_string_new(log_output == LOG_FORMAT_JSON ? "{" : "");
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *time = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S.%fZ");
    ssize_t written;

    append_pair(line, "time", time);
    append_pair(line, "level", level_names[level]);
    append_pair(line, "msg", message);
    for (guint i = 0; fields[i] != NULL; i += 2)
        if (fields[i + 1] != NULL)
            append_pair(line, fields[i], fields[i + 1]);
    g_string_append(line, log_output == LOG_FORMAT_JSON ? "}\n" : "\n");
    written = write(STDERR_FILENO, line->str, line->len);
    (void)written; /* a failure cannot be reported anywhere */
}

/* Journal field names are upper case; ours are prefixed so that they cannot collide with trusted ones. */
static void write_journal(LogLevel level, const char *const *fields, const char *message)
{
    static const char *const priorities[] = {"7", "6", "4", "3"};
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(GLogField));
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    GLogField field = {"MESSAGE", message, -1};

    g_array_append_val(list, field);
    field = (GLogField){"PRIORITY", priorities[level], -1};
    g_array_append_val(list, field);
    field = (GLogField){"SYSLOG_IDENTIFIER", g_get_prgname(), -1};
    if (field.value != NULL)
        g_array_append_val(list, field);
    for (guint i = 0; fields[i] != NULL; i += 2) {
        g_autofree char *upper = NULL;

        if (fields[i + 1] == NULL)
            continue;
        upper = g_ascii_strup(fields[i], -1);
        g_ptr_array_add(names, g_strconcat("CRIVIRT_", upper, NULL));
        field = (GLogField){g_ptr_array_index(names, names->len - 1), fields[i + 1], -1};
        g_array_append_val(list, field);
    }
    if (g_log_writer_journald(G_LOG_LEVEL_MESSAGE, (const GLogField *)(void *)list->data, list->len, NULL) !=
        G_LOG_WRITER_HANDLED)
        write_line(level, fields, message);
}

void log_write(LogLevel level, const char *const *fields, const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list args;

    if ((gint)level < g_atomic_int_get(&log_threshold))
        return;
    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    if (log_output == LOG_FORMAT_JOURNAL)
        write_journal(level, fields, message);
    else
        write_line(level, fields, message);
}

static void take_glib_message(const char *domain, GLogLevelFlags flags, const char *message, gpointer unused)
{
    LogLevel level = LOG_LEVEL_DEBUG;

    (void)unused;
    if ((flags & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL)) != 0)
        level = LOG_LEVEL_ERROR;
    else if ((flags & G_LOG_LEVEL_WARNING) != 0)
        level = LOG_LEVEL_WARNING;
    else if ((flags & (G_LOG_LEVEL_MESSAGE | G_LOG_LEVEL_INFO)) != 0)
        level = LOG_LEVEL_INFO;
    log_write(level, LOG_FIELDS("domain", domain), "%s", message);
}

void log_set_level(LogLevel level)
{
    g_atomic_int_set(&log_threshold, (gint)level);
}

void log_setup(LogLevel level, LogFormat format)
{
    log_set_level(level);
    log_output = format;
    if (format == LOG_FORMAT_AUTO)
        log_output = g_log_writer_is_journald(STDERR_FILENO) ? LOG_FORMAT_JOURNAL : LOG_FORMAT_TEXT;
    g_log_set_default_handler(take_glib_message, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Structured logs: a message with named fields, as one logfmt or JSON line on stderr, or as journal fields
 * when stderr is the systemd journal.
 *
 *     log_info(LOG_FIELDS("sandbox", id, "netns", path), "booted in %" G_GINT64_FORMAT " ms", ms);
 *
 * Any thread may log; a line is written with one write().
 */
#pragma once

#include <glib.h>

typedef enum { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR } LogLevel;
typedef enum { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON, LOG_FORMAT_JOURNAL } LogFormat;

/* Process-wide; call before threads start. Also routes GLib's own messages here. Default: info, auto. */
void log_setup(LogLevel level, LogFormat format);
/* Any thread, at any time. */
void log_set_level(LogLevel level);
gboolean log_level_from_name(const char *name, LogLevel *ret_level);
gboolean log_format_from_name(const char *name, LogFormat *ret_format);

/* Name/value pairs; a pair whose value is NULL is left out of the line. */
#define LOG_FIELDS(...) ((const char *const[]){__VA_ARGS__, NULL, NULL})
#define LOG_NO_FIELDS ((const char *const[]){NULL, NULL})

void log_write(LogLevel level, const char *const *fields, const char *format, ...) G_GNUC_PRINTF(3, 4);

#define log_debug(fields, ...) log_write(LOG_LEVEL_DEBUG, fields, __VA_ARGS__)
#define log_info(fields, ...) log_write(LOG_LEVEL_INFO, fields, __VA_ARGS__)
#define log_warning(fields, ...) log_write(LOG_LEVEL_WARNING, fields, __VA_ARGS__)
#define log_error(fields, ...) log_write(LOG_LEVEL_ERROR, fields, __VA_ARGS__)

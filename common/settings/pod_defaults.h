/* SPDX-License-Identifier: Apache-2.0 */
/* What a handler gives to its pods' containers: limits of processes, variables, a time zone, sysctls. The
 * values are texts in handler_options.def; these functions read them.
 *
 * Errors: INVALID_ARGUMENT with the value and the form that it should have. Threads: any.
 */
#pragma once

#include "common/settings/settings.h"

/* A limit as in setrlimit(2) and in the OCI configuration. */
typedef struct {
    char type[32]; /* "RLIMIT_NOFILE" */
    guint64 soft;  /* G_MAXUINT64: unlimited */
    guint64 hard;
} Ulimit;

/* Reads "nofile=1024:65536", "core=0" or "memlock=unlimited". */
gboolean ulimit_parse(const char *text, Ulimit *ret_ulimit, GError **error);
/* Separates "NAME=VALUE". The caller frees *ret_name; *ret_value is borrowed from the text. */
gboolean assignment_parse(const char *text, char **ret_name, const char **ret_value, GError **error);

/* The most that a file of a time zone has. */
enum { TIME_ZONE_MAX_BYTES = 64 << 10 };
/* Reads the node's file (tzfile(5)) of a zone such as "Europe/Berlin", or of "local", the node's own. The
 * caller frees *ret_text. Errors: FAILED_PRECONDITION when the node has no such file. */
gboolean time_zone_read(const char *zone, char **ret_text, gsize *ret_length, GError **error);

/* Checks a handler's values; the message begins with the key. */
gboolean pod_defaults_check(const Handler *handler, GError **error);

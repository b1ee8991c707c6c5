/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: one GError domain whose code is the gRPC status that the caller will see.
 *
 * A function that can fail takes a GError ** last, returns FALSE or NULL on failure and leaves its outputs
 * untouched then. Each layer that passes an error up adds what it was doing with g_prefix_error(). An error
 * is returned or logged, never both.
 */
#pragma once

#include <glib.h>

#define CRIVIRT_ERROR (crivirt_error_quark())

/* Codes of https://grpc.io/docs/guides/status-codes/ */
typedef enum {
    STATUS_CANCELLED = 1,
    STATUS_UNKNOWN = 2,
    STATUS_INVALID_ARGUMENT = 3,
    STATUS_DEADLINE_EXCEEDED = 4,
    STATUS_NOT_FOUND = 5,
    STATUS_ALREADY_EXISTS = 6,
    STATUS_PERMISSION_DENIED = 7,
    STATUS_RESOURCE_EXHAUSTED = 8,
    STATUS_FAILED_PRECONDITION = 9,
    STATUS_ABORTED = 10,
    STATUS_OUT_OF_RANGE = 11,
    STATUS_UNIMPLEMENTED = 12,
    STATUS_INTERNAL = 13,
    STATUS_UNAVAILABLE = 14,
    STATUS_DATA_LOSS = 15,
    STATUS_UNAUTHENTICATED = 16,
} StatusCode;

GQuark crivirt_error_quark(void);

/* Sets *error and returns FALSE, so that a caller can `return fail(error, …)`. */
gboolean fail(GError **error, StatusCode code, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* The same for an errno value: the code follows from it (ENOENT is NOT_FOUND, ENOSPC and EDQUOT are
 * RESOURCE_EXHAUSTED, EACCES and EPERM are PERMISSION_DENIED, the rest INTERNAL); ": strerror" is appended.
 */
gboolean fail_errno(GError **error, int errnum, const char *format, ...) G_GNUC_PRINTF(3, 4);

#ifdef __clang_analyzer__
/* The analyser sees one file at a time: these show it what the two return. */
#define fail(...) ((void)(fail)(__VA_ARGS__), FALSE)
#define fail_errno(...) ((void)(fail_errno)(__VA_ARGS__), FALSE)
#endif

/* The status of any GError: its code if it is ours, the nearest one if it is GLib's, else STATUS_INTERNAL. */
StatusCode error_status(const GError *error);

/* Return: gRPC's name of the code ("NotFound"); static. */
const char *status_name(StatusCode status);

/* Changes a foreign GError in place into one of ours with error_status(); NULL is allowed. */
void error_adopt(GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
#include "common/error.h"

#include <errno.h>
#include <gio/gio.h>
#include <stdarg.h>
#include <string.h>

/* clang-format would read the name as a subtraction. */
/* clang-format off */
G_DEFINE_QUARK(crivirt-error-quark, crivirt_error)
/* clang-format on */

gboolean(fail)(GError **error, StatusCode code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (error != NULL)
        *error = g_error_new_valist(CRIVIRT_ERROR, (gint)code, format, args);
    va_end(args);
    return FALSE;
}

static StatusCode status_from_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return STATUS_NOT_FOUND;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return STATUS_RESOURCE_EXHAUSTED;
    case EACCES:
    case EPERM:
        return STATUS_PERMISSION_DENIED;
    case ECANCELED:
        return STATUS_CANCELLED;
    case ETIMEDOUT:
        return STATUS_DEADLINE_EXCEEDED;
    default:
        return STATUS_INTERNAL;
    }
}

gboolean(fail_errno)(GError **error, int errnum, const char *format, ...)
{
    g_autofree char *what = NULL;
    va_list args;

    va_start(args, format);
    what = g_strdup_vprintf(format, args);
    va_end(args);
    return fail(error, status_from_errno(errnum), "%s: %s", what, g_strerror(errnum));
}

StatusCode error_status(const GError *error)
{
    if (error->domain == CRIVIRT_ERROR)
        return (StatusCode)error->code;
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
        return STATUS_CANCELLED;
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_TIMED_OUT))
        return STATUS_DEADLINE_EXCEEDED;
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE) ||
        g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOSPC))
        return STATUS_RESOURCE_EXHAUSTED;
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND) ||
        g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return STATUS_NOT_FOUND;
    return STATUS_INTERNAL;
}

void error_adopt(GError **error)
{
    GError *ours = NULL;

    if (error == NULL || *error == NULL || (*error)->domain == CRIVIRT_ERROR)
        return;
    ours = g_error_new_literal(CRIVIRT_ERROR, (gint)error_status(*error), (*error)->message);
    g_error_free(*error);
    *error = ours;
}

const char *status_name(StatusCode status)
{
    static const char *const names[] = {
        "OK",       "Cancelled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
        "NotFound", "AlreadyExists",   "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
        "Aborted",  "OutOfRange",      "Unimplemented",    "Internal",          "Unavailable",
        "DataLoss", "Unauthenticated",
    };

    return (guint)status < G_N_ELEMENTS(names) ? names[status] : "Unknown";
}

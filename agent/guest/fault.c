/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool(fault)(Fault *ret_fault, int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ret_fault->message, sizeof ret_fault->message, format, arguments);
    va_end(arguments);
    ret_fault->status = status;
    return false;
}

bool(fault_errno)(Fault *ret_fault, const char *format, ...)
{
    int error = errno;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(ret_fault->message, sizeof ret_fault->message, format, arguments);
    va_end(arguments);

    size_t used = strlen(ret_fault->message);
    snprintf(ret_fault->message + used, sizeof ret_fault->message - used, ": %s", strerror(error));
    ret_fault->status = error == ENOSPC || error == ENOMEM ? FAULT_RESOURCE_EXHAUSTED : FAULT_INTERNAL;
    return false;
}

void complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("crivirt-agent: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

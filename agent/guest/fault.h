/* SPDX-License-Identifier: Apache-2.0 */
/* An error with a status and a message: the agent's counterpart of the daemon's GError. A function that can
 * fail takes a Fault * last, returns false on failure and then leaves its outputs untouched; so it can
 * `return fault(…)`.
 */
#pragma once

#include <stdbool.h>

/* gRPC status codes (common/error.h), as Failure.status carries them. */
enum {
    FAULT_CANCELLED = 1,
    FAULT_INVALID_ARGUMENT = 3,
    FAULT_DEADLINE_EXCEEDED = 4,
    FAULT_NOT_FOUND = 5,
    FAULT_ALREADY_EXISTS = 6,
    FAULT_RESOURCE_EXHAUSTED = 8,
    FAULT_FAILED_PRECONDITION = 9,
    FAULT_UNIMPLEMENTED = 12,
    FAULT_INTERNAL = 13,
    FAULT_UNAVAILABLE = 14,
};

typedef struct {
    int status;
    char message[1024];
} Fault;

/* Sets the fault. Return: false. */
bool fault(Fault *ret_fault, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Sets the fault with ": strerror(errno)" appended. The status is INTERNAL, or RESOURCE_EXHAUSTED for ENOSPC
 * and ENOMEM. Return: false. */
bool fault_errno(Fault *ret_fault, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__
/* The analyser sees one file at a time; these macros show it what the two functions return. */
#define fault(...) ((void)(fault)(__VA_ARGS__), false)
#define fault_errno(...) ((void)(fault_errno)(__VA_ARGS__), false)
#endif

/* Writes to the guest's console, about a failure that belongs to no request. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

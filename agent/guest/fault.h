/* What failed: the agent's counterpart of the daemon's GError. A function that can fail takes a Fault * last,
 * returns false on failure and leaves its outputs untouched then; so a caller can `return fault(…)`.
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

/* Both return false. */
bool fault(Fault *ret_fault, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* INTERNAL (RESOURCE_EXHAUSTED for ENOSPC and ENOMEM), with ": strerror(errno)" appended. */
bool fault_errno(Fault *ret_fault, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__
/* The analyser sees one file at a time: this tells it what the two return. */
#define fault(...) ((void)(fault)(__VA_ARGS__), false)
#define fault_errno(...) ((void)(fault_errno)(__VA_ARGS__), false)
#endif

/* To the guest's console: for what no request can be blamed for. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

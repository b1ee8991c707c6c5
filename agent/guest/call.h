/* One request of the daemon's, from its arrival to its response.
 *
 * A handler op_NAME(Call *) owns the call and ends it exactly once: with reply_NAME(), call_fail(), or by
 * keeping it for later (call_retry(), or as the data of a job).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/guest/fault.h"
#include "agent/guest/loop.h"
#include "agent/guest/messages.h"

typedef struct Call {
    struct Call *next; /* for whoever keeps it */
    ToGuest *message;  /* the call's */
    Request *request;  /* in message */
    uint64_t connection;
    int64_t since_ns;
    Timer retry;
} Call;

/* Takes the message; dispatches. */
void call_begin(ToGuest *message);
/* Runs the handler again, from its start. */
void call_dispatch(Call *call);
/* Runs the handler again in some milliseconds. */
void call_retry(Call *call, int64_t delay_ms);
/* The fault's message and status; frees the call. */
void call_fail(Call *call, const Fault *fault);

/* Per row of ops.def: its handler, and its reply, which frees the call. */
#define AGENT_OP(name, Name, number)                                                                         \
    void op_##name(Call *call);                                                                              \
    void reply_##name(Call *call, Name##Response *result);
#include "agent/wire/ops.def"
#undef AGENT_OP

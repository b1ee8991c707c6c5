/* SPDX-License-Identifier: Apache-2.0 */
/* One request of the daemon, from its arrival to its response.
 *
 * A handler op_NAME(Call *) owns the call and ends it exactly once with reply_NAME() or call_fail(). It may
 * keep the call for later, with call_retry() or as the data of a job.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/guest/fault.h"
#include "agent/guest/loop.h"
#include "agent/guest/messages.h"

typedef struct Call {
    struct Call *next; /* for the owner of the call */
    ToGuest *message;  /* owned by the call */
    Request *request;  /* in message */
    uint64_t connection;
    int64_t since_ns;
    bool deferred; /* by Freeze (freeze.h) */
    Timer retry;
} Call;

/* Takes the message and runs its handler. */
void call_begin(ToGuest *message);
/* Runs the call's handler from its start. */
void call_dispatch(Call *call);
/* Runs the handler from its start again, in delay_ms milliseconds. */
void call_retry(Call *call, int64_t delay_ms);
/* Responds with the fault's message and status; frees the call. */
void call_fail(Call *call, const Fault *fault);

/* For each row of ops.def: its handler, and its reply, which frees the call. */
#define AGENT_OP(name, Name, number)                                                                         \
    void op_##name(Call *call);                                                                              \
    void reply_##name(Call *call, Name##Response *result);
#include "agent/wire/ops.def"
#undef AGENT_OP

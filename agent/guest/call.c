/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/call.h"

#include <stdlib.h>

#include "agent/guest/channel.h"

typedef struct {
    int op_case;
    void (*handle)(Call *call);
} Operation;

static const Operation operations[] = {
#define AGENT_OP(name, Name, number) {number, op_##name},
#include "agent/wire/ops.def"
#undef AGENT_OP
};

static void call_free(Call *call)
{
    timer_stop(&call->retry);
    crivirt__agent__v1__to_guest__free_unpacked(call->message, NULL);
    free(call);
}

/* Sends the response, unless it is for a connection that has ended: the next daemon asks again. */
static void call_respond(Call *call, Response *response)
{
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;

    response->id = call->request->id;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE;
    message.response = response;
    if (call->connection == channel_connection())
        channel_send(&message);
    call_free(call);
}

void call_fail(Call *call, const Fault *fault)
{
    Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;
    Failure failure = CRIVIRT__AGENT__V1__FAILURE__INIT;

    failure.status = fault->status;
    failure.message = (char *)fault->message;
    response.failure = &failure;
    call_respond(call, &response);
}

#define AGENT_OP(op, Name, number)                                                                           \
    void reply_##op(Call *call, Name##Response *result)                                                      \
    {                                                                                                        \
        Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;                                              \
        response.result_case = (Crivirt__Agent__V1__Response__ResultCase)(number);                           \
        response.op = result;                                                                                \
        call_respond(call, &response);                                                                       \
    }
#include "agent/wire/ops.def"
#undef AGENT_OP

void call_dispatch(Call *call)
{
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (operations[i].op_case == (int)call->request->op_case) {
            operations[i].handle(call);
            return;
        }
    }
    Fault error;
    fault(&error, FAULT_UNIMPLEMENTED, "crivirt-agent %s does not support the operation", CRIVIRT_VERSION);
    call_fail(call, &error);
}

static void call_run_again(void *data)
{
    call_dispatch(data);
}

void call_retry(Call *call, int64_t delay_ms)
{
    call->retry.call = call_run_again;
    call->retry.data = call;
    timer_start(&call->retry, delay_ms);
}

void call_begin(ToGuest *message)
{
    Call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        complain("a request is dropped: out of memory");
        crivirt__agent__v1__to_guest__free_unpacked(message, NULL);
        return;
    }
    call->message = message;
    call->request = message->request;
    call->connection = channel_connection();
    call->since_ns = clock_monotonic_ns();
    call_dispatch(call);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/agent/agent_calls.h"

typedef Crivirt__Agent__V1__Request Request;
typedef Crivirt__Agent__V1__Response Response;

/* agent_connection_call() has checked that the response is the one of the operation. */
/* clang-format off */
#define AGENT_OP(name, Name, number)                                                                                 \
    static Request request_of_##name(const Agent##Name##Request *message)                                            \
    {                                                                                                                \
        Request request = CRIVIRT__AGENT__V1__REQUEST__INIT;                                                         \
        request.op_case = (Crivirt__Agent__V1__Request__OpCase)(number);                                             \
        request.name = (Agent##Name##Request *)message; /* it is packed, not changed */                              \
        return request;                                                                                              \
    }                                                                                                                \
    gboolean agent_##name(AgentConnection *agent, const Agent##Name##Request *message, const Deadline *deadline,     \
                          Agent##Name##Response **ret_response, GError **error)                                      \
    {                                                                                                                \
        Request request = request_of_##name(message);                                                                \
        Response *response;                                                                                          \
        if (!agent_connection_call(agent, &request, deadline, &response, error))                                     \
            return FALSE;                                                                                            \
        if (ret_response != NULL) {                                                                                  \
            *ret_response = response->name;                                                                          \
            response->result_case = CRIVIRT__AGENT__V1__RESPONSE__RESULT__NOT_SET;                                   \
        }                                                                                                            \
        crivirt__agent__v1__response__free_unpacked(response, NULL);                                                 \
        return TRUE;                                                                                                 \
    }                                                                                                                \
    void agent_##name##_post(AgentConnection *agent, const Agent##Name##Request *message)                            \
    {                                                                                                                \
        Request request = request_of_##name(message);                                                                \
        agent_connection_send_request(agent, &request);                                                              \
    }                                                                                                                \
    void agent_##name##_response_free(Agent##Name##Response *response)                                               \
    {                                                                                                                \
        crivirt__agent__v1__##name##_response__free_unpacked(response, NULL);                                        \
    }
#include "agent/wire/ops.def"
#undef AGENT_OP
/* clang-format on */

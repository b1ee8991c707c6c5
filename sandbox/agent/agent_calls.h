/* SPDX-License-Identifier: Apache-2.0 */
/* The operations of a guest's agent as functions, generated from agent/wire/ops.def. agent/wire/agent.proto
 * says what each one does.
 *
 * agent_NAME() sends the request and waits for the response. It takes the connection, the request and the
 * deadline, and stores the response unless ret_response is NULL. Return: FALSE with the error. The caller
 * frees the response, with g_autoptr or agent_NAME_response_free(); nothing is stored on failure. A failure
 * in the guest has the status and the message that the agent gave. Any thread but the loop's.
 *
 * agent_NAME_post() sends the request and does not wait. The request is lost when the agent is not connected.
 * Any thread.
 */
#pragma once

#include "sandbox/agent/agent_connection.h"

/* clang-format off */
#define AGENT_OP(name, Name, number)                                                                                 \
    typedef Crivirt__Agent__V1__##Name##Request Agent##Name##Request;                                                \
    typedef Crivirt__Agent__V1__##Name##Response Agent##Name##Response;                                              \
    gboolean agent_##name(AgentConnection *agent, const Agent##Name##Request *request, const Deadline *deadline,     \
                          Agent##Name##Response **ret_response, GError **error);                                     \
    void agent_##name##_post(AgentConnection *agent, const Agent##Name##Request *request);                           \
    void agent_##name##_response_free(Agent##Name##Response *response); /* takes NULL */                             \
    G_DEFINE_AUTOPTR_CLEANUP_FUNC(Agent##Name##Response, agent_##name##_response_free)
#include "agent/wire/ops.def"
#undef AGENT_OP
/* clang-format on */

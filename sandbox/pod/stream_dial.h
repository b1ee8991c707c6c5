/* SPDX-License-Identifier: Apache-2.0 */
/* Opens stream sessions on pods: connections to the loopback interface, for PortForward. How a session is
 * used: pods/stream_session.h. */
#pragma once

#include "common/deadline.h"
#include "sandbox/pods/stream_session.h"

typedef struct SandboxManager SandboxManager;

/* Blocks until the connection is made, at most until the deadline. Any thread. Return: the session, which the
 * caller closes; NULL with NOT_FOUND, FAILED_PRECONDITION (the pod is not ready) or UNAVAILABLE (nothing
 * listens on the port, or the agent does not answer). */
StreamSession *stream_session_dial(SandboxManager *manager, const char *sandbox_id, guint16 port,
                                   const StreamSessionClient *client, const Deadline *deadline,
                                   GError **error);

/* Return: whether the sandbox is ready; FALSE with the error that dialling would give. The caller frees
 * the sandbox's whole id. */
gboolean stream_session_check_sandbox(SandboxManager *manager, const char *sandbox_id, char **ret_sandbox_id,
                                      GError **error);

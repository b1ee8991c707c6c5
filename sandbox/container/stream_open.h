/* SPDX-License-Identifier: Apache-2.0 */
/* Opens stream sessions on containers: exec and attach. How a session is used: pods/stream_session.h.
 *
 * The functions block until the process runs, or the client is attached, at most until the deadline. Any
 * thread. Errors: NOT_FOUND, FAILED_PRECONDITION (the container does not run), UNAVAILABLE (the agent does
 * not answer), INTERNAL (the command cannot be run).
 */
#pragma once

#include "common/deadline.h"
#include "sandbox/pods/stream_session.h"

typedef struct SandboxManager SandboxManager;

typedef struct {
    const char *container_id;
    char *const *args;
    gsize n_args;
    gboolean tty;
    gboolean with_input;
    guint columns, rows; /* 0: not known */
    gboolean in_guest;   /* not in the container: in the guest itself, with the container's programs */
} StreamSessionExec;

/* Return: the session, which the caller closes; NULL with an error. */
StreamSession *stream_session_exec(SandboxManager *manager, const StreamSessionExec *exec,
                                   const StreamSessionClient *client, const Deadline *deadline,
                                   GError **error);
StreamSession *stream_session_attach(SandboxManager *manager, const char *container_id, gboolean with_input,
                                     const StreamSessionClient *client, const Deadline *deadline,
                                     GError **error);

/* Return: whether the container runs, or, to attach, was created and not started yet; FALSE with the error
 * that opening a session would give. The caller frees the id of the container's sandbox. */
gboolean stream_session_check_exec(SandboxManager *manager, const char *container_id, gboolean in_guest,
                                   char **ret_sandbox_id, GError **error);
gboolean stream_session_check_attach(SandboxManager *manager, const char *container_id, char **ret_sandbox_id,
                                     GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent sends to stream sessions. Called on the loop's thread, which never waits for a client. */
#pragma once

#include "sandbox/pods/container.h"

typedef struct StreamSession StreamSession;

StreamSession *stream_session_ref(StreamSession *session);
void stream_session_unref(StreamSession *session); /* takes NULL */

/* Of an exec or a connection. Return: FALSE when no session has that id. */
gboolean stream_sessions_output(Pod *pod, const Crivirt__Agent__V1__Output *output);
gboolean stream_sessions_exited(Pod *pod, const Crivirt__Agent__V1__Exited *exited);
void stream_sessions_input_acked(Pod *pod, const Crivirt__Agent__V1__InputAck *ack);

/* Of a container's first process: each attached client gets a copy. */
void stream_sessions_attached_output(Container *container, const Crivirt__Agent__V1__Output *output);
void stream_sessions_attached_exited(Container *container, gint32 exit_code);
void stream_sessions_attached_input_acked(Container *container, guint64 offset);

/* The connection to the agent has been made again. */
void stream_sessions_resume(Pod *pod);

/* The guest, or the container, is gone: every session ends with that reason. */
void stream_sessions_fail(Pod *pod, const char *why);
void stream_sessions_fail_container(Container *container, const char *why);

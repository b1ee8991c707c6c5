/* SPDX-License-Identifier: Apache-2.0 */
/* Stream sessions as the rest of sandbox/ uses them: how they are made and registered (stream_session.c), and
 * what agents report to the sessions of a pod or a container (stream_sessions.c).
 *
 * Ownership: the tables of a pod (pod->sessions) and of a container (container->attached) hold no references;
 * stream_session_close() takes a session out of them.
 *
 * Threads: any for the first part. The second part is called on the agents' loop thread, which never waits
 * for a client, and by whoever ends a pod or a container. Locks: session->lock is taken after pod->lock.
 */
#pragma once

#include "sandbox/pods/container.h"
#include "sandbox/pods/stream_session.h"

/* ---- one session ---- */

typedef enum { STREAM_SESSION_EXEC, STREAM_SESSION_ATTACH, STREAM_SESSION_DIAL } StreamSessionKind;

/* container: NULL for a connection to the pod. with_input: the client will write. Return: a session that no
 * table contains yet. */
StreamSession *stream_session_new(StreamSessionKind kind, Pod *pod, Container *container, gboolean with_input,
                                  const StreamSessionClient *client);
StreamSession *stream_session_ref(StreamSession *session);
void stream_session_unref(StreamSession *session); /* takes NULL */
void stream_session_register(StreamSession *session);

/* Return: the id of its process in the guest, borrowed; "": the container's first process. */
const char *stream_session_exec_id(const StreamSession *session);
/* Whether the session's process belongs to that container; "": to none. */
gboolean stream_session_is_of(const StreamSession *session, const char *container_id);
/* FAILED_PRECONDITION when the agent is too old for the session's input: it would never report what it has
 * written, and the client would wait for ever. */
gboolean stream_session_check_agent(const StreamSession *session, AgentConnection *agent, GError **error);
/* Finds the agent that can start the session's process, and stores the deadline for that, which is bounded.
 * Return: the connection, which the caller unreferences; NULL with the error. */
AgentConnection *stream_session_starter(const StreamSession *session, const Deadline *deadline,
                                        Deadline *ret_deadline, GError **error);

/* Queues output for the client. Output that the session has had already is skipped. */
void stream_session_receive(StreamSession *session, const Crivirt__Agent__V1__Output *output);
/* Makes the session begin at that offset of the stream. */
void stream_session_skip_to(StreamSession *session, StreamSessionStream stream, guint64 offset);
/* Ends the session, once; later calls change nothing. failure NULL: the process ended with exit_code. */
void stream_session_finish(StreamSession *session, gint32 exit_code, const char *failure);
/* Its process, or its connection, ended with that number: an exit code, or an errno. */
void stream_session_exited(StreamSession *session, gint32 number);
void stream_session_input_acked(StreamSession *session, guint64 offset);
void stream_session_resume_input(StreamSession *session);
/* Reports to the client that there may be something to do. */
void stream_session_wake(StreamSession *session);
/* Hangs up its process, unless that is the container's first one. */
void stream_session_hang_up(StreamSession *session);

/* ---- the sessions of a pod or a container ---- */

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

/* Wakes the clients of the pod's execs and connections. */
void stream_sessions_wake(Pod *pod);

/* The guest, or the container, is gone: every session ends with that reason. */
void stream_sessions_fail(Pod *pod, const char *why);
/* The same while the guest goes on: their processes there are hung up. */
void stream_sessions_end(Pod *pod, const char *why);
void stream_sessions_fail_container(Container *container, const char *why);

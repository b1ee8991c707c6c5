/* SPDX-License-Identifier: Apache-2.0 */
/* Processes in guests as a streaming client uses them: exec, attach, and connections to the pod's loopback
 * interface. Sessions are opened by container/stream_open.h and pod/stream_dial.h.
 *
 * A client pulls: wake() reports that there may be something to do, and the client then calls
 * stream_session_read(), stream_session_write() and stream_session_ended(), none of which blocks. Output that
 * the client does not read stays with the agent: the agent's window for that stream (512 KiB) fills, and the
 * process waits in its write(). No other stream, session or log is affected.
 *
 * Attach is different, because a container's log must never wait for a client: what an attached client leaves
 * unread is kept up to STREAM_SESSION_ATTACH_BYTES. Beyond that the client of a terminal misses output, and a
 * line in the output reports how much. Any other client is detached with an error, so that no client gets
 * output with a hole in it.
 *
 * Closing a session whose process still runs hangs the process up: the processes of a terminal get SIGHUP;
 * without a terminal, standard input ends and writing raises SIGPIPE. A process that heeds neither goes on,
 * as with ssh. A daemon that restarts hangs up the processes of its predecessor's sessions. Detaching never
 * harms the container; with stdin_once in its configuration, the end of the first client's input is the end
 * of the container's standard input.
 *
 * Ownership: the client owns the session and closes it. Threads: any; a session has one client thread at a
 * time.
 */
#pragma once

#include "common/byte_ring.h"

enum { STREAM_SESSION_ATTACH_BYTES = 1 << 20 };

typedef struct StreamSession StreamSession;

/* wake() is called on any thread, perhaps before the function that opens the session returns, and never after
 * stream_session_close(). It must neither block nor call back into the session. */
typedef struct {
    void (*wake)(gpointer data);
    gpointer data;
} StreamSessionClient;

typedef enum { STREAM_SESSION_STDOUT, STREAM_SESSION_STDERR } StreamSessionStream;

/* Hangs up or detaches, and frees the client's reference. Takes NULL. */
void stream_session_close(StreamSession *session);

/* Return: the number of bytes read; 0: there are none now. */
gsize stream_session_read(StreamSession *session, StreamSessionStream stream, void *buffer, gsize room);
/* Return: the number of bytes taken, as many as there is room for; wake() is called when there is room again.
 */
gsize stream_session_write(StreamSession *session, const void *data, gsize length);
/* Sends as much of the ring as the window allows, and uses it up. Return: how much. */
gsize stream_session_write_ring(StreamSession *session, ByteRing *ring);
void stream_session_write_end(StreamSession *session);
/* Sets the size of the process's terminal; does nothing when it has none. */
void stream_session_resize(StreamSession *session, guint columns, guint rows);
void stream_session_signal(StreamSession *session, int signal_number);

typedef struct {
    gint32 exit_code;
    const char *failure; /* why the session was broken off, borrowed from the session; NULL: it was not */
} StreamSessionEnd;
/* Return: TRUE once the session is over and everything has been read. */
gboolean stream_session_ended(StreamSession *session, StreamSessionEnd *ret_end);

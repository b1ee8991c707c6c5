/* Processes in guests as a streaming client has them: exec, attach, and connections to the pod's loopback.
 *
 * A session is pulled: wake() says that there may be something to do, then stream_session_read(),
 * stream_session_write() and stream_session_ended() are asked, none of which blocks. What is not read stays
 * with the agent: its window for that stream (512 KiB) fills, and the process waits in its write(); no other
 * stream, session or log notices.
 *
 * Attach is different, because a container's log must never wait for a client: what an attached client leaves
 * unread is kept up to STREAM_SESSION_ATTACH_BYTES. Beyond that a terminal's client misses output (and is
 * told how much), and any other client is detached with an error rather than given output with a hole in it.
 *
 * Closing a session whose process still runs hangs it up: a terminal's processes get SIGHUP; without a
 * terminal standard input ends and writing gets SIGPIPE. A process that does neither goes on, as with ssh. A
 * daemon that restarts does the same to what its predecessor ran. Detaching never harms the container; when
 * its configuration has stdin_once, the end of the first client's input is the end of its standard input.
 */
#pragma once

#include "sandbox/sandbox.h"

enum { STREAM_SESSION_ATTACH_BYTES = 1 << 20 };

typedef struct StreamSession StreamSession;

/* On any thread, perhaps before the function that makes the session returns. Must neither block nor call back
 * into the session. Not called after stream_session_close(). */
typedef struct {
    void (*wake)(gpointer data);
    gpointer data;
} StreamSessionClient;

typedef struct {
    const char *container_id;
    char *const *args;
    gsize n_args;
    gboolean tty;
    gboolean with_input;
    guint columns, rows; /* 0: not known */
} StreamSessionExec;

typedef enum { STREAM_SESSION_STDOUT, STREAM_SESSION_STDERR } StreamSessionStream;

/* These three block until the process runs, the client is attached, or the connection is made. NOT_FOUND,
 * FAILED_PRECONDITION (not running), UNAVAILABLE (nobody listens), INTERNAL (the command cannot be run). */
StreamSession *stream_session_exec(SandboxManager *manager, const StreamSessionExec *exec,
                                   const StreamSessionClient *client, const Deadline *deadline,
                                   GError **error);
StreamSession *stream_session_attach(SandboxManager *manager, const char *container_id, gboolean with_input,
                                     const StreamSessionClient *client, GError **error);
StreamSession *stream_session_dial(SandboxManager *manager, const char *sandbox_id, guint16 port,
                                   const StreamSessionClient *client, const Deadline *deadline,
                                   GError **error);
/* Hangs up or detaches; takes NULL. */
void stream_session_close(StreamSession *session);

/* Whether the container runs (to attach, it may also be created and not started yet), and whether the sandbox
 * is ready. */
gboolean stream_session_check_container(SandboxManager *manager, const char *container_id, gboolean to_attach,
                                        GError **error);
gboolean stream_session_check_sandbox(SandboxManager *manager, const char *sandbox_id, GError **error);

/* 0: nothing now. */
gsize stream_session_read(StreamSession *session, StreamSessionStream stream, void *buffer, gsize room);
/* Takes what there is room for and says how much that was; wake() comes when there is room again. */
gsize stream_session_write(StreamSession *session, const void *data, gsize length);
void stream_session_write_end(StreamSession *session);
/* The process's terminal; nothing happens to one that has none. */
void stream_session_resize(StreamSession *session, guint columns, guint rows);
void stream_session_signal(StreamSession *session, int signal_number);

typedef struct {
    gint32 exit_code;
    const char *failure; /* set: it was broken off, and why; borrowed from the session */
} StreamSessionEnd;
/* TRUE once it is over and everything has been read. */
gboolean stream_session_ended(StreamSession *session, StreamSessionEnd *ret_end);

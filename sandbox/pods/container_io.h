/* What a container's first process writes, on its way to the log, and its end, in that order.
 *
 * Events come in on the link's thread and are queued; a worker writes them one container at a time, so that a
 * slow disk holds up nobody else. A failing write is tried again and nothing is acknowledged meanwhile: the
 * agent's window fills and the container waits. The exit is passed on only after everything before it has
 * been stored.
 */
#pragma once

#include "agent.pb-c.h"
#include "sandbox/agent/agent_connection.h"
#include "sandbox/pods/log_file.h"

typedef struct ContainerIo ContainerIo;

/* How a first process ended. */
typedef struct {
    gint32 exit_code;
    const char *reason;  /* NULL: from the exit code */
    const char *message; /* NULL: none */
    gint64 finished_at_ns;
} ContainerExit;

typedef struct {
    /* On a worker: bytes below offset are stored. */
    void (*stored)(LogStream stream, guint64 offset, gpointer data);
    /* On a worker, after all output before it. from_agent: the agent wants to know that it is recorded.
     * FALSE: it could not be recorded, and is passed on again in a moment. */
    gboolean (*ended)(const ContainerExit *exit, gboolean from_agent, gpointer data);
} ContainerIoEvents;

/* workers is a pool made with container_io_work as its function. The log is opened by
 * container_io_open_log(). */
ContainerIo *container_io_new(LoopThread *loop, GThreadPool *workers, const ContainerIoEvents *events,
                              gpointer data);
/* No event comes after this returns, and what waits to be written or arrives later is dropped. FALSE: a
 * worker is stuck in a write to a disk that hangs; it ends by itself when the disk lets it. */
gboolean container_io_close(ContainerIo *io);
/* Closes it when everything is written, or cannot be for now, or after that time; how many bytes were not. */
gsize container_io_finish(ContainerIo *io, gint64 timeout_ms);
void container_io_free(ContainerIo *io); /* closes; takes NULL */
void container_io_work(gpointer io, gpointer unused);

gboolean container_io_open_log(ContainerIo *io, const char *path, const char *cursor_path, GError **error);
/* FAILED_PRECONDITION when there is no open log. */
gboolean container_io_reopen_log(ContainerIo *io, GError **error);

/* From the link's thread; copies. */
void container_io_output(ContainerIo *io, const Crivirt__Agent__V1__Output *output);
void container_io_exited(ContainerIo *io, const ContainerExit *exit, gboolean from_agent);

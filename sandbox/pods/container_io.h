/* SPDX-License-Identifier: Apache-2.0 */
/* The output of a container's first process, on its way to the log, and after it the process's end.
 *
 * Events come in on the loop's thread and are queued. Workers write them, one worker for a container at a
 * time, so that a slow disk delays no other container. A write that fails is tried again, and nothing is
 * acknowledged meanwhile: the agent's window fills, and the container waits. The exit is passed on only
 * after everything before it has been stored.
 */
#pragma once

#include "agent.pb-c.h"
#include "sandbox/agent/agent_connection.h"
#include "sandbox/pods/log_file.h"

typedef struct ContainerIo ContainerIo;

/* The end of a first process. */
typedef struct {
    gint32 exit_code;
    const char *reason;  /* NULL: from the exit code */
    const char *message; /* NULL: none */
    gint64 finished_at_ns;
} ContainerExit;

typedef struct {
    /* Called on a worker: the bytes below offset are stored. */
    void (*stored)(LogStream stream, guint64 offset, gpointer data);
    /* Called on a worker, after all output. from_agent: the agent waits for an acknowledgement of the end.
     * Return: FALSE when the end could not be recorded; the call is repeated after a moment. */
    gboolean (*ended)(const ContainerExit *exit, gboolean from_agent, gpointer data);
} ContainerIoEvents;

/* workers: a pool whose function is container_io_work. The log is opened by container_io_open_log(). */
ContainerIo *container_io_new(LoopThread *loop, GThreadPool *workers, const ContainerIoEvents *events,
                              gpointer data);
/* No event is called after this returns; output that waits or arrives later is dropped. Return: FALSE when a
 * worker is stuck in a write to a disk that hangs; it ends when the disk answers. */
gboolean container_io_close(ContainerIo *io);
/* Closes it when everything is written, when writing fails, or after that time. Return: bytes that were not
 * written. */
gsize container_io_finish(ContainerIo *io, gint64 timeout_ms);
void container_io_free(ContainerIo *io); /* closes it; takes NULL */
void container_io_work(gpointer io, gpointer unused);

gboolean container_io_open_log(ContainerIo *io, const char *path, const char *cursor_path, GError **error);
/* FAILED_PRECONDITION when no log is open. */
gboolean container_io_reopen_log(ContainerIo *io, GError **error);

/* Called on the loop's thread; copies its argument. */
void container_io_output(ContainerIo *io, const Crivirt__Agent__V1__Output *output);
void container_io_exited(ContainerIo *io, const ContainerExit *exit, gboolean from_agent);

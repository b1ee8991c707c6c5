/* SPDX-License-Identifier: Apache-2.0 */
/* A small daemon's end of the agent channel, for tests and measurements: one guest, one thread, blocking
 * calls.
 *
 * While it waits for a response it takes what else comes: output is put together by offset, checked for gaps,
 * and acknowledged (unless told not to); exits are recorded and acknowledged.
 */
#pragma once

#include <glib.h>

#include "agent.pb-c.h"
#include "agent/wire/wire.h"

typedef Crivirt__Agent__V1__Request DriveRequest;
typedef Crivirt__Agent__V1__Response DriveResponse;

typedef struct {
    GByteArray *streams[2];
    gboolean eof[2];
    guint64 acked[2];
    gboolean exited, oom_killed;
    int exit_code;
    guint gaps;       /* offsets that did not continue the former: lost bytes */
    guint64 repeated; /* bytes that were sent again after a reconnect */
    guint64 input_sent;
} DriveProcess;

typedef struct {
    char *socket_path;
    int fd;
    gboolean fresh;  /* the guest has had no connection yet */
    gboolean silent; /* the driver acknowledges nothing */
    WireDecoder *decoder;
    guint64 nonce, next_id;
    gboolean synced;
    GHashTable *processes; /* "container/exec" → DriveProcess */
    DriveResponse *response;
    GString *notices;
} Drive;

Drive *drive_new(const char *socket_path);
void drive_free(Drive *drive);
/* Connects, synchronizes and sends Hello. The caller frees the response
 * (crivirt__agent__v1__response__free_unpacked). */
DriveResponse *drive_connect(Drive *drive, int timeout_ms);
/* Breaks the connection as a daemon that is killed does, in the middle of whatever is being sent or received.
 */
void drive_kill(Drive *drive);

/* Sends the request, whose id is set here. Return: the response, or NULL if there is none within the time. */
DriveResponse *drive_call(Drive *drive, DriveRequest *request, int timeout_ms);
/* Sends a request whose response is ignored. */
void drive_post(Drive *drive, DriveRequest *request);
void drive_input(Drive *drive, const char *container, const char *exec, const void *data, gsize length,
                 gboolean eof);
void drive_hang_up(Drive *drive, const char *container, const char *exec);
/* Sends bytes without a frame. */
void drive_send_raw(Drive *drive, const void *data, gsize length);
DriveProcess *drive_process(Drive *drive, const char *container, const char *exec);
/* Receives until until() is true or the time is over. */
gboolean drive_run(Drive *drive, gboolean (*until)(gpointer data), gpointer data, int timeout_ms);
gboolean drive_wait_exit(Drive *drive, const char *container, const char *exec, int timeout_ms);

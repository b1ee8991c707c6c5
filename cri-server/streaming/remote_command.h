/* SPDX-License-Identifier: Apache-2.0 */
/* Exec and Attach for one client: connects the client's streams with a stream session of a process.
 *
 * The streams of the protocol are error, stdin, stdout, stderr and resize
 * (k8s.io/apimachinery/pkg/util/remotecommand). The outcome is sent on the error stream.
 */
#pragma once

#include "cri-server/streaming/stream_loop.h"

typedef struct {
    gboolean is_attach;
    gboolean in_guest; /* exec outside of the container */
    char *container_id;
    char *sandbox_id; /* the container's */
    char **args;      /* for exec */
    gboolean tty, stdin, stdout, stderr;
} RemoteRequest;

void remote_request_free(RemoteRequest *request);

/* Serves the client until the process ends or the client disconnects. version: of channel.k8s.io, 1 to 5.
 * first: bytes that the client sent after its request. Ownership: takes request. Threads: the loop's. */
void remote_command_serve(StreamLoop *loop, RemoteRequest *request, int version, const PeerConfig *peer,
                          const guint8 *first, gsize n_first);

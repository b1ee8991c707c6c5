/* Exec and Attach for one client: its streams on one side, a process's session on the other.
 *
 * Streams of the protocol: error, stdin, stdout, stderr, resize
 * (k8s.io/apimachinery/pkg/util/remotecommand). The outcome goes to the error stream.
 */
#pragma once

#include "cri-server/streaming/stream_loop.h"

typedef struct {
    gboolean is_attach;
    char *container_id;
    char **args; /* of an exec */
    gboolean tty, stdin, stdout, stderr;
} RemoteRequest;

void remote_request_free(RemoteRequest *request);

/* Takes request over. version: of channel.k8s.io, 1 to 5. On the loop's thread. */
void remote_command_serve(StreamLoop *loop, RemoteRequest *request, int version, const PeerConfig *peer,
                          const guint8 *first, gsize n_first);

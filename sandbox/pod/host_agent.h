/* SPDX-License-Identifier: Apache-2.0 */
/* The agent as a process of this node (agent/guest/node.h), for host pods. This file handles processes and
 * sockets and has no notion of pods.
 *
 * The process outlives the daemon. The next daemon finds it by its socket: the process that listens there is
 * the agent, so no process id has to be remembered that another process could have by then. All functions
 * block; any thread may call them.
 */
#pragma once

#include <sys/types.h>

#include "common/deadline.h"

typedef struct {
    const char *program;
    const char *socket;
    const char *log;       /* file for its error messages */
    const char *upper_dir; /* directory of the writable layers (agent/guest/node.h) */
    const char *share_dir;
    const char *netns_path; /* NULL: the node's network */
    gboolean node_ipc;
} HostAgentSpec;

/* The directory of the volumes in the agent's mount namespace. */
#define HOST_AGENT_SHARE_DIR "/run/crivirt/share"

/* Starts the agent and returns when it serves its socket. Until then the agent ends with this process.
 * INTERNAL with the agent's own error message. */
gboolean host_agent_start(const HostAgentSpec *spec, const Deadline *deadline, pid_t *ret_pid,
                          GError **error);

/* Return: the process that listens at the socket; 0: none. *ret_fd (may be NULL): its pidfd, readable once
 * it has ended, which the caller closes. */
pid_t host_agent_find(const char *socket, int *ret_fd);

/* Sends KILL and waits until the agent is gone. Success when no agent listens. */
gboolean host_agent_kill(const char *socket, const Deadline *deadline, GError **error);

/* The agent as a process of this node (agent/guest/node.h), for pods that need the node itself. Knows
 * processes and sockets, no pods.
 *
 * The process outlives the daemon. A later one finds it by its socket: whoever listens there is it, so no
 * number that might be another process's by then has to be remembered. Blocking; any thread.
 */
#pragma once

#include <sys/types.h>

#include "common/deadline.h"

typedef struct {
    const char *program;
    const char *socket;
    const char *log;       /* what it complains about */
    const char *upper_dir; /* see agent/guest/node.h */
    const char *share_dir;
    const char *netns_path; /* NULL: the node's network */
    gboolean node_ipc;
} HostAgentSpec;

/* Where its volumes are in its mount namespace. */
#define HOST_AGENT_SHARE_DIR "/run/crivirt/share"

/* Returns when it serves its socket. Until then it ends with this process. INTERNAL with its own words. */
gboolean host_agent_start(const HostAgentSpec *spec, const Deadline *deadline, pid_t *ret_pid,
                          GError **error);

/* Who listens at the socket; 0: nobody. *ret_fd (may be NULL): a pidfd of it, readable when it has ended. */
pid_t host_agent_find(const char *socket, int *ret_fd);

/* KILL, and waits until it is gone; nobody there is success. */
gboolean host_agent_kill(const char *socket, const Deadline *deadline, GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
/* The agent as a process of the node, for host pods: pods that need the node's own network or processes,
 * which a VM does not have. It serves the same operations over a unix socket instead of the virtio port.
 * Layers are files, mounted through loop devices; Setup changes nothing of the node.
 *
 * It has a mount namespace of its own that receives the node's mounts. What it mounts is there only, so the
 * kernel removes all of it when the agent and its containers have ended, however they ended.
 */
#pragma once

#include <stdbool.h>

/* The first word of its command line. */
#define NODE_OPTION "--node"

/* Reads the words after NODE_OPTION:
 *   --socket=PATH      where it listens for the daemon
 *   --upper=DIRECTORY  the containers' writable directories
 *   --share=DIRECTORY  where the daemon makes the mount points of volumes; it mounts them in the
 *                      agent's namespace
 *   --netns=PATH       the pod's network namespace; without it: the node's
 *   --node-ipc         the node's IPC namespace instead of one of the pod's own
 * and enters the namespaces. Return: false after it has written the failure to stderr. */
bool node_enter(int argc, char **argv);
/* Return: whether the agent is one of a host pod. */
bool node_is_entered(void);
/* Return: the listening socket. */
int node_socket(void);
/* Reports to the daemon, by a line on stdout, that the socket is served. From then on the agent outlives the
 * daemon. */
void node_ready(void);

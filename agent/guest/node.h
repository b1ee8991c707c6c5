/* The agent as a process of the node: for pods that need the node itself (its network, its processes), which
 * no virtual machine can give. The same operations, over a unix socket instead of the virtio port; layers are
 * files, mounted through loop devices; nothing of the node's own is touched by Setup.
 *
 * It lives in a mount namespace of its own that follows the node's. What it mounts is there only, so that all
 * of it goes when it and its containers have ended, however they ended.
 */
#pragma once

#include <stdbool.h>

/* The first word of its command line. */
#define NODE_OPTION "--node"

/* Reads the words after NODE_OPTION:
 *   --socket=PATH      where it listens for the daemon
 *   --upper=DIRECTORY  the containers' writable directories
 *   --share=DIRECTORY  where the daemon makes the mount points of volumes; it mounts them in our namespace
 *   --netns=PATH       the pod's network namespace; without it: the node's
 *   --node-ipc         the node's IPC namespace instead of one of the pod's own
 * and enters the namespaces. False with a complaint. */
bool node_enter(int argc, char **argv);
/* The socket listens. */
int node_socket(void);
/* Tells who started us, by a line on stdout, that the socket is served. From now on we outlive them. */
void node_ready(void);

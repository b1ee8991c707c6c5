/* SPDX-License-Identifier: Apache-2.0 */
/* The agent. In a guest it is PID 1: it serves the daemon over the agent port and runs the containers through
 * crun. It never ends, because the kernel would panic and end the pod. With --node it does the same for a
 * host pod, as a process of the node (node.h). agent/wire/agent.proto describes its operations.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/guest/assembly.h"
#include "agent/guest/boot.h"
#include "agent/guest/call.h"
#include "agent/guest/channel.h"
#include "agent/guest/fault.h"
#include "agent/guest/in_guest.h"
#include "agent/guest/loop.h"
#include "agent/guest/measure.h"
#include "agent/guest/node.h"
#include "agent/guest/power.h"
#include "agent/guest/process.h"
#include "agent/guest/tree.h"

/* The agent is the program of a container as well, when the daemon rehearses one: it waits to be killed. */
#define WAIT_OPTION "--wait"

static void message_take(const uint8_t *payload, size_t length, bool is_assembled);

static void part_take(const Part *part)
{
    uint8_t *message;
    size_t length;

    if (!assembly_add(part, &message, &length))
        return;
    message_take(message, length, true);
    free(message);
}

/* is_assembled: the message came in parts, and has none itself. */
static void message_take(const uint8_t *payload, size_t length, bool is_assembled)
{
    ToGuest *message = crivirt__agent__v1__to_guest__unpack(NULL, length, payload);
    if (message == NULL) {
        channel_notice("a message from the daemon cannot be decoded and is dropped");
        return;
    }
    switch (message->body_case) {
    case CRIVIRT__AGENT__V1__TO_GUEST__BODY_REQUEST:
        call_begin(message);
        return;
    case CRIVIRT__AGENT__V1__TO_GUEST__BODY_INPUT:
        process_input(message->input);
        break;
    case CRIVIRT__AGENT__V1__TO_GUEST__BODY_ACK:
        process_acknowledge(message->ack);
        break;
    case CRIVIRT__AGENT__V1__TO_GUEST__BODY_PART:
        if (!is_assembled)
            part_take(message->part);
        break;
    default:
        break; /* a message of a newer daemon */
    }
    crivirt__agent__v1__to_guest__free_unpacked(message, NULL);
}

static void message_received(const uint8_t *payload, size_t length)
{
    message_take(payload, length, false);
}

static void connection_began(void)
{
    assembly_reset();
    process_rewind_all();
}

static void after_event(void)
{
    channel_flush();
    power_off_when_drained();
}

static int serve_node(int argc, char **argv, const ChannelUser *user)
{
    if (!node_enter(argc, argv))
        return 1;
    boot_limits();
    if (!loop_init()) {
        complain("cannot make the event loop");
        return 1;
    }
    channel_listen(user, node_socket());
    node_ready();
    loop_run(after_event);
}

static bool remove_trees(char **paths)
{
    bool all = true;
    for (; *paths != NULL; paths++)
        all = tree_remove(*paths) && all;
    return all;
}

int main(int argc, char **argv)
{
    static const ChannelUser user = {
        .received = message_received, .connected = connection_began, .next = process_next_message};

    if (argc > 1 && strcmp(argv[1], TREE_REMOVE_OPTION) == 0)
        return remove_trees(argv + 2) ? 0 : 1;
    if (argc > 1 && strcmp(argv[1], IN_GUEST_OPTION) == 0)
        return in_guest_main(argv + 2);
    if (argc == 2 && strcmp(argv[1], WAIT_OPTION) == 0)
        return pause();
    if (argc == 4 && strcmp(argv[1], MEASURE_OPTION) == 0)
        return measure_tree(argv[2], argv[3]) ? 0 : 1;
    if (argc > 1 && strcmp(argv[1], NODE_OPTION) == 0)
        return serve_node(argc - 1, argv + 1, &user);
    if (getpid() != 1) {
        fputs("crivirt-agent " CRIVIRT_VERSION " runs as the first process of a crivirt guest, or with "
              "--node for a host pod. crivirtd starts both.\n",
              stderr);
        return 2;
    }
    boot_mounts();
    boot_modules();
    boot_process_limits();
    boot_limits();
    boot_protection();
    if (!loop_init())
        complain("cannot make the event loop");
    channel_open(&user);
    loop_run(after_event);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the relay itself. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "sandbox/vmm/fsguard/relay_private.h"

/* Return: NULL when there is no slot. */
static Slot *slot_private(Relay *relay, uint32_t opcode, uint64_t server_node, const void *args,
                          size_t n_args, size_t n_answer)
{
    Slot *slot = slot_new(relay, n_answer > 0 ? 0 : SLOTS_RESERVE / 2);
    struct fuse_in_header header = {.len = (uint32_t)(sizeof header + n_args),
                                    .opcode = opcode,
                                    .unique = UINT64_MAX - 1,
                                    .nodeid = server_node};
    WindowSlot *window;
    Parts parts = {.n_out = 0};

    if (slot == NULL)
        return NULL;
    window = window_slot(relay, slot);
    memcpy(window->bounce, &header, sizeof header);
    memcpy(window->bounce + sizeof header, args, n_args);
    if (n_answer > 0) {
        memset(window->reply, 0, n_answer);
        parts.n_in = 1;
        parts.in[0] =
            (struct vring_desc){.addr = window_address(relay, window->reply), .len = (uint32_t)n_answer};
    }
    slot_build(relay, slot, &parts, 0, n_args);
    slot->waits = n_answer > 0;
    slot->state = SLOT_PRIVATE;
    slot_publish(relay, slot);
    return slot;
}

static bool await_answer(Relay *relay, const Slot *slot)
{
    while (slot->state != SLOT_ANSWERED) {
        struct pollfd polled[] = {{.fd = relay->call_fd, .events = POLLIN}, {.fd = relay->server_fd}};
        int n = poll(polled, 2, ANSWER_TIMEOUT_MS);

        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        relay_calm(relay->call_fd);
        take_answers(relay);
        if (slot->state != SLOT_ANSWERED && (polled[1].revents & (POLLHUP | POLLERR)) != 0)
            return false;
    }
    return true;
}

int relay_ask(Relay *relay, uint32_t opcode, uint64_t server_node, const void *args, size_t n_args,
              void *ret_answer, size_t n_answer)
{
    Slot *slot =
        slot_private(relay, opcode, server_node, args, n_args, sizeof(struct fuse_out_header) + n_answer);
    struct fuse_out_header header;
    int problem = -1;

    if (slot == NULL)
        return -1;
    server_kick(relay);
    if (await_answer(relay, slot)) {
        const uint8_t *reply = window_slot(relay, slot)->reply;

        memcpy(&header, reply, sizeof header);
        memcpy(ret_answer, reply + sizeof header, n_answer);
        problem = -header.error;
    }
    slot_free(relay, slot);
    return problem;
}

void relay_forget(Relay *relay, uint64_t server_node)
{
    const struct fuse_forget_in once = {.nlookup = 1};

    if (slot_private(relay, FUSE_FORGET, server_node, &once, sizeof once, 0) != NULL)
        server_kick(relay);
}

/* Nodes that the guest has forgotten. */
void pass_forgets(Relay *relay)
{
    struct fuse_forget_in in;
    uint64_t server_id;

    while (relay->shared->n_free > SLOTS_RESERVE) {
        table_begin(relay->table);
        if (!table_next_forgotten(relay->table, &server_id, &in.nlookup)) {
            table_end(relay->table);
            return;
        }
        slot_private(relay, FUSE_FORGET, server_id, &in, sizeof in, 0);
        table_end(relay->table);
    }
}

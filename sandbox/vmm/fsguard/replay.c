/* SPDX-License-Identifier: Apache-2.0 */
/* Gives a new file server what the guest has of the one that died. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "sandbox/vmm/fsguard/relay_private.h"

enum { DEPTH_MAX = 4096 }; /* directories above a file */

/* ---- the session ---- */

/* The guest keeps what it has agreed on with the first server. */
static bool replay_session(Relay *relay)
{
    const Shared *shared = relay->shared;
    struct fuse_init_out first = {0}, next = {0};

    if (shared->n_init_answer < sizeof(struct fuse_out_header))
        return true; /* the guest has not begun a session */
    memcpy(&first, shared->init_answer + sizeof(struct fuse_out_header),
           shared->n_init_answer - sizeof(struct fuse_out_header));
    return relay_ask(relay, FUSE_INIT, 0, shared->init, shared->n_init, &next, sizeof next) == 0 &&
           next.major == first.major && next.minor == first.minor && next.flags == first.flags &&
           next.flags2 == first.flags2 && next.max_write >= first.max_write;
}

/* ---- nodes ---- */

/* What listens at a socket is in the guest, whichever file is its name (table_renumber()). */
static bool is_same_file(const Relay *relay, const Node *node, const struct fuse_entry_out *entry)
{
    return entry->nodeid != 0 && (entry->attr.mode & S_IFMT) == (node->mode & S_IFMT) &&
           (entry->attr.ino == node->ino || relay->shared->any_files || S_ISSOCK(node->mode));
}

/* Looks up one node whose parent has a place. Return: false when the server has died. */
static bool replay_node(Relay *relay, uint32_t id)
{
    Node *node = table_node(relay->table, id);
    const Node *parent = table_node(relay->table, node->parent);
    const char *name = table_name(relay->table, node);
    struct fuse_entry_out entry;
    int problem;

    if (parent == NULL || parent->place != PLACE_KNOWN) {
        table_lose(relay->table, id);
        return true;
    }
    problem = relay_ask(relay, FUSE_LOOKUP, parent->server_id, name, strlen(name) + 1, &entry, sizeof entry);
    if (problem < 0)
        return false;
    if (problem == 0 && is_same_file(relay, node, &entry) && table_place(relay->table, id, entry.nodeid)) {
        table_renumber(node, entry.attr.ino);
        return true;
    }
    table_lose(relay->table, id);
    if (problem == 0 && entry.nodeid != 0 && entry.nodeid != TABLE_ROOT)
        relay_forget(relay, entry.nodeid);
    return true;
}

/* Looks up a node after those above it. A circle of parents, which only a hostile guest can make, has no
 * place, and neither has a node that is too deep. */
static bool replay_path(Relay *relay, uint32_t id)
{
    static uint32_t path[DEPTH_MAX];
    size_t n = 0;

    for (const Node *node; (node = table_node(relay->table, id)) != NULL && node->place == PLACE_UNKNOWN;
         id = node->parent) {
        if (n == DEPTH_MAX) {
            table_lose(relay->table, path[n - 1]);
            break;
        }
        path[n++] = id;
    }
    while (n > 0)
        if (!replay_node(relay, path[--n]))
            return false;
    return true;
}

static bool replay_nodes(Relay *relay, RelayRecovery *recovery)
{
    for (uint32_t id = TABLE_ROOT + 1; id <= table_last_node(relay->table); id++) {
        const Node *node = table_node(relay->table, id);

        if (node == NULL)
            continue;
        if (node->place == PLACE_UNKNOWN && !replay_path(relay, id))
            return false;
        recovery->nodes += node->place == PLACE_KNOWN;
        recovery->lost += node->place == PLACE_LOST;
    }
    return true;
}

/* ---- handles ---- */

static bool replay_handle(Relay *relay, Handle *handle)
{
    const Node *node = table_node(relay->table, handle->node);
    struct fuse_open_in in = {.flags = handle->flags & ~(uint32_t)(O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY)};
    struct fuse_open_out out;
    int problem = ESTALE;

    if (node != NULL && node->place == PLACE_KNOWN)
        problem = relay_ask(relay, handle->is_directory ? FUSE_OPENDIR : FUSE_OPEN, node->server_id, &in,
                            sizeof in, &out, sizeof out);
    if (problem == 0)
        handle->server_fh = out.fh;
    handle->place = problem == 0 ? PLACE_KNOWN : PLACE_LOST;
    return problem >= 0;
}

/* ---- locks ---- */

/* A handle whose lock another process has taken meanwhile is lost: its owner must not go on as if it had the
 * lock. */
static bool replay_lock(Relay *relay, Handle *handle, uint32_t node, const struct fuse_lk_in *in)
{
    const Node *found = table_node(relay->table, node);
    int problem = ESTALE;
    uint64_t nothing;

    if (found != NULL && found->place == PLACE_KNOWN && (handle == NULL || handle->place == PLACE_KNOWN))
        problem = relay_ask(relay, FUSE_SETLK, found->server_id, in, sizeof *in, &nothing, 0);
    if (problem > 0 && handle != NULL)
        handle->place = PLACE_LOST;
    return problem >= 0;
}

static bool replay_flock(Relay *relay, Handle *handle)
{
    const struct fuse_lk_in in = {
        .fh = handle->server_fh,
        .owner = handle->flock_owner,
        .lk = {.end = INT64_MAX, .type = handle->flock_type, .pid = handle->flock_pid},
        .lk_flags = FUSE_LK_FLOCK};

    return handle->flock_type == F_UNLCK || replay_lock(relay, handle, handle->node, &in);
}

static bool replay_handles(Relay *relay)
{
    for (uint32_t fh = 1; fh <= table_last_handle(relay->table); fh++) {
        Handle *handle = table_handle(relay->table, fh);

        if (handle == NULL || handle->place == PLACE_LOST)
            continue;
        if (!replay_handle(relay, handle) || !replay_flock(relay, handle))
            return false;
    }
    return true;
}

static bool replay_locks(Relay *relay)
{
    uint32_t n;
    const Lock *locks = table_locks(relay->table, &n);

    for (uint32_t i = 0; i < n; i++) {
        Handle *handle = locks[i].in_use ? table_handle(relay->table, locks[i].handle) : NULL;
        const struct fuse_lk_in in = {
            .fh = handle != NULL ? handle->server_fh : 0,
            .owner = locks[i].owner,
            .lk = {.start = locks[i].start, .end = locks[i].end, .type = locks[i].type, .pid = locks[i].pid}};

        if (locks[i].in_use && !replay_lock(relay, handle, locks[i].node, &in))
            return false;
    }
    return true;
}

static void count_handles(Relay *relay, RelayRecovery *recovery)
{
    for (uint32_t fh = 1; fh <= table_last_handle(relay->table); fh++) {
        const Handle *handle = table_handle(relay->table, fh);

        if (handle != NULL)
            (*(handle->place == PLACE_KNOWN ? &recovery->handles : &recovery->closed))++;
    }
}

bool replay(Relay *relay, RelayRecovery *recovery)
{
    bool good = replay_session(relay) && replay_nodes(relay, recovery) && replay_handles(relay) &&
                replay_locks(relay);

    if (good) {
        count_handles(relay, recovery);
        relay->shared->is_restored = relay->shared->any_files = 0;
    }
    return good;
}

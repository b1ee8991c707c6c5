/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/fsguard/table.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

enum { BUCKETS = 1 << 18, LONG_NAMES = 1 << 17 };
_Static_assert((BUCKETS & (BUCKETS - 1)) == 0, "a hash is cut to a bucket");

struct Table {
    uint64_t multiplier; /* of the hash: a guest must not be able to fill one bucket */
    uint32_t dirty;
    uint32_t last_node, free_node, forgotten, n_nodes;
    uint32_t last_handle, free_handle, n_handles;
    uint32_t n_locks; /* the highest one in use, plus 1 */
    uint32_t last_long, free_long;
    uint32_t by_id[BUCKETS], by_name[BUCKETS];
    Lock locks[TABLE_LOCKS_MAX];
    Handle handles[TABLE_HANDLES_MAX];
    Node nodes[TABLE_NODES_MAX];
    union {
        uint32_t next_free;
        char text[TABLE_NAME_MAX + 1];
    } long_names[LONG_NAMES];
};

Table *table_new(void)
{
    Table *table =
        mmap(NULL, sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (table == MAP_FAILED)
        return NULL;
    (void)!getrandom(&table->multiplier, sizeof table->multiplier, GRND_NONBLOCK);
    table->multiplier |= 1;
    table_clear(table);
    return table;
}

void table_free(Table *table)
{
    if (table != NULL)
        munmap(table, sizeof *table);
}

void table_clear(Table *table)
{
    memset(table->nodes, 0, (table->last_node + 1) * sizeof *table->nodes);
    memset(table->handles, 0, (table->last_handle + 1) * sizeof *table->handles);
    memset(table->locks, 0, table->n_locks * sizeof *table->locks);
    if (table->last_node > TABLE_ROOT) {
        memset(table->by_id, 0, sizeof table->by_id);
        memset(table->by_name, 0, sizeof table->by_name);
    }
    table->free_node = table->forgotten = table->free_handle = table->free_long = 0;
    table->last_handle = table->n_locks = table->last_long = table->n_handles = 0;
    table->last_node = table->n_nodes = TABLE_ROOT;
    table->nodes[TABLE_ROOT] =
        (Node){.server_id = TABLE_ROOT, .lookups = 1, .state = NODE_LIVE, .place = PLACE_KNOWN};
}

void table_begin(Table *table)
{
    __atomic_store_n(&table->dirty, 1, __ATOMIC_SEQ_CST);
}

void table_end(Table *table)
{
    __atomic_store_n(&table->dirty, 0, __ATOMIC_SEQ_CST);
}

bool table_is_dirty(const Table *table)
{
    return table->dirty != 0;
}

uint32_t table_last_node(const Table *table)
{
    return table->last_node;
}

uint32_t table_last_handle(const Table *table)
{
    return table->last_handle;
}

uint32_t table_nodes_left(const Table *table)
{
    return TABLE_NODES_MAX - 1 - table->n_nodes;
}

uint32_t table_handles_left(const Table *table)
{
    return TABLE_HANDLES_MAX - 1 - table->n_handles;
}

Node *table_node(Table *table, uint64_t id)
{
    Node *node = id > 0 && id <= table->last_node ? &table->nodes[id] : NULL;

    return node != NULL && node->state == NODE_LIVE ? node : NULL;
}

const char *table_name(const Table *table, const Node *node)
{
    return node->long_name != 0 ? table->long_names[node->long_name].text : node->name;
}

/* ---- the two hash tables ---- */

static uint32_t bucket_of(const Table *table, uint64_t hash)
{
    return (uint32_t)(hash * table->multiplier >> 32) & (BUCKETS - 1);
}

static uint32_t name_bucket(const Table *table, uint32_t parent, const char *name)
{
    uint64_t hash = parent;

    for (; *name != '\0'; name++)
        hash = (hash + (uint8_t)*name + 1) * table->multiplier;
    return bucket_of(table, hash ^ hash >> 32);
}

static uint32_t find_server_id(const Table *table, uint64_t server_id)
{
    uint32_t id = table->by_id[bucket_of(table, server_id)];

    if (server_id == TABLE_ROOT)
        return TABLE_ROOT;
    while (id != 0 && table->nodes[id].server_id != server_id)
        id = table->nodes[id].next_by_id;
    return id;
}

static void add_server_id(Table *table, uint32_t id)
{
    uint32_t *bucket = &table->by_id[bucket_of(table, table->nodes[id].server_id)];

    table->nodes[id].next_by_id = *bucket;
    *bucket = id;
}

static void remove_server_id(Table *table, uint32_t id)
{
    uint32_t *at = &table->by_id[bucket_of(table, table->nodes[id].server_id)];

    while (*at != 0 && *at != id)
        at = &table->nodes[*at].next_by_id;
    if (*at == id)
        *at = table->nodes[id].next_by_id;
    table->nodes[id].server_id = 0;
}

uint32_t table_find(Table *table, uint32_t parent, const char *name)
{
    uint32_t id = table->by_name[name_bucket(table, parent, name)];

    while (id != 0 &&
           (table->nodes[id].parent != parent || strcmp(table_name(table, &table->nodes[id]), name) != 0))
        id = table->nodes[id].next_by_name;
    return id;
}

static void add_name(Table *table, uint32_t id)
{
    Node *node = &table->nodes[id];
    uint32_t *bucket = &table->by_name[name_bucket(table, node->parent, table_name(table, node))];

    node->next_by_name = *bucket;
    *bucket = id;
}

/* ---- names ---- */

static bool name_is_suitable(const char *name)
{
    return name != NULL && *name != '\0' && strlen(name) <= TABLE_NAME_MAX && strchr(name, '/') == NULL &&
           strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool store_name(Table *table, Node *node, const char *name)
{
    size_t length = strlen(name);
    uint32_t place = 0;

    if (length >= sizeof node->name) {
        place = table->free_long != 0               ? table->free_long
                : table->last_long < LONG_NAMES - 1 ? table->last_long + 1
                                                    : 0;
        if (place == 0)
            return false;
        if (place == table->free_long)
            table->free_long = table->long_names[place].next_free;
        else
            table->last_long = place;
    }
    node->long_name = place;
    node->name_length = (uint8_t)length;
    memcpy(place != 0 ? table->long_names[place].text : node->name, name, length + 1);
    return true;
}

static void release_long_name(Table *table, Node *node)
{
    if (node->long_name != 0) {
        table->long_names[node->long_name].next_free = table->free_long;
        table->free_long = node->long_name;
    }
    node->long_name = 0;
    node->name[0] = '\0';
}

static void settle(Table *table, uint32_t id);

static void remove_name(Table *table, uint32_t id)
{
    Node *node = &table->nodes[id];
    uint32_t parent = node->parent;
    uint32_t *at;

    if (parent == 0)
        return;
    at = &table->by_name[name_bucket(table, parent, table_name(table, node))];
    while (*at != 0 && *at != id)
        at = &table->nodes[*at].next_by_name;
    if (*at == id)
        *at = node->next_by_name;
    node->parent = 0;
    release_long_name(table, node);
    table->nodes[parent].children--;
}

/* Gives the node that name alone; another node that had it has none any more. */
static void set_name(Table *table, uint32_t id, uint32_t parent, const char *name)
{
    Node *node = &table->nodes[id];
    uint32_t old_parent = node->parent, other;

    if (id == TABLE_ROOT || id == parent || table_node(table, parent) == NULL || !name_is_suitable(name))
        return;
    other = table_find(table, parent, name);
    if (other == id)
        return;
    table->nodes[parent].children++; /* before the old name is removed: it may be the same parent */
    if (other != 0)
        remove_name(table, other);
    remove_name(table, id);
    if (store_name(table, node, name)) {
        node->parent = parent;
        add_name(table, id);
    } else {
        table->nodes[parent].children--;
    }
    settle(table, old_parent);
}

void table_unname(Table *table, uint32_t parent, const char *name)
{
    uint32_t id = table_find(table, parent, name);

    if (id == 0)
        return;
    remove_name(table, id);
    settle(table, parent);
}

void table_rename(Table *table, uint32_t parent, const char *name, uint32_t new_parent, const char *new_name)
{
    uint32_t id = table_find(table, parent, name);

    if (id != 0)
        set_name(table, id, new_parent, new_name);
    else
        table_unname(table, new_parent, new_name);
}

void table_exchange(Table *table, uint32_t parent, const char *name, uint32_t new_parent,
                    const char *new_name)
{
    uint32_t one = table_find(table, parent, name), other = table_find(table, new_parent, new_name);

    if (one != 0)
        set_name(table, one, new_parent, new_name); /* the other one has no name then */
    if (other != 0)
        set_name(table, other, parent, name);
}

/* ---- nodes ---- */

static uint32_t node_new(Table *table)
{
    uint32_t id = table->free_node;

    if (id != 0)
        table->free_node = table->nodes[id].next_by_id;
    else if (table->last_node < TABLE_NODES_MAX - 1)
        id = ++table->last_node;
    if (id != 0) {
        table->nodes[id] = (Node){.state = NODE_LIVE};
        table->n_nodes++;
    }
    return id;
}

static void node_free(Table *table, uint32_t id)
{
    table->nodes[id] = (Node){.state = NODE_FREE, .next_by_id = table->free_node};
    table->free_node = id;
    table->n_nodes--;
}

/* Ends a node that nothing refers to, then its parent when it was the last child, and so on. A node that is
 * forgotten stays in the list until the server has been told; it has no name meanwhile. */
static void settle(Table *table, uint32_t id)
{
    while (id > TABLE_ROOT && table->nodes[id].state == NODE_LIVE && table->nodes[id].lookups == 0 &&
           table->nodes[id].children == 0 && table->nodes[id].handles == 0) {
        Node *node = &table->nodes[id];
        uint32_t parent = node->parent;

        remove_name(table, id);
        if (node->server_id != 0) {
            uint64_t server_id = node->server_id;

            remove_server_id(table, id);
            node->server_id = server_id;
            node->state = NODE_FORGOTTEN;
            node->next_by_id = table->forgotten;
            table->forgotten = id;
        } else {
            node_free(table, id);
        }
        id = parent;
    }
}

uint32_t table_enter(Table *table, uint64_t server_id, uint32_t parent, const char *name, uint64_t ino,
                     uint32_t mode)
{
    uint32_t id = server_id != 0 ? find_server_id(table, server_id) : 0;
    Node *node;

    if (id == 0) {
        id = server_id != 0 ? node_new(table) : 0;
        if (id == 0)
            return 0;
        table->nodes[id].server_id = server_id;
        table->nodes[id].place = PLACE_KNOWN;
        table->nodes[id].ino = ino;
        add_server_id(table, id);
    }
    node = &table->nodes[id];
    node->lookups++;
    node->server_lookups++;
    node->mode = mode;
    table_renumber(node, ino);
    set_name(table, id, parent, name);
    return id;
}

void table_renumber(Node *node, uint64_t ino)
{
    if (!S_ISSOCK(node->mode))
        node->ino = ino;
}

bool table_place(Table *table, uint32_t id, uint64_t server_id)
{
    if (server_id == 0 || find_server_id(table, server_id) != 0)
        return false;
    table->nodes[id].server_id = server_id;
    table->nodes[id].server_lookups = 1;
    table->nodes[id].place = PLACE_KNOWN;
    add_server_id(table, id);
    return true;
}

void table_lose(Table *table, uint32_t id)
{
    table->nodes[id].place = PLACE_LOST;
}

void table_forget(Table *table, uint64_t id, uint64_t count)
{
    Node *node = table_node(table, id);

    if (node == NULL || id == TABLE_ROOT)
        return;
    node->lookups -= count < node->lookups ? count : node->lookups;
    settle(table, (uint32_t)id);
}

bool table_next_forgotten(Table *table, uint64_t *ret_server_id, uint64_t *ret_count)
{
    uint32_t id = table->forgotten;

    if (id == 0)
        return false;
    *ret_server_id = table->nodes[id].server_id;
    *ret_count = table->nodes[id].server_lookups;
    table->forgotten = table->nodes[id].next_by_id;
    node_free(table, id);
    return true;
}

/* ---- handles ---- */

Handle *table_handle(Table *table, uint64_t fh)
{
    Handle *handle = fh > 0 && fh <= table->last_handle ? &table->handles[fh] : NULL;

    return handle != NULL && handle->in_use ? handle : NULL;
}

uint32_t table_open(Table *table, uint64_t server_fh, uint32_t node, uint32_t flags, bool is_directory)
{
    uint32_t fh = table->free_handle;

    if (table_node(table, node) == NULL)
        return 0;
    if (fh != 0)
        table->free_handle = table->handles[fh].next_free;
    else if (table->last_handle < TABLE_HANDLES_MAX - 1)
        fh = ++table->last_handle;
    if (fh == 0)
        return 0;
    table->handles[fh] = (Handle){.server_fh = server_fh,
                                  .node = node,
                                  .flags = flags,
                                  .in_use = 1,
                                  .is_directory = is_directory,
                                  .place = PLACE_KNOWN,
                                  .flock_type = F_UNLCK};
    table->nodes[node].handles++;
    table->n_handles++;
    return fh;
}

void table_close(Table *table, uint64_t fh)
{
    Handle *handle = table_handle(table, fh);
    uint32_t node;

    if (handle == NULL)
        return;
    node = handle->node;
    *handle = (Handle){.next_free = table->free_handle};
    table->free_handle = (uint32_t)fh;
    table->nodes[node].handles--;
    table->n_handles--;
    settle(table, node);
}

/* ---- locks ---- */

const Lock *table_locks(const Table *table, uint32_t *ret_n)
{
    *ret_n = table->n_locks;
    return table->locks;
}

static bool lock_add(Table *table, const Lock *lock)
{
    uint32_t at = 0;

    while (at < table->n_locks && table->locks[at].in_use)
        at++;
    if (at == TABLE_LOCKS_MAX)
        return false;
    table->locks[at] = *lock;
    table->locks[at].in_use = 1;
    if (at == table->n_locks)
        table->n_locks++;
    return true;
}

static bool lock_is_of(const Lock *lock, uint32_t node, uint64_t owner)
{
    return lock->in_use && lock->node == node && lock->owner == owner;
}

/* Takes the range of `cut` out of a lock, which may leave two parts. */
static bool lock_cut(Table *table, Lock *lock, const Lock *cut)
{
    Lock before = *lock, after = *lock;

    lock->in_use = 0;
    before.end = cut->start - 1;
    after.start = cut->end + 1;
    return (before.start >= cut->start || lock_add(table, &before)) &&
           (after.end <= cut->end || lock_add(table, &after));
}

bool table_lock(Table *table, const Lock *lock)
{
    bool good = true;

    for (uint32_t i = 0, n = table->n_locks; i < n; i++) {
        Lock *other = &table->locks[i];

        if (lock_is_of(other, lock->node, lock->owner) && other->start <= lock->end &&
            other->end >= lock->start)
            good = lock_cut(table, other, lock) && good;
    }
    if (lock->type != F_UNLCK)
        good = lock_add(table, lock) && good;
    while (table->n_locks > 0 && !table->locks[table->n_locks - 1].in_use)
        table->n_locks--;
    return good;
}

void table_unlock_owner(Table *table, uint32_t node, uint64_t owner)
{
    for (uint32_t i = 0; i < table->n_locks; i++)
        if (lock_is_of(&table->locks[i], node, owner))
            table->locks[i].in_use = 0;
    while (table->n_locks > 0 && !table->locks[table->n_locks - 1].in_use)
        table->n_locks--;
}

/* ---- a new server, and a new process ---- */

void table_displace(Table *table)
{
    uint64_t server_id, count;

    while (table_next_forgotten(table, &server_id, &count))
        continue;
    for (uint32_t id = TABLE_ROOT + 1; id <= table->last_node; id++) {
        Node *node = &table->nodes[id];

        if (node->state != NODE_LIVE)
            continue;
        table->by_id[bucket_of(table, node->server_id)] = 0;
        node->server_id = node->server_lookups = 0;
        if (node->place == PLACE_KNOWN)
            node->place = PLACE_UNKNOWN;
    }
    for (uint32_t fh = 1; fh <= table->last_handle; fh++)
        if (table->handles[fh].in_use && table->handles[fh].place == PLACE_KNOWN)
            table->handles[fh].place = PLACE_UNKNOWN;
}

static void repair_node(Table *table, uint32_t id)
{
    Node *node = &table->nodes[id];
    bool has_parent = node->parent > 0 && node->parent <= table->last_node && node->parent != id &&
                      table->nodes[node->parent].state == NODE_LIVE;

    node->children = node->handles = 0;
    node->next_by_id = node->next_by_name = 0;
    if (node->long_name >= LONG_NAMES)
        node->long_name = 0;
    node->name[sizeof node->name - 1] = '\0';
    if (!has_parent || !name_is_suitable(table_name(table, node)))
        node->parent = 0;
}

/* The counts, the lists and the hash tables are made again out of the records. Long names that are not in use
 * are lost to the table; one process is not killed often enough for that to matter. */
void table_repair(Table *table)
{
    memset(table->by_id, 0, sizeof table->by_id);
    memset(table->by_name, 0, sizeof table->by_name);
    table->free_node = table->forgotten = table->free_handle = table->free_long = 0;
    table->n_nodes = table->last_node;
    table->n_handles = 0;
    for (uint32_t id = TABLE_ROOT; id <= table->last_node; id++)
        repair_node(table, id);
    for (uint32_t id = TABLE_ROOT; id <= table->last_node; id++) {
        Node *node = &table->nodes[id];

        if (node->state == NODE_FREE) {
            node_free(table, id);
            continue;
        }
        if (node->state == NODE_FORGOTTEN) {
            node->next_by_id = table->forgotten;
            table->forgotten = id;
            continue;
        }
        if (node->server_id != 0)
            add_server_id(table, id);
        if (node->parent != 0) {
            table->nodes[node->parent].children++;
            add_name(table, id);
        }
    }
    for (uint32_t fh = 1; fh <= table->last_handle; fh++) {
        Handle *handle = &table->handles[fh];

        if (handle->in_use && table_node(table, handle->node) != NULL) {
            table->nodes[handle->node].handles++;
            table->n_handles++;
        } else {
            *handle = (Handle){.next_free = table->free_handle};
            table->free_handle = fh;
        }
    }
    for (uint32_t id = TABLE_ROOT + 1; id <= table->last_node; id++)
        settle(table, id);
    table->dirty = 0;
}

/* ---- a saved table ---- */

bool table_restore_node(Table *table, uint32_t id, const Node *node, const char *name)
{
    Node *place = id > TABLE_ROOT && id < TABLE_NODES_MAX ? &table->nodes[id] : NULL;

    if (place == NULL || place->state != NODE_FREE || node->parent >= TABLE_NODES_MAX ||
        (node->parent != 0 && !name_is_suitable(name)))
        return false;
    *place = (Node){.lookups = node->lookups,
                    .ino = node->ino,
                    .parent = node->parent,
                    .mode = node->mode,
                    .state = NODE_LIVE,
                    .place = node->place == PLACE_LOST ? PLACE_LOST : PLACE_UNKNOWN};
    if (id > table->last_node)
        table->last_node = id;
    return node->parent == 0 || store_name(table, place, name);
}

bool table_restore_handle(Table *table, uint32_t fh, const Handle *handle)
{
    Handle *place = fh > 0 && fh < TABLE_HANDLES_MAX ? &table->handles[fh] : NULL;

    if (place == NULL || place->in_use || handle->node == 0 || handle->node >= TABLE_NODES_MAX ||
        (handle->flock_type != F_RDLCK && handle->flock_type != F_WRLCK && handle->flock_type != F_UNLCK))
        return false;
    *place = (Handle){.node = handle->node,
                      .flags = handle->flags,
                      .in_use = 1,
                      .is_directory = handle->is_directory != 0,
                      .place = handle->place == PLACE_LOST ? PLACE_LOST : PLACE_UNKNOWN,
                      .flock_type = handle->flock_type,
                      .flock_owner = handle->flock_owner,
                      .flock_pid = handle->flock_pid};
    if (fh > table->last_handle)
        table->last_handle = fh;
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest knows of its file server: nodes (files and directories), handles (open ones) and locks.
 *
 * The guest gets numbers of this table instead of the server's, so that a new server can take the place of
 * one that has died: the nodes are looked up there again by their names, and the handles opened again.
 *
 * The table is in memory that forks share, of bounded size, and takes pages as it fills. Links between its
 * parts are numbers. A process that is killed in the middle of a change leaves it dirty; table_repair() makes
 * it consistent again out of the records themselves. Names come from the guest: they are never used on the
 * node, but only sent to the server. There is one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TABLE_NODES_MAX = 1 << 20,
    TABLE_HANDLES_MAX = 1 << 16,
    TABLE_LOCKS_MAX = 1 << 14,
    TABLE_ROOT = 1,
    TABLE_NAME_MAX = 255,
};

typedef enum {
    NODE_FREE,
    NODE_LIVE,
    NODE_FORGOTTEN, /* the guest does not know it any more, and the server has yet to be told */
} NodeState;

typedef enum {
    PLACE_UNKNOWN, /* not looked up yet at the present server */
    PLACE_KNOWN,
    PLACE_LOST, /* it is not there any more: ESTALE */
} NodePlace;

typedef struct {
    uint64_t server_id;      /* of the present server; 0: none */
    uint64_t lookups;        /* how often the guest has got it, less what it has forgotten */
    uint64_t server_lookups; /* how often the present server has given it */
    uint64_t ino;
    uint32_t parent; /* 0: the node has no name any more */
    uint32_t mode;
    uint32_t children; /* nodes whose parent it is */
    uint32_t handles;
    uint32_t next_by_id, next_by_name; /* in the tables; next_by_id also in the lists of free and forgotten */
    uint32_t long_name;                /* where a name is that does not fit; 0: it fits */
    uint8_t state;                     /* NodeState */
    uint8_t place;                     /* NodePlace */
    uint8_t name_length;
    char name[41];
} Node;

typedef struct {
    uint64_t server_fh;
    uint32_t node;
    uint32_t flags; /* open(2) */
    uint32_t next_free;
    uint8_t in_use;
    uint8_t is_directory;
    uint8_t place;      /* NodePlace */
    uint8_t flock_type; /* F_RDLCK, F_WRLCK, or F_UNLCK */
    uint64_t flock_owner;
    uint32_t flock_pid;
} Handle;

/* A lock of a range of bytes (fcntl(2)). */
typedef struct {
    uint64_t owner, start, end;
    uint32_t node, handle, type, pid;
    uint8_t in_use;
} Lock;

typedef struct Table Table;

/* Return: an empty table; NULL when there is no memory. */
Table *table_new(void);
/* Empties the table: the guest has begun a new session. */
void table_clear(Table *table);
void table_free(Table *table);

/* Marks the begin and the end of a change. Return of table_is_dirty(): whether a change was cut off. */
void table_begin(Table *table);
void table_end(Table *table);
bool table_is_dirty(const Table *table);
void table_repair(Table *table);

/* ---- nodes ---- */

/* Return: the node of that number; NULL when the guest does not have it. */
Node *table_node(Table *table, uint64_t id);
uint32_t table_last_node(const Table *table); /* the highest number in use so far */
uint32_t table_nodes_left(const Table *table);
uint32_t table_handles_left(const Table *table);
/* Return: the name, with a zero at its end; "" for a node without one. */
const char *table_name(const Table *table, const Node *node);
/* Records that the server has given a node to the guest. A name of an unsuitable form is not recorded.
 * Return: the guest's number; 0 when the table is full. */
uint32_t table_enter(Table *table, uint64_t server_id, uint32_t parent, const char *name, uint64_t ino,
                     uint32_t mode);
/* Records the inode number that the server has for a node now. A socket keeps the one that the guest got
 * first: its kernel finds a socket that listens by this number (Linux, net/unix/af_unix.c, unix_bsd_hash()),
 * also when another file has taken the socket's place. */
void table_renumber(Node *node, uint64_t ino);
/* Records where a new server has the node. Return: false when it has another node there already. */
bool table_place(Table *table, uint32_t id, uint64_t server_id);
void table_lose(Table *table, uint32_t id);
void table_forget(Table *table, uint64_t id, uint64_t count);
/* Return: whether there was a node that the server has to forget, which is free now. */
bool table_next_forgotten(Table *table, uint64_t *ret_server_id, uint64_t *ret_count);

/* Return: the node that has that name; 0: none. */
uint32_t table_find(Table *table, uint32_t parent, const char *name);
void table_unname(Table *table, uint32_t parent, const char *name);
void table_rename(Table *table, uint32_t parent, const char *name, uint32_t new_parent, const char *new_name);
void table_exchange(Table *table, uint32_t parent, const char *name, uint32_t new_parent,
                    const char *new_name);

/* ---- handles and locks ---- */

Handle *table_handle(Table *table, uint64_t fh);
uint32_t table_last_handle(const Table *table);
/* Return: the guest's number; 0 when the table is full. */
uint32_t table_open(Table *table, uint64_t server_fh, uint32_t node, uint32_t flags, bool is_directory);
void table_close(Table *table, uint64_t fh);

/* Records a lock that was taken or given up. Return: false when the table is full: the lock would be lost
 * with the server. */
bool table_lock(Table *table, const Lock *lock);
void table_unlock_owner(Table *table, uint32_t node, uint64_t owner);
const Lock *table_locks(const Table *table, uint32_t *ret_n); /* some of them are not in use */

/* ---- a new server ---- */

/* The server has died: no node or handle has a place, and nothing needs to be forgotten. */
void table_displace(Table *table);

/* ---- a saved table (relay_state.h) ---- */

/* Puts a record of a saved table in its place in an empty one; its place at the server is unknown. Return:
 * false when the number is out of bounds or in use, or the record is invalid. table_repair() has to follow.
 */
bool table_restore_node(Table *table, uint32_t id, const Node *node, const char *name);
bool table_restore_handle(Table *table, uint32_t fh, const Handle *handle);

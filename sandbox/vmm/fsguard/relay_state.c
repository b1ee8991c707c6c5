/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/fsguard/relay_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/vmm/fsguard/relay_private.h"

enum { STATE_VERSION = 1 };
#define STATE_MAGIC "cvfsstat"

typedef struct {
    char magic[8];
    uint32_t version;
    uint32_t n_nodes, n_handles, n_locks;
    uint32_t n_init, n_init_answer;
    uint64_t sum; /* of all bytes behind the header */
} __attribute__((packed)) Header;

typedef struct {
    uint64_t lookups, ino;
    uint32_t id, parent, mode;
    uint16_t name_length;
    uint8_t is_lost, zero;
} __attribute__((packed)) NodeRecord;

typedef struct {
    uint64_t flock_owner;
    uint32_t fh, node, flags, flock_pid;
    uint8_t is_directory, is_lost, flock_type, zero;
} __attribute__((packed)) HandleRecord;

typedef struct {
    uint64_t owner, start, end;
    uint32_t node, handle, type, pid;
} __attribute__((packed)) LockRecord;

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "records are written as they are in memory");

typedef struct {
    FILE *file;
    uint64_t sum;
    bool good;
} Stream;

/* FNV-1a: against damage. The records are checked one by one, too. */
static void stream_sum(Stream *stream, const void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        stream->sum = (stream->sum ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
}

static void stream_write(Stream *stream, const void *bytes, size_t length)
{
    stream_sum(stream, bytes, length);
    if (stream->file != NULL) /* else it is only summed up */
        stream->good = stream->good && fwrite(bytes, 1, length, stream->file) == length;
}

static bool stream_read(Stream *stream, void *ret_bytes, size_t length)
{
    stream->good = stream->good && fread(ret_bytes, 1, length, stream->file) == length;
    if (stream->good)
        stream_sum(stream, ret_bytes, length);
    else
        memset(ret_bytes, 0, length);
    return stream->good;
}

/* Return: a stream over a copy of the descriptor, which the caller closes with fclose(). */
static FILE *stream_open(int fd, const char *mode)
{
    int copy = dup(fd);
    FILE *file = copy >= 0 ? fdopen(copy, mode) : NULL;

    if (file == NULL && copy >= 0)
        close(copy);
    return file;
}

/* ---- saving ---- */

static void write_nodes(Relay *relay, Stream *stream, Header *header)
{
    for (uint32_t id = TABLE_ROOT + 1; id <= table_last_node(relay->table); id++) {
        const Node *node = table_node(relay->table, id);
        const char *name = node != NULL ? table_name(relay->table, node) : NULL;
        NodeRecord record;

        if (node == NULL)
            continue;
        record = (NodeRecord){.lookups = node->lookups,
                              .ino = node->ino,
                              .id = id,
                              .parent = node->parent,
                              .mode = node->mode,
                              .name_length = node->parent != 0 ? (uint16_t)strlen(name) : 0,
                              .is_lost = node->place == PLACE_LOST};
        stream_write(stream, &record, sizeof record);
        stream_write(stream, name, record.name_length);
        header->n_nodes++;
    }
}

static void write_handles(Relay *relay, Stream *stream, Header *header)
{
    for (uint32_t fh = 1; fh <= table_last_handle(relay->table); fh++) {
        const Handle *handle = table_handle(relay->table, fh);
        HandleRecord record;

        if (handle == NULL)
            continue;
        record = (HandleRecord){.flock_owner = handle->flock_owner,
                                .fh = fh,
                                .node = handle->node,
                                .flags = handle->flags,
                                .flock_pid = handle->flock_pid,
                                .is_directory = handle->is_directory,
                                .is_lost = handle->place == PLACE_LOST,
                                .flock_type = handle->flock_type};
        stream_write(stream, &record, sizeof record);
        header->n_handles++;
    }
}

static void write_locks(Relay *relay, Stream *stream, Header *header)
{
    uint32_t n;
    const Lock *locks = table_locks(relay->table, &n);

    for (uint32_t i = 0; i < n; i++) {
        const LockRecord record = {.owner = locks[i].owner,
                                   .start = locks[i].start,
                                   .end = locks[i].end,
                                   .node = locks[i].node,
                                   .handle = locks[i].handle,
                                   .type = locks[i].type,
                                   .pid = locks[i].pid};

        if (!locks[i].in_use)
            continue;
        stream_write(stream, &record, sizeof record);
        header->n_locks++;
    }
}

static void write_records(Relay *relay, Stream *stream, Header *header)
{
    const Shared *shared = relay->shared;

    *header =
        (Header){.version = STATE_VERSION, .n_init = shared->n_init, .n_init_answer = shared->n_init_answer};
    memcpy(header->magic, STATE_MAGIC, sizeof header->magic);
    stream_write(stream, shared->init, shared->n_init);
    stream_write(stream, shared->init_answer, shared->n_init_answer);
    write_nodes(relay, stream, header);
    write_handles(relay, stream, header);
    write_locks(relay, stream, header);
    header->sum = stream->sum;
}

static bool is_idle(const Relay *relay)
{
    for (uint32_t i = 0; i < SLOTS; i++)
        if (relay->shared->slots[i].state == SLOT_GUEST)
            return false;
    return true;
}

/* The header is known after the first round, and is written before the second one: the descriptor may be a
 * pipe. */
int relay_save(Relay *relay, int fd)
{
    Stream round = {.good = true};
    Header header, same;
    int problem = 0;

    if (!is_idle(relay))
        return EBUSY;
    write_records(relay, &round, &header);
    round = (Stream){.file = stream_open(fd, "we"), .good = true};
    if (round.file == NULL)
        return errno;
    round.good = fwrite(&header, sizeof header, 1, round.file) == 1;
    write_records(relay, &round, &same);
    if (fclose(round.file) != 0 || !round.good)
        problem = errno != 0 ? errno : EIO;
    return problem;
}

/* ---- loading ---- */

static bool read_node(Table *table, Stream *stream)
{
    char name[TABLE_NAME_MAX + 1] = "";
    NodeRecord record;
    Node node;

    if (!stream_read(stream, &record, sizeof record) || record.name_length > TABLE_NAME_MAX ||
        !stream_read(stream, name, record.name_length) || strlen(name) != record.name_length)
        return false;
    node = (Node){.lookups = record.lookups,
                  .ino = record.ino,
                  .parent = record.parent,
                  .mode = record.mode,
                  .place = record.is_lost ? PLACE_LOST : PLACE_UNKNOWN};
    return table_restore_node(table, record.id, &node, name);
}

static bool read_handle(Table *table, Stream *stream)
{
    HandleRecord record;
    Handle handle;

    if (!stream_read(stream, &record, sizeof record))
        return false;
    handle = (Handle){.node = record.node,
                      .flags = record.flags,
                      .is_directory = record.is_directory,
                      .place = record.is_lost ? PLACE_LOST : PLACE_UNKNOWN,
                      .flock_type = record.flock_type,
                      .flock_owner = record.flock_owner,
                      .flock_pid = record.flock_pid};
    return table_restore_handle(table, record.fh, &handle);
}

static bool read_lock(Table *table, Stream *stream)
{
    LockRecord record;
    Lock lock;

    if (!stream_read(stream, &record, sizeof record) || record.start > record.end)
        return false;
    lock = (Lock){.owner = record.owner,
                  .start = record.start,
                  .end = record.end,
                  .node = record.node,
                  .handle = record.handle,
                  .type = record.type,
                  .pid = record.pid};
    return table_lock(table, &lock);
}

/* Whether each name leads to its node, and each handle is one of a node. */
static bool is_whole(Table *table, const Header *header)
{
    uint32_t n_nodes = 0, n_handles = 0;

    for (uint32_t id = TABLE_ROOT + 1; id <= table_last_node(table); id++) {
        const Node *node = table_node(table, id);

        n_nodes += node != NULL;
        if (node != NULL && node->parent != 0 &&
            table_find(table, node->parent, table_name(table, node)) != id)
            return false;
    }
    for (uint32_t fh = 1; fh <= table_last_handle(table); fh++)
        n_handles += table_handle(table, fh) != NULL;
    return n_nodes == header->n_nodes && n_handles == header->n_handles;
}

static bool read_records(Relay *relay, Stream *stream, const Header *header)
{
    Shared *shared = relay->shared;
    bool good = header->n_nodes < TABLE_NODES_MAX && header->n_handles < TABLE_HANDLES_MAX &&
                header->n_locks <= TABLE_LOCKS_MAX && header->n_init <= INIT_BYTES &&
                header->n_init_answer <= INIT_ANSWER_BYTES &&
                header->n_init_answer >= sizeof(struct fuse_out_header) &&
                stream_read(stream, shared->init, header->n_init) &&
                stream_read(stream, shared->init_answer, header->n_init_answer);

    for (uint32_t i = 0; good && i < header->n_nodes; i++)
        good = read_node(relay->table, stream);
    for (uint32_t i = 0; good && i < header->n_handles; i++)
        good = read_handle(relay->table, stream);
    for (uint32_t i = 0; good && i < header->n_locks; i++)
        good = read_lock(relay->table, stream);
    if (!good || stream->sum != header->sum)
        return false;
    table_repair(relay->table);
    return is_whole(relay->table, header);
}

int relay_load(Relay *relay, int fd, bool same_files)
{
    Shared *shared = relay->shared;
    Stream stream = {.good = true};
    Header header;
    bool good;

    if (shared->begun || shared->n_init_answer > 0)
        return EBUSY;
    stream.file = stream_open(fd, "re");
    if (stream.file == NULL)
        return errno;
    good = fread(&header, sizeof header, 1, stream.file) == 1 &&
           memcmp(header.magic, STATE_MAGIC, sizeof header.magic) == 0 && header.version == STATE_VERSION &&
           read_records(relay, &stream, &header);
    fclose(stream.file);
    if (!good) {
        table_clear(relay->table);
        return EINVAL;
    }
    shared->n_init = header.n_init;
    shared->n_init_answer = header.n_init_answer;
    shared->is_restored = 1;
    shared->any_files = !same_files;
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/fsguard/call.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum {
    NODES_RESERVE = 1 << 16, /* for answers to calls that are under way */
    LOCKS_RESERVE = 1 << 11,
    HANDLES_RESERVE = 1 << 11,
    NOWHERE = -1,
    OPCODE_SYNCFS = 50,
    READDIRPLUS_MAX = 1 << 16, /* bytes of an answer */
};

/* Where a call has its parts, by offset in its arguments. */
typedef struct {
    uint32_t opcode;
    uint8_t least;       /* bytes of arguments */
    int8_t handle, node; /* a handle, and another node; NOWHERE */
    uint8_t names;       /* how many names are at the offset `least` */
    CallAgain again;
} Kind;

static const Kind kinds[] = {
    {FUSE_LOOKUP, 0, NOWHERE, NOWHERE, 1, CALL_REPEAT},
    {FUSE_GETATTR, sizeof(struct fuse_getattr_in), NOWHERE, NOWHERE, 0, CALL_REPEAT},
    {FUSE_SETATTR, sizeof(struct fuse_setattr_in), NOWHERE, NOWHERE, 0, CALL_REPEAT},
    {FUSE_READLINK, 0, NOWHERE, NOWHERE, 0, CALL_REPEAT},
    {FUSE_SYMLINK, 0, NOWHERE, NOWHERE, 1, CALL_REFUSE},
    {FUSE_MKNOD, sizeof(struct fuse_mknod_in), NOWHERE, NOWHERE, 1, CALL_REFUSE},
    {FUSE_MKDIR, sizeof(struct fuse_mkdir_in), NOWHERE, NOWHERE, 1, CALL_REFUSE},
    {FUSE_UNLINK, 0, NOWHERE, NOWHERE, 1, CALL_REFUSE},
    {FUSE_RMDIR, 0, NOWHERE, NOWHERE, 1, CALL_REFUSE},
    {FUSE_RENAME, sizeof(struct fuse_rename_in), NOWHERE, 0, 2, CALL_REFUSE},
    {FUSE_RENAME2, sizeof(struct fuse_rename2_in), NOWHERE, 0, 2, CALL_REFUSE},
    {FUSE_LINK, sizeof(struct fuse_link_in), NOWHERE, 0, 1, CALL_REFUSE},
    {FUSE_OPEN, sizeof(struct fuse_open_in), NOWHERE, NOWHERE, 0, CALL_REPEAT},
    {FUSE_READ, sizeof(struct fuse_read_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_WRITE, sizeof(struct fuse_write_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_STATFS, 0, NOWHERE, NOWHERE, 0, CALL_REPEAT},
    {FUSE_RELEASE, sizeof(struct fuse_release_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_FSYNC, sizeof(struct fuse_fsync_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_SETXATTR, 8, NOWHERE, NOWHERE, 0, CALL_REFUSE},
    {FUSE_GETXATTR, sizeof(struct fuse_getxattr_in), NOWHERE, NOWHERE, 0, CALL_REPEAT},
    {FUSE_LISTXATTR, sizeof(struct fuse_getxattr_in), NOWHERE, NOWHERE, 0, CALL_REPEAT},
    {FUSE_REMOVEXATTR, 0, NOWHERE, NOWHERE, 1, CALL_REFUSE},
    {FUSE_FLUSH, sizeof(struct fuse_flush_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_INIT, 8, NOWHERE, NOWHERE, 0, CALL_REPEAT},
    {FUSE_OPENDIR, sizeof(struct fuse_open_in), NOWHERE, NOWHERE, 0, CALL_REPEAT},
    {FUSE_READDIR, sizeof(struct fuse_read_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_READDIRPLUS, sizeof(struct fuse_read_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_RELEASEDIR, sizeof(struct fuse_release_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_FSYNCDIR, sizeof(struct fuse_fsync_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_GETLK, sizeof(struct fuse_lk_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_SETLK, sizeof(struct fuse_lk_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_SETLKW, sizeof(struct fuse_lk_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_ACCESS, sizeof(struct fuse_access_in), NOWHERE, NOWHERE, 0, CALL_REPEAT},
    {FUSE_CREATE, sizeof(struct fuse_create_in), NOWHERE, NOWHERE, 1, CALL_REPEAT},
    {FUSE_DESTROY, 0, NOWHERE, NOWHERE, 0, CALL_REPEAT},
    {FUSE_FALLOCATE, sizeof(struct fuse_fallocate_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_LSEEK, sizeof(struct fuse_lseek_in), 0, NOWHERE, 0, CALL_REPEAT},
    {FUSE_COPY_FILE_RANGE, sizeof(struct fuse_copy_file_range_in), 0, NOWHERE, 0, CALL_REPEAT},
    {OPCODE_SYNCFS, 8, NOWHERE, NOWHERE, 0, CALL_REPEAT},
};

static const Kind *kind_find(uint32_t opcode)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].opcode == opcode)
            return &kinds[i];
    return NULL;
}

static uint64_t get64(const uint8_t *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof value);
    return value;
}

static uint32_t get32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof value);
    return value;
}

static void put64(uint8_t *bytes, uint64_t value)
{
    memcpy(bytes, &value, sizeof value);
}

/* Return: the name of that place, counted from 0, in the arguments; NULL: it does not end in them. */
static const char *name_at(const Kind *kind, const uint8_t *args, size_t n_args, unsigned place)
{
    const uint8_t *at = args + kind->least, *end;

    for (;; place--) {
        end = at <= args + n_args ? memchr(at, '\0', (size_t)(args + n_args - at)) : NULL;
        if (end == NULL || place == 0)
            return end != NULL ? (const char *)at : NULL;
        at = end + 1;
    }
}

/* ---- the guest's numbers become the server's ---- */

static int translate_node(Table *table, uint64_t id, uint64_t *ret_server_id)
{
    const Node *node = table_node(table, id);

    if (node == NULL || node->place != PLACE_KNOWN)
        return ESTALE;
    *ret_server_id = node->server_id;
    return 0;
}

static bool node_is_socket(Table *table, uint64_t id)
{
    const Node *node = table_node(table, id);

    return node != NULL && S_ISSOCK(node->mode);
}

static int translate_node_at(Table *table, uint8_t *at, uint32_t *ret_id)
{
    uint64_t server_id = 0;
    int problem = translate_node(table, get64(at), &server_id);

    *ret_id = problem == 0 ? (uint32_t)get64(at) : 0;
    put64(at, server_id);
    return problem;
}

static int translate_handle_at(Table *table, uint8_t *at, uint32_t *ret_fh)
{
    const Handle *handle = table_handle(table, get64(at));

    if (handle == NULL)
        return EBADF;
    *ret_fh = (uint32_t)get64(at);
    put64(at, handle->server_fh);
    return handle->place == PLACE_KNOWN ? 0 : ESTALE;
}

/* Handles that a flag announces, and second handles. */
static int translate_special(Table *table, uint8_t *args, Call *call)
{
    uint32_t unused;
    int problem;

    switch (call->opcode) {
    case FUSE_GETATTR:
        return (get32(args) & FUSE_GETATTR_FH) != 0
                   ? translate_handle_at(table, args + offsetof(struct fuse_getattr_in, fh), &unused)
                   : 0;
    case FUSE_SETATTR:
        return (get32(args) & FATTR_FH) != 0
                   ? translate_handle_at(table, args + offsetof(struct fuse_setattr_in, fh), &unused)
                   : 0;
    case FUSE_COPY_FILE_RANGE:
        problem = translate_node_at(table, args + offsetof(struct fuse_copy_file_range_in, nodeid_out),
                                    &call->other_node);
        return problem != 0 ? problem
                            : translate_handle_at(
                                  table, args + offsetof(struct fuse_copy_file_range_in, fh_out), &unused);
    default:
        return 0;
    }
}

static bool is_release(uint32_t opcode)
{
    return opcode == FUSE_RELEASE || opcode == FUSE_RELEASEDIR;
}

/* Room is looked for before the server acts, because what it gives could not be given back to it. */
static int look_for_room(Table *table, uint32_t opcode)
{
    uint32_t n_locks;

    switch (opcode) {
    case FUSE_LOOKUP:
    case FUSE_SYMLINK:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_LINK:
    case FUSE_READDIRPLUS:
        return table_nodes_left(table) > NODES_RESERVE ? 0 : ENOMEM;
    case FUSE_CREATE:
        if (table_nodes_left(table) <= NODES_RESERVE)
            return ENOMEM;
        return table_handles_left(table) > HANDLES_RESERVE ? 0 : ENFILE;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        return table_handles_left(table) > HANDLES_RESERVE ? 0 : ENFILE;
    case FUSE_SETLK:
    case FUSE_SETLKW:
        table_locks(table, &n_locks);
        return n_locks < TABLE_LOCKS_MAX - LOCKS_RESERVE ? 0 : ENOLCK;
    default:
        return 0;
    }
}

/* The server's answer is walked through at once. */
static void limit_size(uint8_t *args)
{
    uint32_t size = get32(args + offsetof(struct fuse_read_in, size));

    size = size < READDIRPLUS_MAX ? size : READDIRPLUS_MAX;
    memcpy(args + offsetof(struct fuse_read_in, size), &size, sizeof size);
}

static int translate_parts(Table *table, const Kind *kind, struct fuse_in_header *header, uint8_t *args,
                           Call *call)
{
    uint64_t server_id = 0;
    int problem = 0;

    if (kind->handle != NOWHERE)
        problem = translate_handle_at(table, args + kind->handle, &call->handle);
    if (problem == ESTALE && is_release(kind->opcode)) {
        table_close(table, call->handle);
        return ECANCELED;
    }
    /* These calls are about no node. */
    if (problem == 0 && kind->opcode != FUSE_INIT && kind->opcode != FUSE_DESTROY) {
        problem = translate_node(table, header->nodeid, &server_id);
        call->node = (uint32_t)header->nodeid;
        header->nodeid = server_id;
    }
    if (problem == 0 && kind->node != NOWHERE)
        problem = translate_node_at(table, args + kind->node, &call->other_node);
    return problem != 0 ? problem : translate_special(table, args, call);
}

int call_translate(Table *table, struct fuse_in_header *header, uint8_t *args, size_t n_args, Call *ret_call)
{
    const Kind *kind = kind_find(header->opcode);
    int problem;

    *ret_call = (Call){.unique = header->unique, .opcode = header->opcode, .n_args = (uint32_t)n_args};
    if (kind == NULL)
        return ENOSYS;
    if (n_args < kind->least || (kind->names > 0 && name_at(kind, args, n_args, kind->names - 1U) == NULL))
        return EINVAL;
    problem = look_for_room(table, kind->opcode);
    if (problem == 0)
        problem = translate_parts(table, kind, header, args, ret_call);
    if (problem == 0 && kind->opcode == FUSE_READDIRPLUS)
        limit_size(args);
    return problem;
}

CallAgain call_again(Table *table, const struct fuse_in_header *header, const uint8_t *args, size_t n_args)
{
    const Kind *kind = kind_find(header->opcode);
    const Handle *handle;

    if (kind == NULL || n_args < kind->least)
        return CALL_REPEAT; /* it is refused anyway */
    switch (kind->opcode) {
    case FUSE_WRITE:
        handle = table_handle(table, get64(args));
        return handle != NULL && (handle->flags & O_APPEND) != 0 ? CALL_APPEND : CALL_REPEAT;
    case FUSE_CREATE:
        return (get32(args) & O_EXCL) != 0 ? CALL_REFUSE : CALL_REPEAT;
    case FUSE_FALLOCATE: /* inserting or collapsing a range twice is not like once */
        return (get32(args + offsetof(struct fuse_fallocate_in, mode)) &
                ~(uint32_t)(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0
                   ? CALL_REFUSE
                   : CALL_REPEAT;
    default:
        return kind->again;
    }
}

/* ---- the answer ---- */

bool call_has_answer(Table *table, const Call *call)
{
    switch (call->opcode) {
    case FUSE_LOOKUP:
    case FUSE_SYMLINK:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_LINK:
    case FUSE_CREATE:
    case FUSE_OPEN:
    case FUSE_OPENDIR:
    case FUSE_READDIRPLUS:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_RENAME:
    case FUSE_RENAME2:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_SETLK:
    case FUSE_SETLKW:
    case FUSE_FLUSH:
    case FUSE_INIT:
    case FUSE_DESTROY:
        return true;
    case FUSE_GETATTR:
    case FUSE_SETATTR:
        return node_is_socket(table, call->node); /* its inode number is the guest's */
    default:
        return false;
    }
}

/* Copies between bytes and the parts of an answer. */
static bool answer_copy(const Answer *answer, uint32_t offset, uint8_t *to, const uint8_t *from,
                        uint32_t length)
{
    for (size_t i = 0; i < answer->n_parts && length > 0; i++) {
        const AnswerPart *part = &answer->parts[i];
        uint32_t n;

        if (offset >= part->length) {
            offset -= part->length;
            continue;
        }
        n = part->length - offset < length ? part->length - offset : length;
        if (to != NULL) {
            memcpy(to, part->at + offset, n);
            to += n;
        } else {
            memcpy(part->at + offset, from, n);
            from += n;
        }
        length -= n;
        offset = 0;
    }
    return length == 0;
}

bool answer_read(const Answer *answer, uint32_t offset, void *ret_bytes, uint32_t length)
{
    return offset <= answer->length && length <= answer->length - offset &&
           answer_copy(answer, offset, ret_bytes, NULL, length);
}

bool answer_write(const Answer *answer, uint32_t offset, const void *bytes, uint32_t length)
{
    return answer_copy(answer, offset, NULL, bytes, length);
}

static void answer_fail(const Call *call, Answer *answer, int problem)
{
    struct fuse_out_header header = {.len = sizeof header, .error = -problem, .unique = call->unique};

    answer_write(answer, 0, &header, sizeof header);
    answer->length = sizeof header;
}

/* Gives the guest its own number of a node. Return: that number; 0: there was no node, or no room. */
static uint32_t enter(Table *table, const Answer *answer, uint32_t at, uint32_t parent, const char *name)
{
    struct fuse_entry_out entry;
    uint32_t id;

    if (!answer_read(answer, at, &entry, sizeof entry) || entry.nodeid == 0)
        return 0;
    id = table_enter(table, entry.nodeid, parent, name, entry.attr.ino, entry.attr.mode);
    entry.nodeid = id;
    if (node_is_socket(table, id))
        entry.attr.ino = table_node(table, id)->ino;
    answer_write(answer, at, &entry, sizeof entry);
    return id;
}

static void answer_attributes(Table *table, const Call *call, Answer *answer)
{
    const Node *node = table_node(table, call->node);
    struct fuse_attr_out attributes;

    if (node == NULL || !answer_read(answer, sizeof(struct fuse_out_header), &attributes, sizeof attributes))
        return;
    attributes.attr.ino = node->ino;
    answer_write(answer, sizeof(struct fuse_out_header), &attributes, sizeof attributes);
}

static void answer_entry(Table *table, const Call *call, const uint8_t *args, Answer *answer)
{
    const char *name = name_at(kind_find(call->opcode), args, call->n_args, 0);

    enter(table, answer, sizeof(struct fuse_out_header), call->node, name);
}

static void answer_open(Table *table, const Call *call, uint32_t node, uint32_t flags, uint32_t at,
                        Answer *answer)
{
    struct fuse_open_out open;

    if (!answer_read(answer, at, &open, sizeof open))
        return;
    open.fh = table_open(table, open.fh, node, flags, call->opcode == FUSE_OPENDIR);
    if (open.fh == 0)
        answer_fail(call, answer, ENFILE);
    else
        answer_write(answer, at, &open, sizeof open);
}

static void answer_create(Table *table, const Call *call, const uint8_t *args, Answer *answer)
{
    const char *name = name_at(kind_find(call->opcode), args, call->n_args, 0);
    uint32_t at = sizeof(struct fuse_out_header);
    uint32_t node = enter(table, answer, at, call->node, name);

    answer_open(table, call, node, get32(args), at + (uint32_t)sizeof(struct fuse_entry_out), answer);
}

/* An entry that has no room is shown without its node. */
static void answer_directory(Table *table, const Call *call, Answer *answer)
{
    uint32_t at = sizeof(struct fuse_out_header);
    struct fuse_direntplus entry;
    char name[TABLE_NAME_MAX + 1];

    while (answer_read(answer, at, &entry, FUSE_NAME_OFFSET_DIRENTPLUS)) {
        uint32_t length = entry.dirent.namelen;
        uint32_t end;

        if (length > TABLE_NAME_MAX ||
            !answer_read(answer, at + (uint32_t)FUSE_NAME_OFFSET_DIRENTPLUS, name, length))
            return;
        name[length] = '\0';
        end = at + (uint32_t)FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + length);
        enter(table, answer, at, call->node, strlen(name) == length ? name : NULL);
        at = end;
    }
}

static void answer_lock(Table *table, const Call *call, const uint8_t *args)
{
    struct fuse_lk_in in;
    Handle *handle = table_handle(table, call->handle);

    memcpy(&in, args, sizeof in);
    if ((in.lk_flags & FUSE_LK_FLOCK) == 0) {
        const Lock lock = {.owner = in.owner,
                           .start = in.lk.start,
                           .end = in.lk.end,
                           .node = call->node,
                           .handle = call->handle,
                           .type = in.lk.type,
                           .pid = in.lk.pid};

        if (in.lk.start <= in.lk.end)
            table_lock(table, &lock);
    } else if (handle != NULL) {
        handle->flock_type = (uint8_t)in.lk.type;
        handle->flock_owner = in.owner;
        handle->flock_pid = in.lk.pid;
    }
}

static void answer_rename(Table *table, const Call *call, const uint8_t *args)
{
    const Kind *kind = kind_find(call->opcode);
    const char *name = name_at(kind, args, call->n_args, 0);
    const char *new_name = name_at(kind, args, call->n_args, 1);

    if (name == NULL || new_name == NULL)
        return;
    if (call->opcode == FUSE_RENAME2 &&
        (get32(args + offsetof(struct fuse_rename2_in, flags)) & 2 /* RENAME_EXCHANGE */) != 0)
        table_exchange(table, call->node, name, call->other_node, new_name);
    else
        table_rename(table, call->node, name, call->other_node, new_name);
}

void call_answer(Table *table, const Call *call, const uint8_t *args, Answer *answer)
{
    struct fuse_out_header header;
    const char *name;

    /* The guest does not repeat a release that has failed. */
    if (is_release(call->opcode))
        table_close(table, call->handle);
    if (!answer_read(answer, 0, &header, sizeof header) || header.error != 0)
        return;
    switch (call->opcode) {
    case FUSE_LOOKUP:
    case FUSE_SYMLINK:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_LINK:
        answer_entry(table, call, args, answer);
        break;
    case FUSE_CREATE:
        answer_create(table, call, args, answer);
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        answer_open(table, call, call->node, get32(args), sizeof header, answer);
        break;
    case FUSE_READDIRPLUS:
        answer_directory(table, call, answer);
        break;
    case FUSE_GETATTR:
    case FUSE_SETATTR:
        answer_attributes(table, call, answer);
        break;
    case FUSE_UNLINK:
    case FUSE_RMDIR:
        name = name_at(kind_find(call->opcode), args, call->n_args, 0);
        if (name != NULL)
            table_unname(table, call->node, name);
        break;
    case FUSE_RENAME:
    case FUSE_RENAME2:
        answer_rename(table, call, args);
        break;
    case FUSE_SETLK:
    case FUSE_SETLKW:
        answer_lock(table, call, args);
        break;
    case FUSE_FLUSH:
        table_unlock_owner(table, call->node, get64(args + offsetof(struct fuse_flush_in, lock_owner)));
        break;
    case FUSE_INIT:
    case FUSE_DESTROY:
        table_clear(table);
        break;
    default:
        break;
    }
}

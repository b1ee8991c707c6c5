/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the guest on their way to the server, and answers on their way back. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sandbox/vmm/fsguard/relay_private.h"

enum { REQUEST_MAX = (1 << 20) + 4096 /* bytes; virtiofsd ends at a longer one */ };

/* ---- slots ---- */

WindowSlot *window_slot(const Relay *relay, const Slot *slot)
{
    return &relay->window->slots[slot - relay->shared->slots];
}

uint64_t window_address(const Relay *relay, const void *at)
{
    return WINDOW_GUEST + (uint64_t)((const uint8_t *)at - (const uint8_t *)relay->window);
}

Slot *slot_new(Relay *relay, uint32_t reserve)
{
    Shared *shared = relay->shared;
    Slot *slot;

    if (shared->free_slot == 0 || shared->n_free <= reserve)
        return NULL;
    slot = &shared->slots[shared->free_slot - 1];
    shared->free_slot = slot->next_free;
    shared->n_free--;
    *slot = (Slot){.state = SLOT_FREE, .sequence = ++shared->sequence};
    return slot;
}

void slot_free(Relay *relay, Slot *slot)
{
    Shared *shared = relay->shared;

    slot->state = SLOT_FREE;
    slot->next_free = shared->free_slot;
    shared->free_slot = (uint32_t)(slot - shared->slots) + 1;
    shared->n_free++;
}

/* Makes a request available to the server. */
void slot_publish(Relay *relay, Slot *slot)
{
    struct vring_avail *available = server_available(relay);
    uint16_t at = available->idx;
    uint32_t index = (uint32_t)(slot - relay->shared->slots);

    relay->window->rings[REQUEST_RING].descriptors[index] =
        (struct vring_desc){.addr = window_address(relay, window_slot(relay, slot)->parts),
                            .len = slot->n_parts * (uint32_t)sizeof(struct vring_desc),
                            .flags = VRING_DESC_F_INDIRECT};
    available->ring[at % SLOTS] = (uint16_t)index;
    slot->available_at = at;
    slot->published = 1;
    __atomic_store_n(&available->idx, (uint16_t)(at + 1), __ATOMIC_RELEASE);
}

void server_kick(const Relay *relay)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if ((__atomic_load_n(&server_used(relay)->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY) == 0)
        relay_wake(relay->kick_fd);
}

/* ---- a request of the guest ---- */

bool guest_view(const Relay *relay, uint32_t ring, RingView *ret_view)
{
    return ring_view(&relay->device->rings[ring].ring, &relay->device->memory, ret_view);
}

/* Returns a request to the guest, which is told later. */
void slot_return(Relay *relay, Slot *slot, uint32_t length)
{
    RingView view;

    if (guest_view(relay, slot->ring, &view)) {
        slot->used_length = length;
        slot->used_at = view.used->idx;
        slot->state = SLOT_DONE;
        ring_return(&view, slot->head, length);
    }
    slot_free(relay, slot);
}

static void parts_add(void *data, const struct vring_desc *part)
{
    Parts *parts = data;
    bool writable = (part->flags & VRING_DESC_F_WRITE) != 0;
    size_t *n = writable ? &parts->n_in : &parts->n_out;

    if (part->len == 0)
        return;
    if (parts->n_in + parts->n_out >= PARTS_MAX - 2) {
        parts->too_many = true;
        return;
    }
    (writable ? parts->in : parts->out)[(*n)++] = *part;
    *(writable ? &parts->in_bytes : &parts->out_bytes) += part->len;
}

/* Moves the first bytes of what the server reads out of the parts. Return: false when they are not in the
 * guest's memory. */
static bool parts_cut(const Relay *relay, Parts *parts, size_t *at, uint8_t *ret_bytes, size_t length)
{
    while (length > 0) {
        struct vring_desc *part = &parts->out[*at];
        uint32_t n = part->len < length ? part->len : (uint32_t)length;
        const void *bytes =
            *at < parts->n_out ? memory_at_guest(&relay->device->memory, part->addr, n) : NULL;

        if (bytes == NULL)
            return false;
        memcpy(ret_bytes, bytes, n);
        ret_bytes += n;
        length -= n;
        part->addr += n;
        part->len -= n;
        if (part->len == 0)
            ++*at;
    }
    return true;
}

static bool parts_answer(const Relay *relay, const Parts *parts, uint64_t unique, int problem)
{
    struct fuse_out_header header = {.len = sizeof header, .error = -problem, .unique = unique};
    const uint8_t *bytes = (const uint8_t *)&header;
    size_t done = 0;

    for (size_t i = 0; i < parts->n_in && done < sizeof header; i++) {
        uint32_t n =
            parts->in[i].len < sizeof header - done ? parts->in[i].len : (uint32_t)(sizeof header - done);
        void *at = memory_at_guest(&relay->device->memory, parts->in[i].addr, n);

        if (at == NULL)
            return false;
        memcpy(at, bytes + done, n);
        done += n;
    }
    return done == sizeof header;
}

/* The server sees the file, and not what QEMU has in its place. A guest's kernel never uses that memory for
 * requests: if it does, what it or crivirt knows about the memory is wrong, and the request must not be
 * executed with other data. */
static bool parts_have_hole(const Relay *relay, const Parts *parts)
{
    const Memory *memory = &relay->device->memory;
    static bool is_reported;
    bool found = false;

    for (size_t i = 0; i < parts->n_out && !found; i++)
        found = memory_has_hole(memory, parts->out[i].addr, parts->out[i].len);
    for (size_t i = 0; i < parts->n_in && !found; i++)
        found = memory_has_hole(memory, parts->in[i].addr, parts->in[i].len);
    if (found && !is_reported)
        fprintf(stderr,
                "crivirt-fsguard: a request uses memory that the guest shares with other guests, and fails: "
                "set guest.share_template_memory to false, and report this\n");
    is_reported = is_reported || found;
    return found;
}

static void slot_fail(Relay *relay, Slot *slot, const Parts *parts, uint64_t unique, int problem)
{
    bool written = parts_answer(relay, parts, unique, problem);

    slot_return(relay, slot, written ? sizeof(struct fuse_out_header) : 0);
}

static void forget(Relay *relay, const struct fuse_in_header *header, Parts *parts, size_t at)
{
    struct fuse_forget_one one = {.nodeid = header->nodeid};
    struct fuse_batch_forget_in batch;

    table_begin(relay->table);
    if (header->opcode == FUSE_FORGET) {
        if (parts_cut(relay, parts, &at, (uint8_t *)&one.nlookup, sizeof one.nlookup))
            table_forget(relay->table, one.nodeid, one.nlookup);
    } else if (parts_cut(relay, parts, &at, (uint8_t *)&batch, sizeof batch)) {
        while (parts_cut(relay, parts, &at, (uint8_t *)&one, sizeof one)) /* ends with the request */
            table_forget(relay->table, one.nodeid, one.nlookup);
    }
    table_end(relay->table);
}

/* The arguments of a write end where its data begin, because virtiofsd then reads the data in place. */
static size_t bounced_arguments(const struct fuse_in_header *header, uint64_t bytes)
{
    uint64_t most =
        header->opcode == FUSE_WRITE ? sizeof(struct fuse_write_in) : BOUNCE_BYTES - sizeof *header;

    return bytes < most ? (size_t)bytes : (size_t)most;
}

void slot_build(const Relay *relay, Slot *slot, const Parts *parts, size_t at, size_t n_args)
{
    WindowSlot *window = window_slot(relay, slot);
    uint16_t n = 0;

    window->parts[n++] = (struct vring_desc){.addr = window_address(relay, window->bounce),
                                             .len = sizeof(struct fuse_in_header)};
    if (n_args > 0)
        window->parts[n++] =
            (struct vring_desc){.addr = window_address(relay, window->bounce + sizeof(struct fuse_in_header)),
                                .len = (uint32_t)n_args};
    for (; at < parts->n_out; at++)
        window->parts[n++] = (struct vring_desc){.addr = parts->out[at].addr, .len = parts->out[at].len};
    slot->first_writable = n;
    for (size_t i = 0; i < parts->n_in; i++)
        window->parts[n++] = (struct vring_desc){
            .addr = parts->in[i].addr, .len = parts->in[i].len, .flags = VRING_DESC_F_WRITE};
    slot->n_parts = n;
    for (uint16_t i = 0; i + 1 < n; i++) {
        window->parts[i].flags |= VRING_DESC_F_NEXT;
        window->parts[i].next = (uint16_t)(i + 1);
    }
}

static void remember_init(Relay *relay, const uint8_t *args, size_t n_args)
{
    Shared *shared = relay->shared;

    shared->n_init = (uint32_t)(n_args < INIT_BYTES ? n_args : INIT_BYTES);
    memcpy(shared->init, args, shared->n_init);
    shared->n_init_answer = 0;
}

/* ---- what a dead server had taken ---- */

/* Where a write at the end of a file was to go, the size of the file shows whether it was written. The part
 * that was written is the answer then. */
static bool append_is_open(Relay *relay, Slot *slot, const struct fuse_in_header *header, const uint8_t *args,
                           const Parts *parts)
{
    const Node *node = table_node(relay->table, header->nodeid);
    struct fuse_getattr_in in = {0};
    struct fuse_attr_out out;
    struct fuse_write_in write;
    struct {
        struct fuse_out_header header;
        struct fuse_write_out out;
    } __attribute__((packed)) answer = {.header = {.len = sizeof answer, .unique = header->unique}};
    uint64_t size;

    if (node == NULL || node->place != PLACE_KNOWN)
        return true; /* it is refused */
    memcpy(&write, args, sizeof write);
    if (relay_ask(relay, FUSE_GETATTR, node->server_id, &in, sizeof in, &out, sizeof out) != 0 ||
        out.attr.size <= write.offset)
        return true;
    size = out.attr.size - write.offset;
    answer.out.size = size < write.size ? (uint32_t)size : write.size;
    if (parts->n_in == 0 || parts->in[0].len < sizeof answer.header)
        return true;
    {
        AnswerPart places[PARTS_MAX];
        Answer whole = {.parts = places, .length = sizeof answer};

        for (; whole.n_parts < parts->n_in; whole.n_parts++) {
            const struct vring_desc *part = &parts->in[whole.n_parts];

            places[whole.n_parts] =
                (AnswerPart){memory_at_guest(&relay->device->memory, part->addr, part->len), part->len};
            if (places[whole.n_parts].at == NULL)
                break;
        }
        slot_return(relay, slot, answer_write(&whole, 0, &answer, sizeof answer) ? sizeof answer : 0);
    }
    return false;
}

static bool may_repeat(Relay *relay, Slot *slot, const struct fuse_in_header *header, const uint8_t *args,
                       size_t n_args, const Parts *parts)
{
    switch (call_again(relay->table, header, args, n_args)) {
    case CALL_REFUSE:
        slot_fail(relay, slot, parts, header->unique, EIO);
        return false;
    case CALL_APPEND:
        return append_is_open(relay, slot, header, args, parts);
    default:
        return true;
    }
}

/* ---- passing it on ---- */

/* Reads the request again from the guest's memory, and passes it on or answers it. again: a dead server had
 * taken it. */
void slot_submit(Relay *relay, Slot *slot, bool again)
{
    static Parts parts;
    WindowSlot *window = window_slot(relay, slot);
    uint8_t *args = window->bounce + sizeof(struct fuse_in_header);
    struct fuse_in_header header;
    size_t at = 0, n_args;
    RingView view;
    int problem;

    parts.n_out = parts.n_in = 0;
    parts.out_bytes = parts.in_bytes = 0;
    parts.too_many = false;
    slot->published = slot->translated = 0;
    if (guest_view(relay, slot->ring, &view))
        ring_walk(&view, &relay->device->memory, slot->head, parts_add, &parts);
    if (!parts_cut(relay, &parts, &at, (uint8_t *)&header, sizeof header)) {
        slot_return(relay, slot, 0);
        return;
    }
    if (header.opcode == FUSE_FORGET || header.opcode == FUSE_BATCH_FORGET) {
        if (parts.out_bytes <= REQUEST_MAX) /* bounds the time that it takes */
            forget(relay, &header, &parts, at);
        slot_return(relay, slot, 0);
        return;
    }
    if (header.opcode == FUSE_INTERRUPT || parts.in_bytes < sizeof(struct fuse_out_header)) {
        slot_return(relay, slot, 0);
        return;
    }
    n_args = bounced_arguments(&header, parts.out_bytes - sizeof header);
    if (parts.too_many || parts.out_bytes > REQUEST_MAX || parts.in_bytes > REQUEST_MAX ||
        header.len != parts.out_bytes || parts_have_hole(relay, &parts) ||
        !parts_cut(relay, &parts, &at, args, n_args)) {
        slot_fail(relay, slot, &parts, header.unique, EIO);
        return;
    }
    if (again && !may_repeat(relay, slot, &header, args, n_args, &parts))
        return;
    if (header.opcode == FUSE_INIT)
        remember_init(relay, args, n_args);
    table_begin(relay->table);
    problem = call_translate(relay->table, &header, args, n_args, &slot->call);
    table_end(relay->table);
    if (problem != 0) {
        slot_fail(relay, slot, &parts, header.unique, problem != ECANCELED ? problem : 0);
        return;
    }
    memcpy(window->bounce, &header, sizeof header);
    slot_build(relay, slot, &parts, at, n_args);
    slot_publish(relay, slot);
}

void slot_give_up(Relay *relay, Slot *slot, int error)
{
    static Parts parts;
    struct fuse_in_header header;
    size_t at = 0;
    RingView view;

    memset(&parts, 0, sizeof parts);
    if (guest_view(relay, slot->ring, &view))
        ring_walk(&view, &relay->device->memory, slot->head, parts_add, &parts);
    if (parts_cut(relay, &parts, &at, (uint8_t *)&header, sizeof header))
        slot_fail(relay, slot, &parts, header.unique, error);
    else
        slot_return(relay, slot, 0);
}

/* ---- answers ---- */

/* Return: the number of parts. */
static size_t answer_parts(const Relay *relay, const Slot *slot, AnswerPart *ret_parts)
{
    const WindowSlot *window = window_slot(relay, slot);
    size_t n = 0;

    for (uint16_t i = slot->first_writable; i < slot->n_parts; i++) {
        void *at = memory_at_guest(&relay->device->memory, window->parts[i].addr, window->parts[i].len);

        if (at == NULL)
            break;
        ret_parts[n++] = (AnswerPart){at, window->parts[i].len};
    }
    return n;
}

static void remember_answer(Relay *relay, const Answer *answer)
{
    Shared *shared = relay->shared;
    struct fuse_out_header header;
    uint32_t length = answer->length < INIT_ANSWER_BYTES ? answer->length : INIT_ANSWER_BYTES;

    if (answer_read(answer, 0, &header, sizeof header) && header.error == 0 &&
        answer_read(answer, 0, shared->init_answer, length))
        shared->n_init_answer = length;
}

static void slot_answer(Relay *relay, Slot *slot, uint32_t length)
{
    static AnswerPart parts[PARTS_MAX];
    Answer answer = {.parts = parts, .length = length};

    if (call_has_answer(relay->table, &slot->call) && !slot->translated) {
        answer.n_parts = answer_parts(relay, slot, parts);
        if (slot->call.opcode == FUSE_INIT)
            remember_answer(relay, &answer);
        table_begin(relay->table);
        call_answer(relay->table, &slot->call,
                    window_slot(relay, slot)->bounce + sizeof(struct fuse_in_header), &answer);
        slot->translated = 1;
        table_end(relay->table);
    }
    slot_return(relay, slot, answer.length);
}

/* Deals with what the server has answered. */
void take_answers(Relay *relay)
{
    Shared *shared = relay->shared;
    struct vring_used *used = server_used(relay);

    while (shared->server_seen != __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE)) {
        struct vring_used_elem element = used->ring[shared->server_seen % SLOTS];
        Slot *slot = element.id < SLOTS ? &shared->slots[element.id] : NULL;

        if (slot != NULL && slot->state == SLOT_GUEST)
            slot_answer(relay, slot, element.len);
        else if (slot != NULL && slot->state == SLOT_PRIVATE && slot->waits)
            slot->state = SLOT_ANSWERED;
        else if (slot != NULL && slot->state == SLOT_PRIVATE)
            slot_free(relay, slot);
        shared->server_seen++;
    }
}

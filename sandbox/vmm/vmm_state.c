/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/vmm_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/json.h"
#include "sandbox/vmm/vmm_memory.h"

enum {
    STEP_BYTES = 64 << 20,
    PRIVATE_STEP_BYTES = 4 << 20,
    FIRST_POLL_US = 500,
    LAST_POLL_US = 20 * 1000,
    CANCEL_TIMEOUT_MS = 10 * 1000,
    DEVICES_TIMEOUT_MS = 60 * 1000 /* for less than a megabyte: QEMU hangs if it takes longer */
};

/* Shared memory is left out of QEMU's stream. The guest stays on this node, so that it need not be announced
 * to the network. */
#define CAPABILITIES                                                                                         \
    "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"                             \
    "[{\"capability\":\"x-ignore-shared\",\"state\":true}]}}"
#define NO_ANNOUNCEMENTS "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"announce-rounds\":0}}"
#define STATE_FD "state"
#define GIVE_FD "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"" STATE_FD "\"}}"
#define SAVE "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:" STATE_FD "\"}}"
#define LOAD "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"fd:" STATE_FD "\"}}"
#define CANCEL "{\"execute\":\"migrate_cancel\"}"
#define STATUS "{\"execute\":\"query-status\"}"
#define QUERY "{\"execute\":\"query-migrate\"}"

/* ---- the monitor ---- */

static const char *reply_text(const JsonDocument *reply, const char *first, const char *second)
{
    const char *const path[] = {first, second, NULL};

    return json_find_string(json_document_root(reply), path);
}

typedef enum { STREAM_RUNS, STREAM_DONE, STREAM_FAILED } StreamState;

static StreamState stream_state(const JsonDocument *reply, char **ret_problem)
{
    const char *status = reply_text(reply, "return", "status");
    const char *why = reply_text(reply, "return", "error-desc");

    if (g_strcmp0(status, "completed") == 0)
        return STREAM_DONE;
    if (g_strcmp0(status, "failed") != 0 && g_strcmp0(status, "cancelled") != 0)
        return STREAM_RUNS;
    *ret_problem = g_strdup(why != NULL ? why : "QEMU gave no reason");
    return STREAM_FAILED;
}

/* QEMU reports the end by an event, which only libvirt receives: the state is polled. It takes some
 * milliseconds. */
static gboolean wait_for_stream(Vmm *vmm, const char *name, const Deadline *deadline, GError **error)
{
    StreamState state = STREAM_RUNS;
    guint pause_us = FIRST_POLL_US;
    g_autofree char *problem = NULL;

    while (state == STREAM_RUNS) {
        g_autoptr(JsonDocument) reply = NULL;

        if (!deadline_check(deadline, "waiting until QEMU has transferred the guest's state", error) ||
            !vmm_command(vmm, name, QUERY, -1, &reply, error))
            return FALSE;
        state = stream_state(reply, &problem);
        if (state == STREAM_RUNS)
            g_usleep(pause_us);
        pause_us = MIN(pause_us * 2, LAST_POLL_US);
    }
    return state == STREAM_DONE ||
           fail(error, STATUS_DATA_LOSS, "QEMU cannot transfer the guest's state: %s", problem);
}

static gboolean transfer_stream(Vmm *vmm, const char *name, const char *command, int fd,
                                const Deadline *deadline, GError **error)
{
    return vmm_command(vmm, name, GIVE_FD, fd, NULL, error) &&
           vmm_command(vmm, name, command, -1, NULL, error) && wait_for_stream(vmm, name, deadline, error);
}

/* ---- the guest's memory ---- */

typedef struct {
    const guint8 *data; /* the source, mapped */
    gsize bytes;
    int from;
    off_t from_offset; /* where the memory begins in the file */
    int to;
    off_t to_offset;
    const GArray *apart; /* of MemoryPart: what is not copied; NULL for none */
    const Deadline *deadline;
    gboolean releases; /* it gives pages of the source back, and copies none */
} Copy;

/* Copies from begin up to end without the pages of zeros, which a guest may make of memory that it frees. */
static gboolean copy_pages(const Copy *copy, gsize begin, gsize end)
{
    while (begin < end) {
        gsize until = begin;

        while (until < end && !page_is_zero(copy->data + until, PAGE_BYTES))
            until += PAGE_BYTES;
        if (until > begin &&
            !file_write_at(copy->to, copy->data + begin, until - begin, copy->to_offset + (off_t)begin))
            return FALSE;
        begin = until + PAGE_BYTES;
    }
    return TRUE;
}

static gboolean copy_extent(const Copy *copy, gsize begin, gsize end)
{
    return file_write_at(copy->to, copy->data + begin, end - begin, copy->to_offset + (off_t)begin);
}

static gboolean copy_may_go_on(const Copy *copy, GError **error)
{
    return deadline_check(
        copy->deadline,
        copy->releases ? "looking for free memory of the guest" : "copying the guest's memory", error);
}

typedef gboolean CopyRange(const Copy *copy, gsize begin, gsize end);

typedef struct {
    const Copy *copy;
    CopyRange *range;
} Copying;

static gboolean copy_between(guint64 begin, guint64 end, gpointer data)
{
    const Copying *copying = data;

    return copying->range(copying->copy, (gsize)begin, (gsize)end);
}

/* Copies what lies between the holes of the source, as long as the caller waits. */
static gboolean copy_data(const Copy *copy, CopyRange *copy_range)
{
    const off_t limit = copy->from_offset + (off_t)copy->bytes;
    Copying copying = {copy, copy_range};
    off_t end = copy->from_offset;

    for (;;) {
        off_t begin = lseek(copy->from, end, SEEK_DATA);

        if (begin < 0 || begin >= limit)
            return begin >= limit || errno == ENXIO;
        end = MIN(MIN(lseek(copy->from, begin, SEEK_HOLE), limit), begin + STEP_BYTES);
        if (end < begin || !copy_may_go_on(copy, NULL) ||
            !memory_parts_outside(copy->apart, (guint64)(begin - copy->from_offset),
                                  (guint64)(end - copy->from_offset), copy_between, &copying))
            return FALSE;
    }
}

static gboolean copy_memory(Copy *copy, CopyRange *copy_range, GError **error)
{
    void *data = mmap(NULL, copy->bytes, PROT_READ, MAP_SHARED, copy->from, copy->from_offset);
    gboolean copied;

    if (data == MAP_FAILED)
        return fail_errno(error, errno, "cannot map %zu bytes of the guest's memory", copy->bytes);
    copy->data = data;
    copied = copy_data(copy, copy_range);
    if (!copied && copy_may_go_on(copy, error))
        fail_errno(error, errno, "cannot %s the guest's memory",
                   copy->releases ? "give back free pages of" : "copy");
    munmap(data, copy->bytes);
    return copied;
}

/* ---- saving ---- */

/* Copies a private part, which is in QEMU's process alone. buffer: of PRIVATE_STEP_BYTES. */
static gboolean save_part(const Copy *copy, int process, guint64 address, const MemoryPart *part,
                          guint8 *buffer)
{
    for (guint64 at = part->begin; at < part->end; at += PRIVATE_STEP_BYTES) {
        Copy step = *copy;
        const gsize bytes = (gsize)MIN((guint64)PRIVATE_STEP_BYTES, part->end - at);

        if (!copy_may_go_on(copy, NULL) || !file_read_at(process, buffer, bytes, (goffset)(address + at)))
            return FALSE;
        step.data = buffer;
        step.to_offset += (off_t)at;
        if (!copy_pages(&step, 0, bytes))
            return FALSE;
    }
    return TRUE;
}

static gboolean save_parts(Vmm *vmm, const char *name, const Copy *copy, const VmmMemory *memory,
                           GError **error)
{
    g_autofree guint8 *buffer = memory->parts->len > 0 ? g_malloc(PRIVATE_STEP_BYTES) : NULL;
    int process = memory->parts->len > 0 ? vmm_memory_open_process(vmm, name, error) : -1;
    gboolean saved = memory->parts->len == 0 || process >= 0;

    for (guint i = 0; saved && i < memory->parts->len; i++) {
        saved =
            save_part(copy, process, memory->address, &g_array_index(memory->parts, MemoryPart, i), buffer);
        if (!saved && copy_may_go_on(copy, error))
            fail_errno(error, errno, "cannot copy the private memory of the guest");
    }
    if (process >= 0)
        close(process);
    return saved;
}

static gboolean memory_save(Vmm *vmm, const char *name, int ram_fd, const Deadline *deadline, GError **error)
{
    gsize bytes;
    g_autoptr(GArray) memories = vmm_memory_open(vmm, name, O_RDONLY, &bytes, error);
    off_t offset = 0;

    if (memories == NULL || !vmm_memory_locate(vmm, name, memories, error))
        return FALSE;
    if (ftruncate(ram_fd, (off_t)bytes) != 0)
        return fail_errno(error, errno, "cannot grow the file of the saved memory to %zu bytes", bytes);
    for (guint i = 0; i < memories->len; i++) {
        const VmmMemory *memory = &g_array_index(memories, VmmMemory, i);
        Copy copy = {.bytes = memory->bytes,
                     .from = memory->fd,
                     .to = ram_fd,
                     .to_offset = offset,
                     .apart = memory->parts,
                     .deadline = deadline};

        if (!copy_memory(&copy, copy_pages, error) || !save_parts(vmm, name, &copy, memory, error))
            return FALSE;
        offset += (off_t)memory->bytes;
    }
    return TRUE;
}

/* Opens the memories of a VM for a saved memory of just their size. */
static GArray *memories_open_for(Vmm *vmm, const char *name, guint64 ram_bytes, GError **error)
{
    gsize bytes;
    g_autoptr(GArray) memories = vmm_memory_open(vmm, name, O_RDWR, &bytes, error);

    if (memories == NULL)
        return NULL;
    if (ram_bytes != bytes) {
        fail(error, STATUS_DATA_LOSS,
             "the saved memory has %" G_GUINT64_FORMAT " bytes, and the VM's memory has %zu bytes", ram_bytes,
             bytes);
        return NULL;
    }
    return g_steal_pointer(&memories);
}

static gboolean memory_restore(Vmm *vmm, const char *name, int ram_fd, const GArray *shared,
                               const Deadline *deadline, GError **error)
{
    g_autoptr(GArray) memories = NULL;
    gboolean is_mapped = FALSE;
    struct stat status;
    off_t offset = 0;

    if (fstat(ram_fd, &status) != 0)
        return fail_errno(error, errno, "cannot read the size of the saved memory");
    memories = memories_open_for(vmm, name, (guint64)status.st_size, error);
    if (memories == NULL || (shared != NULL && !vmm_memory_map(vmm, name, ram_fd, shared, &is_mapped, error)))
        return FALSE;
    for (guint i = 0; i < memories->len; i++) {
        const VmmMemory *memory = &g_array_index(memories, VmmMemory, i);
        Copy copy = {.bytes = memory->bytes,
                     .from = ram_fd,
                     .from_offset = offset,
                     .to = memory->fd,
                     .apart = is_mapped && i == 0 ? shared : NULL,
                     .deadline = deadline};

        if (!copy_memory(&copy, copy_extent, error))
            return FALSE;
        offset += (off_t)memory->bytes;
    }
    return TRUE;
}

/* ---- memory that is given back ---- */

static gboolean release_range(const Copy *copy, gsize begin, gsize end)
{
    return begin == end || fallocate(copy->to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)begin,
                                     (off_t)(end - begin)) == 0;
}

/* Makes holes of the pages of zeros between begin and end. */
static gboolean release_pages(const Copy *copy, gsize begin, gsize end)
{
    gsize zeros = begin; /* where the run of zeros begins that ends at the current page */

    for (gsize at = begin; at < end; at += PAGE_BYTES) {
        if (page_is_zero(copy->data + at, PAGE_BYTES))
            continue;
        if (!release_range(copy, zeros, at))
            return FALSE;
        zeros = at + PAGE_BYTES;
    }
    return release_range(copy, zeros, end);
}

gboolean vmm_state_release_zeros(Vmm *vmm, const char *name, const Deadline *deadline, GError **error)
{
    gsize bytes;
    g_autoptr(GArray) memories = vmm_memory_open(vmm, name, O_RDWR, &bytes, error);

    if (memories == NULL)
        return FALSE;
    for (guint i = 0; i < memories->len; i++) {
        const VmmMemory *memory = &g_array_index(memories, VmmMemory, i);
        Copy copy = {.bytes = memory->bytes,
                     .from = memory->fd,
                     .to = memory->fd,
                     .deadline = deadline,
                     .releases = TRUE};

        if (!copy_memory(&copy, release_pages, error))
            return FALSE;
    }
    return TRUE;
}

/* ---- memory from another source ---- */

/* Finds the memory at that place of all of them, which has as many bytes at least. */
static const VmmMemory *memory_at(const GArray *memories, guint64 offset, guint64 *ret_begin)
{
    guint64 begin = 0;
    guint i = 0;

    while (offset >= begin + g_array_index(memories, VmmMemory, i).bytes)
        begin += g_array_index(memories, VmmMemory, i++).bytes;
    *ret_begin = begin;
    return &g_array_index(memories, VmmMemory, i);
}

/* A part may begin in one memory and end in another. */
static gboolean restore_part(guint64 offset, const guint8 *data, gsize length, gpointer user_data)
{
    const GArray *memories = user_data;

    while (length > 0) {
        guint64 begin;
        const VmmMemory *memory = memory_at(memories, offset, &begin);
        const gsize bytes = (gsize)MIN(length, begin + memory->bytes - offset);

        if (!file_write_at(memory->fd, data, bytes, (goffset)(offset - begin)))
            return FALSE;
        offset += bytes;
        data += bytes;
        length -= bytes;
    }
    return TRUE;
}

/* ---- memory and devices ---- */

/* A stream that goes on after its caller has given up would stop the guest once more at its end. */
static void stream_cancel(Vmm *vmm, const char *name)
{
    Deadline deadline = deadline_in_ms(CANCEL_TIMEOUT_MS);

    if (vmm_command(vmm, name, CANCEL, -1, NULL, NULL))
        wait_for_stream(vmm, name, &deadline, NULL);
}

/* QEMU reports the end of the stream before it has left the state in which the stream ends; a guest that is
 * resumed in between stops for ever. */
static void wait_for_rest(Vmm *vmm, const char *name)
{
    Deadline deadline = deadline_in_ms(CANCEL_TIMEOUT_MS);
    gboolean ends = TRUE;

    while (ends && deadline_check(&deadline, "", NULL)) {
        g_autoptr(JsonDocument) reply = NULL;

        ends = vmm_command(vmm, name, STATUS, -1, &reply, NULL) &&
               g_strcmp0(reply_text(reply, "return", "status"), "finish-migrate") == 0;
        if (ends)
            g_usleep(FIRST_POLL_US);
    }
}

static gboolean save_devices(Vmm *vmm, const char *name, int device_fd, const Deadline *deadline,
                             GError **error)
{
    Deadline bounded = deadline_sooner(deadline, DEVICES_TIMEOUT_MS);
    const gboolean saved = transfer_stream(vmm, name, SAVE, device_fd, &bounded, error);

    if (!saved)
        stream_cancel(vmm, name);
    wait_for_rest(vmm, name);
    return saved;
}

gboolean vmm_state_save(Vmm *vmm, const char *name, int ram_fd, int device_fd, const Deadline *deadline,
                        GError **error)
{
    return vmm_command(vmm, name, CAPABILITIES, -1, NULL, error) &&
           save_devices(vmm, name, device_fd, deadline, error) &&
           memory_save(vmm, name, ram_fd, deadline, error);
}

gboolean vmm_state_expect(Vmm *vmm, const char *name, GError **error)
{
    return vmm_command(vmm, name, CAPABILITIES, -1, NULL, error) &&
           vmm_command(vmm, name, NO_ANNOUNCEMENTS, -1, NULL, error);
}

gboolean vmm_state_restore_from(Vmm *vmm, const char *name, guint64 ram_bytes, VmmStateSource *source,
                                gpointer source_data, int device_fd, const Deadline *deadline, GError **error)
{
    g_autoptr(GArray) memories = memories_open_for(vmm, name, ram_bytes, error);

    return memories != NULL && source(source_data, restore_part, memories, deadline, error) &&
           transfer_stream(vmm, name, LOAD, device_fd, deadline, error);
}

gboolean vmm_state_restore(Vmm *vmm, const char *name, int ram_fd, int device_fd, const GArray *shared,
                           const Deadline *deadline, GError **error)
{
    return memory_restore(vmm, name, ram_fd, shared, deadline, error) &&
           transfer_stream(vmm, name, LOAD, device_fd, deadline, error);
}

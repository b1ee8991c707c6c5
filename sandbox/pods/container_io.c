/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/pods/container_io.h"

#include "common/error.h"
#include "common/lock_assert.h"
#include "common/log_limit.h"
#include "sandbox/pods/container.h"

enum {
    RETRY_MS = 500,
    /* Twice what the windows of a correct agent allow; more is dropped without acknowledgement. */
    MAX_QUEUED_BYTES = 1 << 20,
    /* Output that follows what waits already is joined to it, so that many small writes take little memory.
     */
    JOINED_BYTES = 64 << 10,
    PART_BYTES = 4 << 10, /* what a full disk is given at a time */
    /* From this number of items on, output is joined to the last of its stream whatever the other stream has
     * between them: a container's two streams have no order that holds. */
    MANY_ITEMS = 256,
    MAX_ITEMS = 2 * MANY_ITEMS, /* only an agent that breaks the protocol has more; they are dropped */
    /* A write that takes longer is considered stuck. */
    CLOSE_TIMEOUT_MS = 2000,
};

typedef struct {
    gboolean is_exit;
    /* output */
    LogStream stream;
    guint64 offset;
    GByteArray *data;
    gboolean eof;
    /* exit */
    ContainerExit exit;
    gboolean from_agent;
} IoItem;

struct ContainerIo {
    LoopThread *loop;
    GThreadPool *workers;
    ContainerIoEvents events;
    gpointer data;

    GMutex lock;
    GCond idle;
    GQueue items;
    IoItem *last[2];   /* of each stream, while it is queued: more output can be joined to it */
    gboolean exits[2]; /* by from_agent: such an exit is queued */
    gsize queued_bytes;
    gboolean scheduled; /* a worker handles it, or will */
    gboolean retrying;  /* a timer will schedule it */
    gboolean telling;   /* a worker is in one of the events */
    gboolean closed;    /* closed: a worker that still runs uses nothing but this */
    gint references;    /* references: the owner's, and one for each worker or timer */

    GMutex file_lock; /* of log */
    LogFile *log;
    gboolean complained;
    LogLimit complaints;
};

static void item_free(IoItem *item)
{
    g_clear_pointer(&item->data, g_byte_array_unref);
    g_free((char *)item->exit.reason);
    g_free((char *)item->exit.message);
    g_free(item);
}

static void io_unref(ContainerIo *io)
{
    if (!g_atomic_int_dec_and_test(&io->references))
        return;
    g_queue_clear_full(&io->items, (GDestroyNotify)item_free);
    log_file_close(io->log);
    g_mutex_clear(&io->lock);
    g_mutex_clear(&io->file_lock);
    g_cond_clear(&io->idle);
    g_free(io);
}

/* Called with the lock held. */
static void schedule_locked(ContainerIo *io)
{
    LOCK_ASSERT_HELD(&io->lock);
    if (io->scheduled || io->retrying || io->closed || g_queue_is_empty(&io->items))
        return;
    io->scheduled = TRUE;
    g_atomic_int_inc(&io->references);
    g_thread_pool_push(io->workers, io, NULL);
}

static void io_retry(gpointer data)
{
    ContainerIo *io = data;

    g_mutex_lock(&io->lock);
    io->retrying = FALSE;
    schedule_locked(io);
    g_mutex_unlock(&io->lock);
    io_unref(io);
}

/* Return: FALSE when the owner has closed it. */
static gboolean telling_begin(ContainerIo *io)
{
    gboolean wanted;

    g_mutex_lock(&io->lock);
    wanted = io->telling = !io->closed;
    g_mutex_unlock(&io->lock);
    return wanted;
}

static void telling_end(ContainerIo *io)
{
    g_mutex_lock(&io->lock);
    io->telling = FALSE;
    g_cond_broadcast(&io->idle);
    g_mutex_unlock(&io->lock);
}

/* These return FALSE when the disk does not accept the write now. */

/* A file takes all of a write or nothing. When it does not take all of the output it is given parts, because
 * some may fit: short lines take twenty times their space in a log. The next try skips these. */
static gboolean output_write(LogFile *log, const IoItem *item, guint64 *ret_taken, GError **error)
{
    const guint length = item->data->len;

    if (log_file_write(log, item->stream, item->offset, item->data->data, length, item->eof, ret_taken,
                       length > PART_BYTES ? NULL : error))
        return TRUE;
    if (length <= PART_BYTES)
        return FALSE;
    for (guint at = 0; at < length; at += PART_BYTES) {
        const guint part = MIN(PART_BYTES, length - at);

        if (!log_file_write(log, item->stream, item->offset + at, item->data->data + at, part,
                            item->eof && at + part == length, ret_taken, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean output_store(ContainerIo *io, const IoItem *item)
{
    g_autoptr(GError) error = NULL;
    guint64 taken = item->offset;
    gboolean stored;

    g_mutex_lock(&io->file_lock);
    stored = io->log == NULL || output_write(io->log, item, &taken, &error);
    g_mutex_unlock(&io->file_lock);
    if (!stored && !io->complained)
        log_limited(&io->complaints, LOG_LEVEL_WARNING, LOG_NO_FIELDS,
                    "%s; it is tried again, and the container waits meanwhile", error->message);
    io->complained = !stored;
    if (stored && telling_begin(io)) {
        io->events.stored(item->stream, taken, io->data);
        telling_end(io);
    }
    return stored;
}

static gboolean item_handle(ContainerIo *io, const IoItem *item)
{
    gboolean recorded;

    if (!item->is_exit)
        return output_store(io, item);
    if (!telling_begin(io))
        return TRUE;
    recorded = io->events.ended(&item->exit, item->from_agent, io->data);
    telling_end(io);
    return recorded;
}

/* Return: the next item, which nothing is joined to any more; NULL: there is none. */
static IoItem *item_take_locked(ContainerIo *io)
{
    IoItem *item = g_queue_pop_head(&io->items);

    LOCK_ASSERT_HELD(&io->lock);
    if (item == NULL)
        return NULL;
    if (item->is_exit)
        io->exits[item->from_agent ? 1 : 0] = FALSE;
    else if (io->last[item->stream] == item)
        io->last[item->stream] = NULL;
    return item;
}

void container_io_work(gpointer data, gpointer unused)
{
    ContainerIo *io = data;
    IoItem *item;

    (void)unused;
    g_mutex_lock(&io->lock);
    while (!io->closed && !io->retrying && (item = item_take_locked(io)) != NULL) {
        gboolean done;

        g_mutex_unlock(&io->lock);
        done = item_handle(io, item);
        g_mutex_lock(&io->lock);
        if (done) {
            io->queued_bytes -= item->data != NULL ? item->data->len : 0;
            item_free(item);
        } else {
            g_queue_push_head(&io->items, item);
            if (io->closed)
                break;
            io->retrying = TRUE;
            g_atomic_int_inc(&io->references);
            loop_thread_after(io->loop, RETRY_MS, io_retry, io);
        }
    }
    io->scheduled = FALSE;
    g_cond_broadcast(&io->idle);
    g_mutex_unlock(&io->lock);
    io_unref(io);
}

ContainerIo *container_io_new(LoopThread *loop, GThreadPool *workers, const ContainerIoEvents *events,
                              gpointer data)
{
    ContainerIo *io = g_new0(ContainerIo, 1);

    io->loop = loop;
    io->workers = workers;
    io->events = *events;
    io->data = data;
    io->references = 1;
    g_mutex_init(&io->lock);
    g_mutex_init(&io->file_lock);
    g_cond_init(&io->idle);
    g_queue_init(&io->items);
    return io;
}

static gint64 in_ms(gint64 timeout_ms)
{
    return g_get_monotonic_time() + timeout_ms * 1000;
}

gboolean container_io_close(ContainerIo *io)
{
    gint64 until_us = in_ms(CLOSE_TIMEOUT_MS);
    gboolean in_time = TRUE;
    gboolean idle;

    g_mutex_lock(&io->lock);
    io->closed = TRUE;
    while (io->telling || (io->scheduled && in_time))
        if (io->telling)
            g_cond_wait(&io->idle, &io->lock);
        else
            in_time = g_cond_wait_until(&io->idle, &io->lock, until_us);
    idle = !io->scheduled;
    g_mutex_unlock(&io->lock);
    return idle;
}

gsize container_io_finish(ContainerIo *io, gint64 timeout_ms)
{
    gint64 until_us = in_ms(timeout_ms);
    gboolean in_time = TRUE;
    gsize lost;

    g_mutex_lock(&io->lock);
    while (io->scheduled && in_time)
        in_time = g_cond_wait_until(&io->idle, &io->lock, until_us);
    lost = io->queued_bytes;
    g_mutex_unlock(&io->lock);
    container_io_close(io);
    return lost;
}

void container_io_free(ContainerIo *io)
{
    if (io == NULL)
        return;
    container_io_close(io);
    io_unref(io);
}

gboolean container_io_open_log(ContainerIo *io, const char *path, const char *cursor_path, GError **error)
{
    LogFile *log = log_file_open(path, cursor_path, error);

    if (log == NULL)
        return FALSE;
    g_mutex_lock(&io->file_lock);
    log_file_close(io->log);
    io->log = log;
    g_mutex_unlock(&io->file_lock);
    return TRUE;
}

gboolean container_io_reopen_log(ContainerIo *io, GError **error)
{
    gboolean done;

    g_mutex_lock(&io->file_lock);
    done = io->log != NULL ? log_file_reopen(io->log, error)
                           : fail(error, STATUS_FAILED_PRECONDITION, "the container has no open log");
    g_mutex_unlock(&io->file_lock);
    return done;
}

/* ---- from the agent ---- */

static void item_push_locked(ContainerIo *io, IoItem *item)
{
    LOCK_ASSERT_HELD(&io->lock);
    g_queue_push_tail(&io->items, item);
    schedule_locked(io);
}

/* Return: FALSE when the output does not continue what is queued of its stream. */
static gboolean output_join_locked(ContainerIo *io, LogStream stream,
                                   const Crivirt__Agent__V1__Output *output)
{
    IoItem *last = io->last[stream];

    LOCK_ASSERT_HELD(&io->lock);
    if (last == NULL || last->eof || output->offset != last->offset + last->data->len)
        return FALSE;
    if (io->items.length < MANY_ITEMS &&
        (io->items.tail->data != last || last->data->len + output->data.len > JOINED_BYTES))
        return FALSE;
    g_byte_array_append(last->data, output->data.data, (guint)output->data.len);
    last->eof = output->eof;
    return TRUE;
}

static void output_push_locked(ContainerIo *io, LogStream stream, const Crivirt__Agent__V1__Output *output)
{
    IoItem *item = g_new0(IoItem, 1);

    item->stream = stream;
    item->offset = output->offset;
    item->data = g_byte_array_new();
    g_byte_array_append(item->data, output->data.data, (guint)output->data.len);
    item->eof = output->eof;
    io->last[stream] = item;
    item_push_locked(io, item);
}

void container_io_output(ContainerIo *io, const Crivirt__Agent__V1__Output *output)
{
    LogStream stream = output->stream == CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR ? LOG_STDERR : LOG_STDOUT;

    g_mutex_lock(&io->lock);
    if (!io->closed && io->queued_bytes + output->data.len <= MAX_QUEUED_BYTES) {
        if (output_join_locked(io, stream, output)) {
            io->queued_bytes += output->data.len;
        } else if (io->items.length < MAX_ITEMS) {
            io->queued_bytes += output->data.len;
            output_push_locked(io, stream, output);
        }
    }
    g_mutex_unlock(&io->lock);
}

/* The agent reports an end again after each reconnect; one that waits already is enough. */
void container_io_exited(ContainerIo *io, const ContainerExit *exit, gboolean from_agent)
{
    IoItem *item;

    g_mutex_lock(&io->lock);
    if (!io->closed && !io->exits[from_agent ? 1 : 0]) {
        item = g_new0(IoItem, 1);
        item->is_exit = TRUE;
        item->exit = *exit;
        item->exit.reason = g_strdup(exit->reason);
        item->exit.message = g_strdup(exit->message);
        item->from_agent = from_agent;
        io->exits[from_agent ? 1 : 0] = TRUE;
        item_push_locked(io, item);
    }
    g_mutex_unlock(&io->lock);
}

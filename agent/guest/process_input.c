/* SPDX-License-Identifier: Apache-2.0 */
/* The standard input of processes: from the daemon's Input messages to the pipe, terminal or connection. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/guest/channel.h"
#include "agent/guest/process_parts.h"

static bool process_runs(const Process *process)
{
    return process->pid != 0 || process_is_connection(process);
}

/* The kernel reports a connection's reset once, to the next read or write. EPIPE comes after the other side
 * has closed its half, and means no failure of what it sent. */
static void process_note_failed_write(Process *process, int error_number)
{
    if (error_number != EPIPE && process->streams[0].error == 0)
        process->streams[0].error = error_number;
}

void process_input_close(Process *process)
{
    if (process_is_connection(process) && process->input.fd >= 0)
        shutdown(process->input.fd, SHUT_WR);
    watch_remove(&process->input);
    if (process->input.fd >= 0)
        close(process->input.fd);
    process->input.fd = -1;
    free(process->input_queue);
    process->input_queue = NULL;
    process->input_length = process->input_done = 0;
    process->input_written = process->input_received;
}

void process_input_forget(Process *process)
{
    watch_remove(&process->input);
    free(process->input_queue);
    process->input_queue = NULL;
    process->input_length = process->input_done = 0;
    process->input_received = process->input_written = process->input_acked = 0;
}

void process_input_flush(void *data)
{
    Process *process = data;
    while (process->input_done < process->input_length) {
        ssize_t n = write(process->input.fd, process->input_queue + process->input_done,
                          process->input_length - process->input_done);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            watch_add(&process->input, EPOLLOUT);
            return;
        }
        if (n < 0) { /* the reading end is closed */
            process_note_failed_write(process, errno);
            process_input_close(process);
            return;
        }
        process->input_done += (size_t)n;
        process->input_written += (uint64_t)n;
    }
    process->input_length = process->input_done = 0;
    free(process->input_queue);
    process->input_queue = NULL;
    watch_remove(&process->input);
    if (process->input_ends && process->tty_fd < 0)
        process_input_close(process);
}

static bool input_append(Process *process, const uint8_t *data, size_t length)
{
    if (process->input_done > 0) {
        memmove(process->input_queue, process->input_queue + process->input_done,
                process->input_length - process->input_done);
        process->input_length -= process->input_done;
        process->input_done = 0;
    }
    if (length > PROCESS_INPUT_BYTES - process->input_length)
        return false;
    uint8_t *queue = realloc(process->input_queue, process->input_length + length);
    if (queue == NULL)
        return false;
    memcpy(queue + process->input_length, data, length);
    process->input_queue = queue;
    process->input_length += length;
    return true;
}

/* Writes what the process takes at once, without the queue. Return: how much that was. */
static size_t input_write_through(Process *process, const uint8_t *data, size_t length)
{
    if (process->input_length > 0 || !process_runs(process))
        return 0;
    ssize_t n = write(process->input.fd, data, length);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        process_note_failed_write(process, errno); /* process_input_flush() meets the end of it */
    if (n <= 0)
        return 0;
    process->input_written += (uint64_t)n;
    return (size_t)n;
}

/* Takes the part of an Input that the agent does not have yet. A daemon that respects the window never has
 * more than WIRE_INPUT_WINDOW_BYTES unwritten. */
static void input_take(Process *process, const Input *input)
{
    uint64_t known = process->input_received - input->offset;
    size_t skip = known < input->data.len ? (size_t)known : input->data.len;
    size_t fresh = input->data.len - skip;

    if (fresh > 0 && process->input.fd >= 0) {
        size_t through = input_write_through(process, input->data.data + skip, fresh);
        process->input_received += through;
        skip += through;
        fresh -= through;
    }
    if (fresh > 0 && process->input.fd >= 0 && !input_append(process, input->data.data + skip, fresh)) {
        channel_notice("container %s: %zu bytes of standard input exceed the agent's window and are lost",
                       process->container_id, fresh);
        return;
    }
    process->input_received += fresh;
    if (process->input.fd < 0)
        process->input_written = process->input_received;
}

void process_input(const Input *input)
{
    Process *process = process_of_id(input->process);
    if (process == NULL)
        return;
    if (input->hangup && process->exec_id[0] != '\0') {
        process_hang_up(process);
        return;
    }
    if (input->offset > process->input_received) {
        channel_notice("container %s: standard input from the daemon has a gap and is dropped",
                       process->container_id);
        return;
    }
    input_take(process, input);
    process->input_ends = process->input_ends || input->eof;
    if (process_runs(process) && process->input.fd >= 0 && !process->input.active)
        process_input_flush(process);
}

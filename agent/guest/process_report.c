/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent reports of its processes: Output, Exited and InputAck messages, and the daemon's Ack of
 * them. */
#include "agent/guest/process_parts.h"
#include "agent/wire/wire.h"

enum {
    /* An acknowledgement for each small write would be as much work as the writes. */
    INPUT_ACK_BYTES = WIRE_INPUT_WINDOW_BYTES / 4,
};

/* The process whose message is next. The processes take turns, so that one with much output does not hold up
 * the others. */
static Process *turn;

void process_report_forget(const Process *process)
{
    if (turn == process)
        turn = process->next;
}

void process_acknowledge(const Ack *ack)
{
    Process *process = process_of_id(ack->process);
    if (process == NULL)
        return;
    if (ack->stream == CRIVIRT__AGENT__V1__STREAM__STREAM_STDOUT ||
        ack->stream == CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR)
        stream_acknowledge(&process->streams[ack->stream], ack->offset);
    if (!ack->exited || !process->exit_sent)
        return;
    process->exit_acked = true;
    if (process->exec_id[0] != '\0')
        process_forget(process);
}

void process_rewind_all(void)
{
    for (Process *process = process_next(NULL); process != NULL; process = process->next) {
        stream_rewind(&process->streams[0]);
        stream_rewind(&process->streams[1]);
        process->exit_sent = false;
        process->input_acked = 0;
    }
}

static size_t process_pack_output(Process *process, int number, uint8_t *payload, ProcessId *id)
{
    OutStream *stream = &process->streams[number];
    const uint8_t *data;
    size_t length;
    bool end;
    if (!stream_peek(stream, WIRE_OUTPUT_BYTES, &data, &length, &end))
        return 0;

    Output output = CRIVIRT__AGENT__V1__OUTPUT__INIT;
    output.process = id;
    output.stream =
        number == 0 ? CRIVIRT__AGENT__V1__STREAM__STREAM_STDOUT : CRIVIRT__AGENT__V1__STREAM__STREAM_STDERR;
    output.offset = stream->sent;
    output.data.data = (uint8_t *)data;
    output.data.len = length;
    output.eof = end;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_OUTPUT;
    message.output = &output;
    stream_sent(stream, length, end);
    return crivirt__agent__v1__from_guest__pack(&message, payload);
}

static size_t process_pack_input_ack(Process *process, uint8_t *payload, ProcessId *id)
{
    uint64_t news = process->input_written - process->input_acked;
    if (news == 0 || (news < INPUT_ACK_BYTES && process->input_written != process->input_received))
        return 0;

    InputAck ack = CRIVIRT__AGENT__V1__INPUT_ACK__INIT;
    ack.process = id;
    ack.offset = process->input_written;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_INPUT_ACK;
    message.input_ack = &ack;
    process->input_acked = process->input_written;
    return crivirt__agent__v1__from_guest__pack(&message, payload);
}

static size_t process_pack_exit(Process *process, uint8_t *payload, ProcessId *id)
{
    bool gone = process->gone || (process_is_connection(process) && process->streams[0].ended);
    if (!gone || process->end_held || process->exit_sent || process->exit_acked ||
        !stream_is_finished(&process->streams[0]) || !stream_is_finished(&process->streams[1]))
        return 0;
    Exited exited = CRIVIRT__AGENT__V1__EXITED__INIT;
    exited.process = id;
    exited.exit_code = process_is_connection(process) ? process->streams[0].error : process->exit_code;
    exited.oom_killed = process->oom_killed;
    exited.finished_at_ns = process->finished_at_ns;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_EXITED;
    message.exited = &exited;
    process->exit_sent = true;
    return crivirt__agent__v1__from_guest__pack(&message, payload);
}

/* An Output of WIRE_OUTPUT_BYTES with two ids of ID_MAX fits the room that the channel gives. */
_Static_assert(WIRE_OUTPUT_BYTES + 2 * ID_MAX + 128 <= (32 << 10) - WIRE_HEADER_BYTES,
               "one write per Output");

size_t process_next_message(uint8_t *payload, size_t room)
{
    for (unsigned tried = 0; tried < processes_count(); tried++) {
        Process *process = turn != NULL ? turn : process_next(NULL);
        turn = process->next;
        if (process->exit_acked || process->held)
            continue;

        ProcessId id = CRIVIRT__AGENT__V1__PROCESS_ID__INIT;
        id.container_id = process->container_id;
        id.exec_id = process->exec_id;
        size_t length = process_pack_input_ack(process, payload, &id);
        if (length == 0)
            length = process_pack_output(process, 1, payload, &id);
        if (length == 0)
            length = process_pack_output(process, 0, payload, &id);
        if (length == 0)
            length = process_pack_exit(process, payload, &id);
        if (length > 0)
            return length;
    }
    return 0;
}

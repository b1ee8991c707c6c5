/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/assembly.h"

#include <stdlib.h>
#include <string.h>

#include "agent/guest/channel.h"
#include "agent/wire/wire.h"

static struct {
    uint8_t *bytes;
    size_t length, room;
    bool is_dropped; /* until the last part of the message has come */
} assembly;

static bool assembly_make_room(size_t need)
{
    if (need <= assembly.room)
        return true;
    size_t room = need * 2 < WIRE_MAX_MESSAGE_BYTES ? need * 2 : WIRE_MAX_MESSAGE_BYTES;
    uint8_t *bytes = realloc(assembly.bytes, room);
    if (bytes == NULL)
        return false;
    assembly.bytes = bytes;
    assembly.room = room;
    return true;
}

void assembly_reset(void)
{
    free(assembly.bytes);
    memset(&assembly, 0, sizeof assembly);
}

bool assembly_add(const Part *part, uint8_t **ret_message, size_t *ret_length)
{
    if (!assembly.is_dropped && (part->data.len > WIRE_MAX_MESSAGE_BYTES - assembly.length ||
                                 !assembly_make_room(assembly.length + part->data.len))) {
        channel_notice(
            "a message of the daemon is dropped: it is longer than %d bytes, or the guest is out of memory",
            WIRE_MAX_MESSAGE_BYTES);
        assembly_reset();
        assembly.is_dropped = true;
    }
    if (!assembly.is_dropped && part->data.len > 0) {
        memcpy(assembly.bytes + assembly.length, part->data.data, part->data.len);
        assembly.length += part->data.len;
    }
    if (!part->last)
        return false;
    bool is_whole = !assembly.is_dropped && assembly.length > 0;
    if (is_whole) {
        *ret_message = assembly.bytes;
        *ret_length = assembly.length;
        assembly.bytes = NULL;
    }
    assembly_reset();
    return is_whole;
}

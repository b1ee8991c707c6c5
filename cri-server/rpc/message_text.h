/* SPDX-License-Identifier: Apache-2.0 */
/* Checks and repairs the UTF-8 of all strings in any protobuf-c message.
 *
 * protobuf requires strings to be UTF-8 (https://protobuf.dev/programming-guides/encoding/#structure),
 * protobuf-c does not check it, and a Go client cannot decode a message that violates it. The server
 * therefore checks requests and repairs responses with these two functions.
 */
#pragma once

#include "common/arena.h"

/* Errors: INVALID_ARGUMENT naming the field ("config.metadata.name is not valid UTF-8"). */
gboolean message_text_check(const ProtobufCMessage *message, GError **error);

/* Replaces invalid bytes in place by U+FFFD. Changed strings are allocated from the arena. */
void message_text_repair(ProtobufCMessage *message, Arena *arena);

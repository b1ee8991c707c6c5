/* The strings of any protobuf-c message: protobuf says that they are UTF-8, protobuf-c does not look, and a
 * Go client cannot decode a message in which one is not. So requests are checked and responses repaired,
 * once, here, for all messages (https://protobuf.dev/programming-guides/encoding/#structure).
 */
#pragma once

#include "common/arena.h"

/* INVALID_ARGUMENT naming the field ("config.metadata.name is not valid UTF-8"). */
gboolean message_text_check(const ProtobufCMessage *message, GError **error);

/* Replaces what is not UTF-8 in place; replacements live in the arena. */
void message_text_repair(ProtobufCMessage *message, Arena *arena);

/* SPDX-License-Identifier: Apache-2.0 */
/* Bounds for what an agent's messages contain: the length of each text and byte string and the number of
 * items of each list, from the table agent_bounds.def. Numbers have to be finite, because a NaN would make
 * the kubelet's whole summary unreadable.
 */
#pragma once

#include <glib.h>
#include <protobuf-c/protobuf-c.h>

/* What a later version of the agent may add and this daemon does not read. */
enum { AGENT_UNKNOWN_FIELDS_MAX = 64, AGENT_UNKNOWN_BYTES_MAX = 4096 };

/* Checks the message and all messages in it. Return: FALSE with INTERNAL and the name of the first field that
 * exceeds its bound. Threads: any. */
gboolean agent_bounds_check(const ProtobufCMessage *message, GError **error);

/* Return: whether the table has a row for a field at that offset in that message's structure. */
gboolean agent_bounds_has_row(const ProtobufCMessageDescriptor *type, guint offset);
guint agent_bounds_n_rows(void);

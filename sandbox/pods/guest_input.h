/* SPDX-License-Identifier: Apache-2.0 */
/* Standard input of one process in a guest, within the agent's window: bytes are kept until the agent has
 * written them, at most WIRE_INPUT_WINDOW_BYTES, and sent again after a reconnect (agent.proto, Input).
 *
 * Any thread; no function blocks. While the channel is full, the loop's thread tries again.
 */
#pragma once

#include "sandbox/agent/agent_connection.h"

typedef struct GuestInput GuestInput;

struct Pod; /* pod.h */

GuestInput *guest_input_new(struct Pod *pod, const char *container_id, const char *exec_id);
GuestInput *guest_input_ref(GuestInput *input);
void guest_input_unref(GuestInput *input); /* takes NULL */

/* Takes as many bytes as the window has room for. Return: that number. After the process's end all bytes are
 * accepted and dropped. */
gsize guest_input_write(GuestInput *input, const void *data, gsize length);
void guest_input_end(GuestInput *input);
/* The process is abandoned; its input ends. */
void guest_input_hang_up(GuestInput *input);

/* Called when an acknowledgement arrives. */
void guest_input_acked(GuestInput *input, guint64 offset);
/* Called after a reconnect. received: bytes that the agent has; G_MAXUINT64: not known. */
void guest_input_resume(GuestInput *input, guint64 received);

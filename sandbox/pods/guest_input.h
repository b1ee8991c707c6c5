/* Standard input of one process in a guest, with the agent's window: what is given is kept until the agent
 * has written it, at most WIRE_INPUT_WINDOW_BYTES, and sent again after a reconnect (agent.proto, Input).
 *
 * Any thread; nothing here blocks. A channel that takes no more now is tried again from the links' loop.
 */
#pragma once

#include "sandbox/agent/agent_connection.h"

typedef struct GuestInput GuestInput;

struct Pod; /* pod.h */

GuestInput *guest_input_new(struct Pod *pod, const char *container_id, const char *exec_id);
GuestInput *guest_input_ref(GuestInput *input);
void guest_input_unref(GuestInput *input); /* takes NULL */

/* Takes what the window has room for, and says how much that was. Once it has ended everything is "taken". */
gsize guest_input_write(GuestInput *input, const void *data, gsize length);
void guest_input_end(GuestInput *input);
/* The process is nobody's any more; also ends it. */
void guest_input_hang_up(GuestInput *input);

/* From the link: an acknowledgement came. */
void guest_input_acked(GuestInput *input, guint64 offset);
/* From the link: it has reconnected; the agent has had so many bytes (G_MAXUINT64: not told). */
void guest_input_resume(GuestInput *input, guint64 received);

/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a container's processes: StopContainer, and what RemoveContainer does first. */
#pragma once

#include "common/deadline.h"
#include "sandbox/pods/container.h"

/* Sends the stop signal, waits for timeout_s, kills what still runs, and waits for the recorded end; 0: kills
 * at once. A container whose guest has gone meanwhile has ended too, which is a success. Any thread, with or
 * without the container's job. Errors: DEADLINE_EXCEEDED, CANCELLED, UNAVAILABLE. */
gboolean container_stop_or_gone(Container *container, gint64 timeout_s, const Deadline *deadline,
                                GError **error);

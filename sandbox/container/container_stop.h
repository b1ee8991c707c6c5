/* SPDX-License-Identifier: Apache-2.0 */
/* Ends a container's processes: for StopContainer, and as the first step of RemoveContainer. */
#pragma once

#include "common/deadline.h"
#include "sandbox/pods/container.h"

/* Sends the stop signal, waits for timeout_s, kills the processes that still run, and waits until the end is
 * recorded. timeout_s 0: kills at once. It is a success when the guest has ended meanwhile, because the
 * container has then ended as well. Errors: DEADLINE_EXCEEDED, CANCELLED, UNAVAILABLE. Any thread, with or
 * without the container's job. */
gboolean container_stop_or_gone(Container *container, gint64 timeout_s, const Deadline *deadline,
                                GError **error);

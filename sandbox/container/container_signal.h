/* SPDX-License-Identifier: Apache-2.0 */
/* Signals to the processes of a container. */
#pragma once

#include "sandbox/pods/container.h"

/* Sends a signal to the container's first process, or, with all, to all of its processes. The pod must be
 * READY. */
gboolean container_signal(Container *container, int signal, gboolean all, const Deadline *deadline,
                          GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
/* Removes a container from the guest, from the node, and from the tables. */
#pragma once

#include "common/deadline.h"
#include "sandbox/pods/container.h"

/* Removes the container from every table, and deletes what belongs to it on the node: block devices,
 * volumes, log cursors, its row. It may be called again after a failure. deadline NULL: no limit. Errors:
 * DEADLINE_EXCEEDED, CANCELLED, INTERNAL. */
gboolean container_forget(Container *container, const Deadline *deadline, GError **error);

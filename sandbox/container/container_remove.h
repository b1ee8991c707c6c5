/* SPDX-License-Identifier: Apache-2.0 */
/* Removes a container from the guest, from the node, and from the tables. */
#pragma once

#include "common/deadline.h"
#include "sandbox/pods/container.h"

/* Asks the guest, if there is one, to delete the container. A failure is only logged: what the guest does
 * not delete is removed with its disk when the pod ends. */
void container_delete_in_guest(Container *container);

/* Removes the container from every table, and deletes what belongs to it on the node: block devices,
 * volumes, log cursors, its row. It may be called again after a failure. deadline NULL: no limit. Errors:
 * DEADLINE_EXCEEDED, CANCELLED, INTERNAL. */
gboolean container_forget(Container *container, const Deadline *deadline, GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
/* The removal of a container: from the guest, from the node, and from the tables. */
#pragma once

#include "common/deadline.h"
#include "sandbox/pods/container.h"

/* Asks the guest to delete the container, when there is a guest. A failure is only logged: what a guest does
 * not delete goes with its disk when the pod ends. */
void container_delete_in_guest(Container *container);

/* Takes the container out of every table and deletes what is kept of it on the node: block devices, volumes,
 * log cursors, its row. May be repeated after a failure. deadline NULL: no limit. Errors: DEADLINE_EXCEEDED,
 * CANCELLED, INTERNAL. */
gboolean container_forget(Container *container, const Deadline *deadline, GError **error);

/* SPDX-License-Identifier: Apache-2.0 */
/* Deletes a container in its pod's guest. */
#pragma once

#include "sandbox/pods/container.h"

/* Asks the guest, if there is one, to delete the container, its processes included, and waits for the answer,
 * a minute at most. A guest that answers later deletes it all the same. A failure is only logged: what the
 * guest does not delete is removed with its disk when the pod ends. */
void container_delete_in_guest(Container *container);
/* Asks the guest without waiting. A request that is lost, with the connection or with this daemon, is
 * repeated when the agent reports an ended container of which there is no record (pod_events.c). */
void container_delete_in_guest_soon(Container *container);

/* SPDX-License-Identifier: Apache-2.0 */
/* Reports the state of the service to systemd with the datagram of sd_notify(3), whose format its manual
 * page documents as stable.
 *
 * Written here instead of linking libsystemd, which would load four further libraries for this one message.
 */
#pragma once

/* Sends "READY=1", "STOPPING=1" and so on. Does nothing when $NOTIFY_SOCKET is not set. */
void notify_manager(const char *state);

/* Tells systemd how the service is doing: sd_notify(3)'s datagram, which its manual page documents as stable.
 *
 * Written here rather than linking libsystemd, which would bring four further libraries into the daemon's
 * memory for this one message.
 */
#pragma once

/* "READY=1", "STOPPING=1", …; does nothing when no manager asked ($NOTIFY_SOCKET). */
void notify_manager(const char *state);

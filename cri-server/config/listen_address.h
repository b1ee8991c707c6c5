/* SPDX-License-Identifier: Apache-2.0 */
/* An address to listen on: "HOST:PORT", "[IPv6]:PORT" or ":PORT" (all addresses). HOST is an IP address, not
 * a name.
 */
#pragma once

#include <gio/gio.h>

/* Errors: INVALID_ARGUMENT for any other text. */
GSocketAddress *listen_address_parse(const char *address, GError **error);

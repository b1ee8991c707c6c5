/* Where to listen, as an administrator writes it: "HOST:PORT", "[IPv6]:PORT" or ":PORT" (all addresses); HOST
 * is an address, not a name. */
#pragma once

#include <gio/gio.h>

/* INVALID_ARGUMENT for another text. */
GSocketAddress *listen_address_parse(const char *address, GError **error);

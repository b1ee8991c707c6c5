/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/config/listen_address.h"

#include <string.h>

#include "common/error.h"

GSocketAddress *listen_address_parse(const char *address, GError **error)
{
    const char *colon = strrchr(address, ':');
    g_autofree char *host = NULL;
    GSocketAddress *parsed = NULL;
    guint64 port = 0;

    if (colon != NULL && g_ascii_string_to_unsigned(colon + 1, 10, 1, G_MAXUINT16, &port, NULL)) {
        gsize length = (gsize)(colon - address);

        if (length >= 2 && address[0] == '[' && colon[-1] == ']')
            host = g_strndup(address + 1, length - 2);
        else
            host = length == 0 ? g_strdup("::") : g_strndup(address, length);
        parsed = g_inet_socket_address_new_from_string(host, (guint)port);
    }
    if (parsed == NULL)
        fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not an address and a port, such as 127.0.0.1:9099",
             address);
    return parsed;
}

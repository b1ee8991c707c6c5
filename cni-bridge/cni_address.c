/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/cni_address.h"

#include <gio/gio.h>
#include <string.h>

#include "common/error.h"

enum { MAC_CHARACTERS = 64, ETHERNET_CHARACTERS = 17 };

gboolean cni_ip_read(const char *text, char **ret_address, gboolean *ret_ipv6, GError **error)
{
    g_autoptr(GInetAddress) address = g_inet_address_new_from_string(text);

    if (address == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%.64s\" is not an IP address", text);
    *ret_address = g_inet_address_to_string(address);
    *ret_ipv6 = g_inet_address_get_family(address) == G_SOCKET_FAMILY_IPV6;
    return TRUE;
}

gboolean cni_cidr_read(const char *text, char **ret_cidr, gboolean *ret_ipv6, GError **error)
{
    const char *slash = strchr(text, '/');
    g_autofree char *host = NULL;
    g_autofree char *address = NULL;
    guint64 prefix;
    gboolean ipv6;

    if (slash == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%.64s\" is not an address with a prefix length", text);
    host = g_strndup(text, (gsize)(slash - text));
    if (!cni_ip_read(host, &address, &ipv6, error))
        return FALSE;
    if (!g_ascii_string_to_unsigned(slash + 1, 10, 0, ipv6 ? 128 : 32, &prefix, NULL))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%.64s\" has no valid prefix length", text);
    *ret_cidr = g_strdup_printf("%s/%u", address, (guint)prefix);
    *ret_ipv6 = ipv6;
    return TRUE;
}

gboolean cni_mac_is_valid(const char *mac)
{
    if (strlen(mac) > MAC_CHARACTERS)
        return FALSE;
    for (; *mac != '\0'; mac++)
        if (!g_ascii_isxdigit(*mac) && strchr(":-.", *mac) == NULL)
            return FALSE;
    return TRUE;
}

gboolean cni_mac_is_ethernet(const char *mac)
{
    for (guint i = 0; i < ETHERNET_CHARACTERS; i++)
        if (i % 3 == 2 ? mac[i] != ':' : !g_ascii_isxdigit(mac[i]))
            return FALSE;
    return mac[ETHERNET_CHARACTERS] == '\0';
}

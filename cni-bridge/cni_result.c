/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/cni_result.h"

#include <string.h>

#include "cni-bridge/cni_address.h"
#include "common/error.h"

CniRoute *cni_route_copy(const CniRoute *route)
{
    CniRoute *copy = g_new(CniRoute, 1);

    *copy = *route;
    copy->destination = g_strdup(route->destination);
    copy->gateway = g_strdup(route->gateway);
    return copy;
}

void cni_route_free(gpointer data)
{
    CniRoute *route = data;

    if (route == NULL)
        return;
    g_free(route->destination);
    g_free(route->gateway);
    g_free(route);
}

static void address_free(gpointer data)
{
    CniAddress *address = data;

    g_free(address->address);
    g_free(address->gateway);
    g_free(address);
}

void cni_result_free(CniResult *result)
{
    if (result == NULL)
        return;
    g_free(result->json);
    g_free(result->mac);
    g_ptr_array_unref(result->addresses);
    g_ptr_array_unref(result->routes);
    g_strfreev(result->dns_servers);
    g_strfreev(result->dns_searches);
    g_strfreev(result->dns_options);
    g_free(result);
}

/* Finds ifname inside the sandbox; *ret_index is CNI_NO_INTERFACE when the output does not mention it. */
static gboolean interface_find(const CniOutput *output, const char *ifname, guint32 *ret_index,
                               GError **error)
{
    guint32 found = CNI_NO_INTERFACE;

    for (guint i = 0; i < output->interfaces->len; i++) {
        const CniOutputInterface *interface = cni_output_interface(output, i);

        if (*interface->sandbox == '\0' || strcmp(interface->name, ifname) != 0)
            continue;
        if (found != CNI_NO_INTERFACE)
            return fail(error, STATUS_INTERNAL, "unusable result: interface %s is given twice", ifname);
        if (*interface->mac != '\0' && !cni_mac_is_ethernet(interface->mac))
            return fail(error, STATUS_INTERNAL, "unusable result: \"%s\" of %s is not an Ethernet address",
                        interface->mac, ifname);
        found = i;
    }
    *ret_index = found;
    return TRUE;
}

/* Plugins before 0.3.0 and some after do not report which interface has the address: then it is ours. */
static void addresses_copy(const CniOutput *output, guint32 interface, CniResult *result)
{
    for (guint i = 0; i < output->addresses->len; i++) {
        const CniOutputAddress *from = cni_output_address(output, i);
        CniAddress *to;

        if (from->interface != CNI_NO_INTERFACE && from->interface != interface)
            continue;
        to = g_new0(CniAddress, 1);
        to->address = g_strdup(from->address);
        to->gateway = g_strdup(from->gateway);
        to->ipv6 = from->ipv6;
        g_ptr_array_add(result->addresses, to);
    }
}

static const char *family_gateway(const CniResult *result, gboolean ipv6)
{
    for (guint i = 0; i < result->addresses->len; i++) {
        const CniAddress *address = g_ptr_array_index(result->addresses, i);

        if (address->ipv6 == ipv6 && address->gateway != NULL)
            return address->gateway;
    }
    return NULL;
}

static void routes_copy(const CniOutput *output, CniResult *result)
{
    for (guint i = 0; i < output->routes->len; i++) {
        const CniOutputRoute *from = cni_output_route(output, i);
        CniRoute route = *from->route;

        if (route.gateway == NULL && !from->on_link)
            route.gateway = (char *)family_gateway(result, from->ipv6);
        g_ptr_array_add(result->routes, cni_route_copy(&route));
    }
}

CniResult *cni_output_result(const CniOutput *output, const char *ifname, GError **error)
{
    guint32 interface = CNI_NO_INTERFACE;
    CniResult *result;

    if (!interface_find(output, ifname, &interface, error))
        return NULL;
    result = g_new0(CniResult, 1);
    result->json = g_strdup(output->text);
    result->addresses = g_ptr_array_new_with_free_func(address_free);
    result->routes = g_ptr_array_new_with_free_func(cni_route_free);
    result->dns_servers = g_strdupv(output->dns_servers);
    result->dns_searches = g_strdupv(output->dns_searches);
    result->dns_options = g_strdupv(output->dns_options);
    if (interface != CNI_NO_INTERFACE) {
        const CniOutputInterface *found = cni_output_interface(output, interface);

        result->mac = *found->mac != '\0' ? g_ascii_strdown(found->mac, -1) : NULL;
        result->mtu = found->mtu;
    }
    addresses_copy(output, interface, result);
    routes_copy(output, result);
    return result;
}

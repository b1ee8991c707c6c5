/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/cni_output.h"

#include <gio/gio.h>
#include <string.h>

#include "cni-bridge/cni_address.h"
#include "cni-bridge/cni_result.h"
#include "common/error.h"

enum {
    MAX_INTERFACES = 64,
    MAX_ADDRESSES = 64,
    MAX_ROUTES = 1024,
    MAX_DNS = 64,
    MAX_TEXT = 1 << 20,
    MAX_NAME = 64,
};

static void address_clear(gpointer data)
{
    CniOutputAddress *address = data;

    g_free(address->address);
    g_free(address->gateway);
}

static void route_clear(gpointer data)
{
    cni_route_free(((CniOutputRoute *)data)->route);
}

void cni_output_free(CniOutput *output)
{
    if (output == NULL)
        return;
    g_array_unref(output->interfaces);
    g_array_unref(output->addresses);
    g_array_unref(output->routes);
    g_free(output->dns_domain);
    g_strfreev(output->dns_servers);
    g_strfreev(output->dns_searches);
    g_strfreev(output->dns_options);
    json_document_free(output->document);
    g_free(output->text);
    g_free(output);
}

const CniOutputInterface *cni_output_interface(const CniOutput *output, guint index)
{
    return &g_array_index(output->interfaces, CniOutputInterface, index);
}

const CniOutputAddress *cni_output_address(const CniOutput *output, guint index)
{
    return &g_array_index(output->addresses, CniOutputAddress, index);
}

const CniOutputRoute *cni_output_route(const CniOutput *output, guint index)
{
    return &g_array_index(output->routes, CniOutputRoute, index);
}

/* Puts the path of an object before an error about what it holds. Return: FALSE. */
static gboolean fail_in(const JsonValue *object, const char *key, GError **error)
{
    g_autofree char *path = json_path(object);

    g_prefix_error(error, "%s.%s: ", path, key);
    return FALSE;
}

static gboolean cidr_member_read(const JsonValue *object, const char *key, char **ret_cidr,
                                 gboolean *ret_ipv6, GError **error)
{
    const char *text = "";

    return json_get_line(object, key, &text, error) &&
           (cni_cidr_read(text, ret_cidr, ret_ipv6, error) || fail_in(object, key, error));
}

/* An optional gateway, which must be of the family of what it serves. */
static gboolean gateway_read(const JsonValue *object, const char *key, gboolean ipv6, char **ret_gateway,
                             GError **error)
{
    g_autofree char *gateway = NULL;
    const char *text = "";
    gboolean gateway_ipv6;

    if (!json_get_line(object, key, &text, error))
        return FALSE;
    if (*text == '\0')
        return TRUE;
    if (!cni_ip_read(text, &gateway, &gateway_ipv6, error))
        return fail_in(object, key, error);
    if (gateway_ipv6 != ipv6)
        return json_fail(object, error, "gateway %s is of another address family", gateway);
    *ret_gateway = g_steal_pointer(&gateway);
    return TRUE;
}

static gboolean interface_read(CniOutput *output, const JsonValue *json, GError **error)
{
    CniOutputInterface interface = {.name = "", .mac = "", .sandbox = ""};

    if (!json_get_line(json, "name", &interface.name, error) ||
        !json_get_line(json, "mac", &interface.mac, error) ||
        !json_get_line(json, "sandbox", &interface.sandbox, error) ||
        !json_get_uint32(json, "mtu", &interface.mtu, error))
        return FALSE;
    if (*interface.name == '\0' || strlen(interface.name) > MAX_NAME)
        return json_fail(json, error, "the interface has no name of 1 to %d bytes", MAX_NAME);
    if (!cni_mac_is_valid(interface.mac))
        return json_fail(json, error, "\"mac\" of %s is not a hardware address", interface.name);
    g_array_append_val(output->interfaces, interface);
    return TRUE;
}

static gboolean interfaces_read(CniOutput *output, const JsonValue *root, GError **error)
{
    const JsonValue *array = NULL;

    if (!json_get_array(root, "interfaces", MAX_INTERFACES, &array, error))
        return FALSE;
    for (gsize i = 0; i < json_length(array); i++)
        if (!interface_read(output, json_at(array, i), error))
            return FALSE;
    return TRUE;
}

/* Takes the strings of address over and clears it when it succeeds. */
static gboolean address_add(CniOutput *output, const JsonValue *json, CniOutputAddress *address,
                            GError **error)
{
    for (guint i = 0; i < output->addresses->len; i++) {
        const CniOutputAddress *other = cni_output_address(output, i);

        if (other->interface == address->interface && strcmp(other->address, address->address) == 0)
            return json_fail(json, error, "address %s is given twice", address->address);
    }
    g_array_append_val(output->addresses, *address);
    *address = (CniOutputAddress){0};
    return TRUE;
}

static gboolean address_check(const CniOutput *output, const JsonValue *json, const CniOutputAddress *address,
                              GError **error)
{
    const char *family = "";

    if (!json_get_line(json, "version", &family, error))
        return FALSE;
    if (address->interface != CNI_NO_INTERFACE && address->interface >= output->interfaces->len)
        return json_fail(json, error, "%s belongs to interface %u, which is not in the result",
                         address->address, address->interface);
    if (*family != '\0' && strcmp(family, address->ipv6 ? "6" : "4") != 0)
        return json_fail(json, error, "%s is not of version %.8s", address->address, family);
    return TRUE;
}

static gboolean address_read(CniOutput *output, const JsonValue *json, const char *cidr_key, GError **error)
{
    CniOutputAddress address = {.interface = CNI_NO_INTERFACE};
    gboolean good;

    good = json_get_uint32(json, "interface", &address.interface, error) &&
           cidr_member_read(json, cidr_key, &address.address, &address.ipv6, error) &&
           gateway_read(json, "gateway", address.ipv6, &address.gateway, error) &&
           address_check(output, json, &address, error) && address_add(output, json, &address, error);
    address_clear(&address);
    return good;
}

static gboolean route_read(CniOutput *output, const JsonValue *json, GError **error)
{
    CniRoute parts = {0};
    CniOutputRoute route = {0};
    g_autofree char *cidr = NULL;
    g_autofree char *gateway = NULL;
    guint32 scope = 0;

    if (!cidr_member_read(json, "dst", &cidr, &route.ipv6, error) ||
        !gateway_read(json, "gw", route.ipv6, &gateway, error) ||
        !json_get_uint32(json, "mtu", &parts.mtu, error) ||
        !json_get_uint32(json, "priority", &parts.metric, error) ||
        !json_get_uint32(json, "scope", &scope, error))
        return FALSE;
    parts.destination = cidr;
    parts.gateway = gateway;
    route.on_link = scope == CNI_SCOPE_LINK;
    route.route = cni_route_copy(&parts);
    g_array_append_val(output->routes, route);
    return TRUE;
}

static gboolean routes_read(CniOutput *output, const JsonValue *object, GError **error)
{
    const JsonValue *array = NULL;

    if (!json_get_array(object, "routes", MAX_ROUTES, &array, error))
        return FALSE;
    if (output->routes->len + json_length(array) > MAX_ROUTES)
        return json_fail(array, error, "more than %d routes", MAX_ROUTES);
    for (gsize i = 0; i < json_length(array); i++)
        if (!route_read(output, json_at(array, i), error))
            return FALSE;
    return TRUE;
}

/* 0.3.0 and later. */
static gboolean ips_read(CniOutput *output, const JsonValue *root, GError **error)
{
    const JsonValue *array = NULL;

    if (!json_get_array(root, "ips", MAX_ADDRESSES, &array, error))
        return FALSE;
    for (gsize i = 0; i < json_length(array); i++)
        if (!address_read(output, json_at(array, i), "address", error))
            return FALSE;
    return routes_read(output, root, error);
}

/* 0.1.0 and 0.2.0: at most one address of each family, with its routes. */
static gboolean ip4_ip6_read(CniOutput *output, const JsonValue *root, GError **error)
{
    static const char *const keys[] = {"ip4", "ip6"};

    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        const JsonValue *object = NULL;

        if (!json_get_object(root, keys[i], &object, error))
            return FALSE;
        if (object == NULL)
            continue;
        if (!address_read(output, object, "ip", error) || !routes_read(output, object, error))
            return FALSE;
        if (cni_output_address(output, output->addresses->len - 1)->ipv6 != (i == 1))
            return json_fail(object, error, "the address is of the other family");
    }
    return TRUE;
}

static gboolean dns_read(CniOutput *output, const JsonValue *root, GError **error)
{
    const JsonValue *dns = NULL;
    const char *domain = "";

    if (!json_get_object(root, "dns", &dns, error) || !json_get_line(dns, "domain", &domain, error) ||
        !json_get_lines(dns, "nameservers", MAX_DNS, &output->dns_servers, error) ||
        !json_get_lines(dns, "search", MAX_DNS, &output->dns_searches, error) ||
        !json_get_lines(dns, "options", MAX_DNS, &output->dns_options, error))
        return FALSE;
    for (gsize i = 0; output->dns_servers != NULL && output->dns_servers[i] != NULL; i++)
        if (!g_hostname_is_ip_address(output->dns_servers[i]))
            return json_fail(dns, error, "name server \"%.64s\" is not an IP address",
                             output->dns_servers[i]);
    output->dns_domain = g_strdup(domain);
    return TRUE;
}

static gboolean output_read(CniOutput *output, CniVersion configured, GError **error)
{
    const JsonValue *root = json_document_object(output->document, error);
    const char *version = cni_version_name(configured);

    if (root == NULL || !json_get_line(root, "cniVersion", &version, error))
        return FALSE;
    if (!cni_version_from_name(version, &output->version))
        return json_fail(root, error, "cniVersion \"%.32s\" is not supported", version);
    if (output->version < CNI_VERSION_0_3_0)
        return ip4_ip6_read(output, root, error) && dns_read(output, root, error);
    return interfaces_read(output, root, error) && ips_read(output, root, error) &&
           dns_read(output, root, error);
}

/* Takes document over. */
static CniOutput *output_new(JsonDocument *document)
{
    CniOutput *output = g_new0(CniOutput, 1);

    output->document = document;
    output->interfaces = g_array_new(FALSE, TRUE, sizeof(CniOutputInterface));
    output->addresses = g_array_new(FALSE, TRUE, sizeof(CniOutputAddress));
    output->routes = g_array_new(FALSE, TRUE, sizeof(CniOutputRoute));
    g_array_set_clear_func(output->addresses, address_clear);
    g_array_set_clear_func(output->routes, route_clear);
    return output;
}

CniOutput *cni_output_parse(const char *text, gsize length, CniVersion configured, GError **error)
{
    static const JsonLimits limits = {.max_bytes = MAX_TEXT};
    g_autoptr(GError) problem = NULL;
    JsonDocument *document = json_document_parse(text, length, "result", &limits, &problem);
    g_autoptr(CniOutput) output = document != NULL ? output_new(document) : NULL;

    if (output == NULL || !output_read(output, configured, &problem)) {
        fail(error, STATUS_INTERNAL, "unusable %s", problem->message);
        return NULL;
    }
    output->text = g_strndup(text, length);
    return g_steal_pointer(&output);
}

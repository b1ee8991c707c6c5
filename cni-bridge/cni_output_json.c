/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/cni_output_json.h"

#include "common/json_writer.h"

static void put_text(JsonWriter *writer, const char *key, const char *value)
{
    if (value != NULL && *value != '\0')
        json_writer_string(writer, key, value);
}

static void put_number(JsonWriter *writer, const char *key, guint32 value)
{
    if (value != 0)
        json_writer_int(writer, key, value);
}

static void put_interfaces(JsonWriter *writer, const CniOutput *output)
{
    json_writer_open_array(writer, "interfaces");
    for (guint i = 0; i < output->interfaces->len; i++) {
        const CniOutputInterface *interface = cni_output_interface(output, i);

        json_writer_open_object(writer, NULL);
        put_text(writer, "name", interface->name);
        put_text(writer, "mac", interface->mac);
        put_number(writer, "mtu", interface->mtu);
        put_text(writer, "sandbox", interface->sandbox);
        json_writer_close_object(writer);
    }
    json_writer_close_array(writer);
}

static void put_ips(JsonWriter *writer, const CniOutput *output, gboolean with_version)
{
    json_writer_open_array(writer, "ips");
    for (guint i = 0; i < output->addresses->len; i++) {
        const CniOutputAddress *address = cni_output_address(output, i);

        json_writer_open_object(writer, NULL);
        if (with_version)
            put_text(writer, "version", address->ipv6 ? "6" : "4");
        if (address->interface != CNI_NO_INTERFACE)
            json_writer_int(writer, "interface", address->interface);
        put_text(writer, "address", address->address);
        put_text(writer, "gateway", address->gateway);
        json_writer_close_object(writer);
    }
    json_writer_close_array(writer);
}

static void put_route(JsonWriter *writer, const CniOutputRoute *route)
{
    json_writer_open_object(writer, NULL);
    put_text(writer, "dst", route->route->destination);
    put_text(writer, "gw", route->route->gateway);
    put_number(writer, "mtu", route->route->mtu);
    put_number(writer, "priority", route->route->metric);
    if (route->on_link)
        put_number(writer, "scope", CNI_SCOPE_LINK);
    json_writer_close_object(writer);
}

static void put_routes(JsonWriter *writer, const CniOutput *output)
{
    json_writer_open_array(writer, "routes");
    for (guint i = 0; i < output->routes->len; i++)
        put_route(writer, cni_output_route(output, i));
    json_writer_close_array(writer);
}

static void put_routes_of_family(JsonWriter *writer, const CniOutput *output, gboolean ipv6)
{
    json_writer_open_array(writer, "routes");
    for (guint i = 0; i < output->routes->len; i++)
        if (cni_output_route(output, i)->ipv6 == ipv6)
            put_route(writer, cni_output_route(output, i));
    json_writer_close_array(writer);
}

/* Before 0.3.0 there is room for the first address of each family. */
static void put_ip4_ip6(JsonWriter *writer, const CniOutput *output)
{
    for (gboolean ipv6 = FALSE; ipv6 <= TRUE; ipv6++) {
        for (guint i = 0; i < output->addresses->len; i++) {
            const CniOutputAddress *address = cni_output_address(output, i);

            if (address->ipv6 != ipv6)
                continue;
            json_writer_open_object(writer, ipv6 ? "ip6" : "ip4");
            put_text(writer, "ip", address->address);
            put_text(writer, "gateway", address->gateway);
            put_routes_of_family(writer, output, ipv6);
            json_writer_close_object(writer);
            break;
        }
    }
}

static void put_dns(JsonWriter *writer, const CniOutput *output)
{
    json_writer_open_object(writer, "dns");
    put_text(writer, "domain", output->dns_domain);
    json_writer_strings(writer, "nameservers", (const char *const *)output->dns_servers, -1);
    json_writer_strings(writer, "search", (const char *const *)output->dns_searches, -1);
    json_writer_strings(writer, "options", (const char *const *)output->dns_options, -1);
    json_writer_close_object(writer);
}

static void put_converted(JsonWriter *writer, const CniOutput *output, CniVersion version)
{
    if (version < CNI_VERSION_0_3_0) {
        put_ip4_ip6(writer, output);
    } else {
        put_interfaces(writer, output);
        put_ips(writer, output, version < CNI_VERSION_1_0_0);
        put_routes(writer, output);
    }
    put_dns(writer, output);
}

char *cni_output_json(const CniOutput *output, CniVersion version)
{
    static const char *const replaced[] = {"cniVersion", NULL};
    g_autoptr(JsonWriter) writer = json_writer_new();

    json_writer_open_object(writer, NULL);
    json_writer_string(writer, "cniVersion", cni_version_name(version));
    if (cni_version_same_shape(output->version, version))
        json_writer_members(writer, json_document_root(output->document), replaced);
    else
        put_converted(writer, output, version);
    json_writer_close_object(writer);
    return json_writer_copy(writer);
}

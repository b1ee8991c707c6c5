#include "cni-bridge/cni_result.h"

#include <gio/gio.h>
#include <string.h>

#include "common/error.h"

enum {
    MAX_INTERFACES = 64,
    MAX_ADDRESSES = 64,
    MAX_ROUTES = 1024,
    MAX_DNS = 64,
    MAX_TEXT = 1 << 20,
    NO_INTERFACE = G_MAXUINT32, /* the plugin did not say which one */
    SCOPE_LINK = 253,
};

typedef struct {
    const char *name;
    const char *mac;
    const char *sandbox; /* "" for one on the host */
    guint32 mtu;
} OutputInterface;

typedef struct {
    char *address; /* canonical CIDR with the host's bits */
    char *gateway;
    gboolean ipv6;
    guint32 interface;
} OutputAddress;

typedef struct {
    CniRoute *route;
    gboolean ipv6;
    gboolean on_link;
} OutputRoute;

struct CniOutput {
    char *text;
    JsonValue *json; /* owns the borrowed strings */
    CniVersion version;
    GArray *interfaces; /* OutputInterface */
    GArray *addresses;  /* OutputAddress */
    GArray *routes;     /* OutputRoute */
    char *dns_domain;
    char **dns_servers;
    char **dns_searches;
    char **dns_options;
};

static void address_clear(gpointer data)
{
    OutputAddress *address = data;

    g_free(address->address);
    g_free(address->gateway);
}

static void route_clear(gpointer data)
{
    cni_route_free(((OutputRoute *)data)->route);
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
    json_free(output->json);
    g_free(output->text);
    g_free(output);
}

CniRoute *cni_route_new(const char *destination, const char *gateway, guint32 mtu, guint32 metric)
{
    CniRoute *route = g_new0(CniRoute, 1);

    route->destination = g_strdup(destination);
    route->gateway = g_strdup(gateway);
    route->mtu = mtu;
    route->metric = metric;
    return route;
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

/* An address in its canonical form. */
static gboolean ip_read(const char *text, char **ret_address, gboolean *ret_ipv6, GError **error)
{
    g_autoptr(GInetAddress) address = g_inet_address_new_from_string(text);

    if (address == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%.64s\" is no IP address", text);
    *ret_address = g_inet_address_to_string(address);
    *ret_ipv6 = g_inet_address_get_family(address) == G_SOCKET_FAMILY_IPV6;
    return TRUE;
}

static gboolean cidr_read(const char *text, char **ret_cidr, gboolean *ret_ipv6, GError **error)
{
    const char *slash = strchr(text, '/');
    g_autofree char *host = NULL;
    g_autofree char *address = NULL;
    guint64 prefix;
    gboolean ipv6;

    if (slash == NULL)
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%.64s\" is no address with a prefix length", text);
    host = g_strndup(text, (gsize)(slash - text));
    if (!ip_read(host, &address, &ipv6, error))
        return FALSE;
    if (!g_ascii_string_to_unsigned(slash + 1, 10, 0, ipv6 ? 128 : 32, &prefix, NULL))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%.64s\" has no valid prefix length", text);
    *ret_cidr = g_strdup_printf("%s/%u", address, (guint)prefix);
    *ret_ipv6 = ipv6;
    return TRUE;
}

/* An optional gateway, which must be of the family of what it serves. */
static gboolean gateway_read(const JsonValue *object, const char *key, gboolean ipv6, char **ret_gateway,
                             GError **error)
{
    g_autofree char *gateway = NULL;
    const char *text = "";
    gboolean gateway_ipv6;

    if (!json_get_string(object, key, &text, error))
        return FALSE;
    if (*text == '\0')
        return TRUE;
    if (!ip_read(text, &gateway, &gateway_ipv6, error))
        return FALSE;
    if (gateway_ipv6 != ipv6)
        return fail(error, STATUS_INVALID_ARGUMENT, "gateway %s is of another address family", gateway);
    *ret_gateway = g_steal_pointer(&gateway);
    return TRUE;
}

static gboolean mac_is_valid(const char *mac)
{
    if (strlen(mac) > 64)
        return FALSE;
    for (; *mac != '\0'; mac++)
        if (!g_ascii_isxdigit(*mac) && strchr(":-.", *mac) == NULL)
            return FALSE;
    return TRUE;
}

static gboolean mac_is_ethernet(const char *mac)
{
    for (guint i = 0; i < 17; i++)
        if (i % 3 == 2 ? mac[i] != ':' : !g_ascii_isxdigit(mac[i]))
            return FALSE;
    return mac[17] == '\0';
}

static gboolean interface_read(CniOutput *output, const JsonValue *json, GError **error)
{
    OutputInterface interface = {.name = "", .mac = "", .sandbox = ""};

    if (!json_get_string(json, "name", &interface.name, error) ||
        !json_get_string(json, "mac", &interface.mac, error) ||
        !json_get_string(json, "sandbox", &interface.sandbox, error) ||
        !json_get_uint32(json, "mtu", &interface.mtu, error))
        return FALSE;
    if (*interface.name == '\0' || strlen(interface.name) > 64)
        return fail(error, STATUS_INVALID_ARGUMENT, "an interface without a proper name");
    if (!mac_is_valid(interface.mac))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"mac\" of %s is no hardware address", interface.name);
    g_array_append_val(output->interfaces, interface);
    return TRUE;
}

static gboolean interfaces_read(CniOutput *output, GError **error)
{
    const JsonValue *array = NULL;

    if (!json_get_array(output->json, "interfaces", MAX_INTERFACES, &array, error))
        return FALSE;
    for (gsize i = 0; i < json_length(array); i++)
        if (!interface_read(output, json_at(array, i), error))
            return FALSE;
    return TRUE;
}

/* Takes address and gateway over when it succeeds. */
static gboolean address_add(CniOutput *output, OutputAddress *address, GError **error)
{
    for (guint i = 0; i < output->addresses->len; i++) {
        const OutputAddress *other = &g_array_index(output->addresses, OutputAddress, i);

        if (other->interface == address->interface && strcmp(other->address, address->address) == 0)
            return fail(error, STATUS_INVALID_ARGUMENT, "address %s is given twice", address->address);
    }
    g_array_append_val(output->addresses, *address);
    *address = (OutputAddress){0};
    return TRUE;
}

static gboolean address_read(CniOutput *output, const JsonValue *json, const char *cidr_key, GError **error)
{
    OutputAddress address = {.interface = NO_INTERFACE};
    const char *cidr = "";
    const char *family = "";
    gboolean good;

    good = json_get_string(json, cidr_key, &cidr, error) &&
           json_get_uint32(json, "interface", &address.interface, error) &&
           json_get_string(json, "version", &family, error) &&
           cidr_read(cidr, &address.address, &address.ipv6, error) &&
           gateway_read(json, "gateway", address.ipv6, &address.gateway, error);
    if (good && address.interface != NO_INTERFACE && address.interface >= output->interfaces->len)
        good = fail(error, STATUS_INVALID_ARGUMENT, "%s belongs to interface %u, which is not there",
                    address.address, address.interface);
    if (good && *family != '\0' && strcmp(family, address.ipv6 ? "6" : "4") != 0)
        good = fail(error, STATUS_INVALID_ARGUMENT, "%s is not of version %.8s", address.address, family);
    good = good && address_add(output, &address, error);
    address_clear(&address);
    return good;
}

static gboolean route_read(CniOutput *output, const JsonValue *json, GError **error)
{
    OutputRoute route = {0};
    g_autofree char *cidr = NULL;
    g_autofree char *gateway = NULL;
    const char *destination = "";
    guint32 mtu = 0;
    guint32 metric = 0;
    guint32 scope = 0;

    if (!json_get_string(json, "dst", &destination, error) ||
        !cidr_read(destination, &cidr, &route.ipv6, error) ||
        !gateway_read(json, "gw", route.ipv6, &gateway, error) ||
        !json_get_uint32(json, "mtu", &mtu, error) || !json_get_uint32(json, "priority", &metric, error) ||
        !json_get_uint32(json, "scope", &scope, error))
        return FALSE;
    route.on_link = scope == SCOPE_LINK;
    route.route = cni_route_new(cidr, gateway, mtu, metric);
    g_array_append_val(output->routes, route);
    return TRUE;
}

static gboolean routes_read(CniOutput *output, const JsonValue *object, GError **error)
{
    const JsonValue *array = NULL;

    if (!json_get_array(object, "routes", MAX_ROUTES, &array, error))
        return FALSE;
    if (output->routes->len + json_length(array) > MAX_ROUTES)
        return fail(error, STATUS_INVALID_ARGUMENT, "more than %d routes", MAX_ROUTES);
    for (gsize i = 0; i < json_length(array); i++)
        if (!route_read(output, json_at(array, i), error))
            return FALSE;
    return TRUE;
}

/* 0.3.0 and later. */
static gboolean ips_read(CniOutput *output, GError **error)
{
    const JsonValue *array = NULL;

    if (!json_get_array(output->json, "ips", MAX_ADDRESSES, &array, error))
        return FALSE;
    for (gsize i = 0; i < json_length(array); i++)
        if (!address_read(output, json_at(array, i), "address", error))
            return FALSE;
    return routes_read(output, output->json, error);
}

/* 0.1.0 and 0.2.0: at most one address of each family, with its routes. */
static gboolean ip4_ip6_read(CniOutput *output, GError **error)
{
    static const char *const keys[] = {"ip4", "ip6"};

    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        const JsonValue *object = NULL;

        if (!json_get_object(output->json, keys[i], &object, error))
            return FALSE;
        if (object == NULL)
            continue;
        if (!address_read(output, object, "ip", error) || !routes_read(output, object, error))
            return FALSE;
        if (g_array_index(output->addresses, OutputAddress, output->addresses->len - 1).ipv6 != (i == 1))
            return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is of the other family", keys[i]);
    }
    return TRUE;
}

static gboolean dns_read(CniOutput *output, GError **error)
{
    const JsonValue *dns = NULL;
    const char *domain = "";

    if (!json_get_object(output->json, "dns", &dns, error) ||
        !json_get_string(dns, "domain", &domain, error) ||
        !json_get_strv(dns, "nameservers", MAX_DNS, &output->dns_servers, error) ||
        !json_get_strv(dns, "search", MAX_DNS, &output->dns_searches, error) ||
        !json_get_strv(dns, "options", MAX_DNS, &output->dns_options, error))
        return FALSE;
    for (gsize i = 0; output->dns_servers != NULL && output->dns_servers[i] != NULL; i++)
        if (!g_hostname_is_ip_address(output->dns_servers[i]))
            return fail(error, STATUS_INVALID_ARGUMENT, "name server \"%.64s\" is no IP address",
                        output->dns_servers[i]);
    output->dns_domain = g_strdup(domain);
    return TRUE;
}

static gboolean output_read(CniOutput *output, CniVersion asked, GError **error)
{
    const char *version = cni_version_name(asked);

    if (!YAJL_IS_OBJECT(output->json))
        return fail(error, STATUS_INVALID_ARGUMENT, "it is no JSON object");
    if (!json_get_string(output->json, "cniVersion", &version, error))
        return FALSE;
    if (!cni_version_from_name(version, &output->version))
        return fail(error, STATUS_INVALID_ARGUMENT, "cniVersion \"%.32s\" is not supported", version);
    if (output->version < CNI_VERSION_0_3_0)
        return ip4_ip6_read(output, error) && dns_read(output, error);
    return interfaces_read(output, error) && ips_read(output, error) && dns_read(output, error);
}

/* Takes json over. */
static CniOutput *output_new(JsonValue *json)
{
    CniOutput *output = g_new0(CniOutput, 1);

    output->json = json;
    output->interfaces = g_array_new(FALSE, TRUE, sizeof(OutputInterface));
    output->addresses = g_array_new(FALSE, TRUE, sizeof(OutputAddress));
    output->routes = g_array_new(FALSE, TRUE, sizeof(OutputRoute));
    g_array_set_clear_func(output->addresses, address_clear);
    g_array_set_clear_func(output->routes, route_clear);
    return output;
}

CniOutput *cni_output_parse(const char *text, gsize length, CniVersion asked, GError **error)
{
    g_autoptr(GError) problem = NULL;
    CniOutput *output = NULL;
    JsonValue *json = NULL;

    if (length <= MAX_TEXT)
        json = json_parse(text, length, "stdout", &problem);
    else
        fail(&problem, STATUS_INVALID_ARGUMENT, "it is too large");
    if (json != NULL)
        output = output_new(json);
    if (output != NULL && output_read(output, asked, &problem)) {
        output->text = g_strndup(text, length);
        return output;
    }
    cni_output_free(output);
    fail(error, STATUS_INTERNAL, "unusable result: %s", problem->message);
    return NULL;
}

static void put_member(JsonWriter *writer, const char *key, const char *value)
{
    if (value == NULL || *value == '\0')
        return;
    json_put_key(writer, key);
    json_put_string(writer, value);
}

static void put_number(JsonWriter *writer, const char *key, guint32 value)
{
    if (value == 0)
        return;
    json_put_key(writer, key);
    json_put_int(writer, value);
}

static void write_interfaces(const CniOutput *output, JsonWriter *writer)
{
    json_put_key(writer, "interfaces");
    yajl_gen_array_open(writer);
    for (guint i = 0; i < output->interfaces->len; i++) {
        const OutputInterface *interface = &g_array_index(output->interfaces, OutputInterface, i);

        yajl_gen_map_open(writer);
        put_member(writer, "name", interface->name);
        put_member(writer, "mac", interface->mac);
        put_number(writer, "mtu", interface->mtu);
        put_member(writer, "sandbox", interface->sandbox);
        yajl_gen_map_close(writer);
    }
    yajl_gen_array_close(writer);
}

static void write_ips(const CniOutput *output, JsonWriter *writer, gboolean with_version)
{
    json_put_key(writer, "ips");
    yajl_gen_array_open(writer);
    for (guint i = 0; i < output->addresses->len; i++) {
        const OutputAddress *address = &g_array_index(output->addresses, OutputAddress, i);

        yajl_gen_map_open(writer);
        if (with_version)
            put_member(writer, "version", address->ipv6 ? "6" : "4");
        if (address->interface != NO_INTERFACE) {
            json_put_key(writer, "interface");
            json_put_int(writer, address->interface);
        }
        put_member(writer, "address", address->address);
        put_member(writer, "gateway", address->gateway);
        yajl_gen_map_close(writer);
    }
    yajl_gen_array_close(writer);
}

enum { BOTH_FAMILIES = -1 };

/* family: FALSE for IPv4, TRUE for IPv6, or BOTH_FAMILIES. */
static void write_routes(const CniOutput *output, JsonWriter *writer, int family)
{
    json_put_key(writer, "routes");
    yajl_gen_array_open(writer);
    for (guint i = 0; i < output->routes->len; i++) {
        const OutputRoute *route = &g_array_index(output->routes, OutputRoute, i);

        if (family != BOTH_FAMILIES && route->ipv6 != family)
            continue;
        yajl_gen_map_open(writer);
        put_member(writer, "dst", route->route->destination);
        put_member(writer, "gw", route->route->gateway);
        put_number(writer, "mtu", route->route->mtu);
        put_number(writer, "priority", route->route->metric);
        if (route->on_link)
            put_number(writer, "scope", SCOPE_LINK);
        yajl_gen_map_close(writer);
    }
    yajl_gen_array_close(writer);
}

/* The old shape has room for the first address of each family. */
static void write_ip4_ip6(const CniOutput *output, JsonWriter *writer)
{
    for (gboolean ipv6 = FALSE; ipv6 <= TRUE; ipv6++) {
        for (guint i = 0; i < output->addresses->len; i++) {
            const OutputAddress *address = &g_array_index(output->addresses, OutputAddress, i);

            if (address->ipv6 != ipv6)
                continue;
            json_put_key(writer, ipv6 ? "ip6" : "ip4");
            yajl_gen_map_open(writer);
            put_member(writer, "ip", address->address);
            put_member(writer, "gateway", address->gateway);
            write_routes(output, writer, ipv6);
            yajl_gen_map_close(writer);
            break;
        }
    }
}

static void write_dns(const CniOutput *output, JsonWriter *writer)
{
    json_put_key(writer, "dns");
    yajl_gen_map_open(writer);
    put_member(writer, "domain", output->dns_domain);
    json_put_key(writer, "nameservers");
    json_put_strv(writer, (const char *const *)output->dns_servers);
    json_put_key(writer, "search");
    json_put_strv(writer, (const char *const *)output->dns_searches);
    json_put_key(writer, "options");
    json_put_strv(writer, (const char *const *)output->dns_options);
    yajl_gen_map_close(writer);
}

static void write_converted(const CniOutput *output, JsonWriter *writer, CniVersion version)
{
    if (version < CNI_VERSION_0_3_0) {
        write_ip4_ip6(output, writer);
    } else {
        write_interfaces(output, writer);
        write_ips(output, writer, version < CNI_VERSION_1_0_0);
        write_routes(output, writer, BOTH_FAMILIES);
    }
    write_dns(output, writer);
}

char *cni_output_json(const CniOutput *output, CniVersion version)
{
    static const char *const replaced[] = {"cniVersion", NULL};
    g_autoptr(JsonWriter) writer = json_writer_new();

    yajl_gen_map_open(writer);
    put_member(writer, "cniVersion", cni_version_name(version));
    if (cni_version_same_shape(output->version, version))
        json_put_members(writer, output->json, replaced);
    else
        write_converted(output, writer, version);
    yajl_gen_map_close(writer);
    return json_writer_text(writer);
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

/* Which of the interfaces is ifname inside the sandbox; NO_INTERFACE when the result does not mention it. */
static gboolean interface_find(const CniOutput *output, const char *ifname, guint32 *ret_index,
                               GError **error)
{
    guint32 found = NO_INTERFACE;

    for (guint i = 0; i < output->interfaces->len; i++) {
        const OutputInterface *interface = &g_array_index(output->interfaces, OutputInterface, i);

        if (*interface->sandbox == '\0' || strcmp(interface->name, ifname) != 0)
            continue;
        if (found != NO_INTERFACE)
            return fail(error, STATUS_INTERNAL, "unusable result: interface %s is given twice", ifname);
        if (*interface->mac != '\0' && !mac_is_ethernet(interface->mac))
            return fail(error, STATUS_INTERNAL, "unusable result: \"%s\" of %s is no Ethernet address",
                        interface->mac, ifname);
        found = i;
    }
    *ret_index = found;
    return TRUE;
}

/* Plugins before 0.3.0 and some after do not say which interface has the address: then it is ours. */
static void result_add_addresses(const CniOutput *output, guint32 interface, CniResult *result)
{
    for (guint i = 0; i < output->addresses->len; i++) {
        const OutputAddress *from = &g_array_index(output->addresses, OutputAddress, i);
        CniAddress *to;

        if (from->interface != NO_INTERFACE && from->interface != interface)
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

static void result_add_routes(const CniOutput *output, CniResult *result)
{
    for (guint i = 0; i < output->routes->len; i++) {
        const OutputRoute *from = &g_array_index(output->routes, OutputRoute, i);
        const char *gateway = from->route->gateway;

        if (gateway == NULL && !from->on_link)
            gateway = family_gateway(result, from->ipv6);
        g_ptr_array_add(result->routes, cni_route_new(from->route->destination, gateway, from->route->mtu,
                                                      from->route->metric));
    }
}

CniResult *cni_output_result(const CniOutput *output, const char *ifname, GError **error)
{
    guint32 interface = NO_INTERFACE;
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
    if (interface != NO_INTERFACE) {
        const OutputInterface *found = &g_array_index(output->interfaces, OutputInterface, interface);

        result->mac = *found->mac != '\0' ? g_ascii_strdown(found->mac, -1) : NULL;
        result->mtu = found->mtu;
    }
    result_add_addresses(output, interface, result);
    result_add_routes(output, result);
    return result;
}

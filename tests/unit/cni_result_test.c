/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/cni_result.h"

#include <string.h>

#include "cni-bridge/cni_output_json.h"
#include "common/error.h"
#include "tests/unit/harness.h"

#define INTERFACES                                                                                           \
    "\"interfaces\":[{\"name\":\"cni0\",\"mac\":\"02:00:00:00:00:01\"},"                                     \
    "{\"name\":\"eth0\",\"mac\":\"02:AA:00:00:00:02\",\"mtu\":1400,\"sandbox\":\"/run/netns/x\"}],"

static CniOutput *parse(const char *text, GError **error)
{
    return cni_output_parse(text, strlen(text), CNI_VERSION_1_0_0, error);
}

static CniResult *result_of(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CniOutput) output = parse(text, &error);
    CniResult *result = NULL;

    TEST_OK(output, error);
    if (output != NULL) {
        result = cni_output_result(output, "eth0", &error);
        TEST_OK(result, error);
    }
    return result;
}

static void converts(const char *text, CniVersion version, const char *wanted)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CniOutput) output = parse(text, &error);
    g_autofree char *json = NULL;

    TEST_OK(output, error);
    json = cni_output_json(output, version);
    if (strcmp(json, wanted) != 0)
        g_printerr("got %s\n", json);
    CU_ASSERT_STRING_EQUAL(json, wanted);
}

static void refused(const char *text, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CniOutput) output = parse(text, &error);
    CniResult *result = output != NULL ? cni_output_result(output, "eth0", &error) : NULL;

    TEST_FAILS(result, error, STATUS_INTERNAL, words);
}

static void newest_version_is_read(void)
{
    g_autoptr(CniResult) result = result_of(
        "{\"cniVersion\":\"1.1.0\"," INTERFACES
        "\"ips\":[{\"interface\":1,\"address\":\"10.1.2.3/24\",\"gateway\":\"10.1.2.1\"},"
        "{\"interface\":0,\"address\":\"10.1.2.1/24\"},{\"interface\":1,\"address\":\"fd00::5/64\"}],"
        "\"routes\":[{\"dst\":\"0.0.0.0/0\",\"mtu\":1300,\"priority\":5},{\"dst\":\"10.9.0.0/"
        "16\",\"scope\":253},"
        "{\"dst\":\"fd01::/16\",\"gw\":\"fd00::1\"}],"
        "\"dns\":{\"nameservers\":[\"10.0.0.10\",\"fd00::a\"],\"search\":[\"svc\"],\"options\":[\"ndots:5\"]}"
        "}");
    const CniAddress *second;
    const CniRoute *first_route;

    CU_ASSERT_STRING_EQUAL(result->mac, "02:aa:00:00:00:02");
    CU_ASSERT_EQUAL(result->mtu, 1400);
    CU_ASSERT_EQUAL_FATAL(result->addresses->len, 2);
    second = g_ptr_array_index(result->addresses, 1);
    CU_ASSERT_STRING_EQUAL(second->address, "fd00::5/64");
    CU_ASSERT_TRUE(second->ipv6);
    CU_ASSERT_PTR_NULL(second->gateway);
    CU_ASSERT_EQUAL_FATAL(result->routes->len, 3);
    first_route = g_ptr_array_index(result->routes, 0);
    CU_ASSERT_STRING_EQUAL(first_route->gateway, "10.1.2.1");
    CU_ASSERT_EQUAL(first_route->mtu, 1300);
    CU_ASSERT_EQUAL(first_route->metric, 5);
    CU_ASSERT_PTR_NULL(((CniRoute *)g_ptr_array_index(result->routes, 1))->gateway);
    CU_ASSERT_STRING_EQUAL(result->dns_servers[1], "fd00::a");
    CU_ASSERT_STRING_EQUAL(result->dns_options[0], "ndots:5");
}

static void middle_versions_are_read(void)
{
    static const char *const versions[] = {"0.3.0", "0.3.1", "0.4.0"};

    for (gsize i = 0; i < G_N_ELEMENTS(versions); i++) {
        g_autofree char *text =
            g_strdup_printf("{\"cniVersion\":\"%s\"," INTERFACES
                            "\"ips\":[{\"version\":\"4\",\"interface\":1,\"address\":\"10.1.2.3/24\"}]}",
                            versions[i]);
        g_autoptr(CniResult) result = result_of(text);

        CU_ASSERT_EQUAL(result->addresses->len, 1);
        CU_ASSERT_STRING_EQUAL(result->json, text);
    }
}

static void oldest_versions_are_read(void)
{
    g_autoptr(CniResult) result =
        result_of("{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.1.2.3/24\",\"gateway\":\"10.1.2.1\","
                  "\"routes\":[{\"dst\":\"0.0.0.0/0\"}]},\"ip6\":{\"ip\":\"fd00::5/64\"}}");

    CU_ASSERT_EQUAL(result->addresses->len, 2);
    CU_ASSERT_EQUAL_FATAL(result->routes->len, 1);
    CU_ASSERT_STRING_EQUAL(((CniRoute *)g_ptr_array_index(result->routes, 0))->gateway, "10.1.2.1");
    CU_ASSERT_PTR_NULL(result->mac);
    CU_ASSERT_PTR_NULL(result->dns_servers);
}

static void missing_version_is_the_configurations(void)
{
    g_autoptr(CniResult) result = result_of("{\"ips\":[{\"address\":\"10.1.2.3/24\"}]}");

    CU_ASSERT_EQUAL(result->addresses->len, 1);
}

static void same_shape_keeps_unknown_keys(void)
{
    converts("{\"x\":{\"y\":[1]},\"cniVersion\":\"1.1.0\",\"ips\":[]}", CNI_VERSION_1_0_0,
             "{\"cniVersion\":\"1.0.0\",\"x\":{\"y\":[1]},\"ips\":[]}");
}

static void shapes_are_converted(void)
{
    static const char modern[] =
        "{\"cniVersion\":\"1.0.0\",\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/n\"}],"
        "\"ips\":[{\"interface\":0,\"address\":\"10.1.2.3/24\",\"gateway\":\"10.1.2.1\"}],"
        "\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}";
    static const char dns[] = "\"dns\":{\"nameservers\":[],\"search\":[],\"options\":[]}}";
    g_autofree char *middle =
        g_strdup_printf("{\"cniVersion\":\"0.4.0\",\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/"
                        "n\"}],\"ips\":[{\"version\":\"4\","
                        "\"interface\":0,\"address\":\"10.1.2.3/"
                        "24\",\"gateway\":\"10.1.2.1\"}],\"routes\":[{\"dst\":\"0.0.0.0/0\"}],%s",
                        dns);
    g_autofree char *old =
        g_strdup_printf("{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"10.1.2.3/24\",\"gateway\":"
                        "\"10.1.2.1\",\"routes\":[{\"dst\":\"0.0.0.0/0\"}]},%s",
                        dns);
    g_autofree char *new = g_strdup_printf("{\"cniVersion\":\"1.0.0\",\"interfaces\":[],\"ips\":[{"
                                           "\"address\":\"10.1.2.3/24\",\"gateway\":\"10.1.2.1\"}],"
                                           "\"routes\":[{\"dst\":\"0.0.0.0/0\"}],%s",
                                           dns);

    converts(modern, CNI_VERSION_0_4_0, middle);
    converts(modern, CNI_VERSION_0_2_0, old);
    converts(old, CNI_VERSION_1_0_0, new);
}

static void broken_results_are_refused(void)
{
    g_autofree char *many = g_strnfill(2 << 20, ' ');

    refused("", "unusable result: not valid JSON");
    refused("null", "unusable result: expected an object");
    refused("{\"cniVersion\":\"3.0.0\"}", "\"3.0.0\" is not supported");
    refused("{\"ips\":{}}", "result.ips: expected an array");
    refused("{\"ips\":[{}]}", "is not an address with a prefix");
    refused("{\"ips\":[{\"address\":\"10.1.2.3\"}]}", "is not an address with a prefix");
    refused("{\"ips\":[1]}", "result.ips[0]: expected an object");
    refused("{\"dns\":{},\"dns\":{}}", "result.dns: the key occurs twice");
    refused("{\"ips\":[{\"address\":\"10.1.2.3/33\"}]}", "no valid prefix length");
    refused("{\"ips\":[{\"address\":\"10.1.2.3/2x\"}]}", "no valid prefix length");
    refused("{\"ips\":[{\"address\":\"10.1.2/24\"}]}", "is not an IP address");
    refused("{\"ips\":[{\"address\":\"10.1.2.3/24\\n\"}]}",
            "result.ips[0].address: expected a string without control characters");
    refused("{\"ips\":[{\"address\":\"10.1.2.3/24\",\"gateway\":\"fd00::1\"}]}", "another address family");
    refused("{\"ips\":[{\"address\":\"10.1.2.3/24\",\"version\":\"6\"}]}", "not of version 6");
    refused("{\"ips\":[{\"address\":\"10.1.2.3/24\",\"interface\":0}]}",
            "interface 0, which is not in the result");
    refused("{\"ips\":[{\"address\":\"10.1.2.3/24\",\"interface\":-1}]}",
            "result.ips[0].interface: expected a whole number from 0");
    refused("{\"ips\":[{\"address\":\"10.1.2.3/24\"},{\"address\":\"10.1.2.3/24\"}]}", "given twice");
    refused("{\"interfaces\":[{\"name\":\"\"}]}", "result.interfaces[0]: the interface has no name");
    refused("{\"interfaces\":[{\"name\":\"eth0\",\"mac\":\"no\"}]}", "is not a hardware address");
    refused("{\"interfaces\":[{\"name\":\"eth0\",\"mac\":\"02:00\",\"sandbox\":\"/n\"}]}",
            "is not an Ethernet address");
    refused(
        "{\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"/n\"},{\"name\":\"eth0\",\"sandbox\":\"/n\"}]}",
        "eth0 is given twice");
    refused("{\"routes\":[{\"dst\":\"default\"}]}", "is not an address with a prefix");
    refused("{\"routes\":[{\"dst\":\"0.0.0.0/0\",\"mtu\":4294967296}]}",
            "result.routes[0].mtu: expected a whole number from 0");
    refused("{\"dns\":{\"nameservers\":[\"ns.example\"]}}", "is not an IP address");
    refused("{\"cniVersion\":\"0.2.0\",\"ip4\":{\"ip\":\"fd00::5/64\"}}",
            "result.ip4: the address is of the other family");
    refused(many, "larger than 1048576 bytes");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a 1.1 result is read: addresses of the interface, routes with gateways, dns",
         newest_version_is_read},
        {"results of 0.3 and 0.4 are read", middle_versions_are_read},
        {"results of 0.1 and 0.2 are read", oldest_versions_are_read},
        {"a result without version has that of the configuration", missing_version_is_the_configurations},
        {"unknown keys survive where nothing must be converted", same_shape_keeps_unknown_keys},
        {"a result is converted for a plugin of another version", shapes_are_converted},
        {"invalid and hostile results are refused with a reason", broken_results_are_refused},
    };

    return test_main_args("cni_result", cases, G_N_ELEMENTS(cases), argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Networks with the real plugins, in namespaces of the test's own. */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "cni-bridge/cni.h"
#include "cni-bridge/podnet.h"
#include "common/error.h"
#include "common/fileio.h"
#include "tests/unit/harness.h"

enum { SKIPPED = 77, PLUGIN_MS = 30000 };

static const char *const plugin_dirs[] = {"/opt/cni/bin", "/usr/lib/cni", NULL};
static char *directory; /* all files of one run */
static guint skipped;

/* A network with a pod's namespace. */
typedef struct {
    CniNetwork *network;
    char *netns;
    CniAttachment attachment;
} Pod;

static char *shell(const char *command)
{
    const char *argv[] = {"/bin/sh", "-c", command, NULL};
    char *output = NULL;

    g_spawn_sync(NULL, (char **)(void *)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &output, NULL, NULL, NULL);
    return output;
}

/* All that plugins may leave on a node: rules, reserved addresses, interfaces, namespaces. */
static char *node_state(void)
{
    g_autofree char *command =
        g_strdup_printf("iptables-save | grep -v '^[#:]'; ip6tables-save | grep -v '^[#:]'; "
                        "find %s/ipam -type f ! -name 'last_*' ! -name lock 2>/dev/null; "
                        "ip -o link | cut -d: -f2; ls %s/netns 2>/dev/null",
                        directory, directory);

    return shell(command);
}

static CniNetwork *network_load(const char *name, const char *file, const char *text)
{
    g_autofree char *config_dir = g_build_filename(directory, name, NULL);
    g_autofree char *path = g_build_filename(config_dir, file, NULL);
    g_autoptr(GError) error = NULL;
    CniNetwork *network;

    TEST_OK(dir_make(config_dir, 0755, &error), error);
    TEST_OK(file_write_atomic(path, text, strlen(text), 0644, &error), error);
    network = cni_network_load(config_dir, plugin_dirs, &error);
    TEST_OK(network, error);
    return network;
}

#define RANGE_4 "[{\"subnet\":\"10.231.0.0/24\"}]"
#define RANGE_6 "[{\"subnet\":\"fd00:231::/64\"}]"
#define PORTMAP ",{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true},\"snat\":true}"
#define FIREWALL ",{\"type\":\"firewall\"}"
#define BANDWIDTH ",{\"type\":\"bandwidth\",\"capabilities\":{\"bandwidth\":true}}"

/* The first plugin, bridge or ptp, with host-local's files in our directory. */
static char *first_plugin(const char *type, const char *ranges)
{
    return g_strdup_printf(
        "\"type\":\"%s\",\"bridge\":\"cvbr0\",\"isGateway\":true,\"ipMasq\":true,\"mtu\":1400,"
        "\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"%s/ipam\",\"ranges\":[%s],"
        "\"routes\":[{\"dst\":\"0.0.0.0/0\"},{\"dst\":\"::/0\"}]}",
        type, directory, ranges);
}

static Pod pod_on(CniNetwork *network, const char *name)
{
    static const char *const args[] = {"IgnoreUnknown", "1", "K8S_POD_NAME", "web", NULL};
    Pod pod = {.network = network, .netns = g_build_filename(directory, "netns", name, NULL)};
    g_autoptr(GError) error = NULL;

    TEST_OK(netns_create(pod.netns, &error), error);
    pod.attachment =
        (CniAttachment){.container_id = name, .netns_path = pod.netns, .ifname = "eth0", .args = args};
    return pod;
}

static Pod pod_new(const char *name, const char *version, const char *first, const char *more)
{
    g_autofree char *text = g_strdup_printf("{\"cniVersion\":\"%s\",\"name\":\"%s\",\"plugins\":[{%s}%s]}",
                                            version, name, first, more);

    return pod_on(network_load(name, "10-test.conflist", text), name);
}

static void pod_clear(Pod *pod)
{
    netns_delete(pod->netns, NULL);
    cni_network_unref(pod->network);
    g_free(pod->netns);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pod, pod_clear)

/* Failures that are not crivirt's are counted and printed: what a kernel lacks, and
 * portmap's CHECK, which up to 1.1.1 looks for every rule in the tables of both families. */
static gboolean node_lacks(const GError *error)
{
    static const char *const words[] = {
        "not supported", "Couldn't load", "No such file or directory) in chain",
        "qdisc kind",    "module",        "could not check ipv6 dnat"};

    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        if (strstr(error->message, words[i]) == NULL)
            continue;
        printf("skip cni_plugins: %s\n", error->message);
        skipped++;
        return TRUE;
    }
    return FALSE;
}

static gboolean pod_add(Pod *pod, CniResult **ret_result)
{
    Deadline deadline = deadline_in_ms(PLUGIN_MS);
    g_autoptr(GError) error = NULL;

    if (cni_network_add(pod->network, &pod->attachment, &deadline, ret_result, &error)) {
        pod->attachment.cached_result = (*ret_result)->json;
        return TRUE;
    }
    if (!node_lacks(error)) {
        g_printerr("%s\n", error->message);
        CU_FAIL("ADD failed");
    }
    return FALSE;
}

static void pod_check(Pod *pod)
{
    Deadline deadline = deadline_in_ms(PLUGIN_MS);
    g_autoptr(GError) error = NULL;

    if (cni_network_check(pod->network, &pod->attachment, &deadline, &error) || node_lacks(error))
        return;
    g_printerr("%s\n", error->message);
    CU_FAIL("CHECK failed");
}

static void pod_del(Pod *pod)
{
    Deadline deadline = deadline_in_ms(PLUGIN_MS);
    g_autoptr(GError) error = NULL;

    TEST_OK(cni_network_del(pod->network, &pod->attachment, &deadline, &error), error);
}

/* What the sandbox does to a pod between ADD and DEL. */
static void pod_wire(Pod *pod, const CniResult *result)
{
    g_autoptr(GError) error = NULL;

    TEST_OK(tap_create("cvtap", 0, "one", &error), error);
    TEST_OK(tap_move("cvtap", pod->netns, result->mtu, &error), error);
    TEST_OK(redirect_install(pod->netns, "eth0", "cvtap", result->addresses, &error), error);
}

static void pod_unwire(Pod *pod)
{
    g_autoptr(GError) error = NULL;

    TEST_OK(tap_delete("cvtap", pod->netns, &error), error);
}

/* DEL removes all that ADD made, and may be repeated. */
static void pod_leaves_nothing(Pod *pod, const char *before)
{
    g_autofree char *after = NULL;

    pod_del(pod);
    pod_del(pod);
    after = node_state();
    if (strcmp(before, after) != 0)
        g_printerr("before:\n%s\nafter:\n%s\n", before, after);
    CU_ASSERT_STRING_EQUAL(before, after);
}

/* The first pod of a node makes the bridge and the chains that all pods share. */
static void shared_parts_make(void)
{
    static const CniPortMapping ports[] = {{"tcp", 80, 18080, NULL}};
    g_autofree char *first = first_plugin("bridge", RANGE_4 "," RANGE_6);
    g_auto(Pod) pod = pod_new("first", "1.0.0", first, PORTMAP FIREWALL);
    g_autoptr(CniResult) result = NULL;

    pod.attachment.port_mappings = ports;
    pod.attachment.n_port_mappings = 1;
    if (pod_add(&pod, &result))
        pod_del(&pod);
}

static const CniRoute *route_to(const CniResult *result, const char *destination)
{
    for (guint i = 0; i < result->routes->len; i++) {
        const CniRoute *route = g_ptr_array_index(result->routes, i);

        if (strcmp(route->destination, destination) == 0)
            return route;
    }
    return NULL;
}

static void route_goes_by(const CniResult *result, const char *destination, const char *gateway)
{
    const CniRoute *route = route_to(result, destination);

    CU_ASSERT_TRUE(route != NULL && g_strcmp0(route->gateway, gateway) == 0);
}

static void both_families_at_once(void)
{
    g_autofree char *first = first_plugin("bridge", RANGE_4 "," RANGE_6);
    g_auto(Pod) pod = pod_new("dual", "1.0.0", first, FIREWALL);
    g_autofree char *before = node_state();
    g_autoptr(CniResult) result = NULL;
    const CniAddress *address;

    if (!pod_add(&pod, &result))
        return;
    CU_ASSERT_EQUAL_FATAL(result->addresses->len, 2);
    address = g_ptr_array_index(result->addresses, 0);
    CU_ASSERT_TRUE(g_str_has_prefix(address->address, "10.231.0.") &&
                   g_str_has_suffix(address->address, "/24"));
    CU_ASSERT_STRING_EQUAL(address->gateway, "10.231.0.1");
    address = g_ptr_array_index(result->addresses, 1);
    CU_ASSERT_TRUE(g_str_has_prefix(address->address, "fd00:231::") && address->ipv6);
    route_goes_by(result, "0.0.0.0/0", "10.231.0.1");
    route_goes_by(result, "::/0", "fd00:231::1");
    CU_ASSERT_EQUAL(result->mtu, 1400);
    CU_ASSERT_EQUAL(strlen(result->mac), 17);
    pod_check(&pod);
    pod_wire(&pod, result);
    pod_check(&pod);
    pod_unwire(&pod);
    pod_leaves_nothing(&pod, before);
}

static void ports_and_rates(void)
{
    static const CniPortMapping ports[] = {{"tcp", 80, 18080, NULL}, {"udp", 53, 18053, "127.0.0.1"}};
    g_autofree char *first = first_plugin("bridge", RANGE_4);
    g_auto(Pod) pod = pod_new("ports", "0.4.0", first, PORTMAP FIREWALL BANDWIDTH);
    g_autofree char *before = node_state();
    g_autofree char *during = NULL;
    g_autofree char *rates = NULL;
    g_autoptr(CniResult) result = NULL;

    pod.attachment.port_mappings = ports;
    pod.attachment.n_port_mappings = G_N_ELEMENTS(ports);
    pod.attachment.ingress_bits_per_s = 100000000;
    pod.attachment.egress_bits_per_s = 50000000;
    if (!pod_add(&pod, &result))
        return;
    during = node_state();
    CU_ASSERT_PTR_NOT_NULL(strstr(during, "--dport 18080 -j DNAT --to-destination 10.231.0."));
    CU_ASSERT_PTR_NOT_NULL(strstr(during, "-d 127.0.0.1/32 -p udp -m udp --dport 18053 -j DNAT"));
    rates = shell("tc qdisc show");
    CU_ASSERT_PTR_NOT_NULL(strstr(rates, "rate 100Mbit"));
    CU_ASSERT_PTR_NOT_NULL(strstr(rates, "rate 50Mbit"));
    pod_check(&pod);
    pod_wire(&pod, result);
    pod_check(&pod);
    pod_unwire(&pod);
    pod_leaves_nothing(&pod, before);
}

static void namespace_gone_before_del(void)
{
    static const CniPortMapping ports[] = {{"tcp", 80, 18080, NULL}};
    g_autofree char *first = first_plugin("bridge", RANGE_4);
    g_auto(Pod) pod = {0};
    g_autofree char *before = node_state();
    g_autofree char *after = NULL;
    g_autoptr(CniResult) result = NULL;
    g_autoptr(GError) error = NULL;

    pod = pod_new("gone", "1.0.0", first, PORTMAP FIREWALL);
    pod.attachment.port_mappings = ports;
    pod.attachment.n_port_mappings = 1;
    if (!pod_add(&pod, &result))
        return;
    TEST_OK(netns_delete(pod.netns, &error), error);
    pod.attachment.netns_path = "";
    pod_del(&pod);
    pod_del(&pod);
    /* Address, link, ports and firewall are released. bridge itself leaves its masquerade rule: it asks the
     * interface, not prevResult, for the addresses. */
    g_free(shell("iptables-save -t nat | grep -v 'name: .*gone' | iptables-restore -T nat"));
    after = node_state();
    CU_ASSERT_STRING_EQUAL(before, after);
}

static void failure_in_the_middle(void)
{
    static const CniPortMapping ports[] = {{"tcp", 80, 18080, NULL}};
    g_autofree char *first = first_plugin("bridge", RANGE_4 "," RANGE_6);
    g_auto(Pod) pod =
        pod_new("middle", "1.0.0", first,
                PORTMAP ",{\"type\":\"tuning\",\"sysctl\":{\"net.ipv4.no_such_thing\":\"1\"}}" FIREWALL);
    g_autofree char *before = node_state();
    g_autofree char *after = NULL;
    Deadline deadline = deadline_in_ms(PLUGIN_MS);
    CniResult *result = NULL;
    g_autoptr(GError) error = NULL;

    pod.attachment.port_mappings = ports;
    pod.attachment.n_port_mappings = 1;
    TEST_FAILS(cni_network_add(pod.network, &pod.attachment, &deadline, &result, &error), error,
               STATUS_INTERNAL, "network middle: plugin tuning failed ADD");
    after = node_state();
    CU_ASSERT_STRING_EQUAL(before, after);
}

static void exhausted_range(void)
{
    g_autofree char *first =
        first_plugin("bridge", "[{\"subnet\":\"10.231.0.0/24\",\"rangeStart\":\"10.231.0.9\","
                               "\"rangeEnd\":\"10.231.0.9\"}]");
    g_auto(Pod) pod = pod_new("full", "1.0.0", first, "");
    g_autofree char *before = node_state();
    g_autoptr(CniResult) result = NULL;
    CniResult *none = NULL;
    CniAttachment second = pod.attachment;
    Deadline deadline = deadline_in_ms(PLUGIN_MS);
    g_autoptr(GError) error = NULL;

    if (!pod_add(&pod, &result))
        return;
    second.container_id = "full-too";
    second.ifname = "eth1";
    TEST_FAILS(cni_network_add(pod.network, &second, &deadline, &none, &error), error, STATUS_INTERNAL,
               "plugin bridge failed ADD");
    pod_leaves_nothing(&pod, before);
}

static void every_version(void)
{
    static const char *const versions[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0"};
    g_autofree char *first = first_plugin("bridge", RANGE_4);
    g_autofree char *before = node_state();
    g_autofree char *after = NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(versions); i++) {
        g_auto(Pod) pod = pod_new(versions[i], versions[i], first, PORTMAP);
        g_autoptr(CniResult) result = NULL;

        if (!pod_add(&pod, &result))
            continue;
        CU_ASSERT_PTR_NOT_NULL(strstr(result->json, versions[i]));
        CU_ASSERT_EQUAL(result->addresses->len, 1);
        route_goes_by(result, "0.0.0.0/0", "10.231.0.1");
        pod_check(&pod);
        pod_del(&pod);
    }
    after = node_state();
    CU_ASSERT_STRING_EQUAL(before, after);
}

static void oldest_single_plugin(void)
{
    g_autofree char *first = first_plugin("bridge", RANGE_4);
    g_autofree char *text = g_strdup_printf("{\"cniVersion\":\"0.2.0\",\"name\":\"old\",%s}", first);
    g_auto(Pod) pod = pod_on(network_load("old", "10-old.conf", text), "old");
    g_autofree char *before = node_state();
    g_autoptr(CniResult) result = NULL;

    if (!pod_add(&pod, &result))
        return;
    CU_ASSERT_PTR_NOT_NULL(strstr(result->json, "\"ip4\""));
    CU_ASSERT_EQUAL(result->addresses->len, 1);
    pod_leaves_nothing(&pod, before);
}

static void newer_than_the_plugins(void)
{
    g_autofree char *first = first_plugin("bridge", RANGE_4);
    g_auto(Pod) pod = pod_new("new", "1.1.0", first, "");
    Deadline deadline = deadline_in_ms(PLUGIN_MS);
    CniResult *result = NULL;
    g_autoptr(GError) error = NULL;

    if (cni_network_add(pod.network, &pod.attachment, &deadline, &result, NULL)) {
        pod_del(&pod);
        cni_result_free(result);
        return;
    }
    TEST_FAILS(cni_network_add(pod.network, &pod.attachment, &deadline, &result, &error), error,
               STATUS_INTERNAL, "incompatible CNI versions");
    TEST_FAILS(cni_network_status(pod.network, &deadline, &error), error, STATUS_UNAVAILABLE,
               "plugin bridge");
}

/* ptp leads even the pod's own subnet to the gateway, and its result does not contain that route. */
static void routes_that_no_result_tells(void)
{
    g_autofree char *first = first_plugin("ptp", RANGE_4);
    g_auto(Pod) pod = pod_new("ptp", "1.0.0", first, "");
    g_autofree char *before = node_state();
    g_autoptr(CniResult) result = NULL;
    const CniRoute *route;

    if (!pod_add(&pod, &result))
        return;
    route = g_ptr_array_index(result->routes, 0);
    CU_ASSERT_STRING_EQUAL(route->destination, "10.231.0.1/32");
    CU_ASSERT_PTR_NULL(route->gateway);
    route_goes_by(result, "10.231.0.0/24", "10.231.0.1");
    route_goes_by(result, "0.0.0.0/0", "10.231.0.1");
    pod_leaves_nothing(&pod, before);
}

static gpointer add_and_del(gpointer data)
{
    Pod *pod = data;
    g_autoptr(CniResult) result = NULL;

    if (!pod_add(pod, &result))
        return NULL;
    pod_del(pod);
    return g_strdup(((CniAddress *)g_ptr_array_index(result->addresses, 0))->address);
}

static void many_at_once(void)
{
    enum { PODS = 4 };
    g_autofree char *first = first_plugin("bridge", RANGE_4);
    g_autofree char *before = node_state();
    g_autofree char *after = NULL;
    g_autoptr(GHashTable) addresses = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autofree char *text = g_strdup_printf(
        "{\"cniVersion\":\"1.0.0\",\"name\":\"many\",\"plugins\":[{%s}" PORTMAP FIREWALL "]}", first);
    g_autoptr(CniNetwork) network = network_load("many", "10-many.conflist", text);
    char *names[PODS];
    GThread *threads[PODS];
    Pod pods[PODS];

    for (guint i = 0; i < PODS; i++) {
        names[i] = g_strdup_printf("many-%u", i);
        pods[i] = pod_on(cni_network_ref(network), names[i]);
    }
    for (guint i = 0; i < PODS; i++)
        threads[i] = g_thread_new("test", add_and_del, &pods[i]);
    for (guint i = 0; i < PODS; i++) {
        char *address = g_thread_join(threads[i]);

        CU_ASSERT_PTR_NOT_NULL_FATAL(address);
        g_hash_table_add(addresses, address);
        pod_clear(&pods[i]);
        g_free(names[i]);
    }
    CU_ASSERT_EQUAL(g_hash_table_size(addresses), PODS);
    after = node_state();
    CU_ASSERT_STRING_EQUAL(before, after);
}

static int compare_times(gconstpointer a, gconstpointer b)
{
    return (*(const gint64 *)a > *(const gint64 *)b) - (*(const gint64 *)a < *(const gint64 *)b);
}

/* Prints how long the parts of attaching a pod take; no assertion depends on the figures. */
static void measure(void)
{
    enum { ROUNDS = 15, MIDDLE = 7, PARTS = 5 };
    static const char *const names[PARTS] = {"netns_create", "ADD bridge+portmap", "tap and redirect", "DEL",
                                             "netns_delete"};
    static const CniPortMapping ports[] = {{"tcp", 80, 18080, NULL}};
    g_autofree char *first = first_plugin("bridge", RANGE_4);
    gint64 times[PARTS][ROUNDS];

    for (guint i = 0; i < ROUNDS; i++) {
        gint64 at[PARTS + 1];
        g_autoptr(CniResult) result = NULL;
        Pod pod;

        at[0] = g_get_monotonic_time();
        pod = pod_new("measure", "1.0.0", first, PORTMAP);
        pod.attachment.port_mappings = ports;
        pod.attachment.n_port_mappings = 1;
        at[1] = g_get_monotonic_time();
        if (!pod_add(&pod, &result)) {
            pod_clear(&pod);
            return;
        }
        at[2] = g_get_monotonic_time();
        pod_wire(&pod, result);
        at[3] = g_get_monotonic_time();
        pod_del(&pod);
        at[4] = g_get_monotonic_time();
        pod_clear(&pod);
        at[5] = g_get_monotonic_time();
        for (guint part = 0; part < PARTS; part++)
            times[part][i] = at[part + 1] - at[part];
    }
    for (guint part = 0; part < PARTS; part++) {
        qsort(times[part], ROUNDS, sizeof times[part][0], compare_times);
        printf("     p50 %-20s %6.1f ms\n", names[part], (double)times[part][MIDDLE] / 1000);
    }
}

static void own_namespaces(void)
{
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        perror("skip cni_plugins: cannot make namespaces");
        exit(SKIPPED);
    }
    g_free(shell("ip link set lo up"));
}

static void preconditions(void)
{
    if (geteuid() == 0 && g_file_test("/usr/lib/cni/bridge", G_FILE_TEST_IS_EXECUTABLE))
        return;
    printf("skip cni_plugins: needs root and the plugins in /usr/lib/cni\n");
    exit(SKIPPED);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"the first pod makes the bridge and chains that all pods share", shared_parts_make},
        {"a pod gets both families, passes CHECK with its guest attached, and leaves nothing",
         both_families_at_once},
        {"ports and rates are set up, pass CHECK, and leave nothing", ports_and_rates},
        {"DEL works when the namespace is gone", namespace_gone_before_del},
        {"an ADD that fails in the middle leaves nothing", failure_in_the_middle},
        {"an ADD without a free address fails with the plugin's message and leaves nothing", exhausted_range},
        {"lists of every version that the plugins know work", every_version},
        {"a single plugin of version 0.2.0 works", oldest_single_plugin},
        {"a version that the plugins do not support fails with their message", newer_than_the_plugins},
        {"routes that the result does not contain are read from the interface", routes_that_no_result_tells},
        {"pods are attached by several threads at once", many_at_once},
        {"the time that ADD and DEL take is printed", measure},
    };
    int code;

    preconditions();
    signal(SIGPIPE, SIG_IGN);
    own_namespaces();
    directory = test_directory();
    code = test_main_args("cni_plugins", cases, G_N_ELEMENTS(cases), argc, argv);
    printf("%u skipped\n", skipped);
    g_free(directory);
    return code;
}

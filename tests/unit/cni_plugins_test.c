/* Networks with the real plugins, in namespaces of the test's own. */
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
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

/* All that plugins leave on a node: rules, addresses taken, links, queues. */
static char *node_state(void)
{
    g_autofree char *command = g_strdup_printf(
        "iptables-save | grep -v '^[#:]'; ip6tables-save | grep -v '^[#:]'; "
        "ls %s/ipam/* 2>/dev/null | grep -v -e last_reserved -e lock; ip -o link | cut -d: -f2; ls %s/netns",
        directory, directory);

    return shell(command);
}

static CniNetwork *network_load(const char *name, const char *plugins, const char *version)
{
    g_autofree char *config_dir = g_build_filename(directory, name, NULL);
    g_autofree char *path = g_build_filename(config_dir, "10-test.conflist", NULL);
    g_autofree char *text =
        g_strdup_printf("{\"cniVersion\":\"%s\",\"name\":\"%s\",\"plugins\":[%s]}", version, name, plugins);
    g_autoptr(GError) error = NULL;
    CniNetwork *network;

    TEST_OK(dir_make(config_dir, 0755, &error), error);
    TEST_OK(file_write_atomic(path, text, strlen(text), 0644, &error), error);
    network = cni_network_load(config_dir, plugin_dirs, &error);
    TEST_OK(network, error);
    return network;
}

static char *bridge_config(const char *extra)
{
    return g_strdup_printf(
        "{\"type\":\"bridge\",\"bridge\":\"cvbr0\",\"isGateway\":true,\"ipMasq\":true,\"mtu\":1400,"
        "\"ipam\":{\"type\":\"host-local\",\"dataDir\":\"%s/ipam\",\"ranges\":"
        "[[{\"subnet\":\"10.231.0.0/24\"}],[{\"subnet\":\"fd00:231::/64\"}]],"
        "\"routes\":[{\"dst\":\"0.0.0.0/0\"},{\"dst\":\"::/0\"}]}}%s",
        directory, extra);
}

static Pod pod_new(const char *name, const char *extra, const char *version)
{
    g_autofree char *plugins = bridge_config(extra);
    static const char *const args[] = {"IgnoreUnknown", "1", "K8S_POD_NAME", "web", NULL};
    Pod pod = {.network = network_load(name, plugins, version)};
    g_autoptr(GError) error = NULL;

    pod.netns = g_strdup_printf("%s/netns/%s", directory, name);
    TEST_OK(netns_create(pod.netns, &error), error);
    pod.attachment =
        (CniAttachment){.container_id = name, .netns_path = pod.netns, .ifname = "eth0", .args = args};
    return pod;
}

static void pod_clear(Pod *pod)
{
    g_autoptr(GError) error = NULL;

    TEST_OK(netns_delete(pod->netns, &error), error);
    cni_network_unref(pod->network);
    g_free(pod->netns);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Pod, pod_clear)

/* FALSE, counted and printed, when the node's kernel cannot do what the plugins want. */
static gboolean pod_add(Pod *pod, CniResult **ret_result)
{
    Deadline deadline = deadline_in_ms(PLUGIN_MS);
    g_autoptr(GError) error = NULL;

    if (cni_network_add(pod->network, &pod->attachment, &deadline, ret_result, &error))
        return TRUE;
    if (strstr(error->message, "not supported") != NULL || strstr(error->message, "Couldn't load") != NULL) {
        printf("skip cni_plugins: %s\n", error->message);
        skipped++;
        return FALSE;
    }
    g_printerr("%s\n", error->message);
    CU_FAIL("ADD failed");
    return FALSE;
}

static void pod_del(Pod *pod)
{
    Deadline deadline = deadline_in_ms(PLUGIN_MS);
    g_autoptr(GError) error = NULL;

    TEST_OK(cni_network_del(pod->network, &pod->attachment, &deadline, &error), error);
}

static gboolean has_route(const CniResult *result, const char *destination, const char *gateway)
{
    for (guint i = 0; i < result->routes->len; i++) {
        const CniRoute *route = g_ptr_array_index(result->routes, i);

        if (strcmp(route->destination, destination) == 0 && g_strcmp0(route->gateway, gateway) == 0)
            return TRUE;
    }
    return FALSE;
}

static void check_dual_stack(const CniResult *result)
{
    const CniAddress *first;
    const CniAddress *second;

    CU_ASSERT_EQUAL_FATAL(result->addresses->len, 2);
    first = g_ptr_array_index(result->addresses, 0);
    second = g_ptr_array_index(result->addresses, 1);
    CU_ASSERT_TRUE(g_str_has_prefix(first->address, "10.231.0.") && g_str_has_suffix(first->address, "/24"));
    CU_ASSERT_FALSE(first->ipv6);
    CU_ASSERT_TRUE(g_str_has_prefix(second->address, "fd00:231::") && second->ipv6);
    CU_ASSERT_STRING_EQUAL(first->gateway, "10.231.0.1");
    CU_ASSERT_TRUE(has_route(result, "0.0.0.0/0", "10.231.0.1"));
    CU_ASSERT_TRUE(has_route(result, "::/0", "fd00:231::1"));
    CU_ASSERT_EQUAL(result->mtu, 1400);
    CU_ASSERT_EQUAL(strlen(result->mac), 17);
}

static void whole_life(const char *name, const char *version)
{
    static const CniPortMapping ports[] = {{"tcp", 80, 18080, NULL}, {"udp", 53, 18053, "127.0.0.1"}};
    g_autofree char *warm_up = node_state();
    g_autofree char *during = NULL;
    g_auto(Pod) pod =
        pod_new(name,
                ",{\"type\":\"portmap\",\"capabilities\":{\"portMappings\":true},\"snat\":true},"
                "{\"type\":\"firewall\"},{\"type\":\"bandwidth\",\"capabilities\":{\"bandwidth\":true}}",
                version);
    g_autofree char *before = node_state();
    g_autofree char *after = NULL;
    g_autoptr(CniResult) result = NULL;
    g_autoptr(GError) error = NULL;
    Deadline deadline = deadline_in_ms(PLUGIN_MS);

    pod.attachment.port_mappings = ports;
    pod.attachment.n_port_mappings = G_N_ELEMENTS(ports);
    pod.attachment.ingress_bits_per_s = 100000000;
    pod.attachment.egress_bits_per_s = 50000000;
    if (!pod_add(&pod, &result))
        return;
    check_dual_stack(result);
    during = node_state();
    if (g_getenv("CNI_TEST_SHOW"))
        printf("%s", during);
    CU_ASSERT_PTR_NOT_NULL(strstr(during, "--dport 18080"));
    pod.attachment.cached_result = result->json;
    TEST_OK(cni_network_check(pod.network, &pod.attachment, &deadline, &error), error);
    TEST_OK(tap_create("cvtap-t", 0, &error), error);
    TEST_OK(tap_move("cvtap-t", pod.netns, result->mtu, &error), error);
    TEST_OK(redirect_install(pod.netns, "eth0", "cvtap-t", &error), error);
    if (g_getenv("CNI_TEST_FLUSH")) {
        g_autofree char *c = g_strdup_printf("nsenter --net=%s ip addr flush dev eth0", pod.netns);
        g_free(shell(c));
    }
    TEST_OK(cni_network_check(pod.network, &pod.attachment, &deadline, &error), error);
    g_clear_error(&error);
    TEST_OK(tap_delete("cvtap-t", pod.netns, &error), error);
    pod_del(&pod);
    pod_del(&pod);
    after = node_state();
    printf("BEFORE\n%s\nAFTER\n%s\n", before, after);
}

static void test_life(void)
{
    whole_life("life", "1.0.0");
}

static void own_namespaces(void)
{
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        perror("cannot make namespaces");
        exit(SKIPPED);
    }
    g_free(shell("ip link set lo up"));
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a pod's whole life", test_life},
    };
    int code;

    if (geteuid() != 0) {
        printf("skip cni_plugins: needs root\n");
        return SKIPPED;
    }
    signal(SIGPIPE, SIG_IGN);
    own_namespaces();
    directory = test_directory();
    code = test_main_args("cni_plugins", cases, G_N_ELEMENTS(cases), argc, argv);
    printf("%u skipped\n", skipped);
    g_free(directory);
    return code;
}

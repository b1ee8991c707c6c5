/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/setup_message.h"

#include <string.h>

#include "common/ids.h"
#include "tests/unit/harness.h"

enum { MTU = 1450, ROUTE_MTU = 1400, METRIC = 7, ENTROPY_BYTES = 64 };

typedef struct {
    Runtime__V1__PodSandboxConfig config;
    Runtime__V1__LinuxPodSandboxConfig linux;
    Runtime__V1__LinuxSandboxSecurityContext security;
    Runtime__V1__NamespaceOption namespaces;
    Runtime__V1__LinuxPodSandboxConfig__SysctlsEntry sysctl;
    Runtime__V1__LinuxPodSandboxConfig__SysctlsEntry *sysctls[1];
    CniAddress addresses[2];
    CniRoute route;
    CniResult network;
    SetupContent content;
} Fixture;

/* A VM pod with one sysctl, two addresses and one route. */
static void fixture_init(Fixture *fixture)
{
    memset(fixture, 0, sizeof *fixture);
    runtime__v1__pod_sandbox_config__init(&fixture->config);
    runtime__v1__linux_pod_sandbox_config__init(&fixture->linux);
    runtime__v1__linux_sandbox_security_context__init(&fixture->security);
    runtime__v1__namespace_option__init(&fixture->namespaces);
    runtime__v1__linux_pod_sandbox_config__sysctls_entry__init(&fixture->sysctl);
    fixture->config.linux = &fixture->linux;
    fixture->linux.security_context = &fixture->security;
    fixture->security.namespace_options = &fixture->namespaces;
    fixture->sysctl.key = (char *)"net.ipv4.ip_unprivileged_port_start";
    fixture->sysctl.value = (char *)"80";
    fixture->sysctls[0] = &fixture->sysctl;
    fixture->linux.sysctls = fixture->sysctls;
    fixture->linux.n_sysctls = 1;
    fixture->addresses[0].address = (char *)"10.1.2.3/24";
    fixture->addresses[1].address = (char *)"fd00::5/64";
    fixture->route.destination = (char *)"0.0.0.0/0";
    fixture->route.gateway = (char *)"10.1.2.1";
    fixture->route.mtu = ROUTE_MTU;
    fixture->route.metric = METRIC;
    fixture->network.mac = (char *)"0a:58:0a:01:02:03";
    fixture->network.mtu = MTU;
    fixture->network.addresses = g_ptr_array_new();
    g_ptr_array_add(fixture->network.addresses, &fixture->addresses[0]);
    g_ptr_array_add(fixture->network.addresses, &fixture->addresses[1]);
    fixture->network.routes = g_ptr_array_new();
    g_ptr_array_add(fixture->network.routes, &fixture->route);
    fixture->content = (SetupContent){
        .sandbox_id = "8f921e6b733c",
        .config = &fixture->config,
        .hostname = "web",
        .resolv_conf = "nameserver 10.1.0.10\n",
        .hosts = "10.1.2.3\tweb\n",
        .guest_network = &fixture->network,
        .fixed_addresses = TRUE,
    };
}

static void fixture_clear(Fixture *fixture)
{
    g_ptr_array_unref(fixture->network.addresses);
    g_ptr_array_unref(fixture->network.routes);
}

static gboolean bytes_are(const ProtobufCBinaryData *bytes, const char *text)
{
    return bytes->len == strlen(text) && memcmp(bytes->data, text, bytes->len) == 0;
}

static void has_the_identity(void)
{
    g_autoptr(Arena) arena = arena_new();
    Fixture fixture;

    fixture_init(&fixture);
    for (guint i = 0; i < 2; i++) {
        const AgentSetupRequest *setup = setup_message_build(&fixture.content, arena);

        CU_ASSERT_STRING_EQUAL(setup->sandbox_id, "8f921e6b733c");
        CU_ASSERT_STRING_EQUAL(setup->hostname, "web");
        CU_ASSERT_TRUE(bytes_are(&setup->resolv_conf, "nameserver 10.1.0.10\n"));
        CU_ASSERT_TRUE(bytes_are(&setup->hosts, "10.1.2.3\tweb\n"));
        CU_ASSERT_TRUE_FATAL(setup->n_sysctls > 0);
        CU_ASSERT_STRING_EQUAL(setup->sysctls[setup->n_sysctls - 1]->name,
                               "net.ipv4.ip_unprivileged_port_start");
        CU_ASSERT_STRING_EQUAL(setup->sysctls[setup->n_sysctls - 1]->value, "80");
        fixture.content.guest_network = NULL;
    }
    fixture_clear(&fixture);
}

static void has_the_guests_network(void)
{
    g_autoptr(Arena) arena = arena_new();
    const AgentSetupRequest *setup;
    Fixture fixture;

    fixture_init(&fixture);
    setup = setup_message_build(&fixture.content, arena);
    CU_ASSERT_EQUAL_FATAL(setup->n_interfaces, 1);
    CU_ASSERT_STRING_EQUAL(setup->interfaces[0]->name, "eth0");
    CU_ASSERT_STRING_EQUAL(setup->interfaces[0]->find_mac, "52:54:00:63:76:01");
    CU_ASSERT_STRING_EQUAL(setup->interfaces[0]->mac, "0a:58:0a:01:02:03");
    CU_ASSERT_EQUAL(setup->interfaces[0]->mtu, MTU);
    CU_ASSERT_TRUE(setup->interfaces[0]->fixed_addresses);
    CU_ASSERT_EQUAL_FATAL(setup->interfaces[0]->n_addresses, 2);
    CU_ASSERT_STRING_EQUAL(setup->interfaces[0]->addresses[0], "10.1.2.3/24");
    CU_ASSERT_STRING_EQUAL(setup->interfaces[0]->addresses[1], "fd00::5/64");
    CU_ASSERT_EQUAL_FATAL(setup->n_routes, 1);
    CU_ASSERT_STRING_EQUAL(setup->routes[0]->destination, "0.0.0.0/0");
    CU_ASSERT_STRING_EQUAL(setup->routes[0]->gateway, "10.1.2.1");
    CU_ASSERT_STRING_EQUAL(setup->routes[0]->device, "eth0");
    CU_ASSERT_EQUAL(setup->routes[0]->mtu, ROUTE_MTU);
    CU_ASSERT_EQUAL(setup->routes[0]->metric, METRIC);
    fixture_clear(&fixture);
}

static void has_the_writable_disk(void)
{
    g_autoptr(Arena) arena = arena_new();
    const AgentSetupRequest *setup;
    Fixture fixture;

    fixture_init(&fixture);
    setup = setup_message_build(&fixture.content, arena);
    CU_ASSERT_PTR_NOT_NULL_FATAL(setup->writable_disk);
    CU_ASSERT_EQUAL(setup->writable_disk->lun, 0);
    CU_ASSERT_STRING_EQUAL(setup->writable_disk->serial, "cv-0");
    fixture_clear(&fixture);
}

static void differs_in_random_bytes(void)
{
    g_autoptr(Arena) arena = arena_new();
    gint64 before_ns = time_now_ns();
    const AgentSetupRequest *first;
    const AgentSetupRequest *second;
    Fixture fixture;

    fixture_init(&fixture);
    first = setup_message_build(&fixture.content, arena);
    second = setup_message_build(&fixture.content, arena);
    CU_ASSERT_EQUAL_FATAL(first->entropy.len, ENTROPY_BYTES);
    CU_ASSERT_EQUAL_FATAL(second->entropy.len, ENTROPY_BYTES);
    CU_ASSERT_NOT_EQUAL(memcmp(first->entropy.data, second->entropy.data, ENTROPY_BYTES), 0);
    CU_ASSERT_TRUE(first->wall_clock_ns >= before_ns);
    CU_ASSERT_TRUE(second->wall_clock_ns <= time_now_ns());
    fixture_clear(&fixture);
}

static void leaves_the_node_to_host_pods(void)
{
    g_autoptr(Arena) arena = arena_new();
    const AgentSetupRequest *setup;
    Fixture fixture;

    fixture_init(&fixture);
    fixture.content.guest_network = NULL;
    setup = setup_message_build(&fixture.content, arena);
    CU_ASSERT_EQUAL(setup->n_interfaces, 0);
    CU_ASSERT_EQUAL(setup->n_routes, 0);
    CU_ASSERT_PTR_NULL(setup->writable_disk);
    CU_ASSERT_EQUAL(setup->entropy.len, 0);
    CU_ASSERT_EQUAL(setup->wall_clock_ns, 0);
    fixture_clear(&fixture);
}

static void opens_low_ports_of_guests(void)
{
    g_autoptr(Arena) arena = arena_new();
    const AgentSetupRequest *setup;
    Fixture fixture;

    fixture_init(&fixture);
    setup = setup_message_build(&fixture.content, arena);
    CU_ASSERT_EQUAL_FATAL(setup->n_sysctls, 3);
    CU_ASSERT_STRING_EQUAL(setup->sysctls[0]->name, "net.ipv4.ip_unprivileged_port_start");
    CU_ASSERT_STRING_EQUAL(setup->sysctls[0]->value, "0");
    CU_ASSERT_STRING_EQUAL(setup->sysctls[1]->name, "net.ipv4.ping_group_range");
    CU_ASSERT_STRING_EQUAL(setup->sysctls[2]->name, "net.ipv4.ip_unprivileged_port_start");
    CU_ASSERT_STRING_EQUAL(setup->sysctls[2]->value, "80");
    fixture.content.guest_network = NULL;
    setup = setup_message_build(&fixture.content, arena);
    CU_ASSERT_EQUAL(setup->n_sysctls, 1);
    fixture_clear(&fixture);
}

static void sysctls_of_the_handler_come_first(void)
{
    static const char *const sysctls[] = {"net.core.somaxconn=4096", "kernel.sem=1 2 3 4", NULL};
    g_autoptr(Arena) arena = arena_new();
    const AgentSetupRequest *setup;
    Fixture fixture;

    fixture_init(&fixture);
    fixture.content.sysctls = sysctls;
    setup = setup_message_build(&fixture.content, arena);
    CU_ASSERT_EQUAL_FATAL(setup->n_sysctls, 5);
    CU_ASSERT_STRING_EQUAL(setup->sysctls[1]->name, "net.ipv4.ping_group_range");
    CU_ASSERT_STRING_EQUAL(setup->sysctls[2]->name, "net.core.somaxconn");
    CU_ASSERT_STRING_EQUAL(setup->sysctls[2]->value, "4096");
    CU_ASSERT_STRING_EQUAL(setup->sysctls[3]->value, "1 2 3 4");
    CU_ASSERT_STRING_EQUAL(setup->sysctls[4]->value, "80");
    fixture.config.linux = NULL;
    setup = setup_message_build(&fixture.content, arena);
    CU_ASSERT_EQUAL(setup->n_sysctls, 4);
    fixture_clear(&fixture);
}

static void works_without_linux_settings(void)
{
    g_autoptr(Arena) arena = arena_new();
    const AgentSetupRequest *setup;
    Fixture fixture;

    fixture_init(&fixture);
    fixture.config.linux = NULL;
    setup = setup_message_build(&fixture.content, arena);
    CU_ASSERT_EQUAL(setup->n_sysctls, 2);
    CU_ASSERT_EQUAL(setup->n_interfaces, 1);
    fixture_clear(&fixture);
}

/* The content may be freed before the request is sent. */
static void borrows_nothing(void)
{
    g_autoptr(Arena) arena = arena_new();
    char hostname[] = "web";
    char key[] = "kernel.shm_rmid_forced";
    const AgentSetupRequest *setup;
    Fixture fixture;

    fixture_init(&fixture);
    fixture.content.hostname = hostname;
    fixture.sysctl.key = key;
    setup = setup_message_build(&fixture.content, arena);
    memset(hostname, 'x', sizeof hostname - 1);
    memset(key, 'x', sizeof key - 1);
    CU_ASSERT_STRING_EQUAL(setup->hostname, "web");
    CU_ASSERT_STRING_EQUAL(setup->sysctls[setup->n_sysctls - 1]->name, "kernel.shm_rmid_forced");
    fixture_clear(&fixture);
}

int main(void)
{
    static const TestCase cases[] = {
        {"VM pods and host pods get id, hostname, resolv.conf, hosts and the pod's sysctls",
         has_the_identity},
        {"a guest gets its interface with all addresses, and its routes", has_the_guests_network},
        {"a guest gets its writable disk", has_the_writable_disk},
        {"each Setup of a guest has other random bytes and the time of day", differs_in_random_bytes},
        {"the agent of a host pod gets no network, disk, clock or random bytes",
         leaves_the_node_to_host_pods},
        {"guests open low ports and ping to everybody, before the pod's own sysctls",
         opens_low_ports_of_guests},
        {"the sysctls of the handler come after those of every guest, and before the pod's own",
         sysctls_of_the_handler_come_first},
        {"a pod without Linux settings has no sysctls", works_without_linux_settings},
        {"the request outlives what it was built from", borrows_nothing},
    };

    return test_main("setup_message", cases, G_N_ELEMENTS(cases));
}

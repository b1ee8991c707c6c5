/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/setup_message.h"

#include <string.h>

#include "common/settings/pod_defaults.h"
#include "sandbox/agent/setup_seed.h"
#include "sandbox/templates/guest_environment.h"

enum { GUEST_SYSCTLS = 2 };

static ProtobufCBinaryData text_bytes(const char *text, Arena *arena)
{
    return (ProtobufCBinaryData){.len = strlen(text), .data = (guint8 *)arena_strdup(arena, text)};
}

/* ---- the guest's network ---- */

static void set_interface(const SetupContent *content, Arena *arena, AgentSetupRequest *setup)
{
    const CniResult *network = content->guest_network;
    Crivirt__Agent__V1__Interface *interface = arena_new0(arena, Crivirt__Agent__V1__Interface, 1);

    crivirt__agent__v1__interface__init(interface);
    interface->name = (char *)GUEST_INTERFACE;
    interface->find_mac = content->restored ? (char *)"" : (char *)GUEST_MAC;
    interface->mac = arena_strdup(arena, network->mac);
    interface->mtu = network->mtu;
    interface->fixed_addresses = content->fixed_addresses;
    interface->n_addresses = network->addresses->len;
    interface->addresses = arena_new0(arena, char *, network->addresses->len);
    for (guint i = 0; i < network->addresses->len; i++)
        interface->addresses[i] = arena_strdup(arena, ((CniAddress *)network->addresses->pdata[i])->address);
    setup->n_interfaces = 1;
    setup->interfaces = arena_new0(arena, Crivirt__Agent__V1__Interface *, 1);
    setup->interfaces[0] = interface;
}

static Crivirt__Agent__V1__Route *route_message(const CniRoute *from, Arena *arena)
{
    Crivirt__Agent__V1__Route *route = arena_new0(arena, Crivirt__Agent__V1__Route, 1);

    crivirt__agent__v1__route__init(route);
    route->destination = arena_strdup(arena, from->destination);
    route->gateway = arena_strdup(arena, from->gateway);
    route->device = (char *)GUEST_INTERFACE;
    route->mtu = from->mtu;
    route->metric = from->metric;
    return route;
}

static void set_routes(const CniResult *network, Arena *arena, AgentSetupRequest *setup)
{
    setup->n_routes = network->routes->len;
    setup->routes = arena_new0(arena, Crivirt__Agent__V1__Route *, network->routes->len);
    for (guint i = 0; i < network->routes->len; i++)
        setup->routes[i] = route_message(network->routes->pdata[i], arena);
}

/* ---- sysctls ---- */

static void add_sysctl(const char *name, const char *value, Arena *arena, AgentSetupRequest *setup)
{
    Crivirt__Agent__V1__Sysctl *sysctl = arena_new0(arena, Crivirt__Agent__V1__Sysctl, 1);

    crivirt__agent__v1__sysctl__init(sysctl);
    sysctl->name = arena_strdup(arena, name);
    sysctl->value = arena_strdup(arena, value);
    setup->sysctls[setup->n_sysctls++] = sysctl;
}

/* The values have been checked with the configuration. */
static void add_assignment(const char *text, Arena *arena, AgentSetupRequest *setup)
{
    g_autofree char *name = NULL;
    const char *value;

    if (assignment_parse(text, &name, &value, NULL))
        add_sysctl(name, value, arena, setup);
}

/* Programs that are not root may listen on low ports and send pings, as with other runtimes (containerd
 * since 2.0, Docker): images are made for it, and the network of a guest is its pod's alone. So may root of a
 * user namespace, which has no rights over that network. */
static void set_guest_sysctls(Arena *arena, AgentSetupRequest *setup)
{
    add_sysctl("net.ipv4.ip_unprivileged_port_start", "0", arena, setup);
    add_sysctl("net.ipv4.ping_group_range", "0 2147483647", arena, setup);
}

/* The handler's sysctls override those of every guest, and the pod's the handler's. */
static void set_sysctls(const SetupContent *content, Arena *arena, AgentSetupRequest *setup)
{
    const Runtime__V1__LinuxPodSandboxConfig *config = content->config->linux;
    const gsize n_defaults = content->sysctls != NULL ? g_strv_length((char **)(void *)content->sysctls) : 0;
    const gsize n_own = config != NULL ? config->n_sysctls : 0;

    setup->sysctls = arena_new0(arena, Crivirt__Agent__V1__Sysctl *, n_defaults + n_own + GUEST_SYSCTLS);
    if (content->guest_network != NULL)
        set_guest_sysctls(arena, setup);
    for (gsize i = 0; i < n_defaults; i++)
        add_assignment(content->sysctls[i], arena, setup);
    for (gsize i = 0; i < n_own; i++)
        add_sysctl(config->sysctls[i]->key, config->sysctls[i]->value, arena, setup);
}

/* ---- the whole ---- */

static void set_writable_disk(Arena *arena, AgentSetupRequest *setup)
{
    Crivirt__Agent__V1__Disk *disk = arena_new0(arena, Crivirt__Agent__V1__Disk, 1);

    crivirt__agent__v1__disk__init(disk);
    disk->lun = GUEST_DISK_LUN;
    disk->serial = arena_printf(arena, GUEST_DISK_SERIAL_FORMAT, GUEST_DISK_LUN);
    setup->writable_disk = disk;
}

AgentSetupRequest *setup_message_build(const SetupContent *content, Arena *arena)
{
    AgentSetupRequest *setup = arena_new0(arena, AgentSetupRequest, 1);

    crivirt__agent__v1__setup_request__init(setup);
    setup->sandbox_id = arena_strdup(arena, content->sandbox_id);
    setup->hostname = arena_strdup(arena, content->hostname);
    setup->resolv_conf = text_bytes(content->resolv_conf, arena);
    setup->hosts = text_bytes(content->hosts, arena);
    set_sysctls(content, arena, setup);
    if (content->guest_network == NULL)
        return setup;
    set_interface(content, arena, setup);
    set_routes(content->guest_network, arena, setup);
    set_writable_disk(arena, setup);
    setup_seed(setup, arena);
    return setup;
}

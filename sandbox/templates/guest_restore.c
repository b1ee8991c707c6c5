/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/templates/guest_restore.h"

#include <unistd.h>

#include "common/arena.h"
#include "common/error.h"
#include "common/log_limit.h"
#include "sandbox/agent/setup_seed.h"
#include "sandbox/templates/rehearsal.h"
#include "sandbox/templates/unassigned_guest.h"
#include "sandbox/vmm/vmm_state.h"

/* A rehearsal leaves two to three megabytes in free memory. */
enum { EMPTY_BYTES = 16 << 20 };

gboolean guest_restore(const GuestEnvironment *env, const char *id, const Template *template,
                       const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, env->boot_timeout_ms);
    int ram;
    int devices;
    gboolean restored;

    if (!template_open_ram_and_devices(template, &ram, &devices, error))
        return FALSE;
    restored = vmm_state_restore(env->vmm, id, ram, devices, env->shares_memory ? template->constant : NULL,
                                 &bounded, error);
    close(ram);
    close(devices);
    return restored;
}

/* ---- a connection to a guest whose events are of no interest ---- */

static void on_ready(const Crivirt__Agent__V1__HelloResponse *hello, gpointer data)
{
    (void)hello, (void)data;
}

static void on_output(const Crivirt__Agent__V1__Output *output, gpointer data)
{
    (void)output, (void)data;
}

static void on_exited(const Crivirt__Agent__V1__Exited *exited, gpointer data)
{
    (void)exited, (void)data;
}

static void on_input_ack(const Crivirt__Agent__V1__InputAck *ack, gpointer data)
{
    (void)ack, (void)data;
}

static void on_notice(const char *message, gpointer data)
{
    static LogLimit limit;

    log_limited(&limit, LOG_LEVEL_INFO, LOG_FIELDS("guest", data),
                "the agent of an unassigned guest reports: %.500s", message);
}

static const AgentEvents events = {on_ready, on_output, on_exited, on_input_ack, on_notice, NULL};

/* Otherwise the caller would wait for the agent of a VM that has ended until its deadline. */
static void on_vm_ended(const char *text, gpointer data)
{
    g_autofree char *why = g_strdup_printf("the VM has ended: %s", text);

    agent_connection_abandon(data, why);
}

/* Nor does a guest answer that has no space on the node's disk. */
static void on_vm_blocked(const char *text, gpointer data)
{
    if (text != NULL)
        agent_connection_abandon(data, text);
}

gboolean guest_run_briefly(const GuestEnvironment *env, const char *id, GuestWork *work, gpointer data,
                           const Deadline *deadline, GError **error)
{
    g_autofree char *socket = guest_agent_socket(env, id);
    AgentConnection *agent = agent_connection_open(env->agents, socket, TRUE, &events, (gpointer)id);
    gboolean done;

    vmm_watch_end(env->vmm, id, on_vm_ended, agent);
    vmm_watch_blocked(env->vmm, id, on_vm_blocked, agent);
    done = vmm_resume(env->vmm, id, error) && agent_connection_wait_ready(agent, deadline, error) &&
           work(agent, data, deadline, error);
    vmm_unwatch_blocked(env->vmm, id, agent);
    vmm_unwatch_end(env->vmm, id, agent);
    agent_connection_close(agent);
    agent_connection_unref(agent);
    return done && vmm_pause(env->vmm, id, error);
}

/* ---- the warm-up ---- */

/* The addresses are those for documentation (RFC 5737); no packet leaves the guest's tap, which is down. */
static gboolean guest_warm_up_setup(AgentConnection *agent, const Deadline *deadline, GError **error)
{
    g_autoptr(Arena) arena = arena_new();
    char *addresses[] = {(char *)"192.0.2.2/24"};
    Crivirt__Agent__V1__Interface interface = CRIVIRT__AGENT__V1__INTERFACE__INIT;
    Crivirt__Agent__V1__Interface *interfaces[] = {&interface};
    Crivirt__Agent__V1__Route route = CRIVIRT__AGENT__V1__ROUTE__INIT;
    Crivirt__Agent__V1__Route *routes[] = {&route};
    Crivirt__Agent__V1__SetupRequest setup = CRIVIRT__AGENT__V1__SETUP_REQUEST__INIT;
    Crivirt__Agent__V1__WarmUpRequest warm_up = CRIVIRT__AGENT__V1__WARM_UP_REQUEST__INIT;

    interface.name = (char *)GUEST_INTERFACE;
    interface.find_mac = interface.mac = (char *)GUEST_MAC;
    interface.addresses = addresses;
    interface.n_addresses = G_N_ELEMENTS(addresses);
    route.destination = (char *)"0.0.0.0/0";
    route.gateway = (char *)"192.0.2.1";
    route.device = (char *)GUEST_INTERFACE;
    setup.interfaces = interfaces;
    setup.n_interfaces = G_N_ELEMENTS(interfaces);
    setup.routes = routes;
    setup.n_routes = G_N_ELEMENTS(routes);
    setup_seed(&setup, arena);
    warm_up.setup = &setup;
    return agent_warm_up(agent, &warm_up, deadline, NULL, error);
}

static gboolean guest_empty_memory(AgentConnection *agent, const Deadline *deadline, GError **error)
{
    Crivirt__Agent__V1__EmptyMemoryRequest empty = CRIVIRT__AGENT__V1__EMPTY_MEMORY_REQUEST__INIT;

    empty.max_bytes = EMPTY_BYTES;
    return agent_empty_memory(agent, &empty, deadline, NULL, error);
}

gboolean guest_warm_up(AgentConnection *agent, gpointer unused, const Deadline *deadline, GError **error)
{
    g_autoptr(GError) problem = NULL;

    (void)unused;
    /* The container comes second: the addresses of programs are laid out by random numbers that this guest
     * alone has. What it leaves in free memory comes last. */
    if ((guest_warm_up_setup(agent, deadline, &problem) && guest_rehearse(agent, deadline, &problem) &&
         guest_empty_memory(agent, deadline, &problem)) ||
        error_status(problem) == STATUS_UNIMPLEMENTED)
        return TRUE;
    g_propagate_prefixed_error(error, g_steal_pointer(&problem), "cannot warm the guest up: ");
    return FALSE;
}

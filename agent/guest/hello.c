/* SPDX-License-Identifier: Apache-2.0 */
/* Hello: the versions of agent and kernel, and the state of the containers. Ping: the agent answers, and what
 * its clocks show. */
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "agent/guest/call.h"
#include "agent/guest/channel.h"
#include "agent/guest/container.h"
#include "agent/guest/freeze.h"
#include "agent/guest/process.h"
#include "agent/guest/setup.h"
#include "agent/guest/sysfile.h"
#include "agent/wire/wire.h"

/* A new daemon cannot reach the execs and connections that an earlier one made for its clients: they are hung
 * up. */
static void hello_note_daemon(uint64_t daemon_id)
{
    static uint64_t last_daemon_id;
    if (daemon_id != 0 && last_daemon_id != 0 && daemon_id != last_daemon_id)
        processes_hang_up();
    last_daemon_id = daemon_id;
}

void op_hello(Call *call)
{
    ContainerReport reports[CONTAINERS_MAX], *pointers[CONTAINERS_MAX];
    HelloResponse result = CRIVIRT__AGENT__V1__HELLO_RESPONSE__INIT;
    struct utsname names;
    char boot_id[64] = "";
    uint32_t daemon_protocol = call->request->hello->protocol_version;

    hello_note_daemon(call->request->hello->daemon_id);
    uname(&names);
    /* The kernel fixes the boot id when it is first read. An unassigned guest may be cloned, and each clone
     * needs its own. */
    if (setup_sandbox_id()[0] != '\0')
        sysfile_read("/proc/sys/kernel/random/boot_id", boot_id, sizeof boot_id);
    result.protocol_version = WIRE_PROTOCOL_VERSION;
    result.agent_version = (char *)CRIVIRT_VERSION;
    result.kernel_release = names.release;
    result.boot_id = boot_id;
    result.sandbox_id = (char *)setup_sandbox_id();
    result.n_containers = containers_report(reports, pointers);
    result.containers = pointers;
    result.frozen = freeze_is_in_force();
    reply_hello(call, &result);
    channel_greeted(daemon_protocol);
}

void op_ping(Call *call)
{
    PingResponse result = CRIVIRT__AGENT__V1__PING_RESPONSE__INIT;

    result.monotonic_ns = clock_monotonic_ns();
    result.wall_clock_ns = clock_wall_ns();
    reply_ping(call, &result);
}

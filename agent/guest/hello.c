/* Hello: who we are, and what became of the containers while no daemon listened. */
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "agent/guest/call.h"
#include "agent/guest/channel.h"
#include "agent/guest/container.h"
#include "agent/guest/setup.h"
#include "agent/guest/sysfile.h"
#include "agent/wire/wire.h"

void op_hello(Call *call)
{
    ContainerReport reports[CONTAINERS_MAX], *pointers[CONTAINERS_MAX];
    HelloResponse result = CRIVIRT__AGENT__V1__HELLO_RESPONSE__INIT;
    struct utsname names;
    char boot_id[64] = "";

    uname(&names);
    sysfile_read("/proc/sys/kernel/random/boot_id", boot_id, sizeof boot_id);
    result.protocol_version = WIRE_PROTOCOL_VERSION;
    result.agent_version = (char *)CRIVIRT_VERSION;
    result.kernel_release = names.release;
    result.boot_id = boot_id;
    result.sandbox_id = (char *)setup_sandbox_id();
    result.n_containers = containers_report(reports, pointers);
    result.containers = pointers;
    reply_hello(call, &result);
    channel_greeted();
}

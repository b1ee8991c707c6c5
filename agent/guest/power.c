/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/power.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "agent/guest/call.h"
#include "agent/guest/channel.h"
#include "agent/guest/paths.h"

enum { DRAIN_MS = 500 }; /* how long the end waits for a daemon that does not read the response */

static struct {
    bool wanted;
    Timer patience;
} power;

/* Only the share is synced: the writable disk is deleted with the pod. */
static void power_off(void *data)
{
    if (getpid() != 1) /* the agent of a host pod: the daemon kills its containers */
        _exit(0);
    kill(-1, SIGKILL);
    int share = open(SHARE_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (share >= 0)
        syncfs(share);
    reboot(RB_POWER_OFF);
}

void op_shutdown(Call *call)
{
    ShutdownResponse result = CRIVIRT__AGENT__V1__SHUTDOWN_RESPONSE__INIT;

    reply_shutdown(call, &result);
    power.wanted = true;
    power.patience.call = power_off;
    timer_start(&power.patience, DRAIN_MS);
}

void power_off_when_drained(void)
{
    if (power.wanted && channel_is_drained())
        power_off(NULL);
}

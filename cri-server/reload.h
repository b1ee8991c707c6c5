/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the configuration again while the daemon serves, and puts in force what a reload can change.
 *
 * Work that is under way, and pods that have started, keep the settings that they began with
 * (common/settings/live_settings.h). A file with an error changes nothing. The log gets a line for each
 * option that has changed, a warning for each whose change needs a restart, and one line for the whole.
 */
#pragma once

#include "cri-server/daemon.h"
#include "cri-server/rpc/rpc_method.h"

/* The same command line as at the start of the daemon. Reports the reload to the service manager, too.
 * Threads: the main one. */
void daemon_reload(const Daemon *daemon, int argc, char **argv);

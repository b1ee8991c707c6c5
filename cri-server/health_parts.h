/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the daemon that health.h watches. */
#pragma once

#include "cri-server/daemon.h"
#include "cri-server/health.h"
#include "cri-server/rpc/rpc_server.h"

/* daemon and server must outlive the thread of health. */
void health_add_parts(Health *health, const Daemon *daemon, RpcServer *server);

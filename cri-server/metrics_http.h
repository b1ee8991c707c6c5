/* SPDX-License-Identifier: Apache-2.0 */
/* Serves GET /metrics over HTTP for Prometheus: counters of the daemon, and its pods by state. */
#pragma once

#include <gio/gio.h>

#include "cri-server/daemon.h"
#include "cri-server/rpc_table.h"

typedef struct MetricsHttp MetricsHttp;

/* The syntax of address is that of listen_address.h. The daemon is borrowed. Errors: INVALID_ARGUMENT for
 * another text, UNAVAILABLE when it cannot be listened on. */
MetricsHttp *metrics_http_start(const char *address, const Daemon *daemon, GError **error);
void metrics_http_stop(MetricsHttp *http); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MetricsHttp, metrics_http_stop)

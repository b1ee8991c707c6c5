/* GET /metrics over HTTP, for Prometheus: what the daemon counts of itself, and its pods by state. */
#pragma once

#include <gio/gio.h>

#include "cri-server/daemon.h"
#include "cri-server/rpc_table.h"

typedef struct MetricsHttp MetricsHttp;

/* address: listen_address.h. INVALID_ARGUMENT for another text, UNAVAILABLE when it cannot be listened on.
 * The daemon is borrowed. */
MetricsHttp *metrics_http_start(const char *address, const Daemon *daemon, GError **error);
void metrics_http_stop(MetricsHttp *http); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MetricsHttp, metrics_http_stop)

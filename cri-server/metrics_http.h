/* SPDX-License-Identifier: Apache-2.0 */
/* Serves GET /metrics over HTTP for Prometheus, /healthz and /readyz: on a TCP address, with TLS where there
 * is a certificate, and on a unix socket. */
#pragma once

#include <gio/gio.h>

#include "cri-server/daemon.h"
#include "cri-server/rpc_table.h"

typedef struct MetricsHttp MetricsHttp;

/* Listens on metrics.address and on metrics.socket of the daemon's settings, or on neither. The daemon is
 * borrowed. Errors: INVALID_ARGUMENT for an address that is none (listen_address.h) and for a bad
 * certificate, UNAVAILABLE when it cannot be listened on, FAILED_PRECONDITION for a group that does not
 * exist. */
MetricsHttp *metrics_http_start(const Daemon *daemon, GError **error);
void metrics_http_stop(MetricsHttp *http); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MetricsHttp, metrics_http_stop)

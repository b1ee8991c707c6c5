/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC's health service on the CRI socket: the state of the daemon (health.h), which all its services share.
 */
#include "common/error.h"
#include "cri-server/daemon.h"
#include "cri-server/rpc/rpc_server.h"
#include "cri-server/rpc_table.h"

static gboolean service_exists(const char *name)
{
    gsize n_methods;
    const RpcMethod *methods = rpc_table(&n_methods);

    for (gsize i = 0; i < n_methods; i++)
        if (g_str_equal(methods[i].service->name, name))
            return TRUE;
    return *name == '\0';
}

static gboolean is_serving(const RpcCall *call)
{
    g_autofree char *problem = health_unready(call->daemon->health);

    return problem == NULL;
}

static Grpc__Health__V1__HealthCheckResponse__ServingStatus status_of(gboolean serving)
{
    return serving ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
                   : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
}

gboolean rpc_Check(const RpcCall *call, const Grpc__Health__V1__HealthCheckRequest *request,
                   Grpc__Health__V1__HealthCheckResponse *response, GError **error)
{
    if (!service_exists(request->service))
        return fail(error, STATUS_NOT_FOUND, "service: there is no service \"%.100s\"", request->service);
    response->status = status_of(is_serving(call));
    return TRUE;
}

static gboolean send_status(const RpcCall *call, Grpc__Health__V1__HealthCheckResponse__ServingStatus status,
                            GError **error)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

    response.status = status;
    return rpc_stream_send(call->stream, &response.base, error);
}

gboolean rpc_Watch(const RpcCall *call, const Grpc__Health__V1__HealthCheckRequest *request, GError **error)
{
    const gboolean exists = service_exists(request->service);
    gboolean serving;

    do {
        serving = is_serving(call);
        if (!send_status(call,
                         exists ? status_of(serving)
                                : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN,
                         error))
            return FALSE;
    } while (health_wait_change(call->daemon->health, serving, call->deadline));
    return deadline_check(call->deadline, "watching the state of the daemon", error) &&
           fail(error, STATUS_UNAVAILABLE, "crivirtd is stopping");
}

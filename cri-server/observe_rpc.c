/* SPDX-License-Identifier: Apache-2.0 */
/* The CRI's events, statistics and metrics, and its lists as streams. The handlers are thin, because the
 * sandbox manager does the work. */
#include "common/error.h"
#include "cri-server/daemon.h"
#include "cri-server/request_id.h"
#include "cri-server/rpc/list_stream.h"
#include "cri-server/rpc/rpc_server.h"
#include "cri-server/rpc_table.h"
#include "sandbox/pods/events.h"

/* ---- events ---- */

gboolean rpc_GetContainerEvents(const RpcCall *call, const Runtime__V1__GetEventsRequest *request,
                                GError **error)
{
    g_autoptr(EventSubscriber) subscriber = sandbox_events_subscribe(call->daemon->sandboxes);
    gboolean good = TRUE;

    (void)request;
    while (good) {
        g_autoptr(Event) event = event_next(subscriber, call->deadline, error);

        good = event != NULL && rpc_stream_send(call->stream, &event_message(event)->base, error);
    }
    return FALSE;
}

/* ---- statistics ---- */

gboolean rpc_ContainerStats(const RpcCall *call, const Runtime__V1__ContainerStatsRequest *request,
                            Runtime__V1__ContainerStatsResponse *response, GError **error)
{
    return request_id_check(request->container_id, "container_id", error) &&
           container_stats(call->daemon->sandboxes, request, call->deadline, call->arena, response, error);
}

gboolean rpc_ListContainerStats(const RpcCall *call, const Runtime__V1__ListContainerStatsRequest *request,
                                Runtime__V1__ListContainerStatsResponse *response, GError **error)
{
    return container_stats_list(call->daemon->sandboxes, request->filter, call->deadline, call->arena,
                                response, error);
}

gboolean rpc_PodSandboxStats(const RpcCall *call, const Runtime__V1__PodSandboxStatsRequest *request,
                             Runtime__V1__PodSandboxStatsResponse *response, GError **error)
{
    return request_id_check(request->pod_sandbox_id, "pod_sandbox_id", error) &&
           sandbox_stats(call->daemon->sandboxes, request, call->deadline, call->arena, response, error);
}

gboolean rpc_ListPodSandboxStats(const RpcCall *call, const Runtime__V1__ListPodSandboxStatsRequest *request,
                                 Runtime__V1__ListPodSandboxStatsResponse *response, GError **error)
{
    return sandbox_stats_list(call->daemon->sandboxes, request->filter, call->deadline, call->arena, response,
                              error);
}

/* ---- metrics ---- */

gboolean rpc_ListMetricDescriptors(const RpcCall *call,
                                   const Runtime__V1__ListMetricDescriptorsRequest *request,
                                   Runtime__V1__ListMetricDescriptorsResponse *response, GError **error)
{
    (void)request;
    (void)error;
    sandbox_metric_descriptors(call->arena, response);
    return TRUE;
}

gboolean rpc_ListPodSandboxMetrics(const RpcCall *call,
                                   const Runtime__V1__ListPodSandboxMetricsRequest *request,
                                   Runtime__V1__ListPodSandboxMetricsResponse *response, GError **error)
{
    (void)request;
    return sandbox_metrics_list(call->daemon->sandboxes, call->deadline, call->arena, response, error);
}

/* ---- lists as streams ---- */

gboolean rpc_StreamPodSandboxes(const RpcCall *call, const Runtime__V1__StreamPodSandboxesRequest *request,
                                GError **error)
{
    Runtime__V1__ListPodSandboxRequest list = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__ListPodSandboxResponse all = RUNTIME__V1__LIST_POD_SANDBOX_RESPONSE__INIT;

    list.filter = request->filter;
    return rpc_ListPodSandbox(call, &list, &all, error) &&
           list_stream_send(call, &all.base, &runtime__v1__stream_pod_sandboxes_response__descriptor, error);
}

gboolean rpc_StreamContainers(const RpcCall *call, const Runtime__V1__StreamContainersRequest *request,
                              GError **error)
{
    Runtime__V1__ListContainersRequest list = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
    Runtime__V1__ListContainersResponse all = RUNTIME__V1__LIST_CONTAINERS_RESPONSE__INIT;

    list.filter = request->filter;
    return rpc_ListContainers(call, &list, &all, error) &&
           list_stream_send(call, &all.base, &runtime__v1__stream_containers_response__descriptor, error);
}

gboolean rpc_StreamContainerStats(const RpcCall *call,
                                  const Runtime__V1__StreamContainerStatsRequest *request, GError **error)
{
    Runtime__V1__ListContainerStatsRequest list = RUNTIME__V1__LIST_CONTAINER_STATS_REQUEST__INIT;
    Runtime__V1__ListContainerStatsResponse all = RUNTIME__V1__LIST_CONTAINER_STATS_RESPONSE__INIT;

    list.filter = request->filter;
    return rpc_ListContainerStats(call, &list, &all, error) &&
           list_stream_send(call, &all.base, &runtime__v1__stream_container_stats_response__descriptor,
                            error);
}

gboolean rpc_StreamPodSandboxStats(const RpcCall *call,
                                   const Runtime__V1__StreamPodSandboxStatsRequest *request, GError **error)
{
    Runtime__V1__ListPodSandboxStatsRequest list = RUNTIME__V1__LIST_POD_SANDBOX_STATS_REQUEST__INIT;
    Runtime__V1__ListPodSandboxStatsResponse all = RUNTIME__V1__LIST_POD_SANDBOX_STATS_RESPONSE__INIT;

    list.filter = request->filter;
    return rpc_ListPodSandboxStats(call, &list, &all, error) &&
           list_stream_send(call, &all.base, &runtime__v1__stream_pod_sandbox_stats_response__descriptor,
                            error);
}

gboolean rpc_StreamPodSandboxMetrics(const RpcCall *call,
                                     const Runtime__V1__StreamPodSandboxMetricsRequest *request,
                                     GError **error)
{
    Runtime__V1__ListPodSandboxMetricsRequest list = RUNTIME__V1__LIST_POD_SANDBOX_METRICS_REQUEST__INIT;
    Runtime__V1__ListPodSandboxMetricsResponse all = RUNTIME__V1__LIST_POD_SANDBOX_METRICS_RESPONSE__INIT;

    (void)request;
    return rpc_ListPodSandboxMetrics(call, &list, &all, error) &&
           list_stream_send(call, &all.base, &runtime__v1__stream_pod_sandbox_metrics_response__descriptor,
                            error);
}

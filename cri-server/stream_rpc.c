/* SPDX-License-Identifier: Apache-2.0 */
/* Exec, Attach and PortForward, which return URLs of the streaming server, and the server's certificate. */
#include "common/error.h"
#include "cri-server/daemon.h"
#include "cri-server/request_id.h"
#include "cri-server/rpc_table.h"

/* Moves a URL into the arena. */
static gboolean take_url(const RpcCall *call, char *url, char **ret_url)
{
    if (url == NULL)
        return FALSE;
    *ret_url = arena_strdup(call->arena, url);
    g_free(url);
    return TRUE;
}

gboolean rpc_Exec(const RpcCall *call, const Runtime__V1__ExecRequest *request,
                  Runtime__V1__ExecResponse *response, GError **error)
{
    return request_id_check(request->container_id, "container_id", error) &&
           take_url(call, stream_server_exec(call->daemon->streams, request, error), &response->url);
}

gboolean rpc_Attach(const RpcCall *call, const Runtime__V1__AttachRequest *request,
                    Runtime__V1__AttachResponse *response, GError **error)
{
    return request_id_check(request->container_id, "container_id", error) &&
           take_url(call, stream_server_attach(call->daemon->streams, request, error), &response->url);
}

gboolean rpc_PortForward(const RpcCall *call, const Runtime__V1__PortForwardRequest *request,
                         Runtime__V1__PortForwardResponse *response, GError **error)
{
    return request_id_check(request->pod_sandbox_id, "pod_sandbox_id", error) &&
           take_url(call, stream_server_port_forward(call->daemon->streams, request, error), &response->url);
}

gboolean rpc_StreamingCertificate(const RpcCall *call,
                                  const Crivirt__V1__StreamingCertificateRequest *request,
                                  Crivirt__V1__StreamingCertificateResponse *response, GError **error)
{
    g_autofree char *pem = stream_server_certificate(call->daemon->streams);

    (void)request;
    (void)error;
    response->pem = arena_strdup(call->arena, pem != NULL ? pem : "");
    return TRUE;
}

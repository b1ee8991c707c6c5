/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/metrics_http.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <string.h>

#include "common/error.h"
#include "cri-server/config/listen_address.h"
#include "cri-server/metrics_page.h"

enum { CONNECTIONS_MAX = 16, IDLE_TIMEOUT_S = 30 };

struct MetricsHttp {
    struct MHD_Daemon *server;
    const Daemon *daemon;
};

/* ---- HTTP ---- */

static enum MHD_Result send_answer(struct MHD_Connection *connection, unsigned status, char *body)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer_with_free_callback(strlen(body), body, g_free);
    enum MHD_Result result;

    MHD_add_response_header(response, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_metrics(struct MHD_Connection *connection, const Daemon *daemon)
{
    return send_answer(connection, MHD_HTTP_OK, metrics_page(daemon));
}

/* problem: NULL for a good answer; taken. */
static enum MHD_Result answer_state(struct MHD_Connection *connection, char *problem)
{
    if (problem == NULL)
        return send_answer(connection, MHD_HTTP_OK, g_strdup("ok\n"));
    return send_answer(connection, MHD_HTTP_SERVICE_UNAVAILABLE, problem);
}

static enum MHD_Result answer_health(struct MHD_Connection *connection, const Daemon *daemon)
{
    return answer_state(connection, health_problem(daemon->health));
}

static enum MHD_Result answer_readiness(struct MHD_Connection *connection, const Daemon *daemon)
{
    return answer_state(connection, health_unready(daemon->health));
}

/* A new page is a new row. */
static const struct {
    const char *path;
    enum MHD_Result (*answer)(struct MHD_Connection *connection, const Daemon *daemon);
} pages[] = {
    {"/metrics", answer_metrics},
    {"/healthz", answer_health},
    {"/readyz", answer_readiness},
};

static enum MHD_Result on_request(void *data, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **state)
{
    const MetricsHttp *http = data;

    (void)version;
    (void)upload;
    (void)upload_size;
    (void)state;
    if (!g_str_equal(method, "GET"))
        return send_answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, g_strdup("only GET is allowed\n"));
    for (guint i = 0; i < G_N_ELEMENTS(pages); i++)
        if (g_str_equal(url, pages[i].path))
            return pages[i].answer(connection, http->daemon);
    return send_answer(connection, MHD_HTTP_NOT_FOUND,
                       g_strdup("the paths are /metrics, /healthz and /readyz\n"));
}

MetricsHttp *metrics_http_start(const char *address, const Daemon *daemon, GError **error)
{
    g_autoptr(GSocketAddress) parsed = listen_address_parse(address, error);
    struct sockaddr_storage native;
    unsigned flags = MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD;
    MetricsHttp *http;

    if (parsed == NULL || !g_socket_address_to_native(parsed, &native, sizeof native, error))
        return NULL;
    if (native.ss_family == AF_INET6)
        flags |= MHD_USE_DUAL_STACK;
    http = g_new0(MetricsHttp, 1);
    http->daemon = daemon;
    http->server = MHD_start_daemon(flags, 0, NULL, NULL, on_request, http, MHD_OPTION_SOCK_ADDR, &native,
                                    MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                                    MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_END);
    if (http->server == NULL) {
        g_free(http);
        fail(error, STATUS_UNAVAILABLE, "metrics.address: cannot listen on %s", address);
        return NULL;
    }
    return http;
}

void metrics_http_stop(MetricsHttp *http)
{
    if (http == NULL)
        return;
    MHD_stop_daemon(http->server);
    g_free(http);
}

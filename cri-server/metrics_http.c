/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/metrics_http.h"

#include <errno.h>
#include <grp.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/error.h"
#include "cri-server/config/listen_address.h"
#include "cri-server/metrics_page.h"
#include "cri-server/metrics_tls.h"

enum { CONNECTIONS_MAX = 16, IDLE_TIMEOUT_S = 30 };

struct MetricsHttp {
    struct MHD_Daemon *tcp;   /* NULL: none */
    struct MHD_Daemon *local; /* NULL: none */
    MetricsTls *tls;          /* of tcp; NULL: none */
    char *socket_path;        /* of local, to be removed */
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

/* ---- listening ---- */

static gboolean open_tls(MetricsHttp *http, GError **error)
{
    const char *certificate = http->daemon->settings->metrics.tls_cert;
    const char *key = http->daemon->settings->metrics.tls_key;

    if (*certificate == '\0' && *key == '\0')
        return TRUE;
    if (*certificate == '\0' || *key == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "metrics: TLS needs both tls_cert and tls_key");
    http->tls = metrics_tls_open(certificate, key, error);
    return http->tls != NULL;
}

static gboolean listen_on_tcp(MetricsHttp *http, GError **error)
{
    const char *address = http->daemon->settings->metrics.address;
    g_autoptr(GSocketAddress) parsed = listen_address_parse(address, error);
    const struct MHD_OptionItem with_tls[] = {
        {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(intptr_t)metrics_tls_retrieve},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL}};
    const struct MHD_OptionItem without_tls[] = {{MHD_OPTION_END, 0, NULL}};
    struct sockaddr_storage native;
    unsigned flags = MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD;

    if (parsed == NULL || !g_socket_address_to_native(parsed, &native, sizeof native, error) ||
        !open_tls(http, error))
        return FALSE;
    if (native.ss_family == AF_INET6)
        flags |= MHD_USE_DUAL_STACK;
    if (http->tls != NULL)
        flags |= MHD_USE_TLS;
    http->tcp = MHD_start_daemon(flags, 0, NULL, NULL, on_request, http, MHD_OPTION_SOCK_ADDR, &native,
                                 MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                                 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_ARRAY,
                                 http->tls != NULL ? with_tls : without_tls, MHD_OPTION_END);
    return http->tcp != NULL ||
           fail(error, STATUS_UNAVAILABLE, "metrics.address: cannot listen on %s", address);
}

static gboolean share_socket(const char *path, const char *group_name, GError **error)
{
    const struct group *group = *group_name != '\0' ? getgrnam(group_name) : NULL;

    if (*group_name != '\0' && group == NULL)
        return fail(error, STATUS_FAILED_PRECONDITION, "metrics.socket_group: there is no group \"%s\"",
                    group_name);
    return group == NULL || chown(path, (uid_t)-1, group->gr_gid) == 0 ||
           fail_errno(error, errno, "cannot give the socket %s to the group %s", path, group_name);
}

/* Replaces the socket of a daemon that has died: the lock of the state directory keeps two from running.
 * Return: -1 with an error. */
static int locallisten(const char *path, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    mode_t before;
    int bound;
    int fd;

    if (strlen(path) >= sizeof address.sun_path) {
        fail(error, STATUS_INVALID_ARGUMENT, "metrics.socket: %s is longer than the path of a socket may be",
             path);
        return -1;
    }
    g_strlcpy(address.sun_path, path, sizeof address.sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(path);
    before = umask(0117);
    bound = fd >= 0 ? bind(fd, (struct sockaddr *)&address, sizeof address) : -1;
    umask(before);
    if (bound == 0 && listen(fd, CONNECTIONS_MAX) == 0)
        return fd;
    fail_errno(error, errno, "metrics.socket: cannot listen on %s", path);
    if (fd >= 0)
        close(fd);
    return -1;
}

static gboolean listen_on_unix(MetricsHttp *http, GError **error)
{
    const Settings *settings = http->daemon->settings;
    int fd = locallisten(settings->metrics.socket, error);

    if (fd < 0)
        return FALSE;
    http->socket_path = g_strdup(settings->metrics.socket);
    if (!share_socket(http->socket_path, settings->metrics.socket_group, error)) {
        close(fd);
        return FALSE;
    }
    http->local =
        MHD_start_daemon(MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, http,
                         MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                         MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_END);
    if (http->local != NULL)
        return TRUE;
    close(fd);
    return fail(error, STATUS_UNAVAILABLE, "metrics.socket: cannot serve on %s", http->socket_path);
}

MetricsHttp *metrics_http_start(const Daemon *daemon, GError **error)
{
    g_autoptr(MetricsHttp) http = g_new0(MetricsHttp, 1);

    http->daemon = daemon;
    if ((*daemon->settings->metrics.address != '\0' && !listen_on_tcp(http, error)) ||
        (*daemon->settings->metrics.socket != '\0' && !listen_on_unix(http, error)))
        return NULL;
    return g_steal_pointer(&http);
}

void metrics_http_stop(MetricsHttp *http)
{
    if (http == NULL)
        return;
    g_clear_pointer(&http->tcp, MHD_stop_daemon);
    g_clear_pointer(&http->local, MHD_stop_daemon);
    if (http->socket_path != NULL)
        unlink(http->socket_path);
    metrics_tls_close(http->tls);
    g_free(http->socket_path);
    g_free(http);
}

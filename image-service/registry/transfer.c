/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/registry/transfer.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "common/bundle.h"
#include "common/error.h"

enum {
    BUFFER_BYTES = 256 << 10,
    CONNECT_TIMEOUT_MS = 30000,
    MAX_POLL_MS = 1000,
    MAX_ERROR_BODY_BYTES = 64 << 10,
};

struct Transfer {
    CURL *easy;
    CURLM *multi;
    char curl_message[CURL_ERROR_SIZE];
    /* The current request. */
    const TransferRequest *request;
    GString *body;
    gboolean body_was_cut;
    guint64 sunk_bytes;
    gint64 last_byte_us;
    GError *sink_error;
    gboolean refused_address;
    /* Its result. */
    TransferOutcome outcome;
    long status;
};

static size_t take_body(char *data, size_t size, size_t count, void *user_data)
{
    Transfer *transfer = user_data;
    const TransferRequest *request = transfer->request;
    gsize length = size * count;
    gsize limit = request->max_body_bytes;
    long status = transfer_status(transfer);

    transfer->last_byte_us = g_get_monotonic_time();
    if (status >= 200 && status < 300 && request->sink != NULL) {
        if (!request->sink(transfer, data, length, request->sink_data, &transfer->sink_error))
            return CURL_WRITEFUNC_ERROR;
        transfer->sunk_bytes += length;
        return length;
    }
    if (status < 200 || status >= 300)
        limit = MAX_ERROR_BODY_BYTES;
    if (length > limit - transfer->body->len) {
        transfer->body_was_cut = TRUE;
        g_string_append_len(transfer->body, data, (gssize)(limit - transfer->body->len));
        return CURL_WRITEFUNC_ERROR; /* the rest is not needed */
    }
    g_string_append_len(transfer->body, data, (gssize)length);
    return length;
}

static size_t take_header(char *data, size_t size, size_t count, void *user_data)
{
    Transfer *transfer = user_data;

    (void)data;
    transfer->last_byte_us = g_get_monotonic_time();
    return size * count;
}

static void start_curl(void)
{
    static gsize started;

    if (g_once_init_enter(&started)) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        g_once_init_leave(&started, 1);
    }
}

Transfer *transfer_new(void)
{
    Transfer *transfer = g_new0(Transfer, 1);

    start_curl();
    transfer->easy = curl_easy_init();
    transfer->multi = curl_multi_init();
    transfer->body = g_string_new(NULL);
    if (transfer->easy == NULL || transfer->multi == NULL)
        g_error("libcurl has no memory");
    return transfer;
}

void transfer_free(Transfer *transfer)
{
    if (transfer == NULL)
        return;
    curl_easy_cleanup(transfer->easy);
    curl_multi_cleanup(transfer->multi);
    g_string_free(transfer->body, TRUE);
    g_clear_error(&transfer->sink_error);
    g_free(transfer);
}

/* 169.254.0.0/16 and fe80::/10, also where IPv6 maps the former: there, clouds serve the node's own secrets.
 */
static gboolean is_link_local(const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;

    if (address->sa_family == AF_INET)
        return (ntohl(v4->sin_addr.s_addr) >> 16) == 0xa9fe;
    if (address->sa_family != AF_INET6)
        return FALSE;
    return IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 0xa9 &&
            v6->sin6_addr.s6_addr[13] == 0xfe);
}

/* Names are resolved by now, so a name that leads to such an address is refused as the address is. */
static curl_socket_t open_socket(void *user_data, G_GNUC_UNUSED curlsocktype purpose,
                                 struct curl_sockaddr *address)
{
    Transfer *transfer = user_data;

    if (is_link_local(&address->addr)) {
        transfer->refused_address = TRUE;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void set_tls(CURL *easy, const TransferRequest *request)
{
    const RegistryEndpoint *tls = request->tls;

    if (bundle_certificates() != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, bundle_certificates());
    if (tls == NULL)
        return;
    if (tls->skip_verify) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (tls->ca_pem != NULL) {
        /* Besides the system's, which stay in the default CAPATH. */
        struct curl_blob blob = {tls->ca_pem, strlen(tls->ca_pem), CURL_BLOB_NOCOPY};

        curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
    }
    if (tls->client_cert != NULL && request->with_client_cert) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, tls->client_cert);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, tls->client_key);
    }
}

/* The options of one request; connections survive curl_easy_reset(). */
static struct curl_slist *set_options(Transfer *transfer, const TransferRequest *request)
{
    CURL *easy = transfer->easy;
    struct curl_slist *headers = NULL;

    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "crivirt/" CRIVIRT_VERSION);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->curl_message);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* do not wait for a resolver that hangs */
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)MIN((gint64)CONNECT_TIMEOUT_MS, request->progress_timeout_ms));
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    if (hosts_url_is_loopback(request->url))
        curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* a proxy does not reach our loopback */
    if (request->is_foreign) {
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
        curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
    }
    if (request->is_head)
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    if (request->form != NULL)
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->form);
    set_tls(easy, request);
    for (gsize i = 0; request->headers != NULL && request->headers[i] != NULL; i++)
        headers = curl_slist_append(headers, request->headers[i]);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    return headers;
}

static gboolean check_progress(const Transfer *transfer, GError **error)
{
    gint64 silent_ms = (g_get_monotonic_time() - transfer->last_byte_us) / 1000;

    if (silent_ms < transfer->request->progress_timeout_ms)
        return TRUE;
    return fail(error, STATUS_UNAVAILABLE, "no data came for %" G_GINT64_FORMAT " seconds", silent_ms / 1000);
}

/* Runs the request to its end. *ret_result is curl's result. Return: FALSE when the deadline or a lack of
 * progress ended it. */
static gboolean run_request(Transfer *transfer, const Deadline *deadline, CURLcode *ret_result,
                            GError **error)
{
    GPollFD cancelled = {.fd = -1};
    gboolean has_fd = deadline != NULL && deadline->cancellable != NULL &&
                      g_cancellable_make_pollfd(deadline->cancellable, &cancelled);
    struct curl_waitfd extra = {.fd = cancelled.fd, .events = CURL_WAIT_POLLIN};
    gboolean good = TRUE;
    int running = 1;
    int queued;
    CURLMsg *message;

    while (good) {
        if (curl_multi_perform(transfer->multi, &running) != CURLM_OK || running == 0)
            break;
        if (!deadline_check(deadline, "talking to the registry", error)) {
            transfer->outcome = TRANSFER_REFUSED;
            good = FALSE;
        } else if (!check_progress(transfer, error)) {
            good = FALSE;
        } else {
            gint64 wait_ms = MIN(deadline_left_ms(deadline), transfer->request->progress_timeout_ms);

            curl_multi_poll(transfer->multi, &extra, has_fd ? 1 : 0, (int)MIN(wait_ms, MAX_POLL_MS), NULL);
        }
    }
    if (has_fd)
        g_cancellable_release_fd(deadline->cancellable);
    message = curl_multi_info_read(transfer->multi, &queued);
    *ret_result = message != NULL && message->msg == CURLMSG_DONE ? message->data.result : CURLE_RECV_ERROR;
    return good;
}

static TransferOutcome outcome_of_result(CURLcode result)
{
    switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        return TRANSFER_UNREACHABLE;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_OUT_OF_MEMORY:
        return TRANSFER_REFUSED;
    default:
        return TRANSFER_BROKEN;
    }
}

/* curl's own text of these two names the host, which the caller's message names already. */
static gboolean fail_unreachable(const Transfer *transfer, CURLcode result, GError **error)
{
    long errnum = 0;

    if (result == CURLE_COULDNT_RESOLVE_HOST)
        return fail(error, STATUS_UNAVAILABLE, "Could not resolve the host's name");
    curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &errnum);
    return fail(error, STATUS_UNAVAILABLE, "Failed to connect%s%s", errnum != 0 ? ": " : "",
                errnum != 0 ? g_strerror((int)errnum) : "");
}

static gboolean finish_request(Transfer *transfer, CURLcode result, GError **error)
{
    if (transfer->sink_error != NULL) {
        transfer->outcome = TRANSFER_REFUSED;
        g_propagate_error(error, g_steal_pointer(&transfer->sink_error));
        return FALSE;
    }
    if (result == CURLE_OK || transfer->body_was_cut) {
        transfer->outcome = TRANSFER_ANSWERED;
        return TRUE;
    }
    if (transfer->refused_address) {
        transfer->outcome = TRANSFER_REFUSED;
        return fail(error, STATUS_UNAVAILABLE,
                    "the address is link-local, where no redirect or token server may lead");
    }
    transfer->outcome = outcome_of_result(result);
    if (result == CURLE_COULDNT_RESOLVE_HOST || result == CURLE_COULDNT_CONNECT)
        return fail_unreachable(transfer, result, error);
    return fail(error, STATUS_UNAVAILABLE, "%s",
                transfer->curl_message[0] != '\0' ? transfer->curl_message : curl_easy_strerror(result));
}

gboolean transfer_perform(Transfer *transfer, const TransferRequest *request, const Deadline *deadline,
                          GError **error)
{
    struct curl_slist *headers = set_options(transfer, request);
    CURLcode result = CURLE_OK;
    gboolean done;

    transfer->request = request;
    transfer->outcome = TRANSFER_BROKEN;
    transfer->status = 0;
    transfer->curl_message[0] = '\0';
    transfer->body_was_cut = FALSE;
    transfer->refused_address = FALSE;
    transfer->sunk_bytes = 0;
    transfer->last_byte_us = g_get_monotonic_time();
    g_string_truncate(transfer->body, 0);
    curl_multi_add_handle(transfer->multi, transfer->easy);
    done = run_request(transfer, deadline, &result, error);
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &transfer->status);
    curl_multi_remove_handle(transfer->multi, transfer->easy);
    /* The handle stays readable for headers, but what it borrowed goes now. */
    curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    if (done)
        done = finish_request(transfer, result, error);
    g_clear_error(&transfer->sink_error);
    transfer->request = NULL;
    return done;
}

TransferOutcome transfer_outcome(const Transfer *transfer)
{
    return transfer->outcome;
}

long transfer_status(const Transfer *transfer)
{
    long status = transfer->status;

    if (status == 0)
        curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

const char *transfer_body(const Transfer *transfer, gsize *ret_length)
{
    if (ret_length != NULL)
        *ret_length = transfer->body->len;
    return transfer->body->str;
}

gboolean transfer_body_was_cut(const Transfer *transfer)
{
    return transfer->body_was_cut;
}

const char *transfer_header(const Transfer *transfer, const char *name, guint n)
{
    struct curl_header *header;

    return curl_easy_header(transfer->easy, name, n, CURLH_HEADER, -1, &header) == CURLHE_OK ? header->value
                                                                                             : NULL;
}

gint64 transfer_retry_after_s(const Transfer *transfer)
{
    curl_off_t seconds = 0;

    curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &seconds);
    return MAX(seconds, 0);
}

guint64 transfer_sunk_bytes(const Transfer *transfer)
{
    return transfer->sunk_bytes;
}

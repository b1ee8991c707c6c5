/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/registry/registry_request.h"

#include <string.h>

#include "common/error.h"
#include "image-service/registry/registry_auth.h"

enum {
    MAX_REDIRECTS = 10,
    MAX_AUTH_ROUNDS = 3,
    MAX_UNREACHABLE_ATTEMPTS = 3,
    MAX_RETRY_DELAY_MS = 10000,
    MAX_RETRY_AFTER_S = 60,
    PROGRESS_THAT_COUNTS_BYTES = 1 << 20,
};

struct RegistryHost {
    RegistryEndpoint *endpoint;
    Credentials *credentials;
    char *domain;
    char *repository;
    GMutex lock;
    char *authorization; /* what the host accepted last; NULL: nothing was asked for yet */
    gboolean is_down;
};

RegistryHost *registry_host_new(RegistryEndpoint *endpoint, Credentials *credentials, const char *domain,
                                const char *repository)
{
    RegistryHost *host = g_new0(RegistryHost, 1);

    host->endpoint = endpoint;
    host->credentials = credentials;
    host->domain = g_strdup(domain);
    host->repository = g_strdup(repository);
    g_mutex_init(&host->lock);
    return host;
}

void registry_host_free(RegistryHost *host)
{
    if (host == NULL)
        return;
    registry_endpoint_free(host->endpoint);
    credentials_free(host->credentials);
    g_free(host->domain);
    g_free(host->repository);
    if (host->authorization != NULL)
        explicit_bzero(host->authorization, strlen(host->authorization));
    g_free(host->authorization);
    g_mutex_clear(&host->lock);
    g_free(host);
}

const RegistryEndpoint *registry_host_endpoint(const RegistryHost *host)
{
    return host->endpoint;
}

gboolean registry_host_is_down(RegistryHost *host)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&host->lock);

    return host->is_down;
}

static void set_down(RegistryHost *host, gboolean is_down)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&host->lock);

    host->is_down = is_down;
}

static char *get_authorization(RegistryHost *host)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&host->lock);

    return g_strdup(host->authorization);
}

static void set_authorization(RegistryHost *host, const char *authorization)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&host->lock);

    g_free(host->authorization);
    host->authorization = g_strdup(authorization);
}

static char *first_url(const RegistryHost *host, const RegistryRequest *request)
{
    g_autofree char *domain = g_uri_escape_string(host->domain, NULL, FALSE);

    if (request->kind == NULL)
        return g_strconcat(host->endpoint->base_url, "/", NULL);
    /* A mirror of several registries learns from "ns" which one is meant. */
    return g_strconcat(host->endpoint->base_url, "/", host->repository, "/", request->kind, "/",
                       request->what, host->endpoint->is_mirror ? "?ns=" : NULL, domain, NULL);
}

/* The endpoint's own headers and the authorisation go to its origin only. */
static char **make_headers(const RegistryHost *host, const RegistryRequest *request,
                           const char *authorization, gboolean is_home)
{
    g_autoptr(GStrvBuilder) headers = g_strv_builder_new();

    if (request->accept != NULL) {
        g_autofree char *accept = g_strconcat("Accept: ", request->accept, NULL);

        g_strv_builder_add(headers, accept);
    }
    if (request->offset != NULL && *request->offset > 0) {
        g_autofree char *range = g_strdup_printf("Range: bytes=%" G_GUINT64_FORMAT "-", *request->offset);

        g_strv_builder_add(headers, range);
    }
    if (is_home && authorization != NULL) {
        g_autofree char *line = g_strconcat("Authorization: ", authorization, NULL);

        g_strv_builder_add(headers, line);
    }
    if (is_home)
        g_strv_builder_addv(headers, (const char **)(void *)host->endpoint->headers);
    return g_strv_builder_end(headers);
}

static gboolean is_redirect(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

char *registry_redirect_target(const char *url, const char *location, GError **error)
{
    char *target =
        g_uri_resolve_relative(url, location, G_URI_FLAGS_ENCODED | G_URI_FLAGS_PARSE_RELAXED, NULL);

    if (target != NULL && (g_str_has_prefix(target, "http://") || g_str_has_prefix(target, "https://")))
        if (!g_str_has_prefix(url, "https://") || g_str_has_prefix(target, "https://"))
            return target;
    fail(error, STATUS_UNAVAILABLE,
         target != NULL && g_str_has_prefix(target, "http://") ? "the registry redirects from https to http"
                                                               : "the registry redirects to no HTTP address");
    g_free(target);
    return NULL;
}

/* "redirected to cdn.example.com: …": a failure elsewhere than at the host, without the rest of the URL,
 * which may hold a signature. */
static void prefix_with_host(GError **error, const char *what, const char *url)
{
    g_autoptr(GUri) uri = g_uri_parse(url, G_URI_FLAGS_ENCODED, NULL);

    const char *named = uri != NULL ? g_uri_get_host(uri) : NULL;
    g_autofree char *host = registry_printable(named != NULL ? named : "another address");

    g_prefix_error(error, "%s %s: ", what, host);
}

/* One request and the redirects that it leads to. *ret_at_home: the answer is from the host itself. */
static gboolean request_with_redirects(const RegistryCall *call, const RegistryRequest *request,
                                       const char *home, const char *authorization, gboolean *ret_at_home,
                                       GError **error)
{
    const RegistryHost *host = call->host;
    Transfer *transfer = call->transfer;
    g_autofree char *url = g_strdup(home);

    for (int hop = 0; hop <= MAX_REDIRECTS; hop++) {
        gboolean at_home = registry_same_origin(url, home);
        g_auto(GStrv) headers = make_headers(host, request, authorization, at_home);
        TransferRequest http = {
            .url = url,
            .is_head = request->is_head,
            .headers = (const char *const *)headers,
            .tls = host->endpoint,
            .with_client_cert = at_home,
            .is_foreign = !at_home,
            .sink = request->sink,
            .sink_data = request->sink_data,
            .max_body_bytes = request->max_body_bytes,
            .progress_timeout_ms = call->policy->progress_timeout_ms,
        };
        const char *location;
        char *target;

        if (!transfer_perform(transfer, &http, call->deadline, error)) {
            if (!at_home)
                prefix_with_host(error, "redirected to", url);
            return FALSE;
        }
        location = transfer_header(transfer, "Location", 0);
        if (!is_redirect(transfer_status(transfer)) || location == NULL) {
            *ret_at_home = at_home;
            return TRUE;
        }
        target = registry_redirect_target(url, location, error);
        if (target == NULL)
            return FALSE;
        g_free(url);
        url = target;
    }
    return fail(error, STATUS_UNAVAILABLE, "more than %d redirects", (int)MAX_REDIRECTS);
}

/* Repeats the request with credentials until the host stops asking for them, or refuses them. */
static gboolean request_with_authorization(const RegistryCall *call, const RegistryRequest *request,
                                           gboolean *ret_at_home, GError **error)
{
    RegistryHost *host = call->host;
    g_autofree char *home = first_url(host, request);
    g_autofree char *used = get_authorization(host);
    RegistryAuthRequest question = {
        .transfer = call->transfer,
        .url = home,
        .endpoint = host->endpoint,
        .credentials = host->credentials,
        .repository = host->repository,
        .progress_timeout_ms = call->policy->progress_timeout_ms,
    };

    for (int round = 0;; round++) {
        g_autofree char *known = NULL;
        gboolean at_home = FALSE;

        if (!request_with_redirects(call, request, home, used, &at_home, error))
            return FALSE;
        *ret_at_home = at_home;
        if (transfer_status(call->transfer) != 401 || !at_home || round == MAX_AUTH_ROUNDS)
            return TRUE;
        known = get_authorization(host);
        /* Another thread may have a fresher token by now. */
        if (g_strcmp0(known, used) == 0) {
            g_clear_pointer(&known, g_free);
            if (!registry_auth_answer(&question, call->deadline, &known, error))
                return FALSE;
            if (g_strcmp0(known, used) == 0)
                return TRUE; /* the same again would be refused again */
            set_authorization(host, known);
        }
        g_free(used);
        used = g_steal_pointer(&known);
    }
}

static gboolean fail_status(const Transfer *transfer, gboolean at_home, GError **error)
{
    g_autofree char *what =
        registry_describe_answer(transfer, at_home ? ANSWER_OF_REGISTRY : ANSWER_FROM_ELSEWHERE);
    long status = transfer_status(transfer);

    switch (status) {
    case 401:
        return fail(error, STATUS_UNAUTHENTICATED, "%s", what);
    case 403:
        return fail(error, STATUS_PERMISSION_DENIED, "%s", what);
    case 404:
    case 410:
        return fail(error, STATUS_NOT_FOUND, "%s", what);
    default:
        return fail(error, STATUS_UNAVAILABLE, "%s", what);
    }
}

/* Whether the same request may succeed later. */
static gboolean failure_may_pass(const Transfer *transfer)
{
    long status = transfer_status(transfer);

    switch (transfer_outcome(transfer)) {
    case TRANSFER_ANSWERED:
        return status == 408 || status == 429 || status >= 500;
    case TRANSFER_UNREACHABLE:
    case TRANSFER_BROKEN:
        return TRUE;
    case TRANSFER_REFUSED:
    default:
        return FALSE;
    }
}

static guint attempts_for(const Transfer *transfer, const RetryPolicy *policy)
{
    return transfer_outcome(transfer) == TRANSFER_UNREACHABLE
               ? MIN(policy->max_attempts, (guint)MAX_UNREACHABLE_ATTEMPTS)
               : policy->max_attempts;
}

/* How long to wait before the next attempt; -1 when the registry asks for more than a pull waits, or the
 * deadline is sooner. */
static gint64 retry_delay_ms(const Transfer *transfer, const RetryPolicy *policy, guint attempt,
                             const Deadline *deadline)
{
    gint64 delay_ms = policy->retry_delay_ms << MIN(attempt - 1, 10);
    gint64 asked_s = transfer_outcome(transfer) == TRANSFER_ANSWERED ? transfer_retry_after_s(transfer) : 0;

    delay_ms = MIN(delay_ms, (gint64)MAX_RETRY_DELAY_MS);
    /* Spread, so that the nodes of a cluster do not come back in step. */
    delay_ms += (gint64)((double)delay_ms * g_random_double_range(-0.25, 0.25));
    if (asked_s > MAX_RETRY_AFTER_S)
        return -1;
    delay_ms = MAX(delay_ms, asked_s * 1000);
    return delay_ms < deadline_left_ms(deadline) ? delay_ms : -1;
}

static gboolean wait_before_retry(gint64 delay_ms, const Deadline *deadline, GError **error)
{
    GPollFD cancelled = {.fd = -1};
    gboolean has_fd = deadline != NULL && deadline->cancellable != NULL &&
                      g_cancellable_make_pollfd(deadline->cancellable, &cancelled);

    g_poll(&cancelled, has_fd ? 1 : 0, (int)delay_ms);
    if (has_fd)
        g_cancellable_release_fd(deadline->cancellable);
    return deadline_check(deadline, "waiting to ask the registry again", error);
}

static gboolean attempt_once(const RegistryCall *call, const RegistryRequest *request, GError **error)
{
    gboolean at_home = FALSE;
    long status;

    if (!request_with_authorization(call, request, &at_home, error)) {
        set_down(call->host, transfer_outcome(call->transfer) == TRANSFER_UNREACHABLE);
        return FALSE;
    }
    set_down(call->host, FALSE);
    status = transfer_status(call->transfer);
    return (status >= 200 && status < 300) || fail_status(call->transfer, at_home, error);
}

gboolean registry_host_request(const RegistryCall *call, const RegistryRequest *request, GError **error)
{
    guint64 counted_from = request->offset != NULL ? *request->offset : 0;
    guint attempt = 0;

    for (;;) {
        g_autoptr(GError) failure = NULL;
        gint64 delay_ms;

        if (attempt_once(call, request, &failure))
            return TRUE;
        attempt++;
        /* A connection that breaks now and then must not end a large download that makes progress. */
        if (request->offset != NULL && *request->offset >= counted_from + PROGRESS_THAT_COUNTS_BYTES) {
            counted_from = *request->offset;
            attempt = 1;
        }
        delay_ms = retry_delay_ms(call->transfer, call->policy, attempt, call->deadline);
        if (!failure_may_pass(call->transfer) || attempt >= attempts_for(call->transfer, call->policy) ||
            delay_ms < 0) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return FALSE;
        }
        if (!wait_before_retry(delay_ms, call->deadline, error)) {
            g_prefix_error(error, "%s: ", failure->message);
            return FALSE;
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/registry/registry_auth.h"

#include <string.h>

#include "common/error.h"
#include "common/json.h"
#include "common/string_table.h"

enum { MAX_TOKEN_BODY_BYTES = 256 << 10, MAX_MESSAGE_LENGTH = 300, MAX_PARAMETERS = 32 };

/* A token or quoted string of RFC 7230; NULL when neither is there. */
static char *take_word(const char **at, gboolean may_be_quoted)
{
    GString *word = NULL;

    if (may_be_quoted && **at == '"') {
        word = g_string_new(NULL);
        for ((*at)++; **at != '\0' && **at != '"'; (*at)++) {
            if (**at == '\\' && (*at)[1] != '\0')
                (*at)++;
            g_string_append_c(word, **at);
        }
        if (**at == '"')
            (*at)++;
        return g_string_free(word, FALSE);
    }
    gsize length = strcspn(*at, " \t,=\"");
    if (length == 0)
        return NULL;
    *at += length;
    return g_strndup(*at - length, length);
}

static void skip_characters(const char **at, const char *characters)
{
    *at += strspn(*at, characters);
}

/* name=value, name="value", … up to the next scheme or the end. */
static GHashTable *take_parameters(const char **at)
{
    GHashTable *parameters = string_table_new(g_free, g_free);

    for (guint n = 0; n < MAX_PARAMETERS; n++) {
        const char *before;
        g_autofree char *name = NULL;

        skip_characters(at, " \t,");
        before = *at;
        name = take_word(at, FALSE);
        skip_characters(at, " \t");
        if (name == NULL || **at != '=') {
            *at = before; /* a scheme */
            break;
        }
        (*at)++;
        skip_characters(at, " \t");
        char *value = take_word(at, TRUE);
        g_hash_table_replace(parameters, g_ascii_strdown(name, -1), value != NULL ? value : g_strdup(""));
    }
    return parameters;
}

GHashTable *registry_challenge_find(const char *header, const char *scheme)
{
    const char *at = header;

    for (;;) {
        g_autofree char *name = NULL;
        g_autoptr(GHashTable) parameters = NULL;

        skip_characters(&at, " \t,");
        name = take_word(&at, FALSE);
        if (name == NULL)
            return NULL;
        parameters = take_parameters(&at);
        if (g_ascii_strcasecmp(name, scheme) == 0)
            return g_steal_pointer(&parameters);
    }
}

static GHashTable *find_challenge(const Transfer *transfer, const char *scheme)
{
    GHashTable *found = NULL;
    const char *header;

    for (guint n = 0; found == NULL && (header = transfer_header(transfer, "WWW-Authenticate", n)) != NULL;
         n++)
        found = registry_challenge_find(header, scheme);
    return found;
}

gboolean registry_same_origin(const char *one, const char *other)
{
    g_autoptr(GUri) a = g_uri_parse(one, G_URI_FLAGS_ENCODED | G_URI_FLAGS_SCHEME_NORMALIZE, NULL);
    g_autoptr(GUri) b = g_uri_parse(other, G_URI_FLAGS_ENCODED | G_URI_FLAGS_SCHEME_NORMALIZE, NULL);

    return a != NULL && b != NULL && g_str_equal(g_uri_get_scheme(a), g_uri_get_scheme(b)) &&
           g_ascii_strcasecmp(g_uri_get_host(a), g_uri_get_host(b)) == 0 &&
           g_uri_get_port(a) == g_uri_get_port(b);
}

/* The message of the distribution specification's {"errors": [{"code": …, "message": …, "detail": …}]}, or of
 * token servers and proxies: {"details": …}, {"message": …}, {"error": …}; else the text itself, or NULL
 * when only JSON counts. */
static char *error_text(const char *body, gsize length, gboolean only_json)
{
    static const char *const other_keys[][2] = {{"details"}, {"message"}, {"error"}};
    g_autoptr(JsonDocument) document = json_document_parse(body, length, "answer", &json_lenient, NULL);
    const JsonValue *root = document != NULL ? json_document_root(document) : NULL;
    const JsonValue *errors = json_member(root, "errors");
    const JsonValue *first = json_length(errors) > 0 ? json_at(errors, 0) : NULL;
    const char *code = json_find_string(first, (const char *const[]){"code", NULL});
    const char *message = json_find_string(first, (const char *const[]){"message", NULL});

    if (!json_is(root, JSON_OBJECT))
        return only_json ? NULL : g_strndup(body, MIN(length, (gsize)MAX_MESSAGE_LENGTH));
    if (message == NULL || *message == '\0')
        message = json_find_string(first, (const char *const[]){"detail", NULL});
    for (gsize i = 0; message == NULL && i < G_N_ELEMENTS(other_keys); i++) {
        const char *const keys[] = {other_keys[i][0], NULL};

        message = json_find_string(root, keys);
    }
    if (message == NULL || *message == '\0')
        return g_strdup(code);
    return code != NULL ? g_strdup_printf("%s (%s)", message, code) : g_strdup(message);
}

/* "; it may be asked again in 3600 s, at 2026-11-29T02:10:00Z" where the answer says so. */
static char *describe_retry_after(const Transfer *transfer)
{
    gint64 seconds = transfer_retry_after_s(transfer);
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autoptr(GDateTime) then = NULL;
    g_autofree char *text = NULL;

    if (seconds <= 0 || transfer_status(transfer) < 400)
        return g_strdup("");
    then = g_date_time_add_seconds(now, (double)MIN(seconds, G_MAXINT32));
    text = then != NULL ? g_date_time_format(then, "%Y-%m-%dT%H:%M:%SZ") : NULL;
    return g_strdup_printf("; it may be asked again in %" G_GINT64_FORMAT " s%s%s", seconds,
                           text != NULL ? ", at " : "", text != NULL ? text : "");
}

/* What is not printable, like controls and marks that change the direction of the text, becomes a space. */
char *registry_printable(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *line = g_string_new(NULL);
    guint n = 0;

    for (const char *c = valid; *c != '\0' && n < MAX_MESSAGE_LENGTH; c = g_utf8_next_char(c), n++) {
        gunichar character = g_utf8_get_char(c);

        g_string_append_unichar(line, g_unichar_isprint(character) ? character : ' ');
    }
    return g_strstrip(g_string_free(line, FALSE));
}

char *registry_describe_answer(const Transfer *transfer, AnswerSource source)
{
    gsize length;
    const char *body = transfer_body(transfer, &length);
    g_autofree char *text = length > 0 && source != ANSWER_FROM_ELSEWHERE
                                ? error_text(body, length, source == ANSWER_OF_TOKEN_SERVER)
                                : NULL;
    g_autofree char *line = text != NULL ? registry_printable(text) : NULL;
    g_autofree char *again = describe_retry_after(transfer);

    if (line == NULL || *line == '\0')
        return g_strdup_printf("HTTP %ld%s", transfer_status(transfer), again);
    return g_strdup_printf("HTTP %ld: %s%s", transfer_status(transfer), line, again);
}

static char *basic_authorization(const Credentials *credentials)
{
    g_autofree char *plain = g_strdup_printf("%s:%s", credentials->username, credentials->password);
    g_autofree char *encoded = g_base64_encode((const guchar *)plain, strlen(plain));
    char *authorization = g_strconcat("Basic ", encoded, NULL);

    explicit_bzero(plain, strlen(plain));
    explicit_bzero(encoded, strlen(encoded));
    return authorization;
}

/* It becomes part of a header. */
static gboolean is_printable(const char *token)
{
    for (; *token != '\0'; token++)
        if ((guchar)*token <= 0x20 || (guchar)*token >= 0x7f)
            return FALSE;
    return TRUE;
}

static gboolean read_token(const Transfer *transfer, char **ret_authorization, GError **error)
{
    gsize length;
    const char *body = transfer_body(transfer, &length);
    g_autoptr(JsonDocument) document =
        json_document_parse(body, length, "the token server's answer", &json_lenient, error);
    const JsonValue *root = document != NULL ? json_document_object(document, error) : NULL;
    const char *token = NULL;

    if (root == NULL || !json_get_string(root, "token", &token, error) ||
        (token == NULL && !json_get_string(root, "access_token", &token, error)))
        return FALSE;
    if (token == NULL || *token == '\0' || !is_printable(token))
        return fail(error, STATUS_UNAUTHENTICATED, "the token server gave no token");
    *ret_authorization = g_strconcat("Bearer ", token, NULL);
    return TRUE;
}

static char *token_query(GHashTable *challenge, const char *repository, const Credentials *credentials)
{
    const char *service = g_hash_table_lookup(challenge, "service");
    const char *scope = g_hash_table_lookup(challenge, "scope");
    g_autofree char *own_scope =
        *repository != '\0' ? g_strdup_printf("repository:%s:pull", repository) : g_strdup("");
    g_autofree char *scope_text = g_uri_escape_string(scope != NULL ? scope : own_scope, NULL, FALSE);
    g_autofree char *service_text = g_uri_escape_string(service != NULL ? service : "", NULL, FALSE);
    GString *query = g_string_new(NULL);

    if (service != NULL)
        g_string_append_printf(query, "service=%s&", service_text);
    if (*scope_text != '\0')
        g_string_append_printf(query, "scope=%s", scope_text);
    if (credentials != NULL && credentials->identity_token != NULL) {
        g_autofree char *token = g_uri_escape_string(credentials->identity_token, NULL, FALSE);

        g_string_append_printf(query, "&grant_type=refresh_token&client_id=crivirt&refresh_token=%s", token);
        explicit_bzero(token, strlen(token));
    }
    return g_string_free(query, FALSE);
}

/* The registry names the realm, so what is asked there has TLS when the registry itself has TLS. */
static gboolean check_realm(const char *realm, const char *url, GError **error)
{
    g_autoptr(GUri) uri = realm != NULL ? g_uri_parse(realm, G_URI_FLAGS_ENCODED, NULL) : NULL;

    if (uri == NULL || g_uri_get_host(uri) == NULL || g_uri_get_userinfo(uri) != NULL ||
        (!g_str_equal(g_uri_get_scheme(uri), "http") && !g_str_equal(g_uri_get_scheme(uri), "https")))
        return fail(error, STATUS_UNAUTHENTICATED, "the registry names no usable token server");
    if (g_str_has_prefix(url, "https:") && g_str_equal(g_uri_get_scheme(uri), "http")) {
        g_autofree char *host = registry_printable(g_uri_get_host(uri));

        return fail(error, STATUS_UNAUTHENTICATED,
                    "the registry has TLS and names a token server without TLS: %s", host);
    }
    return TRUE;
}

static gboolean ask_token_server(Transfer *transfer, const TransferRequest *request, const Deadline *deadline,
                                 char **ret_authorization, GError **error)
{
    g_autofree char *what = NULL;
    long status;

    if (!transfer_perform(transfer, request, deadline, error)) {
        g_prefix_error(error, "token server: ");
        return FALSE;
    }
    status = transfer_status(transfer);
    if (status == 200)
        return read_token(transfer, ret_authorization, error);
    what = registry_describe_answer(transfer, ANSWER_OF_TOKEN_SERVER);
    return fail(error,
                status == 429 || status >= 500 ? STATUS_UNAVAILABLE
                : status == 403                ? STATUS_PERMISSION_DENIED
                                               : STATUS_UNAUTHENTICATED,
                "token server: %s", what);
}

static gboolean fetch_token(const RegistryAuthRequest *request, GHashTable *challenge,
                            const Deadline *deadline, char **ret_authorization, GError **error)
{
    const Credentials *credentials = request->credentials;
    const char *realm = g_hash_table_lookup(challenge, "realm");
    g_autofree char *query = token_query(challenge, request->repository, credentials);
    g_autofree char *get_url = NULL;
    g_autofree char *secret = NULL;
    gboolean by_refresh_token = credentials != NULL && credentials->identity_token != NULL;
    gboolean done;

    if (!check_realm(realm, request->url, error))
        return FALSE;
    get_url = g_strconcat(realm, strchr(realm, '?') != NULL ? "&" : "?", query, NULL);
    if (!by_refresh_token && credentials != NULL && credentials->username != NULL) {
        g_autofree char *basic = basic_authorization(credentials);

        secret = g_strconcat("Authorization: ", basic, NULL);
        explicit_bzero(basic, strlen(basic));
    }
    const char *const headers[] = {secret, NULL};
    TransferRequest http = {
        .url = by_refresh_token ? realm : get_url,
        .form = by_refresh_token ? query : NULL,
        .headers = headers,
        .tls = request->endpoint,
        .with_client_cert = registry_same_origin(request->url, realm),
        .is_foreign = !registry_same_origin(request->url, realm),
        .max_body_bytes = MAX_TOKEN_BODY_BYTES,
        .progress_timeout_ms = request->progress_timeout_ms,
    };
    done = ask_token_server(request->transfer, &http, deadline, ret_authorization, error);
    explicit_bzero(query, strlen(query));
    if (secret != NULL)
        explicit_bzero(secret, strlen(secret));
    return done;
}

gboolean registry_auth_answer(const RegistryAuthRequest *request, const Deadline *deadline,
                              char **ret_authorization, GError **error)
{
    const Credentials *credentials = request->credentials;
    g_autoptr(GHashTable) bearer = find_challenge(request->transfer, "Bearer");
    g_autoptr(GHashTable) basic = find_challenge(request->transfer, "Basic");
    g_autofree char *what = NULL;

    if (credentials != NULL && credentials->registry_token != NULL) {
        if (!is_printable(credentials->registry_token))
            return fail(error, STATUS_INVALID_ARGUMENT,
                        "the registry token has characters that cannot be sent");
        *ret_authorization = g_strconcat("Bearer ", credentials->registry_token, NULL);
        return TRUE;
    }
    if (bearer != NULL)
        return fetch_token(request, bearer, deadline, ret_authorization, error);
    if (basic != NULL && credentials != NULL && credentials->username != NULL) {
        *ret_authorization = basic_authorization(credentials);
        return TRUE;
    }
    what = registry_describe_answer(request->transfer, ANSWER_OF_REGISTRY);
    return fail(error, STATUS_UNAUTHENTICATED, "%s%s", what,
                credentials == NULL ? " (no credentials were given)" : "");
}

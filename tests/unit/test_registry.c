/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/test_registry.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "image-service/content/digest.h"

typedef struct {
    char *media_type; /* NULL: a blob */
    GBytes *bytes;
} Content;

struct TestRegistry {
    struct MHD_Daemon *daemon;
    char *host;
    GMutex lock;
    TestRegistryFaults faults;
    GHashTable *contents; /* Content by path */
    GString *log;
    gint ending;
};

typedef struct {
    TestRegistry *registry;
    GBytes *bytes;
    gsize offset;
    gsize cut_at; /* G_MAXSIZE: never */
    gboolean stall;
} BlobBody;

static void content_free(gpointer data)
{
    Content *content = data;

    g_free(content->media_type);
    g_bytes_unref(content->bytes);
    g_free(content);
}

static ssize_t read_body(void *user_data, uint64_t position, char *buffer, size_t max)
{
    BlobBody *body = user_data;
    gsize length;
    const char *data = g_bytes_get_data(body->bytes, &length);
    gsize end = MIN(length, body->offset + body->cut_at);
    gsize at = body->offset + position;

    if (at >= end && end == length)
        return MHD_CONTENT_READER_END_OF_STREAM;
    while (at >= end && body->stall && !g_atomic_int_get(&body->registry->ending))
        g_usleep(10000);
    if (at >= end)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    memcpy(buffer, data + at, MIN(max, end - at));
    return (ssize_t)MIN(max, end - at);
}

static void free_body(void *user_data)
{
    BlobBody *body = user_data;

    g_bytes_unref(body->bytes);
    g_free(body);
}

/* The content with the faults of the length and the last byte. */
static GBytes *damage(GBytes *bytes, const TestRegistryFaults *faults)
{
    gsize length;
    const guint8 *data = g_bytes_get_data(bytes, &length);
    guint8 *copy = g_malloc0(length + faults->extra_bytes);

    memcpy(copy, data, length);
    if (faults->flip_a_byte)
        copy[length - 1] ^= 1;
    return g_bytes_new_take(copy, length + faults->extra_bytes);
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, guint status, const char *type,
                                   const char *text, const char *name, const char *value)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), (void *)(gsize)text, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result;

    MHD_add_response_header(response, "Content-Type", type);
    if (name != NULL && value != NULL)
        MHD_add_response_header(response, name, value);
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_blob(TestRegistry *registry, struct MHD_Connection *connection,
                                   const Content *content, TestRegistryFaults *faults)
{
    const char *range = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Range");
    BlobBody *body = g_new0(BlobBody, 1);
    struct MHD_Response *response;
    enum MHD_Result result;
    gsize length;

    body->registry = registry;
    body->bytes = damage(content->bytes, faults);
    body->stall = faults->stall;
    body->cut_at = faults->n_cuts > 0 || faults->stall ? faults->cut_after : G_MAXSIZE / 2;
    length = g_bytes_get_size(body->bytes);
    if (range != NULL && !faults->without_ranges)
        body->offset = g_ascii_strtoull(range + strlen("bytes="), NULL, 10);
    response =
        MHD_create_response_from_callback(faults->without_length ? MHD_SIZE_UNKNOWN : length - body->offset,
                                          64 << 10, read_body, body, free_body);
    if (body->offset > 0) {
        g_autofree char *text =
            g_strdup_printf("bytes %zu-%zu/%zu", body->offset, length - 1, length - faults->extra_bytes);

        MHD_add_response_header(response, "Content-Range", text);
    }
    result = MHD_queue_response(connection, body->offset > 0 ? 206 : 200, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_manifest(struct MHD_Connection *connection, const Content *content)
{
    gsize length;
    const char *data = g_bytes_get_data(content->bytes, &length);
    g_autofree char *digest = digest_of(data, length);

    return answer_text(connection, 200, content->media_type, data, "Docker-Content-Digest", digest);
}

static gboolean is_basic(const char *header, const char *user_password)
{
    g_autofree char *encoded = g_base64_encode((const guchar *)user_password, strlen(user_password));
    g_autofree char *wanted = g_strconcat("Basic ", encoded, NULL);

    return g_strcmp0(header, wanted) == 0;
}

static enum MHD_Result answer_token(struct MHD_Connection *connection, const TestRegistryFaults *faults,
                                    const char *authorization, const char *form)
{
    g_autofree char *json = g_strdup_printf("{\"token\":\"%s\",\"expires_in\":300}", faults->token);
    g_autofree char *refresh = g_strdup_printf("refresh_token=%s", faults->refresh_token);
    gboolean granted = TRUE;

    if (faults->token_password != NULL)
        granted = is_basic(authorization, faults->token_password);
    if (faults->refresh_token != NULL)
        granted = strstr(form, refresh) != NULL && strstr(form, "grant_type=refresh_token") != NULL;
    return answer_text(connection, granted ? 200 : 401, "application/json",
                       granted ? json : "{\"details\":\"incorrect username or password\"}", NULL, NULL);
}

static enum MHD_Result challenge(TestRegistry *registry, struct MHD_Connection *connection,
                                 const TestRegistryFaults *faults)
{
    g_autofree char *own = g_strdup_printf("http://%s/token", registry->host);
    g_autofree char *bearer =
        g_strdup_printf("Bearer realm=\"%s\",service=\"test\",scope=\"repository:team/app:pull\"",
                        faults->realm != NULL ? faults->realm : own);

    return answer_text(connection, 401, "application/json",
                       "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\"}]}",
                       "WWW-Authenticate",
                       faults->token != NULL ? bearer : "Basic realm=\"the \\\"test\\\" registry\"");
}

static gboolean is_authorised(const TestRegistryFaults *faults, const char *authorization)
{
    g_autofree char *bearer = g_strdup_printf("Bearer %s", faults->token);

    if (faults->token != NULL)
        return g_strcmp0(authorization, bearer) == 0;
    return faults->user_password == NULL || is_basic(authorization, faults->user_password);
}

static enum MHD_Result answer(TestRegistry *registry, struct MHD_Connection *connection, const char *method,
                              const char *path, TestRegistryFaults *faults, const char *authorization)
{
    const Content *content = g_hash_table_lookup(registry->contents, path);
    g_autofree char *elsewhere = NULL;

    if (faults->too_many != NULL)
        return answer_text(connection, 429, "application/json", faults->too_many, "Retry-After",
                           faults->retry_after);
    if (faults->n_unavailable > 0)
        return answer_text(connection, 503, "text/plain", "try again\r\nlater", "Retry-After",
                           faults->retry_after);
    if (!is_authorised(faults, authorization))
        return challenge(registry, connection, faults);
    if (faults->without_head && g_str_equal(method, "HEAD"))
        return answer_text(connection, 405, "text/plain", "", NULL, NULL);
    if (content == NULL)
        return answer_text(connection, 404, "application/json",
                           "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\"}]}",
                           NULL, NULL);
    if (content->media_type != NULL)
        return answer_manifest(connection, content);
    if (faults->blobs_url != NULL)
        return answer_text(connection, 307, "text/plain", "", "Location", faults->blobs_url);
    if (faults->blobs_at != NULL) {
        elsewhere = g_strdup_printf("http://%s%s?signature=1", faults->blobs_at->host, path);
        return answer_text(connection, 307, "text/plain", "", "Location", elsewhere);
    }
    return answer_blob(registry, connection, content, faults);
}

static enum MHD_Result handle(void *user_data, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **connection_data)
{
    TestRegistry *registry = user_data;
    const char *authorization = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Authorization");
    const char *range = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Range");
    const char *ns = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "ns");
    TestRegistryFaults faults;
    GString *form = *connection_data;

    (void)version;
    if (form == NULL) {
        *connection_data = g_string_new(NULL);
        return MHD_YES;
    }
    if (*upload_size > 0) {
        g_string_append_len(form, upload, (gssize)*upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    g_mutex_lock(&registry->lock);
    faults = registry->faults;
    g_string_append_printf(registry->log, "%s %s%s%s%s%s%s\n", method, path, ns != NULL ? "?ns=" : "",
                           ns != NULL ? ns : "", range != NULL ? " " : "", range != NULL ? range : "",
                           authorization != NULL ? " auth" : "");
    if (!g_str_equal(path, "/token")) {
        registry->faults.n_unavailable -= registry->faults.n_unavailable > 0;
        if (strstr(path, "/blobs/") != NULL && faults.n_unavailable == 0 &&
            is_authorised(&faults, authorization))
            registry->faults.n_cuts -= registry->faults.n_cuts > 0;
    }
    g_mutex_unlock(&registry->lock);
    if (g_str_equal(path, "/token"))
        return answer_token(connection, &faults, authorization, form->str);
    return answer(registry, connection, method, path, &faults, authorization);
}

static void completed(void *user_data, struct MHD_Connection *connection, void **connection_data,
                      enum MHD_RequestTerminationCode how)
{
    (void)user_data;
    (void)connection;
    (void)how;
    if (*connection_data != NULL)
        g_string_free(*connection_data, TRUE);
    *connection_data = NULL;
}

TestRegistry *test_registry_new(void)
{
    TestRegistry *registry = g_new0(TestRegistry, 1);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    g_mutex_init(&registry->lock);
    registry->contents = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, content_free);
    registry->log = g_string_new(NULL);
    registry->daemon = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0,
                                        NULL, NULL, handle, registry, MHD_OPTION_SOCK_ADDR, &address,
                                        MHD_OPTION_NOTIFY_COMPLETED, completed, NULL, MHD_OPTION_END);
    if (registry->daemon == NULL)
        g_error("cannot start a registry");
    registry->host = g_strdup_printf("127.0.0.1:%u",
                                     MHD_get_daemon_info(registry->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    return registry;
}

void test_registry_free(TestRegistry *registry)
{
    if (registry == NULL)
        return;
    g_atomic_int_set(&registry->ending, TRUE);
    MHD_stop_daemon(registry->daemon);
    g_hash_table_unref(registry->contents);
    g_string_free(registry->log, TRUE);
    g_free(registry->host);
    g_mutex_clear(&registry->lock);
    g_free(registry);
}

const char *test_registry_host(const TestRegistry *registry)
{
    return registry->host;
}

void test_registry_set(TestRegistry *registry, TestRegistryFaults faults)
{
    g_mutex_lock(&registry->lock);
    registry->faults = faults;
    g_mutex_unlock(&registry->lock);
}

static void add(TestRegistry *registry, char *path, const char *media_type, const void *data, gsize length)
{
    Content *content = g_new0(Content, 1);

    content->media_type = g_strdup(media_type);
    /* A NUL behind it lets manifests be used as text. */
    char *copy = g_malloc(length + 1);
    memcpy(copy, data, length);
    copy[length] = '\0';
    content->bytes = g_bytes_new_with_free_func(copy, length, g_free, copy);
    g_hash_table_insert(registry->contents, path, content);
}

char *test_registry_add_blob(TestRegistry *registry, const char *repository, const void *data, gsize length)
{
    char *digest = digest_of(data, length);

    add(registry, g_strdup_printf("/v2/%s/blobs/%s", repository, digest), NULL, data, length);
    return digest;
}

void test_registry_remove_blob(TestRegistry *registry, const char *repository, const char *digest)
{
    g_autofree char *path = g_strdup_printf("/v2/%s/blobs/%s", repository, digest);

    g_hash_table_remove(registry->contents, path);
}

char *test_registry_add_manifest(TestRegistry *registry, const char *repository, const char *tag,
                                 const char *media_type, const char *json)
{
    char *digest = digest_of(json, strlen(json));

    add(registry, g_strdup_printf("/v2/%s/manifests/%s", repository, digest), media_type, json, strlen(json));
    if (tag != NULL)
        add(registry, g_strdup_printf("/v2/%s/manifests/%s", repository, tag), media_type, json,
            strlen(json));
    return digest;
}

char *test_registry_log(TestRegistry *registry)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&registry->lock);

    return g_strdup(registry->log->str);
}

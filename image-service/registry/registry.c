/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/registry/registry.h"

#include <string.h>

#include "common/error.h"
#include "image-service/content/digest.h"
#include "image-service/registry/blob_download.h"
#include "image-service/registry/registry_request.h"

enum {
    DEFAULT_PROGRESS_TIMEOUT_MS = 60000,
    DEFAULT_MAX_ATTEMPTS = 5,
    DEFAULT_RETRY_DELAY_MS = 500,
    MIRROR_ATTEMPTS = 2, /* where somebody else can be asked */
    MAX_INDEX_DEPTH = 3,
};

static const char manifest_types[] = MEDIA_TYPE_OCI_INDEX
    ", " MEDIA_TYPE_OCI_MANIFEST ", " MEDIA_TYPE_DOCKER_LIST ", " MEDIA_TYPE_DOCKER_MANIFEST ", */*;q=0.1";

struct RegistryClient {
    Reference *reference;
    char *name; /* the reference as messages show it */
    RetryPolicy policy;
    GPtrArray *hosts; /* RegistryHost, in the order of the file */
    GMutex lock;
    GPtrArray *idle; /* Transfer, with their connections */
};

RegistryClient *registry_client_new(const RegistryConfig *config, const Reference *reference,
                                    const RegistryAuth *auth, GError **error)
{
    g_autoptr(GPtrArray) endpoints = NULL;
    g_autoptr(RegistryClient) client = g_new0(RegistryClient, 1);

    g_mutex_init(&client->lock);
    client->idle = g_ptr_array_new_with_free_func((GDestroyNotify)transfer_free);
    client->hosts = g_ptr_array_new_with_free_func((GDestroyNotify)registry_host_free);
    client->reference = reference_copy(reference);
    client->name = reference_to_string(reference);
    client->policy.progress_timeout_ms =
        config->progress_timeout_ms != 0 ? config->progress_timeout_ms : DEFAULT_PROGRESS_TIMEOUT_MS;
    client->policy.max_attempts = config->max_attempts != 0 ? config->max_attempts : DEFAULT_MAX_ATTEMPTS;
    client->policy.retry_delay_ms =
        config->retry_delay_ms != 0 ? config->retry_delay_ms : DEFAULT_RETRY_DELAY_MS;
    if (!hosts_load(config->hosts_dir, reference->domain, &endpoints, error))
        return NULL;
    while (endpoints->len > 0) {
        RegistryEndpoint *endpoint = g_ptr_array_index(endpoints, 0);
        Credentials *credentials = NULL;

        if (!credentials_find(auth, config->auth_file, reference, endpoint->host, endpoint->is_mirror,
                              &credentials, error))
            return NULL;
        endpoint = g_ptr_array_steal_index(endpoints, 0);
        g_ptr_array_add(client->hosts,
                        registry_host_new(endpoint, credentials, reference->domain, reference->repository));
    }
    return g_steal_pointer(&client);
}

void registry_client_free(RegistryClient *client)
{
    if (client == NULL)
        return;
    g_clear_pointer(&client->hosts, g_ptr_array_unref);
    g_clear_pointer(&client->idle, g_ptr_array_unref);
    reference_free(client->reference);
    g_free(client->name);
    g_mutex_clear(&client->lock);
    g_free(client);
}

static Transfer *borrow_transfer(RegistryClient *client)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&client->lock);

    return client->idle->len > 0 ? g_ptr_array_steal_index_fast(client->idle, client->idle->len - 1)
                                 : transfer_new();
}

static void return_transfer(RegistryClient *client, Transfer *transfer)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&client->lock);

    g_ptr_array_add(client->idle, transfer);
}

/* What is done at one host after the other until one can. */
typedef gboolean (*HostOperation)(RegistryHost *host, const RetryPolicy *policy, Transfer *transfer,
                                  gpointer data, const Deadline *deadline, GError **error);

/* Those that did not answer last time come last. */
static GPtrArray *order_hosts(const RegistryClient *client, gboolean to_resolve)
{
    GPtrArray *order = g_ptr_array_new();

    for (int down = FALSE; down <= TRUE; down++)
        for (guint i = 0; i < client->hosts->len; i++) {
            RegistryHost *host = g_ptr_array_index(client->hosts, i);
            const RegistryEndpoint *endpoint = registry_host_endpoint(host);

            if ((to_resolve ? endpoint->can_resolve : endpoint->can_pull) &&
                registry_host_is_down(host) == down && !g_ptr_array_find(order, host, NULL))
                g_ptr_array_add(order, host);
        }
    return order;
}

/* Another host would not help. */
static gboolean is_final(const GError *error)
{
    return error->code == STATUS_CANCELLED || error->code == STATUS_DEADLINE_EXCEEDED ||
           error->code == STATUS_RESOURCE_EXHAUSTED || error->code == STATUS_INTERNAL;
}

static gboolean try_hosts(RegistryClient *client, gboolean to_resolve, HostOperation operation, gpointer data,
                          const Deadline *deadline, GError **error)
{
    g_autoptr(GPtrArray) order = order_hosts(client, to_resolve);
    g_autoptr(GString) earlier = g_string_new(NULL);
    Transfer *transfer = borrow_transfer(client);
    gboolean done = FALSE;

    if (order->len == 0)
        fail(error, STATUS_FAILED_PRECONDITION, "%s: its hosts.toml leaves no host to %s from", client->name,
             to_resolve ? "resolve tags" : "pull");
    for (guint i = 0; !done && i < order->len; i++) {
        gboolean is_last = i + 1 == order->len;
        RetryPolicy policy = client->policy;
        g_autoptr(GError) local = NULL;

        if (!is_last)
            policy.max_attempts = MIN(policy.max_attempts, (guint)MIRROR_ATTEMPTS);
        done = operation(g_ptr_array_index(order, i), &policy, transfer, data, deadline, &local);
        if (!done && (is_last || is_final(local))) {
            g_propagate_prefixed_error(error, g_steal_pointer(&local), "%s: %s", client->name, earlier->str);
            break;
        }
        if (!done)
            g_string_append_printf(earlier, "%s; ", local->message);
    }
    return_transfer(client, transfer);
    return done;
}

static Descriptor *descriptor_from_head(const Transfer *transfer)
{
    const char *digest = transfer_header(transfer, "Docker-Content-Digest", 0);
    const char *media_type = transfer_header(transfer, "Content-Type", 0);
    const char *length = transfer_header(transfer, "Content-Length", 0);
    guint64 size_bytes = 0;

    if (digest == NULL || media_type == NULL || !digest_is_valid(digest))
        return NULL;
    /* A bad length is as good as none. */
    if (length != NULL && !g_ascii_string_to_unsigned(length, 10, 1, MANIFEST_MAX_BYTES, &size_bytes, NULL))
        size_bytes = 0;
    return descriptor_new(media_type, digest, size_bytes);
}

/* A manifest's bytes are in the transfer after this. */
static gboolean get_manifest(RegistryHost *host, const RetryPolicy *policy, Transfer *transfer,
                             const char *what, const Deadline *deadline, GError **error)
{
    RegistryRequest request = {
        .kind = "manifests", .what = what, .accept = manifest_types, .max_body_bytes = MANIFEST_MAX_BYTES};

    if (!registry_host_request(host, &request, policy, transfer, deadline, error))
        return FALSE;
    if (transfer_body_was_cut(transfer))
        return fail(error, STATUS_INVALID_ARGUMENT, "%s: the manifest is larger than %d bytes",
                    registry_host_endpoint(host)->host, (int)MANIFEST_MAX_BYTES);
    return TRUE;
}

typedef struct {
    const char *tag;
    Descriptor *resolved;
} ResolveData;

static gboolean resolve_at(RegistryHost *host, const RetryPolicy *policy, Transfer *transfer, gpointer data,
                           const Deadline *deadline, GError **error)
{
    ResolveData *resolve = data;
    RegistryRequest head = {
        .kind = "manifests", .what = resolve->tag, .accept = manifest_types, .is_head = TRUE};
    g_autoptr(GError) local = NULL;
    g_autofree char *digest = NULL;
    const char *body;
    gsize length;

    if (registry_host_request(host, &head, policy, transfer, deadline, &local)) {
        resolve->resolved = descriptor_from_head(transfer);
        if (resolve->resolved != NULL)
            return TRUE;
    } else if (transfer_outcome(transfer) != TRANSFER_ANSWERED || transfer_status(transfer) == 429 ||
               transfer_status(transfer) >= 500 || transfer_status(transfer) == 401) {
        g_propagate_error(error, g_steal_pointer(&local));
        return FALSE;
    }
    /* A HEAD's refusal has no text, and some registries answer only GET well. */
    if (!get_manifest(host, policy, transfer, resolve->tag, deadline, error))
        return FALSE;
    body = transfer_body(transfer, &length);
    digest = digest_of(body, length);
    resolve->resolved = descriptor_new(transfer_header(transfer, "Content-Type", 0), digest, length);
    return TRUE;
}

gboolean registry_resolve(RegistryClient *client, const Deadline *deadline, Descriptor **ret_descriptor,
                          GError **error)
{
    ResolveData resolve = {.tag = client->reference->tag};

    if (client->reference->digest != NULL) {
        *ret_descriptor = descriptor_new(NULL, client->reference->digest, 0);
        return TRUE;
    }
    if (!try_hosts(client, TRUE, resolve_at, &resolve, deadline, error))
        return FALSE;
    *ret_descriptor = resolve.resolved;
    return TRUE;
}

typedef struct {
    const Descriptor *descriptor;
    gsize max_bytes; /* of a small blob */
    char *data;
    gsize length;
    char *media_type;
} FetchData;

/* Takes the body over when it is what the descriptor says. */
static gboolean keep_body(const RegistryHost *host, const Transfer *transfer, FetchData *fetch,
                          GError **error)
{
    const char *where = registry_host_endpoint(host)->host;
    const Descriptor *descriptor = fetch->descriptor;
    g_autoptr(DigestHash) hash = digest_hash_new(descriptor->digest);
    g_autofree char *what = g_strdup_printf("%s: what it sent for %s", where, descriptor->digest);
    gsize length;
    const char *body = transfer_body(transfer, &length);

    if (descriptor->size_bytes != 0 && length != descriptor->size_bytes)
        return fail(error, STATUS_DATA_LOSS, "%s has %s than the %" G_GUINT64_FORMAT " bytes announced", what,
                    length > descriptor->size_bytes || transfer_body_was_cut(transfer) ? "more" : "less",
                    descriptor->size_bytes);
    digest_hash_update(hash, body, length);
    if (!digest_hash_verify(hash, descriptor->digest, what, error))
        return FALSE;
    fetch->data = g_malloc(length + 1);
    memcpy(fetch->data, body, length + 1);
    fetch->length = length;
    fetch->media_type = g_strdup(transfer_header(transfer, "Content-Type", 0));
    return TRUE;
}

static gboolean fetch_manifest_at(RegistryHost *host, const RetryPolicy *policy, Transfer *transfer,
                                  gpointer data, const Deadline *deadline, GError **error)
{
    FetchData *fetch = data;

    return get_manifest(host, policy, transfer, fetch->descriptor->digest, deadline, error) &&
           keep_body(host, transfer, fetch, error);
}

gboolean registry_fetch_manifest(RegistryClient *client, const Descriptor *descriptor,
                                 const Deadline *deadline, char **ret_data, gsize *ret_length,
                                 char **ret_media_type, GError **error)
{
    FetchData fetch = {.descriptor = descriptor};

    if (!try_hosts(client, FALSE, fetch_manifest_at, &fetch, deadline, error))
        return FALSE;
    *ret_data = fetch.data;
    *ret_length = fetch.length;
    *ret_media_type = fetch.media_type;
    return TRUE;
}

static gboolean fetch_small_at(RegistryHost *host, const RetryPolicy *policy, Transfer *transfer,
                               gpointer data, const Deadline *deadline, GError **error)
{
    FetchData *fetch = data;
    RegistryRequest request = {
        .kind = "blobs", .what = fetch->descriptor->digest, .max_body_bytes = fetch->max_bytes};

    return registry_host_request(host, &request, policy, transfer, deadline, error) &&
           keep_body(host, transfer, fetch, error);
}

gboolean registry_fetch_small_blob(RegistryClient *client, const Descriptor *descriptor, gsize max_bytes,
                                   const Deadline *deadline, char **ret_data, gsize *ret_length,
                                   GError **error)
{
    FetchData fetch = {.descriptor = descriptor, .max_bytes = descriptor->size_bytes};

    if (descriptor->size_bytes > max_bytes)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "%s: blob %s is larger than %zu bytes", client->name,
                    descriptor->digest, max_bytes);
    if (!try_hosts(client, FALSE, fetch_small_at, &fetch, deadline, error))
        return FALSE;
    g_free(fetch.media_type);
    *ret_data = fetch.data;
    *ret_length = fetch.length;
    return TRUE;
}

static gboolean fetch_blob_at(RegistryHost *host, const RetryPolicy *policy, Transfer *transfer,
                              gpointer data, const Deadline *deadline, GError **error)
{
    return blob_download_from(data, host, policy, transfer, deadline, error);
}

gboolean registry_fetch_blob(RegistryClient *client, const Descriptor *descriptor, int fd,
                             RegistryProgressFunc progress, gpointer data, const Deadline *deadline,
                             GError **error)
{
    g_autoptr(BlobDownload) download = blob_download_new(descriptor, fd, progress, data, error);

    if (download == NULL || !blob_download_check_present(download, error)) {
        g_prefix_error(error, "%s: ", client->name);
        return FALSE;
    }
    return blob_download_is_complete(download) ||
           try_hosts(client, FALSE, fetch_blob_at, download, deadline, error);
}

/* From index to index (a few are allowed) down to the manifest of one image. */
static gboolean fetch_manifest_for(RegistryClient *client, const Descriptor *resolved,
                                   const Platform *platform, const Deadline *deadline, RegistryImage *image,
                                   GError **error)
{
    g_autoptr(Descriptor) descriptor = descriptor_copy(resolved);

    for (int depth = 0; depth <= MAX_INDEX_DEPTH; depth++) {
        g_autofree char *data = NULL;
        g_autofree char *media_type = NULL;
        Descriptor *chosen;
        ManifestKind kind;
        gsize length;

        if (!registry_fetch_manifest(client, descriptor, deadline, &data, &length, &media_type, error))
            return FALSE;
        if (!manifest_kind(data, length, media_type, &kind, error) ||
            (kind == MANIFEST_KIND_IMAGE && !manifest_parse(data, length, &image->manifest, error))) {
            g_prefix_error(error, "%s: ", client->name);
            return FALSE;
        }
        if (kind == MANIFEST_KIND_IMAGE) {
            image->manifest_digest = g_strdup(descriptor->digest);
            return TRUE;
        }
        chosen = manifest_index_choose(data, length, platform, error);
        if (chosen == NULL) {
            g_prefix_error(error, "%s: ", client->name);
            return FALSE;
        }
        descriptor_free(descriptor);
        descriptor = chosen;
    }
    return fail(error, STATUS_INVALID_ARGUMENT, "%s: indexes are nested too deeply", client->name);
}

static gboolean fetch_config(RegistryClient *client, const Platform *platform, const Deadline *deadline,
                             RegistryImage *image, GError **error)
{
    gsize length;

    if (!registry_fetch_small_blob(client, image->manifest->config, IMAGE_CONFIG_MAX_BYTES, deadline,
                                   &image->config_json, &length, error))
        return FALSE;
    if (!image_config_parse(image->config_json, length, &image->config, error) ||
        !image_config_check_platform(image->config, platform, error)) {
        g_prefix_error(error, "%s: ", client->name);
        return FALSE;
    }
    if (g_strv_length(image->config->diff_ids) != image->manifest->layers->len)
        return fail(error, STATUS_INVALID_ARGUMENT, "%s: the configuration names %u layers, the manifest %u",
                    client->name, g_strv_length(image->config->diff_ids), image->manifest->layers->len);
    return TRUE;
}

gboolean registry_fetch_image(RegistryClient *client, const Descriptor *resolved, const Platform *platform,
                              const Deadline *deadline, RegistryImage **ret_image, GError **error)
{
    g_autoptr(RegistryImage) image = g_new0(RegistryImage, 1);

    if (!fetch_manifest_for(client, resolved, platform, deadline, image, error) ||
        !fetch_config(client, platform, deadline, image, error))
        return FALSE;
    *ret_image = g_steal_pointer(&image);
    return TRUE;
}

void registry_image_free(RegistryImage *image)
{
    if (image == NULL)
        return;
    g_free(image->manifest_digest);
    manifest_free(image->manifest);
    image_config_free(image->config);
    g_free(image->config_json);
    g_free(image);
}

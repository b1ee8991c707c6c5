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
    MIRROR_ATTEMPTS = 2, /* where another host can be asked */
    MAX_INDEX_DEPTH = 3,
};

static const char manifest_types[] = MEDIA_TYPE_OCI_INDEX
    ", " MEDIA_TYPE_OCI_MANIFEST ", " MEDIA_TYPE_DOCKER_LIST ", " MEDIA_TYPE_DOCKER_MANIFEST ", */*;q=0.1";

struct RegistryClient {
    Reference *reference;
    char *name; /* the reference in messages */
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
        CredentialsQuery query = {auth, config->auth_file, reference, endpoint->host, endpoint->is_mirror};
        Credentials *credentials = NULL;

        if (!credentials_find(&query, &credentials, error))
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

/* What is done at one host after the other until it succeeds at one. */
typedef gboolean (*HostOperation)(const RegistryCall *call, gpointer data, GError **error);

/* Hosts that did not answer last time come last. */
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

/* Whether another host would not help. */
static gboolean is_final(const GError *error)
{
    return error->code == STATUS_CANCELLED || error->code == STATUS_DEADLINE_EXCEEDED ||
           error->code == STATUS_RESOURCE_EXHAUSTED || error->code == STATUS_INTERNAL;
}

/* Adds "HOST: why" for a message that begins with the image's name, so the registry that this names already
 * is not named again. An entry that is there already, as of a host with two paths, is not added again. */
static void add_failure(const RegistryClient *client, GPtrArray *failures, const RegistryHost *host,
                        const GError *failure)
{
    const char *name = registry_host_endpoint(host)->host;
    gboolean is_own = g_str_equal(name, client->reference->domain);
    g_autofree char *text =
        g_strdup_printf("%s%s%s", is_own ? "" : name, is_own ? "" : ": ", failure->message);

    if (!g_ptr_array_find_with_equal_func(failures, text, g_str_equal, NULL))
        g_ptr_array_add(failures, g_steal_pointer(&text));
}

static char *join_failures(GPtrArray *failures)
{
    g_ptr_array_add(failures, NULL);
    return g_strjoinv("; ", (char **)failures->pdata);
}

static gboolean try_hosts(RegistryClient *client, gboolean to_resolve, HostOperation operation, gpointer data,
                          const Deadline *deadline, GError **error)
{
    g_autoptr(GPtrArray) order = order_hosts(client, to_resolve);
    g_autoptr(GPtrArray) failures = g_ptr_array_new_with_free_func(g_free);
    Transfer *transfer = borrow_transfer(client);
    gboolean done = FALSE;

    if (order->len == 0)
        fail(error, STATUS_FAILED_PRECONDITION, "%s: hosts.toml leaves no host to %s from", client->name,
             to_resolve ? "resolve tags" : "pull");
    for (guint i = 0; !done && i < order->len; i++) {
        gboolean is_last = i + 1 == order->len;
        RetryPolicy policy = client->policy;
        RegistryCall call = {g_ptr_array_index(order, i), &policy, transfer, deadline};
        g_autoptr(GError) failure = NULL;

        if (!is_last)
            policy.max_attempts = MIN(policy.max_attempts, (guint)MIRROR_ATTEMPTS);
        done = operation(&call, data, &failure);
        if (done)
            break;
        add_failure(client, failures, call.host, failure);
        if (is_last || is_final(failure)) {
            g_autofree char *text = join_failures(failures);

            fail(error, error_status(failure), "%s: %s", client->name, text);
            break;
        }
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

/* The manifest's bytes are in the call's transfer afterwards. */
static gboolean get_manifest(const RegistryCall *call, const char *what, GError **error)
{
    RegistryRequest request = {
        .kind = "manifests", .what = what, .accept = manifest_types, .max_body_bytes = MANIFEST_MAX_BYTES};

    if (!registry_host_request(call, &request, error))
        return FALSE;
    if (transfer_body_was_cut(call->transfer))
        return fail(error, STATUS_INVALID_ARGUMENT, "the manifest is larger than %d bytes",
                    (int)MANIFEST_MAX_BYTES);
    return TRUE;
}

typedef struct {
    const char *tag; /* or digest */
    Descriptor *resolved;
} ResolveData;

/* Gets the manifest after a HEAD that failed or said too little: some registries answer only GET well, and
 * only the answer to a GET has the registry's text of a refusal. Where waiting was of no use (429, 5xx) the
 * GET is tried once. */
static gboolean get_after_head(const RegistryCall *call, const char *tag, GError *head_failure,
                               GError **error)
{
    gboolean was_answered = transfer_outcome(call->transfer) == TRANSFER_ANSWERED;
    long status = transfer_status(call->transfer);
    RetryPolicy policy = *call->policy;
    RegistryCall get = {call->host, &policy, call->transfer, call->deadline};
    g_autoptr(GError) failure = NULL;

    if (head_failure != NULL && (!was_answered || status == 401)) {
        g_propagate_error(error, g_error_copy(head_failure));
        return FALSE;
    }
    if (head_failure != NULL && (status == 429 || status >= 500))
        policy.max_attempts = 1;
    if (get_manifest(&get, tag, &failure))
        return TRUE;
    was_answered = transfer_outcome(call->transfer) == TRANSFER_ANSWERED;
    g_propagate_error(error, head_failure != NULL && !was_answered ? g_error_copy(head_failure)
                                                                   : g_steal_pointer(&failure));
    return FALSE;
}

static gboolean resolve_at(const RegistryCall *call, gpointer data, GError **error)
{
    ResolveData *resolve = data;
    RegistryRequest head = {
        .kind = "manifests", .what = resolve->tag, .accept = manifest_types, .is_head = TRUE};
    g_autoptr(GError) failure = NULL;
    g_autofree char *digest = NULL;
    const char *body;
    gsize length;

    if (registry_host_request(call, &head, &failure)) {
        resolve->resolved = descriptor_from_head(call->transfer);
        if (resolve->resolved != NULL)
            return TRUE;
    }
    if (!get_after_head(call, resolve->tag, failure, error))
        return FALSE;
    body = transfer_body(call->transfer, &length);
    digest = digest_of(body, length);
    resolve->resolved = descriptor_new(transfer_header(call->transfer, "Content-Type", 0), digest, length);
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

/* An answer without a digest says too little, so the manifest itself is hashed then. */
static gboolean confirm_at(const RegistryCall *call, gpointer data, GError **error)
{
    const char *digest = data;
    ResolveData resolve = {.tag = digest};
    g_autoptr(Descriptor) resolved = NULL;

    if (!resolve_at(call, &resolve, error))
        return FALSE;
    resolved = resolve.resolved;
    return g_str_equal(resolved->digest, digest) ||
           fail(error, STATUS_DATA_LOSS, "the registry has %s under the digest %s", resolved->digest, digest);
}

gboolean registry_confirm(RegistryClient *client, const Deadline *deadline, GError **error)
{
    return try_hosts(client, FALSE, confirm_at, client->reference->digest, deadline, error);
}

static gboolean has_blob_at(const RegistryCall *call, gpointer data, GError **error)
{
    const Descriptor *descriptor = data;
    RegistryRequest head = {.kind = "blobs", .what = descriptor->digest, .is_head = TRUE};
    RetryPolicy once = *call->policy;
    RegistryCall asked = {call->host, &once, call->transfer, call->deadline};

    once.max_attempts = 1;
    return registry_host_request(&asked, &head, error);
}

gboolean registry_has_blob(RegistryClient *client, const Descriptor *descriptor, const Deadline *deadline)
{
    g_autoptr(GError) ignored = NULL;

    return try_hosts(client, FALSE, has_blob_at, (gpointer)descriptor, deadline, &ignored);
}

typedef struct {
    const Descriptor *descriptor;
    SmallBlob blob;
} FetchData;

/* Keeps the body when it is what the descriptor says. */
static gboolean keep_body(const Transfer *transfer, FetchData *fetch, GError **error)
{
    const Descriptor *descriptor = fetch->descriptor;
    g_autoptr(DigestHash) hash = digest_hash_new(descriptor->digest);
    g_autofree char *what = g_strdup_printf("the content sent for %s", descriptor->digest);
    gsize length;
    const char *body = transfer_body(transfer, &length);

    if (descriptor->size_bytes != 0 && length != descriptor->size_bytes)
        return fail(error, STATUS_DATA_LOSS, "%s has %s than the %" G_GUINT64_FORMAT " bytes announced", what,
                    length > descriptor->size_bytes || transfer_body_was_cut(transfer) ? "more" : "less",
                    descriptor->size_bytes);
    digest_hash_update(hash, body, length);
    if (!digest_hash_verify(hash, descriptor->digest, what, error))
        return FALSE;
    fetch->blob.data = g_malloc(length + 1);
    memcpy(fetch->blob.data, body, length + 1);
    fetch->blob.length = length;
    fetch->blob.media_type = g_strdup(transfer_header(transfer, "Content-Type", 0));
    return TRUE;
}

static gboolean fetch_manifest_at(const RegistryCall *call, gpointer data, GError **error)
{
    FetchData *fetch = data;

    return get_manifest(call, fetch->descriptor->digest, error) && keep_body(call->transfer, fetch, error);
}

gboolean registry_fetch_manifest(RegistryClient *client, const Descriptor *descriptor,
                                 const Deadline *deadline, SmallBlob *ret_blob, GError **error)
{
    FetchData fetch = {.descriptor = descriptor};

    if (!try_hosts(client, FALSE, fetch_manifest_at, &fetch, deadline, error))
        return FALSE;
    *ret_blob = fetch.blob;
    return TRUE;
}

static gboolean fetch_small_at(const RegistryCall *call, gpointer data, GError **error)
{
    FetchData *fetch = data;
    RegistryRequest request = {
        .kind = "blobs", .what = fetch->descriptor->digest, .max_body_bytes = fetch->descriptor->size_bytes};

    return registry_host_request(call, &request, error) && keep_body(call->transfer, fetch, error);
}

gboolean registry_fetch_small_blob(RegistryClient *client, const Descriptor *descriptor, gsize max_bytes,
                                   const Deadline *deadline, SmallBlob *ret_blob, GError **error)
{
    FetchData fetch = {.descriptor = descriptor};

    if (descriptor->size_bytes > max_bytes)
        return fail(error, STATUS_RESOURCE_EXHAUSTED, "%s: blob %s is larger than %zu bytes", client->name,
                    descriptor->digest, max_bytes);
    if (!try_hosts(client, FALSE, fetch_small_at, &fetch, deadline, error))
        return FALSE;
    *ret_blob = fetch.blob;
    return TRUE;
}

void small_blob_clear(SmallBlob *blob)
{
    g_clear_pointer(&blob->data, g_free);
    g_clear_pointer(&blob->media_type, g_free);
}

static gboolean fetch_blob_at(const RegistryCall *call, gpointer data, GError **error)
{
    return blob_download_from(data, call, error);
}

gboolean registry_fetch_blob(RegistryClient *client, const Descriptor *descriptor, const BlobTarget *target,
                             const Deadline *deadline, GError **error)
{
    g_autoptr(BlobDownload) download = blob_download_new(descriptor, target, error);

    if (download == NULL || !blob_download_check_present(download, error)) {
        g_prefix_error(error, "%s: ", client->name);
        return FALSE;
    }
    return blob_download_is_complete(download) ||
           try_hosts(client, FALSE, fetch_blob_at, download, deadline, error);
}

/* Reads a manifest into the image, or chooses the entry of an index: *ret_next, NULL for a manifest. */
static gboolean read_manifest(const SmallBlob *blob, const Platform *platform, RegistryImage *image,
                              Descriptor **ret_next, GError **error)
{
    ManifestKind kind;

    if (!manifest_kind(blob->data, blob->length, blob->media_type, &kind, error))
        return FALSE;
    if (kind == MANIFEST_KIND_IMAGE)
        return manifest_parse(blob->data, blob->length, &image->manifest, error);
    *ret_next = manifest_index_choose(blob->data, blob->length, platform, error);
    return *ret_next != NULL;
}

/* From index to index (a few are allowed) down to the manifest of one image. */
static gboolean fetch_manifest_for(RegistryClient *client, const Descriptor *resolved,
                                   const Platform *platform, const Deadline *deadline, RegistryImage *image,
                                   GError **error)
{
    g_autoptr(Descriptor) descriptor = descriptor_copy(resolved);

    for (int depth = 0; depth <= MAX_INDEX_DEPTH; depth++) {
        g_auto(SmallBlob) blob = {0};
        Descriptor *next = NULL;

        if (!registry_fetch_manifest(client, descriptor, deadline, &blob, error))
            return FALSE;
        if (!read_manifest(&blob, platform, image, &next, error)) {
            g_prefix_error(error, "%s: ", client->name);
            return FALSE;
        }
        if (next == NULL) {
            image->manifest_digest = g_strdup(descriptor->digest);
            image->platform_is_known = descriptor->platform_is_known;
            return TRUE;
        }
        next->platform_is_known |= descriptor->platform_is_known;
        descriptor_free(descriptor);
        descriptor = next;
    }
    return fail(error, STATUS_INVALID_ARGUMENT, "%s: more than %d indexes are nested", client->name,
                (int)MAX_INDEX_DEPTH);
}

static gboolean fetch_config(RegistryClient *client, const Platform *platform, const Deadline *deadline,
                             RegistryImage *image, GError **error)
{
    g_auto(SmallBlob) blob = {0};

    if (!registry_fetch_small_blob(client, image->manifest->config, IMAGE_CONFIG_MAX_BYTES, deadline, &blob,
                                   error))
        return FALSE;
    /* An index that names the platform decides, as with other runtimes: many images that were put into an
     * index by hand carry the architecture of the machine that built them. */
    if (!image_config_parse(blob.data, blob.length, &image->config, error) ||
        (!image->platform_is_known && !image_config_check_platform(image->config, platform, error))) {
        g_prefix_error(error, "%s: ", client->name);
        return FALSE;
    }
    image->config_json = g_steal_pointer(&blob.data);
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

/* ---- credentials ---- */

static RegistryHost *host_of_registry(const RegistryClient *client)
{
    for (guint i = 0; i < client->hosts->len; i++)
        if (!registry_host_endpoint(client->hosts->pdata[i])->is_mirror)
            return client->hosts->pdata[i];
    return NULL;
}

gboolean registry_check_credentials(const RegistryConfig *config, const char *domain,
                                    const RegistryAuth *auth, const Deadline *deadline, GError **error)
{
    /* No repository is meant; hosts_load() and credentials_find() need the domain alone. */
    Reference registry = {.domain = (char *)domain, .repository = (char *)"", .tag = (char *)"latest"};
    const RegistryConfig without_file = {.hosts_dir = config->hosts_dir,
                                         .progress_timeout_ms = config->progress_timeout_ms};
    const RegistryRequest request = {.max_body_bytes = MANIFEST_MAX_BYTES};
    g_autoptr(RegistryClient) client = registry_client_new(&without_file, &registry, auth, error);
    RegistryCall call = {.deadline = deadline};
    gboolean good;

    if (client == NULL)
        return FALSE;
    call.host = host_of_registry(client);
    if (call.host == NULL)
        return fail(error, STATUS_FAILED_PRECONDITION, "%s: hosts.toml leaves no host but mirrors", domain);
    call.policy = &client->policy;
    call.transfer = borrow_transfer(client);
    good = registry_host_request(&call, &request, error);
    return_transfer(client, call.transfer);
    if (!good)
        g_prefix_error(error, "%s: ", domain);
    return good;
}

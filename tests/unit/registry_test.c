/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/registry/registry.h"
#include "image-service/registry/registry_request.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "image-service/content/digest.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_registry.h"

#define REPOSITORY "team/app"
#define DIFF_ID "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

enum { BLOB_BYTES = 3 << 20 };
static const Platform platform = {.architecture = "amd64"};

/* A registry with one image, a client for it and a file for a blob. */
typedef struct {
    TestRegistry *registry;
    RegistryClient *client;
    char *blob;
    Descriptor *layer;
    char *directory;
    int fd;
} Fixture;

static void open_client(Fixture *fixture, const RegistryConfig *config, const RegistryAuth *auth)
{
    RegistryConfig quick = config != NULL ? *config : (RegistryConfig){0};
    g_autofree char *text = g_strdup_printf("%s/" REPOSITORY ":v1", test_registry_host(fixture->registry));
    g_autoptr(Reference) reference = NULL;
    GError *error = NULL;

    quick.retry_delay_ms = 10;
    TEST_OK(reference_parse(text, &reference, &error), error);
    registry_client_free(fixture->client);
    fixture->client = registry_client_new(&quick, reference, auth, &error);
    TEST_OK(fixture->client != NULL, error);
}

static char *add_image(Fixture *fixture)
{
    static const char config[] = "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"sh\"]},"
                                 "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" DIFF_ID "\"]}}";
    g_autofree char *config_digest =
        test_registry_add_blob(fixture->registry, REPOSITORY, config, sizeof config - 1);
    g_autofree char *manifest = g_strdup_printf(
        "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
        "\"digest\":\"%s\",\"size\":%zu},\"layers\":[{\"mediaType\":"
        "\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"%s\",\"size\":%d}]}",
        config_digest, sizeof config - 1, fixture->layer->digest, (int)BLOB_BYTES);
    g_autofree char *manifest_digest =
        test_registry_add_manifest(fixture->registry, REPOSITORY, NULL, MEDIA_TYPE_OCI_MANIFEST, manifest);
    g_autofree char *index = g_strdup_printf(
        "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"manifests\":[{\"mediaType\":\"%s\",\"digest\":\"%s\","
        "\"size\":%zu,\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"}}]}",
        MEDIA_TYPE_OCI_INDEX, MEDIA_TYPE_OCI_MANIFEST, manifest_digest, strlen(manifest));

    return test_registry_add_manifest(fixture->registry, REPOSITORY, "v1", MEDIA_TYPE_OCI_INDEX, index);
}

static void set_up(Fixture *fixture)
{
    g_autofree char *path = NULL;
    g_autofree char *digest = NULL;

    *fixture = (Fixture){.registry = test_registry_new(), .fd = -1};
    fixture->blob = g_malloc(BLOB_BYTES);
    for (gsize i = 0; i < BLOB_BYTES; i++)
        fixture->blob[i] = (char)(i * 7 + (i >> 8));
    digest = test_registry_add_blob(fixture->registry, REPOSITORY, fixture->blob, BLOB_BYTES);
    fixture->layer = descriptor_new("application/vnd.oci.image.layer.v1.tar", digest, BLOB_BYTES);
    fixture->directory = test_directory();
    path = g_build_filename(fixture->directory, "blob", NULL);
    fixture->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    open_client(fixture, NULL, NULL);
}

static void tear_down(Fixture *fixture)
{
    registry_client_free(fixture->client);
    test_registry_free(fixture->registry);
    descriptor_free(fixture->layer);
    g_free(fixture->directory);
    g_free(fixture->blob);
    close(fixture->fd);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Fixture, tear_down)

static off_t file_size(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 ? status.st_size : -1;
}

static gboolean fetch(Fixture *fixture, const Deadline *deadline, GError **error)
{
    return registry_fetch_blob(fixture->client, fixture->layer, &(BlobTarget){.fd = fixture->fd}, deadline,
                               error);
}

static void expect_blob(Fixture *fixture)
{
    g_autofree char *data = g_malloc(BLOB_BYTES);

    CU_ASSERT_EQUAL(file_size(fixture->fd), BLOB_BYTES);
    CU_ASSERT_EQUAL(pread(fixture->fd, data, BLOB_BYTES, 0), BLOB_BYTES);
    CU_ASSERT_EQUAL(memcmp(data, fixture->blob, BLOB_BYTES), 0);
}

static guint count(Fixture *fixture, const char *text)
{
    g_autofree char *log = test_registry_log(fixture->registry);
    guint n = 0;

    for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
        n++;
    return n;
}

static void expect_logged(Fixture *fixture, const char *text, guint times)
{
    g_autofree char *log = test_registry_log(fixture->registry);

    CU_ASSERT_EQUAL(count(fixture, text), times);
    if (count(fixture, text) != times)
        g_printerr("wanted \"%s\" %u times in:\n%s", text, times, log);
}

static void fetches_an_image(void)
{
    g_auto(Fixture) fixture;
    g_autofree char *index_digest = NULL;
    g_autoptr(Descriptor) resolved = NULL;
    g_autoptr(RegistryImage) image = NULL;
    GError *error = NULL;

    set_up(&fixture);
    index_digest = add_image(&fixture);
    TEST_OK(registry_resolve(fixture.client, NULL, &resolved, &error), error);
    CU_ASSERT_STRING_EQUAL(resolved->digest, index_digest);
    CU_ASSERT_STRING_EQUAL(resolved->media_type, MEDIA_TYPE_OCI_INDEX);
    TEST_OK(registry_fetch_image(fixture.client, resolved, &platform, NULL, &image, &error), error);
    CU_ASSERT_EQUAL(image->manifest->layers->len, 1);
    CU_ASSERT_STRING_EQUAL(image->config->cmd[0], "sh");
    CU_ASSERT_STRING_EQUAL(image->config->diff_ids[0], DIFF_ID);
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
    expect_logged(&fixture, "HEAD /v2/team/app/manifests/v1\n", 1);
    expect_logged(&fixture, "GET /v2/team/app/manifests/v1\n", 0);
}

static void resolves_without_head(void)
{
    g_auto(Fixture) fixture;
    g_autofree char *index_digest = NULL;
    g_autoptr(Descriptor) resolved = NULL;
    GError *error = NULL;

    set_up(&fixture);
    index_digest = add_image(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.without_head = TRUE});
    TEST_OK(registry_resolve(fixture.client, NULL, &resolved, &error), error);
    CU_ASSERT_STRING_EQUAL(resolved->digest, index_digest);
}

static void the_error_about_a_missing_tag_has_the_registrys_text(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(Descriptor) resolved = NULL;
    g_autofree char *wanted = NULL;
    GError *error = NULL;

    set_up(&fixture);
    /* The name of the image contains the registry's name, which the message does not repeat. */
    wanted = g_strdup_printf("%s/team/app:v1: HTTP 404: manifest unknown (MANIFEST_UNKNOWN)",
                             test_registry_host(fixture.registry));
    TEST_FAILS(registry_resolve(fixture.client, NULL, &resolved, &error), error, STATUS_NOT_FOUND, wanted);
    CU_ASSERT_PTR_NULL(resolved);
}

static void one_anonymous_token_serves_all_requests(void)
{
    g_auto(Fixture) fixture;
    g_autofree char *index_digest = NULL;
    g_autoptr(Descriptor) resolved = NULL;
    g_autoptr(RegistryImage) image = NULL;
    GError *error = NULL;

    set_up(&fixture);
    index_digest = add_image(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.token = "t0ken"});
    TEST_OK(registry_resolve(fixture.client, NULL, &resolved, &error), error);
    TEST_OK(registry_fetch_image(fixture.client, resolved, &platform, NULL, &image, &error), error);
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
    expect_logged(&fixture, "/token", 1);
    expect_logged(&fixture, "manifests/v1", 2);
}

static void an_expired_token_is_replaced(void)
{
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.token = "first"});
    TEST_OK(fetch(&fixture, NULL, &error), error);
    CU_ASSERT_EQUAL(ftruncate(fixture.fd, 0), 0);
    test_registry_set(fixture.registry, (TestRegistryFaults){.token = "second"});
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
    expect_logged(&fixture, "/token", 2);
}

static void a_token_is_requested_with_the_password(void)
{
    RegistryAuth auth = {.username = "user", .password = "pass:word"};
    RegistryAuth wrong = {.username = "user", .password = "hunter2"};
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry,
                      (TestRegistryFaults){.token = "t", .token_password = "user:pass:word"});
    open_client(&fixture, NULL, &auth);
    TEST_OK(fetch(&fixture, NULL, &error), error);
    CU_ASSERT_EQUAL(ftruncate(fixture.fd, 0), 0);
    open_client(&fixture, NULL, &wrong);
    CU_ASSERT_FALSE(fetch(&fixture, NULL, &error));
    CU_ASSERT_PTR_NULL(strstr(error->message, "hunter2"));
    TEST_FAILS(error == NULL, error, STATUS_UNAUTHENTICATED, "token server: HTTP 401: incorrect username");
}

static void a_token_is_requested_with_the_identity_token(void)
{
    RegistryAuth auth = {.identity_token = "refresh&me"};
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.token = "t", .refresh_token = "refresh%26me"});
    open_client(&fixture, NULL, &auth);
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_logged(&fixture, "POST /token\n", 1);
}

static void a_registry_token_is_used_as_it_is(void)
{
    RegistryAuth auth = {.registry_token = "t0ken"};
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.token = "t0ken"});
    open_client(&fixture, NULL, &auth);
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_logged(&fixture, "/token", 0);
}

static void basic_authentication_works_or_has_a_reason(void)
{
    RegistryAuth auth = {.auth = "dXNlcjpwYXNz"};
    RegistryAuth wrong = {.username = "user", .password = "hunter2"};
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.user_password = "user:pass"});
    TEST_FAILS(fetch(&fixture, NULL, &error), error, STATUS_UNAUTHENTICATED, "no credentials were given");
    open_client(&fixture, NULL, &wrong);
    CU_ASSERT_FALSE(fetch(&fixture, NULL, &error));
    CU_ASSERT_PTR_NULL(strstr(error->message, "hunter2"));
    TEST_FAILS(error == NULL, error, STATUS_UNAUTHENTICATED,
               "HTTP 401: authentication required (UNAUTHORIZED)");
    open_client(&fixture, NULL, &auth);
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
}

static void a_temporary_error_is_retried(void)
{
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.n_unavailable = 2, .retry_after = "0"});
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
    expect_logged(&fixture, "GET", 3);
}

static void retry_after_is_honoured(void)
{
    g_auto(Fixture) fixture;
    gint64 start_us;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.n_unavailable = 1, .retry_after = "1"});
    start_us = g_get_monotonic_time();
    TEST_OK(fetch(&fixture, NULL, &error), error);
    CU_ASSERT_TRUE(g_get_monotonic_time() - start_us >= 1000000);
}

static void a_lasting_error_is_reported_on_one_line(void)
{
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.n_unavailable = 100});
    TEST_FAILS(fetch(&fixture, NULL, &error), error, STATUS_UNAVAILABLE, "HTTP 503: try again  later");
    expect_logged(&fixture, "GET", 5);
}

static void a_rate_limit_has_the_registrys_text_and_a_time(void)
{
    static const char body[] = "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"You have reached "
                               "your pull rate limit.\"}]}";
    g_autoptr(Descriptor) resolved = NULL;
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.too_many = body, .retry_after = "3600"});
    TEST_FAILS(registry_resolve(fixture.client, NULL, &resolved, &error), error, STATUS_UNAVAILABLE,
               "HTTP 429: You have reached your pull rate limit. (TOOMANYREQUESTS); it may be asked again in "
               "3600 s, at 2");
    expect_logged(&fixture, "HEAD", 1);
    expect_logged(&fixture, "GET", 1);
    TEST_FAILS(fetch(&fixture, NULL, &error), error, STATUS_UNAVAILABLE,
               "You have reached your pull rate limit.");
    expect_logged(&fixture, "GET", 2);
}

static void a_download_is_resumed_after_its_connection_broke(void)
{
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.n_cuts = 2, .cut_after = 1000000});
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
    expect_logged(&fixture, "bytes=1000000-", 1);
    expect_logged(&fixture, "bytes=2000000-", 1);
}

static void a_slow_download_that_makes_progress_is_not_given_up(void)
{
    RegistryConfig config = {.max_attempts = 3};
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    open_client(&fixture, &config, NULL);
    test_registry_set(fixture.registry, (TestRegistryFaults){.n_cuts = 5, .cut_after = 600000});
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
}

static void a_download_from_a_server_without_ranges_starts_again(void)
{
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry,
                      (TestRegistryFaults){.n_cuts = 1, .cut_after = 1000000, .without_ranges = TRUE});
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
}

static void bytes_that_the_file_has_are_not_downloaded_again(void)
{
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    CU_ASSERT_EQUAL(write(fixture.fd, fixture.blob, 2 << 20), 2 << 20);
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
    expect_logged(&fixture, "bytes=2097152-", 1);
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_logged(&fixture, "GET", 1);
}

static void a_file_with_wrong_bytes_is_downloaded_again_from_the_start(void)
{
    g_auto(Fixture) fixture;
    g_autofree char *noise = g_strnfill(BLOB_BYTES, 'x');
    GError *error = NULL;

    set_up(&fixture);
    CU_ASSERT_EQUAL(write(fixture.fd, "garbage", 7), 7);
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
    CU_ASSERT_EQUAL(pwrite(fixture.fd, noise, BLOB_BYTES, 0), BLOB_BYTES);
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
}

static void content_with_a_wrong_digest_is_refused_and_leaves_no_file(void)
{
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.flip_a_byte = TRUE});
    TEST_FAILS(fetch(&fixture, NULL, &error), error, STATUS_DATA_LOSS, "has digest sha256:");
    CU_ASSERT_EQUAL(file_size(fixture.fd), 0);
}

static void bytes_beyond_the_announced_size_are_not_written(void)
{
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.extra_bytes = 1});
    TEST_FAILS(fetch(&fixture, NULL, &error), error, STATUS_DATA_LOSS, "larger than the 3145728 bytes");
    CU_ASSERT_EQUAL(file_size(fixture.fd), 0);
    test_registry_set(fixture.registry, (TestRegistryFaults){.extra_bytes = 1 << 20, .without_length = TRUE});
    TEST_FAILS(fetch(&fixture, NULL, &error), error, STATUS_DATA_LOSS, "larger than the 3145728 bytes");
    CU_ASSERT_EQUAL(file_size(fixture.fd), 0);
}

static void a_manifest_with_another_digest_is_refused(void)
{
    g_autoptr(Descriptor) wrong = NULL;
    g_auto(SmallBlob) blob = {0};
    g_autofree char *digest = NULL;
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    /* The registry has other content under this digest. */
    digest = test_registry_add_manifest(fixture.registry, REPOSITORY, DIFF_ID, MEDIA_TYPE_OCI_INDEX, "{}");
    wrong = descriptor_new(NULL, DIFF_ID, 0);
    TEST_FAILS(registry_fetch_manifest(fixture.client, wrong, NULL, &blob, &error), error, STATUS_DATA_LOSS,
               "has digest sha256:44136f");
    CU_ASSERT_PTR_NULL(blob.data);
}

static void a_redirect_to_another_origin_gets_no_credentials(void)
{
    RegistryAuth auth = {.username = "user", .password = "pass"};
    g_autoptr(TestRegistry) storage = test_registry_new();
    g_autofree char *digest = NULL;
    g_autofree char *log = NULL;
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    digest = test_registry_add_blob(storage, REPOSITORY, fixture.blob, BLOB_BYTES);
    test_registry_set(fixture.registry,
                      (TestRegistryFaults){.user_password = "user:pass", .blobs_at = storage});
    test_registry_set(storage, (TestRegistryFaults){.n_cuts = 1, .cut_after = 1000});
    open_client(&fixture, NULL, &auth);
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
    log = test_registry_log(storage);
    CU_ASSERT_PTR_NOT_NULL(strstr(log, "bytes=1000-"));
    CU_ASSERT_PTR_NULL(strstr(log, "auth"));
    expect_logged(&fixture, " auth", 2);
}

static void a_storage_server_that_asks_for_a_password_gets_none(void)
{
    RegistryAuth auth = {.username = "user", .password = "pass"};
    g_autoptr(TestRegistry) storage = test_registry_new();
    g_autofree char *log = NULL;
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.blobs_at = storage});
    test_registry_set(storage, (TestRegistryFaults){.user_password = "user:pass"});
    open_client(&fixture, NULL, &auth);
    TEST_FAILS(fetch(&fixture, NULL, &error), error, STATUS_UNAUTHENTICATED, "HTTP 401");
    log = test_registry_log(storage);
    CU_ASSERT_PTR_NULL(strstr(log, "auth"));
}

static void redirects_and_realms_to_link_local_addresses_are_refused(void)
{
    static const char *const urls[] = {"http://169.254.169.254/x", "http://[fe80::1]/x",
                                       "http://[::ffff:169.254.169.254]/x", "http://2852039166/x"};

    for (gsize i = 0; i < G_N_ELEMENTS(urls); i++) {
        g_autoptr(Descriptor) resolved = NULL;
        g_auto(Fixture) fixture;
        GError *error = NULL;

        set_up(&fixture);
        test_registry_set(fixture.registry, (TestRegistryFaults){.blobs_url = urls[i]});
        TEST_FAILS(fetch(&fixture, NULL, &error), error, STATUS_UNAVAILABLE, "the address is link-local");
        test_registry_set(fixture.registry, (TestRegistryFaults){.token = "t", .realm = urls[i]});
        TEST_FAILS(registry_resolve(fixture.client, NULL, &resolved, &error), error, STATUS_UNAVAILABLE,
                   "the address is link-local");
    }
}

static void a_redirect_from_https_to_http_is_refused(void)
{
    GError *error = NULL;
    g_autofree char *relative = registry_redirect_target("https://a.example/v2/x", "/y", NULL);
    g_autofree char *same = registry_redirect_target("http://a.example/x", "http://b.example/y", NULL);

    CU_ASSERT_STRING_EQUAL(relative, "https://a.example/y");
    CU_ASSERT_STRING_EQUAL(same, "http://b.example/y");
    TEST_FAILS(registry_redirect_target("https://a.example/x", "http://a.example/x", &error) != NULL, error,
               STATUS_UNAVAILABLE, "redirects from https to http");
}

static void the_text_of_another_server_is_not_reported(void)
{
    g_autoptr(TestRegistry) storage = test_registry_new();
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.blobs_at = storage});
    test_registry_set(storage, (TestRegistryFaults){.n_unavailable = 100});
    CU_ASSERT_FALSE(fetch(&fixture, NULL, &error));
    CU_ASSERT_TRUE(error != NULL && strstr(error->message, "try again") == NULL);
    TEST_FAILS(FALSE, error, STATUS_UNAVAILABLE, "HTTP 503");
}

static void text_is_printable_and_bounded(void)
{
    g_autofree char *many = g_strnfill(1000, 'x');
    /* NOLINTNEXTLINE(misc-misleading-bidirectional): the mark is what the test is about */
    g_autofree char *text = g_strconcat("a\xe2\x80\xae"
                                        "b\x1b[2J\xc2\x9b"
                                        "c",
                                        many, NULL);
    g_autoptr(Descriptor) resolved = NULL;
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.too_many = text});
    CU_ASSERT_FALSE(registry_resolve(fixture.client, NULL, &resolved, &error));
    CU_ASSERT_TRUE(error != NULL && strlen(error->message) < 500);
    TEST_FAILS(FALSE, error, STATUS_UNAVAILABLE, "a b [2J cxx");
}

static void names_of_servers_in_messages_are_bounded(void)
{
    g_autofree char *many = g_strnfill(5000, 'x');
    g_autofree char *url = g_strconcat("http://", many, ".example/x", NULL);
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.blobs_url = url});
    CU_ASSERT_FALSE(fetch(&fixture, NULL, &error));
    CU_ASSERT_TRUE(error != NULL && strlen(error->message) < 1000);
    TEST_FAILS(FALSE, error, STATUS_UNAVAILABLE, "redirected to xxx");
}

static void use_mirror(Fixture *fixture, const char *mirror_host, const char *capabilities)
{
    g_autofree char *directory =
        g_build_filename(fixture->directory, test_registry_host(fixture->registry), NULL);
    g_autofree char *path = g_build_filename(directory, "hosts.toml", NULL);
    g_autofree char *text =
        g_strdup_printf("server = \"http://%s\"\n[host.\"http://%s\"]\ncapabilities = %s\n",
                        test_registry_host(fixture->registry), mirror_host, capabilities);
    RegistryConfig config = {.hosts_dir = fixture->directory};
    GError *error = NULL;

    TEST_OK(dir_make(directory, 0700, &error), error);
    TEST_OK(file_write_atomic(path, text, strlen(text), 0600, &error), error);
    open_client(fixture, &config, NULL);
}

static void the_error_names_each_server_that_failed_once(void)
{
    g_autoptr(Descriptor) resolved = NULL;
    const char *named;
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    use_mirror(&fixture, "127.0.0.1:1", "[\"pull\", \"resolve\"]");
    CU_ASSERT_FALSE(registry_resolve(fixture.client, NULL, &resolved, &error));
    named = error != NULL ? strstr(error->message, "127.0.0.1:1: Failed to connect") : NULL;
    CU_ASSERT_TRUE(named != NULL && strstr(named + 1, "127.0.0.1") == NULL);
    TEST_FAILS(error == NULL, error, STATUS_NOT_FOUND,
               "127.0.0.1:1: Failed to connect: Connection refused; HTTP 404");
}

/* The registry is stopped, so it fails as its mirror does. */
static void the_error_has_the_registry_that_failed_like_its_mirror(void)
{
    g_autoptr(Descriptor) resolved = NULL;
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    use_mirror(&fixture, "127.0.0.1:1", "[\"pull\", \"resolve\"]");
    g_clear_pointer(&fixture.registry, test_registry_free);
    CU_ASSERT_FALSE(registry_resolve(fixture.client, NULL, &resolved, &error));
    TEST_FAILS(FALSE, error, STATUS_UNAVAILABLE,
               "127.0.0.1:1: Failed to connect: Connection refused; Failed to connect: Connection refused");
}

static void mirrors_are_asked_before_the_server(void)
{
    g_autoptr(TestRegistry) mirror = test_registry_new();
    g_autofree char *digest = NULL;
    g_autofree char *index_digest = NULL;
    g_autofree char *log = NULL;
    g_autoptr(Descriptor) resolved = NULL;
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    index_digest = add_image(&fixture);
    digest = test_registry_add_blob(mirror, REPOSITORY, fixture.blob, BLOB_BYTES);
    use_mirror(&fixture, test_registry_host(mirror), "[\"pull\"]");
    TEST_OK(registry_resolve(fixture.client, NULL, &resolved, &error), error);
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_logged(&fixture, "blobs", 0);
    log = test_registry_log(mirror);
    CU_ASSERT_PTR_NOT_NULL(strstr(log, "?ns=127.0.0.1:"));
    CU_ASSERT_PTR_NULL(strstr(log, "manifests"));

    /* Wrong content of a mirror costs one more download. */
    CU_ASSERT_EQUAL(ftruncate(fixture.fd, 0), 0);
    test_registry_set(mirror, (TestRegistryFaults){.flip_a_byte = TRUE});
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
    expect_logged(&fixture, "blobs", 1);
}

static void a_mirror_that_failed_is_asked_last_afterwards(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(Descriptor) missing = NULL;
    g_auto(SmallBlob) blob = {0};
    GError *error = NULL;

    set_up(&fixture);
    use_mirror(&fixture, "127.0.0.1:1", "[\"pull\", \"resolve\"]");
    TEST_OK(fetch(&fixture, NULL, &error), error);
    expect_blob(&fixture);
    missing = descriptor_new("x", DIFF_ID, 10);
    TEST_FAILS(registry_fetch_small_blob(fixture.client, missing, 100, NULL, &blob, &error), error,
               STATUS_UNAVAILABLE,
               "HTTP 404: manifest unknown (MANIFEST_UNKNOWN); 127.0.0.1:1: Failed to connect");
}

static gpointer cancel_later(gpointer cancellable)
{
    g_usleep(200000);
    g_cancellable_cancel(cancellable);
    return NULL;
}

static void a_cancelled_call_returns_at_once(void)
{
    g_auto(Fixture) fixture;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Deadline deadline = {.at_us = G_MAXINT64, .cancellable = cancellable};
    g_autoptr(GThread) thread = NULL;
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.stall = TRUE, .cut_after = 5000});
    thread = g_thread_new("cancel", cancel_later, cancellable);
    TEST_FAILS(fetch(&fixture, &deadline, &error), error, STATUS_CANCELLED, "cancelled by the caller");
    g_thread_join(g_steal_pointer(&thread));
    CU_ASSERT_EQUAL(file_size(fixture.fd), 5000);
}

static void a_deadline_ends_a_stalled_download(void)
{
    g_auto(Fixture) fixture;
    Deadline deadline = deadline_in_ms(200);
    GError *error = NULL;

    set_up(&fixture);
    test_registry_set(fixture.registry, (TestRegistryFaults){.stall = TRUE});
    TEST_FAILS(fetch(&fixture, &deadline, &error), error, STATUS_DEADLINE_EXCEEDED, "team/app:v1");
}

static void a_registry_that_sends_nothing_is_given_up(void)
{
    RegistryConfig config = {.progress_timeout_ms = 100, .max_attempts = 2};
    g_auto(Fixture) fixture;
    GError *error = NULL;

    set_up(&fixture);
    open_client(&fixture, &config, NULL);
    test_registry_set(fixture.registry, (TestRegistryFaults){.stall = TRUE, .cut_after = 100});
    TEST_FAILS(fetch(&fixture, NULL, &error), error, STATUS_UNAVAILABLE, "no data came for");
    expect_logged(&fixture, "GET", 2);
}

static void note_progress(guint64 done_bytes, gpointer data)
{
    guint64 *last = data;

    CU_ASSERT_TRUE(done_bytes >= *last);
    *last = done_bytes;
}

static void the_last_progress_report_is_the_full_size(void)
{
    g_auto(Fixture) fixture;
    guint64 last = 0;
    GError *error = NULL;

    set_up(&fixture);
    TEST_OK(registry_fetch_blob(fixture.client, fixture.layer,
                                &(BlobTarget){fixture.fd, note_progress, &last}, NULL, &error),
            error);
    CU_ASSERT_EQUAL(last, BLOB_BYTES);
}

static gpointer fetch_in_thread(gpointer data)
{
    Fixture *fixture = data;
    g_autofree char *path = g_strdup_printf("%s/%p", fixture->directory, (void *)g_thread_self());
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    gboolean done = registry_fetch_blob(fixture->client, fixture->layer, &(BlobTarget){.fd = fd}, NULL, NULL);

    close(fd);
    return GINT_TO_POINTER(done);
}

static void several_threads_can_use_one_client(void)
{
    g_auto(Fixture) fixture;
    GThread *threads[6];

    set_up(&fixture);
    test_registry_set(
        fixture.registry,
        (TestRegistryFaults){.token = "t", .n_cuts = 4, .cut_after = 100000, .n_unavailable = 2});
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("fetch", fetch_in_thread, &fixture);
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        CU_ASSERT_TRUE(GPOINTER_TO_INT(g_thread_join(threads[i])));
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"an image is resolved and fetched", fetches_an_image},
        {"a registry without HEAD is asked with GET", resolves_without_head},
        {"the error about a missing tag has the registry's text",
         the_error_about_a_missing_tag_has_the_registrys_text},
        {"one anonymous token serves all requests", one_anonymous_token_serves_all_requests},
        {"an expired token is replaced", an_expired_token_is_replaced},
        {"a token is requested with the password", a_token_is_requested_with_the_password},
        {"a token is requested with the identity token", a_token_is_requested_with_the_identity_token},
        {"a registry token is used as it is", a_registry_token_is_used_as_it_is},
        {"basic authentication works, and the message has the reason when it is refused",
         basic_authentication_works_or_has_a_reason},
        {"a temporary error is retried", a_temporary_error_is_retried},
        {"Retry-After is honoured", retry_after_is_honoured},
        {"a lasting error is reported on one line", a_lasting_error_is_reported_on_one_line},
        {"the error about a rate limit has the registry's text and the time to wait",
         a_rate_limit_has_the_registrys_text_and_a_time},
        {"the error names each server that failed once", the_error_names_each_server_that_failed_once},
        {"the error has the registry that failed in the same way as its mirror",
         the_error_has_the_registry_that_failed_like_its_mirror},
        {"a download is resumed after its connection broke",
         a_download_is_resumed_after_its_connection_broke},
        {"a slow download that makes progress is not given up",
         a_slow_download_that_makes_progress_is_not_given_up},
        {"a download from a server without ranges starts again",
         a_download_from_a_server_without_ranges_starts_again},
        {"bytes that the file has are not downloaded again",
         bytes_that_the_file_has_are_not_downloaded_again},
        {"a file with wrong bytes is downloaded again from the start",
         a_file_with_wrong_bytes_is_downloaded_again_from_the_start},
        {"content with a wrong digest is refused and leaves no file",
         content_with_a_wrong_digest_is_refused_and_leaves_no_file},
        {"bytes beyond the announced size are not written", bytes_beyond_the_announced_size_are_not_written},
        {"a manifest with another digest is refused", a_manifest_with_another_digest_is_refused},
        {"a redirect to another origin gets no credentials",
         a_redirect_to_another_origin_gets_no_credentials},
        {"a storage server that asks for a password gets none",
         a_storage_server_that_asks_for_a_password_gets_none},
        {"redirects and token servers on link-local addresses are refused",
         redirects_and_realms_to_link_local_addresses_are_refused},
        {"a redirect from https to http is refused", a_redirect_from_https_to_http_is_refused},
        {"the text of a server that a redirect leads to is not reported",
         the_text_of_another_server_is_not_reported},
        {"the names of servers in messages are bounded", names_of_servers_in_messages_are_bounded},
        {"a registry's text in a message is printable and bounded", text_is_printable_and_bounded},
        {"mirrors are asked before the server", mirrors_are_asked_before_the_server},
        {"a mirror that failed is asked last afterwards", a_mirror_that_failed_is_asked_last_afterwards},
        {"a cancelled call returns at once", a_cancelled_call_returns_at_once},
        {"a deadline ends a stalled download", a_deadline_ends_a_stalled_download},
        {"a registry that sends nothing is given up", a_registry_that_sends_nothing_is_given_up},
        {"the last progress report is the full size", the_last_progress_report_is_the_full_size},
        {"several threads can use one client", several_threads_can_use_one_client},
    };

    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    return test_main_args("registry", cases, G_N_ELEMENTS(cases), argc, argv);
}

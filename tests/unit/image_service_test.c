/* SPDX-License-Identifier: Apache-2.0 */
/* Pulls through the public API from a registry in this process. */
#include "image-service/image_service.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "image-service/content/manifest.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_layers.h"
#include "tests/unit/test_registry.h"

enum { FILE_MODE = S_IFREG | 0644, LARGE_BYTES = 2 << 20 };

typedef struct {
    TestRegistry *registry;
    char *root;
    ImageService *service;
    ImageServiceConfig config;
    const char *repository; /* that layers and images are added to */
} Fixture;

static void open_service(Fixture *fixture)
{
    GError *error = NULL;

    fixture->service = image_service_open(&fixture->config, &error);
    TEST_OK(fixture->service != NULL, error);
}

static void set_up(Fixture *fixture)
{
    *fixture = (Fixture){.registry = test_registry_new(), .root = test_directory(), .repository = "app"};
    fixture->config = (ImageServiceConfig){.root = fixture->root, .architecture = "amd64"};
    open_service(fixture);
}

static void tear_down(Fixture *fixture)
{
    image_service_close(fixture->service);
    test_registry_free(fixture->registry);
    g_free(fixture->root);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Fixture, tear_down)

/* A layer to make an image of: its blob is in the registry. */
typedef struct {
    char *digest;
    char *diff_id;
    gsize size;
} TestLayer;

static TestLayer add_layer_tar(Fixture *fixture, TestTar *tar)
{
    int fd = test_tar_finish(tar);
    g_autoptr(GBytes) bytes = test_bytes_of_fd(fd);
    TestLayer layer = {.diff_id = test_diff_id_of_fd(fd), .size = g_bytes_get_size(bytes)};

    layer.digest = test_registry_add_blob(fixture->registry, fixture->repository,
                                          g_bytes_get_data(bytes, NULL), layer.size);
    close(fd);
    return layer;
}

/* Makes a layer of one file with that text; large ones do not compress. */
static TestLayer add_layer(Fixture *fixture, const char *text, gsize size)
{
    TestTar *tar = test_tar_new("pax", "gzip");
    g_autoptr(GRand) rand = g_rand_new_with_seed(g_str_hash(text));
    g_autofree guint32 *data = g_new(guint32, size / 4 + 1);

    for (gsize i = 0; i < size / 4; i++)
        data[i] = g_rand_int(rand);
    test_tar_add(tar, text, FILE_MODE, text);
    if (size > 0)
        test_tar_add_bytes(tar, "large", data, size);
    return add_layer_tar(fixture, tar);
}

/* Frees the layers. Return: the digest of the manifest, which the caller frees. */
static char *add_image(Fixture *fixture, const char *tag, TestLayer *layers, guint n_layers)
{
    g_autoptr(GString) diff_ids = g_string_new(NULL);
    g_autoptr(GString) blobs = g_string_new(NULL);
    g_autofree char *config = NULL;
    g_autofree char *config_digest = NULL;
    g_autofree char *manifest = NULL;

    for (guint i = 0; i < n_layers; i++) {
        g_string_append_printf(diff_ids, "%s\"%s\"", i > 0 ? "," : "", layers[i].diff_id);
        g_string_append_printf(blobs,
                               "%s{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\","
                               "\"digest\":\"%s\",\"size\":%zu}",
                               i > 0 ? "," : "", layers[i].digest, layers[i].size);
        g_free(layers[i].digest);
        g_free(layers[i].diff_id);
    }
    config = g_strdup_printf("{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"User\":\"nobody\","
                             "\"Env\":[\"A=b\"],\"Labels\":{\"k\":\"v\"}},"
                             "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[%s]}}",
                             diff_ids->str);
    config_digest = test_registry_add_blob(fixture->registry, fixture->repository, config, strlen(config));
    manifest =
        g_strdup_printf("{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_TYPE_OCI_MANIFEST "\",\"config\":"
                        "{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"%s\","
                        "\"size\":%zu},\"layers\":[%s]}",
                        config_digest, strlen(config), blobs->str);
    return test_registry_add_manifest(fixture->registry, fixture->repository, tag, MEDIA_TYPE_OCI_MANIFEST,
                                      manifest);
}

static char *add_small_image(Fixture *fixture, const char *tag, const char *text)
{
    TestLayer layers[] = {add_layer(fixture, text, 0), add_layer(fixture, "common", 0)};

    return add_image(fixture, tag, layers, G_N_ELEMENTS(layers));
}

static char *name_of(Fixture *fixture, const char *suffix)
{
    return g_strdup_printf("%s/app%s", test_registry_host(fixture->registry), suffix);
}

static Image *pull_with(Fixture *fixture, const char *suffix, const Deadline *deadline, GError **error)
{
    g_autofree char *name = name_of(fixture, suffix);
    Image *image = NULL;

    ImagePullRequest request = {.reference = name};

    return image_service_pull(fixture->service, &request, deadline, &image, error) ? image : NULL;
}

static Image *pull(Fixture *fixture, const char *suffix)
{
    GError *error = NULL;
    Image *image = pull_with(fixture, suffix, NULL, &error);

    TEST_OK(image != NULL, error);
    g_clear_error(&error);
    return image;
}

static guint requests(Fixture *fixture, const char *text)
{
    g_autofree char *log = test_registry_log(fixture->registry);
    guint n = 0;

    for (const char *at = log; (at = strstr(at, text)) != NULL; at++)
        n++;
    return n;
}

static guint files_in(Fixture *fixture, const char *name)
{
    g_autofree char *path = g_build_filename(fixture->root, name, NULL);
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    guint n = 0;

    while (directory != NULL && g_dir_read_name(directory) != NULL)
        n++;
    return n;
}

static gboolean finds(Fixture *fixture, const char *name, const char *id)
{
    GError *error = NULL;
    g_autoptr(Image) image = image_service_find(fixture->service, name, &error);

    CU_ASSERT_PTR_NULL(error);
    g_clear_error(&error);
    return id != NULL ? image != NULL && g_str_equal(image->id, id) : image == NULL;
}

static void pulls_by_tag(void)
{
    g_auto(Fixture) fixture = {0};
    g_autoptr(Image) image = NULL;
    g_autofree char *digest = NULL;
    g_autofree char *tag = NULL;
    g_autofree char *by_digest = NULL;
    g_autofree char *prefix = NULL;

    set_up(&fixture);
    digest = add_small_image(&fixture, "v1", "hello");
    image = pull(&fixture, ":v1");
    if (image == NULL)
        return;
    tag = name_of(&fixture, ":v1");
    by_digest = g_strdup_printf("%s/app@%s", test_registry_host(fixture.registry), digest);
    prefix = g_strndup(image->id + strlen("sha256:"), 6);
    CU_ASSERT_STRING_EQUAL(image->tags[0], tag);
    CU_ASSERT_STRING_EQUAL(image->digests[0], by_digest);
    CU_ASSERT_EQUAL(image->layers->len, 2);
    CU_ASSERT_STRING_EQUAL(image->user, "nobody");
    CU_ASSERT_STRING_EQUAL(image->environment[0], "A=b");
    CU_ASSERT_STRING_EQUAL(g_hash_table_lookup(image->labels, "k"), "v");
    CU_ASSERT_TRUE(image->size_bytes > 0 && image->pulled_at_ns > 0);
    CU_ASSERT_TRUE(finds(&fixture, tag, image->id));
    CU_ASSERT_TRUE(finds(&fixture, by_digest, image->id));
    CU_ASSERT_TRUE(finds(&fixture, image->id, image->id));
    CU_ASSERT_TRUE(finds(&fixture, image->id + strlen("sha256:"), image->id));
    CU_ASSERT_TRUE(finds(&fixture, prefix, image->id));
    CU_ASSERT_TRUE(finds(&fixture, "busybox", NULL));
    CU_ASSERT_TRUE(finds(&fixture, "Not/A/Name", NULL));
    CU_ASSERT_TRUE(finds(&fixture, "", NULL));
    CU_ASSERT_EQUAL(files_in(&fixture, "ingest"), 0);
}

static void pulls_by_digest(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    g_autofree char *suffix = NULL;
    g_autoptr(Image) image = NULL;
    g_autoptr(Image) tagged = NULL;

    set_up(&fixture);
    digest = add_small_image(&fixture, "v1", "hello");
    suffix = g_strdup_printf("@%s", digest);
    image = pull(&fixture, suffix);
    if (image == NULL)
        return;
    CU_ASSERT_PTR_NULL(image->tags[0]);
    CU_ASSERT_EQUAL(g_strv_length(image->digests), 1);
    tagged = pull(&fixture, ":v1");
    CU_ASSERT_STRING_EQUAL(tagged->id, image->id);
    CU_ASSERT_EQUAL(g_strv_length(tagged->tags), 1);
    /* Only the resolution was requested again. */
    CU_ASSERT_EQUAL(requests(&fixture, "/blobs/"), 3);
}

static void shares_layers(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;
    g_autoptr(Image) one = NULL;
    g_autoptr(Image) two = NULL;

    set_up(&fixture);
    first = add_small_image(&fixture, "v1", "hello");
    second = add_small_image(&fixture, "v2", "world");
    one = pull(&fixture, ":v1");
    two = pull(&fixture, ":v2");
    CU_ASSERT_EQUAL(files_in(&fixture, "layers/sha256"), 3);
    CU_ASSERT_EQUAL(requests(&fixture, "/blobs/"), 5);
    g_autoptr(GPtrArray) list = image_service_list(fixture.service);
    CU_ASSERT_EQUAL(list->len, 2);
}

static void moves_tags(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;
    g_autofree char *tag = NULL;

    set_up(&fixture);
    tag = name_of(&fixture, ":v1");
    first = add_small_image(&fixture, "v1", "old");
    g_autoptr(Image) old = pull(&fixture, ":v1");
    second = add_small_image(&fixture, "v1", "new");
    g_autoptr(Image) new = pull(&fixture, ":v1");
    CU_ASSERT_STRING_NOT_EQUAL(old->id, new->id);
    CU_ASSERT_TRUE(finds(&fixture, tag, new->id));
    for (int restart = 0; restart < 2; restart++) {
        g_autoptr(Image) again = image_service_find(fixture.service, old->id, NULL);

        CU_ASSERT_TRUE(again != NULL && again->tags[0] == NULL && again->digests[0] != NULL);
        image_service_close(fixture.service);
        open_service(&fixture);
    }
}

typedef struct {
    Fixture *fixture;
    const char *suffix;
    const Deadline *deadline;
    Image *image;
    GError *error;
} PullThread;

static gpointer pull_thread(gpointer data)
{
    PullThread *thread = data;

    thread->image = pull_with(thread->fixture, thread->suffix, thread->deadline, &thread->error);
    return NULL;
}

static void pull_thread_clear(PullThread *thread)
{
    image_unref(thread->image);
    g_clear_error(&thread->error);
}

static char *add_large_image(Fixture *fixture, const char *tag)
{
    TestLayer layers[] = {add_layer(fixture, "a", LARGE_BYTES), add_layer(fixture, "b", LARGE_BYTES)};

    return add_image(fixture, tag, layers, G_N_ELEMENTS(layers));
}

static void two_pulls_work_once(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    PullThread threads[4];
    GThread *handles[4];

    set_up(&fixture);
    digest = add_large_image(&fixture, "v1");
    for (int i = 0; i < 4; i++) {
        threads[i] = (PullThread){.fixture = &fixture, .suffix = ":v1"};
        handles[i] = g_thread_new("pull", pull_thread, &threads[i]);
    }
    for (int i = 0; i < 4; i++) {
        g_thread_join(handles[i]);
        TEST_OK(threads[i].image != NULL, threads[i].error);
        pull_thread_clear(&threads[i]);
    }
    /* At most the configuration was downloaded more than once. */
    CU_ASSERT_TRUE(requests(&fixture, "GET") >= 3);
    CU_ASSERT_TRUE(requests(&fixture, "/blobs/") <= 2 + 4);
    CU_ASSERT_EQUAL(files_in(&fixture, "layers/sha256"), 2);
    CU_ASSERT_EQUAL(files_in(&fixture, "ingest"), 0);
}

/* Waits until the registry has had that many requests; a test that hangs here has failed. */
static void wait_for_requests(Fixture *fixture, const char *text, guint n)
{
    for (int i = 0; i < 1000 && requests(fixture, text) < n; i++)
        g_usleep(10000);
    CU_ASSERT_TRUE(requests(fixture, text) >= n);
}

static void waiters_have_their_own_deadline(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Deadline cancelled = {.at_us = G_MAXINT64, .cancellable = cancellable};
    PullThread first = {.fixture = &fixture, .suffix = ":v1", .deadline = &cancelled};
    PullThread second = {.fixture = &fixture, .suffix = ":v1"};
    GError *error = NULL;

    set_up(&fixture);
    digest = add_large_image(&fixture, "v1");
    test_registry_set(fixture.registry, (TestRegistryFaults){.stall = TRUE, .cut_after = LARGE_BYTES / 2});
    GThread *first_handle = g_thread_new("pull", pull_thread, &first);
    wait_for_requests(&fixture, "/blobs/", 3);

    /* Lists do not wait; another pull waits until its own deadline. */
    g_autoptr(GPtrArray) list = image_service_list(fixture.service);
    CU_ASSERT_EQUAL(list->len, 0);
    Deadline soon = deadline_in_ms(300);
    TEST_FAILS(pull_with(&fixture, ":v1", &soon, &error) != NULL, error, STATUS_DEADLINE_EXCEEDED, "");

    /* When the first pull gives up, the second one continues the download where the first stopped. */
    GThread *second_handle = g_thread_new("pull", pull_thread, &second);
    wait_for_requests(&fixture, "/blobs/", 4);
    test_registry_set(fixture.registry, (TestRegistryFaults){0});
    g_cancellable_cancel(cancellable);
    g_thread_join(first_handle);
    g_thread_join(second_handle);
    TEST_FAILS(first.image != NULL, first.error, STATUS_CANCELLED, "");
    TEST_OK(second.image != NULL, second.error);
    CU_ASSERT_EQUAL(files_in(&fixture, "ingest"), 0);
    pull_thread_clear(&first);
    pull_thread_clear(&second);
}

static void interrupted_pulls_leave_nothing_visible(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    GError *error = NULL;
    Deadline soon;

    set_up(&fixture);
    digest = add_large_image(&fixture, "v1");
    test_registry_set(fixture.registry, (TestRegistryFaults){.stall = TRUE, .cut_after = LARGE_BYTES / 2});
    soon = deadline_in_ms(500);
    TEST_FAILS(pull_with(&fixture, ":v1", &soon, &error) != NULL, error, STATUS_DEADLINE_EXCEEDED, "");
    g_autoptr(GPtrArray) list = image_service_list(fixture.service);
    CU_ASSERT_EQUAL(list->len, 0);
    CU_ASSERT_EQUAL(files_in(&fixture, "layers/sha256"), 0);
    CU_ASSERT_TRUE(files_in(&fixture, "ingest") > 0);

    test_registry_set(fixture.registry, (TestRegistryFaults){0});
    image_unref(pull(&fixture, ":v1"));
    CU_ASSERT_TRUE(requests(&fixture, "bytes=") > 0);
    CU_ASSERT_EQUAL(files_in(&fixture, "ingest"), 0);
}

static void starts_afresh_after_a_restart(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    g_autofree char *small = NULL;
    GError *error = NULL;
    Deadline soon;

    set_up(&fixture);
    small = add_small_image(&fixture, "small", "x");
    digest = add_large_image(&fixture, "v1");
    image_unref(pull(&fixture, ":small"));
    test_registry_set(fixture.registry, (TestRegistryFaults){.stall = TRUE, .cut_after = LARGE_BYTES / 2});
    soon = deadline_in_ms(500);
    TEST_FAILS(pull_with(&fixture, ":v1", &soon, &error) != NULL, error, STATUS_DEADLINE_EXCEEDED, "");
    test_registry_set(fixture.registry, (TestRegistryFaults){0});
    image_service_close(fixture.service);
    open_service(&fixture);
    CU_ASSERT_EQUAL(files_in(&fixture, "ingest"), 0);
    g_autoptr(GPtrArray) list = image_service_list(fixture.service);
    CU_ASSERT_EQUAL(list->len, 1);
    image_unref(pull(&fixture, ":v1"));
}

static void removes_images(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;
    g_autofree char *tag = NULL;
    GError *error = NULL;

    set_up(&fixture);
    tag = name_of(&fixture, ":v1");
    first = add_small_image(&fixture, "v1", "one");
    second = add_small_image(&fixture, "v2", "two");
    g_autoptr(Image) one = pull(&fixture, ":v1");
    g_autoptr(Image) two = pull(&fixture, ":v2");
    TEST_OK(image_service_remove(fixture.service, tag, &error), error);
    CU_ASSERT_TRUE(finds(&fixture, tag, NULL));
    CU_ASSERT_TRUE(finds(&fixture, one->id, NULL));
    CU_ASSERT_TRUE(finds(&fixture, two->id, two->id));
    CU_ASSERT_EQUAL(files_in(&fixture, "layers/sha256"), 2);
    TEST_OK(image_service_remove(fixture.service, tag, &error), error);
    TEST_OK(image_service_remove(fixture.service, two->id, &error), error);
    CU_ASSERT_EQUAL(files_in(&fixture, "layers/sha256"), 0);
}

static void pins_keep_layers(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *first = NULL;
    GError *error = NULL;
    GPtrArray *layers = NULL;

    set_up(&fixture);
    first = add_small_image(&fixture, "v1", "one");
    g_autoptr(Image) image = pull(&fixture, ":v1");
    const ImageLayer *layer = g_ptr_array_index(image->layers, 0);
    const char *const diff_ids[] = {layer->key, NULL};
    const char *const missing[] = {"sha256:0000000000000000000000000000000000000000000000000000000000000000",
                                   NULL};

    image_service_pin(fixture.service, "container", image);
    TEST_OK(image_service_pin_layers(fixture.service, "other", diff_ids, &layers, &error), error);
    g_clear_pointer(&layers, g_ptr_array_unref);
    TEST_OK(image_service_remove(fixture.service, image->id, &error), error);
    image_service_collect(fixture.service);
    CU_ASSERT_EQUAL(files_in(&fixture, "layers/sha256"), 2);
    image_service_unpin(fixture.service, "container");
    CU_ASSERT_EQUAL(files_in(&fixture, "layers/sha256"), 1);

    /* After a restart the owner pins again. */
    image_service_close(fixture.service);
    open_service(&fixture);
    TEST_OK(image_service_pin_layers(fixture.service, "other", diff_ids, &layers, &error), error);
    CU_ASSERT_STRING_EQUAL(((ImageLayer *)g_ptr_array_index(layers, 0))->path, layer->path);
    g_clear_pointer(&layers, g_ptr_array_unref);
    image_service_collect(fixture.service);
    CU_ASSERT_EQUAL(files_in(&fixture, "layers/sha256"), 1);
    TEST_FAILS(image_service_pin_layers(fixture.service, "bad", missing, &layers, &error), error,
               STATUS_INTERNAL, "missing");
    image_service_unpin(fixture.service, "other");
    CU_ASSERT_EQUAL(files_in(&fixture, "layers/sha256"), 0);
}

static void hostile_layers_leave_nothing(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    GError *error = NULL;
    TestTar *tar = test_tar_new("pax", "gzip");

    set_up(&fixture);
    test_tar_add(tar, "../../escape", FILE_MODE, "x");
    TestLayer layers[] = {add_layer(&fixture, "good", 0), add_layer_tar(&fixture, tar)};
    digest = add_image(&fixture, "v1", layers, 2);
    TEST_FAILS(pull_with(&fixture, ":v1", NULL, &error) != NULL, error, STATUS_INVALID_ARGUMENT,
               "entry \"../../escape\"");
    CU_ASSERT_EQUAL(files_in(&fixture, "ingest"), 0);
    image_service_collect(fixture.service);
    CU_ASSERT_EQUAL(files_in(&fixture, "layers/sha256"), 0);
}

static void large_images_are_refused(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    GError *error = NULL;
    TestTar *tar = test_tar_new("pax", "gzip");
    g_autofree char *zeros = g_malloc0(LARGE_BYTES);

    set_up(&fixture);
    image_service_close(fixture.service);
    fixture.config.max_image_bytes = LARGE_BYTES + LARGE_BYTES / 2;
    open_service(&fixture);
    digest = add_large_image(&fixture, "v1");
    TEST_FAILS(pull_with(&fixture, ":v1", NULL, &error) != NULL, error, STATUS_RESOURCE_EXHAUSTED,
               "larger than");

    /* A layer that is small only while it is compressed. */
    test_tar_add_bytes(tar, "zeros", zeros, LARGE_BYTES);
    TestLayer layers[] = {add_layer_tar(&fixture, tar), add_layer(&fixture, "b", LARGE_BYTES / 2)};
    g_free(add_image(&fixture, "v2", layers, 2));
    TEST_FAILS(pull_with(&fixture, ":v2", NULL, &error) != NULL, error, STATUS_RESOURCE_EXHAUSTED,
               "larger than");
}

/* Names of directories that the layer does not describe, so they wait for the layers below. */
static TestTar *tar_of_waiting_names(guint layer, guint count)
{
    TestTar *tar = test_tar_new("pax", "gzip");

    for (guint i = 0; i < count; i++) {
        g_autofree char *name = g_strdup_printf("directory-%u/file-%u-%u", i % 100, layer, i);

        test_tar_add(tar, name, FILE_MODE, name);
    }
    return tar;
}

/* The lowest layer, which all others wait for, is the smallest and read last. */
static void many_waiting_layers_are_pulled(void)
{
    enum { LAYERS = 16, NAMES = 1000, MEMORY_BYTES = 1 << 20 };
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    g_autoptr(Image) image = NULL;
    TestLayer layers[LAYERS];
    GError *error = NULL;

    set_up(&fixture);
    image_service_close(fixture.service);
    fixture.config.max_layer_memory_bytes = MEMORY_BYTES;
    open_service(&fixture);
    for (guint i = 0; i < LAYERS; i++)
        layers[i] = add_layer_tar(&fixture, tar_of_waiting_names(i, i == 0 ? 1 : NAMES));
    digest = add_image(&fixture, "v1", layers, LAYERS);
    image = pull_with(&fixture, ":v1", NULL, &error);
    TEST_OK(image != NULL, error);
    CU_ASSERT_TRUE(image != NULL && image->layers->len == LAYERS);
    CU_ASSERT_EQUAL(files_in(&fixture, "layers/sha256"), LAYERS);

    TestLayer bomb[] = {add_layer_tar(&fixture, tar_of_waiting_names(0, 20 * NAMES))};
    g_free(add_image(&fixture, "v2", bomb, 1));
    TEST_FAILS(pull_with(&fixture, ":v2", NULL, &error) != NULL, error, STATUS_RESOURCE_EXHAUSTED,
               "images.max_layer_memory");
    TEST_FAILS(pull_with(&fixture, ":v2", NULL, &error) != NULL, error, STATUS_RESOURCE_EXHAUSTED,
               "layer sha256:");
}

typedef struct {
    guint seen[IMAGE_PROGRESS_EXISTS + 1];
    guint64 done_bytes;
} Seen;

static void on_progress(const ImageProgress *progress, gpointer data)
{
    Seen *seen = data;

    seen->seen[progress->state]++;
    if (progress->state == IMAGE_PROGRESS_DONE)
        seen->done_bytes += progress->done_bytes;
    CU_ASSERT_TRUE(progress->done_bytes <= progress->total_bytes);
}

static void tells_progress(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    g_autofree char *name = NULL;
    g_autoptr(Image) image = NULL;
    GError *error = NULL;
    Seen seen = {0};

    set_up(&fixture);
    digest = add_large_image(&fixture, "v1");
    name = name_of(&fixture, ":v1");
    ImagePullRequest request = {name, NULL, on_progress, &seen};

    TEST_OK(image_service_pull(fixture.service, &request, NULL, &image, &error), error);
    CU_ASSERT_EQUAL(seen.seen[IMAGE_PROGRESS_WAITING], 2);
    CU_ASSERT_TRUE(seen.seen[IMAGE_PROGRESS_DOWNLOADING] >= 2);
    CU_ASSERT_TRUE(seen.seen[IMAGE_PROGRESS_UNPACKING] >= 2);
    CU_ASSERT_EQUAL(seen.seen[IMAGE_PROGRESS_DONE], 2);
    CU_ASSERT_TRUE(seen.done_bytes > 2 * (guint64)LARGE_BYTES);
}

static void knows_the_usage(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    GError *error = NULL;
    ImageFsUsage before = {0};
    ImageFsUsage after = {0};

    set_up(&fixture);
    TEST_OK(image_service_fs_usage(fixture.service, &before, &error), error);
    digest = add_large_image(&fixture, "v1");
    image_unref(pull(&fixture, ":v1"));
    TEST_OK(image_service_fs_usage(fixture.service, &after, &error), error);
    CU_ASSERT_STRING_EQUAL(after.mountpoint, fixture.root);
    CU_ASSERT_TRUE(after.used_bytes >= before.used_bytes + 2 * (guint64)LARGE_BYTES);
    CU_ASSERT_EQUAL(after.inodes_used, before.inodes_used + 2);
    g_free(before.mountpoint);
    g_free(after.mountpoint);
}

static void names_what_is_missing(void)
{
    g_auto(Fixture) fixture = {0};
    GError *error = NULL;
    Image *image = NULL;

    set_up(&fixture);
    TEST_FAILS(pull_with(&fixture, ":none", NULL, &error) != NULL, error, STATUS_NOT_FOUND, "/app");
    TEST_FAILS(
        image_service_pull(fixture.service, &(ImagePullRequest){.reference = "UPPER"}, NULL, &image, &error),
        error, STATUS_INVALID_ARGUMENT, "UPPER");
}

/* A layer that names a file but not the directory that it is in, or both. */
static TestLayer add_file_layer(Fixture *fixture, const char *path, gboolean with_directory)
{
    TestTar *tar = test_tar_new("pax", "gzip");
    g_autofree char *directory = g_path_get_dirname(path);

    if (with_directory)
        test_tar_add(tar, directory, S_IFDIR | 0755, NULL);
    test_tar_add(tar, path, FILE_MODE, path);
    return add_layer_tar(fixture, tar);
}

static const ImageLayer *layer_of(const Image *image, guint index)
{
    return g_ptr_array_index(image->layers, index);
}

static void images_share_layers_that_do_not_depend_on_what_is_below(void)
{
    g_auto(Fixture) fixture = {0};
    g_autoptr(Image) one = NULL;
    g_autoptr(Image) two = NULL;

    set_up(&fixture);
    for (guint i = 0; i < 2; i++) {
        TestLayer layers[] = {add_layer(&fixture, i == 0 ? "a" : "b", 0),
                              add_file_layer(&fixture, "opt/tool", TRUE),
                              add_file_layer(&fixture, "opt/more", FALSE)};

        g_free(add_image(&fixture, i == 0 ? "one" : "two", layers, G_N_ELEMENTS(layers)));
    }
    one = pull(&fixture, ":one");
    two = pull(&fixture, ":two");
    CU_ASSERT_STRING_EQUAL(layer_of(one, 1)->path, layer_of(two, 1)->path);
    CU_ASSERT_STRING_NOT_EQUAL(layer_of(one, 2)->path, layer_of(two, 2)->path);
    CU_ASSERT_STRING_NOT_EQUAL(layer_of(one, 2)->key, layer_of(two, 2)->key);
}

/* The lower layers are larger, so that they arrive last. */
static void layers_are_applied_to_those_below_in_whatever_order_they_arrive(void)
{
    g_auto(Fixture) fixture = {0};
    g_autoptr(Image) image = NULL;

    set_up(&fixture);
    TestLayer layers[] = {add_layer(&fixture, "large", 3 << 20),    add_layer(&fixture, "larger", 1 << 20),
                          add_file_layer(&fixture, "a/b", FALSE),   add_file_layer(&fixture, "a/c/d", FALSE),
                          add_file_layer(&fixture, "a/c/e", FALSE), add_file_layer(&fixture, "a/b", FALSE)};

    g_free(add_image(&fixture, "v1", layers, G_N_ELEMENTS(layers)));
    image = pull(&fixture, ":v1");
    CU_ASSERT_EQUAL_FATAL(image->layers->len, 6);
    for (guint i = 0; i < 6; i++)
        CU_ASSERT_TRUE(g_file_test(layer_of(image, i)->path, G_FILE_TEST_IS_REGULAR));
    /* The last layer is the third one's tar at another place in the chain. */
    CU_ASSERT_STRING_NOT_EQUAL(layer_of(image, 2)->key, layer_of(image, 5)->key);
}

static void an_image_may_have_no_layers(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    g_autoptr(Image) image = NULL;
    g_autoptr(Image) again = NULL;

    set_up(&fixture);
    digest = add_image(&fixture, "empty", NULL, 0);
    image = pull(&fixture, ":empty");
    CU_ASSERT_EQUAL(image->layers->len, 0);
    image_service_close(fixture.service);
    fixture.service = image_service_open(&fixture.config, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(fixture.service);
    again = image_service_find(fixture.service, image->id, NULL);
    CU_ASSERT_TRUE(again != NULL && again->layers->len == 0);
}

enum { PULLED = -1 };

/* Pulls HOST/SUFFIX. Return: PULLED or the status of the failure. */
static int pull_from(Fixture *fixture, const TestRegistry *registry, const char *suffix,
                     const RegistryAuth *auth)
{
    g_autofree char *name = g_strdup_printf("%s/%s", test_registry_host(registry), suffix);
    ImagePullRequest request = {.reference = name, .auth = auth};
    g_autoptr(GError) error = NULL;
    g_autoptr(Image) image = NULL;

    return image_service_pull(fixture->service, &request, NULL, &image, &error) ? PULLED
                                                                                : (int)error_status(error);
}

static void a_pull_needs_the_consent_of_the_registry(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    g_autofree char *by_digest = NULL;
    g_autofree char *false_name = NULL;
    g_autofree char *full_false_name = NULL;
    const RegistryAuth good = {.username = "user", .password = "secret"};
    const RegistryAuth bad = {.username = "user", .password = "wrong"};
    const char *suffixes[] = {"app:v1", NULL};

    set_up(&fixture);
    digest = add_small_image(&fixture, "v1", "hello");
    by_digest = g_strdup_printf("app@%s", digest);
    suffixes[1] = by_digest;
    false_name = g_strdup_printf("other@%s", digest);
    full_false_name = g_strdup_printf("%s/%s", test_registry_host(fixture.registry), false_name);
    test_registry_set(fixture.registry, (TestRegistryFaults){.user_password = "user:secret"});
    CU_ASSERT_EQUAL(pull_from(&fixture, fixture.registry, by_digest, &good), PULLED);
    for (gsize i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        CU_ASSERT_EQUAL(pull_from(&fixture, fixture.registry, suffixes[i], NULL), STATUS_UNAUTHENTICATED);
        CU_ASSERT_EQUAL(pull_from(&fixture, fixture.registry, suffixes[i], &bad), STATUS_UNAUTHENTICATED);
        CU_ASSERT_EQUAL(pull_from(&fixture, fixture.registry, suffixes[i], &good), PULLED);
    }
    CU_ASSERT_EQUAL(pull_from(&fixture, fixture.registry, false_name, &good), STATUS_NOT_FOUND);
    CU_ASSERT_TRUE(finds(&fixture, full_false_name, NULL));
    /* Configuration and two layers, of the first pull. */
    CU_ASSERT_EQUAL(requests(&fixture, "GET /v2/app/blobs/"), 3);
}

static void another_registry_has_to_show_the_layers(void)
{
    g_auto(Fixture) fixture = {0};
    g_autoptr(TestRegistry) other = test_registry_new();
    TestRegistry *own;
    g_autofree char *digest = NULL;
    g_autofree char *same = NULL;
    g_autofree char *by_digest = NULL;
    TestLayer layer;

    set_up(&fixture);
    own = fixture.registry;
    digest = add_small_image(&fixture, "v1", "hello");
    CU_ASSERT_EQUAL(pull_from(&fixture, own, "app:v1", NULL), PULLED);
    /* It knows the manifest, and does not have a layer of it. */
    fixture.registry = other;
    same = add_small_image(&fixture, "v1", "hello");
    CU_ASSERT_STRING_EQUAL(same, digest);
    layer = add_layer(&fixture, "hello", 0);
    test_registry_remove_blob(other, "app", layer.digest);
    by_digest = g_strdup_printf("app@%s", digest);
    for (int restart = 0; restart < 2; restart++) {
        CU_ASSERT_EQUAL(pull_from(&fixture, other, by_digest, NULL), STATUS_NOT_FOUND);
        CU_ASSERT_EQUAL(pull_from(&fixture, other, "app:v1", NULL), STATUS_NOT_FOUND);
        image_service_close(fixture.service);
        open_service(&fixture);
    }
    g_free(layer.digest);
    g_free(layer.diff_id);
    layer = add_layer(&fixture, "hello", 0);
    CU_ASSERT_EQUAL(pull_from(&fixture, other, by_digest, NULL), PULLED);
    CU_ASSERT_EQUAL(files_in(&fixture, "layers/sha256"), 2);
    CU_ASSERT_EQUAL(files_in(&fixture, "ingest"), 0);
    g_free(layer.digest);
    g_free(layer.diff_id);
    fixture.registry = own;
}

static void another_repository_has_to_have_the_layers(void)
{
    g_auto(Fixture) fixture = {0};
    g_autofree char *digest = NULL;
    g_autofree char *without = NULL;
    g_autofree char *with_bait = NULL;
    g_autofree char *with_all = NULL;

    set_up(&fixture);
    digest = add_small_image(&fixture, "v1", "hello");
    CU_ASSERT_EQUAL(pull_from(&fixture, fixture.registry, "app:v1", NULL), PULLED);

    fixture.repository = "thief";
    TestLayer taken[] = {add_layer(&fixture, "hello", 0), add_layer(&fixture, "own", 0)};
    test_registry_remove_blob(fixture.registry, "thief", taken[0].digest);
    without = add_image(&fixture, "v1", taken, G_N_ELEMENTS(taken));
    CU_ASSERT_EQUAL(pull_from(&fixture, fixture.registry, "thief:v1", NULL), STATUS_NOT_FOUND);

    /* A blob of its own, of which the configuration says that it is the layer. */
    TestLayer bait[] = {add_layer(&fixture, "bait", 0)};
    TestLayer wanted = add_layer(&fixture, "hello", 0);
    g_free(bait[0].diff_id);
    bait[0].diff_id = wanted.diff_id;
    g_free(wanted.digest);
    with_bait = add_image(&fixture, "v2", bait, G_N_ELEMENTS(bait));
    CU_ASSERT_EQUAL(pull_from(&fixture, fixture.registry, "thief:v2", NULL), STATUS_DATA_LOSS);

    /* The registry confirms the blob in this repository, so it is not downloaded again. */
    fixture.repository = "friend";
    TestLayer shared[] = {add_layer(&fixture, "hello", 0), add_layer(&fixture, "new", 0)};
    with_all = add_image(&fixture, "v1", shared, G_N_ELEMENTS(shared));
    CU_ASSERT_EQUAL(pull_from(&fixture, fixture.registry, "friend:v1", NULL), PULLED);
    CU_ASSERT_EQUAL(requests(&fixture, "GET /v2/friend/blobs/"), 2);
    CU_ASSERT_EQUAL(requests(&fixture, "HEAD /v2/friend/blobs/"), 1);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"an image pulled by tag is found by tag, digest, id and prefix", pulls_by_tag},
        {"an image pulled by digest has no tag, and is not fetched again for one", pulls_by_digest},
        {"layers that the store has are not downloaded", shares_layers},
        {"images share layers that do not depend on what is below them",
         images_share_layers_that_do_not_depend_on_what_is_below},
        {"layers are applied to those below, in whatever order they arrive",
         layers_are_applied_to_those_below_in_whatever_order_they_arrive},
        {"a pull of an image that is on the node needs the registry's consent",
         a_pull_needs_the_consent_of_the_registry},
        {"another registry has to send the layers that the store has",
         another_registry_has_to_show_the_layers},
        {"another repository has to have the layers that the store has",
         another_repository_has_to_have_the_layers},
        {"an image may have no layers", an_image_may_have_no_layers},
        {"a tag that moves leaves the old image untagged", moves_tags},
        {"concurrent pulls of one image download it once", two_pulls_work_once},
        {"a pull that waits for the layer of another pull keeps its own deadline, and continues the layer "
         "when the other fails",
         waiters_have_their_own_deadline},
        {"an interrupted pull lists no image and is resumed", interrupted_pulls_leave_nothing_visible},
        {"a restart removes what interrupted pulls left", starts_afresh_after_a_restart},
        {"removing an image removes all its names and the layers that no other image has", removes_images},
        {"pinned layers outlive their image", pins_keep_layers},
        {"a hostile layer leaves no file", hostile_layers_leave_nothing},
        {"images above the size limit are refused, compressed or unpacked", large_images_are_refused},
        {"an image of many layers whose names wait for those below is pulled in the memory of few",
         many_waiting_layers_are_pulled},
        {"progress is reported for every layer", tells_progress},
        {"the usage follows pulls and removals", knows_the_usage},
        {"every error names the image", names_what_is_missing},
    };

    return test_main_args("image service", cases, G_N_ELEMENTS(cases), argc, argv);
}

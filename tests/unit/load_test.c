/* SPDX-License-Identifier: Apache-2.0 */
/* Imports through the public API: a directory of images written by the test, as layout and as archives.
 */
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "image-service/content/digest.h"
#include "image-service/image_service.h"
#include "tests/unit/harness.h"
#include "tests/unit/test_layers.h"

enum { FILE_MODE = S_IFREG | 0644 };

/* The parts of one small image. */
typedef struct {
    GBytes *layer;
    char *layer_digest;
    char *diff_id;
    char *config;
    char *config_digest;
} Parts;

static void parts_clear(Parts *parts)
{
    g_bytes_unref(parts->layer);
    g_free(parts->layer_digest);
    g_free(parts->diff_id);
    g_free(parts->config);
    g_free(parts->config_digest);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Parts, parts_clear)

static Parts make_parts(const char *text, const char *filter)
{
    TestTar *tar = test_tar_new("pax", filter);
    Parts parts = {0};
    int fd;

    test_tar_add(tar, "hello", FILE_MODE, text);
    fd = test_tar_finish(tar);
    parts.layer = test_bytes_of_fd(fd);
    parts.layer_digest = test_digest_of_fd(fd);
    parts.diff_id = test_diff_id_of_fd(fd);
    close(fd);
    parts.config =
        g_strdup_printf("{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"/hello\"]},"
                        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}",
                        parts.diff_id);
    parts.config_digest = digest_of(parts.config, strlen(parts.config));
    return parts;
}

static char *make_manifest(const Parts *parts)
{
    return g_strdup_printf(
        "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
        "\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
        "\"digest\":\"%s\",\"size\":%zu},\"layers\":[{\"mediaType\":"
        "\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"%s\",\"size\":%zu}]}",
        parts->config_digest, strlen(parts->config), parts->layer_digest, g_bytes_get_size(parts->layer));
}

static char *make_index(const char *manifest, const char *annotation, const char *name)
{
    g_autofree char *digest = digest_of(manifest, strlen(manifest));

    return g_strdup_printf("{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":"
                           "\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"%s\",\"size\":%zu,"
                           "\"annotations\":{\"%s\":\"%s\"}}]}",
                           digest, strlen(manifest), annotation, name);
}

static char *blob_path(const char *digest)
{
    return g_strdup_printf("blobs/sha256/%s", strchr(digest, ':') + 1);
}

static void put(const char *directory, TestTar *tar, const char *name, const void *data, gsize length)
{
    g_autofree char *path = g_build_filename(directory != NULL ? directory : "", name, NULL);
    g_autofree char *parent = g_path_get_dirname(path);

    if (tar != NULL) {
        test_tar_add_bytes(tar, name, data, length);
        return;
    }
    g_mkdir_with_parents(parent, 0755);
    CU_ASSERT_TRUE(g_file_set_contents(path, data, (gssize)length, NULL));
}

static void put_oci(const char *directory, TestTar *tar, const Parts *parts, const char *annotation,
                    const char *name)
{
    g_autofree char *manifest = make_manifest(parts);
    g_autofree char *manifest_digest = digest_of(manifest, strlen(manifest));
    g_autofree char *index = make_index(manifest, annotation, name);
    g_autofree char *manifest_path = blob_path(manifest_digest);
    g_autofree char *config_path = blob_path(parts->config_digest);
    g_autofree char *layer_path = blob_path(parts->layer_digest);
    static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";

    put(directory, tar, layer_path, g_bytes_get_data(parts->layer, NULL), g_bytes_get_size(parts->layer));
    put(directory, tar, config_path, parts->config, strlen(parts->config));
    put(directory, tar, manifest_path, manifest, strlen(manifest));
    put(directory, tar, "index.json", index, strlen(index));
    put(directory, tar, "oci-layout", layout, strlen(layout));
}

static void save_tar(TestTar *tar, const char *path)
{
    int fd = test_tar_finish(tar);
    g_autoptr(GBytes) bytes = test_bytes_of_fd(fd);

    CU_ASSERT_TRUE(
        g_file_set_contents(path, g_bytes_get_data(bytes, NULL), (gssize)g_bytes_get_size(bytes), NULL));
    close(fd);
}

typedef struct {
    guint64 memory_bytes; /* 0: the defaults */
    gint64 time_ms;
} Limits;

static ImageService *open_service(const char *root, Limits limits)
{
    ImageServiceConfig config = {.root = root,
                                 .architecture = "amd64",
                                 .max_image_bytes = 16 << 20,
                                 .max_layer_memory_bytes = limits.memory_bytes,
                                 .max_layer_time_ms = limits.time_ms};
    GError *error = NULL;
    ImageService *service = image_service_open(&config, &error);

    TEST_OK(service != NULL, error);
    return service;
}

static guint ingest_files(const char *root)
{
    g_autofree char *path = g_build_filename(root, "ingest", NULL);
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    guint count = 0;

    while (g_dir_read_name(directory) != NULL)
        count++;
    return count;
}

/* Loads what is at path, and finds exactly that image under the name (NULL: none). */
static void loads_as(const char *path, const Parts *parts, const char *name)
{
    g_autofree char *root = test_directory();
    ImageService *service = open_service(root, (Limits){0});
    GPtrArray *images = NULL;
    GError *error = NULL;

    TEST_OK(image_service_load(service, path, NULL, &images, &error), error);
    g_clear_error(&error);
    CU_ASSERT_EQUAL(images != NULL ? images->len : 0, 1);
    if (images != NULL && images->len == 1) {
        const Image *image = g_ptr_array_index(images, 0);
        const ImageLayer *layer = g_ptr_array_index(image->layers, 0);
        g_autoptr(Image) found = image_service_find(service, name != NULL ? name : image->id, NULL);

        CU_ASSERT_STRING_EQUAL(image->id, parts->config_digest);
        CU_ASSERT_STRING_EQUAL(image->cmd[0], "/hello");
        CU_ASSERT_EQUAL(image->size_bytes, strlen(parts->config) + g_bytes_get_size(parts->layer));
        CU_ASSERT_TRUE(g_file_test(layer->path, G_FILE_TEST_EXISTS));
        CU_ASSERT_TRUE(found != NULL && g_str_equal(found->id, image->id));
        CU_ASSERT_EQUAL(g_strv_length(image->tags), name != NULL ? 1 : 0);
    }
    CU_ASSERT_EQUAL(ingest_files(root), 0);
    g_clear_pointer(&images, g_ptr_array_unref);
    image_service_close(service);
}

static void refuses_within(Limits limits, const char *path, StatusCode status, const char *text)
{
    g_autofree char *root = test_directory();
    ImageService *service = open_service(root, limits);
    GPtrArray *images = NULL;
    GError *error = NULL;
    g_autoptr(GPtrArray) list = NULL;

    TEST_FAILS(image_service_load(service, path, NULL, &images, &error), error, status, text);
    list = image_service_list(service);
    CU_ASSERT_EQUAL(list->len, 0);
    CU_ASSERT_EQUAL(ingest_files(root), 0);
    image_service_close(service);
}

static void refuses(const char *path, StatusCode status, const char *text)
{
    refuses_within((Limits){0}, path, status, text);
}

static void loads_a_layout(void)
{
    g_autofree char *directory = test_directory();
    g_auto(Parts) parts = make_parts("layout", "gzip");

    put_oci(directory, NULL, &parts, "org.opencontainers.image.ref.name", "host:5000/a/b:1");
    loads_as(directory, &parts, "host:5000/a/b:1");
}

static void loads_oci_archives(void)
{
    static const char *const filters[] = {"none", "gzip", "zstd", "xz", "bzip2"};

    for (gsize i = 0; i < G_N_ELEMENTS(filters); i++) {
        g_autofree char *directory = test_directory();
        g_autofree char *path = g_build_filename(directory, "image.tar", NULL);
        g_auto(Parts) parts = make_parts("archive", filters[i % 3]);
        TestTar *tar = test_tar_new("pax", filters[i]);

        put_oci(NULL, tar, &parts, "io.containerd.image.name", "docker.io/library/busybox:latest");
        save_tar(tar, path);
        loads_as(path, &parts, "busybox");
    }
}

static void a_mere_tag_is_no_name(void)
{
    g_autofree char *directory = test_directory();
    g_auto(Parts) parts = make_parts("layout", "gzip");

    put_oci(directory, NULL, &parts, "org.opencontainers.image.ref.name", "latest");
    loads_as(directory, &parts, NULL);
}

static TestTar *docker_archive(const Parts *parts, gboolean old)
{
    TestTar *tar = test_tar_new("ustar", "none");
    const char *hex = strchr(parts->config_digest, ':') + 1;
    g_autofree char *config_name = g_strdup_printf(old ? "%s.json" : "blobs/sha256/%s", hex);
    g_autofree char *manifest = g_strdup_printf("[{\"Config\":\"%s\",\"RepoTags\":[\"busybox:1.36\"],"
                                                "\"Layers\":[\"second/layer.tar\"]}]",
                                                config_name);

    test_tar_add_bytes(tar, "first/layer.tar", g_bytes_get_data(parts->layer, NULL),
                       g_bytes_get_size(parts->layer));
    test_tar_add(tar, "second/layer.tar", S_IFLNK | 0777, "../first/layer.tar");
    test_tar_add_bytes(tar, config_name, parts->config, strlen(parts->config));
    test_tar_add_bytes(tar, "manifest.json", manifest, strlen(manifest));
    return tar;
}

static void loads_docker_archives(void)
{
    for (int old = 0; old < 2; old++) {
        g_autofree char *directory = test_directory();
        g_autofree char *path = g_build_filename(directory, "image.tar", NULL);
        g_auto(Parts) parts = make_parts("docker", "none");

        save_tar(docker_archive(&parts, old), path);
        loads_as(path, &parts, "busybox:1.36");
    }
}

static void refuses_wrong_digests(void)
{
    g_autofree char *directory = test_directory();
    g_auto(Parts) parts = make_parts("right", "gzip");
    g_auto(Parts) wrong = make_parts("wrong", "gzip");
    g_autofree char *layer_path = blob_path(parts.layer_digest);
    g_autofree char *config_path = blob_path(parts.config_digest);
    g_autofree char *archive = g_build_filename(directory, "docker.tar", NULL);

    put_oci(directory, NULL, &parts, "io.containerd.image.name", "busybox:latest");
    put(directory, NULL, layer_path, g_bytes_get_data(wrong.layer, NULL), g_bytes_get_size(wrong.layer));
    refuses(directory, STATUS_DATA_LOSS, strchr(parts.layer_digest, ':') + 1);
    put(directory, NULL, config_path, wrong.config, strlen(wrong.config));
    refuses(directory, STATUS_DATA_LOSS, strchr(parts.config_digest, ':') + 1);

    /* With docker save only the diff id shows it. */
    g_bytes_unref(parts.layer);
    parts.layer = g_bytes_ref(wrong.layer);
    save_tar(docker_archive(&parts, TRUE), archive);
    refuses(archive, STATUS_DATA_LOSS, parts.diff_id);
}

static void refuses_other_things(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "file", NULL);
    g_autofree char *zeros = g_malloc0(17 << 20);
    g_autofree char *long_name = g_strnfill(5000, 'n');
    g_auto(Parts) parts = make_parts("x", "gzip");
    g_autofree char *layer_path =
        g_build_filename(directory, "blobs/sha256", strchr(parts.layer_digest, ':') + 1, NULL);
    TestTar *tar = test_tar_new("pax", "none");

    refuses("/nonexistent", STATUS_NOT_FOUND, "/nonexistent");
    refuses(directory, STATUS_INVALID_ARGUMENT, "neither an OCI layout");
    CU_ASSERT_TRUE(g_file_set_contents(path, "no archive at all", -1, NULL));
    refuses(path, STATUS_INVALID_ARGUMENT, "archive");
    test_tar_add(tar, "manifest.json", FILE_MODE, "{\"not\":\"a list\"}");
    save_tar(tar, path);
    refuses(path, STATUS_INVALID_ARGUMENT, "no list");
    tar = test_tar_new("pax", "gzip");
    test_tar_add_bytes(tar, "bomb", zeros, 17 << 20);
    save_tar(tar, path);
    refuses(path, STATUS_RESOURCE_EXHAUSTED, "larger than");
    tar = test_tar_new("pax", "none");
    test_tar_add(tar, long_name, FILE_MODE, "");
    save_tar(tar, path);
    refuses(path, STATUS_RESOURCE_EXHAUSTED, "a name of 4096 bytes or more");
    tar = test_tar_new("pax", "none");
    test_tar_add(tar, "manifest.json", S_IFLNK | 0777, "/etc/passwd");
    save_tar(tar, path);
    refuses(path, STATUS_INVALID_ARGUMENT, "neither");
    put_oci(directory, NULL, &parts, "io.containerd.image.name", "busybox:latest");
    unlink(layer_path);
    CU_ASSERT_EQUAL(symlink("/etc/passwd", layer_path), 0);
    refuses(directory, STATUS_INTERNAL, "blobs/sha256");
    put_oci(directory, NULL, &parts, "io.containerd.image.name", "Not A Name");
    refuses(directory, STATUS_INVALID_ARGUMENT, "Not A Name");
}

/* Writes the bytes to a file, compressed. */
static void save_compressed(const char *path, const char *filter, const void *data, gsize length)
{
    TestTar *tar = test_tar_new("raw", filter);

    test_tar_add_bytes(tar, "data", data, length);
    save_tar(tar, path);
}

static void bounds_headers(void)
{
    static const char *const filters[] = {"none", "gzip", "zstd", "xz", "bzip2"};
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image.tar", NULL);
    g_autoptr(GString) bytes = test_tar_with_large_headers();

    for (gsize i = 0; i < G_N_ELEMENTS(filters); i++) {
        save_compressed(path, filters[i], bytes->str, bytes->len);
        refuses(path, STATUS_INVALID_ARGUMENT, "the headers of one entry take more than 1048576 bytes");
    }
}

static void bounds_names(void)
{
    enum { NAMES = 4000, NAME_BYTES = 300 };
    const Limits limits = {.memory_bytes = 1 << 20};
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image.tar", NULL);

    for (int links = 0; links < 2; links++) {
        TestTar *tar = test_tar_new("pax", "zstd");

        for (guint i = 0; i < NAMES; i++) {
            g_autofree char *name = g_strdup_printf("%0*u", NAME_BYTES, i);

            test_tar_add(tar, name, links ? S_IFLNK | 0777 : FILE_MODE, "target");
        }
        save_tar(tar, path);
        refuses_within(limits, path, STATUS_RESOURCE_EXHAUSTED,
                       "the names and JSON documents of the archive take more than 1048576 bytes");
    }
}

/* Each document is small enough; together they are not. */
static void bounds_documents(void)
{
    enum { IMAGES = 20, PADDING_BYTES = 100000 };
    const Limits limits = {.memory_bytes = 1 << 20};
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image.tar", NULL);
    g_autofree char *padding = g_strnfill(PADDING_BYTES, ' ');
    g_auto(Parts) parts = make_parts("x", "none");
    g_autofree char *config = g_strconcat(parts.config, padding, NULL);
    g_autoptr(GString) manifest = g_string_new("[");

    for (guint i = 0; i < IMAGES; i++)
        g_string_append_printf(manifest, "%s{\"Config\":\"config\",\"Layers\":[\"layer\"]}",
                               i > 0 ? "," : "");
    g_string_append_c(manifest, ']');
    for (int archive = 0; archive < 2; archive++) {
        TestTar *tar = archive ? test_tar_new("ustar", "xz") : NULL;

        put(directory, tar, "layer", g_bytes_get_data(parts.layer, NULL), g_bytes_get_size(parts.layer));
        put(directory, tar, "config", config, strlen(config));
        put(directory, tar, "manifest.json", manifest->str, manifest->len);
        if (archive)
            save_tar(tar, path);
        refuses_within(limits, archive ? path : directory, STATUS_RESOURCE_EXHAUSTED,
                       "the names and JSON documents of the archive take more than 1048576 bytes");
    }
}

/* Nothing comes out of them. */
static void bounds_time(void)
{
    enum { MEMBERS = 300000 };
    static const char member[] = {0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image.tar", NULL);
    g_autoptr(GString) bytes = g_string_new(NULL);

    for (guint i = 0; i < MEMBERS; i++)
        g_string_append_len(bytes, member, sizeof member);
    CU_ASSERT_TRUE(g_file_set_contents(path, bytes->str, (gssize)bytes->len, NULL));
    refuses_within((Limits){.time_ms = 1}, path, STATUS_RESOURCE_EXHAUSTED,
                   "unpacking the archive takes more than 0.0 s of processor time (images.max_layer_time");
}

/* Holes take nothing in the archive, but time when they are hashed. */
static void bounds_holes(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image.tar", NULL);
    TestTar *tar = test_tar_new("pax", "none");

    test_tar_add_entry(
        tar, &(TestTarEntry){.path = "hole", .mode = FILE_MODE, .text = "x", .sparse_size = 17 << 20});
    save_tar(tar, path);
    refuses(path, STATUS_RESOURCE_EXHAUSTED,
            "the files of the archive are larger than 16777216 bytes (images.max_image_size)");
}

/* A docker save archive with an image for each of the characters, whose layer unpacks to 7 MiB of it. */
static void save_large_images(const char *path, const char *characters)
{
    TestTar *tar = test_tar_new("ustar", "none");
    GString *manifest = g_string_new("[");

    for (gsize i = 0; characters[i] != '\0'; i++) {
        g_autofree char *text = g_strnfill(7 << 20, characters[i]);
        g_auto(Parts) parts = make_parts(text, "gzip");
        g_autofree char *config_name = g_strdup_printf("%zu.json", i);
        g_autofree char *layer_name = g_strdup_printf("%zu.tar", i);

        test_tar_add_bytes(tar, layer_name, g_bytes_get_data(parts.layer, NULL),
                           g_bytes_get_size(parts.layer));
        test_tar_add_bytes(tar, config_name, parts.config, strlen(parts.config));
        g_string_append_printf(manifest,
                               "%s{\"Config\":\"%s\",\"RepoTags\":[\"large:%zu\"],\"Layers\":[\"%s\"]}",
                               i > 0 ? "," : "", config_name, i, layer_name);
    }
    g_string_append(manifest, "]");
    test_tar_add_bytes(tar, "manifest.json", manifest->str, manifest->len);
    g_string_free(manifest, TRUE);
    save_tar(tar, path);
}

static void bounds_layers_together(void)
{
    g_autofree char *root = test_directory();
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "images.tar", NULL);
    ImageService *service = open_service(root, (Limits){0});
    g_autoptr(GPtrArray) images = NULL;
    g_autoptr(GError) error = NULL;

    save_large_images(path, "aba");
    TEST_OK(image_service_load(service, path, NULL, &images, &error), error);
    image_service_close(service);
    save_large_images(path, "abc");
    refuses(path, STATUS_RESOURCE_EXHAUSTED,
            "the layers of the archive are larger than 16777216 bytes unpacked (images.max_image_size)");
}

/* The beginning of a file whose LZMA2 dictionary is of 4 GiB. */
static void bounds_dictionaries(void)
{
    static const guint8 bytes[] = {0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x00, 0xff, 0x12, 0xd9, 0x41,
                                   0x02, 0x00, 0x21, 0x01, 0x28, 0x00, 0x00, 0x00, 0xe6, 0xa0, 0x11, 0xb3};
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image.tar", NULL);

    CU_ASSERT_TRUE(g_file_set_contents(path, (const char *)bytes, sizeof bytes, NULL));
    refuses(path, STATUS_INVALID_ARGUMENT, "its dictionary needs more than 134217728 bytes of memory");
}

static void refuses_what_is_compressed_twice(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "image.tar", NULL);
    g_auto(Parts) parts = make_parts("twice", "none");
    TestTar *tar = test_tar_new("pax", "gzip");
    g_autoptr(GBytes) once = NULL;
    int fd;

    put_oci(NULL, tar, &parts, "io.containerd.image.name", "docker.io/library/busybox:latest");
    fd = test_tar_finish(tar);
    once = test_bytes_of_fd(fd);
    close(fd);
    save_compressed(path, "gzip", g_bytes_get_data(once, NULL), g_bytes_get_size(once));
    refuses(path, STATUS_INVALID_ARGUMENT, "not a readable archive");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"an OCI layout directory is imported", loads_a_layout},
        {"OCI archives are imported, compressed or not", loads_oci_archives},
        {"an annotation that is only a tag gives no name", a_mere_tag_is_no_name},
        {"archives of docker save are imported in both formats, also with links", loads_docker_archives},
        {"content that does not match its digest is refused and leaves no file", refuses_wrong_digests},
        {"an archive whose headers are too large is refused, in each compression", bounds_headers},
        {"an archive whose names fill the memory is refused", bounds_names},
        {"images whose JSON documents fill the memory are refused", bounds_documents},
        {"an archive whose decompression takes too much processor time is refused", bounds_time},
        {"holes of an archive count as content", bounds_holes},
        {"the layers of all images of an archive together have one limit", bounds_layers_together},
        {"an xz archive with too large a dictionary is refused", bounds_dictionaries},
        {"an archive that is compressed twice is refused", refuses_what_is_compressed_twice},
        {"an archive that is not an image, leads outside or is too large is refused", refuses_other_things},
    };

    return test_main_args("load", cases, G_N_ELEMENTS(cases), argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/content/manifest.h"

#include <string.h>

#include "common/error.h"
#include "image-service/content/digest.h"
#include "tests/unit/harness.h"

#define A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define CONFIG                                                                                               \
    "{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"" A "\",\"size\":100}"
#define LAYER(type, digest, size) "{\"mediaType\":\"" type "\",\"digest\":\"" digest "\",\"size\":" size "}"
#define GZIP "application/vnd.oci.image.layer.v1.tar+gzip"
#define IMAGE(config, layers) "{\"schemaVersion\":2,\"config\":" config ",\"layers\":[" layers "]}"
#define ENTRY(digest, platform)                                                                              \
    "{\"mediaType\":\"" MEDIA_TYPE_OCI_MANIFEST "\",\"digest\":\"" digest "\",\"size\":5" platform "}"
#define PLATFORM(os, architecture, more)                                                                     \
    ",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" architecture "\"" more "}"
#define INDEX(entries) "{\"schemaVersion\":2,\"manifests\":[" entries "]}"

static const Platform amd64 = {.architecture = "amd64"};
static const Platform arm64 = {.architecture = "arm64"};
static const Platform arm = {.architecture = "arm"};

static void expect_bad_manifest(const char *json, StatusCode status, const char *message)
{
    Manifest *manifest = NULL;
    GError *error = NULL;

    TEST_FAILS(manifest_parse(json, strlen(json), &manifest, &error), error, status, message);
    CU_ASSERT_PTR_NULL(manifest);
}

static void expect_bad_kind(const char *json, const char *type, StatusCode status, const char *message)
{
    ManifestKind kind;
    GError *error = NULL;

    TEST_FAILS(manifest_kind(json, strlen(json), type, &kind, &error), error, status, message);
}

static void expect_choice(const char *json, const Platform *platform, const char *digest)
{
    GError *error = NULL;
    g_autoptr(Descriptor) chosen = manifest_index_choose(json, strlen(json), platform, &error);

    TEST_OK(chosen != NULL, error);
    g_clear_error(&error);
    CU_ASSERT_TRUE(chosen != NULL && g_str_equal(chosen->digest, digest));
}

static void reads_an_image_manifest(void)
{
    static const char json[] =
        IMAGE(CONFIG, LAYER(GZIP, B, "7") "," LAYER("application/vnd.oci.image.layer.v1.tar", C, "0"));
    g_autoptr(Manifest) manifest = NULL;
    GError *error = NULL;

    TEST_OK(manifest_parse(json, strlen(json), &manifest, &error), error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(manifest);
    CU_ASSERT_STRING_EQUAL(manifest->config->digest, A);
    CU_ASSERT_EQUAL(manifest->config->size_bytes, 100);
    CU_ASSERT_EQUAL_FATAL(manifest->layers->len, 2);
    CU_ASSERT_STRING_EQUAL(((Descriptor *)g_ptr_array_index(manifest->layers, 0))->digest, B);
}

static void media_types_of_docker_and_oci_are_known(void)
{
    LayerFormat format;
    GError *error = NULL;

    CU_ASSERT_TRUE(media_type_layer("application/vnd.docker.image.rootfs.diff.tar.gzip", &format, NULL));
    CU_ASSERT_EQUAL(format, LAYER_TAR_GZIP);
    CU_ASSERT_TRUE(media_type_layer("application/vnd.oci.image.layer.v1.tar+zstd", &format, NULL));
    CU_ASSERT_EQUAL(format, LAYER_TAR_ZSTD);
    CU_ASSERT_TRUE(media_type_layer("application/vnd.oci.image.layer.v1.tar", &format, NULL));
    CU_ASSERT_EQUAL(format, LAYER_TAR);
    TEST_FAILS(media_type_layer("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", &format, &error),
               error, STATUS_UNIMPLEMENTED, "encrypted layers");
    TEST_FAILS(media_type_layer("text/plain", &format, &error), error, STATUS_UNIMPLEMENTED,
               "\"text/plain\"");
}

static void manifests_and_indexes_are_distinguished(void)
{
    static const char image[] = IMAGE(CONFIG, LAYER(GZIP, B, "7"));
    static const char index[] = INDEX(ENTRY(A, ""));
    ManifestKind kind;

    CU_ASSERT_TRUE(manifest_kind(image, strlen(image), NULL, &kind, NULL));
    CU_ASSERT_EQUAL(kind, MANIFEST_KIND_IMAGE);
    CU_ASSERT_TRUE(
        manifest_kind(index, strlen(index), MEDIA_TYPE_DOCKER_LIST "; charset=utf-8", &kind, NULL));
    CU_ASSERT_EQUAL(kind, MANIFEST_KIND_INDEX);
    CU_ASSERT_TRUE(manifest_kind(index, strlen(index), "application/json", &kind, NULL));
    expect_bad_kind(index, MEDIA_TYPE_OCI_MANIFEST, STATUS_INVALID_ARGUMENT, "contradicts its media type");
}

static void ambiguous_manifests_are_refused(void)
{
    expect_bad_kind("{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}", NULL, STATUS_INVALID_ARGUMENT,
                    "neither");
    expect_bad_kind("{\"schemaVersion\":2}", NULL, STATUS_INVALID_ARGUMENT, "neither");
    expect_bad_kind("{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_TYPE_OCI_INDEX "\",\"layers\":[]}", NULL,
                    STATUS_INVALID_ARGUMENT, "contradicts");
    expect_bad_kind("[]", NULL, STATUS_INVALID_ARGUMENT, "expected an object");
    expect_bad_kind("{", NULL, STATUS_INVALID_ARGUMENT, "not valid JSON");
    expect_bad_kind("", NULL, STATUS_INVALID_ARGUMENT, "not valid JSON");
}

static void unknown_media_types_and_members_that_crivirt_does_not_use_are_accepted(void)
{
    static const char *const images[] = {
        "{\"config\":" CONFIG ",\"layers\":[]}",
        "{\"config\":" CONFIG "}",
        "{\"config\":" CONFIG ",\"layers\":null,\"manifests\":null,\"annotations\":null,\"subject\":7}",
        "{\"schemaVersion\":null,\"mediaType\":\"\",\"config\":" CONFIG ",\"layers\":[]}",
        IMAGE("{\"digest\":\"" A "\",\"size\":9}", "{\"digest\":\"" B "\",\"size\":1}"),
        IMAGE("{\"mediaType\":\"text/html\",\"digest\":\"" A "\",\"size\":9}",
              LAYER("application/x-gzip", B, "7")),
        IMAGE("{\"mediaType\":\"application/octet-stream\",\"digest\":\"" A "\",\"size\":9}",
              LAYER("application/vnd.docker.image.rootfs.foreign.diff.tar", B, "7")),
        IMAGE(CONFIG, LAYER("application/vnd.docker.container.image.rootfs.diff+x-gtar", B, "7")),
        IMAGE(CONFIG, LAYER("application/vnd.oci.image.layer.v1.tar+gzip; charset=x", B, "7")),
    };

    for (gsize i = 0; i < G_N_ELEMENTS(images); i++) {
        g_autoptr(Manifest) manifest = NULL;
        GError *error = NULL;

        TEST_OK(manifest_parse(images[i], strlen(images[i]), &manifest, &error), error);
        g_clear_error(&error);
        CU_ASSERT_TRUE(manifest != NULL && g_str_equal(manifest->config->digest, A));
    }
}

static void the_error_about_a_schema_1_manifest_names_the_schema(void)
{
    expect_bad_kind("{\"schemaVersion\":1,\"name\":\"a\",\"fsLayers\":[]}", NULL, STATUS_UNIMPLEMENTED,
                    "schema 1 is not supported");
    expect_bad_kind("{\"schemaVersion\":2}", "application/vnd.docker.distribution.manifest.v1+prettyjws",
                    STATUS_UNIMPLEMENTED, "schema 1");
}

static void bad_descriptors_are_refused(void)
{
    expect_bad_manifest(IMAGE(CONFIG, LAYER(GZIP, "sha256:../../etc", "7")), STATUS_INVALID_ARGUMENT,
                        "manifest.layers[0].digest: \"sha256:../../etc\" is no sha256");
    expect_bad_manifest(IMAGE(CONFIG, LAYER(GZIP, B, "-1")), STATUS_INVALID_ARGUMENT,
                        "layers[0].size: expected a whole number");
    expect_bad_manifest(IMAGE(CONFIG, LAYER(GZIP, B, "1.5")), STATUS_INVALID_ARGUMENT,
                        "layers[0].size: expected a whole number");
    expect_bad_manifest(IMAGE(CONFIG, LAYER(GZIP, B, "99999999999999")), STATUS_INVALID_ARGUMENT,
                        "from 0 to 1099511627776");
    expect_bad_manifest(IMAGE(CONFIG, LAYER(GZIP, B, "99999999999999999999999")), STATUS_INVALID_ARGUMENT,
                        "");
    expect_bad_manifest(IMAGE(CONFIG, "{\"digest\":\"" B "\"}"), STATUS_INVALID_ARGUMENT,
                        "layers[0].size: missing");
    expect_bad_manifest(IMAGE(CONFIG, "7"), STATUS_INVALID_ARGUMENT, "expected a descriptor");
    expect_bad_manifest(IMAGE("7", LAYER(GZIP, B, "7")), STATUS_INVALID_ARGUMENT,
                        "manifest.config: expected a descriptor");
    expect_bad_manifest(IMAGE("null", LAYER(GZIP, B, "7")), STATUS_INVALID_ARGUMENT,
                        "manifest.config: must not be null");
    expect_bad_manifest(
        IMAGE("{\"mediaType\":\"application/vnd.cncf.helm.config.v1+json\",\"digest\":\"" A "\",\"size\":9}",
              LAYER(GZIP, B, "7")),
        STATUS_UNIMPLEMENTED, "no container image but \"application/vnd.cncf.helm.config.v1+json\"");
}

static void too_many_layers_are_refused(void)
{
    g_autoptr(GString) layers = g_string_new(LAYER(GZIP, B, "7"));
    g_autofree char *json = NULL;

    for (int i = 0; i < MANIFEST_MAX_LAYERS; i++)
        g_string_append(layers, "," LAYER(GZIP, B, "7"));
    json = g_strdup_printf("{\"schemaVersion\":2,\"config\":" CONFIG ",\"layers\":[%s]}", layers->str);
    expect_bad_manifest(json, STATUS_RESOURCE_EXHAUSTED, "more than 500 layers");
}

static void json_that_is_too_deep_or_too_large_is_refused_before_it_is_parsed(void)
{
    g_autofree char *brackets = g_strnfill(1 << 20, '[');
    g_autoptr(GString) values = g_string_new("[1");

    for (int i = 0; i < 300000; i++)
        g_string_append(values, ",1");
    g_string_append_c(values, ']');
    expect_bad_manifest(brackets, STATUS_INVALID_ARGUMENT, "nested more than");
    expect_bad_manifest(values->str, STATUS_INVALID_ARGUMENT, "more than 200000 values");
}

static void an_index_yields_the_platform(void)
{
    static const char json[] = INDEX(
        ENTRY(C, PLATFORM("windows", "amd64", "")) "," ENTRY(A, PLATFORM("linux", "amd64", "")) "," ENTRY(
            B, PLATFORM("linux", "arm64", ",\"variant\":\"v8\"")) "," ENTRY(C, PLATFORM("unknown", "unknown",
                                                                                        "")));
    static const Platform riscv = {.architecture = "riscv64"};
    GError *error = NULL;

    expect_choice(json, &amd64, A);
    expect_choice(json, &arm64, B);
    TEST_FAILS(manifest_index_choose(json, strlen(json), &riscv, &error), error, STATUS_NOT_FOUND,
               "not made for linux/riscv64 (only for: windows/amd64, linux/amd64, linux/arm64/v8)");
}

static void the_best_variant_that_the_guests_processor_supports_is_chosen(void)
{
    static const char arms[] = INDEX(ENTRY(A, PLATFORM("linux", "arm", ",\"variant\":\"v5\"")) "," ENTRY(
        B, PLATFORM("linux", "arm", ",\"variant\":\"v7\"")) "," ENTRY(C, PLATFORM("linux", "arm",
                                                                                  ",\"variant\":\"v6\"")));
    static const char levels[] = INDEX(ENTRY(A, PLATFORM("linux", "amd64", ",\"variant\":\"v3\"")) "," ENTRY(
        B, PLATFORM("linux", "amd64", "")));
    static const char only_v3[] = INDEX(ENTRY(A, PLATFORM("linux", "amd64", ",\"variant\":\"v3\"")));
    static const Platform arm_v6 = {.architecture = "arm", .variant = "v6"};
    GError *error = NULL;

    expect_choice(arms, &arm, B);
    expect_choice(arms, &arm_v6, C);
    expect_choice(levels, &amd64, B);
    TEST_FAILS(manifest_index_choose(only_v3, strlen(only_v3), &amd64, &error), error, STATUS_NOT_FOUND,
               "linux/amd64/v3");
}

static void an_entry_without_a_platform_is_chosen_only_when_no_other_entry_matches(void)
{
    static const char json[] = INDEX(ENTRY(A, "") "," ENTRY(B, PLATFORM("linux", "amd64", "")));
    static const char alone[] = INDEX(ENTRY(A, ""));

    expect_choice(json, &amd64, B);
    expect_choice(alone, &amd64, A);
}

static void an_entry_with_an_empty_platform_or_another_name_for_it_is_found(void)
{
    static const char empty[] = INDEX("null," ENTRY(A, PLATFORM("", "", "")));
    static const char alias[] =
        INDEX(ENTRY(B, PLATFORM("linux", "arm64", "")) "," ENTRY(A, PLATFORM("Linux", "x86_64", "")));
    g_autoptr(Descriptor) chosen = NULL;

    expect_choice(empty, &amd64, A);
    expect_choice(alias, &amd64, A);
    chosen = manifest_index_choose(alias, strlen(alias), &amd64, NULL);
    CU_ASSERT_TRUE(chosen != NULL && chosen->platform_is_known);
}

static void reads_an_image_configuration(void)
{
    static const char json[] =
        "{\"architecture\":\"arm64\",\"os\":\"linux\",\"variant\":\"v8\",\"config\":{\"User\":\"1:2\","
        "\"Env\":"
        "[\"A=b\",\"PATH=/bin\"],\"Entrypoint\":[\"/e\"],\"Cmd\":null,\"WorkingDir\":\"\",\"StopSignal\":"
        "\"SIGQUIT\",\"Volumes\":{\"/z\":{},\"/a\":{}},\"Labels\":{\"k\":\"v\"}},\"rootfs\":{\"type\":"
        "\"layers\",\"diff_ids\":[\"" A "\",\"" B "\"]},\"history\":[{\"created\":\"2020\"}]}";
    g_autoptr(ImageConfig) config = NULL;
    GError *error = NULL;

    TEST_OK(image_config_parse(json, strlen(json), &config, &error), error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(config);
    CU_ASSERT_STRING_EQUAL(config->user, "1:2");
    CU_ASSERT_STRING_EQUAL(config->environment[1], "PATH=/bin");
    CU_ASSERT_STRING_EQUAL(config->entrypoint[0], "/e");
    CU_ASSERT_TRUE(config->cmd != NULL && config->cmd[0] == NULL);
    CU_ASSERT_PTR_NULL(config->working_dir);
    CU_ASSERT_STRING_EQUAL(config->stop_signal, "SIGQUIT");
    CU_ASSERT_STRING_EQUAL(config->volumes[0], "/a");
    CU_ASSERT_STRING_EQUAL(g_hash_table_lookup(config->labels, "k"), "v");
    CU_ASSERT_STRING_EQUAL(config->diff_ids[1], B);
    CU_ASSERT_TRUE(image_config_check_platform(config, &arm64, NULL));
    TEST_FAILS(image_config_check_platform(config, &amd64, &error), error, STATUS_INVALID_ARGUMENT,
               "the image is for linux/arm64, not for linux/amd64");
}

static void configurations_are_read_as_tools_write_them(void)
{
    static const char *const configs[] = {
        "{}",
        "{\"architecture\":\"\",\"os\":\"\",\"rootfs\":null,\"config\":null,\"history\":null}",
        "{\"rootfs\":{\"diff_ids\":null},\"config\":{\"Env\":null,\"Labels\":null,\"Volumes\":null,"
        "\"User\":null,\"Memory\":1,\"Healthcheck\":{\"Test\":[\"NONE\"]}},\"future\":[{}]}",
        "{\"os\":\"Linux\",\"architecture\":\"X86_64\",\"config\":{\"Labels\":{\"a\":null},\"Env\":[null]},"
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}",
    };
    static const char small[] = "{\"config\":{\"cmd\":[\"sh\"],\"workingdir\":\"/w\"}}";
    g_autoptr(ImageConfig) with_small_keys = NULL;

    for (gsize i = 0; i < G_N_ELEMENTS(configs); i++) {
        g_autoptr(ImageConfig) config = NULL;
        GError *error = NULL;

        TEST_OK(image_config_parse(configs[i], strlen(configs[i]), &config, &error), error);
        g_clear_error(&error);
        CU_ASSERT_TRUE(config != NULL && config->diff_ids[0] == NULL && config->cmd[0] == NULL);
        CU_ASSERT_TRUE(config != NULL && image_config_check_platform(config, &amd64, NULL));
    }
    CU_ASSERT_TRUE_FATAL(image_config_parse(small, strlen(small), &with_small_keys, NULL));
    CU_ASSERT_STRING_EQUAL(with_small_keys->cmd[0], "sh");
    CU_ASSERT_STRING_EQUAL(with_small_keys->working_dir, "/w");
}

static void the_last_of_equal_keys_counts(void)
{
    static const char json[] =
        "{\"schemaVersion\":2,\"config\":{\"digest\":\"" A "\",\"size\":1,\"size\":100},"
        "\"layers\":[" LAYER(GZIP, B, "7") "],\"layers\":[]}";
    static const char text[] =
        "{\"os\":\"plan9\",\"os\":\"linux\",\"config\":{\"User\":\"0\",\"User\":\"7\"}}";
    g_autoptr(Manifest) manifest = NULL;
    g_autoptr(ImageConfig) config = NULL;
    g_autoptr(GError) error = NULL;

    TEST_OK(manifest_parse(json, strlen(json), &manifest, &error), error);
    CU_ASSERT_TRUE_FATAL(manifest != NULL);
    CU_ASSERT_EQUAL(manifest->config->size_bytes, 100);
    CU_ASSERT_EQUAL(manifest->layers->len, 0);
    TEST_OK(image_config_parse(text, strlen(text), &config, &error), error);
    CU_ASSERT_TRUE_FATAL(config != NULL);
    CU_ASSERT_STRING_EQUAL(config->os, "linux");
    CU_ASSERT_STRING_EQUAL(config->user, "7");
}

static void bad_configurations_are_refused(void)
{
    static const struct {
        const char *json;
        const char *message;
    } bad[] = {
        {"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:x\"]}}", "diff_ids: \"sha256:x\" is no"},
        {"{\"rootfs\":{\"type\":\"squashfs\",\"diff_ids\":[]}}", "rootfs: type is \"squashfs\""},
        {"{\"config\":{\"Env\":[1]},\"rootfs\":{\"type\":\"layers\"}}", "config.Env[0]: expected a string"},
        {"{\"config\":{\"Cmd\":\"sh\"},\"rootfs\":{\"type\":\"layers\"}}", "config.Cmd: expected an array"},
        {"{\"config\":{\"Labels\":{\"a\":1}},\"rootfs\":{\"type\":\"layers\"}}",
         "config.Labels.a: expected a string"},
        {"{\"config\":[],\"rootfs\":{\"type\":\"layers\"}}", "config: expected an object"},
        {"[]", "expected an object"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        ImageConfig *config = NULL;
        GError *error = NULL;

        TEST_FAILS(image_config_parse(bad[i].json, strlen(bad[i].json), &config, &error), error,
                   STATUS_INVALID_ARGUMENT, bad[i].message);
    }
}

static void digests_are_checked_and_computed(void)
{
    g_autofree char *empty = digest_of("", 0);
    g_autoptr(DigestHash) hash = digest_hash_new("sha512:");
    g_autofree char *long_digest = NULL;
    GError *error = NULL;

    CU_ASSERT_STRING_EQUAL(empty, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CU_ASSERT_TRUE(digest_is_valid(A));
    CU_ASSERT_FALSE(digest_is_valid("sha256:AAAA"));
    CU_ASSERT_FALSE(digest_is_valid(A "a"));
    CU_ASSERT_FALSE(digest_is_valid("sha384:aa"));
    digest_hash_update(hash, "abc", 3);
    long_digest = digest_hash_finish(hash);
    CU_ASSERT_TRUE(digest_is_valid(long_digest));
    CU_ASSERT_TRUE(g_str_has_prefix(long_digest, "sha512:ddaf35a193617aba"));
    digest_hash_reset(hash);
    TEST_FAILS(digest_hash_verify(hash, long_digest, "it", &error), error, STATUS_DATA_LOSS,
               "it has digest sha512:cf83e1357eefb8bd");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"an image manifest is read", reads_an_image_manifest},
        {"the last of equal keys counts in manifests and configurations", the_last_of_equal_keys_counts},
        {"media types of Docker and OCI are known", media_types_of_docker_and_oci_are_known},
        {"manifests and indexes are distinguished", manifests_and_indexes_are_distinguished},
        {"ambiguous manifests are refused", ambiguous_manifests_are_refused},
        {"unknown media types and members that crivirt does not use are accepted",
         unknown_media_types_and_members_that_crivirt_does_not_use_are_accepted},
        {"the error about a schema 1 manifest names the schema",
         the_error_about_a_schema_1_manifest_names_the_schema},
        {"bad descriptors are refused", bad_descriptors_are_refused},
        {"too many layers are refused", too_many_layers_are_refused},
        {"JSON that is too deep or too large is refused before it is parsed",
         json_that_is_too_deep_or_too_large_is_refused_before_it_is_parsed},
        {"an index yields the platform's image", an_index_yields_the_platform},
        {"the best variant that the guest's processor supports is chosen",
         the_best_variant_that_the_guests_processor_supports_is_chosen},
        {"an entry without a platform is chosen only when no other entry matches",
         an_entry_without_a_platform_is_chosen_only_when_no_other_entry_matches},
        {"an entry with an empty platform, or another name for it, is found",
         an_entry_with_an_empty_platform_or_another_name_for_it_is_found},
        {"configurations are read as tools write them", configurations_are_read_as_tools_write_them},
        {"an image configuration is read", reads_an_image_configuration},
        {"bad configurations are refused", bad_configurations_are_refused},
        {"digests are checked and computed", digests_are_checked_and_computed},
    };

    return test_main_args("manifest", cases, G_N_ELEMENTS(cases), argc, argv);
}

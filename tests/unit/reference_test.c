/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/content/reference.h"

#include <string.h>

#include "common/error.h"
#include "tests/unit/harness.h"

#define DIGEST "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void expect(const char *text, const char *wanted)
{
    g_autoptr(Reference) reference = NULL;
    g_autofree char *got = NULL;
    GError *error = NULL;

    TEST_OK(reference_parse(text, &reference, &error), error);
    if (reference == NULL) {
        g_clear_error(&error);
        return;
    }
    got = reference_to_string(reference);
    CU_ASSERT_STRING_EQUAL(got, wanted);
    if (!g_str_equal(got, wanted))
        g_printerr("%s: wanted %s, got %s\n", text, wanted, got);
}

static void expect_bad(const char *text, const char *message)
{
    Reference *reference = NULL;
    GError *error = NULL;

    TEST_FAILS(reference_parse(text, &reference, &error), error, STATUS_INVALID_ARGUMENT, message);
    CU_ASSERT_PTR_NULL(reference);
}

static void short_names_are_completed(void)
{
    expect("busybox", "docker.io/library/busybox:latest");
    expect("busybox:1.36", "docker.io/library/busybox:1.36");
    expect("team/app", "docker.io/team/app:latest");
    expect("docker.io/busybox", "docker.io/library/busybox:latest");
    expect("index.docker.io/busybox", "docker.io/library/busybox:latest");
    expect("index.docker.io/team/app:v1", "docker.io/team/app:v1");
}

static void a_first_component_may_be_a_registry(void)
{
    expect("ghcr.io/a/b/c:v1.2.3-x_y", "ghcr.io/a/b/c:v1.2.3-x_y");
    expect("localhost/app", "localhost/app:latest");
    expect("localhost:5000/app", "localhost:5000/app:latest");
    expect("127.0.0.1:5000/app:t", "127.0.0.1:5000/app:t");
    expect("[::1]:5000/app", "[::1]:5000/app:latest");
    expect("Registry/app", "Registry/app:latest");
    expect("registry.example.com/app", "registry.example.com/app:latest");
    expect("host/app", "docker.io/host/app:latest");
    expect("5000:v1", "docker.io/library/5000:v1");
}

static void the_digest_of_a_reference_is_used_instead_of_its_tag(void)
{
    g_autoptr(Reference) reference = NULL;

    expect("busybox@" DIGEST, "docker.io/library/busybox@" DIGEST);
    expect("host:1/a:tag@" DIGEST, "host:1/a@" DIGEST);
    CU_ASSERT_TRUE(reference_parse("host:1/a:tag@" DIGEST, &reference, NULL));
    CU_ASSERT_PTR_NULL(reference->tag);
}

static void names_may_contain_separators(void)
{
    expect("a/b__c.d-e---f/g_h", "docker.io/a/b__c.d-e---f/g_h:latest");
}

static void text_that_is_not_a_reference_is_refused_with_a_reason(void)
{
    g_autofree char *long_name = g_strnfill(260, 'a');
    g_autofree char *very_long = g_strnfill(5000, 'a');
    g_autofree char *long_tag = g_strdup_printf("a:%.129s", long_name);

    expect_bad("", "empty");
    expect_bad("Busybox", "must be lowercase");
    expect_bad("a:", "the tag must be");
    expect_bad("a:-x", "the tag must be");
    expect_bad("a:x y", "the tag must be");
    expect_bad(long_tag, "the tag must be");
    expect_bad("a@", "no sha256 or sha512 digest");
    expect_bad("a@md5:d41d8cd98f00b204e9800998ecf8427e", "no sha256 or sha512 digest");
    expect_bad("a@" DIGEST "0", "no sha256 or sha512 digest");
    expect_bad("a/../b", "repository name");
    expect_bad("a//b", "repository name");
    expect_bad("/a", "repository name");
    expect_bad("a/", "repository name");
    expect_bad("a___b", "repository name");
    expect_bad("a..b/c/", "registry");
    expect_bad("-a.b/c", "registry");
    expect_bad("host:port/c", "registry");
    expect_bad("https://host/c", "registry");
    expect_bad("user@host/c", "digest");
    expect_bad("a\n", "repository name");
    expect_bad("b\xff", "invalid image reference");
    expect_bad(long_name, "longer than 255");
    expect_bad(very_long, "too long");
    expect_bad("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "image id");
}

static void the_names_of_an_image_are_made_from_a_reference(void)
{
    g_autoptr(Reference) reference = NULL;
    g_autoptr(Reference) copy = NULL;
    g_autofree char *name = NULL;
    g_autofree char *with_digest = NULL;

    CU_ASSERT_TRUE_FATAL(reference_parse("busybox:1", &reference, NULL));
    copy = reference_copy(reference);
    name = reference_name(copy);
    with_digest = reference_with_digest(copy, DIGEST);
    CU_ASSERT_STRING_EQUAL(name, "docker.io/library/busybox");
    CU_ASSERT_STRING_EQUAL(with_digest, "docker.io/library/busybox@" DIGEST);
    CU_ASSERT_STRING_EQUAL(copy->tag, "1");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"short names are completed as Docker does", short_names_are_completed},
        {"a first component is a registry when it has a dot, a port or a capital letter, or is localhost",
         a_first_component_may_be_a_registry},
        {"the digest of a reference is used instead of its tag",
         the_digest_of_a_reference_is_used_instead_of_its_tag},
        {"names may contain separators", names_may_contain_separators},
        {"text that is not a reference is refused with a reason",
         text_that_is_not_a_reference_is_refused_with_a_reason},
        {"the names of an image are made from a reference", the_names_of_an_image_are_made_from_a_reference},
    };

    return test_main_args("reference", cases, G_N_ELEMENTS(cases), argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/registry/credentials.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "image-service/registry/registry_auth.h"
#include "tests/unit/harness.h"

/* user:pa:ss */
#define AUTH "dXNlcjpwYTpzcw=="

static Credentials *find(const RegistryAuth *auth, const char *file, const char *image, const char *host,
                         gboolean is_mirror)
{
    g_autoptr(Reference) reference = NULL;
    Credentials *credentials = NULL;
    GError *error = NULL;

    TEST_OK(reference_parse(image, &reference, &error), error);
    CredentialsQuery query = {auth, file, reference, host, is_mirror};

    TEST_OK(credentials_find(&query, &credentials, &error), error);
    g_clear_error(&error);
    return credentials;
}

static char *write_file(const char *text)
{
    g_autofree char *directory = test_directory();
    char *path = g_build_filename(directory, "config.json", NULL);
    GError *error = NULL;

    TEST_OK(file_write_atomic(path, text, strlen(text), 0600, &error), error);
    return path;
}

static void expect_user(const RegistryAuth *auth, const char *file, const char *image, const char *host,
                        gboolean is_mirror, const char *user)
{
    g_autoptr(Credentials) credentials = find(auth, file, image, host, is_mirror);

    CU_ASSERT_TRUE(g_strcmp0(credentials != NULL ? credentials->username : NULL, user) == 0);
}

static void credentials_of_the_call_are_used(void)
{
    RegistryAuth plain = {.username = "u", .password = "p", .auth = "", .server_address = ""};
    RegistryAuth encoded = {.auth = AUTH};
    RegistryAuth empty = {.username = "", .password = ""};
    g_autoptr(Credentials) from_plain = find(&plain, NULL, "a", "registry-1.docker.io", FALSE);
    g_autoptr(Credentials) from_encoded = find(&encoded, NULL, "a", "registry-1.docker.io", FALSE);

    CU_ASSERT_STRING_EQUAL(from_plain->password, "p");
    CU_ASSERT_STRING_EQUAL(from_encoded->username, "user");
    CU_ASSERT_STRING_EQUAL(from_encoded->password, "pa:ss");
    CU_ASSERT_PTR_NULL(find(&empty, NULL, "a", "registry-1.docker.io", FALSE));
    CU_ASSERT_PTR_NULL(find(NULL, NULL, "a", "registry-1.docker.io", FALSE));
}

static void credentials_with_a_server_address_are_sent_only_to_that_server(void)
{
    RegistryAuth hub = {.username = "u", .server_address = "https://index.docker.io/v1/"};
    RegistryAuth other = {.username = "u", .server_address = "quay.io"};

    expect_user(&hub, NULL, "busybox", "registry-1.docker.io", FALSE, "u");
    expect_user(&hub, NULL, "busybox", "mirror.example", TRUE, NULL);
    expect_user(&other, NULL, "busybox", "registry-1.docker.io", FALSE, NULL);
    expect_user(&other, NULL, "quay.io/a/b", "quay.io", FALSE, "u");
}

static void a_registry_may_be_written_in_several_forms_in_the_file(void)
{
    g_autofree char *file = write_file(
        "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"" AUTH "\"},"
        "\"http://reg:5000\":{\"username\":\"five\",\"password\":\"x\"},"
        "\"quay.io\":{\"username\":\"all\"},\"quay.io/team\":{\"username\":\"team\"},"
        "\"ghcr.io/v2/\":{\"identitytoken\":\"refresh\"},\"empty.example\":{}},\"credsStore\":\"x\"}");
    g_autoptr(Credentials) token = find(NULL, file, "ghcr.io/a/b", "ghcr.io", FALSE);

    expect_user(NULL, file, "busybox", "registry-1.docker.io", FALSE, "user");
    expect_user(NULL, file, "reg:5000/a", "reg:5000", FALSE, "five");
    expect_user(NULL, file, "reg/a", "reg", FALSE, NULL);
    expect_user(NULL, file, "quay.io/team/app", "quay.io", FALSE, "team");
    expect_user(NULL, file, "quay.io/teamwork/app", "quay.io", FALSE, "all");
    expect_user(NULL, file, "empty.example/a", "empty.example", FALSE, NULL);
    CU_ASSERT_STRING_EQUAL(token->identity_token, "refresh");
}

static void the_registry_gets_the_calls_credentials(void)
{
    RegistryAuth auth = {.username = "call", .password = "p"};
    g_autofree char *file = write_file("{\"auths\":{\"mirror.example\":{\"username\":\"file\"},"
                                       "\"docker.io\":{\"username\":\"file\"}}}");

    expect_user(&auth, file, "busybox", "registry-1.docker.io", FALSE, "call");
    expect_user(&auth, file, "busybox", "mirror.example", TRUE, "file");
    expect_user(&auth, file, "busybox", "other.example", TRUE, NULL);
    expect_user(NULL, file, "busybox", "registry-1.docker.io", FALSE, "file");
}

static void the_message_about_bad_credentials_does_not_contain_them(void)
{
    RegistryAuth auth = {.auth = "c2VjcmV0"}; /* no colon */
    g_autofree char *bad = write_file("{\"auths\":{\"docker.io\":{\"auth\":\"c2VjcmV0\"}}}");
    g_autofree char *broken = write_file("{\"auths\":{\"docker.io\":{\"auth\":\"c2VjcmV0\"");
    g_autoptr(Reference) reference = NULL;
    Credentials *credentials = NULL;
    GError *error = NULL;

    CU_ASSERT_TRUE_FATAL(reference_parse("busybox", &reference, NULL));
    TEST_FAILS(credentials_find(&(CredentialsQuery){&auth, NULL, reference, "docker.io", FALSE}, &credentials,
                                &error),
               error, STATUS_INVALID_ARGUMENT, "credentials of the call: \"auth\" is not");
    TEST_FAILS(
        credentials_find(&(CredentialsQuery){NULL, bad, reference, "docker.io", FALSE}, &credentials, &error),
        error, STATUS_INVALID_ARGUMENT, "entry \"docker.io\": \"auth\" is not");
    CU_ASSERT_FALSE(credentials_find(&(CredentialsQuery){NULL, broken, reference, "docker.io", FALSE},
                                     &credentials, &error));
    CU_ASSERT_TRUE(error != NULL && strstr(error->message, "c2VjcmV0") == NULL);
    TEST_FAILS(error == NULL, error, STATUS_INVALID_ARGUMENT, "config.json: not valid JSON");
}

static void a_missing_file_is_a_file_without_credentials(void)
{
    expect_user(NULL, "/nonexistent/config.json", "busybox", "docker.io", FALSE, NULL);
}

static void expect_parameter(const char *header, const char *scheme, const char *name, const char *wanted)
{
    g_autoptr(GHashTable) parameters = registry_challenge_find(header, scheme);

    CU_ASSERT_PTR_NOT_NULL(parameters);
    CU_ASSERT_TRUE(parameters != NULL && g_strcmp0(g_hash_table_lookup(parameters, name), wanted) == 0);
}

static void challenges_are_parsed(void)
{
    static const char bearer[] =
        "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
        "scope=\"repository:a/b:pull,push\"";
    static const char both[] =
        "Basic realm=\"a \\\"b\\\", c\" , bearer realm=x, Service = \"s\", error=\"e\"";

    expect_parameter(bearer, "bearer", "realm", "https://auth.docker.io/token");
    expect_parameter(bearer, "Bearer", "scope", "repository:a/b:pull,push");
    expect_parameter(both, "Basic", "realm", "a \"b\", c");
    expect_parameter(both, "Bearer", "service", "s");
    expect_parameter("Basic", "Basic", "realm", NULL);
    CU_ASSERT_PTR_NULL(registry_challenge_find(bearer, "Basic"));
    CU_ASSERT_PTR_NULL(registry_challenge_find("", "Basic"));
    CU_ASSERT_PTR_NULL(registry_challenge_find("\"\"\"==,", "Basic"));
}

static void scheme_host_and_port_of_an_origin_are_all_compared(void)
{
    CU_ASSERT_TRUE(registry_same_origin("https://a/x", "https://A:443/y?z"));
    CU_ASSERT_FALSE(registry_same_origin("https://a", "http://a"));
    CU_ASSERT_FALSE(registry_same_origin("http://a:1", "http://a:2"));
    CU_ASSERT_FALSE(registry_same_origin("http://a", "http://a.evil"));
    CU_ASSERT_FALSE(registry_same_origin("http://a", "http://a@evil/"));
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"credentials of the call are used", credentials_of_the_call_are_used},
        {"credentials with a server address are sent only to that server",
         credentials_with_a_server_address_are_sent_only_to_that_server},
        {"a registry may be written in several forms in the file",
         a_registry_may_be_written_in_several_forms_in_the_file},
        {"the registry gets the credentials of the call, a mirror those of the file",
         the_registry_gets_the_calls_credentials},
        {"the message about bad credentials does not contain them",
         the_message_about_bad_credentials_does_not_contain_them},
        {"a missing file is a file without credentials", a_missing_file_is_a_file_without_credentials},
        {"challenges are parsed", challenges_are_parsed},
        {"scheme, host and port of an origin are all compared",
         scheme_host_and_port_of_an_origin_are_all_compared},
    };

    return test_main_args("credentials", cases, G_N_ELEMENTS(cases), argc, argv);
}

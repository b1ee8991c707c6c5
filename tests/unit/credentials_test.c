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

static void the_call_brings_credentials(void)
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

static void a_server_address_limits_where_they_go(void)
{
    RegistryAuth hub = {.username = "u", .server_address = "https://index.docker.io/v1/"};
    RegistryAuth other = {.username = "u", .server_address = "quay.io"};

    expect_user(&hub, NULL, "busybox", "registry-1.docker.io", FALSE, "u");
    expect_user(&hub, NULL, "busybox", "mirror.example", TRUE, NULL);
    expect_user(&other, NULL, "busybox", "registry-1.docker.io", FALSE, NULL);
    expect_user(&other, NULL, "quay.io/a/b", "quay.io", FALSE, "u");
}

static void keys_of_the_file_come_in_many_forms(void)
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

static void the_call_wins_at_the_registry_and_the_file_at_a_mirror(void)
{
    RegistryAuth auth = {.username = "call", .password = "p"};
    g_autofree char *file = write_file("{\"auths\":{\"mirror.example\":{\"username\":\"file\"},"
                                       "\"docker.io\":{\"username\":\"file\"}}}");

    expect_user(&auth, file, "busybox", "registry-1.docker.io", FALSE, "call");
    expect_user(&auth, file, "busybox", "mirror.example", TRUE, "file");
    expect_user(&auth, file, "busybox", "other.example", TRUE, "call");
    expect_user(NULL, file, "busybox", "registry-1.docker.io", FALSE, "file");
}

static void bad_credentials_are_refused_without_showing_them(void)
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

static void a_missing_file_holds_none(void)
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

static void origins_are_compared_whole(void)
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
        {"the call brings credentials", the_call_brings_credentials},
        {"a server address limits where they go", a_server_address_limits_where_they_go},
        {"keys of the file come in many forms", keys_of_the_file_come_in_many_forms},
        {"the call wins at the registry and the file at a mirror",
         the_call_wins_at_the_registry_and_the_file_at_a_mirror},
        {"bad credentials are refused without showing them",
         bad_credentials_are_refused_without_showing_them},
        {"a missing file holds none", a_missing_file_holds_none},
        {"challenges are parsed", challenges_are_parsed},
        {"origins are compared whole", origins_are_compared_whole},
    };

    return test_main_args("credentials", cases, G_N_ELEMENTS(cases), argc, argv);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/auth_file.h"

#include <string.h>
#include <sys/stat.h>

#include "common/error.h"
#include "tests/unit/harness.h"

static char *new_path(void)
{
    g_autofree char *directory = test_directory();

    return g_build_filename(directory, "deep", "auth.json", NULL);
}

/* The user for an image, which the caller frees; NULL: none. */
static char *user_for(const char *path, const char *image)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *password = NULL;
    char *username = NULL;

    TEST_OK(auth_file_find(path, image, &username, &password, &error), error);
    return username;
}

static void credentials_are_set_found_and_removed(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = new_path();
    g_autofree char *found = NULL;
    g_autofree char *gone = NULL;
    g_autofree char *other = NULL;
    gboolean removed = FALSE;
    struct stat status;

    TEST_OK(auth_file_set(path, "host:5000", "me", "pass:word", &error), error);
    TEST_OK(auth_file_set(path, "docker.io", "you", "x", &error), error);
    CU_ASSERT_EQUAL(stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
    found = user_for(path, "host:5000/team/app:1");
    CU_ASSERT_STRING_EQUAL(found, "me");
    TEST_OK(auth_file_remove(path, "host:5000", &removed, &error), error);
    CU_ASSERT_TRUE(removed);
    gone = user_for(path, "host:5000/team/app:1");
    CU_ASSERT_PTR_NULL(gone);
    other = user_for(path, "busybox");
    CU_ASSERT_STRING_EQUAL(other, "you");
    TEST_OK(auth_file_remove(path, "host:5000", &removed, &error), error);
    CU_ASSERT_FALSE(removed);
}

static void what_else_is_in_the_file_is_kept(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "config.json", NULL);
    g_autofree char *text = NULL;

    CU_ASSERT_TRUE(g_file_set_contents(
        path, "{\"credsStore\":\"x\",\"auths\":{\"a\":{\"auth\":\"bWU6cGFzcw==\"}},\"n\":1.50}", -1, NULL));
    TEST_OK(auth_file_set(path, "b", "me", "p", &error), error);
    CU_ASSERT_TRUE(g_file_get_contents(path, &text, NULL, NULL));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"credsStore\": \"x\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "1.50"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "bWU6cGFzcw=="));
}

static void a_file_that_is_no_json_is_left_alone_and_named(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "auth.json", NULL);
    g_autofree char *text = NULL;

    CU_ASSERT_TRUE(g_file_set_contents(path, "not json", -1, NULL));
    CU_ASSERT_FALSE(auth_file_set(path, "b", "me", "p", &error));
    CU_ASSERT_PTR_NOT_NULL(strstr(error->message, path));
    CU_ASSERT_TRUE(g_file_get_contents(path, &text, NULL, NULL));
    CU_ASSERT_STRING_EQUAL(text, "not json");
}

static void a_missing_file_has_no_credentials(void)
{
    g_autofree char *path = new_path();
    g_autofree char *username = user_for(path, "busybox");

    CU_ASSERT_PTR_NULL(username);
}

static void the_option_comes_before_the_environment(void)
{
    g_autofree char *given = NULL;
    g_autofree char *from_environment = NULL;
    g_autofree char *usual = NULL;

    g_setenv("REGISTRY_AUTH_FILE", "/from/environment", TRUE);
    given = auth_file_path("/given");
    from_environment = auth_file_path(NULL);
    g_unsetenv("REGISTRY_AUTH_FILE");
    usual = auth_file_path(NULL);
    CU_ASSERT_STRING_EQUAL(given, "/given");
    CU_ASSERT_STRING_EQUAL(from_environment, "/from/environment");
    CU_ASSERT_TRUE(g_str_has_suffix(usual, "/containers/auth.json"));
}

int main(void)
{
    static const TestCase cases[] = {
        {"credentials are set, found and removed, in a file of mode 0600",
         credentials_are_set_found_and_removed},
        {"what else is in the file is kept", what_else_is_in_the_file_is_kept},
        {"a file that is no JSON is left alone, and named", a_file_that_is_no_json_is_left_alone_and_named},
        {"a missing file has no credentials", a_missing_file_has_no_credentials},
        {"the option comes before the environment, and that before the usual file",
         the_option_comes_before_the_environment},
    };
    return test_main("cli_auth", cases, G_N_ELEMENTS(cases));
}

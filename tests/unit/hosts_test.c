/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/registry/hosts.h"

#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "tests/unit/harness.h"

static void put(const char *directory, const char *subdirectory, const char *name, const char *text)
{
    g_autofree char *full = g_build_filename(directory, subdirectory, NULL);
    g_autofree char *path = g_build_filename(full, name, NULL);
    GError *error = NULL;

    TEST_OK(dir_make(full, 0700, &error), error);
    TEST_OK(file_write_atomic(path, text, strlen(text), 0600, &error), error);
}

static GPtrArray *load(const char *directory, const char *domain)
{
    GPtrArray *endpoints = NULL;
    GError *error = NULL;

    TEST_OK(hosts_load(directory, domain, &endpoints, &error), error);
    g_clear_error(&error);
    return endpoints;
}

static const RegistryEndpoint *at(GPtrArray *endpoints, guint i)
{
    static const RegistryEndpoint none = {.base_url = (char *)(gpointer) "", .host = (char *)(gpointer) ""};

    CU_ASSERT_TRUE(endpoints != NULL && i < endpoints->len);
    return endpoints != NULL && i < endpoints->len ? g_ptr_array_index(endpoints, i) : &none;
}

static void expect_default(const char *domain, const char *base_url)
{
    g_autoptr(GPtrArray) endpoints = load(NULL, domain);

    CU_ASSERT_EQUAL(endpoints->len, 1);
    CU_ASSERT_STRING_EQUAL(at(endpoints, 0)->base_url, base_url);
    CU_ASSERT_FALSE(at(endpoints, 0)->is_mirror);
    CU_ASSERT_TRUE(at(endpoints, 0)->can_pull && at(endpoints, 0)->can_resolve);
}

static void without_a_file_the_defaults_are_those_of_containerd(void)
{
    expect_default("docker.io", "https://registry-1.docker.io/v2");
    expect_default("ghcr.io", "https://ghcr.io/v2");
    expect_default("registry:5000", "https://registry:5000/v2");
    expect_default("localhost:5000", "http://localhost:5000/v2");
    expect_default("127.0.0.1:5000", "http://127.0.0.1:5000/v2");
    expect_default("[::1]:5000", "http://[::1]:5000/v2");
    expect_default("localhost:443", "https://localhost:443/v2");
    expect_default("localhost", "https://localhost/v2");
    expect_default("127.evil.com:5000", "https://127.evil.com:5000/v2");
}

static void hosts_come_in_the_order_of_the_file(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(GPtrArray) endpoints = NULL;

    put(directory, "docker.io", "hosts.toml",
        "server = \"https://docker.io-mirror.example/x\"\n"
        "[host.\"https://z.example\"]\ncapabilities = [\"pull\"]\n"
        "[host.\"http://a.example:8080/prefix\"]\noverride_path = true\nskip_verify = true\n"
        "[host.\"a.example/v2/\"]\n[host.\"a.example/v2/\".header]\nx-one = \"1\"\nx-two = [\"2\", \"3\"]\n");
    endpoints = load(directory, "docker.io");
    CU_ASSERT_EQUAL(endpoints->len, 4);
    CU_ASSERT_STRING_EQUAL(at(endpoints, 0)->base_url, "https://z.example/v2");
    CU_ASSERT_TRUE(at(endpoints, 0)->can_pull && !at(endpoints, 0)->can_resolve &&
                   at(endpoints, 0)->is_mirror);
    CU_ASSERT_STRING_EQUAL(at(endpoints, 1)->base_url, "http://a.example:8080/prefix");
    CU_ASSERT_STRING_EQUAL(at(endpoints, 1)->host, "a.example:8080");
    CU_ASSERT_TRUE(at(endpoints, 1)->skip_verify);
    CU_ASSERT_STRING_EQUAL(at(endpoints, 2)->base_url, "https://a.example/v2");
    CU_ASSERT_EQUAL_FATAL(g_strv_length(at(endpoints, 2)->headers), 3);
    CU_ASSERT_STRING_EQUAL(at(endpoints, 2)->headers[2], "x-two: 3");
    CU_ASSERT_STRING_EQUAL(at(endpoints, 3)->base_url, "https://docker.io-mirror.example/x/v2");
}

static void the_directory_of_a_registry_is_found_in_all_forms_of_its_name(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(GPtrArray) by_default = NULL;
    g_autoptr(GPtrArray) by_name = NULL;
    g_autoptr(GPtrArray) by_underscores = NULL;

    put(directory, "_default", "hosts.toml", "[host.\"https://default.example\"]\n");
    by_default = load(directory, "reg:5000");
    CU_ASSERT_STRING_EQUAL(at(by_default, 0)->host, "default.example");
    CU_ASSERT_STRING_EQUAL(at(by_default, 1)->base_url, "https://reg:5000/v2");
    CU_ASSERT_FALSE(at(by_default, 1)->is_mirror);
    put(directory, "reg:5000", "hosts.toml", "[host.\"https://colon.example\"]\n");
    by_name = load(directory, "reg:5000");
    CU_ASSERT_STRING_EQUAL(at(by_name, 0)->host, "colon.example");
    put(directory, "reg_5000_", "hosts.toml", "[host.\"https://underscore.example\"]\n");
    by_underscores = load(directory, "reg:5000");
    CU_ASSERT_STRING_EQUAL(at(by_underscores, 0)->host, "underscore.example");
}

static void certificates_are_read_relative_to_the_file(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *key = g_build_filename(directory, "r.example/c.key", NULL);
    g_autofree char *pem = g_build_filename(directory, "r.example/both.pem", NULL);
    g_autoptr(GPtrArray) endpoints = NULL;

    put(directory, "r.example", "ca.pem", "ONE");
    put(directory, "r.example", "ca2.pem", "TWO");
    put(directory, "r.example", "hosts.toml",
        "ca = \"ca.pem\"\nclient = \"both.pem\"\n[host.\"https://m.example\"]\nca = [\"ca.pem\", "
        "\"ca2.pem\"]\n"
        "client = [[\"c.cert\", \"c.key\"]]\n");
    endpoints = load(directory, "r.example");
    CU_ASSERT_STRING_EQUAL(at(endpoints, 0)->ca_pem, "ONE\nTWO\n");
    CU_ASSERT_STRING_EQUAL(at(endpoints, 0)->client_key, key);
    CU_ASSERT_STRING_EQUAL(at(endpoints, 1)->ca_pem, "ONE\n");
    CU_ASSERT_STRING_EQUAL(at(endpoints, 1)->client_cert, pem);
    CU_ASSERT_STRING_EQUAL(at(endpoints, 1)->client_key, pem);
}

static void certificate_files_with_dockers_names_are_used(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *key = g_build_filename(directory, "r.example/x.key", NULL);
    g_autoptr(GPtrArray) endpoints = NULL;

    put(directory, "r.example", "ca.crt", "CA");
    put(directory, "r.example", "x.cert", "CERT");
    endpoints = load(directory, "r.example");
    CU_ASSERT_STRING_EQUAL(at(endpoints, 0)->ca_pem, "CA\n");
    CU_ASSERT_STRING_EQUAL(at(endpoints, 0)->client_key, key);
}

static void a_loopback_registry_with_certificates_is_https(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(GPtrArray) by_files = NULL;
    g_autoptr(GPtrArray) by_setting = NULL;

    put(directory, "127.0.0.1:5000", "ca.crt", "CA");
    put(directory, "localhost:5000", "hosts.toml", "skip_verify = true");
    by_files = load(directory, "127.0.0.1:5000");
    by_setting = load(directory, "localhost:5000");
    CU_ASSERT_STRING_EQUAL(at(by_files, 0)->base_url, "https://127.0.0.1:5000/v2");
    CU_ASSERT_STRING_EQUAL(at(by_setting, 0)->base_url, "https://localhost:5000/v2");
}

static void loopback_addresses_are_recognised(void)
{
    CU_ASSERT_TRUE(hosts_url_is_loopback("http://127.0.0.2:5000/v2/"));
    CU_ASSERT_TRUE(hosts_url_is_loopback("https://[::1]/v2/"));
    CU_ASSERT_TRUE(hosts_url_is_loopback("https://localhost:1/"));
    CU_ASSERT_FALSE(hosts_url_is_loopback("https://127.evil.example/"));
    CU_ASSERT_FALSE(hosts_url_is_loopback("no URL"));
}

static void load_again(void *directory)
{
    g_ptr_array_unref(load(directory, "r"));
}

static void expect_warning(const char *log, const char *directory, const char *text)
{
    g_autofree char *place = g_strdup_printf("%s/r/hosts.toml:%s", directory, text);

    if (strstr(log, place) == NULL)
        g_printerr("no warning with %s in: %s\n", place, log);
    CU_ASSERT_PTR_NOT_NULL(strstr(log, place));
}

static void unknown_keys_and_capabilities_are_ignored(void)
{
    static const char text[] = "version = 2\nserve = \"x\"\ndial_timeout = \"5s\"\n"
                               "[host.\"https://m.example\"]\nmirror = 1\nretries = [3]\n"
                               "capabilities = [\"pull\", \"fly\"]\n"
                               "[host.\"https://m.example\".rewrite]\na = \"b\"\n[plugins]\nx = 1\n";
    g_autofree char *directory = test_directory();
    g_autoptr(GPtrArray) endpoints = NULL;
    const RegistryEndpoint *mirror;
    GError *error = NULL;

    put(directory, "r", "hosts.toml", text);
    TEST_OK(hosts_load(directory, "r", &endpoints, &error), error);
    CU_ASSERT_TRUE_FATAL(endpoints != NULL && endpoints->len == 2);
    mirror = g_ptr_array_index(endpoints, 0);
    CU_ASSERT_STRING_EQUAL(mirror->host, "m.example");
    CU_ASSERT_TRUE(mirror->can_pull && !mirror->can_resolve);
}

static void a_warning_names_the_file_the_line_and_the_key(void)
{
    static const char text[] = "serve = 'x'\ncapabilities = ['pull', 'swim']\n"
                               "[host.'https://m.example']\nmirror = 1\n"
                               "capabilities = ['pull', 'fly']\n";
    g_autofree char *directory = test_directory();
    g_autofree char *log = NULL;

    put(directory, "r", "hosts.toml", text);
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log = test_stderr_of(load_again, directory);
    expect_warning(log, directory, "1: serve is not a known setting and is ignored");
    expect_warning(log, directory, "2: capabilities: \\\"swim\\\" is not a known capability and is ignored");
    expect_warning(log, directory,
                   "4: host.\\\"https://m.example\\\".mirror is not a known setting and is ignored");
    expect_warning(
        log, directory,
        "5: host.\\\"https://m.example\\\".capabilities: \\\"fly\\\" is not a known capability and "
        "is ignored");
}

static void an_address_is_tried_once(void)
{
    static const char twice[] = "server = \"https://r.example\"\n[host.\"https://r.example\"]\n";
    static const char narrower[] =
        "server = \"https://r.example\"\n[host.\"https://r.example\"]\ncapabilities = [\"pull\"]\n";
    g_autofree char *directory = test_directory();
    g_autoptr(GPtrArray) one = NULL;
    g_autoptr(GPtrArray) two = NULL;

    put(directory, "r.example", "hosts.toml", twice);
    CU_ASSERT_TRUE(hosts_load(directory, "r.example", &one, NULL) && one->len == 1);
    put(directory, "r.example", "hosts.toml", narrower);
    CU_ASSERT_TRUE(hosts_load(directory, "r.example", &two, NULL) && two->len == 2);
}

static void the_error_of_a_bad_file_names_the_file_and_the_line(void)
{
    static const struct {
        const char *text;
        const char *message;
    } bad[] = {
        {"server = 1", "hosts.toml:1: server must be a string"},
        {"[host.\"ftp://x\"]", "\"ftp://x\" is no URL"},
        {"[host.\"https://user:pw@x\"]", "is no URL"},
        {"[host.\"https://\"]", "is no URL"},
        {"[host.\"https://x\"]\nheader = {a = \"b\\r\\nc\"}", "no HTTP header"},
        {"[host]\nx = 1", "host.x must be a table"},
        {"client = [[\"a\", \"b\", \"c\"]]", "client must be"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *directory = test_directory();
        GPtrArray *endpoints = NULL;
        GError *error = NULL;

        put(directory, "r", "hosts.toml", bad[i].text);
        TEST_FAILS(hosts_load(directory, "r", &endpoints, &error), error, STATUS_INVALID_ARGUMENT,
                   bad[i].message);
    }
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"without a file the defaults are those of containerd",
         without_a_file_the_defaults_are_those_of_containerd},
        {"hosts come in the order of the file", hosts_come_in_the_order_of_the_file},
        {"the directory of a registry is found in all forms of its name",
         the_directory_of_a_registry_is_found_in_all_forms_of_its_name},
        {"certificates are read relative to the file", certificates_are_read_relative_to_the_file},
        {"certificate files with Docker's names are used", certificate_files_with_dockers_names_are_used},
        {"a loopback registry with certificates is https", a_loopback_registry_with_certificates_is_https},
        {"loopback addresses are recognised", loopback_addresses_are_recognised},
        {"unknown keys and capabilities are ignored", unknown_keys_and_capabilities_are_ignored},
        {"a warning names the file, the line and the key", a_warning_names_the_file_the_line_and_the_key},
        {"an address is tried once", an_address_is_tried_once},
        {"the error of a bad file names the file and the line",
         the_error_of_a_bad_file_names_the_file_and_the_line},
    };

    return test_main_args("hosts", cases, G_N_ELEMENTS(cases), argc, argv);
}

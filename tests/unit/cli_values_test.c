/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/values.h"

#include "common/error.h"
#include "tests/unit/harness.h"

static void units_of_sizes_are_powers_of_1024_and_other_text_is_refused(void)
{
    static const struct {
        const char *text;
        gint64 bytes;
    } good[] = {
        {"512", 512},           {"1b", 1},
        {"4k", 4096},           {"256m", 256 * 1024 * 1024},
        {"1G", 1024 * 1048576}, {"1.5gb", 1610612736},
        {"2GiB", 2147483648},   {"1t", 1099511627776},
    };
    static const char *const bad[] = {"",  "m",   "-1",  "+1",  "1x",  "1 m",  "1mm",  "1bb",
                                      "0", "0.1", "1e3", "inf", "nan", "1..2", "0x10", "99999999999t"};

    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        gint64 bytes = 0;

        TEST_OK(value_parse_size(good[i].text, &bytes, &error), error);
        CU_ASSERT_EQUAL(bytes, good[i].bytes);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *error = NULL;
        gint64 bytes = -7;

        TEST_FAILS(value_parse_size(bad[i], &bytes, &error), error, STATUS_INVALID_ARGUMENT, bad[i]);
        CU_ASSERT_EQUAL(bytes, -7);
    }
}

static void cpus(void)
{
    GError *error = NULL;
    gint64 quota = 0;

    TEST_OK(value_parse_cpus("1.5", &quota, &error), error);
    CU_ASSERT_EQUAL(quota, 150000);
    TEST_OK(value_parse_cpus("0.01", &quota, &error), error);
    CU_ASSERT_EQUAL(quota, 1000);
    TEST_FAILS(value_parse_cpus("0", &quota, &error), error, STATUS_INVALID_ARGUMENT, "out of range");
    TEST_FAILS(value_parse_cpus("-1", &quota, &error), error, STATUS_INVALID_ARGUMENT, "-1");
    TEST_FAILS(value_parse_cpus("two", &quota, &error), error, STATUS_INVALID_ARGUMENT, "two");
    TEST_FAILS(value_parse_cpus("1m", &quota, &error), error, STATUS_INVALID_ARGUMENT, "1m");
}

static void expect_ports(const char *text, guint count, const char *ip, int host, int container,
                         PortProtocol protocol)
{
    g_autoptr(GPtrArray) ports = g_ptr_array_new_with_free_func((GDestroyNotify)port_value_free);
    g_autoptr(GError) error = NULL;
    const PortValue *last;

    TEST_OK(value_parse_ports(text, ports, &error), error);
    CU_ASSERT_EQUAL_FATAL(ports->len, count);
    last = g_ptr_array_index(ports, count - 1);
    CU_ASSERT_STRING_EQUAL(last->host_ip, ip);
    CU_ASSERT_EQUAL(last->host_port, host);
    CU_ASSERT_EQUAL(last->container_port, container);
    CU_ASSERT_EQUAL(last->protocol, protocol);
}

static void ports_good(void)
{
    expect_ports("8080:80", 1, "", 8080, 80, PORT_TCP);
    expect_ports("127.0.0.1:8080:80/tcp", 1, "127.0.0.1", 8080, 80, PORT_TCP);
    expect_ports("53:53/udp", 1, "", 53, 53, PORT_UDP);
    expect_ports("[::1]:8080:80/sctp", 1, "::1", 8080, 80, PORT_SCTP);
    expect_ports("8000-8002:80-82", 3, "", 8002, 82, PORT_TCP);
}

static void ports_bad(void)
{
    static const char *const bad[] = {"",           "80",
                                      ":80",        "80:",
                                      "0:80",       "80:65536",
                                      "80:80/icmp", "host:80:80",
                                      "1-2:1",      "2-1:2-1",
                                      "[::1:80:80", "::1:80:80",
                                      "1:2:3:4",    "80:80/tcp/udp",
                                      "-1:80",      "1-70000:1-70000"};
    g_autoptr(GPtrArray) ports = g_ptr_array_new_with_free_func((GDestroyNotify)port_value_free);

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        GError *error = NULL;

        TEST_FAILS(value_parse_ports(bad[i], ports, &error), error, STATUS_INVALID_ARGUMENT, bad[i]);
    }
    CU_ASSERT_EQUAL(ports->len, 0);
}

static void volumes(void)
{
    static const char *const bad[] = {"", "/a", "/a:b", "name:/b", "/a:/b:rw:ro", "/a:/b:z", ":/b"};
    g_auto(VolumeValue) volume = {0};
    g_auto(VolumeValue) relative = {0};
    GError *error = NULL;

    TEST_OK(value_parse_volume("/srv/../data:/in:ro", "/home/u", &volume, &error), error);
    CU_ASSERT_STRING_EQUAL(volume.source, "/data");
    CU_ASSERT_STRING_EQUAL(volume.target, "/in");
    CU_ASSERT_TRUE(volume.readonly);
    TEST_OK(value_parse_volume("./x:/in", "/home/u", &relative, &error), error);
    CU_ASSERT_STRING_EQUAL(relative.source, "/home/u/x");
    CU_ASSERT_FALSE(relative.readonly);
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        VolumeValue none = {0};

        TEST_FAILS(value_parse_volume(bad[i], "/", &none, &error), error, STATUS_INVALID_ARGUMENT, bad[i]);
        CU_ASSERT_PTR_NULL(none.source);
    }
}

static void expect_env(const char *text, const char *name, const char *value)
{
    g_autofree char *got_name = NULL;
    g_autofree char *got_value = NULL;
    g_autoptr(GError) error = NULL;

    TEST_OK(value_parse_env(text, &got_name, &got_value, &error), error);
    CU_ASSERT_TRUE(g_strcmp0(got_name, name) == 0);
    CU_ASSERT_TRUE(g_strcmp0(got_value, value) == 0);
}

static void environment(void)
{
    GError *error = NULL;
    char *name = NULL;
    char *value = NULL;

    g_setenv("CLI_TEST_SET", "from outside", TRUE);
    g_unsetenv("CLI_TEST_UNSET");
    expect_env("A=1", "A", "1");
    expect_env("A==x=", "A", "=x=");
    expect_env("A=", "A", "");
    expect_env("CLI_TEST_SET", "CLI_TEST_SET", "from outside");
    expect_env("CLI_TEST_UNSET", NULL, NULL);
    TEST_FAILS(value_parse_env("=1", &name, &value, &error), error, STATUS_INVALID_ARGUMENT, "=1");
    TEST_FAILS(value_parse_env("", &name, &value, &error), error, STATUS_INVALID_ARGUMENT, "no name");
    TEST_FAILS(value_parse_env("A=\xff", &name, &value, &error), error, STATUS_INVALID_ARGUMENT, "UTF-8");
}

static void since(void)
{
    const gint64 now = G_GINT64_CONSTANT(1700000000000000000);
    const gint64 second = G_GINT64_CONSTANT(1000000000);
    GError *error = NULL;
    gint64 then = 0;

    TEST_OK(value_parse_since("10m", now, &then, &error), error);
    CU_ASSERT_EQUAL(then, now - 600 * second);
    TEST_OK(value_parse_since("1h30m", now, &then, &error), error);
    CU_ASSERT_EQUAL(then, now - 5400 * second);
    TEST_OK(value_parse_since("90", now, &then, &error), error);
    CU_ASSERT_EQUAL(then, now - 90 * second);
    TEST_OK(value_parse_since("2023-11-14T22:13:20Z", now, &then, &error), error);
    CU_ASSERT_EQUAL(then, now);
    TEST_OK(value_parse_since("2023-11-14", now, &then, &error), error);
    CU_ASSERT_EQUAL(then, now - (22 * 3600 + 13 * 60 + 20) * second);
    TEST_FAILS(value_parse_since("yesterday", now, &then, &error), error, STATUS_INVALID_ARGUMENT,
               "yesterday");
    TEST_FAILS(value_parse_since("", now, &then, &error), error, STATUS_INVALID_ARGUMENT, "neither");
    TEST_FAILS(value_parse_since("5x", now, &then, &error), error, STATUS_INVALID_ARGUMENT, "5x");
}

static void users(void)
{
    g_autofree char *name = NULL;
    GError *error = NULL;
    gint64 uid = 0;
    gint64 gid = 0;

    TEST_OK(value_parse_user("1000", &uid, &gid, &name, &error), error);
    CU_ASSERT_TRUE(uid == 1000 && gid == -1 && name == NULL);
    TEST_OK(value_parse_user("0:5", &uid, &gid, &name, &error), error);
    CU_ASSERT_TRUE(uid == 0 && gid == 5 && name == NULL);
    TEST_OK(value_parse_user("nobody", &uid, &gid, &name, &error), error);
    CU_ASSERT_STRING_EQUAL(name, "nobody");
    TEST_FAILS(value_parse_user("nobody:5", &uid, &gid, &name, &error), error, STATUS_INVALID_ARGUMENT,
               "numeric");
    TEST_FAILS(value_parse_user("1:x", &uid, &gid, &name, &error), error, STATUS_INVALID_ARGUMENT, "number");
    TEST_FAILS(value_parse_user(":5", &uid, &gid, &name, &error), error, STATUS_INVALID_ARGUMENT, "UID");
}

static void names(void)
{
    static const char *const bad[] = {"", "-a", "a b", "a/b", ".."};
    GError *error = NULL;

    TEST_OK(value_check_name("web-1.x_y", &error), error);
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
        TEST_FAILS(value_check_name(bad[i], &error), error, STATUS_INVALID_ARGUMENT, bad[i]);
}

int main(void)
{
    static const TestCase cases[] = {
        {"units of units_of_sizes_are_powers_of_1024_and_other_text_is_refused are powers of 1024, and other "
         "text is refused",
         units_of_sizes_are_powers_of_1024_and_other_text_is_refused},
        {"CPUs become microseconds of a period", cpus},
        {"ports may have an address, a protocol and ranges", ports_good},
        {"a wrong port is refused and adds nothing", ports_bad},
        {"volumes need a path and an absolute target", volumes},
        {"a variable without a value is passed on", environment},
        {"since is a duration or a time", since},
        {"a user is a number, with a group, or a name", users},
        {"a name that a host or a directory cannot have is refused", names},
    };
    return test_main("cli_values", cases, G_N_ELEMENTS(cases));
}

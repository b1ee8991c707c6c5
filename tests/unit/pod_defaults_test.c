/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/error.h"
#include "common/settings/pod_defaults.h"
#include "tests/unit/harness.h"

static void expect_ulimit(const char *text, const char *type, guint64 soft, guint64 hard)
{
    Ulimit ulimit = {0};

    CU_ASSERT_TRUE(ulimit_parse(text, &ulimit, NULL));
    CU_ASSERT_STRING_EQUAL(ulimit.type, type);
    CU_ASSERT_EQUAL(ulimit.soft, soft);
    CU_ASSERT_EQUAL(ulimit.hard, hard);
}

static void ulimits_have_a_soft_and_a_hard_limit(void)
{
    expect_ulimit("nofile=1024:65536", "RLIMIT_NOFILE", 1024, 65536);
    expect_ulimit("core=0", "RLIMIT_CORE", 0, 0);
    expect_ulimit("memlock=unlimited", "RLIMIT_MEMLOCK", G_MAXUINT64, G_MAXUINT64);
    expect_ulimit("stack=8388608:unlimited", "RLIMIT_STACK", 8388608, G_MAXUINT64);
}

static void other_ulimits_are_refused_with_the_names_that_there_are(void)
{
    static const char *const bad[] = {"",           "nofile",    "nofile=",      "nofiles=1",
                                      "nofile=2:1", "nofile=-1", "nofile=1:2:3", "nofile=unlimited:1",
                                      "NOFILE=1"};

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        Ulimit ulimit;

        CU_ASSERT_FALSE(ulimit_parse(bad[i], &ulimit, &error));
        CU_ASSERT_EQUAL(error->code, STATUS_INVALID_ARGUMENT);
        CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "memlock"));
    }
}

static void assignments_are_separated_at_the_first_equals_sign(void)
{
    g_autofree char *name = NULL;
    g_autofree char *unused = NULL;
    const char *value = "";

    CU_ASSERT_TRUE(assignment_parse("NAME=a=b", &name, &value, NULL));
    CU_ASSERT_STRING_EQUAL(name, "NAME");
    CU_ASSERT_STRING_EQUAL(value, "a=b");
    CU_ASSERT_FALSE(assignment_parse("NAME", &unused, &value, NULL));
    CU_ASSERT_FALSE(assignment_parse("=value", &unused, &value, NULL));
}

static void a_time_zone_is_a_name_below_the_directory_of_zones(void)
{
    static const char *const bad[] = {"",    "../../../etc/shadow", "/etc/localtime", "Europe/",
                                      "a b", "Europe/../UTC"};

    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL;
        gsize length;

        CU_ASSERT_FALSE(time_zone_read(bad[i], &text, &length, &error));
        CU_ASSERT_EQUAL(error->code, STATUS_INVALID_ARGUMENT);
    }
}

static void a_zone_that_the_node_lacks_is_named(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    gsize length;

    CU_ASSERT_FALSE(time_zone_read("Atlantis/Capital", &text, &length, &error));
    CU_ASSERT_EQUAL(error->code, STATUS_FAILED_PRECONDITION);
    CU_ASSERT_PTR_NOT_NULL(strstr(error->message, "Atlantis/Capital"));
}

static void a_handlers_values_are_checked_with_their_keys(void)
{
    static const char *const none[] = {NULL};
    static const char *const good_ulimits[] = {"nofile=1", NULL};
    static const char *const bad_ulimits[] = {"nofile=x", NULL};
    static const char *const sysctls[] = {"net.core.somaxconn=4096", NULL};
    static const char *const bad_variables[] = {"=", NULL};
    const struct {
        Handler handler;
        const char *expected; /* NULL: it is good */
    } rows[] = {
        {{.kind = "vm", .ulimits = good_ulimits, .environment = none, .sysctls = sysctls, .time_zone = "UTC"},
         NULL},
        {{.kind = "vm", .ulimits = bad_ulimits, .environment = none, .sysctls = none, .time_zone = ""},
         "ulimits: "},
        {{.kind = "vm", .ulimits = none, .environment = bad_variables, .sysctls = none, .time_zone = ""},
         "environment: "},
        {{.kind = "vm", .ulimits = none, .environment = none, .sysctls = none, .time_zone = "?"},
         "time_zone: "},
        {{.kind = "host", .ulimits = none, .environment = none, .sysctls = sysctls, .time_zone = ""},
         "sysctls: "},
        {{.kind = "host",
          .ulimits = none,
          .environment = none,
          .sysctls = none,
          .time_zone = "",
          .max_processes = 9},
         "max_processes: "},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        CU_ASSERT_EQUAL(pod_defaults_check(&rows[i].handler, &error), rows[i].expected == NULL);
        CU_ASSERT_TRUE(rows[i].expected == NULL || g_str_has_prefix(error->message, rows[i].expected));
    }
}

int main(void)
{
    static const TestCase cases[] = {
        {"ulimits have a soft and a hard limit", ulimits_have_a_soft_and_a_hard_limit},
        {"other ulimits are refused, with the names that there are",
         other_ulimits_are_refused_with_the_names_that_there_are},
        {"assignments are separated at the first equals sign",
         assignments_are_separated_at_the_first_equals_sign},
        {"a time zone is a name below the directory of zones",
         a_time_zone_is_a_name_below_the_directory_of_zones},
        {"a zone that the node lacks is named", a_zone_that_the_node_lacks_is_named},
        {"a handler's values are checked, and the message begins with the key",
         a_handlers_values_are_checked_with_their_keys},
    };
    return test_main("pod_defaults", cases, G_N_ELEMENTS(cases));
}

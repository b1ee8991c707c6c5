/* SPDX-License-Identifier: Apache-2.0 */
/* What plugins are given and what is made of their answers, with scripts in their place: for answers that no
 * plugin of this node gives. The real ones are in cni_plugins_test.c. */
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "cni-bridge/cni.h"
#include "common/error.h"
#include "common/fileio.h"
#include "tests/unit/harness.h"

/* Writes down how it was called, then runs the file NAME.COMMAND of its directory. */
static const char script[] =
    "#!/bin/sh\n"
    "cd \"${0%/*}\" && name=${0##*/}\n"
    "echo \"$CNI_COMMAND $name\" >> calls\n"
    "env | grep ^CNI_ | sort > $name.$CNI_COMMAND.env\n"
    "cat > $name.$CNI_COMMAND.stdin\n"
    "[ -f $name.$CNI_COMMAND ] && . ./$name.$CNI_COMMAND\n"
    "[ $CNI_COMMAND != ADD ] || echo '{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.2/24\"}]}'\n";

typedef struct {
    char *directory;
    CniNetwork *network;
    Deadline deadline;
} Fixture;

static void fixture_clear(Fixture *fixture)
{
    cni_network_unref(fixture->network);
    g_free(fixture->directory);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Fixture, fixture_clear)

static void put_file(const Fixture *fixture, const char *name, const char *text, int mode)
{
    g_autofree char *path = g_build_filename(fixture->directory, name, NULL);
    g_autoptr(GError) error = NULL;

    TEST_OK(file_write_atomic(path, text, strlen(text), mode, &error), error);
}

static char *get_file(const Fixture *fixture, const char *name)
{
    g_autofree char *path = g_build_filename(fixture->directory, name, NULL);
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text != NULL ? text : g_strdup("");
}

/* Plugins one, two and three; "%s" of the list goes into two. */
static Fixture fixture_new(const char *version, const char *two)
{
    Fixture fixture = {.directory = test_directory(), .deadline = deadline_in_ms(20000)};
    const char *plugin_dirs[] = {"/nonexistent", fixture.directory, NULL};
    g_autofree char *list = g_strdup_printf("{\"cniVersion\":\"%s\",\"name\":\"net\",\"plugins\":[{\"type\":"
                                            "\"one\",\"unknown\":{\"deep\":[1.50]}},"
                                            "{\"type\":\"two\"%s},{\"type\":\"three\"}]}",
                                            version, two);
    g_autoptr(GError) error = NULL;

    put_file(&fixture, "10-net.conflist", list, 0644);
    put_file(&fixture, "one", script, 0755);
    put_file(&fixture, "two", script, 0755);
    put_file(&fixture, "three", script, 0755);
    fixture.network = cni_network_load(fixture.directory, plugin_dirs, &error);
    TEST_OK(fixture.network, error);
    return fixture;
}

static const char *const args[] = {"IgnoreUnknown", "1", "K8S_POD_NAME", "web", NULL};
static const CniAttachment plain = {
    .container_id = "c1", .netns_path = "/none", .ifname = "eth0", .args = args};

static void add_passes_results_on(void)
{
    g_auto(Fixture) fixture = fixture_new("1.0.0", "");
    g_autoptr(CniResult) result = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *calls = NULL;
    g_autofree char *environment = NULL;
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;

    put_file(
        &fixture, "one.ADD",
        "echo '{\"cniVersion\":\"0.4.0\",\"ips\":[{\"version\":\"4\",\"address\":\"10.0.0.9/24\"}]}'; exit 0",
        0644);
    TEST_OK(cni_network_add(fixture.network, &plain, &fixture.deadline, &result, &error), error);
    calls = get_file(&fixture, "calls");
    CU_ASSERT_STRING_EQUAL(calls, "ADD one\nADD two\nADD three\n");
    environment = get_file(&fixture, "one.ADD.env");
    CU_ASSERT_PTR_NOT_NULL(strstr(environment, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAME=web\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(environment, "CNI_CONTAINERID=c1\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(environment, "CNI_IFNAME=eth0\nCNI_NETNS=/none\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(environment, fixture.directory));
    first = get_file(&fixture, "one.ADD.stdin");
    CU_ASSERT_STRING_EQUAL(
        first, "{\"cniVersion\":\"1.0.0\",\"name\":\"net\",\"type\":\"one\",\"unknown\":{\"deep\":[1.50]}}");
    second = get_file(&fixture, "two.ADD.stdin");
    CU_ASSERT_PTR_NOT_NULL(strstr(second, "\"prevResult\":{\"cniVersion\":\"1.0.0\",\"interfaces\":[],"
                                          "\"ips\":[{\"address\":\"10.0.0.9/24\"}]"));
    CU_ASSERT_STRING_EQUAL(((CniAddress *)g_ptr_array_index(result->addresses, 0))->address, "10.0.0.2/24");
}

static void capabilities_go_to_those_who_declare_them(void)
{
    static const CniPortMapping ports[] = {{"tcp", 80, 8080, NULL}, {"udp", 53, 53, "127.0.0.1"}};
    static const char *const servers[] = {"10.0.0.10", NULL};
    static const char *const ips[] = {"10.0.0.7/24", NULL};
    g_auto(Fixture) fixture =
        fixture_new("1.0.0", ",\"capabilities\":{\"portMappings\":true,\"bandwidth\":true,\"dns\":true,"
                             "\"ips\":true,\"mac\":true}");
    g_autoptr(CniResult) result = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *second = NULL;
    g_autofree char *third = NULL;
    CniAttachment attachment = plain;

    attachment.port_mappings = ports;
    attachment.n_port_mappings = 2;
    attachment.egress_bits_per_s = 1000000000;
    attachment.dns_servers = servers;
    attachment.requested_ips = ips;
    attachment.requested_mac = "02:00:00:00:00:07";
    TEST_OK(cni_network_add(fixture.network, &attachment, &fixture.deadline, &result, &error), error);
    second = get_file(&fixture, "two.ADD.stdin");
    CU_ASSERT_PTR_NOT_NULL(strstr(
        second,
        "\"runtimeConfig\":{\"portMappings\":[{\"hostPort\":8080,\"containerPort\":80,\"protocol\":\"tcp\"},"
        "{\"hostPort\":53,\"containerPort\":53,\"protocol\":\"udp\",\"hostIP\":\"127.0.0.1\"}],"
        "\"bandwidth\":{\"egressRate\":1000000000,\"egressBurst\":125000000},\"dns\":{\"servers\":[\"10.0.0."
        "10\"]},"
        "\"ips\":[\"10.0.0.7/24\"],\"mac\":\"02:00:00:00:00:07\"}"));
    third = get_file(&fixture, "three.ADD.stdin");
    CU_ASSERT_PTR_NULL(strstr(third, "runtimeConfig"));
}

static void failed_add_is_undone(void)
{
    g_auto(Fixture) fixture = fixture_new("1.0.0", "");
    CniResult *result = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *calls = NULL;
    g_autofree char *deleted = NULL;

    put_file(&fixture, "two.ADD",
             "echo '{\"code\":7,\"msg\":\"no such range\",\"details\":\"look at ipam\"}'; exit 1", 0644);
    TEST_FAILS(cni_network_add(fixture.network, &plain, &fixture.deadline, &result, &error), error,
               STATUS_INTERNAL, "network net: plugin two failed ADD: no such range; look at ipam");
    CU_ASSERT_PTR_NULL(result);
    calls = get_file(&fixture, "calls");
    CU_ASSERT_STRING_EQUAL(calls, "ADD one\nADD two\nDEL two\nDEL one\n");
    deleted = get_file(&fixture, "two.DEL.stdin");
    CU_ASSERT_PTR_NOT_NULL(strstr(deleted, "\"prevResult\""));
}

static void fails_with(const char *behaviour, StatusCode status, const char *words)
{
    g_auto(Fixture) fixture = fixture_new("1.0.0", "");
    CniResult *result = NULL;
    g_autoptr(GError) error = NULL;

    put_file(&fixture, "one.ADD", behaviour, 0644);
    TEST_FAILS(cni_network_add(fixture.network, &plain, &fixture.deadline, &result, &error), error, status,
               words);
}

static void failures_have_many_shapes(void)
{
    fails_with("echo '{\"code\":11,\"msg\":\"busy\"}'; exit 1", STATUS_UNAVAILABLE, "failed ADD: busy");
    fails_with("echo '{\"code\":100,\"msg\":\"\",\"details\":\"why\"}'; exit 1", STATUS_INTERNAL,
               "failed ADD: why");
    fails_with("echo panic: oh >&2; exit 2", STATUS_INTERNAL, "with exit code 2: panic: oh");
    fails_with("printf 'text\\033[1m\\nmore'; exit 3", STATUS_INTERNAL, "with exit code 3: text [1m more");
    fails_with("exit 4", STATUS_INTERNAL, "with exit code 4");
    fails_with("kill -9 $$", STATUS_INTERNAL, "plugin one, ADD: it was killed by signal 9 (Killed)");
    fails_with("echo '{\"code\":\"x\",\"msg\":\"odd\"}'; exit 1", STATUS_INTERNAL, "\"msg\":\"odd\"");
    fails_with("exit 0", STATUS_INTERNAL, "plugin one, ADD: unusable result: not valid JSON");
    fails_with("echo '{\"ips\":[{\"address\":\"x\"}]}'; exit 0", STATUS_INTERNAL, "unusable result");
}

static void deadline_ends_a_plugin(void)
{
    g_auto(Fixture) fixture = fixture_new("1.0.0", "");
    Deadline deadline = deadline_in_ms(300);
    CniResult *result = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *calls = NULL;

    put_file(&fixture, "two.ADD", "exec sleep 20", 0644);
    TEST_FAILS(cni_network_add(fixture.network, &plain, &deadline, &result, &error), error,
               STATUS_DEADLINE_EXCEEDED, "plugin two, ADD");
    calls = get_file(&fixture, "calls");
    CU_ASSERT_STRING_EQUAL(calls, "ADD one\nADD two\nDEL two\nDEL one\n");
}

static void del_goes_on(void)
{
    g_auto(Fixture) fixture = fixture_new("0.4.0", "");
    g_autoptr(GError) error = NULL;
    g_autofree char *calls = NULL;
    g_autofree char *input = NULL;
    g_autofree char *environment = NULL;
    CniAttachment attachment = plain;

    attachment.netns_path = "";
    attachment.cached_result = "{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"10.0.0.2/24\"}]}";
    put_file(&fixture, "three.DEL", "echo first; exit 1", 0644);
    put_file(&fixture, "two.DEL", "echo second; exit 1", 0644);
    TEST_FAILS(cni_network_del(fixture.network, &attachment, &fixture.deadline, &error), error,
               STATUS_INTERNAL, "plugin three, DEL: it failed with exit code 1: first");
    calls = get_file(&fixture, "calls");
    CU_ASSERT_STRING_EQUAL(calls, "DEL three\nDEL two\nDEL one\n");
    input = get_file(&fixture, "one.DEL.stdin");
    CU_ASSERT_PTR_NOT_NULL(strstr(input, "\"prevResult\":{\"cniVersion\":\"0.4.0\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(input, "\"version\":\"4\""));
    environment = get_file(&fixture, "one.DEL.env");
    CU_ASSERT_PTR_NOT_NULL(strstr(environment, "CNI_NETNS=\n"));
}

static void del_survives_a_broken_cache(void)
{
    g_auto(Fixture) fixture = fixture_new("1.0.0", "");
    g_autoptr(GError) error = NULL;
    g_autofree char *calls = NULL;
    CniAttachment attachment = plain;

    attachment.cached_result = "{";
    TEST_OK(cni_network_del(fixture.network, &attachment, &fixture.deadline, &error), error);
    calls = get_file(&fixture, "calls");
    CU_ASSERT_STRING_EQUAL(calls, "DEL three\nDEL two\nDEL one\n");
}

static void status_tells_the_plugins_words(void)
{
    g_auto(Fixture) old = fixture_new("1.0.0", "");
    g_auto(Fixture) fixture = fixture_new("1.1.0", "");
    g_autofree char *two = g_build_filename(fixture.directory, "two", NULL);
    g_autofree char *calls = NULL;
    g_autoptr(GError) error = NULL;

    TEST_OK(cni_network_status(old.network, &old.deadline, &error), error);
    calls = get_file(&old, "calls");
    CU_ASSERT_STRING_EQUAL(calls, "");
    TEST_OK(cni_network_status(fixture.network, &fixture.deadline, &error), error);
    put_file(&fixture, "two.STATUS", "echo '{\"code\":50,\"msg\":\"daemon is starting\"}'; exit 1", 0644);
    TEST_FAILS(cni_network_status(fixture.network, &fixture.deadline, &error), error, STATUS_UNAVAILABLE,
               "plugin two failed STATUS: daemon is starting");
    CU_ASSERT_EQUAL(chmod(two, 0644), 0);
    TEST_FAILS(cni_network_status(fixture.network, &fixture.deadline, &error), error, STATUS_UNAVAILABLE,
               "CNI plugin two is not installed in /nonexistent, ");
}

static void gc_names_what_is_in_use(void)
{
    static const char *const ids[] = {"c1", "c2", NULL};
    g_auto(Fixture) fixture = fixture_new("1.1.0", "");
    g_autoptr(GError) error = NULL;
    g_autofree char *input = NULL;

    TEST_OK(cni_network_gc(fixture.network, ids, "eth0", &fixture.deadline, &error), error);
    input = get_file(&fixture, "three.GC.stdin");
    CU_ASSERT_PTR_NOT_NULL(
        strstr(input, "\"cni.dev/valid-attachments\":[{\"containerID\":\"c1\",\"ifname\":\"eth0\"},"
                      "{\"containerID\":\"c2\",\"ifname\":\"eth0\"}]"));
}

static void check_needs_the_result(void)
{
    g_auto(Fixture) fixture = fixture_new("1.0.0", "");
    g_autoptr(GError) error = NULL;
    CniAttachment attachment = plain;

    TEST_FAILS(cni_network_check(fixture.network, &attachment, &fixture.deadline, &error), error,
               STATUS_FAILED_PRECONDITION, "needs the result of ADD");
    attachment.cached_result = "{\"cniVersion\":\"1.0.0\"}";
    TEST_OK(cni_network_check(fixture.network, &attachment, &fixture.deadline, &error), error);
    put_file(&fixture, "two.CHECK", "echo '{\"code\":100,\"msg\":\"gone\"}'; exit 1", 0644);
    TEST_FAILS(cni_network_check(fixture.network, &attachment, &fixture.deadline, &error), error,
               STATUS_INTERNAL, "plugin two failed CHECK: gone");
}

static void bad_attachments_reach_no_plugin(void)
{
    g_auto(Fixture) fixture = fixture_new("1.0.0", "");
    static const char *const evil[] = {"K8S_POD_NAME", "a;CNI_X=1", NULL};
    CniResult *result = NULL;
    CniAttachment attachment = plain;
    g_autoptr(GError) error = NULL;

    attachment.args = evil;
    TEST_FAILS(cni_network_add(fixture.network, &attachment, &fixture.deadline, &result, &error), error,
               STATUS_INVALID_ARGUMENT, "CNI_ARGS");
    attachment = plain;
    attachment.container_id = "../x";
    TEST_FAILS(cni_network_add(fixture.network, &attachment, &fixture.deadline, &result, &error), error,
               STATUS_INVALID_ARGUMENT, "../x");
    attachment = plain;
    attachment.ifname = "an-interface-too-long";
    TEST_FAILS(cni_network_add(fixture.network, &attachment, &fixture.deadline, &result, &error), error,
               STATUS_INVALID_ARGUMENT, "is not an interface name");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"ADD runs the plugins in order and passes each the result of the one before", add_passes_results_on},
        {"capability arguments go to the plugins that declare them",
         capabilities_go_to_those_who_declare_them},
        {"an ADD that fails in the middle is undone in reverse", failed_add_is_undone},
        {"the message of a plugin that fails is reported, whatever form it has", failures_have_many_shapes},
        {"a plugin that hangs ends at the deadline and is undone", deadline_ends_a_plugin},
        {"DEL goes on after a failure and reports the first", del_goes_on},
        {"DEL goes on without a cached result that cannot be read", del_survives_a_broken_cache},
        {"STATUS reports the message of a plugin, or which plugin is missing",
         status_tells_the_plugins_words},
        {"GC names the attachments still in use", gc_names_what_is_in_use},
        {"CHECK needs the cached result and stops at the first failure", check_needs_the_result},
        {"ids, names and arguments that could confuse a plugin are refused", bad_attachments_reach_no_plugin},
    };

    signal(SIGPIPE, SIG_IGN);
    return test_main_args("cni_exec", cases, G_N_ELEMENTS(cases), argc, argv);
}

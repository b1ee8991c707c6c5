#include "sandbox/oci_spec.h"

#include <string.h>
#include <yajl/yajl_tree.h>

#include "common/error.h"
#include "tests/unit/harness.h"

/* One container as a kubelet would ask for it; each test changes what it is about. */
typedef struct {
    Runtime__V1__ContainerMetadata metadata;
    Runtime__V1__LinuxContainerSecurityContext security;
    Runtime__V1__LinuxContainerConfig linux;
    Runtime__V1__ContainerConfig config;
    Runtime__V1__PodSandboxConfig pod;
    Image image;
    OciSpecInput input;
} Fixture;

static char *no_strings[] = {NULL};

static void fixture_init(Fixture *fixture)
{
    static char *cmd[] = {(char *)"sh", NULL};
    static char *environment[] = {(char *)"PATH=/bin", (char *)"LANG=C", NULL};

    memset(fixture, 0, sizeof *fixture);
    runtime__v1__container_metadata__init(&fixture->metadata);
    runtime__v1__linux_container_security_context__init(&fixture->security);
    runtime__v1__linux_container_config__init(&fixture->linux);
    runtime__v1__container_config__init(&fixture->config);
    runtime__v1__pod_sandbox_config__init(&fixture->pod);
    fixture->linux.security_context = &fixture->security;
    fixture->config.linux = &fixture->linux;
    fixture->config.metadata = &fixture->metadata;
    fixture->image = (Image){.id = (char *)"sha256:1",
                             .entrypoint = no_strings,
                             .cmd = cmd,
                             .environment = environment,
                             .volumes = no_strings};
    fixture->input = (OciSpecInput){
        .container_id = "c1", .pod = &fixture->pod, .config = &fixture->config, .image = &fixture->image};
}

/* The whole text with a user put in, parsed; the test frees it. */
static yajl_val build(Fixture *fixture)
{
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    char problem[256] = "";
    yajl_val tree;

    TEST_OK(oci_spec_build(&fixture->input, &before, &after, &error), error);
    text = g_strconcat(before, "{\"uid\":1000,\"gid\":1000}", after, NULL);
    tree = yajl_tree_parse(text, problem, sizeof problem);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tree);
    return tree;
}

/* The strings of an array as "a b c". */
static char *words(yajl_val tree, const char *outer, const char *inner)
{
    const char *path[] = {outer, inner, NULL};
    yajl_val array = yajl_tree_get(tree, path, yajl_t_array);
    GString *text = g_string_new(NULL);

    for (size_t i = 0; YAJL_IS_ARRAY(array) && i < array->u.array.len; i++)
        g_string_append_printf(text, "%s%s", i > 0 ? " " : "", YAJL_GET_STRING(array->u.array.values[i]));
    return g_string_free(text, FALSE);
}

static void expect_words(Fixture *fixture, const char *outer, const char *inner, const char *wanted)
{
    yajl_val tree = build(fixture);
    g_autofree char *found = words(tree, outer, inner);

    CU_ASSERT_STRING_EQUAL(found, wanted);
    yajl_tree_free(tree);
}

static void the_user_fits_in(void)
{
    static const char *const path[] = {"process", "user", "uid", NULL};
    Fixture fixture;
    yajl_val tree;

    fixture_init(&fixture);
    tree = build(&fixture);
    CU_ASSERT_EQUAL(YAJL_GET_INTEGER(yajl_tree_get(tree, (const char **)(void *)path, yajl_t_number)), 1000);
    yajl_tree_free(tree);
}

static void commands_follow_kubernetes(void)
{
    static char *entrypoint[] = {(char *)"/entry", NULL};
    static char *command[] = {(char *)"/cmd"};
    static char *args[] = {(char *)"a", (char *)"b"};
    Fixture fixture;

    fixture_init(&fixture);
    fixture.image.entrypoint = entrypoint;
    expect_words(&fixture, "process", "args", "/entry sh");
    fixture.config.n_args = 2;
    fixture.config.args = args;
    expect_words(&fixture, "process", "args", "/entry a b");
    fixture.config.n_command = 1;
    fixture.config.command = command;
    expect_words(&fixture, "process", "args", "/cmd a b");
    fixture.config.n_args = 0;
    expect_words(&fixture, "process", "args", "/cmd");
}

static void no_command_is_an_error(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    char *before;
    char *after;

    fixture_init(&fixture);
    fixture.image.cmd = no_strings;
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
               "sha256:1");
}

static void environment_is_overridden(void)
{
    Runtime__V1__KeyValue pair = RUNTIME__V1__KEY_VALUE__INIT;
    Runtime__V1__KeyValue *envs[] = {&pair};
    Fixture fixture;

    fixture_init(&fixture);
    pair.key = (char *)"LANG";
    pair.value = (ProtobufCBinaryData){.len = 2, .data = (guint8 *)"de"};
    fixture.config.n_envs = 1;
    fixture.config.envs = envs;
    fixture.pod.hostname = (char *)"web";
    expect_words(&fixture, "process", "env", "PATH=/bin HOSTNAME=web LANG=de");
    pair.key = (char *)"A=B";
    {
        g_autoptr(GError) error = NULL;
        char *before;
        char *after;

        TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
                   "A=B");
    }
}

/* process.capabilities.effective */
static char *effective(Fixture *fixture)
{
    static const char *const path[] = {"process", "capabilities", NULL};
    yajl_val tree = build(fixture);
    yajl_val capabilities = yajl_tree_get(tree, (const char **)(void *)path, yajl_t_object);
    GString *text = g_string_new(NULL);

    for (size_t i = 0; i < capabilities->u.object.len; i++) {
        yajl_val set = capabilities->u.object.values[i];

        for (size_t j = 0; g_str_equal(capabilities->u.object.keys[i], "effective") && j < set->u.array.len;
             j++)
            g_string_append_printf(text, "%s ", YAJL_GET_STRING(set->u.array.values[j]));
    }
    yajl_tree_free(tree);
    return g_string_free(text, FALSE);
}

static void capabilities_add_and_drop(void)
{
    static char *all[] = {(char *)"ALL"};
    static char *admin[] = {(char *)"NET_ADMIN"};
    Runtime__V1__Capability wanted = RUNTIME__V1__CAPABILITY__INIT;
    Fixture fixture;
    g_autofree char *usual = NULL;
    g_autofree char *only = NULL;
    g_autofree char *privileged = NULL;

    fixture_init(&fixture);
    usual = effective(&fixture);
    CU_ASSERT_PTR_NOT_NULL(strstr(usual, "CAP_CHOWN "));
    CU_ASSERT_PTR_NULL(strstr(usual, "CAP_SYS_ADMIN "));
    fixture.security.capabilities = &wanted;
    wanted.n_drop_capabilities = 1;
    wanted.drop_capabilities = all;
    wanted.n_add_capabilities = 1;
    wanted.add_capabilities = admin;
    only = effective(&fixture);
    CU_ASSERT_STRING_EQUAL(only, "CAP_NET_ADMIN ");
    fixture.security.privileged = TRUE;
    privileged = effective(&fixture);
    CU_ASSERT_PTR_NOT_NULL(strstr(privileged, "CAP_SYS_ADMIN "));
}

static void unknown_capability_is_named(void)
{
    static char *bad[] = {(char *)"FLY"};
    Runtime__V1__Capability wanted = RUNTIME__V1__CAPABILITY__INIT;
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    char *before;
    char *after;

    fixture_init(&fixture);
    fixture.security.capabilities = &wanted;
    wanted.n_add_capabilities = 1;
    wanted.add_capabilities = bad;
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
               "FLY");
}

static void mounts_nest_and_are_checked(void)
{
    Runtime__V1__Mount inner = RUNTIME__V1__MOUNT__INIT;
    Runtime__V1__Mount outer = RUNTIME__V1__MOUNT__INIT;
    Runtime__V1__Mount *mounts[] = {&inner, &outer};
    const char *sources[] = {"/run/crivirt/share/c1/0", "/run/crivirt/share/c1/1"};
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    fixture.config.n_mounts = 2;
    fixture.config.mounts = mounts;
    fixture.input.mount_sources = sources;
    inner.container_path = (char *)"/data/inner";
    outer.container_path = (char *)"/data";
    inner.host_path = outer.host_path = (char *)"/srv";
    inner.readonly = TRUE;
    TEST_OK(oci_spec_build(&fixture.input, &before, &after, &error), error);
    CU_ASSERT_TRUE(strstr(after, "\"/data\"") < strstr(after, "\"/data/inner\""));
    CU_ASSERT_PTR_NOT_NULL(strstr(after, "/run/crivirt/share/c1/1"));
    inner.recursive_read_only = TRUE;
    inner.readonly = FALSE;
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
               "/data/inner");
    inner.recursive_read_only = FALSE;
    inner.container_path = (char *)"relative";
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
               "relative");
}

static void group_alone_is_refused(void)
{
    Runtime__V1__Int64Value group = RUNTIME__V1__INT64_VALUE__INIT;
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    char *before;
    char *after;

    fixture_init(&fixture);
    fixture.security.run_as_group = &group;
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
               "run_as_group");
}

static void users_come_from_the_right_place(void)
{
    Runtime__V1__Int64Value uid = RUNTIME__V1__INT64_VALUE__INIT;
    Crivirt__Agent__V1__User user;
    Fixture fixture;
    g_autoptr(GError) error = NULL;

    fixture_init(&fixture);
    fixture.image.user = (char *)"www:staff";
    TEST_OK(oci_spec_user(&fixture.input, &user, &error), error);
    CU_ASSERT_STRING_EQUAL(user.name, "www");
    CU_ASSERT_STRING_EQUAL(user.group, "staff");
    CU_ASSERT_EQUAL(user.uid, -1);
    uid.value = 7;
    fixture.security.run_as_user = &uid;
    TEST_OK(oci_spec_user(&fixture.input, &user, &error), error);
    CU_ASSERT_EQUAL(user.uid, 7);
    CU_ASSERT_STRING_EQUAL(user.name, "");
    uid.value = -5;
    TEST_FAILS(oci_spec_user(&fixture.input, &user, &error), error, STATUS_INVALID_ARGUMENT, "run_as_user");
}

static void stop_signals_have_an_order(void)
{
    Fixture fixture;
    g_autoptr(GError) error = NULL;
    int signal = 0;

    fixture_init(&fixture);
    TEST_OK(oci_spec_stop_signal(&fixture.input, &signal, &error), error);
    CU_ASSERT_EQUAL(signal, 15);
    fixture.image.stop_signal = (char *)"SIGQUIT";
    TEST_OK(oci_spec_stop_signal(&fixture.input, &signal, &error), error);
    CU_ASSERT_EQUAL(signal, 3);
    fixture.config.stop_signal = RUNTIME__V1__SIGNAL__SIGUSR1;
    TEST_OK(oci_spec_stop_signal(&fixture.input, &signal, &error), error);
    CU_ASSERT_EQUAL(signal, 10);
    fixture.config.stop_signal = RUNTIME__V1__SIGNAL__RUNTIME_DEFAULT;
    fixture.image.stop_signal = (char *)"SIGFOO";
    TEST_FAILS(oci_spec_stop_signal(&fixture.input, &signal, &error), error, STATUS_INVALID_ARGUMENT,
               "SIGFOO");
}

int main(void)
{
    static const TestCase cases[] = {
        {"the two pieces and a user make one JSON document", the_user_fits_in},
        {"command and args replace entrypoint and cmd as Kubernetes says", commands_follow_kubernetes},
        {"no command anywhere is an error that names the image", no_command_is_an_error},
        {"the container's environment overrides the image's", environment_is_overridden},
        {"capabilities: drop ALL and add one leaves one; privileged has all", capabilities_add_and_drop},
        {"an unknown capability is named", unknown_capability_is_named},
        {"a mount inside another comes after it; bad ones are named", mounts_nest_and_are_checked},
        {"run_as_group without a user is refused", group_alone_is_refused},
        {"the user is the security context's, else the image's", users_come_from_the_right_place},
        {"the stop signal is the CRI's, else the image's, else TERM", stop_signals_have_an_order},
    };

    return test_main("oci_spec", cases, G_N_ELEMENTS(cases));
}

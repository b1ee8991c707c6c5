/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/oci/oci_spec.h"

#include <string.h>
#include <yajl/yajl_tree.h>

#include "common/error.h"
#include "tests/unit/harness.h"

/* One container as a kubelet requests it; each test changes the fields that it is about. */
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
    fixture->input = (OciSpecInput){.container_id = "c1",
                                    .pod = &fixture->pod,
                                    .config = &fixture->config,
                                    .image = &fixture->image,
                                    .architecture = "x86_64"};
}

/* Return: the whole text with a user, parsed, which the test frees. */
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

static void hidden_paths_are_the_clients(void)
{
    static char *masked[] = {(char *)"/proc/kcore", (char *)"/sys/firmware"};
    static char *readonly[] = {(char *)"/proc/sys"};
    Fixture fixture;

    fixture_init(&fixture);
    expect_words(&fixture, "linux", "maskedPaths", "");
    expect_words(&fixture, "linux", "readonlyPaths", "");
    fixture.security.masked_paths = masked;
    fixture.security.n_masked_paths = G_N_ELEMENTS(masked);
    fixture.security.readonly_paths = readonly;
    fixture.security.n_readonly_paths = G_N_ELEMENTS(readonly);
    expect_words(&fixture, "linux", "maskedPaths", "/proc/kcore /sys/firmware");
    expect_words(&fixture, "linux", "readonlyPaths", "/proc/sys");
    fixture.security.privileged = TRUE;
    expect_words(&fixture, "linux", "maskedPaths", "");
    expect_words(&fixture, "linux", "readonlyPaths", "");
}

/* "type soft hard" of the first limit; NULL: there is none. */
static char *first_ulimit(Fixture *fixture)
{
    static const char *const path[] = {"process", "rlimits", NULL};
    static const char *const type[] = {"type", NULL}, *const soft[] = {"soft", NULL},
                             *const hard[] = {"hard", NULL};
    yajl_val tree = build(fixture);
    yajl_val list = yajl_tree_get(tree, (const char **)(void *)path, yajl_t_array);
    char *text = NULL;

    if (list != NULL)
        text = g_strdup_printf("%s %s %s",
                               YAJL_GET_STRING(yajl_tree_get(list->u.array.values[0],
                                                             (const char **)(void *)type, yajl_t_string)),
                               YAJL_GET_NUMBER(yajl_tree_get(list->u.array.values[0],
                                                             (const char **)(void *)soft, yajl_t_number)),
                               YAJL_GET_NUMBER(yajl_tree_get(list->u.array.values[0],
                                                             (const char **)(void *)hard, yajl_t_number)));
    yajl_tree_free(tree);
    return text;
}

static void a_handler_gives_limits_and_variables(void)
{
    static const char *const ulimits[] = {"nofile=1024:unlimited", NULL};
    static const char *const variables[] = {"LANG=de", "ZONE=a", NULL};
    const Handler handler = {.ulimits = ulimits, .environment = variables};
    g_autofree char *without = NULL;
    g_autofree char *with = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    without = first_ulimit(&fixture);
    CU_ASSERT_PTR_NULL(without);
    fixture.input.handler = &handler;
    with = first_ulimit(&fixture);
    CU_ASSERT_STRING_EQUAL(with, "RLIMIT_NOFILE 1024 18446744073709551615");
    expect_words(&fixture, "process", "env", "PATH=/bin LANG=C ZONE=a");
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
    OciMountSource sources[] = {{"/run/crivirt/share/c1/0", FALSE}, {"/run/crivirt/share/c1/1", TRUE}};
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

/* One bad change to a good mount each time; the message names the mount. */
static void mount_flags_exclude_each_other(void)
{
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    Runtime__V1__Mount mount = RUNTIME__V1__MOUNT__INIT;
    const Runtime__V1__Mount blank = RUNTIME__V1__MOUNT__INIT;

    image.image = (char *)"sha256:2";
    for (guint i = 0; i < 5; i++) {
        g_autoptr(GError) error = NULL;

        mount = blank;
        mount.container_path = (char *)"/v";
        mount.host_path = (char *)(i < 3 ? "/srv" : "");
        mount.image = i < 3 ? NULL : &image;
        mount.readonly = i < 3;
        mount.recursive_read_only = i == 0;
        if (i == 0)
            mount.propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER;
        if (i == 1)
            mount.propagation = RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL;
        if (i == 2)
            mount.image_sub_path = (char *)"etc";
        if (i == 4)
            mount.readonly = TRUE;
        if (i == 4)
            mount.host_path = (char *)"/srv";
        TEST_FAILS(oci_mount_check(&mount, FALSE, &error), error, STATUS_INVALID_ARGUMENT, "/v");
    }
}

static void a_readonly_volume_is_writable_in_the_guest_only_where_the_node_refuses_writes(void)
{
    Runtime__V1__Mount mount = RUNTIME__V1__MOUNT__INIT;
    Runtime__V1__Mount *mounts[] = {&mount};
    OciMountSource source = {"/run/crivirt/share/c1/0", FALSE};
    Fixture fixture;

    fixture_init(&fixture);
    fixture.config.n_mounts = 1;
    fixture.config.mounts = mounts;
    fixture.input.mount_sources = &source;
    mount.container_path = (char *)"/v";
    mount.host_path = (char *)"/srv";
    mount.readonly = TRUE;
    for (guint i = 0; i < 2; i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *before = NULL;
        g_autofree char *after = NULL;

        source.node_readonly = i == 1;
        TEST_OK(oci_spec_build(&fixture.input, &before, &after, &error), error);
        CU_ASSERT_PTR_NOT_NULL(strstr(after, i == 0 ? "[\"rbind\",\"nodev\",\"rprivate\",\"ro\"]"
                                                    : "[\"rbind\",\"nodev\",\"rprivate\",\"rw\"]"));
    }
}

static void a_user_namespace_has_one_mapping_from_zero(void)
{
    Runtime__V1__UserNamespace user = RUNTIME__V1__USER_NAMESPACE__INIT;
    Runtime__V1__IDMapping first = RUNTIME__V1__IDMAPPING__INIT;
    Runtime__V1__IDMapping second = RUNTIME__V1__IDMAPPING__INIT;
    Runtime__V1__IDMapping *mappings[] = {&first, &second};
    g_autoptr(GError) error = NULL;

    TEST_OK(oci_userns_check(NULL, &error), error);
    user.mode = RUNTIME__V1__NAMESPACE_MODE__POD;
    user.uids = user.gids = mappings;
    user.n_uids = user.n_gids = 1;
    first.host_id = second.host_id = 1000;
    first.length = second.length = 65536;
    TEST_OK(oci_userns_check(&user, &error), error);
    user.n_uids = 2;
    TEST_FAILS(oci_userns_check(&user, &error), error, STATUS_INVALID_ARGUMENT, "one mapping");
    user.n_uids = 1;
    first.container_id = 1;
    TEST_FAILS(oci_userns_check(&user, &error), error, STATUS_INVALID_ARGUMENT, "id 0");
    first.container_id = 0;
    first.length = 0;
    TEST_FAILS(oci_userns_check(&user, &error), error, STATUS_INVALID_ARGUMENT, "out of range");
    user.mode = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
    TEST_FAILS(oci_userns_check(&user, &error), error, STATUS_INVALID_ARGUMENT, "mode");
    user.mode = RUNTIME__V1__NAMESPACE_MODE__TARGET;
    TEST_FAILS(oci_userns_check(&user, &error), error, STATUS_INVALID_ARGUMENT, "mode");
}

static void a_user_namespace_of_the_pod_maps_its_containers(void)
{
    Runtime__V1__UserNamespace user = RUNTIME__V1__USER_NAMESPACE__INIT;
    Runtime__V1__NamespaceOption options = RUNTIME__V1__NAMESPACE_OPTION__INIT;
    Runtime__V1__LinuxSandboxSecurityContext security;
    Runtime__V1__LinuxPodSandboxConfig linux = RUNTIME__V1__LINUX_POD_SANDBOX_CONFIG__INIT;
    Runtime__V1__IDMapping mapping = RUNTIME__V1__IDMAPPING__INIT;
    Runtime__V1__IDMapping *mappings[] = {&mapping};
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    runtime__v1__linux_sandbox_security_context__init(&security);
    mapping.host_id = 1000;
    mapping.length = 100000;
    user.mode = RUNTIME__V1__NAMESPACE_MODE__POD;
    user.uids = user.gids = mappings;
    user.n_uids = user.n_gids = 1;
    options.userns_options = &user;
    security.namespace_options = &options;
    linux.security_context = &security;
    fixture.pod.linux = &linux;
    TEST_OK(oci_spec_build(&fixture.input, &before, &after, &error), error);
    CU_ASSERT_PTR_NOT_NULL(strstr(after, "{\"type\":\"user\"}"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(after, "\"uidMappings\":[{\"containerID\":0,\"hostID\":1000,\"size\":100000}]"));
    fixture.security.privileged = TRUE;
    g_clear_pointer(&before, g_free);
    g_clear_pointer(&after, g_free);
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
               "privileged");
}

/* The names of the first rule of the filter, which is the table's. */
static gboolean filter_allows(Fixture *fixture, const char *name)
{
    static const char *const path[] = {"linux", "seccomp", "syscalls", NULL};
    static const char *const inner[] = {"names", NULL};
    yajl_val tree = build(fixture);
    yajl_val rules = yajl_tree_get(tree, (const char **)(void *)path, yajl_t_array);
    gboolean found = FALSE;

    for (size_t i = 0; YAJL_IS_ARRAY(rules) && i < rules->u.array.len; i++) {
        yajl_val names = yajl_tree_get(rules->u.array.values[i], (const char **)(void *)inner, yajl_t_array);

        for (size_t j = 0; j < names->u.array.len; j++)
            found = found || g_str_equal(YAJL_GET_STRING(names->u.array.values[j]), name);
    }
    yajl_tree_free(tree);
    return found;
}

static void the_default_filter_follows_the_capabilities(void)
{
    static char *admin[] = {(char *)"SYS_ADMIN"};
    Runtime__V1__Capability capability = RUNTIME__V1__CAPABILITY__INIT;
    Runtime__V1__SecurityProfile profile = RUNTIME__V1__SECURITY_PROFILE__INIT;
    Fixture fixture;

    fixture_init(&fixture);
    CU_ASSERT_FALSE(filter_allows(&fixture, "read")); /* no profile: no filter */
    fixture.security.seccomp = &profile;
    CU_ASSERT_TRUE(filter_allows(&fixture, "read"));
    CU_ASSERT_TRUE(filter_allows(&fixture, "chroot"));
    CU_ASSERT_FALSE(filter_allows(&fixture, "mount"));
    CU_ASSERT_FALSE(filter_allows(&fixture, "io_uring_setup"));
    CU_ASSERT_FALSE(filter_allows(&fixture, "keyctl"));
    capability.n_add_capabilities = 1;
    capability.add_capabilities = admin;
    fixture.security.capabilities = &capability;
    CU_ASSERT_TRUE(filter_allows(&fixture, "mount"));
    fixture.security.privileged = TRUE;
    CU_ASSERT_FALSE(filter_allows(&fixture, "read"));
    fixture.security.privileged = FALSE;
    profile.profile_type = RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Unconfined;
    CU_ASSERT_FALSE(filter_allows(&fixture, "read"));
}

static void a_profile_of_the_node_is_checked_and_copied(void)
{
    static const char *const bad[] = {
        "[]",
        "{}",
        "{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}",
        "{\"defaultAction\":\"SCMP_ACT_LOG\",\"syscalls\":[{\"names\":[],\"action\":\"SCMP_ACT_LOG\"}]}",
        "{\"defaultAction\":\"SCMP_ACT_LOG\",\"flags\":[\"a-b\"]}",
        "{\"defaultAction\":\"SCMP_ACT_LOG\",\"syscalls\":{}}",
        "{\"defaultAction\":\"SCMP_ACT_LOG\",\"defaultErrnoRet\":-1}",
        "nonsense",
    };
    Runtime__V1__SecurityProfile profile = RUNTIME__V1__SECURITY_PROFILE__INIT;
    Fixture fixture;

    fixture_init(&fixture);
    fixture.security.seccomp = &profile;
    profile.profile_type = RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
    profile.localhost_ref = (char *)"/etc/p.json";
    fixture.input.seccomp_profile =
        "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"listenerPath\":\"/x\",\"syscalls\":[{\"names\":[\"chmod\"],"
        "\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":1,\"args\":[{\"index\":0,\"value\":18446744073709551615,"
        "\"op\":\"SCMP_CMP_EQ\"}]}]}";
    CU_ASSERT_TRUE(filter_allows(&fixture, "chmod"));
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        char *before;
        char *after;

        fixture.input.seccomp_profile = bad[i];
        TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
                   "/etc/p.json");
    }
}

static void namespaces_of_the_node_are_refused_and_those_of_a_target_named(void)
{
    Runtime__V1__NamespaceOption options = RUNTIME__V1__NAMESPACE_OPTION__INIT;
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    fixture.security.namespace_options = &options;
    options.pid = RUNTIME__V1__NAMESPACE_MODE__NODE;
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
               "pid");
    options.pid = RUNTIME__V1__NAMESPACE_MODE__TARGET;
    options.target_id = (char *)"c0";
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
               "target_id");
    fixture.input.target_container_id = "c0";
    TEST_OK(oci_spec_build(&fixture.input, &before, &after, &error), error);
    CU_ASSERT_PTR_NOT_NULL(strstr(after, "/run/crivirt/c/c0/pidns"));
    options.pid = RUNTIME__V1__NAMESPACE_MODE__POD;
    options.ipc = RUNTIME__V1__NAMESPACE_MODE__NODE;
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
               "ipc");
}

static void resources_reach_the_control_group_or_are_refused(void)
{
    Runtime__V1__LinuxContainerResources resources = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    Runtime__V1__LinuxContainerResources__UnifiedEntry entry =
        RUNTIME__V1__LINUX_CONTAINER_RESOURCES__UNIFIED_ENTRY__INIT;
    Runtime__V1__LinuxContainerResources__UnifiedEntry *entries[] = {&entry};
    Runtime__V1__HugepageLimit huge = RUNTIME__V1__HUGEPAGE_LIMIT__INIT;
    Runtime__V1__HugepageLimit *limits[] = {&huge};
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    fixture.linux.resources = &resources;
    resources.cpu_shares = 512;
    resources.cpu_quota = 50000;
    resources.cpu_period = 100000;
    resources.cpuset_cpus = (char *)"0";
    resources.memory_limit_in_bytes = 64 << 20;
    resources.oom_score_adj = -2000;
    resources.n_unified = 1;
    resources.unified = entries;
    entry.key = (char *)"pids.max";
    entry.value = (char *)"100";
    resources.n_hugepage_limits = 1;
    resources.hugepage_limits = limits;
    huge.page_size = (char *)"2MB";
    huge.limit = 4 << 20;
    TEST_OK(oci_spec_build(&fixture.input, &before, &after, &error), error);
    CU_ASSERT_PTR_NOT_NULL(strstr(before, "\"oomScoreAdj\":-1000"));
    CU_ASSERT_PTR_NOT_NULL(strstr(after, "\"cpu\":{\"shares\":512,\"quota\":50000,\"period\":100000}"));
    CU_ASSERT_PTR_NOT_NULL(strstr(after, "\"memory\":{\"limit\":67108864}"));
    CU_ASSERT_PTR_NOT_NULL(strstr(after, "[{\"pageSize\":\"2MB\",\"limit\":4194304}]"));
    CU_ASSERT_PTR_NOT_NULL(strstr(after, "\"unified\":{\"pids.max\":\"100\"}"));
    entry.key = (char *)"../cgroup.procs";
    g_clear_pointer(&before, g_free);
    g_clear_pointer(&after, g_free);
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
               "unified");
    entry.key = (char *)"pids.max";
    resources.memory_swap_limit_in_bytes = 1 << 20;
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_INVALID_ARGUMENT,
               "swap");
}

static void limits_of_swap_hold_in_a_guest_without_being_set(void)
{
    static const char *const keys[] = {"memory.swap.max", "memory.swap.high", "memory.zswap.max"};
    Runtime__V1__LinuxContainerResources resources = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;
    Runtime__V1__LinuxContainerResources__UnifiedEntry entry =
        RUNTIME__V1__LINUX_CONTAINER_RESOURCES__UNIFIED_ENTRY__INIT;
    Runtime__V1__LinuxContainerResources__UnifiedEntry *entries[] = {&entry};
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    resources.cpuset_cpus = (char *)"0-1"; /* the node's, of which a guest knows nothing */
    resources.memory_limit_in_bytes = 64 << 20;
    resources.memory_swap_limit_in_bytes = 96 << 20;
    resources.n_unified = 1;
    resources.unified = entries;
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autofree char *in_guest = NULL;
        g_autofree char *on_node = NULL;
        g_autofree char *refused = NULL;

        entry.key = (char *)keys[i];
        entry.value = (char *)"0";
        TEST_OK(oci_spec_resources(&resources, TRUE, &in_guest, &error), error);
        CU_ASSERT_PTR_NULL(strstr(in_guest, "swap"));
        CU_ASSERT_PTR_NULL(strstr(in_guest, "0-1"));
        CU_ASSERT_PTR_NOT_NULL(strstr(in_guest, "\"memory\":{\"limit\":67108864}"));
        TEST_OK(oci_spec_resources(&resources, FALSE, &on_node, &error), error);
        CU_ASSERT_PTR_NOT_NULL(strstr(on_node, keys[i]));
        CU_ASSERT_PTR_NOT_NULL(strstr(on_node, "\"cpus\":\"0-1\""));
        CU_ASSERT_PTR_NOT_NULL(strstr(on_node, "\"swap\":100663296"));
        entry.value = (char *)"none";
        TEST_FAILS(oci_spec_resources(&resources, TRUE, &refused, &error), error, STATUS_INVALID_ARGUMENT,
                   keys[i]);
    }
    fixture_init(&fixture);
    fixture.linux.resources = &resources;
    entry.value = (char *)"max";
    TEST_OK(oci_spec_build(&fixture.input, &before, &after, &error), error);
    CU_ASSERT_PTR_NULL(strstr(after, "swap"));
}

static void missing_security_modules_are_refused(void)
{
    Runtime__V1__SecurityProfile profile = RUNTIME__V1__SECURITY_PROFILE__INIT;
    Runtime__V1__SELinuxOption selinux = RUNTIME__V1__SELINUX_OPTION__INIT;
    const OciNode node = {0};
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_init(&fixture);
    fixture.security.apparmor = &profile;
    fixture.security.selinux_options = &selinux;
    TEST_OK(oci_spec_build(&fixture.input, &before, &after, &error), error);
    selinux.level = (char *)"s0";
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_UNIMPLEMENTED,
               "SELinux");
    selinux.level = (char *)"";
    profile.profile_type = RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost;
    profile.localhost_ref = (char *)"strict";
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_UNIMPLEMENTED,
               "the guest's kernel has no AppArmor for profile strict");
    fixture.input.node = &node;
    TEST_FAILS(oci_spec_build(&fixture.input, &before, &after, &error), error, STATUS_UNIMPLEMENTED,
               "host pods have no AppArmor for profile strict");
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

static void ids_that_do_not_fit_are_named(void)
{
    static const gint64 bad[] = {-1, -5, G_GINT64_CONSTANT(4294967295), G_GINT64_CONSTANT(4294967296),
                                 G_MAXINT64};
    Runtime__V1__Int64Value uid = RUNTIME__V1__INT64_VALUE__INIT;
    Runtime__V1__Int64Value gid = RUNTIME__V1__INT64_VALUE__INIT;
    Crivirt__Agent__V1__User user;
    Fixture fixture;
    gint64 group;

    fixture_init(&fixture);
    fixture.security.run_as_user = &uid;
    fixture.security.run_as_group = &gid;
    fixture.security.supplemental_groups = &group;
    fixture.security.n_supplemental_groups = 1;
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *number = g_strdup_printf("%" G_GINT64_FORMAT " is out of range", bad[i]);
        gint64 *const ids[] = {&uid.value, &gid.value, &group};

        for (gsize j = 0; j < G_N_ELEMENTS(ids); j++) {
            g_autoptr(GError) error = NULL;

            uid.value = gid.value = group = 1;
            *ids[j] = bad[i];
            TEST_FAILS(oci_spec_user(&fixture.input, &user, &error), error, STATUS_INVALID_ARGUMENT, number);
        }
    }
    uid.value = gid.value = group = G_GINT64_CONSTANT(4294967294);
    {
        g_autoptr(GError) error = NULL;

        TEST_OK(oci_spec_user(&fixture.input, &user, &error), error);
    }
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
    fixture.config.stop_signal = RUNTIME__V1__SIGNAL__SIGNAL_SIGUSR1;
    TEST_OK(oci_spec_stop_signal(&fixture.input, &signal, &error), error);
    CU_ASSERT_EQUAL(signal, 10);
    fixture.config.stop_signal = RUNTIME__V1__SIGNAL__SIGNAL_RUNTIME_DEFAULT;
    fixture.image.stop_signal = (char *)"SIGFOO";
    TEST_FAILS(oci_spec_stop_signal(&fixture.input, &signal, &error), error, STATUS_INVALID_ARGUMENT,
               "SIGFOO");
}

int main(void)
{
    static const TestCase cases[] = {
        {"the two pieces and a user make one JSON document", the_user_fits_in},
        {"a handler gives limits of processes, and variables that the image's override",
         a_handler_gives_limits_and_variables},
        {"command and args replace entrypoint and cmd as Kubernetes says", commands_follow_kubernetes},
        {"the error about a missing command names the image", no_command_is_an_error},
        {"the container's environment overrides the image's", environment_is_overridden},
        {"capabilities: drop ALL and add one leaves one; privileged has all", capabilities_add_and_drop},
        {"the message names an unknown capability", unknown_capability_is_named},
        {"a mount inside another comes after it, and the message names a bad mount",
         mounts_nest_and_are_checked},
        {"flags of a mount that exclude each other are refused", mount_flags_exclude_each_other},
        {"a read-only volume is rw in the guest only where the node refuses writes itself",
         a_readonly_volume_is_writable_in_the_guest_only_where_the_node_refuses_writes},
        {"a user namespace has one mapping of each kind, from id 0",
         a_user_namespace_has_one_mapping_from_zero},
        {"the pod's user namespace maps its containers, privileged ones excepted",
         a_user_namespace_of_the_pod_maps_its_containers},
        {"the default seccomp filter follows the capabilities; privileged and unconfined have none",
         the_default_filter_follows_the_capabilities},
        {"a seccomp profile of the node is checked, and only known members are copied",
         a_profile_of_the_node_is_checked_and_copied},
        {"namespaces of the node are refused; a target's is named by its container",
         namespaces_of_the_node_are_refused_and_those_of_a_target_named},
        {"resources reach the control group or are refused",
         resources_reach_the_control_group_or_are_refused},
        {"limits of swap hold in a guest, which has none, and are set on the node",
         limits_of_swap_hold_in_a_guest_without_being_set},
        {"profiles of modules that the guest's kernel lacks are refused",
         missing_security_modules_are_refused},
        {"run_as_group without a user is refused", group_alone_is_refused},
        {"exactly the paths that the client lists are masked or read-only; none in a privileged container",
         hidden_paths_are_the_clients},
        {"the user is the security context's, else the image's", users_come_from_the_right_place},
        {"an id that does not fit is an error that names it", ids_that_do_not_fit_are_named},
        {"the stop signal is the CRI's, else the image's, else TERM", stop_signals_have_an_order},
    };

    return test_main("oci_spec", cases, G_N_ELEMENTS(cases));
}

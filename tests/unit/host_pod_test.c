/* SPDX-License-Identifier: Apache-2.0 */
/* Pods on the node itself: what they may request, and the configuration of their containers. */
#include <string.h>
#include <sys/stat.h>
#include <yajl/yajl_tree.h>

#include "common/error.h"
#include "sandbox/host/node_kernel.h"
#include "sandbox/oci/node_devices.h"
#include "sandbox/oci/oci_spec.h"
#include "sandbox/pod/host_agent.h"
#include "sandbox/pod/host_request.h"
#include "tests/unit/harness.h"

#define NODE RUNTIME__V1__NAMESPACE_MODE__NODE

/* ---- requests ---- */

typedef struct {
    Runtime__V1__PodSandboxConfig config;
    Runtime__V1__LinuxPodSandboxConfig linux;
    Runtime__V1__LinuxSandboxSecurityContext security;
    Runtime__V1__NamespaceOption namespaces;
    Runtime__V1__LinuxPodSandboxConfig__SysctlsEntry sysctl;
    Runtime__V1__LinuxPodSandboxConfig__SysctlsEntry *sysctls[1];
} PodFixture;

static void pod_init(PodFixture *pod, const char *sysctl)
{
    runtime__v1__pod_sandbox_config__init(&pod->config);
    runtime__v1__linux_pod_sandbox_config__init(&pod->linux);
    runtime__v1__linux_sandbox_security_context__init(&pod->security);
    runtime__v1__namespace_option__init(&pod->namespaces);
    runtime__v1__linux_pod_sandbox_config__sysctls_entry__init(&pod->sysctl);
    pod->config.linux = &pod->linux;
    pod->linux.security_context = &pod->security;
    pod->security.namespace_options = &pod->namespaces;
    pod->sysctl.key = (char *)sysctl;
    pod->sysctl.value = (char *)"1";
    pod->sysctls[0] = &pod->sysctl;
    pod->linux.sysctls = pod->sysctls;
    pod->linux.n_sysctls = sysctl != NULL;
}

static gboolean may_set(const char *sysctl, int network, int ipc)
{
    PodFixture pod;
    g_autoptr(GError) error = NULL;

    pod_init(&pod, sysctl);
    pod.namespaces.network = network;
    pod.namespaces.ipc = ipc;
    if (host_request_check(&pod.config, &error))
        return TRUE;
    CU_ASSERT_EQUAL(error->code, STATUS_INVALID_ARGUMENT);
    CU_ASSERT_PTR_NOT_NULL(strstr(error->message, sysctl));
    return FALSE;
}

static void guards_the_nodes_sysctls(void)
{
    CU_ASSERT_TRUE(may_set("net.ipv4.ip_forward", 0, 0));
    CU_ASSERT_FALSE(may_set("net.ipv4.ip_forward", NODE, 0));
    CU_ASSERT_TRUE(may_set("kernel.shmmax", NODE, 0));
    CU_ASSERT_TRUE(may_set("fs.mqueue.msg_max", NODE, 0));
    CU_ASSERT_FALSE(may_set("kernel.shmmax", 0, NODE));
    CU_ASSERT_FALSE(may_set("kernel.panic", 0, 0));
    CU_ASSERT_FALSE(may_set("vm.swappiness", 0, 0));
    CU_ASSERT_FALSE(may_set("network", 0, 0));
}

static void has_no_user_namespaces(void)
{
    PodFixture pod;
    Runtime__V1__UserNamespace user = RUNTIME__V1__USER_NAMESPACE__INIT;
    GError *error = NULL;

    pod_init(&pod, NULL);
    pod.namespaces.userns_options = &user;
    user.mode = RUNTIME__V1__NAMESPACE_MODE__POD;
    TEST_FAILS(host_request_check(&pod.config, &error), error, STATUS_INVALID_ARGUMENT, "userns_options");
    user.mode = RUNTIME__V1__NAMESPACE_MODE__NODE;
    TEST_OK(host_request_check(&pod.config, &error), error);
}

/* ---- devices ---- */

static const NodeDevice *find_device(const GArray *devices, const char *path)
{
    for (guint i = 0; i < devices->len; i++)
        if (g_str_equal(g_array_index(devices, NodeDevice, i).path, path))
            return &g_array_index(devices, NodeDevice, i);
    return NULL;
}

typedef struct {
    Runtime__V1__ContainerConfig config;
    Runtime__V1__LinuxContainerConfig linux;
    Runtime__V1__LinuxContainerSecurityContext security;
    Runtime__V1__Device device;
    Runtime__V1__Device *devices[1];
} ContainerFixture;

static void container_init(ContainerFixture *container, const char *host_path, const char *permissions)
{
    runtime__v1__container_config__init(&container->config);
    runtime__v1__linux_container_config__init(&container->linux);
    runtime__v1__linux_container_security_context__init(&container->security);
    runtime__v1__device__init(&container->device);
    container->config.linux = &container->linux;
    container->linux.security_context = &container->security;
    container->device.host_path = (char *)host_path;
    container->device.container_path = (char *)"/dev/it";
    container->device.permissions = (char *)permissions;
    container->devices[0] = &container->device;
    container->config.devices = container->devices;
    container->config.n_devices = host_path != NULL;
}

static void gives_the_nodes_devices(void)
{
    ContainerFixture container;
    g_autoptr(GArray) devices = NULL;
    g_autoptr(GError) error = NULL;

    container_init(&container, "/dev/zero", "r");
    TEST_OK(node_devices_collect(&container.config, &devices, &error), error);
    CU_ASSERT_EQUAL_FATAL(devices->len, 1);
    CU_ASSERT_STRING_EQUAL(find_device(devices, "/dev/it")->access, "r");
    CU_ASSERT_EQUAL(find_device(devices, "/dev/it")->type, 'c');
    CU_ASSERT_EQUAL(find_device(devices, "/dev/it")->major, 1);
    CU_ASSERT_EQUAL(find_device(devices, "/dev/it")->minor, 5);
}

static void gives_a_privileged_container_all_of_them(void)
{
    ContainerFixture container;
    g_autoptr(GArray) devices = NULL;
    g_autoptr(GError) error = NULL;

    container_init(&container, NULL, "");
    container.security.privileged = TRUE;
    TEST_OK(node_devices_collect(&container.config, &devices, &error), error);
    CU_ASSERT_PTR_NULL(find_device(devices, "/dev/null")); /* every container has its own */
    CU_ASSERT_PTR_NULL(find_device(devices, "/dev/ptmx"));
    for (guint i = 0; i < devices->len; i++) {
        struct stat status;
        const NodeDevice *device = &g_array_index(devices, NodeDevice, i);

        CU_ASSERT_FALSE(g_str_has_prefix(device->path, "/dev/pts/"));
        CU_ASSERT_TRUE(lstat(device->path, &status) != 0 || S_ISBLK(status.st_mode) ||
                       S_ISCHR(status.st_mode));
    }
}

static void refuses_what_is_no_device(void)
{
    ContainerFixture container;
    GArray *devices = NULL;
    GError *error = NULL;

    container_init(&container, "/nonexistent/device", "");
    TEST_FAILS(node_devices_collect(&container.config, &devices, &error), error, STATUS_NOT_FOUND,
               "/nonexistent/device");
    container_init(&container, "/proc/self/status", "");
    TEST_FAILS(node_devices_collect(&container.config, &devices, &error), error, STATUS_INVALID_ARGUMENT,
               "is not a device");
    container_init(&container, "/dev/zero", "x");
    TEST_FAILS(node_devices_collect(&container.config, &devices, &error), error, STATUS_INVALID_ARGUMENT,
               "r, w and m");
}

/* ---- crun's configuration ---- */

static char *no_strings[] = {NULL};

static yajl_val build(ContainerFixture *container, PodFixture *pod, const OciNode *node,
                      const OciMountSource *sources)
{
    static char *cmd[] = {(char *)"sh", NULL};
    Image image = {.id = (char *)"sha256:1",
                   .entrypoint = no_strings,
                   .cmd = cmd,
                   .environment = no_strings,
                   .volumes = no_strings};
    const OciSpecInput input = {.node = node,
                                .container_id = "c1",
                                .pod = &pod->config,
                                .config = &container->config,
                                .image = &image,
                                .mount_sources = sources,
                                .architecture = "x86_64"};
    g_autofree char *before = NULL;
    g_autofree char *after = NULL;
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    yajl_val tree;

    TEST_OK(oci_spec_build(&input, &before, &after, &error), error);
    text = g_strconcat(before, "{\"uid\":0,\"gid\":0}", after, NULL);
    tree = yajl_tree_parse(text, NULL, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tree);
    return tree;
}

static const char *text_at(yajl_val tree, const char *outer, const char *inner)
{
    const char *path[] = {outer, inner, NULL};
    yajl_val value = yajl_tree_get(tree, path, yajl_t_string);

    return value != NULL ? YAJL_GET_STRING(value) : "";
}

/* The types of linux.namespaces as "mount cgroup". */
static char *namespace_types(yajl_val tree)
{
    const char *path[] = {"linux", "namespaces", NULL};
    const char *type[] = {"type", NULL};
    yajl_val array = yajl_tree_get(tree, path, yajl_t_array);
    GString *text = g_string_new(NULL);

    for (size_t i = 0; YAJL_IS_ARRAY(array) && i < array->u.array.len; i++)
        g_string_append_printf(text, "%s%s", i > 0 ? " " : "",
                               YAJL_GET_STRING(yajl_tree_get(array->u.array.values[i], type, yajl_t_string)));
    return g_string_free(text, FALSE);
}

static void leaves_out_the_nodes_namespaces(void)
{
    ContainerFixture container;
    PodFixture pod;
    g_autoptr(GArray) devices = g_array_new(FALSE, FALSE, sizeof(NodeDevice));
    const OciNode node = {
        .cgroup = "/kubepods/pod1/crivirt-c1", .devices = devices, .least_oom_score_adj = -1000};
    Runtime__V1__NamespaceOption namespaces = RUNTIME__V1__NAMESPACE_OPTION__INIT;
    g_autofree char *own = NULL;
    g_autofree char *shared = NULL;
    yajl_val tree;

    container_init(&container, NULL, "");
    pod_init(&pod, NULL);
    container.security.namespace_options = &namespaces;
    namespaces.pid = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
    tree = build(&container, &pod, &node, NULL);
    own = namespace_types(tree);
    CU_ASSERT_STRING_EQUAL(own, "mount cgroup pid");
    CU_ASSERT_STRING_EQUAL(text_at(tree, "linux", "cgroupsPath"), "/kubepods/pod1/crivirt-c1");
    yajl_tree_free(tree);

    namespaces.pid = namespaces.ipc = namespaces.network = NODE;
    pod.namespaces.pid = pod.namespaces.ipc = pod.namespaces.network = NODE;
    tree = build(&container, &pod, &node, NULL);
    shared = namespace_types(tree);
    CU_ASSERT_STRING_EQUAL(shared, "mount cgroup");
    CU_ASSERT_STRING_EQUAL(text_at(tree, "linux", "rootfsPropagation"), "");
    yajl_tree_free(tree);
}

static const char *propagation_with(int propagation, char *ret_text, gsize room)
{
    ContainerFixture container;
    PodFixture pod;
    g_autoptr(GArray) devices = g_array_new(FALSE, FALSE, sizeof(NodeDevice));
    const OciNode node = {.cgroup = "/c", .devices = devices};
    const OciMountSource source = {.path = "/run/crivirt/share/c1/0"};
    Runtime__V1__Mount mount = RUNTIME__V1__MOUNT__INIT;
    Runtime__V1__Mount *mounts[] = {&mount};
    yajl_val tree;

    container_init(&container, NULL, "");
    pod_init(&pod, NULL);
    mount.container_path = (char *)"/v";
    mount.host_path = (char *)"/srv";
    mount.propagation = propagation;
    container.config.mounts = mounts;
    container.config.n_mounts = 1;
    tree = build(&container, &pod, &node, &source);
    g_strlcpy(ret_text, text_at(tree, "linux", "rootfsPropagation"), room);
    yajl_tree_free(tree);
    return ret_text;
}

static void lets_mounts_through(void)
{
    char text[32];

    CU_ASSERT_STRING_EQUAL(propagation_with(0, text, sizeof text), "");
    CU_ASSERT_STRING_EQUAL(
        propagation_with(RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER, text, sizeof text),
        "rslave");
    CU_ASSERT_STRING_EQUAL(
        propagation_with(RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL, text, sizeof text),
        "rshared");
}

/* ---- the agent's process ---- */

static void finds_no_agent_where_there_is_none(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *socket = g_build_filename(directory, "agent.sock", NULL);
    Deadline deadline = deadline_in_ms(1000);
    g_autoptr(GError) error = NULL;

    CU_ASSERT_EQUAL(host_agent_find(socket, NULL), 0);
    TEST_OK(host_agent_kill(socket, &deadline, &error), error);
}

static void says_why_an_agent_does_not_start(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *log = g_build_filename(directory, "log", NULL);
    HostAgentSpec spec = {
        .program = "/nonexistent/agent", .socket = "/s", .log = log, .upper_dir = "/u", .share_dir = "/v"};
    GError *error = NULL;
    pid_t pid;

    TEST_FAILS(host_agent_start(&spec, NULL, &pid, &error), error, STATUS_FAILED_PRECONDITION,
               "/nonexistent/agent");
    spec.program = "/bin/false";
    TEST_FAILS(host_agent_start(&spec, NULL, &pid, &error), error, STATUS_INTERNAL, "gave no reason");
    spec.program = "/bin/cat";
    TEST_FAILS(host_agent_start(&spec, NULL, &pid, &error), error, STATUS_INTERNAL, "--node");
}

static void names_what_the_kernel_lacks(void)
{
    GError *error = NULL;

    TEST_FAILS(node_kernel_check("no-such-fs", NODE_KERNEL_LOOP, &error), error, STATUS_FAILED_PRECONDITION,
               "no-such-fs");
    TEST_FAILS(node_kernel_check("proc", "/nonexistent/loop", &error), error, STATUS_FAILED_PRECONDITION,
               "/nonexistent/loop: No such file");
    TEST_FAILS(node_kernel_check("proc", "/dev/null", &error), error, STATUS_FAILED_PRECONDITION,
               "/dev/null: not the control device of loop devices");
}

int main(void)
{
    static const TestCase cases[] = {
        {"sysctls of the node are refused, those of the pod's own namespaces are not",
         guards_the_nodes_sysctls},
        {"a host pod has no user namespace", has_no_user_namespaces},
        {"a container gets the device of the node that it requests", gives_the_nodes_devices},
        {"a privileged container gets all devices of the node except those that it has of its own",
         gives_a_privileged_container_all_of_them},
        {"a path that is not a device is refused by name", refuses_what_is_no_device},
        {"no namespace is created where the pod uses the node's", leaves_out_the_nodes_namespaces},
        {"a volume's propagation reaches the container's root", lets_mounts_through},
        {"no agent is found where no process listens", finds_no_agent_where_there_is_none},
        {"an agent that does not start is reported with its own error", says_why_an_agent_does_not_start},
        {"a kernel without EROFS or loop devices is reported with what it lacks",
         names_what_the_kernel_lacks},
    };

    return test_main("host_pod", cases, G_N_ELEMENTS(cases));
}

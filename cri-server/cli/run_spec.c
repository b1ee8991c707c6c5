/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/run_spec.h"

#include <gio/gio.h>
#include <string.h>

#include "common/fileio.h"
#include "cri-server/cli/cli.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/lifecycle.h"
#include "cri-server/cli/values.h"

const OptionSpec run_options[] = {
    {"detach", 'd', OPTION_FLAG, NULL, "print the container's id and leave it running"},
    {"rm", 0, OPTION_FLAG, NULL, "remove the pod when the container ends"},
    {"name", 0, OPTION_VALUE, "NAME", "name of the pod and its container (default: random)"},
    {"env", 'e', OPTION_LIST, "NAME[=VALUE]", "set a variable; without a value, pass crivirt's own"},
    {"env-file", 0, OPTION_LIST, "FILE", "read variables from a file, one per line"},
    {"volume", 'v', OPTION_LIST, "SRC:DST[:ro]", "mount a file or directory of the node in the container"},
    {"publish", 'p', OPTION_LIST, "[IP:]HOST:CONT[/udp]", "forward a port of the node to the pod"},
    {"memory", 'm', OPTION_VALUE, "SIZE", "memory limit, for example 256m (also sizes the VM)"},
    {"cpus", 0, OPTION_VALUE, "N", "CPU limit, for example 1.5 (also sizes the VM)"},
    {"workdir", 'w', OPTION_VALUE, "DIR", "working directory"},
    {"user", 'u', OPTION_VALUE, "UID[:GID]", "user (a number, or a name without a group)"},
    {"entrypoint", 0, OPTION_VALUE, "PROGRAM", "run this instead of the image's entry point"},
    {"hostname", 0, OPTION_VALUE, "NAME", "the pod's host name (default: its name)"},
    {"label", 'l', OPTION_LIST, "KEY=VALUE", "label the pod and the container"},
    {"pull", 0, OPTION_VALUE, "always|missing|never", "when to pull the image (default missing)"},
    {"read-only", 0, OPTION_FLAG, NULL, "make the root file system read-only"},
    {"privileged", 0, OPTION_FLAG, NULL, "all capabilities and devices of the VM"},
    {"network", 0, OPTION_VALUE, "NAME", "only \"default\": the node's CNI network"},
    {"dns", 0, OPTION_LIST, "IP", "name server (default: the node's)"},
    {"runtime", 0, OPTION_VALUE, "HANDLER", "runtime handler (default: the daemon's default)"},
    {"interactive", 'i', OPTION_FLAG, NULL, "pass standard input to the program"},
    {"tty", 't', OPTION_FLAG, NULL, "give the program a terminal"},
    {"authfile", 0, OPTION_VALUE, "FILE", "credentials of crivirt login (default: see pull)"},
    {"restart", 0, OPTION_VALUE, "no", "only \"no\": a restart policy needs the kubelet or systemd"},
    {NULL},
};

/* The paths that the kubelet masks in containers that are not privileged. */
static const char *const masked_paths[] = {
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    NULL,
};
static const char *const readonly_paths[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL,
};

typedef struct {
    const Options *options;
    const RunIdentity *identity;
    Arena *arena;
    Runtime__V1__PodSandboxConfig *pod;
    Runtime__V1__ContainerConfig *container;
} Builder;

static char **copy_strings(Arena *arena, const char *const *strings, size_t *ret_count)
{
    size_t count = g_strv_length((char **)(void *)strings);
    char **copy = arena_new0(arena, char *, count + 1);

    for (size_t i = 0; i < count; i++)
        copy[i] = arena_strdup(arena, strings[i]);
    *ret_count = count;
    return copy;
}

/* --- resources and security ---------------------------------------------------------------------------- */

static gboolean set_resources(Builder *builder, GError **error)
{
    Runtime__V1__LinuxContainerResources *resources =
        MESSAGE_NEW(builder->arena, Runtime__V1__LinuxContainerResources,
                    runtime__v1__linux_container_resources__descriptor);
    const char *memory = options_value(builder->options, "memory", NULL);
    const char *cpus = options_value(builder->options, "cpus", NULL);

    if (memory != NULL && !value_parse_size(memory, &resources->memory_limit_in_bytes, error))
        return usage_blame(error, "memory");
    if (cpus != NULL) {
        if (!value_parse_cpus(cpus, &resources->cpu_quota, error))
            return usage_blame(error, "cpus");
        resources->cpu_period = VALUE_CPU_PERIOD_US;
    }
    builder->pod->linux->resources = resources;
    builder->container->linux->resources = resources;
    return TRUE;
}

static Runtime__V1__Int64Value *int64_value(Arena *arena, gint64 number)
{
    Runtime__V1__Int64Value *value =
        MESSAGE_NEW(arena, Runtime__V1__Int64Value, runtime__v1__int64_value__descriptor);

    value->value = number;
    return value;
}

static gboolean set_user(Builder *builder, Runtime__V1__LinuxContainerSecurityContext *security,
                         GError **error)
{
    const char *user = options_value(builder->options, "user", NULL);
    g_autofree char *name = NULL;
    gint64 uid = -1;
    gint64 gid = -1;

    if (user == NULL)
        return TRUE;
    if (!value_parse_user(user, &uid, &gid, &name, error))
        return usage_blame(error, "user");
    if (name != NULL)
        security->run_as_username = arena_strdup(builder->arena, name);
    else
        security->run_as_user = int64_value(builder->arena, uid);
    if (gid >= 0)
        security->run_as_group = int64_value(builder->arena, gid);
    return TRUE;
}

static gboolean set_security(Builder *builder, GError **error)
{
    Arena *arena = builder->arena;
    gboolean privileged = options_flag(builder->options, "privileged");
    Runtime__V1__NamespaceOption *namespaces =
        MESSAGE_NEW(arena, Runtime__V1__NamespaceOption, runtime__v1__namespace_option__descriptor);
    Runtime__V1__LinuxSandboxSecurityContext *pod =
        MESSAGE_NEW(arena, Runtime__V1__LinuxSandboxSecurityContext,
                    runtime__v1__linux_sandbox_security_context__descriptor);
    Runtime__V1__LinuxContainerSecurityContext *container =
        MESSAGE_NEW(arena, Runtime__V1__LinuxContainerSecurityContext,
                    runtime__v1__linux_container_security_context__descriptor);

    namespaces->pid = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
    pod->namespace_options = namespaces;
    pod->privileged = privileged;
    container->namespace_options = namespaces;
    container->privileged = privileged;
    container->readonly_rootfs = options_flag(builder->options, "read-only");
    if (!privileged) {
        container->masked_paths = copy_strings(arena, masked_paths, &container->n_masked_paths);
        container->readonly_paths = copy_strings(arena, readonly_paths, &container->n_readonly_paths);
    }
    builder->pod->linux->security_context = pod;
    builder->container->linux->security_context = container;
    return set_user(builder, container, error);
}

/* --- environment --------------------------------------------------------------------------------------- */

/* A later setting of a name replaces an earlier one. */
static void put_env(GPtrArray *envs, Arena *arena, const char *name, const char *value)
{
    Runtime__V1__KeyValue *entry = NULL;

    for (guint i = 0; i < envs->len && entry == NULL; i++) {
        Runtime__V1__KeyValue *old = g_ptr_array_index(envs, i);

        if (strcmp(old->key, name) == 0)
            entry = old;
    }
    if (entry == NULL) {
        entry = MESSAGE_NEW(arena, Runtime__V1__KeyValue, runtime__v1__key_value__descriptor);
        entry->key = arena_strdup(arena, name);
        g_ptr_array_add(envs, entry);
    }
    entry->value.len = strlen(value);
    entry->value.data = (uint8_t *)arena_strdup(arena, value);
}

static gboolean add_env(GPtrArray *envs, Arena *arena, const char *text, GError **error)
{
    g_autofree char *name = NULL;
    g_autofree char *value = NULL;

    if (!value_parse_env(text, &name, &value, error))
        return FALSE;
    if (name != NULL)
        put_env(envs, arena, name, value);
    return TRUE;
}

static gboolean add_env_file(GPtrArray *envs, Arena *arena, const char *path, GError **error)
{
    enum { MAX_FILE_BYTES = 1024 * 1024 };
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!file_read(path, MAX_FILE_BYTES, &text, NULL, error))
        return FALSE;
    lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i] != NULL; i++) {
        const char *line = g_strchug(lines[i]);

        g_strdelimit(lines[i], "\r", '\0');
        if (*line != '\0' && *line != '#' && !add_env(envs, arena, line, error)) {
            g_prefix_error(error, "%s:%u: ", path, i + 1);
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean set_environment(Builder *builder, GError **error)
{
    g_autoptr(GPtrArray) envs = g_ptr_array_new();
    const char *const *files = options_list(builder->options, "env-file");
    const char *const *words = options_list(builder->options, "env");

    for (; *files != NULL; files++)
        if (!add_env_file(envs, builder->arena, *files, error))
            return usage_blame(error, "env-file");
    for (; *words != NULL; words++)
        if (!add_env(envs, builder->arena, *words, error))
            return usage_blame(error, "env");
    builder->container->n_envs = envs->len;
    builder->container->envs = arena_new0(builder->arena, Runtime__V1__KeyValue *, envs->len + 1);
    for (guint i = 0; i < envs->len; i++)
        builder->container->envs[i] = g_ptr_array_index(envs, i);
    return TRUE;
}

/* --- volumes and ports --------------------------------------------------------------------------------- */

static gboolean set_mounts(Builder *builder, GError **error)
{
    const char *const *volumes = options_list(builder->options, "volume");
    guint count = g_strv_length((char **)(void *)volumes);

    builder->container->mounts = arena_new0(builder->arena, Runtime__V1__Mount *, count + 1);
    for (guint i = 0; i < count; i++) {
        g_auto(VolumeValue) volume = {0};
        Runtime__V1__Mount *mount =
            MESSAGE_NEW(builder->arena, Runtime__V1__Mount, runtime__v1__mount__descriptor);

        if (!value_parse_volume(volumes[i], builder->identity->directory, &volume, error))
            return usage_blame(error, "volume");
        mount->host_path = arena_strdup(builder->arena, volume.source);
        mount->container_path = arena_strdup(builder->arena, volume.target);
        mount->readonly = volume.readonly;
        builder->container->mounts[builder->container->n_mounts++] = mount;
    }
    return TRUE;
}

static Runtime__V1__PortMapping *port_mapping(Arena *arena, const PortValue *port)
{
    static const Runtime__V1__Protocol protocols[] = {[PORT_TCP] = RUNTIME__V1__PROTOCOL__TCP,
                                                      [PORT_UDP] = RUNTIME__V1__PROTOCOL__UDP,
                                                      [PORT_SCTP] = RUNTIME__V1__PROTOCOL__SCTP};
    Runtime__V1__PortMapping *mapping =
        MESSAGE_NEW(arena, Runtime__V1__PortMapping, runtime__v1__port_mapping__descriptor);

    mapping->protocol = protocols[port->protocol];
    mapping->container_port = port->container_port;
    mapping->host_port = port->host_port;
    mapping->host_ip = arena_strdup(arena, port->host_ip);
    return mapping;
}

static gboolean set_ports(Builder *builder, GError **error)
{
    g_autoptr(GPtrArray) ports = g_ptr_array_new_with_free_func((GDestroyNotify)port_value_free);
    const char *const *words = options_list(builder->options, "publish");

    for (; *words != NULL; words++)
        if (!value_parse_ports(*words, ports, error))
            return usage_blame(error, "publish");
    builder->pod->n_port_mappings = ports->len;
    builder->pod->port_mappings = arena_new0(builder->arena, Runtime__V1__PortMapping *, ports->len + 1);
    for (guint i = 0; i < ports->len; i++)
        builder->pod->port_mappings[i] = port_mapping(builder->arena, g_ptr_array_index(ports, i));
    return TRUE;
}

static gboolean set_network(Builder *builder, GError **error)
{
    const char *network = options_value(builder->options, "network", "default");
    const char *const *servers = options_list(builder->options, "dns");

    if (strcmp(network, "default") != 0)
        return usage_fail(error,
                          "invalid value for --network: \"%s\"; there is only \"default\", the node's CNI "
                          "network",
                          network);
    if (*servers == NULL)
        return TRUE;
    for (const char *const *server = servers; *server != NULL; server++)
        if (!g_hostname_is_ip_address(*server))
            return usage_fail(error, "invalid value for --dns: \"%s\" is not an IP address", *server);
    builder->pod->dns_config =
        MESSAGE_NEW(builder->arena, Runtime__V1__DNSConfig, runtime__v1__dnsconfig__descriptor);
    builder->pod->dns_config->servers =
        copy_strings(builder->arena, servers, &builder->pod->dns_config->n_servers);
    return TRUE;
}

/* --- names and labels ---------------------------------------------------------------------------------- */

static void add_label(Builder *builder, const char *key, const char *value)
{
    Runtime__V1__PodSandboxConfig__LabelsEntry *pod =
        MESSAGE_NEW(builder->arena, Runtime__V1__PodSandboxConfig__LabelsEntry,
                    runtime__v1__pod_sandbox_config__labels_entry__descriptor);
    Runtime__V1__ContainerConfig__LabelsEntry *container =
        MESSAGE_NEW(builder->arena, Runtime__V1__ContainerConfig__LabelsEntry,
                    runtime__v1__container_config__labels_entry__descriptor);

    pod->key = container->key = arena_strdup(builder->arena, key);
    pod->value = container->value = arena_strdup(builder->arena, value);
    builder->pod->labels[builder->pod->n_labels++] = pod;
    builder->container->labels[builder->container->n_labels++] = container;
}

static gboolean set_labels(Builder *builder, GError **error)
{
    const char *const *labels = options_list(builder->options, "label");
    guint count = g_strv_length((char **)(void *)labels);

    builder->pod->labels =
        arena_new0(builder->arena, Runtime__V1__PodSandboxConfig__LabelsEntry *, count + 1);
    builder->container->labels =
        arena_new0(builder->arena, Runtime__V1__ContainerConfig__LabelsEntry *, count + 1);
    for (guint i = 0; i < count; i++) {
        g_autofree char *key = NULL;
        g_autofree char *value = NULL;

        if (!value_parse_label(labels[i], &key, &value, error))
            return usage_blame(error, "label");
        if (strcmp(key, RUN_LABEL) == 0)
            return usage_fail(error, "invalid value for --label: %s is crivirt's own", key);
        add_label(builder, key, value);
    }
    add_label(builder, RUN_LABEL, RUN_LABEL_VALUE);
    return TRUE;
}

static void annotate(Builder *builder, const char *key, const char *value)
{
    Runtime__V1__PodSandboxConfig__AnnotationsEntry *annotation =
        MESSAGE_NEW(builder->arena, Runtime__V1__PodSandboxConfig__AnnotationsEntry,
                    runtime__v1__pod_sandbox_config__annotations_entry__descriptor);

    annotation->key = (char *)key;
    annotation->value = (char *)value;
    builder->pod->annotations[builder->pod->n_annotations++] = annotation;
}

static void set_log(Builder *builder)
{
    const RunIdentity *identity = builder->identity;
    g_autofree char *directory =
        pod_log_directory_name(identity->log_root, RUN_NAMESPACE, identity->name, identity->uid);
    builder->pod->log_directory = arena_strdup(builder->arena, directory);
    builder->container->log_path = arena_printf(builder->arena, "%s/0.log", identity->name);
    builder->pod->annotations =
        arena_new0(builder->arena, Runtime__V1__PodSandboxConfig__AnnotationsEntry *, 2);
    annotate(builder, LOG_ANNOTATION, builder->pod->log_directory);
    if (identity->is_watched)
        annotate(builder, WATCHED_ANNOTATION, "true");
}

/* A host name cannot contain "_", which a name may. */
static void set_hostname(Builder *builder)
{
    builder->pod->hostname =
        arena_strdup(builder->arena, options_value(builder->options, "hostname", builder->identity->name));
    if (options_value(builder->options, "hostname", NULL) == NULL)
        g_strdelimit(builder->pod->hostname, "_.", '-');
}

static void set_identity(Builder *builder)
{
    Runtime__V1__PodSandboxMetadata *pod = MESSAGE_NEW(builder->arena, Runtime__V1__PodSandboxMetadata,
                                                       runtime__v1__pod_sandbox_metadata__descriptor);
    Runtime__V1__ContainerMetadata *container = MESSAGE_NEW(builder->arena, Runtime__V1__ContainerMetadata,
                                                            runtime__v1__container_metadata__descriptor);

    pod->name = container->name = arena_strdup(builder->arena, builder->identity->name);
    pod->uid = arena_strdup(builder->arena, builder->identity->uid);
    pod->namespace_ = (char *)RUN_NAMESPACE;
    builder->pod->metadata = pod;
    builder->container->metadata = container;
}

/* Words after the image replace the image's command; its entry point stays unless --entrypoint is given. */
static void set_command(Builder *builder)
{
    const char *const *operands = options_operands(builder->options);
    const char *entrypoint[] = {options_value(builder->options, "entrypoint", NULL), NULL};
    Runtime__V1__ContainerConfig *container = builder->container;

    container->image =
        MESSAGE_NEW(builder->arena, Runtime__V1__ImageSpec, runtime__v1__image_spec__descriptor);
    container->image->image = arena_strdup(builder->arena, operands[0]);
    container->image->user_specified_image = container->image->image;
    container->command = copy_strings(builder->arena, entrypoint, &container->n_command);
    container->args = copy_strings(builder->arena, operands + 1, &container->n_args);
    container->working_dir = arena_strdup(builder->arena, options_value(builder->options, "workdir", ""));
}

static gboolean check_possible(const Options *options, GError **error)
{
    if (options_flag(options, "tty") && !options_flag(options, "detach") &&
        !options_flag(options, "interactive"))
        return usage_fail(error, "-t (--tty) needs -i (--interactive), or -d (--detach)");
    return TRUE;
}

gboolean run_spec_build(const Options *options, const RunIdentity *identity, Arena *arena, RunSpec *ret_spec,
                        GError **error)
{
    Builder builder = {.options = options, .identity = identity, .arena = arena};

    if (!check_possible(options, error))
        return FALSE;
    if (!value_check_name(identity->name, error))
        return usage_blame(error, "name");
    builder.pod =
        MESSAGE_NEW(arena, Runtime__V1__PodSandboxConfig, runtime__v1__pod_sandbox_config__descriptor);
    builder.pod->linux = MESSAGE_NEW(arena, Runtime__V1__LinuxPodSandboxConfig,
                                     runtime__v1__linux_pod_sandbox_config__descriptor);
    builder.container =
        MESSAGE_NEW(arena, Runtime__V1__ContainerConfig, runtime__v1__container_config__descriptor);
    builder.container->linux = MESSAGE_NEW(arena, Runtime__V1__LinuxContainerConfig,
                                           runtime__v1__linux_container_config__descriptor);
    set_identity(&builder);
    set_hostname(&builder);
    set_log(&builder);
    set_command(&builder);
    builder.container->stdin = options_flag(options, "interactive");
    builder.container->tty = options_flag(options, "tty");
    /* A container in the foreground gets crivirt's input; without a terminal, the end of crivirt's input ends
     * the container's. */
    builder.container->stdin_once = builder.container->stdin && !builder.container->tty;
    if (!set_labels(&builder, error) || !set_resources(&builder, error) || !set_security(&builder, error) ||
        !set_environment(&builder, error) || !set_mounts(&builder, error) || !set_ports(&builder, error) ||
        !set_network(&builder, error))
        return FALSE;
    *ret_spec = (RunSpec){builder.pod, builder.container};
    return TRUE;
}

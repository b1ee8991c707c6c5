#include "sandbox/oci_spec.h"

#include <string.h>
#include <yajl/yajl_gen.h>

#include "common/error.h"
#include "sandbox/signals.h"

typedef Runtime__V1__ContainerConfig ContainerConfig;
typedef Runtime__V1__LinuxContainerSecurityContext SecurityContext;
typedef Runtime__V1__LinuxContainerResources Resources;

static const char *const all_capabilities[] = {
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
};

/* What runtimes give a container that asks for nothing. */
static const char *const default_capabilities[] = {
    "CHOWN",  "DAC_OVERRIDE", "FSETID",  "FOWNER",           "MKNOD",      "NET_RAW", "SETGID",
    "SETUID", "SETFCAP",      "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL",    "AUDIT_WRITE",
};

static const char *const default_masked_paths[] = {
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
};
static const char *const default_readonly_paths[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

/* Default absent message: every getter below works on it. */
static const SecurityContext no_security = RUNTIME__V1__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
static const Resources no_resources = RUNTIME__V1__LINUX_CONTAINER_RESOURCES__INIT;

static const SecurityContext *security_of(const OciSpecInput *input)
{
    const Runtime__V1__LinuxContainerConfig *container = input->config->linux;

    return container != NULL && container->security_context != NULL ? container->security_context
                                                                    : &no_security;
}

static const Resources *resources_of(const OciSpecInput *input)
{
    const Runtime__V1__LinuxContainerConfig *container = input->config->linux;

    return container != NULL && container->resources != NULL ? container->resources : &no_resources;
}

/* ---- JSON ---- */

static void put_string(yajl_gen json, const char *text)
{
    yajl_gen_string(json, (const unsigned char *)text, strlen(text));
}

static void put_pair(yajl_gen json, const char *key, const char *text)
{
    put_string(json, key);
    put_string(json, text);
}

static void put_int(yajl_gen json, const char *key, gint64 number)
{
    put_string(json, key);
    yajl_gen_integer(json, number);
}

static void put_bool(yajl_gen json, const char *key, gboolean value)
{
    put_string(json, key);
    yajl_gen_bool(json, value);
}

static void put_strings(yajl_gen json, const char *key, const char *const *strings, gsize count)
{
    put_string(json, key);
    yajl_gen_array_open(json);
    for (gsize i = 0; i < count; i++)
        put_string(json, strings[i]);
    yajl_gen_array_close(json);
}

static void put_map(yajl_gen json, const char *key)
{
    put_string(json, key);
    yajl_gen_map_open(json);
}

static void put_array(yajl_gen json, const char *key)
{
    put_string(json, key);
    yajl_gen_array_open(json);
}

/* ---- process ---- */

/* Kubernetes: a command replaces entrypoint and cmd of the image, args alone replace its cmd. */
static gboolean put_args(yajl_gen json, const OciSpecInput *input, GError **error)
{
    const ContainerConfig *config = input->config;
    g_autoptr(GPtrArray) args = g_ptr_array_new();

    if (config->n_command > 0)
        for (size_t i = 0; i < config->n_command; i++)
            g_ptr_array_add(args, config->command[i]);
    else
        for (char **arg = input->image->entrypoint; *arg != NULL; arg++)
            g_ptr_array_add(args, *arg);
    for (size_t i = 0; i < config->n_args; i++)
        g_ptr_array_add(args, config->args[i]);
    if (config->n_command == 0 && config->n_args == 0)
        for (char **arg = input->image->cmd; *arg != NULL; arg++)
            g_ptr_array_add(args, *arg);
    if (args->len == 0)
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "no command: config.command and config.args are empty, and image %s has neither entrypoint nor "
            "cmd",
            input->image->id);
    put_strings(json, "args", (const char *const *)args->pdata, args->len);
    return TRUE;
}

static void environment_set(GPtrArray *environment, const char *entry)
{
    gsize name_length = strcspn(entry, "=") + 1;

    for (guint i = 0; i < environment->len; i++)
        if (strncmp(g_ptr_array_index(environment, i), entry, name_length) == 0) {
            g_free(environment->pdata[i]);
            environment->pdata[i] = g_strdup(entry);
            return;
        }
    g_ptr_array_add(environment, g_strdup(entry));
}

static gboolean put_environment(yajl_gen json, const OciSpecInput *input, GError **error)
{
    const ContainerConfig *config = input->config;
    g_autoptr(GPtrArray) environment = g_ptr_array_new_with_free_func(g_free);

    environment_set(environment, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    if (input->pod->hostname != NULL && *input->pod->hostname != '\0') {
        g_autofree char *hostname = g_strdup_printf("HOSTNAME=%s", input->pod->hostname);

        environment_set(environment, hostname);
    }
    if (config->tty)
        environment_set(environment, "TERM=xterm");
    for (char **entry = input->image->environment; *entry != NULL; entry++)
        environment_set(environment, *entry);
    for (size_t i = 0; i < config->n_envs; i++) {
        const Runtime__V1__KeyValue *pair = config->envs[i];
        g_autofree char *value = g_strndup((const char *)pair->value.data, pair->value.len);
        g_autofree char *entry = g_strdup_printf("%s=%s", pair->key, value);

        if (*pair->key == '\0' || strchr(pair->key, '=') != NULL)
            return fail(error, STATUS_INVALID_ARGUMENT, "config.envs: \"%s\" is no variable name", pair->key);
        if (strlen(value) != pair->value.len)
            return fail(error, STATUS_INVALID_ARGUMENT, "config.envs: the value of %s has a NUL byte",
                        pair->key);
        environment_set(environment, entry);
    }
    put_strings(json, "env", (const char *const *)environment->pdata, environment->len);
    return TRUE;
}

/* "CAP_CHOWN", "chown" → "CHOWN"; NULL for what is no capability. */
static const char *capability_name(const char *name)
{
    if (g_ascii_strncasecmp(name, "CAP_", 4) == 0)
        name += 4;
    for (gsize i = 0; i < G_N_ELEMENTS(all_capabilities); i++)
        if (g_ascii_strcasecmp(all_capabilities[i], name) == 0)
            return all_capabilities[i];
    return NULL;
}

static void set_add(GPtrArray *set, const char *name)
{
    if (!g_ptr_array_find(set, name, NULL))
        g_ptr_array_add(set, (gpointer)name);
}

static void set_add_all(GPtrArray *set)
{
    for (gsize i = 0; i < G_N_ELEMENTS(all_capabilities); i++)
        set_add(set, all_capabilities[i]);
}

/* names are interned entries of all_capabilities, so that pointers can be compared. */
static gboolean capabilities_apply(GPtrArray *set, char **names, size_t n_names, gboolean add, GError **error)
{
    for (size_t i = 0; i < n_names; i++) {
        const char *name = capability_name(names[i]);

        if (g_ascii_strcasecmp(names[i], "ALL") == 0) {
            if (add)
                set_add_all(set);
            else
                g_ptr_array_set_size(set, 0);
        } else if (name == NULL) {
            return fail(error, STATUS_INVALID_ARGUMENT,
                        "linux.security_context.capabilities: unknown capability \"%s\"", names[i]);
        } else if (add) {
            set_add(set, name);
        } else {
            g_ptr_array_remove(set, (gpointer)name);
        }
    }
    return TRUE;
}

static gboolean has_all(char **names, size_t n_names)
{
    for (size_t i = 0; i < n_names; i++)
        if (g_ascii_strcasecmp(names[i], "ALL") == 0)
            return TRUE;
    return FALSE;
}

static gboolean capabilities_collect(const SecurityContext *security, GPtrArray *set, GPtrArray *ambient,
                                     GError **error)
{
    static const Runtime__V1__Capability none = RUNTIME__V1__CAPABILITY__INIT;
    const Runtime__V1__Capability *wanted = security->capabilities != NULL ? security->capabilities : &none;

    for (gsize i = 0; i < G_N_ELEMENTS(default_capabilities); i++)
        set_add(set, capability_name(default_capabilities[i]));
    if (security->privileged) {
        set_add_all(set);
        return TRUE;
    }
    /* ALL is applied first, so that "drop ALL, add X" and "add ALL, drop X" mean what they say in either
     * order. */
    if (has_all(wanted->add_capabilities, wanted->n_add_capabilities))
        set_add_all(set);
    if (has_all(wanted->drop_capabilities, wanted->n_drop_capabilities))
        g_ptr_array_set_size(set, 0);
    for (size_t i = 0; i < wanted->n_add_capabilities; i++)
        if (g_ascii_strcasecmp(wanted->add_capabilities[i], "ALL") != 0 &&
            !capabilities_apply(set, &wanted->add_capabilities[i], 1, TRUE, error))
            return FALSE;
    for (size_t i = 0; i < wanted->n_drop_capabilities; i++)
        if (g_ascii_strcasecmp(wanted->drop_capabilities[i], "ALL") != 0 &&
            !capabilities_apply(set, &wanted->drop_capabilities[i], 1, FALSE, error))
            return FALSE;
    /* An ambient capability has to be permitted and inheritable too. */
    return capabilities_apply(ambient, wanted->add_ambient_capabilities, wanted->n_add_ambient_capabilities,
                              TRUE, error) &&
           capabilities_apply(set, wanted->add_ambient_capabilities, wanted->n_add_ambient_capabilities, TRUE,
                              error);
}

static void put_capability_set(yajl_gen json, const char *key, const GPtrArray *set)
{
    put_array(json, key);
    for (guint i = 0; i < set->len; i++) {
        g_autofree char *name = g_strconcat("CAP_", (const char *)set->pdata[i], NULL);

        put_string(json, name);
    }
    yajl_gen_array_close(json);
}

static gboolean put_capabilities(yajl_gen json, const SecurityContext *security, GError **error)
{
    g_autoptr(GPtrArray) set = g_ptr_array_new();
    g_autoptr(GPtrArray) ambient = g_ptr_array_new();

    if (!capabilities_collect(security, set, ambient, error))
        return FALSE;
    put_map(json, "capabilities");
    put_capability_set(json, "bounding", set);
    put_capability_set(json, "effective", set);
    put_capability_set(json, "permitted", set);
    put_capability_set(json, "inheritable", ambient);
    put_capability_set(json, "ambient", ambient);
    yajl_gen_map_close(json);
    return TRUE;
}

/* Everything but the user, whose key comes last. */
static gboolean put_process(yajl_gen json, const OciSpecInput *input, gsize *ret_user_offset, GError **error)
{
    const SecurityContext *security = security_of(input);
    const char *directory =
        *input->config->working_dir != '\0' ? input->config->working_dir : input->image->working_dir;
    const unsigned char *text;
    size_t length;

    put_map(json, "process");
    put_bool(json, "terminal", input->config->tty);
    put_pair(json, "cwd", directory != NULL && *directory != '\0' ? directory : "/");
    put_bool(json, "noNewPrivileges", security->no_new_privs);
    put_int(json, "oomScoreAdj", CLAMP(resources_of(input)->oom_score_adj, -1000, 1000));
    if (!put_args(json, input, error) || !put_environment(json, input, error) ||
        !put_capabilities(json, security, error))
        return FALSE;
    put_string(json, "user");
    yajl_gen_get_buf(json, &text, &length);
    *ret_user_offset = length;
    yajl_gen_integer(json, 0); /* where the agent's user object goes */
    yajl_gen_map_close(json);
    return TRUE;
}

/* ---- mounts ---- */

static void put_mount(yajl_gen json, const char *destination, const char *type, const char *source,
                      const char *const *options)
{
    yajl_gen_map_open(json);
    put_pair(json, "destination", destination);
    put_pair(json, "type", type);
    put_pair(json, "source", source);
    put_strings(json, "options", options, g_strv_length((char **)(void *)options));
    yajl_gen_map_close(json);
}
#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})

static gboolean has_mount_at(const ContainerConfig *config, const char *path)
{
    for (size_t i = 0; i < config->n_mounts; i++)
        if (g_str_equal(config->mounts[i]->container_path, path))
            return TRUE;
    return FALSE;
}

static void put_default_mounts(yajl_gen json, const OciSpecInput *input)
{
    static const char *const pod_files[] = {"hosts", "hostname", "resolv.conf"};
    const SecurityContext *security = security_of(input);
    const char *access = security->privileged ? "rw" : "ro";

    put_mount(json, "/proc", "proc", "proc", OPTIONS("nosuid", "noexec", "nodev"));
    put_mount(json, "/dev", "tmpfs", "tmpfs", OPTIONS("nosuid", "strictatime", "mode=755", "size=65536k"));
    put_mount(json, "/dev/pts", "devpts", "devpts",
              OPTIONS("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"));
    put_mount(json, "/dev/mqueue", "mqueue", "mqueue", OPTIONS("nosuid", "noexec", "nodev"));
    put_mount(json, "/sys", "sysfs", "sysfs", OPTIONS("nosuid", "noexec", "nodev", access));
    put_mount(json, "/sys/fs/cgroup", "cgroup", "cgroup",
              OPTIONS("nosuid", "noexec", "nodev", "relatime", access));
    if (!has_mount_at(input->config, "/dev/shm"))
        put_mount(json, "/dev/shm", "bind", GUEST_SANDBOX_DIR "/shm", OPTIONS("rbind", "rw"));
    for (gsize i = 0; i < G_N_ELEMENTS(pod_files); i++) {
        g_autofree char *destination = g_strconcat("/etc/", pod_files[i], NULL);
        g_autofree char *source = g_strconcat(GUEST_SANDBOX_DIR "/", pod_files[i], NULL);

        if (!has_mount_at(input->config, destination))
            put_mount(json, destination, "bind", source,
                      OPTIONS("rbind", "rprivate", security->readonly_rootfs ? "ro" : "rw"));
    }
}

static gboolean mount_check(const Runtime__V1__Mount *mount, GError **error)
{
    if (*mount->container_path != '/')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.mounts: container_path \"%s\" is not absolute",
                    mount->container_path);
    if (mount->image != NULL && *mount->image->image != '\0')
        return fail(error, STATUS_UNIMPLEMENTED, "config.mounts: image volumes (%s) are not implemented yet",
                    mount->container_path);
    if (*mount->host_path != '/')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.mounts: host_path \"%s\" of %s is not absolute",
                    mount->host_path, mount->container_path);
    if (mount->recursive_read_only && !mount->readonly)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.mounts: %s is recursive_read_only without readonly", mount->container_path);
    if (mount->recursive_read_only &&
        mount->propagation != RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.mounts: %s is recursive_read_only and asks for mount propagation",
                    mount->container_path);
    if (mount->n_uidmappings > 0 || mount->n_gidmappings > 0)
        return fail(error, STATUS_UNIMPLEMENTED,
                    "config.mounts: id-mapped mounts (%s) are not implemented yet", mount->container_path);
    return TRUE;
}

static gint shallow_first(gconstpointer a, gconstpointer b, gpointer config)
{
    const ContainerConfig *container = config;
    const char *path_a = container->mounts[*(const guint *)a]->container_path;
    const char *path_b = container->mounts[*(const guint *)b]->container_path;

    return strcmp(path_a, path_b);
}

/* Parents before what is mounted inside them, whatever order they were given in. */
static gboolean put_volumes(yajl_gen json, const OciSpecInput *input, GError **error)
{
    static const char *const propagations[] = {"rprivate", "rslave", "rshared"};
    const ContainerConfig *config = input->config;
    g_autoptr(GArray) order = g_array_new(FALSE, FALSE, sizeof(guint));

    for (guint i = 0; i < config->n_mounts; i++)
        g_array_append_val(order, i);
    g_array_sort_with_data(order, shallow_first, (gpointer)config);
    for (guint i = 0; i < order->len; i++) {
        guint index = g_array_index(order, guint, i);
        const Runtime__V1__Mount *mount = config->mounts[index];

        if (!mount_check(mount, error))
            return FALSE;
        if ((guint)mount->propagation >= G_N_ELEMENTS(propagations))
            return fail(error, STATUS_INVALID_ARGUMENT, "config.mounts: unknown propagation %d of %s",
                        (int)mount->propagation, mount->container_path);
        put_mount(json, mount->container_path, "bind", input->mount_sources[index],
                  OPTIONS("rbind", propagations[mount->propagation],
                          mount->recursive_read_only ? "rro"
                          : mount->readonly          ? "ro"
                                                     : "rw"));
    }
    return TRUE;
}

/* ---- linux ---- */

static void put_device_rule(yajl_gen json, gboolean allow, const char *type, gint64 major, gint64 minor,
                            const char *access)
{
    yajl_gen_map_open(json);
    put_bool(json, "allow", allow);
    if (type != NULL)
        put_pair(json, "type", type);
    if (major >= 0)
        put_int(json, "major", major);
    if (minor >= 0)
        put_int(json, "minor", minor);
    put_pair(json, "access", access);
    yajl_gen_map_close(json);
}

/* The device files that every container has: null, zero, full, tty, random, urandom, ptmx and its slaves. */
static void put_device_rules(yajl_gen json, gboolean privileged)
{
    static const gint64 usual[][2] = {{1, 3}, {1, 5}, {1, 7}, {5, 0}, {1, 8}, {1, 9}, {5, 2}, {136, -1}};

    put_array(json, "devices");
    put_device_rule(json, privileged, NULL, -1, -1, "rwm");
    for (gsize i = 0; !privileged && i < G_N_ELEMENTS(usual); i++)
        put_device_rule(json, TRUE, "c", usual[i][0], usual[i][1], "rwm");
    yajl_gen_array_close(json);
}

static void put_cpu(yajl_gen json, const Resources *resources)
{
    put_map(json, "cpu");
    if (resources->cpu_shares > 0)
        put_int(json, "shares", resources->cpu_shares);
    if (resources->cpu_quota != 0)
        put_int(json, "quota", resources->cpu_quota);
    if (resources->cpu_period > 0)
        put_int(json, "period", resources->cpu_period);
    if (*resources->cpuset_cpus != '\0')
        put_pair(json, "cpus", resources->cpuset_cpus);
    if (*resources->cpuset_mems != '\0')
        put_pair(json, "mems", resources->cpuset_mems);
    yajl_gen_map_close(json);
}

static void put_resources(yajl_gen json, const OciSpecInput *input)
{
    const Resources *resources = resources_of(input);

    put_map(json, "resources");
    put_device_rules(json, security_of(input)->privileged);
    put_cpu(json, resources);
    put_map(json, "memory");
    if (resources->memory_limit_in_bytes > 0)
        put_int(json, "limit", resources->memory_limit_in_bytes);
    if (resources->memory_swap_limit_in_bytes > 0)
        put_int(json, "swap", resources->memory_swap_limit_in_bytes);
    yajl_gen_map_close(json);
    put_map(json, "unified");
    for (size_t i = 0; i < resources->n_unified; i++)
        put_pair(json, resources->unified[i]->key, resources->unified[i]->value);
    yajl_gen_map_close(json);
    yajl_gen_map_close(json);
}

static void put_namespace(yajl_gen json, const char *type, const char *path)
{
    yajl_gen_map_open(json);
    put_pair(json, "type", type);
    if (path != NULL)
        put_pair(json, "path", path);
    yajl_gen_map_close(json);
}

static Runtime__V1__NamespaceMode pid_mode(const OciSpecInput *input)
{
    const Runtime__V1__NamespaceOption *wanted = security_of(input)->namespace_options;

    return wanted != NULL ? wanted->pid : RUNTIME__V1__NAMESPACE_MODE__POD; /* the message's default */
}

gboolean oci_spec_shares_pid(const OciSpecInput *input)
{
    return pid_mode(input) == RUNTIME__V1__NAMESPACE_MODE__POD;
}

/* Network, IPC and UTS namespaces of the pod are the guest's own; so a container has none of them to itself.
 */
static gboolean put_namespaces(yajl_gen json, const OciSpecInput *input, GError **error)
{
    Runtime__V1__NamespaceMode pid = pid_mode(input);

    put_array(json, "namespaces");
    put_namespace(json, "mount", NULL);
    put_namespace(json, "cgroup", NULL);
    if (pid == RUNTIME__V1__NAMESPACE_MODE__CONTAINER)
        put_namespace(json, "pid", NULL);
    else if (pid == RUNTIME__V1__NAMESPACE_MODE__POD)
        put_namespace(json, "pid", GUEST_SANDBOX_DIR "/ns/pid");
    else
        return fail(
            error, STATUS_UNIMPLEMENTED,
            "linux.security_context.namespace_options: pid namespaces of the node or of another container "
            "are not implemented yet");
    yajl_gen_array_close(json);
    return TRUE;
}

static void put_paths(yajl_gen json, const char *key, char **given, size_t n_given, const char *const *usual,
                      gsize n_usual, gboolean privileged)
{
    /* The kubelet sends its own lists; a privileged container sends none and wants none. */
    if (n_given > 0)
        put_strings(json, key, (const char *const *)given, n_given);
    else if (!privileged)
        put_strings(json, key, usual, n_usual);
}

static gboolean put_linux(yajl_gen json, const OciSpecInput *input, GError **error)
{
    const SecurityContext *security = security_of(input);
    g_autofree char *cgroup = g_strdup_printf("/crivirt/%s", input->container_id);

    put_map(json, "linux");
    put_pair(json, "cgroupsPath", cgroup);
    if (!put_namespaces(json, input, error))
        return FALSE;
    put_paths(json, "maskedPaths", security->masked_paths, security->n_masked_paths, default_masked_paths,
              G_N_ELEMENTS(default_masked_paths), security->privileged);
    put_paths(json, "readonlyPaths", security->readonly_paths, security->n_readonly_paths,
              default_readonly_paths, G_N_ELEMENTS(default_readonly_paths), security->privileged);
    put_resources(json, input);
    yajl_gen_map_close(json);
    return TRUE;
}

/* ---- the whole ---- */

/* What would be silently weaker than asked for is refused instead. */
static gboolean security_check(const OciSpecInput *input, GError **error)
{
    const SecurityContext *security = security_of(input);
    const ContainerConfig *config = input->config;

    if (security->run_as_group != NULL && security->run_as_user == NULL && *security->run_as_username == '\0')
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context: run_as_group without run_as_user or run_as_username");
    if (security->seccomp != NULL &&
        security->seccomp->profile_type == RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost)
        return fail(error, STATUS_UNIMPLEMENTED,
                    "linux.security_context.seccomp: localhost profiles (%s) are not implemented yet",
                    security->seccomp->localhost_ref);
    if (security->apparmor != NULL &&
        security->apparmor->profile_type == RUNTIME__V1__SECURITY_PROFILE__PROFILE_TYPE__Localhost)
        return fail(error, STATUS_UNIMPLEMENTED,
                    "linux.security_context.apparmor: the guest's kernel has no AppArmor for profile %s",
                    security->apparmor->localhost_ref);
    if (security->namespace_options != NULL && security->namespace_options->userns_options != NULL &&
        security->namespace_options->userns_options->mode == RUNTIME__V1__NAMESPACE_MODE__POD)
        return fail(
            error, STATUS_UNIMPLEMENTED,
            "linux.security_context.namespace_options.userns_options: user namespaces are not implemented "
            "yet");
    if (config->n_devices > 0 || config->n_cdi_devices > 0)
        return fail(error, STATUS_UNIMPLEMENTED, "config.devices: devices are not implemented yet");
    return TRUE;
}

static gboolean put_configuration(yajl_gen json, const OciSpecInput *input, gsize *ret_user_offset,
                                  GError **error)
{
    yajl_gen_map_open(json);
    put_pair(json, "ociVersion", "1.0.2");
    put_map(json, "root");
    put_pair(json, "path", "rootfs");
    put_bool(json, "readonly", security_of(input)->readonly_rootfs);
    yajl_gen_map_close(json);
    if (!put_process(json, input, ret_user_offset, error))
        return FALSE;
    put_array(json, "mounts");
    put_default_mounts(json, input);
    if (!put_volumes(json, input, error))
        return FALSE;
    yajl_gen_array_close(json);
    if (!put_linux(json, input, error))
        return FALSE;
    yajl_gen_map_close(json);
    return TRUE;
}

gboolean oci_spec_build(const OciSpecInput *input, char **ret_before_user, char **ret_after_user,
                        GError **error)
{
    yajl_gen json = yajl_gen_alloc(NULL);
    const unsigned char *text;
    size_t length;
    gsize user_offset = 0;
    gboolean good;

    good = security_check(input, error) && put_configuration(json, input, &user_offset, error);
    if (good && yajl_gen_get_buf(json, &text, &length) != yajl_gen_status_ok)
        good = fail(error, STATUS_INTERNAL, "cannot write the OCI configuration");
    if (good) {
        /* At user_offset stands ":0"; the colon stays, the number makes room. */
        *ret_before_user = g_strndup((const char *)text, user_offset + 1);
        *ret_after_user = g_strndup((const char *)text + user_offset + 2, length - user_offset - 2);
    }
    yajl_gen_free(json);
    return good;
}

/* An image's user is "user", "user:group", "uid", "uid:gid". */
static void image_user(const char *spec, Crivirt__Agent__V1__User *user)
{
    const char *colon = strchr(spec, ':');
    g_autofree char *name = colon != NULL ? g_strndup(spec, (gsize)(colon - spec)) : g_strdup(spec);

    user->name = (char *)g_intern_string(name);
    user->group = (char *)g_intern_string(colon != NULL ? colon + 1 : "");
}

gboolean oci_spec_user(const OciSpecInput *input, Crivirt__Agent__V1__User *ret_user, GError **error)
{
    const SecurityContext *security = security_of(input);
    Crivirt__Agent__V1__User user = CRIVIRT__AGENT__V1__USER__INIT;

    user.uid = -1;
    user.gid = -1;
    if (security->run_as_user != NULL)
        user.uid = security->run_as_user->value;
    else if (*security->run_as_username != '\0')
        user.name = security->run_as_username;
    else if (input->image->user != NULL)
        image_user(input->image->user, &user);
    if (security->run_as_group != NULL) {
        user.gid = security->run_as_group->value;
        user.group = "";
    }
    if (user.uid > G_MAXUINT32 || user.uid < -1 || user.gid > G_MAXUINT32 || user.gid < -1)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.security_context: run_as_user or run_as_group is out of range");
    for (size_t i = 0; i < security->n_supplemental_groups; i++)
        if (security->supplemental_groups[i] < 0 || security->supplemental_groups[i] > G_MAXUINT32)
            return fail(error, STATUS_INVALID_ARGUMENT,
                        "linux.security_context.supplemental_groups: %" G_GINT64_FORMAT " is out of range",
                        security->supplemental_groups[i]);
    user.strict_groups =
        security->supplemental_groups_policy == RUNTIME__V1__SUPPLEMENTAL_GROUPS_POLICY__Strict;
    *ret_user = user;
    return TRUE;
}

gboolean oci_spec_stop_signal(const OciSpecInput *input, int *ret_signal, GError **error)
{
    const char *name = input->image->stop_signal;
    int signal = signal_from_cri(input->config->stop_signal);

    if (signal == 0 && name != NULL && *name != '\0' && !signal_from_name(name, &signal))
        return fail(error, STATUS_INVALID_ARGUMENT, "image %s has the unknown stop signal \"%s\"",
                    input->image->id, name);
    if (signal == 0)
        signal_from_name("TERM", &signal);
    *ret_signal = signal;
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/config/config_check.h"

#include <errno.h>
#include <gio/gio.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/bundle.h"
#include "common/error.h"
#include "image-service/content/reference.h"
#include "sandbox/checkpoint/checkpoint_secret.h"
#include "sandbox/host/accelerator.h"
#include "sandbox/host/cpu_node.h"
#include "sandbox/host/node_kernel.h"
#include "sandbox/host/qemu_program.h"

#define KVM_DEVICE "/dev/kvm"

static void problem_free(gpointer data)
{
    ConfigProblem *problem = data;

    g_free(problem->text);
    g_free(problem);
}

static void add_problem(GPtrArray *problems, gboolean is_fatal, const char *format, ...) G_GNUC_PRINTF(3, 4);
static void add_problem(GPtrArray *problems, gboolean is_fatal, const char *format, ...)
{
    ConfigProblem *problem = g_new0(ConfigProblem, 1);
    va_list args;

    va_start(args, format);
    problem->is_fatal = is_fatal;
    problem->text = g_strdup_vprintf(format, args);
    va_end(args);
    g_ptr_array_add(problems, problem);
}

static void check_file(GPtrArray *problems, const char *option, const char *path, gboolean is_fatal)
{
    struct stat status;

    if (stat(path, &status) != 0 || access(path, R_OK) != 0)
        add_problem(problems, is_fatal, "%s: %s: %s", option, path, g_strerror(errno));
    else if (!S_ISREG(status.st_mode))
        add_problem(problems, is_fatal, "%s: %s is not a regular file", option, path);
}

/* A directory that the daemon creates. Its nearest ancestor that exists must be a directory that it can write
 * to. */
static void check_own_directory(GPtrArray *problems, const char *option, const char *path)
{
    g_autofree char *ancestor = g_strdup(path);
    struct stat status;

    while (stat(ancestor, &status) != 0 && errno == ENOENT) {
        char *parent = g_path_get_dirname(ancestor);

        g_free(ancestor);
        ancestor = parent;
    }
    if (stat(ancestor, &status) != 0 || !S_ISDIR(status.st_mode))
        add_problem(problems, TRUE, "%s: %s is not a directory", option, ancestor);
    else if (access(ancestor, W_OK) != 0)
        add_problem(problems, TRUE, "%s: %s: %s", option, ancestor, g_strerror(errno));
}

static gboolean is_cni_config(const char *name)
{
    return g_str_has_suffix(name, ".conflist") || g_str_has_suffix(name, ".conf") ||
           g_str_has_suffix(name, ".json");
}

static void check_cni_config(GPtrArray *problems, const char *path)
{
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    const char *name;

    if (directory == NULL) {
        add_problem(problems, FALSE,
                    "network.cni_config_dir: cannot read %s; pods get no network until crivirtd can", path);
        return;
    }
    while ((name = g_dir_read_name(directory)) != NULL)
        if (is_cni_config(name))
            return;
    add_problem(problems, FALSE,
                "network.cni_config_dir: %s has no CNI configuration; pods get no network until it has one",
                path);
}

static void check_cni_plugins(GPtrArray *problems, const char *const *paths)
{
    gboolean found = FALSE;

    for (const char *const *path = paths; *path != NULL; path++)
        found = found || g_file_test(*path, G_FILE_TEST_IS_DIR);
    if (!found)
        add_problem(problems, FALSE, "network.cni_plugin_dirs: none of the directories exists");
}

/* /dev/kvm must open for root, which crivirtd is, and for the user that QEMU runs as. The file needs not
 * exist where the accelerator is chosen automatically. */
static char *kvm_problem(const Settings *settings)
{
    if (access(KVM_DEVICE, R_OK | W_OK) != 0)
        return g_strdup_printf("cannot open " KVM_DEVICE ": %s", g_strerror(errno));
    return accelerator_user_problem(KVM_DEVICE, settings->hypervisor.qemu_user,
                                    settings->hypervisor.qemu_group);
}

static void check_kvm(GPtrArray *problems, const Settings *settings)
{
    const char *wish = settings->hypervisor.accelerator;
    g_autofree char *problem = NULL;

    if (g_str_equal(wish, "tcg") || (g_str_equal(wish, "auto") && access(KVM_DEVICE, F_OK) != 0))
        return;
    problem = kvm_problem(settings);
    if (problem != NULL)
        add_problem(problems, g_str_equal(wish, "kvm"), "hypervisor.accelerator: %s: %s", wish, problem);
}

static void check_qemu(GPtrArray *problems, const Settings *settings)
{
    gboolean embedded = g_str_equal(settings->hypervisor.libvirt_uri, "embed");
    g_auto(QemuProgram) program = {0};
    g_autoptr(GError) error = NULL;

    if (!qemu_program_find(settings->hypervisor.qemu, embedded, &program, &error))
        add_problem(problems, TRUE, "hypervisor.qemu: %s", error->message);
}

static void check_user(GPtrArray *problems, const Settings *settings)
{
    if (getpwnam(settings->hypervisor.qemu_user) == NULL)
        add_problem(problems, TRUE, "hypervisor.qemu_user: there is no user \"%s\"",
                    settings->hypervisor.qemu_user);
    if (getgrnam(settings->hypervisor.qemu_group) == NULL)
        add_problem(problems, TRUE, "hypervisor.qemu_group: there is no group \"%s\"",
                    settings->hypervisor.qemu_group);
}

char *config_find_subordinate_ids(const char *text, guint first, guint count)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **line = lines; count != 0 && *line != NULL; line++) {
        g_auto(GStrv) fields = g_strsplit(*line, ":", -1); /* USER:FIRST:COUNT */
        guint64 start;
        guint64 length;

        if (g_strv_length(fields) == 3 &&
            g_ascii_string_to_unsigned(fields[1], 10, 0, G_MAXUINT32, &start, NULL) &&
            g_ascii_string_to_unsigned(fields[2], 10, 0, G_MAXUINT32, &length, NULL) &&
            start < (guint64)first + count && first < start + length)
            return g_strdup(*line);
    }
    return NULL;
}

/* A process in such a user namespace could have the user of a VM. */
static void check_vm_users(GPtrArray *problems, const Settings *settings)
{
    static const char *const files[] = {"/etc/subuid", "/etc/subgid"};

    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *text = NULL;
        g_autofree char *line = NULL;

        if (g_file_get_contents(files[i], &text, NULL, NULL))
            line = config_find_subordinate_ids(text, settings->hypervisor.vm_users_first,
                                               settings->hypervisor.vm_users);
        if (line != NULL)
            add_problem(problems, FALSE,
                        "hypervisor.vm_users: %u ids from %u on are also in %s (%s): choose another "
                        "hypervisor.vm_users_first",
                        settings->hypervisor.vm_users, settings->hypervisor.vm_users_first, files[i], line);
    }
}

static void check_registry(GPtrArray *problems, const Settings *settings)
{
    if (*settings->registry.hosts_dir != '\0' &&
        g_file_test(settings->registry.hosts_dir, G_FILE_TEST_EXISTS) &&
        !g_file_test(settings->registry.hosts_dir, G_FILE_TEST_IS_DIR))
        add_problem(problems, FALSE, "registry.hosts_dir: %s is not a directory",
                    settings->registry.hosts_dir);
    if (*settings->registry.auth_file != '\0')
        check_file(problems, "registry.auth_file", settings->registry.auth_file, FALSE);
}

static void check_pinned(GPtrArray *problems, const Settings *settings)
{
    for (const char *const *name = settings->images.pinned; *name != NULL; name++) {
        g_autoptr(Reference) reference = NULL;
        g_autoptr(GError) error = NULL;

        if (!reference_parse(*name, &reference, &error))
            add_problem(problems, FALSE, "images.pinned: %s", error->message);
    }
}

/* A kernel or initramfs that the handler inherits is reported once, under the option that names it: for the
 * default handler, without which no pod can run. */
static void check_handler(GPtrArray *problems, const Settings *settings, const Handler *handler)
{
    gboolean is_default = handler == settings->handlers->pdata[0];
    g_autofree char *kernel = g_strconcat(handler->where, ".kernel", NULL);
    g_autofree char *initrd = g_strconcat(handler->where, ".initrd", NULL);
    g_autofree char *problem = NULL;

    if (handler_is_host(handler))
        return;
    if (is_default || !g_str_equal(handler->kernel, settings->guest.kernel))
        check_file(problems, g_str_equal(handler->kernel, settings->guest.kernel) ? "guest.kernel" : kernel,
                   handler->kernel, is_default);
    if (is_default || !g_str_equal(handler->initrd, settings->guest.initrd))
        check_file(problems, g_str_equal(handler->initrd, settings->guest.initrd) ? "guest.initrd" : initrd,
                   handler->initrd, is_default);
    if (g_str_equal(handler->accelerator, "kvm") && !g_str_equal(settings->hypervisor.accelerator, "kvm") &&
        (problem = kvm_problem(settings)) != NULL)
        add_problem(problems, is_default, "%s.accelerator: kvm: %s", handler->where, problem);
}

/* A handler without the processor that it names runs no pods. */
static void check_cpu(GPtrArray *problems, const Settings *settings, const Handler *handler)
{
    gboolean is_default = handler == settings->handlers->pdata[0];
    g_auto(AcceleratorFacts) facts = {0};
    g_autofree char *reason = NULL;
    g_autoptr(GError) error = NULL;
    const CpuBaseline *ignored;
    gboolean is_kvm;

    if (handler_is_host(handler) || g_str_equal(handler->cpu, CPU_HOST))
        return;
    facts = accelerator_look(settings->hypervisor.qemu_user, settings->hypervisor.qemu_group);
    if (accelerator_choose(handler->accelerator, &facts, &is_kvm, &reason, NULL) &&
        !cpu_node_baseline(handler->cpu, is_kvm, &ignored, &error))
        add_problem(problems, is_default, "%s.cpu: %s",
                    g_str_equal(handler->cpu, settings->guest.cpu) ? "guest" : handler->where,
                    error->message);
}

/* What the agent of a host pod needs from the node; in a VM the guest image has it. */
static void check_host(GPtrArray *problems, const Settings *settings)
{
    g_autofree char *crun = bundle_path(NODE_CRUN);
    g_autoptr(GError) error = NULL;

    if (!settings_allow_host_pods(settings))
        return;
    if (g_str_equal(settings->host.pods, "namespaces") && *settings->host.namespaces == NULL)
        add_problem(problems, FALSE,
                    "host.namespaces: the list is empty, so that crivirtd refuses every host pod");
    if (access(settings->host.agent, X_OK) != 0)
        add_problem(problems, FALSE, "host.agent: %s: %s; no host pod can run", settings->host.agent,
                    g_strerror(errno));
    if (access(crun, X_OK) != 0)
        add_problem(problems, FALSE, "host.pods: %s: %s; no host pod can run", crun, g_strerror(errno));
    if (!node_kernel_check(NODE_KERNEL_LAYERS, NODE_KERNEL_LOOP, &error))
        add_problem(problems, FALSE, "host.pods: %s", error->message);
}

static void check_checkpoint_keys(GPtrArray *problems, const Settings *settings)
{
    const char *const *files = settings->checkpoint.key_files;

    if (settings->checkpoint.require_encryption && *files == NULL)
        add_problem(
            problems, FALSE,
            "checkpoint.require_encryption: there is no key in checkpoint.key_files, so that no pod can "
            "be saved or restored");
    for (; *files != NULL; files++) {
        g_autoptr(GError) error = NULL;

        if (!checkpoint_key_file_check(*files, &error))
            add_problem(problems, FALSE, "checkpoint.key_files: %s", error->message);
    }
}

gboolean config_check_streaming(const Settings *settings, GError **error)
{
    g_autoptr(GInetAddress) address = g_inet_address_new_from_string(settings->streaming.address);

    if (address == NULL || g_inet_address_get_is_loopback(address) || *settings->streaming.tls_cert != '\0' ||
        settings->streaming.allow_plain)
        return TRUE;
    return fail(
        error, STATUS_INVALID_ARGUMENT,
        "streaming.address: other hosts can reach %s, and there is no TLS: set streaming.tls_cert and "
        "streaming.tls_key, use 127.0.0.1, or allow it with streaming.allow_plain",
        settings->streaming.address);
}

GPtrArray *config_check(const Settings *settings)
{
    GPtrArray *problems = g_ptr_array_new_with_free_func(problem_free);
    g_autoptr(GError) streaming = NULL;

    if (strlen(settings->server.socket) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        add_problem(problems, TRUE, "server.socket: %s is longer than the path of a socket may be",
                    settings->server.socket);
    if (*settings->server.socket_group != '\0' && getgrnam(settings->server.socket_group) == NULL)
        add_problem(problems, TRUE, "server.socket_group: there is no group \"%s\"",
                    settings->server.socket_group);
    check_own_directory(problems, "server.state_dir", settings->server.state_dir);
    check_own_directory(problems, "server.run_dir", settings->server.run_dir);
    for (guint i = 0; i < settings->handlers->len; i++) {
        check_handler(problems, settings, settings->handlers->pdata[i]);
        check_cpu(problems, settings, settings->handlers->pdata[i]);
    }
    check_host(problems, settings);
    if (settings->images.max_image_size_bytes < settings->images.max_layer_size_bytes)
        add_problem(problems, FALSE, "images.max_image_size is less than images.max_layer_size");
    check_pinned(problems, settings);
    check_kvm(problems, settings);
    check_qemu(problems, settings);
    check_user(problems, settings);
    check_vm_users(problems, settings);
    check_checkpoint_keys(problems, settings);
    check_cni_config(problems, settings->network.cni_config_dir);
    check_cni_plugins(problems, settings->network.cni_plugin_dirs);
    check_registry(problems, settings);
    if (!config_check_streaming(settings, &streaming))
        add_problem(problems, TRUE, "%s", streaming->message);
    return problems;
}

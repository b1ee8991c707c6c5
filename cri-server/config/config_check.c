#include "cri-server/config/config_check.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sandbox/node_kernel.h"

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
        add_problem(problems, is_fatal, "%s: %s is no file", option, path);
}

/* A directory that the daemon makes: what exists of it must be a directory. */
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
        add_problem(problems, TRUE, "%s: %s is no directory", option, ancestor);
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
        add_problem(problems, FALSE, "network.cni_config_dir: %s cannot be read: no network until it can",
                    path);
        return;
    }
    while ((name = g_dir_read_name(directory)) != NULL)
        if (is_cni_config(name))
            return;
    add_problem(problems, FALSE,
                "network.cni_config_dir: %s has no CNI configuration: no network until it has", path);
}

static void check_cni_plugins(GPtrArray *problems, char **paths)
{
    gboolean found = FALSE;

    for (char **path = paths; *path != NULL; path++)
        found = found || g_file_test(*path, G_FILE_TEST_IS_DIR);
    if (!found)
        add_problem(problems, FALSE, "network.cni_plugin_dirs: none of the directories exists");
}

static void check_hypervisor(GPtrArray *problems, const Config *config)
{
    if (g_str_equal(config->accelerator, "kvm") && access("/dev/kvm", R_OK | W_OK) != 0)
        add_problem(problems, TRUE, "hypervisor.accelerator: kvm, but /dev/kvm: %s", g_strerror(errno));
    if (getpwnam(config->qemu_user) == NULL)
        add_problem(problems, TRUE, "hypervisor.qemu_user: there is no user \"%s\"", config->qemu_user);
    if (getgrnam(config->qemu_group) == NULL)
        add_problem(problems, TRUE, "hypervisor.qemu_group: there is no group \"%s\"", config->qemu_group);
}

static void check_registry(GPtrArray *problems, const Config *config)
{
    if (*config->registry_hosts_dir != '\0' && g_file_test(config->registry_hosts_dir, G_FILE_TEST_EXISTS) &&
        !g_file_test(config->registry_hosts_dir, G_FILE_TEST_IS_DIR))
        add_problem(problems, FALSE, "registry.hosts_dir: %s is no directory", config->registry_hosts_dir);
    if (*config->registry_auth_file != '\0')
        check_file(problems, "registry.auth_file", config->registry_auth_file, FALSE);
}

/* Of the default handler, whose kernel and initrd the rest of the configuration may have named, all pods need
 * them; of another one, its own. */
static void check_handler(GPtrArray *problems, const Config *config, const HandlerConfig *handler)
{
    gboolean is_default = handler == config->handlers->pdata[0];
    g_autofree char *kernel = g_strconcat(handler->where, ".kernel", NULL);
    g_autofree char *initrd = g_strconcat(handler->where, ".initrd", NULL);

    if (handler_config_is_host(handler))
        return;
    if (is_default || !g_str_equal(handler->kernel, config->guest_kernel))
        check_file(problems, g_str_equal(handler->kernel, config->guest_kernel) ? "guest.kernel" : kernel,
                   handler->kernel, is_default);
    if (is_default || !g_str_equal(handler->initrd, config->guest_initrd))
        check_file(problems, g_str_equal(handler->initrd, config->guest_initrd) ? "guest.initrd" : initrd,
                   handler->initrd, is_default);
    if (g_str_equal(handler->accelerator, "kvm") && !g_str_equal(config->accelerator, "kvm") &&
        access("/dev/kvm", R_OK | W_OK) != 0)
        add_problem(problems, is_default, "%s.accelerator: kvm, but /dev/kvm: %s", handler->where,
                    g_strerror(errno));
}

/* What the agent needs of the node, which a guest would have. */
static void check_host(GPtrArray *problems, const Config *config)
{
    g_autoptr(GError) error = NULL;

    if (!config->host_pods)
        return;
    if (access(config->host_agent, X_OK) != 0)
        add_problem(problems, FALSE, "host.agent: %s: %s: no host pods", config->host_agent,
                    g_strerror(errno));
    if (access(NODE_CRUN, X_OK) != 0)
        add_problem(problems, FALSE, "host.pods: " NODE_CRUN ": %s: no host pods", g_strerror(errno));
    if (!node_kernel_check(NODE_KERNEL_LAYERS, NODE_KERNEL_LOOP, &error))
        add_problem(problems, FALSE, "host.pods: %s", error->message);
}

GPtrArray *config_check(const Config *config)
{
    GPtrArray *problems = g_ptr_array_new_with_free_func(problem_free);

    if (strlen(config->socket) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        add_problem(problems, TRUE, "server.socket: %s is longer than a socket's path may be",
                    config->socket);
    check_own_directory(problems, "server.state_dir", config->state_dir);
    check_own_directory(problems, "server.run_dir", config->run_dir);
    for (guint i = 0; i < config->handlers->len; i++)
        check_handler(problems, config, config->handlers->pdata[i]);
    check_host(problems, config);
    if (config->max_image_bytes < config->max_layer_bytes)
        add_problem(problems, FALSE, "images.max_image_size is less than images.max_layer_size");
    check_hypervisor(problems, config);
    check_cni_config(problems, config->cni_config_dir);
    check_cni_plugins(problems, config->cni_plugin_dirs);
    check_registry(problems, config);
    return problems;
}

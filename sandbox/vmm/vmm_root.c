/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/vmm_root.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"

/* libvirt: ROOT/lib/qemu/domain-NUMBER-FIRST_20_OF_NAME/monitor.sock */
#define LONGEST_SOCKET "/lib/qemu/domain-1234567-12345678901234567890/monitor.sock"

enum { PROC_MAX_BYTES = 1 << 20, CONFIGURATION_MAX_BYTES = 1 << 16 };

/* The seccomp filter forbids QEMU to start programs or to change its user. cgroups are the service manager's
 * matter. In a mount namespace, libvirt gives QEMU a /dev with its usual list (null, zero, full, random,
 * urandom, ptmx, kvm) and the devices of the domain; the state that it keeps of a domain says whether it has
 * one, so a change counts for later domains. vmm_devices.c sets the owner of disks and consoles, because
 * libvirt would change that of the kernel and of the layers too.
 *
 * With the filtered capability, libvirt would read each of the 400 properties of a new VM's CPU, which takes
 * 0.3 s under emulation; without it, libvirt reads them as two bit sets. */
static const char qemu_conf[] = "# Written by crivirtd at every start.\n"
                                "user = \"%s\"\n"
                                "group = \"%s\"\n"
                                "dynamic_ownership = 0\n"
                                "remember_owner = 0\n"
                                "security_driver = \"none\"\n"
                                "security_default_confined = 0\n"
                                "seccomp_sandbox = 1\n"
                                "cgroup_controllers = []\n"
                                "namespaces = [ %s ]\n"
                                "stdio_handler = \"file\"\n"
                                "capability_filters = [ \"cpu-unavailable-features\" ]\n"
                                "max_core = 0\n";

static gboolean missing_account(const char *what, const char *name, GError **error)
{
    return fail(
        error, STATUS_FAILED_PRECONDITION,
        "the %s %s, which QEMU runs as, does not exist: create it with `groupadd --system %s` and "
        "`useradd --system --no-create-home --shell /usr/sbin/nologin --gid %s --groups kvm %s` (the package "
        "libvirt-daemon-system does)",
        what, name, VMM_ROOT_LIBVIRT_USER, VMM_ROOT_LIBVIRT_USER, VMM_ROOT_LIBVIRT_USER);
}

gboolean vmm_root_identity(const char *user, const char *group, VmmIdentity *ret_identity, GError **error)
{
    VmmIdentity identity;
    struct passwd *account;
    struct group *members;

    if (getpwnam(VMM_ROOT_LIBVIRT_USER) == NULL)
        return missing_account("user", VMM_ROOT_LIBVIRT_USER, error);
    if (getgrnam(VMM_ROOT_LIBVIRT_USER) == NULL)
        return missing_account("group", VMM_ROOT_LIBVIRT_USER, error);
    if ((account = getpwnam(user)) == NULL)
        return missing_account("user", user, error);
    identity.uid = account->pw_uid;
    if ((members = getgrnam(group)) == NULL)
        return missing_account("group", group, error);
    identity.gid = members->gr_gid;
    *ret_identity = identity;
    return TRUE;
}

/* QEMU, which is unprivileged, must reach its sockets: other users need the permission x on each directory
 * above. */
static gboolean check_passable(const char *directory, GError **error)
{
    g_autofree char *path = g_strdup(directory);

    while (strcmp(path, "/") != 0) {
        struct stat status;
        char *parent;

        if (stat(path, &status) != 0)
            return fail_errno(error, errno, "cannot read the permissions of %s", path);
        if ((status.st_mode & S_IXOTH) == 0)
            return fail(error, STATUS_FAILED_PRECONDITION,
                        "QEMU does not run as root and cannot enter %s: allow it with `chmod o+x %s`", path,
                        path);
        parent = g_path_get_dirname(path);
        g_free(path);
        path = parent;
    }
    return TRUE;
}

static gboolean check_length(const char *root, GError **error)
{
    const gsize limit = sizeof(((struct sockaddr_un *)NULL)->sun_path) - sizeof(LONGEST_SOCKET);

    if (strlen(root) > limit)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "the path %s is too long for QEMU's sockets: at most %zu characters", root, limit);
    return TRUE;
}

/* Return: 0 when the file is missing or has no number. */
static pid_t pid_of_file(const char *run_dir, const char *name)
{
    g_autofree char *file = g_strconcat(name, ".pid", NULL);
    g_autofree char *path = g_build_filename(run_dir, file, NULL);
    g_autofree char *text = NULL;

    if (!file_read(path, 64, &text, NULL, NULL))
        return 0;
    return (pid_t)strtol(text, NULL, 10);
}

/* libvirt starts QEMU with -name guest=NAME,… */
static gboolean is_domain_of(pid_t pid, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/cmdline", (int)pid);
    g_autofree char *wanted = g_strdup_printf("guest=%s,", name);
    g_autofree char *arguments = NULL;
    gsize length = 0;

    if (!file_read(path, PROC_MAX_BYTES, &arguments, &length, NULL))
        return FALSE;
    for (gsize at = 0; at < length; at += strlen(arguments + at) + 1)
        if (g_str_has_prefix(arguments + at, wanted))
            return TRUE;
    return FALSE;
}

pid_t vmm_root_pid(const char *run_dir, const char *name)
{
    pid_t pid = pid_of_file(run_dir, name);

    return pid > 0 && is_domain_of(pid, name) ? pid : 0;
}

/* libvirt's directories for a domain end in "-" and the first 20 characters of its name. */
static void drop_directories(const char *parent, const char *name)
{
    g_autofree char *suffix = g_strdup_printf("-%.20s", name);
    g_autoptr(GDir) entries = g_dir_open(parent, 0, NULL);
    const char *entry;

    while (entries != NULL && (entry = g_dir_read_name(entries)) != NULL) {
        g_autofree char *path = g_build_filename(parent, entry, NULL);

        if (g_str_has_suffix(entry, suffix))
            dir_remove_tree(path, NULL);
    }
}

void vmm_root_forget(const char *root, const char *name)
{
    static const char *const parents[] = {"lib/qemu", "lib/qemu/channel/target", "lib/qemu/ram"};

    for (guint i = 0; i < G_N_ELEMENTS(parents); i++) {
        g_autofree char *parent = g_build_filename(root, parents[i], NULL);

        drop_directories(parent, name);
    }
}

static void drop_status(const char *run_dir, const char *name)
{
    static const char *const suffixes[] = {".xml", ".pid"};

    for (guint i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *file = g_strconcat(name, suffixes[i], NULL);
        g_autofree char *path = g_build_filename(run_dir, file, NULL);

        unlink(path);
    }
}

/* Files that libvirt was writing when an earlier daemon died. */
static void drop_half_written(const char *run_dir)
{
    g_autoptr(GDir) directory = g_dir_open(run_dir, 0, NULL);
    const char *file;

    while (directory != NULL && (file = g_dir_read_name(directory)) != NULL) {
        g_autofree char *path = g_build_filename(run_dir, file, NULL);

        if (g_str_has_suffix(file, ".new"))
            unlink(path);
    }
}

/* libvirt itself cleans up after a domain whose process has ended; a domain whose process id belongs to
 * another program now is removed here. */
static void drop_reused_ids(const char *root, const char *run_dir)
{
    g_autoptr(GDir) directory = g_dir_open(run_dir, 0, NULL);
    const char *file;

    while (directory != NULL && (file = g_dir_read_name(directory)) != NULL) {
        g_autofree char *name = NULL;
        g_autofree char *process = NULL;
        pid_t pid;

        if (!g_str_has_suffix(file, ".xml"))
            continue;
        name = g_strndup(file, strlen(file) - strlen(".xml"));
        pid = pid_of_file(run_dir, name);
        process = g_strdup_printf("/proc/%d", (int)pid);
        if (pid > 0 && access(process, F_OK) == 0 && !is_domain_of(pid, name)) {
            log_info(LOG_FIELDS("sandbox", name),
                     "QEMU (process %d) ended while no daemon ran, and its process id belongs to another "
                     "program now",
                     (int)pid);
            drop_status(run_dir, name);
            vmm_root_forget(root, name);
        }
    }
}

/* Status files may be on a disk that keeps them over a reboot. */
static gboolean drop_earlier_boot(const char *root, GError **error)
{
    static const char *const volatile_directories[] = {"run", "lib"};
    g_autofree char *marker = g_build_filename(root, "boot-id", NULL);
    g_autofree char *earlier = NULL;
    g_autofree char *now = NULL;
    gsize length = 0;

    if (!file_read("/proc/sys/kernel/random/boot_id", 64, &now, &length, error))
        return FALSE;
    if (file_read(marker, 64, &earlier, NULL, NULL) && strcmp(earlier, now) == 0)
        return TRUE;
    for (guint i = 0; i < G_N_ELEMENTS(volatile_directories); i++) {
        g_autofree char *path = g_build_filename(root, volatile_directories[i], NULL);

        if (!dir_remove_tree(path, error))
            return FALSE;
    }
    return file_write_atomic(marker, now, length, 0600, error);
}

/* When libvirt cannot write the status of a domain that it adopts, it kills the domain. So the status is not
 * kept on a disk, which may be full, but in run_dir. A directory of an earlier version stays until the next
 * boot. */
static gboolean link_status(const char *root, const char *run_dir, GError **error)
{
    g_autofree char *link = g_build_filename(root, "run", NULL);
    g_autofree char *target = g_build_filename(run_dir, "libvirt", NULL);

    if (!dir_make(target, 0711, error))
        return FALSE;
    if (access(link, F_OK) == 0)
        return TRUE;
    if ((unlink(link) != 0 && errno != ENOENT) || symlink(target, link) != 0)
        return fail_errno(error, errno, "cannot link %s to %s", link, target);
    return TRUE;
}

void vmm_root_open_kvm(const VmmIdentity *identity)
{
    static const char path[] = "/dev/kvm";
    struct stat status;

    if (stat(path, &status) != 0 || status.st_uid != 0 || status.st_gid != 0 ||
        (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return;
    if (chown(path, 0, identity->gid) == 0 && chmod(path, 0660) == 0)
        log_info(LOG_NO_FIELDS, "only root could open /dev/kvm: QEMU's group can open it now");
}

static gboolean write_configuration(const char *root, const VmmConfig *config, GError **error)
{
    g_autofree char *path = g_build_filename(root, "etc", "qemu.conf", NULL);
    g_autofree char *text = g_strdup_printf(qemu_conf, config->qemu_user, config->qemu_group,
                                            config->private_devices ? "\"mount\"" : "");
    g_autofree char *earlier = NULL;

    /* The file is not rewritten when it is the same, because the daemon must start on a full disk. */
    if (file_read(path, CONFIGURATION_MAX_BYTES, &earlier, NULL, NULL) && strcmp(earlier, text) == 0)
        return TRUE;
    return file_write_atomic(path, text, strlen(text), 0600, error);
}

/* libvirt makes its directories listable. It keeps the modes of those that exist. QEMU, which is
 * unprivileged, passes through some of them to its sockets. */
static gboolean make_directories(const char *root, GError **error)
{
    static const struct {
        const char *name;
        mode_t mode;
    } directories[] = {
        {"etc", 0700},
        {"cache", 0711},
        {"cache/qemu", 0711},
        {"cache/qemu/capabilities", 0700},
        {"lib", 0711},
        {"lib/qemu", 0711},
        {"lib/qemu/channel", 0711},
        {"lib/qemu/channel/target", 0711},
        {"lib/qemu/ram", 0711},
        {"lib/qemu/checkpoint", 0700},
        {"lib/qemu/dump", 0700},
        {"lib/qemu/nvram", 0700},
        {"lib/qemu/save", 0700},
        {"lib/qemu/snapshot", 0700},
        {"log", 0711},
        {"log/qemu", 0711},
        {"run/qemu", 0711},
        {"run/qemu/passt", 0700},
        {"run/qemu/slirp", 0700},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(directories); i++) {
        g_autofree char *path = g_build_filename(root, directories[i].name, NULL);

        if (!dir_make(path, (int)directories[i].mode, error))
            return FALSE;
        if (chmod(path, directories[i].mode) != 0)
            return fail_errno(error, errno, "cannot set the permissions of %s", path);
    }
    return TRUE;
}

gboolean vmm_root_prepare(const char *root, const VmmConfig *config, GError **error)
{
    g_autofree char *run_dir = g_build_filename(root, "run", "qemu", NULL);

    if (!check_length(root, error) || !dir_make(root, 0711, error) || !check_passable(root, error) ||
        !dir_make(config->run_dir, 0711, error) || !check_passable(config->run_dir, error) ||
        !drop_earlier_boot(root, error) || !link_status(root, config->run_dir, error) ||
        !make_directories(root, error) || !write_configuration(root, config, error))
        return g_prefix_error(error, "cannot prepare libvirt's directory %s: ", root), FALSE;
    drop_half_written(run_dir);
    drop_reused_ids(root, run_dir);
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/magic.h>
#include <pwd.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/bundle.h"
#include "common/fileio.h"
#include "cri-server/cli/doctor_check.h"
#include "cri-server/cli/human.h"
#include "sandbox/host/accelerator.h"
#include "sandbox/host/node_kernel.h"
#include "sandbox/host/qemu_program.h"

enum { LOW_SPACE_PERCENT = 10 };
#define KVM_DEVICE "/dev/kvm"
#define USERS_SCRIPT "/usr/lib/crivirt/users.sh"
#define LEAST_SPACE_BYTES (G_GUINT64_CONSTANT(1) << 30)

static void finding_free(gpointer data)
{
    DoctorFinding *finding = data;

    g_free(finding->finding);
    g_free(finding->remedy);
    g_free(finding);
}

void doctor_add(GPtrArray *findings, DoctorVerdict verdict, const char *subject, char *text, char *remedy)
{
    DoctorFinding *finding = g_new0(DoctorFinding, 1);

    *finding = (DoctorFinding){verdict, subject, text, remedy};
    g_ptr_array_add(findings, finding);
}

void doctor_add_good(GPtrArray *findings, const char *subject, char *text)
{
    doctor_add(findings, DOCTOR_GOOD, subject, text, NULL);
}

/* ---- hypervisor ---- */

/* QEMU's user must open /dev/kvm itself: crivirtd opens it as root. */
static gboolean check_kvm_user(GPtrArray *findings, const Settings *settings)
{
    const char *wish = settings->hypervisor.accelerator;
    g_autofree char *users = bundle_path(USERS_SCRIPT);
    char *problem = g_str_equal(wish, "tcg")
                        ? NULL
                        : accelerator_user_problem(KVM_DEVICE, settings->hypervisor.qemu_user,
                                                   settings->hypervisor.qemu_group);

    if (problem == NULL || access(KVM_DEVICE, F_OK) != 0) {
        g_free(problem);
        return TRUE;
    }
    doctor_add(findings, g_str_equal(wish, "kvm") ? DOCTOR_BAD : DOCTOR_WARNING, "KVM", problem,
               g_strdup_printf(
                   "run %s, or add the user to the group of " KVM_DEVICE "; then restart crivirtd", users));
    return FALSE;
}

static void check_kvm(GPtrArray *findings, const Settings *settings)
{
    g_auto(AcceleratorFacts) facts =
        accelerator_look(settings->hypervisor.qemu_user, settings->hypervisor.qemu_group);
    g_autoptr(GError) error = NULL;
    gboolean is_kvm = FALSE;
    char *reason = NULL;

    if (!check_kvm_user(findings, settings))
        return;
    if (!accelerator_choose(settings->hypervisor.accelerator, &facts, &is_kvm, &reason, &error))
        doctor_add(findings, DOCTOR_BAD, "KVM", g_strdup(error->message),
                   g_strdup("set hypervisor.accelerator to \"auto\", or make " KVM_DEVICE " usable"));
    else if (is_kvm)
        doctor_add_good(findings, "KVM", reason);
    else
        doctor_add(
            findings, DOCTOR_WARNING, "KVM", reason,
            g_strdup("enable virtualization in the firmware (on a VM: nested virtualization on its host) "
                     "and load kvm_intel or kvm_amd; without it pods are several times slower"));
}

/* Debian's updates do not reach crivirt's own QEMU. */
static char *newer_qemu(const QemuProgram *program)
{
    g_auto(QemuProgram) debian = {0};

    if (!program->own || !qemu_program_find("debian", TRUE, &debian, NULL) ||
        !qemu_program_is_outdated(program, &debian))
        return NULL;
    return g_strdup_printf("%s is crivirt's own, of version %s, and Debian's is %s", program->path,
                           program->version, debian.version);
}

static void check_qemu(GPtrArray *findings, const Settings *settings)
{
    gboolean embedded = g_str_equal(settings->hypervisor.libvirt_uri, "embed");
    gboolean is_arm = g_str_equal(accelerator_architecture(), "aarch64");
    g_auto(QemuProgram) program = {0};
    g_autoptr(GError) error = NULL;
    char *newer = NULL;

    if (!qemu_program_find(settings->hypervisor.qemu, embedded, &program, &error))
        doctor_add(findings, DOCTOR_BAD, "QEMU", g_strdup(error->message),
                   g_strdup_printf("apt-get install %s, or name another one in hypervisor.qemu",
                                   is_arm ? "qemu-system-arm" : "qemu-system-x86"));
    else if ((newer = newer_qemu(&program)) != NULL)
        doctor_add(
            findings, DOCTOR_WARNING, "QEMU", newer,
            g_strdup("build and install crivirt's package again, or set hypervisor.qemu to \"debian\""));
    else
        doctor_add_good(findings, "QEMU",
                        g_strdup_printf("%s: %s, version %s",
                                        program.own ? "crivirt's own" : "not crivirt's own", program.path,
                                        program.version));
}

/* A file that some Debian package installs in one of several places. */
typedef struct {
    const char *subject;
    const char *const *names; /* paths, or names of programs on $PATH; NULL-terminated */
    const char *package;
    DoctorVerdict without;
} Installed;

static void check_installed(GPtrArray *findings, const Installed *wanted)
{
    for (const char *const *name = wanted->names; *name != NULL; name++) {
        g_autofree char *path =
            g_path_is_absolute(*name) ? bundle_path(*name) : g_find_program_in_path(*name);

        if (path != NULL && g_file_test(path, G_FILE_TEST_EXISTS)) {
            doctor_add_good(findings, wanted->subject, g_steal_pointer(&path));
            return;
        }
    }
    doctor_add(findings, wanted->without, wanted->subject, g_strdup("not installed"),
               g_strdup_printf("apt-get install %s", wanted->package));
}

static void check_programs(GPtrArray *findings, const Settings *settings)
{
    gboolean is_arm = g_str_equal(accelerator_architecture(), "aarch64");
    static const char *const firmware[] = {"/usr/share/seabios/bios-256k.bin",
                                           "/usr/share/qemu/bios-256k.bin", NULL};
    static const char *const driver[] = {
        "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so",
        "/usr/lib/aarch64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so",
        "/usr/lib64/libvirt/connection-driver/libvirt_driver_qemu.so", NULL};
    /* Where crivirtd looks (sandbox/vmm). */
    static const char *const virtiofsd[] = {"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", NULL};
    static const char *const mkfs[] = {"mkfs.ext4", "/sbin/mkfs.ext4", NULL};

    check_qemu(findings, settings);
    if (!is_arm)
        check_installed(findings, &(Installed){"QEMU's firmware", firmware, "seabios", DOCTOR_BAD});
    if (g_str_equal(settings->hypervisor.libvirt_uri, "embed"))
        check_installed(findings, &(Installed){"libvirt's QEMU driver", driver, "libvirt-daemon-driver-qemu",
                                               DOCTOR_BAD});
    check_installed(findings,
                    &(Installed){"virtiofsd, for volumes", virtiofsd, "qemu-system-common", DOCTOR_WARNING});
    check_installed(findings, &(Installed){"mkfs.ext4, for writable disks", mkfs, "e2fsprogs", DOCTOR_BAD});
}

static void check_user(GPtrArray *findings, const Settings *settings)
{
    g_autofree char *users = bundle_path(USERS_SCRIPT);
    gboolean has_user = getpwnam(settings->hypervisor.qemu_user) != NULL;

    if (has_user && getgrnam(settings->hypervisor.qemu_group) != NULL)
        doctor_add_good(findings, "QEMU's user", g_strdup(settings->hypervisor.qemu_user));
    else
        doctor_add(
            findings, DOCTOR_BAD, "QEMU's user",
            g_strdup_printf("there is no %s \"%s\"", has_user ? "group" : "user",
                            has_user ? settings->hypervisor.qemu_group : settings->hypervisor.qemu_user),
            g_strdup_printf("run %s, which creates libvirt-qemu; for another name: adduser --system --group "
                            "--no-create-home %s, and adduser %s kvm",
                            users, settings->hypervisor.qemu_user, settings->hypervisor.qemu_user));
}

static void check_guest_file(GPtrArray *findings, const char *subject, const char *path)
{
    if (access(path, R_OK) == 0)
        doctor_add_good(findings, subject, g_strdup(path));
    else
        doctor_add(findings, DOCTOR_BAD, subject, g_strdup_printf("%s: %s", path, g_strerror(errno)),
                   g_strdup("build it with kernel/image.sh (ninja guest-image), or name its path in section "
                            "[guest] of the configuration"));
}

/* ---- kernel ---- */

gboolean doctor_list_has_module(const char *list, const char *module)
{
    g_autofree char *file = g_strdup_printf("/%s.ko", module);
    const char *found = list;

    /* The name is followed by the end of the text, by the suffix of a compression, or by its dependencies. */
    while ((found = strstr(found, file)) != NULL) {
        found += strlen(file);
        if (*found == '\0' || strchr(".:\n", *found) != NULL)
            return TRUE;
    }
    return FALSE;
}

static gboolean has_module(const char *module, gboolean *ret_known)
{
    static const char *const lists[] = {"modules.builtin", "modules.dep"};
    g_autofree char *loaded = g_build_filename("/sys/module", module, NULL);
    struct utsname node;
    gboolean found = g_file_test(loaded, G_FILE_TEST_IS_DIR);

    *ret_known = found;
    uname(&node);
    for (guint i = 0; !found && i < G_N_ELEMENTS(lists); i++) {
        g_autofree char *path = g_build_filename("/lib/modules", node.release, lists[i], NULL);
        g_autofree char *text = NULL;

        if (file_read(path, DOCTOR_FILE_MAX_BYTES, &text, NULL, NULL)) {
            *ret_known = TRUE;
            found = doctor_list_has_module(text, module);
        }
    }
    return found;
}

static gboolean filters_frames(const Settings *settings)
{
    for (guint i = 0; i < settings->handlers->len; i++)
        if (((const Handler *)settings->handlers->pdata[i])->own_addresses_only)
            return TRUE;
    return FALSE;
}

/* These modules move packets between a pod's interface and its VM (cni-bridge/redirect.c). */
static void check_modules(GPtrArray *findings, const Settings *settings)
{
    const char *const needed[] = {
        "tun", "sch_ingress", "cls_u32", "act_mirred", filters_frames(settings) ? "cls_bpf" : NULL, NULL};
    g_autoptr(GString) missing = g_string_new(NULL);
    gboolean all_known = TRUE;

    for (const char *const *module = needed; *module != NULL; module++) {
        gboolean known;

        if (!has_module(*module, &known)) {
            g_string_append_printf(missing, "%s%s", missing->len > 0 ? ", " : "", *module);
            all_known = all_known && known;
        }
    }
    if (missing->len == 0)
        doctor_add_good(findings, "kernel modules for the network", g_strdup("present"));
    else if (all_known)
        doctor_add(findings, DOCTOR_BAD, "kernel modules for the network",
                   g_strdup_printf("missing: %s", missing->str),
                   g_strdup("use a kernel of the distribution that has them (\"cloud\" kernels often do "
                            "not), or build them"));
    else
        doctor_add(findings, DOCTOR_WARNING, "kernel modules for the network",
                   g_strdup_printf("cannot tell whether they are built in: %s", missing->str),
                   g_strdup("if pods get no network, check that the kernel has them"));
}

static void check_forwarding(GPtrArray *findings)
{
    g_autofree char *text = NULL;

    if (file_read("/proc/sys/net/ipv4/ip_forward", 16, &text, NULL, NULL) && *text == '1')
        doctor_add_good(findings, "IP forwarding", g_strdup("on"));
    else
        doctor_add(findings, DOCTOR_WARNING, "IP forwarding", g_strdup("off: pods reach only this node"),
                   g_strdup("sysctl -w net.ipv4.ip_forward=1 (and a file in /etc/sysctl.d)"));
}

static void check_cgroup(GPtrArray *findings)
{
    struct statfs status;
    gboolean is_mounted = statfs("/sys/fs/cgroup", &status) == 0;

    if (is_mounted && status.f_type == CGROUP2_SUPER_MAGIC)
        doctor_add_good(findings, "cgroups", g_strdup("version 2"));
    else if (is_mounted && g_file_test("/sys/fs/cgroup/memory", G_FILE_TEST_IS_DIR))
        doctor_add_good(findings, "cgroups", g_strdup("version 1"));
    else
        doctor_add(findings, DOCTOR_WARNING, "cgroups",
                   g_strdup("none is mounted on /sys/fs/cgroup: pods run without limits"),
                   g_strdup("mount -t cgroup2 none /sys/fs/cgroup"));
}

/* ---- host pods ---- */

static void check_host(GPtrArray *findings, const Settings *settings)
{
    g_autofree char *crun = bundle_path(NODE_CRUN);
    g_autoptr(GError) error = NULL;

    if (!settings_allow_host_pods(settings))
        return;
    if (access(settings->host.agent, X_OK) != 0)
        doctor_add(findings, DOCTOR_WARNING, "host pods",
                   g_strdup_printf("no agent: %s: %s", settings->host.agent, g_strerror(errno)),
                   g_strdup("set host.agent to its path, or set host.pods to never"));
    else if (access(crun, X_OK) != 0)
        doctor_add(findings, DOCTOR_WARNING, "host pods", g_strdup_printf("%s: %s", crun, g_strerror(errno)),
                   g_strdup("apt-get install crun"));
    else if (!node_kernel_check(NODE_KERNEL_LAYERS, NODE_KERNEL_LOOP, &error))
        doctor_add(findings, DOCTOR_WARNING, "host pods", g_strdup(error->message),
                   g_strdup("use a kernel that has both, or set host.pods to never"));
    else
        doctor_add_good(findings, "host pods", g_strdup("supported"));
}

/* ---- space ---- */

static void check_space(GPtrArray *findings, const char *path)
{
    g_autofree char *there = g_strdup(path);
    g_autofree char *free_text = NULL;
    struct statvfs status;
    guint64 free_bytes;

    while (statvfs(there, &status) != 0 && errno == ENOENT) {
        char *parent = g_path_get_dirname(there);

        g_free(there);
        there = parent;
    }
    free_bytes = (guint64)status.f_bavail * status.f_frsize;
    free_text = human_size(free_bytes);
    if (free_bytes >= LEAST_SPACE_BYTES && status.f_bavail >= status.f_blocks / 100 * LOW_SPACE_PERCENT)
        doctor_add_good(findings, "disk space", g_strdup_printf("%s free for %s", free_text, path));
    else
        doctor_add(findings, free_bytes < LEAST_SPACE_BYTES ? DOCTOR_BAD : DOCTOR_WARNING, "disk space",
                   g_strdup_printf("only %s free for %s", free_text, path),
                   g_strdup("run crivirt gc, remove unused images (crivirt rmi), or set server.state_dir to "
                            "another disk"));
}

/* ---- templates ---- */

static char *quarantined_file(const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    char *text = NULL;

    return file_read(path, DOCTOR_FILE_MAX_BYTES, &text, NULL, NULL) ? text : NULL;
}

/* Pods of the size of a quarantined template boot instead of being restored (docs/templates.md). */
static void check_quarantined(GPtrArray *findings, const char *name, const char *directory)
{
    g_autofree char *reason = quarantined_file(directory, "reason");
    g_autofree char *next_try = quarantined_file(directory, "next-try");
    g_autofree char *when =
        next_try != NULL
            ? g_strdup_printf(" when a pod needs it after %s, or at once after a restart", next_try)
            : g_strdup("");

    doctor_add(
        findings, DOCTOR_WARNING, "template",
        g_strdup_printf("%s is quarantined: %s", name, reason != NULL ? reason : "the reason is unknown"),
        g_strdup_printf("crivirtd recreates it%s; to delete this note: rm -r %s", when, directory));
}

static void check_templates(GPtrArray *findings, const Settings *settings)
{
    g_autofree char *directory = g_build_filename(settings->server.state_dir, "templates", NULL);
    g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        g_autofree char *path = g_build_filename(directory, name, NULL);

        if (g_str_has_suffix(name, ".bad"))
            check_quarantined(findings, name, path);
    }
}

GPtrArray *doctor_examine(const Settings *settings)
{
    GPtrArray *findings = g_ptr_array_new_with_free_func(finding_free);

    check_kvm(findings, settings);
    doctor_check_cpu(findings, settings);
    check_programs(findings, settings);
    check_user(findings, settings);
    check_guest_file(findings, "guest kernel", settings->guest.kernel);
    check_guest_file(findings, "guest initramfs", settings->guest.initrd);
    check_modules(findings, settings);
    check_host(findings, settings);
    check_forwarding(findings);
    doctor_check_cni(findings, settings);
    check_cgroup(findings);
    check_space(findings, settings->server.state_dir);
    check_templates(findings, settings);
    return findings;
}

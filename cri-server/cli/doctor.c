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
#include <yajl/yajl_tree.h>

#include "common/fileio.h"
#include "cri-server/cli/human.h"
#include "sandbox/accelerator.h"
#include "sandbox/node_kernel.h"

enum { FILE_MAX_BYTES = 8 * 1024 * 1024, LOW_SPACE_PERCENT = 10 };
#define LEAST_SPACE_BYTES (G_GUINT64_CONSTANT(1) << 30)

static void finding_free(gpointer data)
{
    DoctorFinding *finding = data;

    g_free(finding->finding);
    g_free(finding->remedy);
    g_free(finding);
}

/* Takes both texts. */
static void add(GPtrArray *findings, DoctorVerdict verdict, const char *subject, char *text, char *remedy)
{
    DoctorFinding *finding = g_new0(DoctorFinding, 1);

    *finding = (DoctorFinding){verdict, subject, text, remedy};
    g_ptr_array_add(findings, finding);
}

static void add_good(GPtrArray *findings, const char *subject, char *text)
{
    add(findings, DOCTOR_GOOD, subject, text, NULL);
}

/* ---- hypervisor ---- */

static void check_kvm(GPtrArray *findings, const Config *config)
{
    g_auto(AcceleratorFacts) facts = accelerator_look(config->qemu_user, config->qemu_group);
    g_autoptr(GError) error = NULL;
    gboolean is_kvm = FALSE;
    char *reason = NULL;

    if (!accelerator_choose(config->accelerator, &facts, &is_kvm, &reason, &error)) {
        add(findings, DOCTOR_BAD, "KVM", g_strdup(error->message),
            g_strdup("set hypervisor.accelerator to \"auto\", or make /dev/kvm usable"));
    } else if (is_kvm) {
        add_good(findings, "KVM", reason);
    } else {
        add(findings, DOCTOR_WARNING, "KVM", reason,
            g_strdup(
                "switch on virtualisation in the firmware (on a virtual machine: nested virtualisation of "
                "its host) and load kvm_intel or kvm_amd; without it pods are several times slower"));
    }
}

static void check_program(GPtrArray *findings, const char *subject, const char *const *names,
                          const char *package, DoctorVerdict without)
{
    for (; *names != NULL; names++) {
        char *path = g_find_program_in_path(*names);

        if (path != NULL) {
            add_good(findings, subject, path);
            return;
        }
    }
    add(findings, without, subject, g_strdup("it is not installed"),
        g_strdup_printf("apt-get install %s", package));
}

static void check_programs(GPtrArray *findings)
{
    struct utsname node;
    gboolean is_arm = uname(&node) == 0 && g_str_equal(node.machine, "aarch64");
    const char *const qemu[] = {is_arm ? "qemu-system-aarch64" : "qemu-system-x86_64", NULL};
    static const char *const virtiofsd[] = {"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd", "virtiofsd",
                                            NULL};
    static const char *const mkfs_ext4[] = {"mkfs.ext4", "/sbin/mkfs.ext4", NULL};
    static const char *const mkfs_erofs[] = {"mkfs.erofs", NULL};

    check_program(findings, "QEMU", qemu, is_arm ? "qemu-system-arm" : "qemu-system-x86", DOCTOR_BAD);
    check_program(findings, "virtiofsd, for volumes", virtiofsd, "qemu-system-common", DOCTOR_WARNING);
    check_program(findings, "mkfs.ext4, for writable layers", mkfs_ext4, "e2fsprogs", DOCTOR_BAD);
    check_program(findings, "mkfs.erofs, for image layers", mkfs_erofs, "erofs-utils", DOCTOR_BAD);
}

static void check_user(GPtrArray *findings, const Config *config)
{
    gboolean has_user = getpwnam(config->qemu_user) != NULL;

    if (has_user && getgrnam(config->qemu_group) != NULL)
        add_good(findings, "QEMU's user", g_strdup(config->qemu_user));
    else
        add(findings, DOCTOR_BAD, "QEMU's user",
            g_strdup_printf("there is no %s \"%s\"", has_user ? "group" : "user",
                            has_user ? config->qemu_group : config->qemu_user),
            g_strdup_printf("adduser --system --group --no-create-home %s, and adduser %s kvm",
                            config->qemu_user, config->qemu_user));
}

static void check_guest_file(GPtrArray *findings, const char *subject, const char *path)
{
    if (access(path, R_OK) == 0)
        add_good(findings, subject, g_strdup(path));
    else
        add(findings, DOCTOR_BAD, subject, g_strdup_printf("%s: %s", path, g_strerror(errno)),
            g_strdup("make it with kernel/image.sh (ninja guest-image), or say in [guest] where it is"));
}

/* ---- kernel ---- */

gboolean doctor_list_has_module(const char *list, const char *module)
{
    g_autofree char *file = g_strdup_printf("/%s.ko", module);
    const char *found = list;

    /* Followed by the end, a compression's suffix, or what it depends on. */
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

        if (file_read(path, FILE_MAX_BYTES, &text, NULL, NULL)) {
            *ret_known = TRUE;
            found = doctor_list_has_module(text, module);
        }
    }
    return found;
}

/* What moves packets between a pod's interface and its machine. */
static void check_modules(GPtrArray *findings)
{
    static const char *const needed[] = {"tun", "sch_ingress", "cls_u32", "act_mirred", NULL};
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
        add_good(findings, "kernel modules for the network", g_strdup("all there"));
    else if (all_known)
        add(findings, DOCTOR_BAD, "kernel modules for the network",
            g_strdup_printf("not there: %s", missing->str),
            g_strdup("use a distribution's kernel (not a \"cloud\" one that lacks them), or build them"));
    else
        add(findings, DOCTOR_WARNING, "kernel modules for the network",
            g_strdup_printf("cannot tell whether they are built in: %s", missing->str),
            g_strdup("if pods get no network, this is where to look"));
}

static void check_forwarding(GPtrArray *findings)
{
    g_autofree char *text = NULL;

    if (file_read("/proc/sys/net/ipv4/ip_forward", 16, &text, NULL, NULL) && *text == '1')
        add_good(findings, "IP forwarding", g_strdup("on"));
    else
        add(findings, DOCTOR_WARNING, "IP forwarding", g_strdup("off: pods reach only this node"),
            g_strdup("sysctl -w net.ipv4.ip_forward=1 (and a file in /etc/sysctl.d)"));
}

static void check_cgroup(GPtrArray *findings)
{
    struct statfs status;
    gboolean is_mounted = statfs("/sys/fs/cgroup", &status) == 0;

    if (is_mounted && status.f_type == CGROUP2_SUPER_MAGIC)
        add_good(findings, "cgroups", g_strdup("version 2"));
    else if (is_mounted && g_file_test("/sys/fs/cgroup/memory", G_FILE_TEST_IS_DIR))
        add_good(findings, "cgroups", g_strdup("version 1"));
    else
        add(findings, DOCTOR_WARNING, "cgroups", g_strdup("/sys/fs/cgroup has none: pods run without limits"),
            g_strdup("mount -t cgroup2 none /sys/fs/cgroup"));
}

/* ---- pods on the node ---- */

/* What a guest would bring along. They can be switched off, and most nodes do without. */
static void check_host(GPtrArray *findings, const Config *config)
{
    g_autoptr(GError) error = NULL;

    if (!config->host_pods)
        return;
    if (access(config->host_agent, X_OK) != 0)
        add(findings, DOCTOR_WARNING, "pods on the node",
            g_strdup_printf("their agent, %s: %s", config->host_agent, g_strerror(errno)),
            g_strdup("say in [host] agent where it is, or switch them off: [host] pods = false"));
    else if (access(NODE_CRUN, X_OK) != 0)
        add(findings, DOCTOR_WARNING, "pods on the node",
            g_strdup_printf(NODE_CRUN ": %s", g_strerror(errno)), g_strdup("apt-get install crun"));
    else if (!node_kernel_check(NODE_KERNEL_LAYERS, NODE_KERNEL_LOOP, &error))
        add(findings, DOCTOR_WARNING, "pods on the node", g_strdup(error->message),
            g_strdup("a kernel with both, or switch them off: [host] pods = false"));
    else
        add_good(findings, "pods on the node", g_strdup("the node has what they need"));
}

/* ---- network ---- */

char **doctor_cni_types(const char *json)
{
    static const char *const plugins_path[] = {"plugins", NULL};
    static const char *const type_path[] = {"type", NULL};
    char message[256];
    yajl_val tree = yajl_tree_parse(json, message, sizeof message);
    yajl_val plugins = tree != NULL ? yajl_tree_get(tree, (const char **)plugins_path, yajl_t_array) : NULL;
    g_autoptr(GPtrArray) types = g_ptr_array_new_with_free_func(g_free);
    yajl_val type = tree != NULL ? yajl_tree_get(tree, (const char **)type_path, yajl_t_string) : NULL;

    if (plugins == NULL && type != NULL)
        g_ptr_array_add(types, g_strdup(YAJL_GET_STRING(type))); /* a single plugin's .conf */
    for (size_t i = 0; plugins != NULL && i < plugins->u.array.len; i++) {
        type = yajl_tree_get(plugins->u.array.values[i], (const char **)type_path, yajl_t_string);
        if (type != NULL)
            g_ptr_array_add(types, g_strdup(YAJL_GET_STRING(type)));
    }
    yajl_tree_free(tree);
    if (types->len == 0)
        return NULL;
    g_ptr_array_add(types, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&types), FALSE);
}

/* The first by name, as the daemon chooses. */
static char *find_cni_config(const char *path)
{
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    g_autofree char *first = NULL;
    const char *name;

    while (directory != NULL && (name = g_dir_read_name(directory)) != NULL)
        if ((g_str_has_suffix(name, ".conflist") || g_str_has_suffix(name, ".conf") ||
             g_str_has_suffix(name, ".json")) &&
            (first == NULL || strcmp(name, first) < 0)) {
            g_free(first);
            first = g_strdup(name);
        }
    return first != NULL ? g_build_filename(path, first, NULL) : NULL;
}

static gboolean has_plugin(char **directories, const char *type)
{
    gboolean found = FALSE;

    for (char **directory = directories; !found && *directory != NULL; directory++) {
        g_autofree char *path = g_build_filename(*directory, type, NULL);

        found = access(path, X_OK) == 0;
    }
    return found;
}

static void check_cni(GPtrArray *findings, const Config *config)
{
    g_autofree char *path = find_cni_config(config->cni_config_dir);
    g_autofree char *directories = g_strjoinv(", ", config->cni_plugin_dirs);
    g_autofree char *text = NULL;
    g_auto(GStrv) types = NULL;

    if (path == NULL) {
        add(findings, DOCTOR_BAD, "CNI configuration",
            g_strdup_printf("there is none in %s: no pod gets a network", config->cni_config_dir),
            g_strdup("install the cluster's network add-on; a node without one may take "
                     "/usr/share/crivirt/cni/10-crivirt.conflist"));
        return;
    }
    if (file_read(path, FILE_MAX_BYTES, &text, NULL, NULL))
        types = doctor_cni_types(text);
    if (types == NULL) {
        add(findings, DOCTOR_BAD, "CNI configuration", g_strdup_printf("%s names no plugin", path),
            g_strdup("see https://www.cni.dev/docs/spec/#configuration-format"));
        return;
    }
    add_good(findings, "CNI configuration", g_strdup(path));
    for (char **type = types; *type != NULL; type++)
        if (has_plugin(config->cni_plugin_dirs, *type))
            add_good(findings, "CNI plugin", g_strdup(*type));
        else
            add(findings, DOCTOR_BAD, "CNI plugin",
                g_strdup_printf("%s is in none of %s", *type, directories),
                g_strdup("apt-get install containernetworking-plugins, or what the network add-on brings"));
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
        add_good(findings, "disk space", g_strdup_printf("%s free for %s", free_text, path));
    else
        add(findings, free_bytes < LEAST_SPACE_BYTES ? DOCTOR_BAD : DOCTOR_WARNING, "disk space",
            g_strdup_printf("only %s free for %s", free_text, path),
            g_strdup("crivirt gc, crivirt rmi of unused images, or another server.state_dir"));
}

/* ---- templates ---- */

/* Why the pods of some shape boot, though they could be restored (docs/templates.md). */
static void check_templates(GPtrArray *findings, const Config *config)
{
    g_autofree char *directory = g_build_filename(config->state_dir, "templates", NULL);
    g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        g_autofree char *path = g_build_filename(directory, name, "reason", NULL);
        g_autofree char *reason = NULL;

        if (!g_str_has_suffix(name, ".bad"))
            continue;
        if (!file_read(path, FILE_MAX_BYTES, &reason, NULL, NULL))
            reason = g_strdup("the reason is not known");
        add(findings, DOCTOR_WARNING, "template", g_strdup_printf("%s is quarantined: %s", name, reason),
            g_strdup_printf("it is made anew by itself; the note goes with: rm -r %s/%s", directory, name));
    }
}

GPtrArray *doctor_examine(const Config *config)
{
    GPtrArray *findings = g_ptr_array_new_with_free_func(finding_free);

    check_kvm(findings, config);
    check_programs(findings);
    check_user(findings, config);
    check_guest_file(findings, "guest kernel", config->guest_kernel);
    check_guest_file(findings, "guest initramfs", config->guest_initrd);
    check_modules(findings);
    check_host(findings, config);
    check_forwarding(findings);
    check_cni(findings, config);
    check_cgroup(findings);
    check_space(findings, config->state_dir);
    check_templates(findings, config);
    return findings;
}

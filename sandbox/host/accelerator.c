/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/accelerator.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <pwd.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/error.h"

enum { KVM_STABLE_API = 12, MAX_GROUPS = 256, ENTRY_BYTES = 16384 };

/* On a node that offers KVM although it does not work, creating a VM is the first step that fails. */
static const char *find_device_problem(void)
{
    int device = open(ACCELERATOR_KVM_DEVICE, O_RDWR | O_CLOEXEC);
    const char *problem = NULL;
    int vm;

    if (device < 0)
        return errno == ENOENT ? "/dev/kvm does not exist" : "/dev/kvm cannot be opened";
    if (ioctl(device, KVM_GET_API_VERSION, 0) != KVM_STABLE_API) {
        problem = "/dev/kvm does not have KVM's stable API";
    } else if ((vm = ioctl(device, KVM_CREATE_VM, 0)) < 0) {
        problem = "/dev/kvm refuses to create a VM";
    } else {
        close(vm);
    }
    close(device);
    return problem;
}

typedef struct {
    const char *path;
    uid_t uid;
    gid_t gid;
    gid_t groups[MAX_GROUPS];
    int n_groups;
    int error; /* errno of open(2); 0: it opened, or this process may not act for another user */
} OpenAsUser;

/* A thread's function: credentials of the file system belong to a thread, so the rest of the process keeps
 * its own. setgroups(2) is called directly, because glibc's function changes all threads. */
static gpointer open_as_user(gpointer data)
{
    OpenAsUser *request = data;
    int device;

    if (syscall(SYS_setgroups, (size_t)request->n_groups, request->groups) != 0)
        return NULL;
    setfsgid(request->gid);
    setfsuid(request->uid);
    device = open(request->path, O_RDWR | O_CLOEXEC);
    if (device >= 0)
        close(device);
    else
        request->error = errno;
    return NULL;
}

/* Pods start in many threads, so the functions with static results are of no use. Return: whether both exist.
 */
static gboolean find_identity(const char *user, const char *group, OpenAsUser *request)
{
    char buffer[ENTRY_BYTES];
    struct passwd account;
    struct passwd *found_account;
    struct group primary;
    struct group *found_group;

    if (getpwnam_r(user, &account, buffer, sizeof buffer, &found_account) != 0 || found_account == NULL)
        return FALSE;
    request->uid = account.pw_uid;
    request->gid = account.pw_gid;
    if (getgrnam_r(group, &primary, buffer, sizeof buffer, &found_group) != 0 || found_group == NULL)
        return FALSE;
    /* What libvirt gives to QEMU: the group of the configuration, and those that the user is a member of, its
     * primary group included. */
    if (getgrouplist(user, request->gid, request->groups, &request->n_groups) < 0)
        request->n_groups = MAX_GROUPS;
    request->gid = primary.gr_gid;
    return TRUE;
}

/* Return: the group that may read and write the device, which the caller frees; NULL when there is none. */
static char *find_device_group(const char *device)
{
    char buffer[ENTRY_BYTES];
    struct group owner;
    struct group *found;
    struct stat status;

    if (stat(device, &status) != 0 || (status.st_mode & S_IRGRP) == 0 || (status.st_mode & S_IWGRP) == 0 ||
        getgrgid_r(status.st_gid, &owner, buffer, sizeof buffer, &found) != 0 || found == NULL)
        return NULL;
    return g_strdup(owner.gr_name);
}

char *accelerator_user_problem(const char *device, const char *user, const char *group)
{
    OpenAsUser request = {.path = device, .n_groups = MAX_GROUPS};
    g_autofree char *owner = NULL;

    if (!find_identity(user, group, &request))
        return NULL;
    g_thread_join(g_thread_new("open-as-user", open_as_user, &request));
    if (request.error == 0)
        return NULL;
    owner = find_device_group(device);
    if (request.error != EACCES || owner == NULL)
        return g_strdup_printf("cannot open %s as user %s: %s", device, user, g_strerror(request.error));
    return g_strdup_printf("cannot open %s as user %s: add it to group %s (usermod -aG %s %s) and restart "
                           "crivirtd",
                           device, user, owner, owner, user);
}

/* The words of the first "flags" line of /proc/cpuinfo. */
static gboolean cpu_has_either(const char *one, const char *other)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) flags = NULL;
    char *line;

    if (!g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL) || (line = strstr(text, "\nflags")) == NULL)
        return FALSE;
    line++;
    line[strcspn(line, "\n")] = '\0';
    flags = g_strsplit_set(line, " \t", -1);
    return g_strv_contains((const char *const *)flags, one) ||
           g_strv_contains((const char *const *)flags, other);
}

static gboolean is_x86(void)
{
    struct utsname node = {0};

    uname(&node);
    return strcmp(node.machine, "x86_64") == 0;
}

const char *accelerator_architecture(void)
{
    return is_x86() ? "x86_64" : "aarch64";
}

AcceleratorFacts accelerator_look(const char *user, const char *group)
{
    AcceleratorFacts facts = {
        .cpu_virtualizes = !is_x86() || cpu_has_either("vmx", "svm"),
        .vendor_module = !is_x86() || access("/sys/module/kvm_intel", F_OK) == 0 ||
                         access("/sys/module/kvm_amd", F_OK) == 0,
    };

    facts.device_error = g_strdup(find_device_problem());
    if (facts.device_error == NULL)
        facts.device_error = accelerator_user_problem(ACCELERATOR_KVM_DEVICE, user, group);
    return facts;
}

void accelerator_facts_clear(AcceleratorFacts *facts)
{
    g_clear_pointer(&facts->device_error, g_free);
}

static const char *problem_of(const AcceleratorFacts *facts)
{
    if (facts->device_error != NULL)
        return facts->device_error;
    if (!facts->cpu_virtualizes)
        return "/dev/kvm is there, but the processor offers neither vmx nor svm";
    if (!facts->vendor_module)
        return "/dev/kvm is there, but neither kvm_intel nor kvm_amd is loaded";
    return NULL;
}

gboolean accelerator_choose(const char *wish, const AcceleratorFacts *facts, gboolean *ret_kvm,
                            char **ret_reason, GError **error)
{
    const char *problem = problem_of(facts);
    gboolean wants_kvm = g_str_equal(wish, "kvm");

    if (g_str_equal(wish, "tcg")) {
        *ret_kvm = FALSE;
        *ret_reason = g_strdup("emulation (TCG), because the configuration says so");
        return TRUE;
    }
    if (!wants_kvm && !g_str_equal(wish, "auto"))
        return fail(error, STATUS_INVALID_ARGUMENT, "unknown accelerator \"%s\": use auto, kvm or tcg", wish);
    if (wants_kvm && problem != NULL)
        return fail(error, STATUS_FAILED_PRECONDITION, "cannot use KVM, which the configuration asks for: %s",
                    problem);
    *ret_kvm = problem == NULL;
    *ret_reason = problem == NULL
                      ? g_strdup("KVM")
                      : g_strdup_printf("emulation (TCG, much slower than KVM), because %s", problem);
    return TRUE;
}

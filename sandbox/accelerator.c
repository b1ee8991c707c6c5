#include "sandbox/accelerator.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/error.h"

enum { KVM_STABLE_API = 12 };

/* Making a VM is what fails first where KVM is only pretended. */
static const char *look_at_device(void)
{
    int device = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    const char *problem = NULL;
    int vm;

    if (device < 0)
        return errno == ENOENT ? "/dev/kvm does not exist" : "/dev/kvm cannot be opened";
    if (ioctl(device, KVM_GET_API_VERSION, 0) != KVM_STABLE_API) {
        problem = "/dev/kvm does not speak KVM's stable interface";
    } else if ((vm = ioctl(device, KVM_CREATE_VM, 0)) < 0) {
        problem = "/dev/kvm refuses to make a VM";
    } else {
        close(vm);
    }
    close(device);
    return problem;
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

AcceleratorFacts accelerator_look(void)
{
    struct utsname machine = {0};
    gboolean is_x86;

    uname(&machine);
    is_x86 = strcmp(machine.machine, "x86_64") == 0;
    return (AcceleratorFacts){
        .architecture = is_x86 ? "x86_64" : "aarch64",
        .device_error = look_at_device(),
        .cpu_virtualizes = !is_x86 || cpu_has_either("vmx", "svm"),
        .vendor_module =
            !is_x86 || access("/sys/module/kvm_intel", F_OK) == 0 || access("/sys/module/kvm_amd", F_OK) == 0,
    };
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
        return fail(error, STATUS_INVALID_ARGUMENT, "accelerator \"%s\" is none of auto, kvm, tcg", wish);
    if (wants_kvm && problem != NULL)
        return fail(error, STATUS_FAILED_PRECONDITION, "the configuration asks for KVM, but %s", problem);
    *ret_kvm = problem == NULL;
    *ret_reason = problem == NULL
                      ? g_strdup("KVM")
                      : g_strdup_printf("emulation (TCG, much slower than KVM), because %s", problem);
    return TRUE;
}

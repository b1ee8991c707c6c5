/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/error.h"
#include "common/log.h"
#include "sandbox/host/accelerator.h"
#include "sandbox/host/cpu_node.h"
#include "sandbox/host/file_loan.h"
#include "sandbox/host/time_stamp.h"
#include "sandbox/vmm/vmm_private.h"

enum {
    DESTROY_TIMEOUT_MS = 30 * 1000, /* for QEMU to end after SIGKILL when the caller has no deadline */
    REAP_TRIES = 100,               /* a millisecond each */
};

virDomainPtr vmm_find_domain(Vmm *vmm, const char *name, GError **error)
{
    virDomainPtr domain = virDomainLookupByName(vmm->connection, name);

    if (domain == NULL) {
        g_autoptr(GError) problem = NULL;

        vmm_fail(&problem, "cannot find the VM"); /* before another call of libvirt replaces its error */
        if (!vmm_fail_if_ended(vmm, name, "the VM has ended", error))
            g_propagate_error(error, g_steal_pointer(&problem));
    }
    return domain;
}

char *vmm_stop_text(Vmm *vmm, const char *name)
{
    return vmm_table_stop_text(vmm->table, name);
}

void vmm_watch_end(Vmm *vmm, const char *name, VmmEndFunc func, gpointer data)
{
    vmm_table_watch(vmm->table, name, func, data);
}

void vmm_unwatch_end(Vmm *vmm, const char *name, gpointer data)
{
    vmm_table_unwatch(vmm->table, name, data);
}

void vmm_watch_blocked(Vmm *vmm, const char *name, VmmBlockedFunc func, gpointer data)
{
    vmm_table_watch_blocked(vmm->table, name, func, data);
}

void vmm_unwatch_blocked(Vmm *vmm, const char *name, gpointer data)
{
    vmm_table_unwatch_blocked(vmm->table, name, data);
}

gboolean vmm_read_xml(virDomainPtr domain, DomainXml *ret_xml, GError **error)
{
    char *text = virDomainGetXMLDesc(domain, 0);
    gboolean good;

    if (text == NULL)
        return vmm_fail(error, "cannot read the VM's description");
    good = domain_xml_read(text, ret_xml, error);
    free(text);
    return good;
}

VmmIdentity vmm_identity_in(const Vmm *vmm, const DomainXml *xml)
{
    return xml->has_user ? (VmmIdentity){xml->uid, xml->gid} : vmm->identity;
}

gboolean vmm_user(Vmm *vmm, const char *name, uid_t *ret_uid, gid_t *ret_gid, GError **error)
{
    VmmIdentity identity;

    if (!vmm_table_user(vmm->table, name, &identity, error))
        return FALSE;
    *ret_uid = identity.uid;
    *ret_gid = identity.gid;
    return TRUE;
}

pid_t vmm_pid(Vmm *vmm, const char *name)
{
    return vmm_root_pid(vmm->run_dir, name);
}

/* ---- creating ---- */

static void remove_logs(Vmm *vmm, const char *name)
{
    g_autofree char *log = vmm_qemu_log_path(vmm, name);

    if (vmm->embedded)
        unlink(log);
    vmm_remove_share_log(vmm, name);
}

static gboolean choose_accelerator(Vmm *vmm, const char *wish, gboolean *ret_kvm, GError **error)
{
    g_auto(AcceleratorFacts) facts = {0};
    g_autofree char *reason = NULL;

    if (wish == NULL || g_str_equal(wish, vmm->accelerator_wish)) {
        *ret_kvm = vmm->kvm;
        return TRUE;
    }
    facts = accelerator_look(vmm->qemu_user, vmm->qemu_group);
    return accelerator_choose(wish, &facts, ret_kvm, &reason, error);
}

gboolean vmm_choose_processor(Vmm *vmm, DomainSpec *spec, GError **error)
{
    gboolean accelerated;

    if (!choose_accelerator(vmm, spec->accelerator, &accelerated, error))
        return FALSE;
    if (!cpu_node_baseline(spec->cpu, accelerated, &spec->baseline, error)) {
        g_prefix_error(error, "cpu: ");
        return FALSE;
    }
    spec->accelerated = accelerated;
    return TRUE;
}

/* Permissions may have changed since the start. libvirt does not report that: it probes QEMU's capabilities
 * again and again, for minutes, as long as root can use KVM and QEMU's user cannot. */
static gboolean check_kvm(Vmm *vmm, GError **error)
{
    g_autofree char *problem =
        accelerator_user_problem(ACCELERATOR_KVM_DEVICE, vmm->qemu_user, vmm->qemu_group);

    return problem == NULL || fail(error, STATUS_UNAVAILABLE, "cannot start QEMU with KVM: %s", problem);
}

static VmmIdentity identity_of(const Vmm *vmm, const DomainSpec *spec)
{
    return spec->user != 0 ? (VmmIdentity){spec->user, spec->user} : vmm->identity;
}

static gboolean prepare_files(Vmm *vmm, const DomainSpec *spec, GError **error)
{
    const VmmIdentity user = identity_of(vmm, spec);

    if (access(spec->kernel, R_OK) != 0)
        return fail(error, STATUS_INTERNAL, "cannot read the guest's kernel %s: %s", spec->kernel,
                    g_strerror(errno));
    if (spec->initrd != NULL && access(spec->initrd, R_OK) != 0)
        return fail(error, STATUS_INTERNAL, "cannot read the guest's initramfs %s: %s", spec->initrd,
                    g_strerror(errno));
    for (gsize i = 0; i < spec->n_disks; i++)
        if (!vmm_prepare_disk(vmm, &user, &spec->disks[i], error))
            return FALSE;
    return vmm_prepare_console(vmm, &user, spec->console_path, error);
}

/* A user of the VM's own is in no group that may open /dev/kvm. Its own group, which has the same number, is
 * let in while QEMU starts, which opens the device once. */
static virDomainPtr start_domain(Vmm *vmm, const DomainSpec *spec, GError **error)
{
    gboolean enters = spec->accelerated && spec->user != 0;
    g_autofree char *xml = domain_xml_build(spec);
    g_autoptr(GError) problem = NULL;
    virDomainPtr domain;

    if (enters && !file_loan_begin(vmm->loans, ACCELERATOR_KVM_DEVICE, spec->user, TRUE, error))
        return NULL;
    domain = virDomainCreateXML(vmm->connection, xml, VIR_DOMAIN_START_PAUSED);
    if (domain == NULL) {
        vmm_fail(error, "cannot start QEMU");
        vmm_error_add_qemu_log(vmm, spec->name, error);
    }
    if (enters && !file_loan_end(vmm->loans, ACCELERATOR_KVM_DEVICE, spec->user, &problem))
        log_warning(LOG_FIELDS("sandbox", spec->name), "%s", problem->message);
    return domain;
}

/* A libvirtd decides by its own configuration which user QEMU has. */
static void note_process(Vmm *vmm, virDomainPtr domain, const DomainSpec *spec)
{
    VmmIdentity user = identity_of(vmm, spec);
    g_auto(DomainXml) xml = {0};

    if (!vmm->embedded && vmm_read_xml(domain, &xml, NULL))
        user = vmm_identity_in(vmm, &xml);
    vmm_table_set_process(vmm->table, spec->name, vmm_pid(vmm, spec->name), &user);
}

static gboolean create_reserved(Vmm *vmm, const DomainSpec *spec, GError **error)
{
    DomainSpec complete = *spec;
    g_autoptr(virDomain) domain = NULL;

    if (!vmm_choose_processor(vmm, &complete, error) || (complete.accelerated && !check_kvm(vmm, error)))
        return FALSE;
    complete.owner = vmm->state_dir;
    complete.emulator = vmm->qemu.named ? vmm->qemu.path : NULL;
    complete.time_stamp_khz = complete.accelerated ? 0 : time_stamp_khz();
    if (!domain_xml_architecture_known(spec->architecture))
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "cannot make a VM of the architecture %s: it is not supported", spec->architecture);
    if (!prepare_files(vmm, spec, error))
        return FALSE;
    domain = start_domain(vmm, &complete, error);
    if (domain == NULL)
        return FALSE;
    note_process(vmm, domain, spec);
    if (spec->incoming || vmm_table_live(vmm->table, spec->name))
        return TRUE;
    return !vmm_fail_if_ended(vmm, spec->name, "QEMU ended as soon as it was started", error) &&
           fail(error, STATUS_UNAVAILABLE, "QEMU ended as soon as it was started");
}

gboolean vmm_create(Vmm *vmm, const DomainSpec *spec, const Deadline *deadline, GError **error)
{
    if (!deadline_check(deadline, "starting QEMU", error) ||
        !vmm_table_reserve(vmm->table, spec->name, spec->console_path, error))
        return FALSE;
    if (create_reserved(vmm, spec, error))
        return TRUE;
    vmm_table_forget(vmm->table, spec->name);
    remove_logs(vmm, spec->name);
    return FALSE;
}

/* ---- running ---- */

gboolean vmm_resume(Vmm *vmm, const char *name, GError **error)
{
    g_autoptr(virDomain) domain = vmm_find_domain(vmm, name, error);

    if (domain == NULL)
        return FALSE;
    if (!vmm_table_live(vmm->table, name))
        return !vmm_fail_if_ended(vmm, name, "cannot resume the guest", error) &&
               fail(error, STATUS_UNAVAILABLE, "cannot resume the guest: the VM was destroyed");
    return virDomainResume(domain) == 0 || vmm_fail(error, "cannot resume the guest");
}

gboolean vmm_pause(Vmm *vmm, const char *name, GError **error)
{
    g_autoptr(virDomain) domain = vmm_find_domain(vmm, name, error);

    if (domain == NULL)
        return FALSE;
    return virDomainSuspend(domain) == 0 || vmm_fail(error, "cannot pause the guest");
}

gboolean vmm_libvirt_version(Vmm *vmm, gulong *ret_version, GError **error)
{
    return virConnectGetLibVersion(vmm->connection, ret_version) == 0 ||
           vmm_fail(error, "cannot read libvirt's version");
}

/* ---- destroying ---- */

/* Copies the sockets of the process, and so keeps them open beyond its end. Return: the descriptors, which
 * sockets_release() closes. */
static GArray *sockets_hold(int pid_fd, pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", (int)pid);
    g_autoptr(GDir) entries = g_dir_open(path, 0, NULL);
    GArray *sockets = g_array_new(FALSE, FALSE, sizeof(int));
    const char *entry;

    while (entries != NULL && (entry = g_dir_read_name(entries)) != NULL) {
        g_autofree char *link = g_build_filename(path, entry, NULL);
        g_autofree char *target = g_file_read_link(link, NULL);
        int fd;

        if (target == NULL || !g_str_has_prefix(target, "socket:"))
            continue;
        fd = (int)syscall(SYS_pidfd_getfd, pid_fd, (int)g_ascii_strtoll(entry, NULL, 10), 0);
        if (fd >= 0)
            g_array_append_val(sockets, fd);
    }
    return sockets;
}

static void sockets_release(GArray *sockets)
{
    for (guint i = 0; i < sockets->len; i++)
        close(g_array_index(sockets, int, i));
    g_array_unref(sockets);
}

/* libvirt checks whether the process exists at once, and again only after 200 ms. */
static void wait_until_reaped(pid_t pid)
{
    for (guint i = 0; i < REAP_TRIES && kill(pid, 0) == 0; i++)
        g_usleep(1000);
}

/* libvirt would send SIGTERM first and check every 200 ms; nothing in the guest needs that. A thread of
 * libvirt does the same when QEMU's monitor closes, which is some milliseconds before the process has ended;
 * that thread keeps virDomainDestroy() waiting meanwhile. So the monitor stays open until the process is
 * gone. The pidfd is opened before the process is checked, so that a process id that is reused meanwhile
 * cannot be hit. */
gboolean vmm_kill_qemu(Vmm *vmm, const char *name, const Deadline *deadline, GError **error)
{
    pid_t pid = vmm_root_pid(vmm->run_dir, name);
    struct pollfd ended = {.events = POLLIN};
    Deadline limit = deadline_sooner(deadline, DESTROY_TIMEOUT_MS);
    gboolean gone = TRUE;

    if (!vmm->embedded || pid == 0 || (ended.fd = (int)syscall(SYS_pidfd_open, pid, 0)) < 0)
        return TRUE;
    if (vmm_root_pid(vmm->run_dir, name) == pid) {
        GArray *sockets = sockets_hold(ended.fd, pid);

        syscall(SYS_pidfd_send_signal, ended.fd, SIGKILL, NULL, 0);
        while (poll(&ended, 1, deadline_left_ms(&limit)) < 0 && errno == EINTR)
            continue;
        gone = (ended.revents & POLLIN) != 0;
        wait_until_reaped(pid);
        sockets_release(sockets);
    }
    close(ended.fd);
    return gone ||
           fail(error, STATUS_DEADLINE_EXCEEDED, "QEMU (process %d) did not end after SIGKILL", (int)pid);
}

static gboolean destroy_domain(virDomainPtr domain, GError **error)
{
    virErrorPtr last;

    if (virDomainDestroy(domain) == 0)
        return TRUE;
    last = virGetLastError();
    if (last != NULL && (last->code == VIR_ERR_NO_DOMAIN || last->code == VIR_ERR_OPERATION_INVALID))
        return TRUE; /* the domain has ended meanwhile */
    return vmm_fail(error, "cannot destroy the VM");
}

gboolean vmm_destroy(Vmm *vmm, const char *name, const Deadline *deadline, GError **error)
{
    g_autoptr(virDomain) domain = virDomainLookupByName(vmm->connection, name);

    /* Also when libvirt no longer knows the VM: its name is taken until its end is reported. */
    vmm_table_destroying(vmm->table, name);
    if (domain != NULL && (!vmm_kill_qemu(vmm, name, deadline, error) || !destroy_domain(domain, error)))
        return FALSE;
    vmm_table_forget_end(vmm->table, name);
    remove_logs(vmm, name);
    if (vmm->embedded)
        vmm_root_forget(vmm->root, name);
    return TRUE;
}

/* ---- listing ---- */

void vmm_domain_free(VmmDomain *domain)
{
    if (domain == NULL)
        return;
    g_free(domain->name);
    g_free(domain);
}

static void list_domain(Vmm *vmm, virDomainPtr domain, gpointer data)
{
    GPtrArray *list = data;
    VmmDomain *entry;
    int state;

    if (virDomainGetState(domain, &state, NULL, 0) < 0)
        return; /* the domain has ended meanwhile */
    entry = g_new0(VmmDomain, 1);
    entry->name = g_strdup(virDomainGetName(domain));
    entry->running = state == VIR_DOMAIN_RUNNING || vmm_disk_full_has_paused(domain);
    entry->pid = vmm_root_pid(vmm->run_dir, entry->name);
    g_ptr_array_add(list, entry);
}

gboolean vmm_list(Vmm *vmm, GPtrArray **ret_domains, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)vmm_domain_free);

    if (!vmm_for_each_domain(vmm, list_domain, list, error))
        return FALSE;
    *ret_domains = g_steal_pointer(&list);
    return TRUE;
}

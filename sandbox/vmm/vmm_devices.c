/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/log.h"
#include "sandbox/host/file_loan.h"
#include "sandbox/vmm/console.h"
#include "sandbox/vmm/virtiofsd.h"
#include "sandbox/vmm/vmm_memory.h"
#include "sandbox/vmm/vmm_private.h"

#define FSGUARD "crivirt-fsguard: " /* begins its lines in the log */

enum { DETACH_POLL_MS = 20, SHARE_LOG_BYTES = 4096, SHARE_LOG_LINES = 32 };

/* ---- files that QEMU, which is unprivileged, opens by itself ---- */

static gboolean give_to_qemu(const VmmIdentity *user, int fd, const char *path, GError **error)
{
    if (fd < 0)
        return fail_errno(error, errno, "cannot open %s", path);
    if (fchown(fd, user->uid, user->gid) != 0 || fchmod(fd, 0600) != 0) {
        fail_errno(error, errno, "cannot make QEMU's user the owner of %s", path);
        close(fd);
        return FALSE;
    }
    close(fd);
    return TRUE;
}

/* Layers are root's, and a volume's device node was made for QEMU. */
static gboolean disk_is_qemus(const Vmm *vmm, const DiskSpec *disk)
{
    return vmm->embedded && !disk->readonly && !disk->lasting;
}

gboolean vmm_prepare_disk(Vmm *vmm, const VmmIdentity *user, const DiskSpec *disk, GError **error)
{
    if (!disk_is_qemus(vmm, disk))
        return TRUE;
    return give_to_qemu(user, open(disk->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), disk->path, error);
}

gboolean vmm_prepare_console(Vmm *vmm, const VmmIdentity *user, const char *path, GError **error)
{
    return !vmm->embedded ||
           give_to_qemu(user, open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), path, error);
}

/* ---- attaching and detaching ---- */

static gboolean attach_device(Vmm *vmm, const char *name, const char *xml, const char *what, GError **error)
{
    g_autofree char *doing = g_strdup_printf("cannot attach %s to the VM", what);
    g_autoptr(virDomain) domain = vmm_find_domain(vmm, name, error);

    if (domain == NULL)
        return FALSE;
    return virDomainAttachDeviceFlags(domain, xml, VIR_DOMAIN_AFFECT_LIVE) == 0 || vmm_fail(error, doing);
}

/* A device to detach, and how its presence is seen in the domain's description. */
typedef struct {
    const char *name; /* of the domain */
    const char *what; /* "a disk" */
    const char *xml;
    const char *key;
    gboolean (*is_in)(const DomainXml *xml, const char *key);
} Detachment;

static gboolean is_attached(virDomainPtr domain, const Detachment *device, gboolean *ret_is, GError **error)
{
    g_auto(DomainXml) xml = {0};

    if (!vmm_read_xml(domain, &xml, error))
        return FALSE;
    *ret_is = device->is_in(&xml, device->key);
    return TRUE;
}

/* libvirt asks the guest to release the device, and takes it out of the description when the guest has. */
static gboolean detach_device(Vmm *vmm, virDomainPtr domain, const Detachment *device,
                              const Deadline *deadline, GError **error)
{
    g_autofree char *failed = g_strdup_printf("cannot detach %s from the VM", device->what);
    g_autofree char *waiting = g_strdup_printf("waiting for the guest to release %s", device->what);
    gboolean is = FALSE;

    if (!is_attached(domain, device, &is, error))
        return FALSE;
    if (is && virDomainDetachDeviceFlags(domain, device->xml, VIR_DOMAIN_AFFECT_LIVE) != 0)
        return vmm_fail(error, failed);
    while (is) {
        if (!vmm_table_check_blocked(vmm->table, device->name, waiting, error) ||
            !deadline_check(deadline, waiting, error) || !is_attached(domain, device, &is, error))
            return FALSE;
        if (is)
            g_usleep(DETACH_POLL_MS * G_TIME_SPAN_MILLISECOND);
    }
    return TRUE;
}

/* ---- disks ---- */

/* Layers belong to the group of the account. A user of the VM's own is not in that group: it is let in while
 * QEMU opens the layer, so that it reads those of its own pod only. */
gboolean vmm_attach_disk(Vmm *vmm, const char *name, const DiskSpec *disk, GError **error)
{
    g_autofree char *xml = domain_xml_disk(disk);
    g_autoptr(GError) problem = NULL;
    VmmIdentity user = vmm->identity;
    gboolean enters;
    gboolean good;

    if (vmm->embedded && !disk->lasting && !vmm_table_user(vmm->table, name, &user, error))
        return FALSE;
    enters = disk->readonly && user.uid != vmm->identity.uid;
    if (!vmm_prepare_disk(vmm, &user, disk, error) ||
        (enters && !file_loan_begin(vmm->loans, disk->path, user.gid, FALSE, error)))
        return FALSE;
    good = attach_device(vmm, name, xml, disk->path, error);
    if (enters && !file_loan_end(vmm->loans, disk->path, user.gid, &problem))
        log_warning(LOG_FIELDS("sandbox", name), "%s", problem->message);
    return good;
}

gboolean vmm_has_disk(Vmm *vmm, const char *name, const char *serial, gboolean *ret_has, GError **error)
{
    g_autoptr(virDomain) domain = vmm_find_domain(vmm, name, error);
    g_auto(DomainXml) xml = {0};

    if (domain == NULL || !vmm_read_xml(domain, &xml, error))
        return FALSE;
    *ret_has = domain_xml_has_disk(&xml, serial);
    return TRUE;
}

gboolean vmm_detach_disk(Vmm *vmm, const char *name, const DiskSpec *disk, const Deadline *deadline,
                         GError **error)
{
    g_autoptr(virDomain) domain = vmm_find_domain(vmm, name, error);
    g_autofree char *xml = domain_xml_disk(disk);
    const Detachment device = {name, "a disk", xml, disk->serial, domain_xml_has_disk};

    return domain != NULL && detach_device(vmm, domain, &device, deadline, error);
}

/* ---- shares ---- */

/* The socket of the domain's virtiofsd (suffix "") or its log (".log"). Only the first 20 characters of the
 * name are used, because socket paths are limited to 107 bytes. */
static char *share_file(Vmm *vmm, const char *name, const char *suffix)
{
    return g_strdup_printf("%s/%.20s" VIRTIOFSD_SOCKET_SUFFIX "%s", vmm->socket_dir, name, suffix);
}

/* Not named as a socket that no QEMU has connected to (virtiofsd_end_orphans()): the next daemon needs it. */
static char *parked_socket(Vmm *vmm, const char *name)
{
    return share_file(vmm, name, ".parked");
}

void vmm_remove_share_log(Vmm *vmm, const char *name)
{
    g_autofree char *log = share_file(vmm, name, ".log");
    g_autofree char *socket = share_file(vmm, name, "");
    g_autofree char *control = virtiofsd_control_path(socket);

    vmm_end_parked_share(vmm, name);
    unlink(log);
    unlink(control);
}

/* fsguard logs it; when fsguard itself has ended, virtiofsd ends as well. */
static gboolean virtiofsd_died_first(const char *log)
{
    g_autofree char *tail = console_tail(log, SHARE_LOG_BYTES, SHARE_LOG_LINES);

    return strstr(tail, FSGUARD "virtiofsd has died") != NULL;
}

/* Return: the last message of virtiofsd, or "" where there is none; the caller frees it. fsguard writes to
 * the same log. */
static char *share_message(Vmm *vmm, const char *name)
{
    g_autofree char *log = share_file(vmm, name, ".log");
    g_autofree char *tail = console_tail(log, SHARE_LOG_BYTES, SHARE_LOG_LINES);
    g_auto(GStrv) lines = g_strsplit(tail, "\n", -1);
    const char *last = "";

    for (gsize i = 0; lines[i] != NULL; i++)
        if (!g_str_has_prefix(lines[i], FSGUARD))
            last = lines[i];
    return g_strdup(last);
}

void vmm_share_explain(Vmm *vmm, const char *name, GError **error)
{
    g_autofree char *message = share_message(vmm, name);

    g_prefix_error(error,
                   "the file server of the volumes (virtiofsd) has ended%s%s: ", *message != '\0' ? ": " : "",
                   message);
    if (error != NULL && *error != NULL)
        (*error)->code = STATUS_UNAVAILABLE;
}

/* The strings are the caller's. */
static gboolean server_spec(Vmm *vmm, const char *name, const ShareSpec *share, const char *socket,
                            const char *log, VirtiofsdSpec *ret_spec, GError **error)
{
    VmmIdentity user;

    if (!vmm_table_user(vmm->table, name, &user, error))
        return FALSE;
    *ret_spec = (VirtiofsdSpec){
        .source = share->source,
        .socket = socket,
        .log = log,
        .uid = user.uid,
        .gid = user.gid,
        .cache = share->cache,
        .locks = share->locks,
        .recovery = share->recovery,
        .oom_score_adj = share->oom_score_adj,
    };
    return TRUE;
}

/* The same for a new fsguard. A guest with private memory has recovery whatever the options say, which may
 * have changed since it was restored. *ret_parts: borrowed by the spec; the caller's, also on error. */
static gboolean fsguard_spec(Vmm *vmm, const char *name, const ShareSpec *share, const char *socket,
                             const char *log, VirtiofsdSpec *ret_spec, GArray **ret_parts, GError **error)
{
    if (!server_spec(vmm, name, share, socket, log, ret_spec, error) ||
        (*ret_parts = vmm_memory_private_parts(vmm, name, error)) == NULL)
        return FALSE;
    ret_spec->private_parts = *ret_parts;
    ret_spec->recovery = ret_spec->recovery || (*ret_parts)->len > 0;
    return TRUE;
}

/* Attaches the share whose server listens at the socket, which ends otherwise. */
static gboolean server_attach(Vmm *vmm, const char *name, const ShareSpec *share, const VirtiofsdSpec *server,
                              GError **error)
{
    g_autofree char *xml = domain_xml_share(share, server->socket);
    gboolean attached = attach_device(vmm, name, xml, share->source, error);

    if (!attached) {
        if (virtiofsd_died_first(server->log))
            vmm_share_explain(vmm, name, error);
        virtiofsd_end(server->socket);
    }
    unlink(server->socket);
    return attached;
}

gboolean vmm_attach_share(Vmm *vmm, const char *name, const ShareSpec *share,
                          VirtiofsdProcesses *ret_processes, GError **error)
{
    g_autofree char *socket = share_file(vmm, name, "");
    g_autofree char *log = share_file(vmm, name, ".log");
    g_autoptr(GArray) private_parts = NULL;
    VirtiofsdSpec server;

    return fsguard_spec(vmm, name, share, socket, log, &server, &private_parts, error) &&
           virtiofsd_start(&server, ret_processes, error) && server_attach(vmm, name, share, &server, error);
}

gboolean vmm_keep_share(Vmm *vmm, const char *name, pid_t server, GError **error)
{
    g_autofree char *socket = share_file(vmm, name, "");

    return virtiofsd_keep_namespace(socket, server, error);
}

gboolean vmm_recover_share(Vmm *vmm, const char *name, const ShareSpec *share, VirtiofsdBindFunc bind,
                           gpointer data, pid_t *ret_server, char **ret_summary, GError **error)
{
    g_autofree char *socket = share_file(vmm, name, "");
    g_autofree char *log = share_file(vmm, name, ".log");
    VirtiofsdSpec server;

    return server_spec(vmm, name, share, socket, log, &server, error) &&
           virtiofsd_replace(&server, bind, data, ret_server, ret_summary, error);
}

void vmm_give_up_share(Vmm *vmm, const char *name)
{
    g_autofree char *socket = share_file(vmm, name, "");

    virtiofsd_give_up(socket);
}

gboolean vmm_share_has_fsguard(Vmm *vmm, const char *name)
{
    g_autofree char *log = share_file(vmm, name, ".log");

    return virtiofsd_has_fsguard(log);
}

gboolean vmm_detach_share(Vmm *vmm, const char *name, const ShareSpec *share, const Deadline *deadline,
                          GError **error)
{
    g_autoptr(virDomain) domain = vmm_find_domain(vmm, name, error);
    g_autofree char *socket = share_file(vmm, name, "");
    g_autofree char *xml = domain_xml_share(share, socket);
    const Detachment device = {name, "a share", xml, share->tag, domain_xml_has_share};

    return domain != NULL && detach_device(vmm, domain, &device, deadline, error);
}

/* ---- shares of guests that are saved ---- */

gboolean vmm_park_share(Vmm *vmm, const char *name, const ShareSpec *share, int fd, const Deadline *deadline,
                        GError **error)
{
    g_autofree char *socket = share_file(vmm, name, "");
    g_autofree char *log = share_file(vmm, name, ".log");
    g_autofree char *parked = parked_socket(vmm, name);
    VirtiofsdSpec server;

    return server_spec(vmm, name, share, socket, log, &server, error) &&
           virtiofsd_park(&server, parked, error) && vmm_detach_share(vmm, name, share, deadline, error) &&
           virtiofsd_save(socket, fd, error);
}

void vmm_end_parked_share(Vmm *vmm, const char *name)
{
    g_autofree char *socket = share_file(vmm, name, "");
    g_autofree char *parked = parked_socket(vmm, name);

    if (access(parked, F_OK) == 0)
        virtiofsd_unpark(socket);
    unlink(parked);
}

gboolean vmm_unpark_share(Vmm *vmm, const char *name, const ShareSpec *share, GError **error)
{
    g_autoptr(virDomain) domain = vmm_find_domain(vmm, name, error);
    g_autofree char *parked = parked_socket(vmm, name);
    g_autofree char *xml = domain_xml_share(share, parked);
    g_auto(DomainXml) described = {0};

    if (domain == NULL || !vmm_read_xml(domain, &described, error) ||
        (!domain_xml_has_share(&described, share->tag) &&
         !attach_device(vmm, name, xml, share->source, error)))
        return FALSE;
    return TRUE;
}

void vmm_finish_unpark(Vmm *vmm, const char *name)
{
    g_autofree char *socket = share_file(vmm, name, "");
    g_autofree char *parked = parked_socket(vmm, name);

    virtiofsd_unpark(socket);
    unlink(parked);
}

gboolean vmm_attach_saved_share(Vmm *vmm, const char *name, const ShareSpec *share, int saved_fd,
                                VirtiofsdBindFunc bind, gpointer data, VirtiofsdProcesses *ret_processes,
                                GError **error)
{
    g_autofree char *socket = share_file(vmm, name, "");
    g_autofree char *log = share_file(vmm, name, ".log");
    g_autoptr(GArray) private_parts = NULL;
    VirtiofsdSpec server;

    return fsguard_spec(vmm, name, share, socket, log, &server, &private_parts, error) &&
           virtiofsd_start_saved(&server, saved_fd, bind, data, ret_processes, error) &&
           server_attach(vmm, name, share, &server, error);
}

/* ---- PCI devices ---- */

gboolean vmm_attach_pci(Vmm *vmm, const char *name, const PciAddress *address, GError **error)
{
    g_autoptr(virDomain) domain = vmm_find_domain(vmm, name, error);
    g_autofree char *device = domain_xml_pci(address);
    g_auto(DomainXml) xml = {0};

    if (domain == NULL || !vmm_read_xml(domain, &xml, error))
        return FALSE;
    return domain_xml_has_pci(&xml, address) || attach_device(vmm, name, device, "a PCI device", error);
}

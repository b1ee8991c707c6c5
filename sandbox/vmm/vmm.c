/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/vmm.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/child.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "sandbox/host/accelerator.h"
#include "sandbox/host/file_loan.h"
#include "sandbox/vmm/console.h"
#include "sandbox/vmm/cpu_map.h"
#include "sandbox/vmm/virtiofsd.h"
#include "sandbox/vmm/vmm_private.h"

static gint vmm_is_open;

/* ---- the connection ---- */

/* By default libvirt's log goes to stderr in a format of its own. What matters in it is in crivirtd's errors.
 * The environment can be changed because no other thread exists yet. */
static void send_log_to_file(Vmm *vmm)
{
    g_autofree char *outputs = g_strdup_printf("4:file:%s/libvirt.log", vmm->root);
    g_autofree char *path = g_build_filename(vmm->root, "libvirt.log", NULL);

    console_trim(path, 0);
    g_setenv("LIBVIRT_LOG_OUTPUTS", outputs, FALSE);
}

static gboolean open_embedded(Vmm *vmm, const VmmConfig *config, GError **error)
{
    g_autofree char *uri = g_strdup_printf("qemu:///embed?root=%s", vmm->root);

    if (!vmm_root_prepare(vmm->root, config, error))
        return FALSE;
    vmm->reaper = reaper_start(error);
    if (vmm->reaper == NULL)
        return FALSE;
    child_watch_forks();
    send_log_to_file(vmm);
    if (!cpu_map_load(error))
        return FALSE;
    vmm_events_start(vmm);
    vmm->connection = virConnectOpen(uri);
    return vmm->connection != NULL || vmm_fail(error, "cannot open libvirt's embedded driver");
}

/* libvirtd was restarted. The guests run on; crivirtd ends, and finds them again when the service manager has
 * started it. */
static void on_connection_closed(virConnectPtr connection, int reason, void *data)
{
    (void)connection;
    (void)data;
    if (reason == VIR_CONNECT_CLOSE_REASON_CLIENT)
        return; /* by vmm_close() */
    log_error(LOG_NO_FIELDS,
              "libvirtd closed the connection: crivirtd ends, for the service manager to start it again");
    kill(getpid(), SIGTERM);
}

static gboolean open_daemon(Vmm *vmm, const VmmConfig *config, GError **error)
{
    g_autofree char *doing = g_strdup_printf("cannot connect to libvirt at %s", config->uri);

    vmm_events_start(vmm);
    vmm->connection = virConnectOpen(config->uri);
    if (vmm->connection == NULL)
        return vmm_fail(error, doing);
    virConnectSetKeepAlive(vmm->connection, 10, 3); /* a libvirtd that hangs is noticed within 40 s */
    virConnectRegisterCloseCallback(vmm->connection, on_connection_closed, NULL, NULL);
    return TRUE;
}

static gboolean capabilities_ask(Vmm *vmm, GError **error)
{
    char *capabilities =
        virConnectGetDomainCapabilities(vmm->connection, vmm->qemu.named ? vmm->qemu.path : NULL,
                                        accelerator_architecture(), NULL, vmm->kvm ? "kvm" : "qemu", 0);

    if (capabilities == NULL)
        return vmm_fail(error, "cannot read QEMU's capabilities");
    free(capabilities);
    return TRUE;
}

/* libvirt's first query of QEMU's capabilities takes half a second, which would delay the first pod. For it
 * libvirt runs a QEMU. Once in about a thousand starts of daemons on a busy node it failed, with no more than
 * "the cause is unknown". */
static gboolean warm_capabilities(Vmm *vmm, GError **error)
{
    g_autoptr(GError) problem = NULL;

    if (capabilities_ask(vmm, &problem))
        return TRUE;
    log_warning(LOG_NO_FIELDS, "%s; asking once more", problem->message);
    return capabilities_ask(vmm, error);
}

static gboolean open_connection(Vmm *vmm, const VmmConfig *config, GError **error)
{
    if (vmm->embedded ? !open_embedded(vmm, config, error) : !open_daemon(vmm, config, error))
        return FALSE;
    if (!vmm_events_register(vmm, error))
        return FALSE;
    vmm_disk_full_start(vmm);
    virtiofsd_end_orphans(vmm->socket_dir);
    return vmm_adopt_all(vmm, error) && warm_capabilities(vmm, error);
}

/* ---- the Vmm ---- */

static gboolean open_vmm(Vmm *vmm, const VmmConfig *config, GError **error)
{
    g_autofree char *lockfile = g_build_filename(vmm->state_dir, "vmm.lock", NULL);
    g_auto(AcceleratorFacts) facts = {0};

    if (!vmm_root_identity(config->qemu_user, config->qemu_group, &vmm->identity, error))
        return FALSE;
    if (!qemu_program_find(config->qemu, vmm->embedded, &vmm->qemu, error))
        return g_prefix_error(error, "hypervisor.qemu: "), FALSE;
    if (vmm->embedded)
        vmm_root_open_kvm(&vmm->identity);
    facts = accelerator_look(vmm->qemu_user, vmm->qemu_group);
    if (!accelerator_choose(config->accelerator, &facts, &vmm->kvm, &vmm->accelerator, error))
        return FALSE;
    if (!dir_make(vmm->state_dir, 0711, error) || !file_lock(lockfile, &vmm->lock_fd, error))
        return g_prefix_error(error, "cannot open the state directory %s: ", vmm->state_dir), FALSE;
    if (!dir_make(vmm->loans, 0700, error))
        return FALSE;
    file_loan_end_all(vmm->loans);
    return open_connection(vmm, config, error);
}

static Vmm *vmm_new(const VmmConfig *config)
{
    Vmm *vmm = g_new0(Vmm, 1);

    vmm->embedded = strcmp(config->uri, "embed") == 0;
    vmm->qemu_user = g_strdup(config->qemu_user);
    vmm->qemu_group = g_strdup(config->qemu_group);
    vmm->accelerator_wish = g_strdup(config->accelerator);
    vmm->state_dir = g_strdup(config->state_dir);
    vmm->loans = g_build_filename(config->state_dir, "loans", NULL);
    vmm->root = g_build_filename(config->state_dir, "libvirt", NULL);
    vmm->run_dir =
        vmm->embedded ? g_build_filename(vmm->root, "run", "qemu", NULL) : g_strdup("/run/libvirt/qemu");
    vmm->socket_dir = g_strdup(config->run_dir);
    vmm->lock_fd = vmm->trim_timer = -1;
    vmm->callback_id = vmm->io_error_callback_id = vmm->qemu_callback_id = -1;
    vmm->table = vmm_table_new();
    g_mutex_init(&vmm->disk_full.lock);
    g_cond_init(&vmm->disk_full.changed);
    return vmm;
}

Vmm *vmm_open(const VmmConfig *config, VmmStoppedFunc stopped, gpointer data, GError **error)
{
    Vmm *vmm;

    if (!g_atomic_int_compare_and_exchange(&vmm_is_open, FALSE, TRUE)) {
        fail(error, STATUS_FAILED_PRECONDITION, "libvirt's embedded driver is open in this process already");
        return NULL;
    }
    vmm = vmm_new(config);
    vmm->stopped = stopped;
    vmm->stopped_data = data;
    if (!open_vmm(vmm, config, error)) {
        vmm_close(vmm);
        return NULL;
    }
    return vmm;
}

void vmm_close(Vmm *vmm)
{
    if (vmm == NULL)
        return;
    vmm_disk_full_stop(vmm);
    vmm_events_deregister(vmm);
    if (vmm->connection != NULL)
        virConnectClose(vmm->connection);
    vmm_events_stop(vmm);
    reaper_stop(vmm->reaper);
    if (vmm->lock_fd >= 0)
        close(vmm->lock_fd);
    vmm_table_free(vmm->table);
    g_mutex_clear(&vmm->disk_full.lock);
    g_cond_clear(&vmm->disk_full.changed);
    qemu_program_clear(&vmm->qemu);
    g_free(vmm->qemu_user);
    g_free(vmm->qemu_group);
    g_free(vmm->accelerator_wish);
    g_free(vmm->accelerator);
    g_free(vmm->state_dir);
    g_free(vmm->loans);
    g_free(vmm->root);
    g_free(vmm->run_dir);
    g_free(vmm->socket_dir);
    g_free(vmm);
    g_atomic_int_set(&vmm_is_open, FALSE);
}

const QemuProgram *vmm_qemu(Vmm *vmm)
{
    return &vmm->qemu;
}

gboolean vmm_uses_kvm(Vmm *vmm, const char **ret_reason)
{
    if (ret_reason != NULL)
        *ret_reason = vmm->accelerator;
    return vmm->kvm;
}

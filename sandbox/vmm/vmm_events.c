/* SPDX-License-Identifier: Apache-2.0 */
#include <libvirt/libvirt-qemu.h>
#include <libvirt/virterror.h>
#include <string.h>

#include "common/log.h"
#include "sandbox/vmm/console.h"
#include "sandbox/vmm/panic.h"
#include "sandbox/vmm/qemu_log.h"
#include "sandbox/vmm/vmm_private.h"

enum { TRIM_INTERVAL_MS = 15 * 1000, CONSOLE_MAX_BYTES = 1 << 20, LOG_MAX_BYTES = 1 << 20 };
enum { DYING_TIMEOUT_MS = 100 }; /* from the moment when QEMU's monitor closes to the end of its process */

/* ---- libvirt's events ---- */

static VmmStopReason stop_reason_of(int detail)
{
    switch (detail) {
    case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
        return VMM_STOPPED_SHUTDOWN;
    case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
        return VMM_STOPPED_DESTROYED;
    default:
        return VMM_STOPPED_CRASHED;
    }
}

/* Return: 0 also for a process of which there is no record. */
static int signal_that_killed(Vmm *vmm, const char *name)
{
    pid_t pid = vmm_table_pid(vmm->table, name);
    int signal_number = 0;

    if (pid != 0)
        reaper_find_end(vmm->reaper, pid, DYING_TIMEOUT_MS, &signal_number);
    return signal_number;
}

static void on_domain_stopped(Vmm *vmm, const char *name, int detail)
{
    VmmStopReason reason = stop_reason_of(detail);
    g_autofree char *log = vmm_qemu_log_tail(vmm, name);
    g_autofree char *message = qemu_log_find_message(log);
    g_autofree char *console = vmm_table_console(vmm->table, name);
    g_autofree char *panic = panic_read(console);
    LastWords words = {reason == VMM_STOPPED_CRASHED ? signal_that_killed(vmm, name) : 0, message, panic};
    g_autofree char *text = NULL;

    if (vmm_table_end(vmm->table, name, &reason, &words, &text) && vmm->stopped != NULL)
        vmm->stopped(name, reason, text, vmm->stopped_data);
}

/* Precedes the event that the guest is paused, and has the disk. */
static void on_io_error(virConnectPtr connection, virDomainPtr domain, const char *path, const char *device,
                        int action, const char *reason, void *data)
{
    Vmm *vmm = data;

    (void)connection, (void)device, (void)reason;
    if (action == VIR_DOMAIN_EVENT_IO_ERROR_PAUSE)
        vmm_table_set_full_disk(vmm->table, virDomainGetName(domain), path);
}

static int on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail, void *data)
{
    (void)connection;
    if (event == VIR_DOMAIN_EVENT_STOPPED)
        on_domain_stopped(data, virDomainGetName(domain), detail);
    if (event == VIR_DOMAIN_EVENT_SUSPENDED && detail == VIR_DOMAIN_EVENT_SUSPENDED_IOERROR)
        vmm_disk_full_add(data, virDomainGetName(domain));
    return 0;
}

/* QEMU's own event precedes the domain's end and has the reason: a guest is reset by a panic
 * (panic=-1) or a triple fault, which libvirt reports as a shutdown. */
static void on_qemu_shutdown(virConnectPtr connection, virDomainPtr domain, const char *event,
                             long long seconds, unsigned int micros, const char *details, void *data)
{
    Vmm *vmm = data;

    (void)connection, (void)event, (void)seconds, (void)micros;
    if (details != NULL && strstr(details, "guest-reset") != NULL)
        vmm_table_reset(vmm->table, virDomainGetName(domain));
}

static void on_trim_timer(int timer, void *data)
{
    Vmm *vmm = data;

    (void)timer;
    vmm_table_trim_consoles(vmm->table, CONSOLE_MAX_BYTES);
    /* The logs of virtiofsd and fsguard, and those of QEMU: some of their messages repeat for each thing that
     * the guest does wrong. The logs of the system's libvirtd are not crivirtd's to empty. */
    console_trim_all(vmm->socket_dir, LOG_MAX_BYTES);
    if (vmm->embedded) {
        g_autofree char *logs = vmm_qemu_log_directory(vmm);

        console_trim_all(logs, LOG_MAX_BYTES);
    }
}

gboolean vmm_events_register(Vmm *vmm, GError **error)
{
    vmm->callback_id = virConnectDomainEventRegisterAny(vmm->connection, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                                        VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), vmm, NULL);
    vmm->qemu_callback_id = virConnectDomainQemuMonitorEventRegister(vmm->connection, NULL, "SHUTDOWN",
                                                                     on_qemu_shutdown, vmm, NULL, 0);
    vmm->io_error_callback_id =
        virConnectDomainEventRegisterAny(vmm->connection, NULL, VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON,
                                         VIR_DOMAIN_EVENT_CALLBACK(on_io_error), vmm, NULL);
    if (vmm->callback_id < 0 || vmm->qemu_callback_id < 0 || vmm->io_error_callback_id < 0)
        return vmm_fail(error, "cannot register for libvirt's events");
    vmm->trim_timer = virEventAddTimeout(TRIM_INTERVAL_MS, on_trim_timer, vmm, NULL);
    return TRUE;
}

void vmm_events_deregister(Vmm *vmm)
{
    if (vmm->callback_id >= 0)
        virConnectDomainEventDeregisterAny(vmm->connection, vmm->callback_id);
    if (vmm->io_error_callback_id >= 0)
        virConnectDomainEventDeregisterAny(vmm->connection, vmm->io_error_callback_id);
    if (vmm->qemu_callback_id >= 0)
        virConnectDomainQemuMonitorEventDeregister(vmm->connection, vmm->qemu_callback_id);
    if (vmm->trim_timer >= 0)
        virEventRemoveTimeout(vmm->trim_timer);
}

/* ---- the event loop ---- */

/* libvirt prints each error to stderr by default; crivirtd returns them as GErrors. */
static void print_nothing(void *data, virErrorPtr error)
{
    (void)data;
    (void)error;
}

static gpointer event_thread(gpointer data)
{
    Vmm *vmm = data;

    while (!g_atomic_int_get(&vmm->event_stop))
        if (virEventRunDefaultImpl() < 0)
            g_usleep(G_USEC_PER_SEC / 10); /* an error that persists must not make this loop spin */
    return NULL;
}

static void remove_timer(int timer, void *data)
{
    (void)data;
    virEventRemoveTimeout(timer);
}

typedef struct {
    void (*function)(gpointer data);
    gpointer data;
} Ask;

static void on_ask(int timer, void *data)
{
    const Ask ask = *(const Ask *)data;

    virEventRemoveTimeout(timer); /* frees data later, on this thread */
    ask.function(ask.data);
}

void vmm_events_ask(Vmm *vmm, void (*function)(gpointer data), gpointer data)
{
    Ask *ask = g_new(Ask, 1);

    (void)vmm;
    *ask = (Ask){function, data};
    if (virEventAddTimeout(0, on_ask, ask, g_free) < 0)
        g_free(ask);
}

void vmm_events_stop(Vmm *vmm)
{
    if (vmm->event_thread == NULL)
        return;
    g_atomic_int_set(&vmm->event_stop, TRUE);
    virEventAddTimeout(0, remove_timer, NULL, NULL); /* makes virEventRunDefaultImpl() return */
    g_thread_join(g_steal_pointer(&vmm->event_thread));
}

/* The loop's implementation is libvirt's default one, which is global: it is registered once, and one Vmm at
 * a time runs it. */
void vmm_events_start(Vmm *vmm)
{
    static gsize registered;

    if (g_once_init_enter(&registered)) {
        virSetErrorFunc(NULL, print_nothing);
        virEventRegisterDefaultImpl();
        g_once_init_leave(&registered, 1);
    }
    vmm->event_thread = g_thread_new("libvirt-events", event_thread, vmm);
}

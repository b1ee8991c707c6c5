/* SPDX-License-Identifier: Apache-2.0 */
/* When the node's disk is full, QEMU pauses a guest that writes to it (libvirt asks for that), because the
 * guest's file systems would not survive write errors. Neither libvirt nor QEMU resumes it: a thread here
 * tries every two seconds.
 */
#include "common/log.h"
#include "sandbox/vmm/vmm_private.h"

enum { RETRY_INTERVAL_MS = 2 * 1000 };

gboolean vmm_disk_full_has_paused(virDomainPtr domain)
{
    int state;
    int reason;

    return virDomainGetState(domain, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED &&
           reason == VIR_DOMAIN_PAUSED_IOERROR;
}

void vmm_disk_full_add(Vmm *vmm, const char *name)
{
    DiskFullThread *self = &vmm->disk_full;

    g_autofree char *text = NULL;

    if (vmm_table_block(vmm->table, name, &text))
        log_warning(LOG_FIELDS("sandbox", name), "%s", text);
    g_mutex_lock(&self->lock);
    self->is_needed = TRUE;
    g_cond_signal(&self->changed);
    g_mutex_unlock(&self->lock);
}

/* A resumed guest repeats its write. If that fails, QEMU pauses the guest again, which is another event. */
static void try_to_resume(Vmm *vmm, const char *name)
{
    g_autoptr(virDomain) domain = virDomainLookupByName(vmm->connection, name);

    if (domain != NULL && vmm_disk_full_has_paused(domain)) {
        virDomainResume(domain);
        return;
    }
    vmm_table_unblock(vmm->table, name);
    log_info(LOG_FIELDS("sandbox", name), "the guest runs again: the node's disk accepts its writes");
}

static gpointer disk_full_thread(gpointer data)
{
    Vmm *vmm = data;
    DiskFullThread *self = &vmm->disk_full;

    g_mutex_lock(&self->lock);
    while (!self->is_stopping) {
        g_autoptr(GPtrArray) names = NULL;

        if (!self->is_needed) {
            g_cond_wait(&self->changed, &self->lock);
            continue;
        }
        g_cond_wait_until(&self->changed, &self->lock,
                          g_get_monotonic_time() + RETRY_INTERVAL_MS * G_TIME_SPAN_MILLISECOND);
        names = vmm_table_blocked(vmm->table);
        self->is_needed = names->len > 0;
        g_mutex_unlock(&self->lock);
        for (guint i = 0; i < names->len; i++)
            try_to_resume(vmm, names->pdata[i]);
        g_mutex_lock(&self->lock);
    }
    g_mutex_unlock(&self->lock);
    return NULL;
}

void vmm_disk_full_start(Vmm *vmm)
{
    vmm->disk_full.thread = g_thread_new("disk-full", disk_full_thread, vmm);
}

void vmm_disk_full_stop(Vmm *vmm)
{
    DiskFullThread *self = &vmm->disk_full;

    if (self->thread == NULL)
        return;
    g_mutex_lock(&self->lock);
    self->is_stopping = TRUE;
    g_cond_signal(&self->changed);
    g_mutex_unlock(&self->lock);
    g_thread_join(g_steal_pointer(&self->thread));
}

gboolean vmm_is_blocked(Vmm *vmm, const char *name)
{
    return vmm_table_is_blocked(vmm->table, name);
}

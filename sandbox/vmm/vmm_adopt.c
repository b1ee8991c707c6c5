/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "sandbox/vmm/vmm_private.h"

enum { ADOPTION_TIMEOUT_MS = 20 * 1000 };

typedef struct {
    virDomainPtr domain;
    GMutex lock;
    GCond changed;
    gboolean done;
    gboolean lives;
} Adoption;

static gpointer adoption_thread(gpointer data)
{
    Adoption *adoption = data;
    virDomainMemoryStatStruct statistics[VIR_DOMAIN_MEMORY_STAT_NR];
    gboolean lives = virDomainMemoryStats(adoption->domain, statistics, VIR_DOMAIN_MEMORY_STAT_NR, 0) >= 0;

    g_mutex_lock(&adoption->lock);
    adoption->lives = lives;
    adoption->done = TRUE;
    g_cond_signal(&adoption->changed);
    g_mutex_unlock(&adoption->lock);
    return NULL;
}

/* After a restart of the daemon, libvirt's reconnecting thread holds the domain until QEMU has answered. A
 * call that needs the domain's job waits for that thread, and fails when QEMU is dead. A QEMU that hangs
 * (stopped by SIGSTOP, for example) would make both, and the start of this daemon, wait for ever: it is
 * killed, as the QEMU of a guest that hangs later is. */
static gboolean wait_for_adoption(Vmm *vmm, virDomainPtr domain)
{
    Adoption adoption = {.domain = domain};
    gint64 limit_us = g_get_monotonic_time() + ADOPTION_TIMEOUT_MS * G_TIME_SPAN_MILLISECOND;
    GThread *thread;

    g_mutex_init(&adoption.lock);
    g_cond_init(&adoption.changed);
    thread = g_thread_new("adoption", adoption_thread, &adoption);
    g_mutex_lock(&adoption.lock);
    while (!adoption.done && g_cond_wait_until(&adoption.changed, &adoption.lock, limit_us))
        continue;
    if (!adoption.done) {
        log_warning(LOG_FIELDS("domain", virDomainGetName(domain)),
                    "QEMU did not answer within %d s after crivirtd's start: the guest is killed",
                    ADOPTION_TIMEOUT_MS / 1000);
        vmm_kill_qemu(vmm, virDomainGetName(domain), NULL, NULL);
    }
    g_mutex_unlock(&adoption.lock);
    g_thread_join(thread);
    g_mutex_clear(&adoption.lock);
    g_cond_clear(&adoption.changed);
    return adoption.lives;
}

static gboolean is_owned(Vmm *vmm, virDomainPtr domain)
{
    char *metadata = virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, DOMAIN_XML_NAMESPACE, 0);
    g_autofree char *owner = metadata != NULL ? domain_xml_read_owner(metadata) : NULL;

    free(metadata);
    return g_strcmp0(owner, vmm->state_dir) == 0;
}

gboolean vmm_for_each_domain(Vmm *vmm, void (*visit)(Vmm *vmm, virDomainPtr domain, gpointer data),
                             gpointer data, GError **error)
{
    virDomainPtr *domains = NULL;
    int count = virConnectListAllDomains(vmm->connection, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);

    if (count < 0)
        return vmm_fail(error, "cannot list the domains");
    for (int i = 0; i < count; i++) {
        if (is_owned(vmm, domains[i]))
            visit(vmm, domains[i], data);
        virDomainFree(domains[i]);
    }
    free(domains);
    return TRUE;
}

/* The domain is entered in the table before the wait, so that the event of an end during the wait removes it.
 * Its description is read for that, and again for the leftovers: while libvirt reconnects it removes devices
 * that QEMU no longer has, and what belonged to one of these is a leftover. */
static void adopt_domain(Vmm *vmm, virDomainPtr domain, gpointer data)
{
    const char *name = virDomainGetName(domain);
    g_auto(DomainXml) xml = {0};
    VmmIdentity user;
    gboolean has_xml;

    (void)data;
    has_xml = vmm_read_xml(domain, &xml, NULL); /* without it the console is not trimmed */
    if (!vmm_table_reserve(vmm->table, name, xml.console_path, NULL))
        return;
    user = vmm_identity_in(vmm, &xml);
    vmm_table_set_process(vmm->table, name, vmm_pid(vmm, name), has_xml ? &user : NULL);
    if (wait_for_adoption(vmm, domain)) {
        vmm_table_live(vmm->table, name);
        vmm_remove_leftovers(vmm, domain);
        if (vmm_disk_full_has_paused(domain))
            vmm_disk_full_add(vmm, name);
    } else
        vmm_table_forget(vmm->table, name);
}

gboolean vmm_adopt_all(Vmm *vmm, GError **error)
{
    return vmm_for_each_domain(vmm, adopt_domain, NULL, error);
}

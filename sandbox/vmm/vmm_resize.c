/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/vmm_private.h"

gboolean vmm_plug_vcpus(Vmm *vmm, const char *name, guint vcpus, GError **error)
{
    g_autoptr(virDomain) domain = vmm_find_domain(vmm, name, error);
    int present;

    if (domain == NULL)
        return FALSE;
    present = virDomainGetVcpusFlags(domain, VIR_DOMAIN_AFFECT_LIVE);
    if (present < 0)
        return vmm_fail(error, "cannot read the number of the VM's CPUs");
    return (guint)present >= vcpus || virDomainSetVcpusFlags(domain, vcpus, VIR_DOMAIN_AFFECT_LIVE) == 0 ||
           vmm_fail(error, "cannot add CPUs to the VM");
}

gboolean vmm_request_memory(Vmm *vmm, const char *name, guint64 pluggable_bytes, guint64 plugged_bytes,
                            GError **error)
{
    g_autoptr(virDomain) domain = vmm_find_domain(vmm, name, error);
    g_autofree char *xml = domain_xml_memory(pluggable_bytes, plugged_bytes);

    if (domain == NULL)
        return FALSE;
    return virDomainUpdateDeviceFlags(domain, xml, VIR_DOMAIN_AFFECT_LIVE) == 0 ||
           vmm_fail(error, "cannot change the VM's memory");
}

/* libvirt learns the size from QEMU's events and shows it only in the domain's XML. */
gboolean vmm_plugged_memory(Vmm *vmm, const char *name, guint64 *ret_bytes, GError **error)
{
    g_autoptr(virDomain) domain = vmm_find_domain(vmm, name, error);
    g_auto(DomainXml) xml = {0};

    if (domain == NULL || !vmm_read_xml(domain, &xml, error))
        return FALSE;
    *ret_bytes = xml.plugged_memory_bytes;
    return TRUE;
}

#define QUERY_MEMORY "{\"execute\":\"query-memory-devices\"}"

gboolean vmm_plugged_memory_now(Vmm *vmm, const char *name, guint64 *ret_bytes, GError **error)
{
    g_autoptr(JsonDocument) reply = NULL;
    const JsonValue *device;
    guint64 bytes = 0;

    if (!vmm_command(vmm, name, QUERY_MEMORY, -1, &reply, error))
        return FALSE;
    device = json_at(json_member(json_document_root(reply), "return"), 0);
    if (!json_get_uint(json_member(device, "data"), "size", G_MAXINT64, &bytes, error))
        return FALSE;
    *ret_bytes = bytes;
    return TRUE;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Reads from libvirt's XML of a running domain what the daemon needs to know. Pure: no libvirt, no I/O.
 *
 * A DomainXml owns its members; the caller initialises it with {0} and clears it with domain_xml_clear(). Any
 * thread.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

#include "sandbox/host/vfio.h"

typedef struct {
    char *console_path;           /* the file of the serial console; NULL: none */
    guint64 plugged_memory_bytes; /* how much of its pluggable memory the guest has */
    GPtrArray *disk_serials;      /* char * */
    GPtrArray *share_tags;        /* char * */
    gboolean has_user;            /* libvirt has given QEMU these ids: */
    uid_t uid;
    gid_t gid;
    GArray *pci_devices; /* PciAddress, on the node, of those passed through */
} DomainXml;

/* Return: FALSE with INTERNAL for text that is no XML; ret_xml is untouched then. */
gboolean domain_xml_read(const char *text, DomainXml *ret_xml, GError **error);
void domain_xml_clear(DomainXml *xml);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(DomainXml, domain_xml_clear)

/* Return: the text of the element <crivirt:owner> in a domain's metadata, the caller's; NULL when there is
 * none. */
char *domain_xml_read_owner(const char *metadata);

/* Return: whether the domain has the disk, the share or the device. serial may be NULL: no disk has it. */
gboolean domain_xml_has_disk(const DomainXml *xml, const char *serial);
gboolean domain_xml_has_share(const DomainXml *xml, const char *tag);
gboolean domain_xml_has_pci(const DomainXml *xml, const PciAddress *address);

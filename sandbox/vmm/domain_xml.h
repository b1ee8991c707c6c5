/* Builds libvirt's domain and device XML (https://libvirt.org/formatdomain.html). Pure: no I/O, same output
 * for the same input, so golden files in tests/data/domain-xml show every form. All text is escaped. What
 * differs between architectures is one table in domain_xml.c. */
#pragma once

#include <glib.h>

#include "sandbox/host/vfio.h"

/* Domains of ours carry <crivirt:owner> in their metadata. */
#define DOMAIN_XML_NAMESPACE "urn:crivirt:domain:1"

typedef struct {
    guint lun;          /* of the one virtio-scsi controller; the writable disk is 0 */
    const char *path;   /* raw file or block device */
    const char *serial; /* at most 36 characters, shown to the guest */
    gboolean readonly;
    gboolean lasting; /* a block device whose content outlives the guest */
} DiskSpec;

typedef struct {
    const char *source; /* directory on the node */
    const char *tag;    /* what the guest mounts it by */
} ShareSpec;

typedef struct {
    const char *name;         /* also the source of the domain's UUID */
    const char *title;        /* "namespace/pod", for virsh; NULL: none */
    const char *owner;        /* whose domain it is: its daemon's state directory; vmm.c fills it in */
    const char *architecture; /* "x86_64", "aarch64" */
    const char *accelerator;  /* the wish: "auto", "kvm", "tcg"; NULL: the Vmm's */
    gboolean accelerated;     /* KVM, else TCG; vmm.c fills it in */
    guint time_stamp_khz;     /* of an emulated guest (time_stamp.h); 0: not known; vmm.c fills it in */
    guint64 memory_bytes;     /* what it boots with */
    guint64
        pluggable_memory_bytes; /* most that can be added later; 0: none; a multiple of DOMAIN_MEMORY_BLOCK */
    guint64 plugged_memory_bytes; /* of that, from the start; a multiple, too */
    guint vcpus;
    guint max_vcpus; /* 0: vcpus */
    const char *kernel;
    const char *initrd;
    const char *kernel_parameters; /* appended to the architecture's own; NULL: none */
    guint passthrough_ports;       /* empty PCIe ports for devices of the node */
    guint tcg_buffer_mib;          /* JIT buffer of an emulated guest; 0: QEMU's default */
    const char *agent_socket;
    const char *console_path; /* file that the serial console is written to */
    const char *tap;          /* NULL: no network */
    const char *mac;
    const DiskSpec *disks;
    gsize n_disks;
    const char *generation; /* UUID that tells the guest which copy of itself it is; NULL: none */
    gboolean incoming;      /* does not boot: waits for the state of another one (vmm_state.h) */
} DomainSpec;

/* Memory is plugged and unplugged in such blocks. */
#define DOMAIN_MEMORY_BLOCK ((guint64)2 << 20)

/* FALSE: domain_xml_build() has no row for it. */
gboolean domain_xml_architecture_known(const char *name);
/* Guests of that architecture take memory while they run. */
gboolean domain_xml_plugs_memory(const char *name);
/* spec->architecture must be a known one. */
char *domain_xml_build(const DomainSpec *spec);
char *domain_xml_disk(const DiskSpec *disk);
/* The one device of memory that comes and goes. */
char *domain_xml_memory(guint64 size_bytes, guint64 plugged_bytes);
/* A device of the node's, under vfio-pci. */
char *domain_xml_pci(const PciAddress *address);
/* socket is where the share's virtiofsd listens. */
char *domain_xml_share(const ShareSpec *share, const char *socket);

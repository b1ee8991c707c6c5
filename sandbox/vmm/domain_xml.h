/* SPDX-License-Identifier: Apache-2.0 */
/* Builds libvirt's XML of domains and devices (https://libvirt.org/formatdomain.html). Pure: no I/O, and the
 * same output for the same input, so that the golden files in tests/data/domain-xml show every form. All text
 * is escaped. The differences between architectures are one table in domain_xml.c. Functions return text that
 * the caller frees. */
#pragma once

#include <glib.h>

#include "sandbox/host/cpu_baseline.h"
#include "sandbox/host/vfio.h"

/* crivirt's domains have <crivirt:owner> in their metadata. */
#define DOMAIN_XML_NAMESPACE "urn:crivirt:domain:1"

typedef struct {
    guint lun;          /* on the one virtio-scsi controller; the writable disk has 0 */
    const char *path;   /* raw file or block device */
    const char *serial; /* at most 36 characters; the guest sees it */
    gboolean readonly;
    gboolean lasting; /* a block device whose content outlives the VM */
} DiskSpec;

typedef struct {
    const char *source; /* directory on the node */
    const char *tag;    /* by which the guest mounts it */
    const char *cache;  /* what the guest keeps in memory (volume_options.h); not part of the XML */
    gboolean locks;     /* locks on its files hold outside the guest too; not part of the XML */
    gboolean recovery;  /* its virtiofsd is replaced when it dies; not part of the XML */
    int oom_score_adj;  /* of virtiofsd and fsguard; not part of the XML */
} ShareSpec;

typedef struct {
    const char *name;            /* also the source of the domain's UUID */
    const char *title;           /* "namespace/pod", for virsh; NULL: none */
    const char *owner;           /* the state directory of the daemon; the Vmm sets it */
    const char *emulator;        /* path of QEMU; NULL: libvirt's choice; the Vmm sets it */
    guint user;                  /* the id of user and group that QEMU runs as; 0: the Vmm's */
    const char *architecture;    /* "x86_64", "aarch64" */
    const char *accelerator;     /* "auto", "kvm", "tcg"; NULL: the Vmm's */
    gboolean accelerated;        /* KVM, else TCG; the Vmm sets it */
    const char *cpu;             /* the option cpu; NULL: CPU_HOST */
    const CpuBaseline *baseline; /* the processor; NULL: that of CPU_HOST; the Vmm sets it */
    guint time_stamp_khz;        /* of an emulated VM (time_stamp.h); 0: unknown; the Vmm sets it */
    guint
        saved_time_stamp_khz; /* with KVM: the rate that the guest of the incoming state has; 0: the node's */
    guint64 memory_bytes;     /* when it boots */
    guint64 pluggable_memory_bytes; /* the most that can be added later; 0: none; a multiple of
                                       DOMAIN_MEMORY_BLOCK */
    guint64 plugged_memory_bytes;   /* how much of that it has from the start; a multiple as well */
    guint vcpus;
    guint max_vcpus; /* 0: vcpus */
    const char *kernel;
    const char *initrd;
    const char *kernel_parameters; /* appended to the architecture's own; NULL: none */
    guint passthrough_ports;       /* free PCIe ports for devices of the node */
    guint tcg_buffer_mib;          /* JIT buffer of an emulated VM; 0: QEMU's default */
    const char *agent_socket;
    const char *console_path; /* the file to which the serial console is written */
    const char *tap;          /* NULL: no network */
    const char *mac;
    gboolean network_in_qemu; /* not in the node's kernel, even where it has vhost_net */
    const DiskSpec *disks;
    gsize n_disks;
    const char *generation; /* the UUID by which the guest notices that it is another clone; NULL: none */
    gboolean incoming;      /* it does not boot, but waits for a saved state (vmm_state.h); on x86_64 QEMU is
                               not given the kernel, which is in the state */
} DomainSpec;

/* Memory is plugged and unplugged in blocks of this size. */
#define DOMAIN_MEMORY_BLOCK ((guint64)2 << 20)

/* Return: whether domain_xml_build() supports the architecture. */
gboolean domain_xml_architecture_known(const char *name);
/* Return: whether VMs of that architecture can be given memory while they run. */
gboolean domain_xml_plugs_memory(const char *name);
/* spec->architecture must be a supported one. */
char *domain_xml_build(const DomainSpec *spec);
char *domain_xml_disk(const DiskSpec *disk);
/* The device of the pluggable memory. */
char *domain_xml_memory(guint64 size_bytes, guint64 plugged_bytes);
/* A PCI device of the node, which has the driver vfio-pci. */
char *domain_xml_pci(const PciAddress *address);
/* socket is where the share's virtiofsd listens. */
char *domain_xml_share(const ShareSpec *share, const char *socket);

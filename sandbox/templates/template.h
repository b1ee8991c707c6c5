/* SPDX-License-Identifier: Apache-2.0 */
/* A template: the state of an unassigned guest that booted, from which new guests are restored. It is a
 * directory with the two files of vmm_state.h, the guest's disk, a list of what its guests may share, and
 * manifest.json, which names everything that the state depends on and the digests of the files. The
 * template's key is the digest of those inputs.
 *
 * The directory is created under another name, renamed when all of it is on disk, and never changed
 * afterwards. Only root can read its files.
 */
#pragma once

#include "sandbox/vmm/domain_xml.h"
#include "sandbox/vmm/vmm.h"

#define TEMPLATE_MANIFEST "manifest.json"
#define TEMPLATE_RAM "ram"
#define TEMPLATE_DEVICES "devices"
#define TEMPLATE_DISK "disk"         /* the writable disk, which the saved guest has mounted */
#define TEMPLATE_CONSTANT "constant" /* the parts of the memory that guests share (memory_parts_parse()) */

/* Return: what the saved state of a guest with that spec depends on, as "name=value" strings, which the
 * caller frees: the VM (its XML without the names of the guest), the identities of the kernel, the initramfs
 * and QEMU's program, versions, and the node's processor. The names in spec (name, paths, tap, MAC, disks)
 * are ignored; disk_bytes is the size of the writable disk. */
char **template_inputs(Vmm *vmm, const DomainSpec *spec, guint64 disk_bytes, GError **error);
/* Return: the same for the state of a guest that is in use (sandbox/checkpoint): what a VM must have in
 * common with that in which the state was saved, without what the guest booted from. The rate of the time
 * stamp counter is spec->saved_time_stamp_khz, where that is known, else the one that this node can give. The
 * caller frees them. */
char **template_run_inputs(Vmm *vmm, const DomainSpec *spec, GError **error);
/* Return: the same for a guest that goes on in the same pod (sandbox_hibernate.c): without crivirt's version,
 * because the daemon of a running guest may be another one, too. */
char **template_own_run_inputs(Vmm *vmm, const DomainSpec *spec, GError **error);
/* Return: 32 hexadecimal digits, which the caller frees. */
char *template_key(const char *const *inputs);

typedef struct Template {
    gint references;
    char *key;
    char *instance; /* identifies one creation: a guest's disk and state must be of the same one */
    char *directory;
    guint64 ram_bytes;
    guint64 ram_data_bytes; /* of pages that are not zero */
    guint64 data_bytes;     /* of all its files */
    gint64 made_at_s;
    GArray *constant; /* of MemoryPart: what no guest frees, or lets a device read or write */
    int ram_fd;
    int device_fd;
    int disk_fd;
} Template;

Template *template_ref(Template *template);
void template_unref(Template *template); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Template, template_unref)

/* Completes a directory that contains the template's other files: writes the manifest, and makes all files
 * durable. */
gboolean template_seal(const char *directory, const char *const *inputs, GError **error);
/* Opens a template and checks its files against the manifest. Errors: DATA_LOSS with the difference. */
Template *template_open(const char *directory, GError **error);
/* Return: whether a file, a program or the processor that the template was made with has changed on this
 * node. */
gboolean template_is_outdated(const char *directory, Vmm *vmm);
/* Opens the template's files for reading from their beginning, even when its directory has been deleted. The
 * caller closes both. */
gboolean template_open_ram_and_devices(const Template *template, int *ret_ram_fd, int *ret_device_fd,
                                       GError **error);
/* Return: the path of the disk that a guest's disk has to be a copy of. The caller frees the path, which is
 * valid as long as the template. */
char *template_disk_path(const Template *template);

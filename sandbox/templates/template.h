/* SPDX-License-Identifier: Apache-2.0 */
/* A template: the state of an unassigned guest that booted, from which new guests are restored. It is a
 * directory with the two files of vmm_state.h, the guest's disk, and manifest.json, which names everything
 * that the state depends on and the digests of the files. The template's key is the digest of those inputs.
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
#define TEMPLATE_DISK "disk" /* the writable disk, which the saved guest has mounted */

/* What the state of a guest with that machine depends on, as "name=value" strings: the machine (its XML, with
 * what names a guest left out), the identity of kernel, initramfs and QEMU's program, versions, the node's
 * processor. Of shape, what names a guest is ignored; disk_bytes is the size of its disk. */
char **template_inputs(Vmm *vmm, const DomainSpec *shape, guint64 disk_bytes, GError **error);
/* 32 hexadecimal digits. */
char *template_key(const char *const *inputs);

typedef struct Template {
    gint references;
    char *key;
    char *instance; /* which creation of it: the guest's disk and its state belong together */
    char *directory;
    guint64 ram_bytes;
    guint64 ram_data_bytes; /* of pages that are not zero */
    guint64 data_bytes;     /* of all its files */
    gint64 made_at_s;
    int ram_fd;
    int device_fd;
    int disk_fd;
} Template;

Template *template_ref(Template *template);
void template_unref(Template *template); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Template, template_unref)

/* Completes a directory in which the files are: writes the manifest, and makes all of it durable. */
gboolean template_seal(const char *directory, const char *const *inputs, GError **error);
/* Opens one, checking all that can be checked; DATA_LOSS says what is wrong with it. */
Template *template_open(const char *directory, GError **error);
/* It was made of files, by programs or on a processor that are not this node's any more. */
gboolean template_is_outdated(const char *directory, Vmm *vmm);
/* Files of the template's own, to be read from their beginning, whatever has become of the directory. */
gboolean template_open_ram_and_devices(const Template *template, int *ret_ram_fd, int *ret_device_fd,
                                       GError **error);
/* What a guest's disk has to be a copy of; a path that is good for as long as the template is. */
char *template_disk_path(const Template *template);

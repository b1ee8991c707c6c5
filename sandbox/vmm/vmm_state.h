/* SPDX-License-Identifier: Apache-2.0 */
/* Saves the state of one VM and restores it into others, which start without booting.
 *
 * The state is two files. One holds the guest's memory: a sparse file as large as the memory (where a VM has
 * several memories, one after the other) with holes for pages of zeros. It is copied directly between the
 * file and the shared memory that QEMU has open. The other file is what QEMU's migration writes without
 * shared memory: the devices, less than a megabyte.
 *
 * Both QEMUs must have the same version, and the same domain XML except for names, paths and the generation.
 *
 * Errors: those of vmm.h. Threads: any, one call per VM at a time. Calls block.
 */
#pragma once

#include "common/page_digest.h"
#include "sandbox/vmm/vmm.h"

/* Saves a paused guest. The files are empty, and open for reading and writing. vmm_resume() lets it run
 * again, for which its disks are still its own. */
gboolean vmm_state_save(Vmm *vmm, const char *name, int ram_fd, int device_fd, const Deadline *deadline,
                        GError **error);

/* Prepares a VM that was created with spec->incoming, as far as that is possible before its state is known.
 */
gboolean vmm_state_expect(Vmm *vmm, const char *name, GError **error);
/* Calls take() with all data of a saved memory, in parts of whole pages, possibly from several threads at
 * once and in any order. Return: FALSE with the error when what take() got must not be used. */
typedef gboolean VmmStateSource(gpointer source_data, FileDataFunc *take, gpointer user_data,
                                const Deadline *deadline, GError **error);
/* Restores the state into a prepared VM as vmm_state_restore() does, with memory of that size from any
 * source, which checks what it gives. device_fd is to be a private copy that was checked before. Errors also:
 * those of the source. */
gboolean vmm_state_restore_from(Vmm *vmm, const char *name, guint64 ram_bytes, VmmStateSource *source,
                                gpointer source_data, int device_fd, const Deadline *deadline,
                                GError **error);
/* Restores the state into a prepared VM, which is paused afterwards until vmm_resume(). shared: the parts of
 * the first memory that the VM may have in common with others of the same file (vmm_memory.h), which are not
 * copied if QEMU can map them, so that the file must not change as long as the VM lives; NULL: none. Errors:
 * DATA_LOSS when QEMU does not accept the state. */
gboolean vmm_state_restore(Vmm *vmm, const char *name, int ram_fd, int device_fd, const GArray *shared,
                           const Deadline *deadline, GError **error);

/* Gives the pages of a paused guest's memory that contain only zeros back to the node. The guest does not
 * notice. Nothing may write to its memory meanwhile: no connection to its agent is open, and it has no share.
 */
gboolean vmm_state_release_zeros(Vmm *vmm, const char *name, const Deadline *deadline, GError **error);

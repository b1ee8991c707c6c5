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

#include "sandbox/vmm/vmm.h"

/* Saves a paused guest, which cannot run again. The files are empty, and open for reading and writing. */
gboolean vmm_state_save(Vmm *vmm, const char *name, int ram_fd, int device_fd, const Deadline *deadline,
                        GError **error);

/* Prepares a VM that was created with spec->incoming, as far as that is possible before its state is known.
 */
gboolean vmm_state_expect(Vmm *vmm, const char *name, GError **error);
/* Restores the state into a prepared VM, which is paused afterwards until vmm_resume(). Errors: DATA_LOSS
 * when QEMU does not accept the state. */
gboolean vmm_state_restore(Vmm *vmm, const char *name, int ram_fd, int device_fd, const Deadline *deadline,
                           GError **error);

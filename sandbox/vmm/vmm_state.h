/* A guest's state, taken out of one QEMU and put into others: so guests start without booting.
 *
 * The state is two files. One holds the guest's RAM (a sparse file as large as the RAM, or, where a machine
 * has several memories, as all of them in turn), in which pages of zeros are holes; it is copied straight
 * between the file and the shared memory that QEMU has open. The other is what QEMU's migration writes when
 * it is told to leave shared memory out: the devices, less than a megabyte.
 *
 * Both QEMUs must be of the same version and have the same domain XML but for names, paths and the
 * generation. Calls block; any thread, one per guest at a time.
 */
#pragma once

#include "sandbox/vmm/vmm.h"

/* Of a paused guest. The files are empty and open for reading and writing. The guest cannot run on. */
gboolean vmm_state_save(Vmm *vmm, const char *name, int ram_fd, int device_fd, const Deadline *deadline,
                        GError **error);

/* Tells a guest that was created with spec->incoming in what form its state will come: what can be done
 * before the state is known. */
gboolean vmm_state_expect(Vmm *vmm, const char *name, GError **error);
/* Fills an expecting guest. It is paused then, and vmm_resume() lets it run. DATA_LOSS when QEMU does not
 * accept the state. */
gboolean vmm_state_restore(Vmm *vmm, const char *name, int ram_fd, int device_fd, const Deadline *deadline,
                           GError **error);

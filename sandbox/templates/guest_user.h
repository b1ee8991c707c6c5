/* SPDX-License-Identifier: Apache-2.0 */
/* The user that the QEMU of a guest runs as: one for each guest, so that a QEMU which its guest has taken
 * over can neither read the memory of another through /proc nor open its files. The guest's directories
 * belong to the user from before the VM is created until all its files are removed, by which a later daemon
 * finds it. User and group have the same number.
 */
#pragma once

#include "sandbox/templates/guest_environment.h"

/* The ids that guests get. Return: what guest_users_free() frees; NULL with count 0: all guests share a user.
 */
GuestUsers *guest_users_new(guint first, guint count);
void guest_users_free(GuestUsers *users); /* takes NULL */

/* Makes the guest's run directory, which belongs to a user that no directory of another guest belongs to. A
 * directory that has such a user already keeps it. Without users it belongs to the account. Errors:
 * RESOURCE_EXHAUSTED when all have guests. Threads: any. */
gboolean guest_user_take(const GuestEnvironment *env, const char *id, GError **error);
/* Reads the owner of the guest's run directory. Return: FALSE with the reason when there is none. */
gboolean guest_user_find(const GuestEnvironment *env, const char *id, uid_t *ret_uid, gid_t *ret_gid,
                         GError **error);

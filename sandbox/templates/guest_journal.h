/* SPDX-License-Identifier: Apache-2.0 */
/* The journal of unassigned guests: a file for each in state_dir/guests, named by its id, from before its
 * first directory is created until it is removed or a pod's row names it. The file holds what undoing needs
 * beside the id. Threads: any, one at a time for a guest. */
#pragma once

#include "sandbox/templates/guest_environment.h"

/* Adds the guest's entry, or replaces its text, which may be empty. */
gboolean guest_journal_write(const GuestEnvironment *env, const char *id, const char *text, gsize length,
                             GError **error);
/* The text, which the caller frees; "" for a guest that has no entry. */
gboolean guest_journal_read(const GuestEnvironment *env, const char *id, char **ret_text, gsize *ret_length,
                            GError **error);
void guest_journal_forget(const GuestEnvironment *env, const char *id);
/* Calls function for each entry. */
void guest_journal_each(const GuestEnvironment *env, void (*function)(const char *id, gpointer data),
                        gpointer data);

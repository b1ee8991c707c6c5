/* SPDX-License-Identifier: Apache-2.0 */
/* The domains of a Vmm and the phase of each, so that the end of each is reported once and with its true
 * reason. It makes no libvirt call.
 *
 * Threads: any. Only vmm_table_reserve() and vmm_table_wait_end() wait.
 */
#pragma once

#include "sandbox/vmm/qemu_log.h"
#include "sandbox/vmm/vmm.h"
#include "sandbox/vmm/vmm_root.h"

typedef struct VmmTable VmmTable;

VmmTable *vmm_table_new(void);
void vmm_table_free(VmmTable *table); /* takes NULL */

/* Enters a new domain, or an earlier daemon's that is being adopted; its end is not to be reported yet. Waits
 * until a domain of that name which is being destroyed has ended. console: the file to trim; may be NULL.
 * Errors: ALREADY_EXISTS when the name is in use. */
gboolean vmm_table_reserve(VmmTable *table, const char *name, const char *console, GError **error);
/* From now on the domain's end is to be reported. Return: FALSE when it has ended already. */
gboolean vmm_table_live(VmmTable *table, const char *name);
/* The guest has reset itself: its end is a crash, whatever libvirt calls it. */
void vmm_table_reset(VmmTable *table, const char *name);
/* The domain is being destroyed: its end is wanted. */
void vmm_table_destroying(VmmTable *table, const char *name);
/* Takes the domain, and the reason of its end, out of the table without a report. */
void vmm_table_forget(VmmTable *table, const char *name);

/* The process id of the domain's QEMU, and the user that it runs as. Return of vmm_table_pid(): 0 when it is
 * unknown, or when the domain is being destroyed. user NULL: it could not be read; vmm_table_user() is
 * NOT_FOUND then. */
void vmm_table_set_process(VmmTable *table, const char *name, pid_t pid, const VmmIdentity *user);
pid_t vmm_table_pid(VmmTable *table, const char *name);
gboolean vmm_table_user(VmmTable *table, const char *name, VmmIdentity *ret_user, GError **error);

/* Takes the domain out of the table. *reason is libvirt's, and is corrected by what the table has a record
 * of. Return: TRUE when the end is to be reported, with *ret_text, which the caller frees; *ret_text is NULL
 * for a domain that is not in the table. */
gboolean vmm_table_end(VmmTable *table, const char *name, VmmStopReason *reason, const LastWords *words,
                       char **ret_text);
/* Return: the path of the domain's console, which the caller frees; NULL when it is unknown. */
char *vmm_table_console(VmmTable *table, const char *name);
/* The table keeps the reasons of so many ends. */
enum { VMM_TABLE_ENDS_MAX = 256 };
/* Return: see vmm_stop_text(). */
char *vmm_table_stop_text(VmmTable *table, const char *name);
void vmm_table_forget_end(VmmTable *table, const char *name);
/* Waits until the domain has left the table, at most timeout_ms. */
void vmm_table_wait_end(VmmTable *table, const char *name, guint timeout_ms);
/* See vmm_watch_end(). func is called with the table's mutex held. */
void vmm_table_watch(VmmTable *table, const char *name, VmmEndFunc func, gpointer data);
void vmm_table_unwatch(VmmTable *table, const char *name, gpointer data);

/* See vmm_watch_blocked(). func is called with the table's mutex held. */
void vmm_table_watch_blocked(VmmTable *table, const char *name, VmmBlockedFunc func, gpointer data);
void vmm_table_unwatch_blocked(VmmTable *table, const char *name, gpointer data);

/* The disk of the guest that could not be written last; path is copied. */
void vmm_table_set_full_disk(VmmTable *table, const char *name, const char *path);
/* QEMU has paused the guest because a write to the node's disk failed. Return: FALSE when that was known
 * already, else TRUE with *ret_text for the log, which the caller frees. */
gboolean vmm_table_block(VmmTable *table, const char *name, char **ret_text);
/* The guest runs again. */
void vmm_table_unblock(VmmTable *table, const char *name);
/* Return: FALSE with the error "DOING: WHY" (UNAVAILABLE) when the guest is blocked. */
gboolean vmm_table_check_blocked(VmmTable *table, const char *name, const char *doing, GError **error);
gboolean vmm_table_is_blocked(VmmTable *table, const char *name);
/* Return: the names of all blocked guests; the array, which the caller frees, owns them. */
GPtrArray *vmm_table_blocked(VmmTable *table);

/* Empties console files that are larger than max_bytes. */
void vmm_table_trim_consoles(VmmTable *table, gsize max_bytes);

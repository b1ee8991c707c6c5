/* The domains that vmm.c has in hand: how far each is, so that the end of each is reported once and
 * truthfully. Knows nothing of libvirt. Any thread may call; nothing here blocks, except vmm_table_reserve().
 */
#pragma once

#include "sandbox/vmm/vmm.h"

typedef struct VmmTable VmmTable;

VmmTable *vmm_table_new(void);
void vmm_table_free(VmmTable *table); /* takes NULL */

/* A new domain, or an old one that is being adopted, whose end is not to be reported yet. Waits for the end
 * of an earlier bearer of the name that is being destroyed; ALREADY_EXISTS when the name is taken. console
 * may be NULL. */
gboolean vmm_table_reserve(VmmTable *table, const char *name, const char *console, GError **error);
/* From now on its end is reported. FALSE: it has ended already. */
gboolean vmm_table_live(VmmTable *table, const char *name);
/* The guest has reset itself: its end will be a crash, whatever libvirt calls it. */
void vmm_table_reset(VmmTable *table, const char *name);
/* Its end is wanted. */
void vmm_table_destroying(VmmTable *table, const char *name);
/* Takes the domain out without a report. */
void vmm_table_forget(VmmTable *table, const char *name);
/* Takes the domain out; TRUE: report it, with *reason corrected by what is known here. */
gboolean vmm_table_end(VmmTable *table, const char *name, VmmStopReason *reason);

/* Whether the guest is paused because the node's disk took no more of its writes. */
void vmm_table_set_blocked(VmmTable *table, const char *name, gboolean blocked);
gboolean vmm_table_is_blocked(VmmTable *table, const char *name);
/* The names of those that are; the array frees them. */
GPtrArray *vmm_table_blocked(VmmTable *table);

/* Cuts consoles that have outgrown max_bytes. */
void vmm_table_trim_consoles(VmmTable *table, gsize max_bytes);

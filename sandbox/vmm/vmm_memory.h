/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's memory as QEMU has it: files that are shared with the file server of the volumes, and in them
 * parts that QEMU has mapped privately from a file which several guests have in common. Such a part is in
 * QEMU's process alone: the guest sees the file until it writes, and nobody else sees the guest's.
 *
 * Errors: those of vmm.h. Threads: any, one call per VM at a time.
 */
#pragma once

#include "sandbox/vmm/vmm.h"

/* A part of a memory: whole pages. */
typedef struct {
    guint64 begin, end; /* bytes */
} MemoryPart;

typedef struct {
    int fd;     /* of the shared file */
    int number; /* QEMU's descriptor: they are in the order of QEMU's command line */
    gsize bytes;
    guint64 address; /* in QEMU's process; 0: unknown, and nothing is private */
    GArray *parts;   /* of MemoryPart: what is private, in ascending order */
} VmmMemory;

/* flags: of open(2), for the shared files. Return: an array of VmmMemory without their addresses and private
 * parts, the caller's; NULL on error. */
GArray *vmm_memory_open(Vmm *vmm, const char *name, int flags, gsize *ret_bytes, GError **error);
/* Finds the addresses and the private parts of all memories of the VM. */
gboolean vmm_memory_locate(Vmm *vmm, const char *name, GArray *memories, GError **error);
/* Return: a descriptor that reads QEMU's memory by its addresses (/proc/PID/mem), the caller's; -1 on error.
 */
int vmm_memory_open_process(Vmm *vmm, const char *name, GError **error);

/* Return: the private parts of a VM's first memory, an array of MemoryPart, the caller's; NULL on error. On
 * x86-64 a part's place in that memory is its address in the guest, as private parts end below 2 GiB. */
GArray *vmm_memory_private_parts(Vmm *vmm, const char *name, GError **error);

/* Maps these parts of the file at the same places of the first memory of a VM that has not run. fd: open for
 * reading. *ret_done: FALSE when this QEMU cannot do that: nothing is mapped. */
gboolean vmm_memory_map(Vmm *vmm, const char *name, int fd, const GArray *parts, gboolean *ret_done,
                        GError **error);

/* Calls visit for what lies between begin and end and in none of the parts. parts: NULL for none. Return:
 * FALSE when visit did. */
gboolean memory_parts_outside(const GArray *parts, guint64 begin, guint64 end,
                              gboolean (*visit)(guint64 begin, guint64 end, gpointer data), gpointer data);

/* Reads parts from text: a line of headings, and "BEGIN END" in decimal bytes for each part. Return: an array
 * of MemoryPart, the caller's; NULL unless all are whole pages in ascending order that end at `bytes` or at 2
 * GiB, and are not too many. */
GArray *memory_parts_parse(const char *text, guint64 bytes);
/* Return: the text, the caller's. */
char *memory_parts_format(const GArray *parts);

/* ---- for tests ---- */

/* Finds the memories, whose fd and bytes are set, in the text of /proc/PID/maps. Return: FALSE when one is
 * mapped at more than one place. */
gboolean vmm_memory_find(GArray *memories, const char *maps);

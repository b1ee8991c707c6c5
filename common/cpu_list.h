/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of CPUs, or of memory nodes, as the kernel writes them: "0-3,8".
 *
 * Specification: "List format" of cpuset(7), without its strides ("0-31:2"), which neither cgroups nor the
 * OCI know. Threads: any, one list at a time.
 */
#pragma once

#include <glib.h>

/* The most CPUs that a kernel for x86-64 can be built for. */
enum { CPU_LIST_MOST = 8192 };

/* Number n is bit n % 8 of byte n / 8, as in systemd's AllowedCPUs. All 0: the empty set. */
typedef struct {
    guint8 bits[CPU_LIST_MOST / 8];
} CpuList;

/* Adds what text names to the set. field: names text in the error. Errors: INVALID_ARGUMENT for anything but
 * a list; the set is then undefined. An empty text adds nothing. */
gboolean cpu_list_add(CpuList *list, const char *text, const char *field, GError **error);
/* Return: the set as a list, ranges where they are shorter; "" for the empty set. The caller frees it. */
char *cpu_list_text(const CpuList *list);
/* Return: how many bytes of bits there are up to the last one that is not 0. */
gsize cpu_list_length(const CpuList *list);

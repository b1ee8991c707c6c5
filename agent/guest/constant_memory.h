/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's memory that keeps its use until the guest ends: the kernel's code, the pages that it reserved
 * before there was an allocator (above all the descriptors of pages), and the programs of the initramfs. The
 * kernel never gives it to anything else, and no device reads or writes it, so that guests that are restored
 * from one state can have it in common until they write to it.
 *
 * What a program may map and let a device read is left out: the kernel's data, where the vDSO and the page of
 * zeros are. So is the first megabyte, which the firmware has a part in.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/guest/messages.h"

typedef struct ConstantMemory ConstantMemory;

/* iomem, page_flags: /proc/iomem and /proc/kpageflags, or files like them. Return: the reserved pages; NULL
 * when a file cannot be read, as with a kernel without /proc/kpageflags. The caller frees it. */
ConstantMemory *constant_memory_read(const char *iomem, const char *page_flags);
void constant_memory_free(ConstantMemory *memory); /* takes NULL */
/* Adds the programs and libraries below "/", if it is a ramfs: those of a tmpfs may be moved in memory. */
void constant_memory_add_programs(ConstantMemory *memory);
/* Sets the response's ranges, which are the memory's. Short ranges are left out when there are too many. */
void constant_memory_report(ConstantMemory *memory, PrepareResponse *ret_response);

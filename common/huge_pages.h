/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the daemon, and the programs that it starts, from being given huge pages by the kernel.
 *
 * Where transparent huge pages are on for every program ("always"), as in Debian, a page of 2 MiB stands for
 * each few KiB of heap or stack that a program has used. QEMU needs 20 MiB more in that way, and is no
 * quicker.
 *
 * The memory of guests is shared memory, which has a setting of its own (shmem_enabled). Where an
 * administrator lets it have huge pages, all stays as it is, because the kernel knows no exception for a
 * part of a program.
 */
#pragma once

#include <glib.h>

/* Return: whether the setting, as the kernel writes it ("always advise [never]"), lets shared memory have
 * huge pages. setting: NULL where the kernel has none. */
gboolean huge_pages_in_shared_memory(const char *setting);

/* Holds for this process and for what it starts from then on, unless a child decides otherwise: the agent of
 * a host pod does, because its containers are not the daemon's. Threads: any. */
void huge_pages_avoid(void);

/* SPDX-License-Identifier: Apache-2.0 */
/* How the daemon's process gets memory from the kernel, and gives it back. */
#pragma once

/* Before any thread exists. What it sets holds for the process, and, of huge pages, for what it starts
 * (common/huge_pages.h). */
void process_memory_prepare(void);

/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic that stats.c and pod_metrics.c share. */
#pragma once

#include <glib.h>

/* Return: the memory that the kernel cannot reclaim at once, which is the usage without the inactive part of
 * the page cache. */
guint64 stats_working_set(guint64 usage_bytes, guint64 inactive_file_bytes);

/* SPDX-License-Identifier: Apache-2.0 */
/* New ids, random bytes and the time of day.
 *
 * Ids are those of pods, containers and stream sessions: 64 hexadecimal digits, 256 random bits, never used
 * twice. All functions may be called from any thread and cannot fail: a kernel that gives no random bytes
 * ends the process, because two pods with one id would be worse.
 */
#pragma once

#include <glib.h>

enum { ID_LENGTH = 64 };

/* Return: a new id, which the caller frees. */
char *id_new(void);

/* Fills the buffer from the kernel's random number generator. */
void random_fill(void *buffer, gsize length);

/* Return: nanoseconds since 1970 (UTC), as the CRI counts time. */
gint64 time_now_ns(void);

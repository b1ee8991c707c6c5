/* SPDX-License-Identifier: Apache-2.0 */
/* Finds what a guest's kernel said of its panic on the console, for messages. The guest may have forged it,
 * and what is returned is valid UTF-8 without control bytes, of a limited length. Threads: any.
 */
#pragma once

#include <glib.h>

/* console: the end of the console, as console_clean() returns it. Return: the reason of the last panic, and
 * if an exception led to it the exception's first line and the instruction, as Linux words them: "Fatal
 * exception (BUG: kernel NULL pointer dereference, address: 0000000000000008; RIP: 0010:foo+0x1/0x20)"; NULL
 * when there is no panic. The caller frees it. */
char *panic_find(const char *console);

/* The same for a console's file; NULL also for a path that is NULL or cannot be read. */
char *panic_read(const char *console_path);

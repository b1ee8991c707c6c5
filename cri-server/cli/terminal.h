/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the user's terminal raw while a program in a container uses it. */
#pragma once

#include <glib.h>

/* Makes the terminal raw until terminal_restore(), which also runs at exit. Enables terminal_resized_fd(). */
gboolean terminal_make_raw(GError **error);
void terminal_restore(void);
/* Return: FALSE when stdout is no terminal. */
gboolean terminal_size(guint *ret_columns, guint *ret_rows);
/* Return: a signalfd that is readable when the size has changed; read it. SIGWINCH is blocked in this thread
 * from then on. */
int terminal_resized_fd(void);

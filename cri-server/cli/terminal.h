/* The user's terminal, made raw while a program in a container has it. */
#pragma once

#include <glib.h>

/* Raw until terminal_restore(), which also runs at exit. Also makes terminal_resized_fd() work. */
gboolean terminal_make_raw(GError **error);
void terminal_restore(void);
/* FALSE when stdout is no terminal. */
gboolean terminal_size(guint *ret_columns, guint *ret_rows);
/* Readable when the size has changed (a signalfd: read it). SIGWINCH is blocked in this thread from then on.
 */
int terminal_resized_fd(void);

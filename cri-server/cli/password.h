/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a password. The caller frees it. */
#pragma once

#include <glib.h>

/* All of the standard input, without the newline at its end. */
gboolean password_read(char **ret_password, GError **error);
/* Asks on the terminal, which does not show what is typed. Errors: FAILED_PRECONDITION without a terminal. */
gboolean password_ask(const char *prompt, char **ret_password, GError **error);

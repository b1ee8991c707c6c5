/* SPDX-License-Identifier: Apache-2.0 */
/* Writes text of manual pages (man(7)). */
#pragma once

#include <glib.h>

/* Appends text with roff's own characters escaped: backslashes, hyphens, double quotes, and "." or "'" at the
 * start of a line. */
void roff_append(GString *page, const char *text);
/* Appends a macro with one argument and the end of the line: ".SH OPTIONS". */
void roff_macro(GString *page, const char *macro, const char *argument);
/* Appends an entry of a list: a bold title, and a paragraph. */
void roff_entry(GString *page, const char *title, const char *paragraph);

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/roff.h"

void roff_append(GString *page, const char *text)
{
    gboolean line_start = TRUE;

    for (; *text != '\0'; text++) {
        if (line_start && (*text == '.' || *text == '\''))
            g_string_append(page, "\\&");
        if (*text == '\\')
            g_string_append(page, "\\e");
        else if (*text == '-')
            g_string_append(page, "\\-");
        else if (*text == '"') /* would quote a macro's argument */
            g_string_append(page, "\\(dq");
        else
            g_string_append_c(page, *text);
        line_start = *text == '\n';
    }
}

void roff_macro(GString *page, const char *macro, const char *argument)
{
    g_string_append_printf(page, ".%s ", macro);
    roff_append(page, argument);
    g_string_append_c(page, '\n');
}

void roff_entry(GString *page, const char *title, const char *paragraph)
{
    g_string_append(page, ".TP\n");
    roff_macro(page, "B", title);
    roff_append(page, paragraph);
    g_string_append_c(page, '\n');
}

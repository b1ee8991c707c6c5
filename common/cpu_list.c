/* SPDX-License-Identifier: Apache-2.0 */
#include "common/cpu_list.h"

#include "common/error.h"

static gboolean has(const CpuList *list, guint number)
{
    return number < CPU_LIST_MOST && (list->bits[number / 8] >> number % 8 & 1) != 0;
}

/* Reads the digits at *text and moves *text behind them. */
static gboolean number_read(const char **text, guint *ret_number)
{
    guint number = 0;

    if (!g_ascii_isdigit(**text))
        return FALSE;
    for (; g_ascii_isdigit(**text); (*text)++) {
        number = number * 10 + (guint)g_ascii_digit_value(**text);
        if (number >= CPU_LIST_MOST)
            return FALSE;
    }
    *ret_number = number;
    return TRUE;
}

/* "3" or "3-7" */
static gboolean range_add(CpuList *list, const char **text)
{
    guint first;
    guint last;

    if (!number_read(text, &first))
        return FALSE;
    last = first;
    if (**text == '-') {
        (*text)++;
        if (!number_read(text, &last) || last < first)
            return FALSE;
    }
    for (guint i = first; i <= last; i++)
        list->bits[i / 8] |= (guint8)(1U << i % 8);
    return TRUE;
}

gboolean cpu_list_add(CpuList *list, const char *text, const char *field, GError **error)
{
    const char *rest = text;
    gboolean good = TRUE;

    if (*text == '\0')
        return TRUE;
    while ((good = range_add(list, &rest)) && *rest == ',')
        rest++;
    return (good && *rest == '\0') ||
           fail(error, STATUS_INVALID_ARGUMENT, "%s: \"%s\" is not a list such as 0-3,8 of numbers below %d",
                field, text, CPU_LIST_MOST);
}

char *cpu_list_text(const CpuList *list)
{
    GString *text = g_string_new(NULL);

    for (guint first = 0; first < CPU_LIST_MOST; first++) {
        guint last = first;

        if (!has(list, first))
            continue;
        while (has(list, last + 1))
            last++;
        g_string_append_printf(text, "%s%u", text->len != 0 ? "," : "", first);
        if (last > first)
            g_string_append_printf(text, "-%u", last);
        first = last;
    }
    return g_string_free(text, FALSE);
}

gsize cpu_list_length(const CpuList *list)
{
    gsize length = sizeof list->bits;

    while (length > 0 && list->bits[length - 1] == 0)
        length--;
    return length;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/rpc/status_text.h"

#include <string.h>

enum { STATUS_TEXT_MAX_ENCODED = 6000 };

static gsize encoded_length(const char *from, const char *to)
{
    gsize length = 0;

    for (const char *c = from; c < to; c++)
        length += (guchar)*c >= 0x20 && (guchar)*c <= 0x7e && *c != '%' ? 1 : 3;
    return length;
}

char *status_text(const char *message)
{
    /* White space at the end is no part of an HTTP header's value: some clients then see no message at all.
     */
    g_autofree char *valid = g_strchomp(g_utf8_make_valid(message, -1));
    const char *end = valid + strlen(valid);
    const char *head = valid;
    const char *tail = end;

    if (encoded_length(valid, end) <= STATUS_TEXT_MAX_ENCODED)
        return g_steal_pointer(&valid);
    while (encoded_length(valid, head) < STATUS_TEXT_MAX_ENCODED / 2)
        head = g_utf8_next_char(head);
    while (encoded_length(tail, end) < STATUS_TEXT_MAX_ENCODED / 2)
        tail = g_utf8_prev_char(tail);
    return g_strdup_printf("%.*s [...] %s", (int)(head - valid), valid, tail);
}

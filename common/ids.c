/* SPDX-License-Identifier: Apache-2.0 */
#include "common/ids.h"

#include <errno.h>
#include <sys/random.h>

char *id_new(void)
{
    guint8 bytes[ID_LENGTH / 2];
    char *id = g_malloc(ID_LENGTH + 1);

    random_fill(bytes, sizeof bytes);
    for (gsize i = 0; i < sizeof bytes; i++)
        g_snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    return id;
}

void random_fill(void *buffer, gsize length)
{
    char *next = buffer;

    while (length > 0) {
        ssize_t got = getrandom(next, length, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            g_error("the kernel gives no random bytes: %s", g_strerror(errno));
        next += got;
        length -= (gsize)got;
    }
}

gint64 time_now_ns(void)
{
    return g_get_real_time() * 1000;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Where a blob is downloaded to, and who is told how far it is. */
#pragma once

#include <glib.h>

/* Called on the thread that downloads, a few times a second. */
typedef void (*RegistryProgressFunc)(guint64 done_bytes, gpointer data);

typedef struct {
    int fd;                        /* open for reading and writing; its position does not matter */
    RegistryProgressFunc progress; /* NULL: none */
    gpointer data;
} BlobTarget;

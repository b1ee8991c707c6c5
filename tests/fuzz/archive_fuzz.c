/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile archive of images: each compression, the tar, names and links. layer_fuzz goes deeper into the
 * tar. */
#include <glib/gstdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image-service/archive_files.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    static const ArchiveLimits limits = {
        .max_bytes = 1 << 20, .max_memory_bytes = 1 << 20, .max_time_ms = 5000};
    int fd = memfd_create("archive", MFD_CLOEXEC);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    g_autoptr(ArchiveFiles) files = NULL;
    g_autoptr(GBytes) text = NULL;
    g_autoptr(GError) error = NULL;

    if (write(fd, data, size) == (ssize_t)size) {
        files = archive_files_open(path, "/dev/shm", &limits, NULL, &error);
        if (files != NULL)
            archive_files_read(files, "index.json", NULL, 4096, &text, NULL);
    }
    close(fd);
    return 0;
}

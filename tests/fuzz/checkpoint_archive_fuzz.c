/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile archive of a checkpoint: the tar, names, links, sizes and holes. The files are not looked at
 * further, which checkpoint_fuzz does. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/checkpoint/checkpoint_archive.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

/* Asserts that nothing but the files of a checkpoint is there, none with more data than the archive. */
static void check_files(int directory, gsize size)
{
    static const char *const names[] = {"request", "manifest.json", "devices", "volumes", "ram", "disk"};
    struct stat status;

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        if (fstatat(directory, names[i], &status, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        g_assert(S_ISREG(status.st_mode) && (status.st_mode & 07777) == 0600);
        g_assert((gsize)status.st_blocks * 512 <= size * 4096); /* each byte may begin a block */
    }
    checkpoint_discard(directory);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    char path[] = "/dev/shm/checkpoint-fuzz-XXXXXX";
    int file = memfd_create("archive", MFD_CLOEXEC);
    int directory = mkdtemp(path) != NULL ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    g_autoptr(GError) error = NULL;

    g_assert(file >= 0 && directory >= 0);
    if (write(file, data, size) == (ssize_t)size && lseek(file, 0, SEEK_SET) == 0) {
        const gboolean good = checkpoint_archive_read(file, directory, NULL, &error);

        g_assert(good == (error == NULL));
        check_files(directory, size);
    }
    close(file);
    close(directory);
    g_assert(rmdir(path) == 0); /* nothing else was in it */
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/volumes/writable_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/process.h"

enum { MKFS_TIMEOUT_MS = 60 * 1000 };

static gboolean sparse_file_make(const char *path, guint64 size_bytes, GError **error)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    gboolean made = fd >= 0 && ftruncate(fd, (off_t)size_bytes) == 0;

    if (!made)
        fail_errno(error, errno, "cannot make %s", path);
    if (fd >= 0)
        close(fd);
    return made;
}

gboolean writable_disk_template_make(const char *state_dir, guint64 size_bytes, GError **error)
{
    g_autofree char *path = g_build_filename(state_dir, "upper-template.ext4", NULL);
    g_autofree char *unfinished = g_strconcat(path, ".new", NULL);
    /* The file is all zeros, so that inode tables need not be written, and the image stays at a few MB. */
    const char *const argv[] = {"mkfs.ext4", "-q",    "-F",
                                "-N",        "65536", "-m",
                                "0",         "-E",    "lazy_itable_init=0,assume_storage_prezeroed=1",
                                unfinished,  NULL};
    const ProcessSpec mkfs = {.argv = argv};
    Deadline deadline = deadline_in_ms(MKFS_TIMEOUT_MS);
    struct stat status;

    if (stat(path, &status) == 0 && (guint64)status.st_size == size_bytes)
        return TRUE;
    if (!sparse_file_make(unfinished, size_bytes, error) || !process_check(&mkfs, &deadline, error))
        return FALSE;
    if (rename(unfinished, path) != 0)
        return fail_errno(error, errno, "cannot rename %s", unfinished);
    return TRUE;
}

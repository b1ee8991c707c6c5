/* SPDX-License-Identifier: Apache-2.0 */
#include "common/file_tail.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"

enum { CHUNK_BYTES = 65536, LAST_WRITE_MS = 20 };

struct FileTail {
    char *path;
    const FileTailReader *reader;
    gpointer data;
    int fd;      /* -1: no file has been opened */
    int inotify; /* -1: there is only the poll */
    gboolean watches;
};

char *file_tail_read_end(const char *path, gsize max_bytes, gsize *ret_length)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char *bytes = g_malloc(max_bytes + 1);
    struct stat status;
    gssize length = 0;

    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        length = pread(fd, bytes, max_bytes, MAX(0, status.st_size - (off_t)max_bytes));
    if (fd >= 0)
        close(fd);
    length = MAX(length, 0);
    bytes[length] = '\0';
    if (ret_length != NULL)
        *ret_length = (gsize)length;
    return bytes;
}

static int directory_watch(const char *path)
{
    g_autofree char *directory = g_path_get_dirname(path);
    int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    if (inotify >= 0)
        inotify_add_watch(inotify, directory, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM);
    return inotify;
}

FileTail *file_tail_new(const char *path, gboolean watch, const FileTailReader *reader, gpointer data)
{
    FileTail *tail = g_new0(FileTail, 1);

    tail->path = g_strdup(path);
    tail->reader = reader;
    tail->data = data;
    tail->fd = -1;
    tail->watches = watch;
    tail->inotify = watch ? directory_watch(path) : -1;
    return tail;
}

void file_tail_free(FileTail *tail)
{
    if (tail == NULL)
        return;
    if (tail->fd >= 0)
        close(tail->fd);
    if (tail->inotify >= 0)
        close(tail->inotify);
    g_free(tail->path);
    g_free(tail);
}

gboolean file_tail_is_open(const FileTail *tail)
{
    return tail->fd >= 0;
}

static void inotify_drain(int inotify)
{
    char events[4096];

    while (inotify >= 0 && read(inotify, events, sizeof events) > 0)
        ;
}

void file_tail_wait(FileTail *tail, GCancellable *cancellable, int timeout_ms)
{
    GPollFD cancelled = {.fd = -1};
    gboolean pollable = cancellable != NULL && g_cancellable_make_pollfd(cancellable, &cancelled);
    struct pollfd fds[] = {{.fd = tail->inotify, .events = POLLIN}, {.fd = cancelled.fd, .events = POLLIN}};

    poll(fds, G_N_ELEMENTS(fds), timeout_ms);
    if (pollable)
        g_cancellable_release_fd(cancellable);
    inotify_drain(tail->inotify);
}

static gboolean read_to_end(const FileTail *tail, GCancellable *cancellable, GError **error)
{
    char buffer[CHUNK_BYTES];
    ssize_t got;

    while ((got = TEMP_FAILURE_RETRY(read(tail->fd, buffer, sizeof buffer))) > 0) {
        if (!tail->reader->on_bytes(tail->data, buffer, (gsize)got, error))
            return FALSE;
        if (g_cancellable_is_cancelled(cancellable))
            return TRUE;
    }
    return got == 0 || fail_errno(error, errno, "cannot read %s", tail->path);
}

static void rewind_if_cut(const FileTail *tail)
{
    struct stat here;

    if (fstat(tail->fd, &here) != 0 || lseek(tail->fd, 0, SEEK_CUR) <= here.st_size)
        return;
    lseek(tail->fd, 0, SEEK_SET);
    tail->reader->on_restart(tail->data);
}

static gboolean read_file(FileTail *tail, GCancellable *cancellable, GError **error)
{
    if (tail->fd < 0) {
        tail->fd = open(tail->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (tail->fd < 0 && errno == ENOENT)
            return TRUE;
        if (tail->fd < 0)
            return fail_errno(error, errno, "cannot open %s", tail->path);
    }
    rewind_if_cut(tail);
    return read_to_end(tail, cancellable, error);
}

static gboolean was_replaced(const FileTail *tail)
{
    struct stat here;
    struct stat there;

    return tail->fd >= 0 && fstat(tail->fd, &here) == 0 && stat(tail->path, &there) == 0 &&
           (here.st_dev != there.st_dev || here.st_ino != there.st_ino);
}

gboolean file_tail_read(FileTail *tail, GCancellable *cancellable, GError **error)
{
    if (!read_file(tail, cancellable, error))
        return FALSE;
    while (tail->watches && was_replaced(tail)) {
        /* The new file is there, so the writer leaves the old one, perhaps in the midst of its last write. */
        file_tail_wait(tail, cancellable, LAST_WRITE_MS);
        if (!read_file(tail, cancellable, error))
            return FALSE;
        close(tail->fd);
        tail->fd = -1;
        tail->reader->on_restart(tail->data);
        if (!read_file(tail, cancellable, error))
            return FALSE;
    }
    return TRUE;
}

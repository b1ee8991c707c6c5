#include "cri-server/cli/log_follow.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"

typedef struct {
    const LogFollow *follow;
    CriLogReader *reader;
    int fd;      /* the log, -1 while there is none */
    int inotify; /* -1: there is none, only the poll */
    gint64 asked_at_us;
} Follower;

/* One log file at a time, O_NONBLOCK so that a fifo in its place cannot hold us. */
static int open_log(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

static gboolean read_to_end(int fd, const char *path, CriLogReader *reader, GCancellable *cancellable,
                            GError **error)
{
    char buffer[65536];
    ssize_t got;

    while ((got = TEMP_FAILURE_RETRY(read(fd, buffer, sizeof buffer))) > 0) {
        if (!cri_log_reader_feed(reader, buffer, (gsize)got, error))
            return FALSE;
        if (g_cancellable_is_cancelled(cancellable))
            return TRUE;
    }
    if (got < 0)
        return fail_errno(error, errno, "cannot read %s", path);
    return TRUE;
}

/* A first pass over the file tells how many lines come before the wanted ones. */
static gboolean count_lines(const LogFollow *follow, guint64 *ret_lines, GError **error)
{
    CriLogOptions counting = {.since_ns = follow->options.since_ns};
    g_autoptr(CriLogReader) reader = cri_log_reader_new(&counting);
    int fd = open_log(follow->path);
    gboolean good;

    if (fd < 0) {
        *ret_lines = 0;
        return TRUE;
    }
    good = read_to_end(fd, follow->path, reader, follow->cancellable, error);
    close(fd);
    if (good)
        *ret_lines = cri_log_reader_lines(reader);
    return good;
}

static void watch_start(Follower *follower)
{
    g_autofree char *directory = g_path_get_dirname(follower->follow->path);

    follower->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (follower->inotify >= 0)
        inotify_add_watch(follower->inotify, directory, IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM);
}

static void watch_drain(const Follower *follower)
{
    char events[4096];

    while (follower->inotify >= 0 && read(follower->inotify, events, sizeof events) > 0)
        ;
}

/* Something may have been written; a watch that could not be set is made up for by the time-out. */
static void wait_for_more(const Follower *follower, int timeout_ms)
{
    GPollFD cancelled = {.fd = -1};
    gboolean pollable = g_cancellable_make_pollfd(follower->follow->cancellable, &cancelled);
    struct pollfd fds[] = {{.fd = follower->inotify, .events = POLLIN},
                           {.fd = cancelled.fd, .events = POLLIN}};

    poll(fds, G_N_ELEMENTS(fds), timeout_ms);
    if (pollable)
        g_cancellable_release_fd(follower->follow->cancellable);
    watch_drain(follower);
}

static gboolean was_replaced(const Follower *follower)
{
    struct stat here;
    struct stat there;

    return fstat(follower->fd, &here) == 0 && stat(follower->follow->path, &there) == 0 &&
           (here.st_dev != there.st_dev || here.st_ino != there.st_ino);
}

/* Somebody emptied the file under us: what is in it now is new. */
static void rewind_if_truncated(const Follower *follower)
{
    struct stat here;

    if (fstat(follower->fd, &here) == 0 && lseek(follower->fd, 0, SEEK_CUR) > here.st_size) {
        lseek(follower->fd, 0, SEEK_SET);
        cri_log_reader_restart(follower->reader);
    }
}

static gboolean read_log(Follower *follower, GError **error)
{
    if (follower->fd < 0) {
        follower->fd = open_log(follower->follow->path);
        if (follower->fd < 0 && errno == ENOENT)
            return TRUE;
        if (follower->fd < 0)
            return fail_errno(error, errno, "cannot open %s", follower->follow->path);
    }
    rewind_if_truncated(follower);
    return read_to_end(follower->fd, follower->follow->path, follower->reader, follower->follow->cancellable,
                       error);
}

/* The new file is there, so the writer has let go of the old one, perhaps in the midst of its last write. */
static gboolean follow_rotation(Follower *follower, GError **error)
{
    enum { LAST_WRITE_MS = 20 };

    while (follower->fd >= 0 && was_replaced(follower)) {
        wait_for_more(follower, LAST_WRITE_MS);
        if (!read_log(follower, error))
            return FALSE;
        close(follower->fd);
        follower->fd = -1;
        cri_log_reader_restart(follower->reader);
        if (!read_log(follower, error))
            return FALSE;
    }
    return TRUE;
}

/* At most once per interval, unless somebody is in a hurry. */
static gboolean ask_if_over(Follower *follower, gint64 interval_ms, gboolean *ret_over, GError **error)
{
    gint64 now_us = g_get_monotonic_time();

    *ret_over = FALSE;
    if (!g_cancellable_is_cancelled(follower->follow->cancellable) && follower->asked_at_us != 0 &&
        now_us - follower->asked_at_us < interval_ms * 1000)
        return TRUE;
    follower->asked_at_us = now_us;
    return follower->follow->is_over(follower->follow->over_data, ret_over, error);
}

static gboolean follow_to_end(Follower *follower, GError **error)
{
    gint64 interval_ms = follower->follow->over_interval_ms != 0 ? follower->follow->over_interval_ms : 250;
    gboolean over = FALSE;

    for (;;) {
        if (!read_log(follower, error) || !follow_rotation(follower, error))
            return FALSE;
        if (over)
            return TRUE;
        if (!ask_if_over(follower, interval_ms, &over, error))
            return FALSE;
        /* The log was complete before the container was over: one more look at it is enough. */
        if (!over)
            wait_for_more(follower, (int)interval_ms);
    }
}

static gboolean read_once(Follower *follower, GError **error)
{
    if (!read_log(follower, error))
        return FALSE;
    if (follower->fd < 0)
        return fail(error, STATUS_NOT_FOUND, "there is no log file %s", follower->follow->path);
    if (g_cancellable_is_cancelled(follower->follow->cancellable))
        return fail(error, STATUS_CANCELLED, "interrupted");
    return TRUE;
}

gboolean log_follow(const LogFollow *follow, guint64 *ret_malformed, GError **error)
{
    CriLogOptions options = follow->options;
    Follower follower = {.follow = follow, .fd = -1, .inotify = -1};
    g_autoptr(CriLogReader) reader = NULL;
    guint64 lines = 0;
    gboolean good;

    if (follow->tail >= 0) {
        if (!count_lines(follow, &lines, error))
            return FALSE;
        options.skip_lines = lines > (guint64)follow->tail ? lines - (guint64)follow->tail : 0;
    }
    reader = cri_log_reader_new(&options);
    follower.reader = reader;
    if (follow->is_over != NULL)
        watch_start(&follower);
    good = follow->is_over != NULL ? follow_to_end(&follower, error) : read_once(&follower, error);
    if (follower.fd >= 0)
        close(follower.fd);
    if (follower.inotify >= 0)
        close(follower.inotify);
    if (good && ret_malformed != NULL)
        *ret_malformed = cri_log_reader_malformed(reader);
    return good;
}

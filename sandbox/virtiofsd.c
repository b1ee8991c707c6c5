#include "sandbox/virtiofsd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/error.h"

/* What the child finds its listening socket as. */
enum { CHILD_LISTENER = 3 };

extern char **environ;

/* Debian's, and where other distributions put it. */
static const char *const programs[] = {"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"};

static const char *find_program(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(programs); i++)
        if (access(programs[i], X_OK) == 0)
            return programs[i];
    return NULL;
}

static gboolean address_of(const char *path, struct sockaddr_un *ret_address, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return fail(error, STATUS_INVALID_ARGUMENT, "%s is too long a path for a socket", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    *ret_address = address;
    return TRUE;
}

static int listen_at(const VirtiofsdSpec *spec, GError **error)
{
    struct sockaddr_un address;
    int fd;

    if (!address_of(spec->socket, &address, error))
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(spec->socket);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        chmod(spec->socket, 0600) == 0 && chown(spec->socket, spec->uid, spec->gid) == 0 &&
        listen(fd, 1) == 0)
        return fd;
    fail_errno(error, errno, "cannot listen at %s", spec->socket);
    if (fd >= 0)
        close(fd);
    return -1;
}

/* A session of its own keeps it from the terminal's signals, and is how the reaper knows it. */
static int spawn(const char *program, const VirtiofsdSpec *spec, int listener, pid_t *ret_pid)
{
    g_autofree char *source = g_strdup_printf("source=%s", spec->source);
    const char *argv[] = {program, "--fd=3", "-o", source, "-o", "cache=auto", "-o", "sandbox=namespace",
                          NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t defaults;
    int problem;

    sigemptyset(&none);
    sigfillset(&defaults);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, listener, CHILD_LISTENER);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, spec->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, CHILD_LISTENER + 1);
    problem = posix_spawn(ret_pid, program, &files, &attributes, (char **)(void *)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    return problem;
}

gboolean virtiofsd_start(const VirtiofsdSpec *spec, pid_t *ret_pid, GError **error)
{
    const char *program = find_program();
    int listener;
    int problem;

    if (program == NULL)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "virtiofsd, which volumes need, is not installed (package qemu-system-common)");
    if ((listener = listen_at(spec, error)) < 0)
        return FALSE;
    if (listener == CHILD_LISTENER) { /* dup2 onto itself would leave it close-on-exec */
        int moved = fcntl(listener, F_DUPFD_CLOEXEC, CHILD_LISTENER + 1);

        close(listener);
        listener = moved;
    }
    problem = spawn(program, spec, listener, ret_pid);
    close(listener);
    if (problem != 0) {
        unlink(spec->socket);
        return fail_errno(error, problem, "cannot start %s", program);
    }
    return TRUE;
}

/* A server waits for one connection and ends with it. */
void virtiofsd_end(const char *socket_path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;

    if (fd < 0)
        return;
    if (address_of(socket_path, &address, NULL))
        (void)!connect(fd, (struct sockaddr *)&address, sizeof(address)); /* fails: nobody listens any more */
    close(fd);
    unlink(socket_path);
}

void virtiofsd_end_orphans(const char *directory)
{
    g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        g_autofree char *path = g_build_filename(directory, name, NULL);

        if (g_str_has_suffix(name, VIRTIOFSD_SOCKET_SUFFIX))
            virtiofsd_end(path);
    }
}

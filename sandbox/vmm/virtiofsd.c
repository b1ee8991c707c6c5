/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/virtiofsd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/bundle.h"
#include "common/child.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/process.h"
#include "sandbox/host/volume_options.h"
#include "sandbox/vmm/fsguard/memory.h"
#include "sandbox/vmm/vmm_memory.h"

/* The children have their sockets, and fsguard the list of private parts, as this descriptor and the next
 * ones. */
enum { CHILD_FD = 3, CHILD_SOCKETS = 4, VERSION_TIMEOUT_MS = 10000 };

/* Where Debian has it, and where other distributions have it. */
static const char *const programs[] = {"/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"};
/* Relative to the daemon's program: installed, and as built. */
static const char *const fsguards[] = {"../lib/crivirt/crivirt-fsguard", "../libexec/crivirt-fsguard"};

/* Taken from those that virtiofsd keeps by itself. A device file would be one of the node's disk; file
 * capabilities are not served, because extended attributes are not. What remains is what acting for users of
 * the guest needs: chown, dac_override, fowner, fsetid, setgid and setuid. */
#define SERVER_CAPABILITIES "modcaps=-mknod:-setfcap"

static char *find_virtiofsd(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(programs); i++) {
        g_autofree char *path = bundle_path(programs[i]);

        if (access(path, X_OK) == 0)
            return g_steal_pointer(&path);
    }
    return NULL;
}

static char *find_fsguard(void)
{
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *directory = self != NULL ? g_path_get_dirname(self) : NULL;

    for (guint i = 0; directory != NULL && i < G_N_ELEMENTS(fsguards); i++) {
        g_autofree char *path = g_build_filename(directory, fsguards[i], NULL);

        if (access(path, X_OK) == 0)
            return g_steal_pointer(&path);
    }
    return NULL;
}

gboolean virtiofsd_can_recover(void)
{
    g_autofree char *fsguard = find_fsguard();

    return fsguard != NULL;
}

static gboolean fill_address(const char *path, struct sockaddr_un *ret_address, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return fail(error, STATUS_INVALID_ARGUMENT, "the path %s is too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    *ret_address = address;
    return TRUE;
}

/* The descriptor is higher than those of the child: dup2() onto itself would leave it close-on-exec. */
static int socket_new(int type)
{
    int low = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    int fd = low >= 0 ? fcntl(low, F_DUPFD_CLOEXEC, CHILD_FD + CHILD_SOCKETS) : -1;

    if (low >= 0)
        close(low);
    return fd;
}

static int listen_at(const char *path, int type, uid_t uid, gid_t gid, GError **error)
{
    struct sockaddr_un address;
    int fd;

    if (!fill_address(path, &address, error))
        return -1;
    fd = socket_new(type);
    unlink(path);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && chmod(path, 0600) == 0 &&
        chown(path, uid, gid) == 0 && listen(fd, 1) == 0)
        return fd;
    fail_errno(error, errno, "cannot listen at %s", path);
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Makes a listening socket with one connection waiting, whose name is removed. */
static gboolean connection_make(const VirtiofsdSpec *spec, int *ret_listener, int *ret_connection,
                                GError **error)
{
    g_autofree char *path = g_strconcat(spec->socket, ".server", NULL);
    struct sockaddr_un address;
    int listener = listen_at(path, SOCK_STREAM, spec->uid, spec->gid, error);
    int fd;

    if (listener < 0 || !fill_address(path, &address, error))
        return FALSE;
    fd = socket_new(SOCK_STREAM);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        fail_errno(error, errno, "cannot connect to %s", path);
        close(listener);
        listener = -1;
    }
    unlink(path);
    if (listener < 0) {
        if (fd >= 0)
            close(fd);
        return FALSE;
    }
    *ret_listener = listener;
    *ret_connection = fd;
    return TRUE;
}

/* A session of its own protects the child from the terminal's signals; the reaper knows it by that. */
static gboolean spawn_child(const char *const *argv, ChildKind kind, const VirtiofsdSpec *share,
                            const int *sockets, guint n_sockets, pid_t *ret_pid, GError **error)
{
    int log_fd = open(share->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int fds[CHILD_FD + CHILD_SOCKETS] = {-1, log_fd, log_fd};
    const ChildSpec spec = {.argv = argv,
                            .fds = fds,
                            .n_fds = CHILD_FD + n_sockets,
                            .new_session = TRUE,
                            .kind = kind,
                            .pod_oom_score_adj = share->oom_score_adj};
    gboolean good;

    if (log_fd < 0)
        return fail_errno(error, errno, "cannot open %s", share->log);
    memcpy(fds + CHILD_FD, sockets, n_sockets * sizeof(*sockets));
    good = child_spawn(&spec, ret_pid, error);
    close(log_fd);
    return good;
}

/* A call of spawn_child() that a thread makes. */
typedef struct {
    const char *const *argv;
    const VirtiofsdSpec *spec;
    int listener;
    pid_t pid;
    gboolean good;
    GError *error;
} ServerCall;

/* The server acts as the user and group of the guest's process, but without its supplementary groups (an
 * fsGroup is one): the node would refuse what the guest allows by those groups. The guest's kernel has
 * checked the permissions already, so the server keeps its capabilities while it acts for another user.
 * Securebits belong to a thread, and are inherited.
 */
static gboolean keep_capabilities(GError **error)
{
    int bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);

    if (bits < 0 || prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP, 0, 0, 0) != 0)
        return fail_errno(error, errno, "cannot keep the capabilities of virtiofsd");
    return TRUE;
}

/* virtiofsd 7.2 refuses to wait for a lock. Other versions may wait in flock(). The filter makes such a call
 * fail with EOPNOTSUPP in any version. It belongs to a thread, and is inherited. The process has one
 * architecture, so that the number of the system call is enough. */
static gboolean refuse_to_wait_for_locks(GError **error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_flock, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])), /* low half */
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, LOCK_NB | LOCK_UN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
    };
    struct sock_fprog program = {.len = G_N_ELEMENTS(code), .filter = code};

    G_STATIC_ASSERT(G_BYTE_ORDER == G_LITTLE_ENDIAN);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0)
        return fail_errno(error, errno, "cannot limit the system calls of virtiofsd");
    return TRUE;
}

static gpointer server_thread(gpointer data)
{
    ServerCall *call = data;

    call->good =
        keep_capabilities(&call->error) && refuse_to_wait_for_locks(&call->error) &&
        spawn_child(call->argv, CHILD_VIRTIOFSD, call->spec, &call->listener, 1, &call->pid, &call->error);
    return NULL;
}

/* QEMU's own virtiofsd, up to QEMU 7.2, calls itself "virtiofsd version 7.2.22". The later one,
 * "virtiofsd 1.13.2", serves no locks, and refuses the option. */
static gboolean ask_for_locks(const char *program)
{
    const char *const argv[] = {program, "--version", NULL};
    const ProcessSpec spec = {.argv = argv};
    Deadline deadline = deadline_in_ms(VERSION_TIMEOUT_MS);
    g_auto(ProcessResult) result = {0};

    if (!process_run(&spec, &deadline, &result, NULL) ||
        g_str_has_prefix(result.output, "virtiofsd version "))
        return TRUE;
    log_warning(LOG_NO_FIELDS,
                "%s serves no locks: locks on files of volumes hold within a pod only (guest.volume_locks)",
                program);
    return FALSE;
}

static gboolean serves_locks(const char *program)
{
    static gsize is_known;
    static gboolean answer;

    if (g_once_init_enter(&is_known)) {
        answer = ask_for_locks(program);
        g_once_init_leave(&is_known, 1);
    }
    return answer;
}

static gboolean spawn_server(const char *program, const VirtiofsdSpec *spec, int listener, pid_t *ret_pid,
                             GError **error)
{
    g_autofree char *source = g_strdup_printf("source=%s", spec->source);
    g_autofree char *cache = g_strdup_printf("cache=%s", volume_cache_word(spec->cache));
    const char *const argv[] = {
        program, "--fd=3",
        "-o",    source,
        "-o",    cache,
        "-o",    "sandbox=namespace",
        "-o",    spec->locks && serves_locks(program) ? "posix_lock,flock" : "no_posix_lock,no_flock",
        "-o",    SERVER_CAPABILITIES,
        NULL,
    };

    ServerCall call = {.argv = argv, .spec = spec, .listener = listener};

    g_thread_join(g_thread_new("file-server", server_thread, &call));
    if (!call.good)
        g_propagate_error(error, call.error);
    else
        *ret_pid = call.pid;
    return call.good;
}

char *virtiofsd_control_path(const char *socket)
{
    return g_strconcat(socket, ".control", NULL);
}

/* Only root may send commands. */
static gboolean listen_for_commands(const VirtiofsdSpec *spec, int *ret_control, GError **error)
{
    g_autofree char *path = virtiofsd_control_path(spec->socket);

    *ret_control = spec->recovery ? listen_at(path, SOCK_SEQPACKET, 0, 0, error) : -1;
    return !spec->recovery || *ret_control >= 0;
}

/* Return: a file with the parts in fsguard's form (fsguard/memory.h), the caller's; -1 with an error. */
static int private_parts_file(const GArray *parts, GError **error)
{
    int low = memfd_create("private-parts", MFD_CLOEXEC);
    int fd = low >= 0 ? fcntl(low, F_DUPFD_CLOEXEC, CHILD_FD + CHILD_SOCKETS) : -1;

    G_STATIC_ASSERT(sizeof(MemoryPart) == sizeof(MemoryHole));
    if (low >= 0)
        close(low);
    if (fd >= 0 && (parts == NULL || file_write_at(fd, parts->data, parts->len * sizeof(MemoryPart), 0)))
        return fd;
    fail_errno(error, errno, "cannot write which memory of the guest is private");
    if (fd >= 0)
        close(fd);
    return -1;
}

static gboolean spawn_fsguard(const char *program, const VirtiofsdSpec *spec, int listener, int connection,
                              pid_t *ret_pid, GError **error)
{
    g_autofree char *uid = g_strdup_printf("%u", (guint)spec->uid);
    g_autofree char *gid = g_strdup_printf("%u", (guint)spec->gid);
    const char *const argv[] = {program, uid, gid, spec->source, spec->recovery ? "recovery" : NULL, NULL};
    int sockets[CHILD_SOCKETS] = {listener, connection, -1, -1};
    gboolean good;

    if (!listen_for_commands(spec, &sockets[2], error))
        return FALSE;
    good = !spec->recovery || (sockets[3] = private_parts_file(spec->private_parts, error)) >= 0;
    good = good && spawn_child(argv, CHILD_FSGUARD, spec, sockets, spec->recovery ? CHILD_SOCKETS : 2,
                               ret_pid, error);
    for (guint i = 2; i < CHILD_SOCKETS; i++)
        if (sockets[i] >= 0)
            close(sockets[i]);
    return good;
}

/* A server whose fsguard does not start loses its client when this function closes the connection, and ends.
 * A crivirtd without an installed fsguard still serves volumes. */
static gboolean spawn_both(const char *program, const VirtiofsdSpec *spec, int listener,
                           VirtiofsdProcesses *processes, GError **error)
{
    g_autofree char *fsguard = find_fsguard();
    int server = -1, connection = -1;
    gboolean good;

    if (fsguard == NULL && spec->private_parts != NULL && spec->private_parts->len > 0)
        return fail(
            error, STATUS_FAILED_PRECONDITION,
            "crivirt-fsguard is not installed beside crivirtd, and this guest shares memory of its template");
    if (fsguard == NULL) {
        log_warning(LOG_NO_FIELDS,
                    "crivirt-fsguard is not installed beside crivirtd: if virtiofsd of %s dies, processes in "
                    "the guest "
                    "that use the volumes hang",
                    spec->source);
        return spawn_server(program, spec, listener, &processes->server, error);
    }
    if (!connection_make(spec, &server, &connection, error))
        return FALSE;
    good = spawn_server(program, spec, server, &processes->server, error) &&
           spawn_fsguard(fsguard, spec, listener, connection, &processes->fsguard, error);
    close(server);
    close(connection);
    return good;
}

/* Return: its path, which the caller frees; NULL with an error. */
static char *require_virtiofsd(GError **error)
{
    char *program = find_virtiofsd();

    if (program == NULL)
        fail(error, STATUS_FAILED_PRECONDITION,
             "cannot attach volumes: virtiofsd is not installed (package qemu-system-common)");
    return program;
}

gboolean virtiofsd_start_server(const VirtiofsdSpec *spec, pid_t *ret_server, int *ret_connection,
                                GError **error)
{
    g_autofree char *program = require_virtiofsd(error);
    int server = -1, connection = -1;
    gboolean good;

    if (program == NULL || !connection_make(spec, &server, &connection, error))
        return FALSE;
    good = spawn_server(program, spec, server, ret_server, error);
    close(server);
    if (good)
        *ret_connection = connection;
    else
        close(connection);
    return good;
}

gboolean virtiofsd_start_fsguard(const VirtiofsdSpec *spec, int connection, pid_t *ret_fsguard,
                                 GError **error)
{
    g_autofree char *fsguard = find_fsguard();
    int listener;
    gboolean good;

    if (fsguard == NULL || !spec->recovery)
        return fail(error, STATUS_FAILED_PRECONDITION, "%s",
                    fsguard == NULL ? "crivirt-fsguard is not installed beside crivirtd"
                                    : "guest.volume_recovery is off");
    listener = virtiofsd_listen(spec, spec->socket, error);
    if (listener < 0)
        return FALSE;
    good = spawn_fsguard(fsguard, spec, listener, connection, ret_fsguard, error);
    close(listener);
    if (!good)
        unlink(spec->socket);
    return good;
}

int virtiofsd_listen(const VirtiofsdSpec *spec, const char *path, GError **error)
{
    return listen_at(path, SOCK_STREAM, spec->uid, spec->gid, error);
}

gboolean virtiofsd_start(const VirtiofsdSpec *spec, VirtiofsdProcesses *ret_processes, GError **error)
{
    g_autofree char *program = require_virtiofsd(error);
    VirtiofsdProcesses processes = {0};
    int listener;
    gboolean good;

    if (program == NULL)
        return FALSE;
    unlink(spec->log);
    if ((listener = listen_at(spec->socket, SOCK_STREAM, spec->uid, spec->gid, error)) < 0)
        return FALSE;
    good = spawn_both(program, spec, listener, &processes, error);
    close(listener);
    if (good)
        *ret_processes = processes;
    else
        unlink(spec->socket);
    return good;
}

/* fsguard holds a lock on its log (fsguard/main.c). */
gboolean virtiofsd_has_fsguard(const char *log)
{
    int fd = open(log, O_RDONLY | O_CLOEXEC);
    gboolean is_held = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;

    if (fd >= 0)
        close(fd);
    return is_held;
}

/* fsguard waits for one connection and ends with it, and the server ends with fsguard. */
void virtiofsd_end(const char *socket_path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;

    if (fd < 0)
        return;
    if (fill_address(socket_path, &address, NULL))
        (void)!connect(fd, (struct sockaddr *)&address,
                       sizeof(address)); /* fails when no process listens any more */
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

/* SPDX-License-Identifier: Apache-2.0 */
/* A library that tests/integration preloads into crivirtd. It kills the daemon right after a chosen side
 * effect, or makes something else go wrong then.
 *
 * Every library call of the daemon's own code that changes something outside of its memory (a row, a file, a
 * mount, an interface, a guest, a message to an agent, a child) is counted here when it has returned. Nothing
 * that happens between two such calls outlives the process, so that a daemon that is killed after each of
 * them has been killed everywhere that matters.
 *
 * CRASH_CONTROL names a file of four 32-bit numbers, shared with the test: the number of the side effect (0:
 * do not count, -1: only count), the count, the Fault, and whether it has happened. The names of the side
 * effects are appended to CRASH_CONTROL.trace, one a line.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef enum {
    FAULT_DIE,
    FAULT_HOLD,  /* the thread waits until the test has set another target */
    FAULT_BREAK, /* the agent connection that was used last breaks */
} Fault;

typedef struct {
    _Atomic int32_t target;
    _Atomic int32_t count;
    _Atomic int32_t fault;
    _Atomic int32_t happened;
} Control;

static Control *control;
static int trace_fd = -1;
static pid_t daemon_pid;
static _Atomic int agent_fd = -1; /* of the last send() */
static uintptr_t program_begin;
static uintptr_t program_end;

/* The first object that the loader lists is the program itself. */
static int find_program(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size, (void)data;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD) {
            uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

            if (program_begin == 0)
                program_begin = begin;
            program_end = begin + info->dlpi_phdr[i].p_memsz;
        }
    return 1;
}

static void open_control(const char *path)
{
    char trace[4096];
    int fd = open(path, O_RDWR | O_CLOEXEC);

    snprintf(trace, sizeof trace, "%s.trace", path);
    trace_fd = open(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0 && trace_fd >= 0)
        control = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (control == NULL || control == MAP_FAILED)
        abort(); /* without the function the test would test nothing */
    close(fd);
}

/* Effects are counted only in the daemon, not in programs that it starts. */
__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CRASH_CONTROL");
    char program[4096] = "";

    if (path == NULL || readlink("/proc/self/exe", program, sizeof program - 1) < 0 ||
        strstr(program, "/crivirtd") == NULL)
        return;
    daemon_pid = getpid();
    dl_iterate_phdr(find_program, NULL);
    open_control(path);
    unsetenv("LD_PRELOAD");
}

static const char *base_name(const char *path)
{
    const char *slash = path != NULL ? strrchr(path, '/') : NULL;

    return slash != NULL ? slash + 1 : path != NULL ? path : "";
}

/* Lets the fault happen: the side effect is the target. */
static void strike(int32_t target)
{
    switch ((Fault)atomic_load(&control->fault)) {
    case FAULT_DIE:
        kill(daemon_pid, SIGKILL);
        break;
    case FAULT_HOLD:
        atomic_store(&control->happened, 1);
        while (atomic_load(&control->target) == target)
            usleep(1000);
        break;
    case FAULT_BREAK:
        shutdown(atomic_load(&agent_fd), SHUT_RDWR);
        atomic_store(&control->happened, 1);
        break;
    }
}

static void reach(const void *caller, const char *effect, const char *object)
{
    int32_t target = control != NULL ? atomic_load(&control->target) : 0;
    const int errnum = errno;
    int32_t now;

    if (target == 0 || (uintptr_t)caller < program_begin || (uintptr_t)caller >= program_end ||
        getpid() != daemon_pid)
        return;
    now = atomic_fetch_add(&control->count, 1) + 1;
    dprintf(trace_fd, "%s %.60s\n", effect, object);
    if (now == target)
        strike(target);
    errno = errnum; /* that of the function */
}

/* EFFECT(type, function, (parameters), (arguments), object): defines a function that calls the original one
 * and counts a side effect. */
#define EFFECT(type, name, parameters, arguments, object)                                                    \
    type name parameters;                                                                                    \
    type name parameters                                                                                     \
    {                                                                                                        \
        static type(*real) parameters;                                                                       \
        type result;                                                                                         \
                                                                                                             \
        if (real == NULL)                                                                                    \
            real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                              \
        result = real arguments;                                                                             \
        reach(__builtin_return_address(0), #name, object);                                                   \
        return result;                                                                                       \
    }

/* ---- files ---- */

#define AT const char *path
EFFECT(int, g_mkdir_with_parents, (AT, int mode), (path, mode), base_name(path))
EFFECT(int, mkostemp, (char *path, int flags), (path, flags), "")
EFFECT(int, unlink, (AT), (path), base_name(path))
EFFECT(int, unlinkat, (int at, AT, int flags), (at, path, flags), base_name(path))
EFFECT(int, rmdir, (AT), (path), base_name(path))
EFFECT(int, rename, (const char *from, AT), (from, path), base_name(path))
EFFECT(int, link, (const char *from, AT), (from, path), base_name(path))
EFFECT(int, symlink, (const char *from, AT), (from, path), base_name(path))
EFFECT(int, chown, (AT, uid_t user, gid_t group), (path, user, group), base_name(path))
EFFECT(int, chmod, (AT, mode_t mode), (path, mode), base_name(path))
EFFECT(int, ftruncate, (int fd, off_t size), (fd, size), "")
EFFECT(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), "")
EFFECT(ssize_t, copy_file_range,
       (int from, off_t *from_at, int to, off_t *to_at, size_t size, unsigned flags),
       (from, from_at, to, to_at, size, flags), "")

static int is_regular(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

ssize_t write(int fd, const void *data, size_t size)
{
    static ssize_t (*real)(int, const void *, size_t);
    ssize_t result;

    if (real == NULL)
        real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    result = real(fd, data, size);
    /* Lines of the daemon's log and pipes do not count. */
    if (fd != STDERR_FILENO && fd != STDOUT_FILENO && control != NULL && control->target != 0 &&
        is_regular(fd))
        reach(__builtin_return_address(0), "write", "");
    return result;
}

int open(const char *path, int flags, ...)
{
    static int (*real)(const char *, int, ...);
    mode_t mode = 0;
    int result;

    if (flags & O_CREAT) {
        va_list more;

        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
    }
    if (real == NULL)
        real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    result = real(path, flags, mode);
    if (flags & (O_CREAT | O_TRUNC))
        reach(__builtin_return_address(0), "open", base_name(path));
    return result;
}

/* ---- mounts ---- */

EFFECT(int, mount, (const char *from, AT, const char *type, unsigned long flags, const void *data),
       (from, path, type, flags, data), base_name(path))
EFFECT(int, umount2, (AT, int flags), (path, flags), base_name(path))
EFFECT(int, move_mount, (int from, const char *source, int to, AT, unsigned flags),
       (from, source, to, path, flags), base_name(path))

/* ---- interfaces ---- */

EFFECT(int, rtnl_link_change, (void *socket, void *link, void *change, int flags),
       (socket, link, change, flags), "")
EFFECT(int, rtnl_link_delete, (void *socket, const void *link), (socket, link), "")
EFFECT(int, rtnl_qdisc_add, (void *socket, void *qdisc, int flags), (socket, qdisc, flags), "")
EFFECT(int, rtnl_cls_add, (void *socket, void *filter, int flags), (socket, filter, flags), "")

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, ...);
    va_list more;
    void *argument;
    int result;

    va_start(more, request);
    argument = va_arg(more, void *);
    va_end(more);
    if (real == NULL)
        real = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    result = real(fd, request, argument);
    if (_IOC_TYPE(request) == 'T') /* requests of taps; the others change nothing */
        reach(__builtin_return_address(0), "ioctl", "");
    return result;
}

/* ---- guests and their agents ---- */

EFFECT(void *, virDomainCreateXML, (void *connection, const char *xml, unsigned flags),
       (connection, xml, flags), "")
EFFECT(int, virDomainResume, (void *domain), (domain), "")
EFFECT(int, virDomainDestroy, (void *domain), (domain), "")
EFFECT(int, virDomainAttachDeviceFlags, (void *domain, const char *xml, unsigned flags), (domain, xml, flags),
       "")
EFFECT(int, virDomainDetachDeviceFlags, (void *domain, const char *xml, unsigned flags), (domain, xml, flags),
       "")
EFFECT(int, virDomainSetVcpusFlags, (void *domain, unsigned count, unsigned flags), (domain, count, flags),
       "")
EFFECT(int, virDomainSetMemoryFlags, (void *domain, unsigned long size, unsigned flags),
       (domain, size, flags), "")

/* The daemon uses it only for agents. */
static const char *agent_note(int fd)
{
    atomic_store(&agent_fd, fd);
    return "";
}

/* Another socket, QEMU's monitor for one, may get the number of a connection that is closed. */
int close(int fd)
{
    int closed = fd;

    atomic_compare_exchange_strong(&agent_fd, &closed, -1);
    return (int)syscall(SYS_close, fd);
}

EFFECT(ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags),
       agent_note(fd))

/* ---- children ---- */

EFFECT(int, clone, (int (*child)(void *), void *stack, int flags, void *data, ...),
       (child, stack, flags, data), "")
EFFECT(pid_t, waitpid, (pid_t pid, int *status, int options), (pid, status, options), "")
EFFECT(int, kill, (pid_t pid, int number), (pid, number), "")

/* ---- rows ---- */

int sqlite3_step(void *statement);
int sqlite3_step(void *statement)
{
    static int (*real)(void *);
    static int (*readonly)(void *);
    static const char *(*sql)(void *);
    int result;

    if (real == NULL) {
        readonly = (int (*)(void *))dlsym(RTLD_NEXT, "sqlite3_stmt_readonly");
        sql = (const char *(*)(void *))dlsym(RTLD_NEXT, "sqlite3_sql");
        real = (int (*)(void *))dlsym(RTLD_NEXT, "sqlite3_step");
    }
    result = real(statement);
    if (!readonly(statement))
        reach(__builtin_return_address(0), "sqlite3_step", sql(statement));
    return result;
}

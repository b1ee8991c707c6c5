/* SPDX-License-Identifier: Apache-2.0 */
/* Real libvirt and QEMU (CRIVIRT_TEST_QEMU), emulated. Guests stay paused, or run a kernel with no agent: the
 * kernel and initramfs of CRIVIRT_TEST_KERNEL and CRIVIRT_TEST_INITRD, else an empty boot sector. */
#include "sandbox/vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "sandbox/host/volume_options.h"
#include "sandbox/vmm/console.h"
#include "sandbox/vmm/vmm_state.h"
#include "tests/unit/harness.h"

enum { MEMORY_BYTES = 64 << 20, WAIT_MS = 10000, BOOT_MS = 60000 };

/* A real kernel needs more memory than the firmware, which runs otherwise. */
static guint64 memory_bytes(void)
{
    return g_getenv("CRIVIRT_TEST_KERNEL") != NULL ? 256 << 20 : MEMORY_BYTES;
}

/* The QEMU of the VMs: a value of the option hypervisor.qemu. */
static const char *qemu(void)
{
    const char *given = g_getenv("CRIVIRT_TEST_QEMU");

    return given != NULL ? given : "auto";
}

static const char first[] = "1111111111111111111111111111111111111111111111111111111111111111";
static const char second[] = "2222222222222222222222222222222222222222222222222222222222222222";

static char *self; /* this program, for the child that dies with guests running */

/* What the event thread has reported. */
typedef struct {
    GMutex lock;
    GCond changed;
    char *name;
    char *text;
    VmmStopReason reason;
    guint count;
} Ends;

typedef struct {
    char *directory;
    char *run_dir;
    char *console;
    char *agent;
    char *kernel;
    guint user; /* of the VMs that are made next; 0: the account */
    VmmConfig config;
    Ends ends;
    Vmm *vmm;
} Fixture;

static void on_stopped(const char *name, VmmStopReason reason, const char *text, gpointer data)
{
    Ends *ends = data;

    g_mutex_lock(&ends->lock);
    g_free(ends->name);
    ends->name = g_strdup(name);
    g_free(ends->text);
    ends->text = g_strdup(text);
    ends->reason = reason;
    ends->count++;
    g_cond_broadcast(&ends->changed);
    g_mutex_unlock(&ends->lock);
}

static gboolean ends_wait(Ends *ends, guint count, guint within_ms)
{
    gint64 until = g_get_monotonic_time() + (gint64)within_ms * 1000;
    gboolean reached;

    g_mutex_lock(&ends->lock);
    while (!(reached = ends->count >= count) && g_cond_wait_until(&ends->changed, &ends->lock, until))
        continue;
    g_mutex_unlock(&ends->lock);
    return reached;
}

static void fixture_open(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;

    fixture->vmm = vmm_open(&fixture->config, on_stopped, &fixture->ends, &error);
    TEST_OK(fixture->vmm != NULL, error);
    CU_ASSERT_PTR_NOT_NULL_FATAL(fixture->vmm);
}

static void fixture_paths(Fixture *fixture, char *directory)
{
    *fixture = (Fixture){.directory = directory};
    fixture->run_dir = g_build_filename(directory, "run", NULL);
    fixture->console = g_build_filename(fixture->run_dir, "console", NULL);
    fixture->agent = g_build_filename(fixture->run_dir, "agent", NULL);
    fixture->kernel = g_build_filename(directory, "kernel", NULL);
    fixture->config = (VmmConfig){"embed", directory,      fixture->run_dir, "tcg",
                                  qemu(),  "libvirt-qemu", "libvirt-qemu",   TRUE};
}

/* A Linux boot sector without a kernel behind it, which is enough to start QEMU. */
static void write_kernel(const char *path)
{
    g_autofree char *image = g_malloc0(64 << 10);
    const char *given = g_getenv("CRIVIRT_TEST_KERNEL");

    if (given != NULL) {
        CU_ASSERT_TRUE_FATAL(file_copy_sparse(given, path, 0644, NULL, NULL));
        return;
    }
    image[0x1f1] = 4; /* setup sectors */
    image[0x1fe] = 0x55;
    image[0x1ff] = (char)0xaa;
    memcpy(image + 0x202, "HdrS\x0c\x02", 6); /* NOLINT: no string */
    image[0x211] = 1;                         /* loaded high */
    CU_ASSERT_TRUE_FATAL(file_write_atomic(path, image, 64 << 10, 0644, NULL));
}

static void fixture_prepare(Fixture *fixture)
{
    char *directory = test_directory();

    chmod(directory, 0711); /* QEMU is not root */
    fixture_paths(fixture, directory);
    write_kernel(fixture->kernel);
}

static void fixture_make(Fixture *fixture)
{
    fixture_prepare(fixture);
    fixture_open(fixture);
}

static void fixture_close(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) left = NULL;

    TEST_OK(vmm_list(fixture->vmm, &left, &error), error);
    for (guint i = 0; left != NULL && i < left->len; i++) {
        VmmDomain *domain = g_ptr_array_index(left, i);

        CU_FAIL("a guest is left");
        vmm_destroy(fixture->vmm, domain->name, NULL, NULL);
    }
    vmm_close(fixture->vmm);
    g_free(fixture->ends.name);
    g_free(fixture->ends.text);
    g_free(fixture->directory);
    g_free(fixture->run_dir);
    g_free(fixture->console);
    g_free(fixture->agent);
    g_free(fixture->kernel);
}

static gboolean create_as(Fixture *fixture, const char *name, gboolean incoming, GError **error)
{
    g_autofree char *agent = g_strdup_printf("%s.%.4s", fixture->agent, name);
    g_autofree char *console = g_strdup_printf("%s.%.4s", fixture->console, name);
    const DomainSpec spec = {
        .name = name,
        .title = "test/<pod>",
        .architecture = "x86_64",
        .memory_bytes = memory_bytes(),
        .vcpus = 1,
        .kernel = fixture->kernel,
        .initrd = g_getenv("CRIVIRT_TEST_INITRD"),
        .tcg_buffer_mib = 32,
        .agent_socket = agent,
        .console_path = console,
        .incoming = incoming,
        .user = fixture->user,
    };

    return vmm_create(fixture->vmm, &spec, NULL, error);
}

static gboolean create(Fixture *fixture, const char *name, GError **error)
{
    return create_as(fixture, name, FALSE, error);
}

static void make(Fixture *fixture, const char *name)
{
    g_autoptr(GError) error = NULL;

    TEST_OK(create(fixture, name, &error), error);
}

static void destroy(Fixture *fixture, const char *name)
{
    g_autoptr(GError) error = NULL;

    TEST_OK(vmm_destroy(fixture->vmm, name, NULL, &error), error);
}

/* QEMU's pid, 0 when the guest is not listed. */
static pid_t listed(Fixture *fixture, const char *name, gboolean *ret_running)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) domains = NULL;
    pid_t pid = 0;

    TEST_OK(vmm_list(fixture->vmm, &domains, &error), error);
    for (guint i = 0; domains != NULL && i < domains->len; i++) {
        VmmDomain *domain = g_ptr_array_index(domains, i);

        if (g_str_equal(domain->name, name)) {
            pid = domain->pid;
            if (ret_running != NULL)
                *ret_running = domain->running;
        }
    }
    return pid;
}

static gboolean runs_as(pid_t pid, const char *user)
{
    g_autofree char *path = g_strdup_printf("/proc/%d", (int)pid);
    struct passwd *account = getpwnam(user);
    struct stat status;

    return account != NULL && stat(path, &status) == 0 && status.st_uid == account->pw_uid;
}

static gboolean log_is_left(Fixture *fixture)
{
    g_autofree char *path = g_build_filename(fixture->directory, "libvirt", "log", "qemu", NULL);
    g_autoptr(GDir) logs = g_dir_open(path, 0, NULL);

    return logs != NULL && g_dir_read_name(logs) != NULL;
}

/* libvirt reports it, also of a VM that the Vmm's account runs. */
static void runs_as_a_user_of_its_own(void)
{
    enum { USER = 2000000123 };
    const struct passwd *account = getpwnam("libvirt-qemu");
    g_autoptr(GError) error = NULL;
    g_autofree char *console = NULL;
    g_autofree char *process = NULL;
    struct stat status;
    Fixture fixture;
    uid_t uid = 0;
    gid_t gid = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(account);
    fixture_make(&fixture);
    make(&fixture, second);
    fixture.user = USER;
    make(&fixture, first);
    process = g_strdup_printf("/proc/%d", (int)listed(&fixture, first, NULL));
    CU_ASSERT_EQUAL(stat(process, &status), 0);
    CU_ASSERT_TRUE(status.st_uid == USER && status.st_gid == USER);
    console = g_strdup_printf("%s.%.4s", fixture.console, first);
    CU_ASSERT_EQUAL(stat(console, &status), 0);
    CU_ASSERT_TRUE(status.st_uid == USER && status.st_gid == USER && (status.st_mode & 07777) == 0600);
    TEST_OK(vmm_user(fixture.vmm, first, &uid, &gid, &error), error);
    CU_ASSERT_TRUE(uid == USER && gid == USER);
    TEST_OK(vmm_user(fixture.vmm, second, &uid, &gid, &error), error);
    CU_ASSERT_EQUAL(uid, account->pw_uid);
    destroy(&fixture, first);
    destroy(&fixture, second);
    TEST_FAILS(vmm_user(fixture.vmm, first, &uid, &gid, &error), error, STATUS_NOT_FOUND, "VM");
    fixture_close(&fixture);
}

static void life_of_a_guest(void)
{
    g_autoptr(GError) error = NULL;
    gboolean running = TRUE;
    Fixture fixture;
    pid_t pid;

    fixture_make(&fixture);
    make(&fixture, first);
    CU_ASSERT_NOT_EQUAL(pid = listed(&fixture, first, &running), 0);
    CU_ASSERT_FALSE(running);
    CU_ASSERT_TRUE(runs_as(pid, "libvirt-qemu"));
    TEST_OK(vmm_resume(fixture.vmm, first, &error), error);
    CU_ASSERT_NOT_EQUAL(listed(&fixture, first, &running), 0);
    CU_ASSERT_TRUE(running);
    TEST_FAILS(create(&fixture, first, &error), error, STATUS_ALREADY_EXISTS, first);
    destroy(&fixture, first);
    CU_ASSERT_EQUAL(listed(&fixture, first, NULL), 0);
    CU_ASSERT_TRUE(ends_wait(&fixture.ends, 1, WAIT_MS));
    CU_ASSERT_EQUAL(fixture.ends.reason, VMM_STOPPED_DESTROYED);
    CU_ASSERT_FALSE(log_is_left(&fixture));
    make(&fixture, first);
    destroy(&fixture, first);
    fixture_close(&fixture);
}

/* ---- state ---- */

enum { MARK_AT = 40 << 20 };
static const char mark[] = "what the first guest had in its memory";

/* Return: a descriptor of QEMU's process. */
static int memory_of(Fixture *fixture, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", (int)vmm_pid(fixture->vmm, name));
    g_autoptr(GDir) entries = g_dir_open(path, 0, NULL);
    const char *entry;
    int fd = -1;

    while (fd < 0 && entries != NULL && (entry = g_dir_read_name(entries)) != NULL) {
        g_autofree char *link = g_build_filename(path, entry, NULL);
        g_autofree char *target = g_file_read_link(link, NULL);

        if (target != NULL && g_str_has_prefix(target, "/memfd:memory-backend-memfd"))
            fd = open(link, O_RDWR | O_CLOEXEC);
    }
    CU_ASSERT_TRUE_FATAL(fd >= 0);
    return fd;
}

static int file_in(Fixture *fixture, const char *name)
{
    g_autofree char *path = g_build_filename(fixture->directory, name, NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    CU_ASSERT_TRUE_FATAL(fd >= 0);
    return fd;
}

/* Saves a guest that has run for a moment, with a text in its memory, and destroys it. */
static void save_first(Fixture *fixture, int ram, int devices)
{
    g_autoptr(GError) error = NULL;
    gboolean running = TRUE;
    int memory;

    make(fixture, first);
    TEST_OK(vmm_resume(fixture->vmm, first, &error), error);
    g_usleep(G_USEC_PER_SEC / 10);
    TEST_OK(vmm_pause(fixture->vmm, first, &error), error);
    listed(fixture, first, &running);
    CU_ASSERT_FALSE(running);
    memory = memory_of(fixture, first);
    CU_ASSERT_EQUAL(pwrite(memory, mark, sizeof mark, MARK_AT), (ssize_t)sizeof mark);
    close(memory);
    TEST_OK(vmm_state_save(fixture->vmm, first, ram, devices, NULL, &error), error);
    destroy(fixture, first);
    CU_ASSERT_TRUE(ends_wait(&fixture->ends, 1, WAIT_MS));
}

static void expect_second(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;

    TEST_OK(create_as(fixture, second, TRUE, &error), error);
    TEST_OK(vmm_state_expect(fixture->vmm, second, &error), error);
}

static void state_moves(void)
{
    g_autoptr(GError) error = NULL;
    char found[sizeof mark] = "";
    gboolean running = FALSE;
    struct stat status;
    Fixture fixture;
    int memory;
    int ram;
    int devices;

    fixture_make(&fixture);
    ram = file_in(&fixture, "ram");
    devices = file_in(&fixture, "devices");
    save_first(&fixture, ram, devices);
    CU_ASSERT_EQUAL(fstat(ram, &status), 0);
    CU_ASSERT_EQUAL((guint64)status.st_size, memory_bytes());
    CU_ASSERT_TRUE((guint64)status.st_blocks * 512 < memory_bytes() / 2); /* untouched memory is a hole */
    lseek(devices, 0, SEEK_SET);
    expect_second(&fixture);
    TEST_OK(vmm_state_restore(fixture.vmm, second, ram, devices, NULL, NULL, &error), error);
    memory = memory_of(&fixture, second);
    CU_ASSERT_EQUAL(pread(memory, found, sizeof found, MARK_AT), (ssize_t)sizeof found);
    CU_ASSERT_STRING_EQUAL(found, mark);
    TEST_OK(vmm_resume(fixture.vmm, second, &error), error);
    CU_ASSERT_NOT_EQUAL(listed(&fixture, second, &running), 0);
    CU_ASSERT_TRUE(running);
    close(memory);
    close(ram);
    close(devices);
    destroy(&fixture, second);
    CU_ASSERT_TRUE(ends_wait(&fixture.ends, 2, WAIT_MS));
    fixture_close(&fixture);
}

static guint64 blocks_of(int memory)
{
    struct stat status;

    CU_ASSERT_EQUAL_FATAL(fstat(memory, &status), 0);
    return (guint64)status.st_blocks;
}

static void pages_of_zeros_are_given_back(void)
{
    enum { ZEROS_AT = 20 << 20, ZEROS = 3 << 20 };
    g_autofree char *zeros = g_malloc0(ZEROS);
    g_autoptr(GError) error = NULL;
    char found[sizeof mark] = "";
    gboolean running = FALSE;
    guint64 before;
    Fixture fixture;
    int memory;

    fixture_make(&fixture);
    make(&fixture, first);
    memory = memory_of(&fixture, first);
    CU_ASSERT_EQUAL(pwrite(memory, zeros, ZEROS, ZEROS_AT), (ssize_t)ZEROS);
    CU_ASSERT_EQUAL(pwrite(memory, mark, sizeof mark, ZEROS_AT + (1 << 20)), (ssize_t)sizeof mark);
    CU_ASSERT_EQUAL(pwrite(memory, mark, sizeof mark, MARK_AT), (ssize_t)sizeof mark);
    before = blocks_of(memory);
    TEST_OK(vmm_state_release_zeros(fixture.vmm, first, NULL, &error), error);
    CU_ASSERT_TRUE(blocks_of(memory) <= before - (ZEROS - 4096) / 512);
    CU_ASSERT_EQUAL(pread(memory, found, sizeof found, ZEROS_AT + (1 << 20)), (ssize_t)sizeof found);
    CU_ASSERT_STRING_EQUAL(found, mark);
    CU_ASSERT_EQUAL(pread(memory, found, sizeof found, MARK_AT), (ssize_t)sizeof found);
    CU_ASSERT_STRING_EQUAL(found, mark);
    CU_ASSERT_EQUAL(pread(memory, zeros, ZEROS, ZEROS_AT), (ssize_t)ZEROS);
    CU_ASSERT_EQUAL(zeros[0], 0);
    close(memory);
    TEST_OK(vmm_resume(fixture.vmm, first, &error), error);
    CU_ASSERT_NOT_EQUAL(listed(&fixture, first, &running), 0);
    CU_ASSERT_TRUE(running);
    TEST_FAILS(vmm_state_release_zeros(fixture.vmm, second, NULL, &error), error, STATUS_INTERNAL,
               "cannot find the guest's memory");
    destroy(&fixture, first);
    CU_ASSERT_TRUE(ends_wait(&fixture.ends, 1, WAIT_MS));
    fixture_close(&fixture);
}

/* The error is that of the call that restores the state; no stop is reported. */
static void bad_state_is_refused(void)
{
    g_autoptr(GError) error = NULL;
    Fixture fixture;
    int ram;
    int devices;

    fixture_make(&fixture);
    ram = file_in(&fixture, "ram");
    devices = file_in(&fixture, "devices");
    expect_second(&fixture);
    TEST_FAILS(vmm_state_restore(fixture.vmm, second, ram, devices, NULL, NULL, &error), error,
               STATUS_DATA_LOSS, "saved memory has 0 bytes");
    CU_ASSERT_EQUAL(ftruncate(ram, (off_t)memory_bytes()), 0);
    CU_ASSERT_EQUAL(pwrite(devices, "no state at all", 15, 0), 15);
    CU_ASSERT_FALSE(vmm_state_restore(fixture.vmm, second, ram, devices, NULL, NULL, &error));
    CU_ASSERT_PTR_NOT_NULL(error);
    g_clear_error(&error);
    close(ram);
    close(devices);
    destroy(&fixture, second);
    make(&fixture, second); /* its name is free */
    destroy(&fixture, second);
    fixture_close(&fixture);
}

static void on_watched_end(const char *text, gpointer data)
{
    on_stopped("", VMM_STOPPED_CRASHED, text, data);
}

static void killed_while_waiting(void)
{
    g_autoptr(GError) error = NULL;
    Ends watched = {.count = 0};
    Fixture fixture;

    fixture_make(&fixture);
    expect_second(&fixture);
    vmm_watch_end(fixture.vmm, second, on_watched_end, &watched);
    kill(vmm_pid(fixture.vmm, second), SIGKILL);
    CU_ASSERT_TRUE(ends_wait(&watched, 1, WAIT_MS)); /* its watcher is called */
    CU_ASSERT_STRING_EQUAL(watched.text, "QEMU was killed by signal 9 (Killed)");
    CU_ASSERT_FALSE(ends_wait(&fixture.ends, 1, 1000)); /* but no stop is reported */
    CU_ASSERT_EQUAL(vmm_pid(fixture.vmm, second), 0);
    TEST_FAILS(vmm_resume(fixture.vmm, second, &error), error, STATUS_UNAVAILABLE, "QEMU was killed");
    vmm_unwatch_end(fixture.vmm, second, &watched);
    g_free(watched.text);
    g_free(watched.name);
    destroy(&fixture, second);
    CU_ASSERT_PTR_NULL(vmm_stop_text(fixture.vmm, second));
    fixture_close(&fixture);
}

/* QEMU prints why it ends when a signal ends it. A caller that waits for the guest gets that message at once.
 */
static void last_message_arrives(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    Ends watched = {.count = 0};
    Fixture fixture;

    fixture_make(&fixture);
    make(&fixture, first);
    vmm_watch_end(fixture.vmm, first, on_watched_end, &watched);
    CU_ASSERT_PTR_NULL(vmm_stop_text(fixture.vmm, first));
    kill(vmm_pid(fixture.vmm, first), SIGTERM);
    CU_ASSERT_TRUE(ends_wait(&watched, 1, WAIT_MS));
    vmm_unwatch_end(fixture.vmm, first, &watched);
    CU_ASSERT_PTR_NOT_NULL(strstr(watched.text, "QEMU ended: qemu-system-x86_64: terminating on signal 15"));
    text = vmm_stop_text(fixture.vmm, first);
    CU_ASSERT_STRING_EQUAL(text, watched.text);
    TEST_FAILS(vmm_resume(fixture.vmm, first, &error), error, STATUS_UNAVAILABLE, "terminating on signal 15");
    CU_ASSERT_TRUE(ends_wait(&fixture.ends, 1, WAIT_MS));
    CU_ASSERT_STRING_EQUAL(fixture.ends.text, watched.text);
    g_free(watched.text);
    g_free(watched.name);
    destroy(&fixture, first);
    fixture_close(&fixture);
}

/* What the kernel does when QEMU's seccomp filter refuses a system call. */
static void the_signal_arrives(void)
{
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_make(&fixture);
    make(&fixture, first);
    kill(vmm_pid(fixture.vmm, first), SIGSYS);
    CU_ASSERT_TRUE(ends_wait(&fixture.ends, 1, WAIT_MS));
    CU_ASSERT_EQUAL(fixture.ends.reason, VMM_STOPPED_CRASHED);
    CU_ASSERT_PTR_NOT_NULL(strstr(fixture.ends.text, "QEMU was killed by signal 31 (Bad system call)"));
    TEST_FAILS(vmm_resume(fixture.vmm, first, &error), error, STATUS_UNAVAILABLE, "seccomp");
    destroy(&fixture, first);
    fixture_close(&fixture);
}

static void unknown_guests(void)
{
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_make(&fixture);
    destroy(&fixture, "nobody");
    TEST_FAILS(vmm_resume(fixture.vmm, "nobody", &error), error, STATUS_NOT_FOUND, "nobody");
    fixture_close(&fixture);
}

static void killed_qemu(void)
{
    Fixture fixture;
    pid_t pid;

    fixture_make(&fixture);
    make(&fixture, first);
    pid = listed(&fixture, first, NULL);
    CU_ASSERT_NOT_EQUAL_FATAL(pid, 0);
    kill(pid, SIGKILL);
    CU_ASSERT_TRUE(ends_wait(&fixture.ends, 1, WAIT_MS));
    CU_ASSERT_EQUAL(fixture.ends.reason, VMM_STOPPED_CRASHED);
    CU_ASSERT_STRING_EQUAL(fixture.ends.name, first);
    CU_ASSERT_EQUAL(listed(&fixture, first, NULL), 0);
    destroy(&fixture, first);
    fixture_close(&fixture);
}

/* A kernel without an initramfs panics, and resets the guest at once. */
static void panicking_kernel(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *console = NULL;
    g_autofree char *tail = NULL;
    Fixture fixture;

    if (g_getenv("CRIVIRT_TEST_KERNEL") == NULL)
        return;
    g_unsetenv("CRIVIRT_TEST_INITRD");
    fixture_make(&fixture);
    make(&fixture, first);
    TEST_OK(vmm_resume(fixture.vmm, first, &error), error);
    CU_ASSERT_TRUE(ends_wait(&fixture.ends, 1, BOOT_MS));
    CU_ASSERT_EQUAL(fixture.ends.reason, VMM_STOPPED_RESET);
    console = g_strdup_printf("%s.%.4s", fixture.console, first);
    tail = console_tail(console, 8192, 60);
    CU_ASSERT_PTR_NOT_NULL(strstr(tail, "panic"));
    fixture_close(&fixture);
}

static void missing_files(void)
{
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_make(&fixture);
    unlink(fixture.kernel);
    TEST_FAILS(create(&fixture, first, &error), error, STATUS_INTERNAL, fixture.kernel);
    CU_ASSERT_TRUE(file_write_atomic(fixture.kernel, "no kernel", 9, 0644, NULL));
    TEST_FAILS(create(&fixture, first, &error), error, STATUS_UNAVAILABLE, "qemu");
    CU_ASSERT_EQUAL(fixture.ends.count, 0); /* a failed start is not a stop */
    CU_ASSERT_FALSE(log_is_left(&fixture));
    fixture_close(&fixture);
}

static void survives_close(void)
{
    Fixture fixture;
    pid_t before;

    fixture_make(&fixture);
    make(&fixture, first);
    before = listed(&fixture, first, NULL);
    vmm_close(fixture.vmm);
    CU_ASSERT_EQUAL(kill(before, 0), 0);
    fixture_open(&fixture);
    CU_ASSERT_EQUAL(listed(&fixture, first, NULL), before);
    destroy(&fixture, first);
    CU_ASSERT_TRUE(ends_wait(&fixture.ends, 1, WAIT_MS));
    CU_ASSERT_EQUAL(fixture.ends.reason, VMM_STOPPED_DESTROYED);
    fixture_close(&fixture);
}

/* In the child: creates guests in the parent's directory, prints a word on stdout and sleeps. */
static int run_child(const char *directory)
{
    Fixture fixture;

    fixture_paths(&fixture, g_strdup(directory));
    fixture.vmm = vmm_open(&fixture.config, on_stopped, &fixture.ends, NULL);
    if (fixture.vmm == NULL || !create(&fixture, first, NULL) || !create(&fixture, second, NULL))
        return EXIT_FAILURE;
    if (write(STDOUT_FILENO, "up\n", 3) != 3)
        return EXIT_FAILURE;
    sleep(60);
    return EXIT_FAILURE;
}

/* Creates two guests in a process that is killed. */
static void leave_guests(Fixture *fixture)
{
    const char *argv[] = {self, "--child", fixture->directory, NULL};
    char word[4] = "";
    GPid child;
    int output;

    CU_ASSERT_TRUE_FATAL(g_spawn_async_with_pipes(NULL, (char **)(void *)argv, NULL,
                                                  G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &child, NULL,
                                                  &output, NULL, NULL));
    CU_ASSERT_EQUAL(read(output, word, 3), 3);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(output);
}

static pid_t pid_in_file(Fixture *fixture, const char *name)
{
    g_autofree char *path = g_strdup_printf("%s/libvirt/run/qemu/%s.pid", fixture->directory, name);
    g_autofree char *text = NULL;

    CU_ASSERT_TRUE_FATAL(file_read(path, 64, &text, NULL, NULL));
    return (pid_t)g_ascii_strtoll(text, NULL, 10);
}

static void survives_sigkill(void)
{
    Fixture fixture;
    pid_t guest;

    fixture_prepare(&fixture);
    leave_guests(&fixture);
    fixture_open(&fixture);
    CU_ASSERT_NOT_EQUAL(guest = listed(&fixture, first, NULL), 0);
    kill(guest, SIGKILL);
    CU_ASSERT_TRUE(ends_wait(&fixture.ends, 1, WAIT_MS));
    CU_ASSERT_EQUAL(fixture.ends.reason, VMM_STOPPED_CRASHED);
    destroy(&fixture, second);
    fixture_close(&fixture);
}

static void died_meanwhile(void)
{
    Fixture fixture;

    fixture_prepare(&fixture);
    leave_guests(&fixture);
    kill(pid_in_file(&fixture, first), SIGKILL);
    fixture_open(&fixture);
    CU_ASSERT_EQUAL(listed(&fixture, first, NULL), 0);
    CU_ASSERT_NOT_EQUAL(listed(&fixture, second, NULL), 0);
    destroy(&fixture, second);
    fixture_close(&fixture);
}

static void disks(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    gboolean has = FALSE;
    DiskSpec disk;
    Fixture fixture;

    fixture_make(&fixture);
    path = g_build_filename(fixture.directory, "layer", NULL);
    CU_ASSERT_TRUE(file_write_atomic(path, "x", 1, 0644, NULL));
    CU_ASSERT_EQUAL(truncate(path, 1 << 20), 0);
    make(&fixture, first);
    disk = (DiskSpec){1, path, "layer-1", TRUE};
    TEST_OK(vmm_attach_disk(fixture.vmm, first, &disk, &error), error);
    TEST_OK(vmm_has_disk(fixture.vmm, first, "layer-1", &has, &error), error);
    CU_ASSERT_TRUE(has);
    TEST_OK(vmm_has_disk(fixture.vmm, first, "layer", &has, &error), error);
    CU_ASSERT_FALSE(has);
    TEST_FAILS(vmm_attach_disk(fixture.vmm, first, &disk, &error), error, STATUS_INTERNAL, path);
    disk = (DiskSpec){300, path, NULL, TRUE};
    TEST_OK(vmm_attach_disk(fixture.vmm, first, &disk, &error), error);
    disk = (DiskSpec){3, "/nonexistent/disk", "w", FALSE};
    TEST_FAILS(vmm_attach_disk(fixture.vmm, first, &disk, &error), error, STATUS_NOT_FOUND, disk.path);
    destroy(&fixture, first);
    fixture_close(&fixture);
}

/* What libvirt does first when it attaches a device. A daemon that is killed then leaves it in QEMU. */
static void add_to_qemu(Fixture *fixture, const char *command)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonDocument) reply = NULL;

    TEST_OK(vmm_command(fixture->vmm, first, command, -1, &reply, &error), error);
}

static void add_file_node(Fixture *fixture, const char *node, const char *path)
{
    g_autofree char *command = g_strdup_printf(
        "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"file\",\"node-name\":\"%s\","
        "\"filename\":\"%s\",\"read-only\":true}}",
        node, path);

    add_to_qemu(fixture, command);
}

static void leftovers(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    gboolean has = FALSE;
    VirtiofsdProcesses servers = {0};
    ShareSpec share;
    Fixture fixture;

    fixture_make(&fixture);
    path = g_build_filename(fixture.directory, "layer", NULL);
    share = (ShareSpec){fixture.directory, "volumes", VOLUME_CACHE_DEFAULT};
    CU_ASSERT_TRUE(file_write_atomic(path, "x", 1, 0644, NULL));
    CU_ASSERT_EQUAL(truncate(path, 1 << 20), 0);
    make(&fixture, first);
    TEST_OK(vmm_attach_disk(fixture.vmm, first, &(DiskSpec){1, path, "layer-1", TRUE}, &error), error);
    add_file_node(&fixture, "libvirt-2-storage", path);
    add_to_qemu(
        &fixture,
        "{\"execute\":\"blockdev-add\",\"arguments\":{\"driver\":\"raw\",\"node-name\":\"libvirt-2-format\","
        "\"file\":\"libvirt-2-storage\",\"read-only\":true}}");
    add_to_qemu(&fixture,
                "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"scsi-hd\",\"bus\":\"scsi0.0\","
                "\"scsi-id\":0,\"lun\":2,\"drive\":\"libvirt-2-format\",\"id\":\"scsi0-0-0-2\"}}");
    add_file_node(&fixture, "libvirt-3-storage", path);
    add_to_qemu(&fixture, "{\"execute\":\"chardev-add\",\"arguments\":{\"id\":\"chr-vu-fs0\",\"backend\":"
                          "{\"type\":\"null\",\"data\":{}}}}");
    vmm_close(fixture.vmm);
    fixture_open(&fixture);
    TEST_OK(vmm_has_disk(fixture.vmm, first, "layer-1", &has, &error), error);
    CU_ASSERT_TRUE(has);
    TEST_OK(vmm_attach_disk(fixture.vmm, first, &(DiskSpec){2, path, "layer-2", TRUE}, &error), error);
    TEST_OK(vmm_attach_disk(fixture.vmm, first, &(DiskSpec){3, path, "layer-3", TRUE}, &error), error);
    TEST_OK(vmm_attach_share(fixture.vmm, first, &share, &servers, &error), error);
    destroy(&fixture, first);
    fixture_close(&fixture);
}

static gboolean servers_end(const char *source)
{
    g_autofree char *wanted = g_strdup_printf("source=%s", source);

    for (guint tries = 0; tries < 100; tries++) {
        const char *argv[] = {"pgrep", "-f", wanted, NULL};
        int status = 0;

        g_spawn_sync(NULL, (char **)(void *)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL,
                     NULL, NULL, NULL, NULL, &status, NULL);
        if (status != 0)
            return TRUE;
        g_usleep(20 * 1000);
    }
    return FALSE;
}

static void shares(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *source = NULL;
    ShareSpec share;
    VirtiofsdProcesses servers = {0};
    Fixture fixture;

    fixture_make(&fixture);
    source = g_build_filename(fixture.directory, "share", NULL);
    CU_ASSERT_TRUE(dir_make(source, 0755, NULL));
    share = (ShareSpec){source, "volumes", VOLUME_CACHE_DEFAULT};
    make(&fixture, first);
    TEST_OK(vmm_attach_share(fixture.vmm, first, &share, &servers, &error), error);
    CU_ASSERT_TRUE(servers.server > 0);
    TEST_FAILS(vmm_attach_share(fixture.vmm, "nobody", &share, &servers, &error), error, STATUS_NOT_FOUND,
               "nobody");
    destroy(&fixture, first);
    CU_ASSERT_TRUE(servers_end(source));
    fixture_close(&fixture);
}

static void one_at_a_time(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *lock = NULL;
    Fixture fixture;
    int fd;

    fixture_prepare(&fixture);
    lock = g_build_filename(fixture.directory, "vmm.lock", NULL);
    CU_ASSERT_TRUE_FATAL(file_lock(lock, &fd, NULL)); /* as another process would */
    TEST_FAILS(vmm_open(&fixture.config, NULL, NULL, &error) != NULL, error, STATUS_UNAVAILABLE,
               fixture.directory);
    close(fd);
    fixture_open(&fixture);
    TEST_FAILS(vmm_open(&fixture.config, NULL, NULL, &error) != NULL, error, STATUS_FAILED_PRECONDITION,
               "open in this process");
    fixture_close(&fixture);
}

static void accounts(void)
{
    g_autoptr(GError) error = NULL;
    Fixture fixture;

    fixture_prepare(&fixture);
    fixture.config.qemu_user = "no-such-user";
    TEST_FAILS(vmm_open(&fixture.config, NULL, NULL, &error) != NULL, error, STATUS_FAILED_PRECONDITION,
               "useradd");
    fixture.config.qemu_user = "libvirt-qemu";
    chmod(fixture.directory, 0700);
    TEST_FAILS(vmm_open(&fixture.config, NULL, NULL, &error) != NULL, error, STATUS_FAILED_PRECONDITION,
               "chmod o+x");
    chmod(fixture.directory, 0711);
    fixture_open(&fixture);
    fixture_close(&fixture);
}

/* A reboot leaves the status of guests whose process ids belong to other processes now. */
static void forgets_the_last_boot(void)
{
    g_autofree char *pid_text = g_strdup_printf("%d", (int)getppid());
    g_autofree char *status = NULL;
    g_autofree char *pid_file = NULL;
    Fixture fixture;

    fixture_prepare(&fixture);
    leave_guests(&fixture);
    kill(pid_in_file(&fixture, first), SIGKILL);
    kill(pid_in_file(&fixture, second), SIGKILL);
    pid_file = g_strdup_printf("%s/libvirt/run/qemu/%s.pid", fixture.directory, first);
    status = g_strdup_printf("%s/libvirt/run/qemu/%s.xml", fixture.directory, first);
    CU_ASSERT_EQUAL(access(status, F_OK), 0);
    CU_ASSERT_TRUE(file_write_atomic(pid_file, pid_text, strlen(pid_text), 0600, NULL));
    fixture_open(&fixture);
    CU_ASSERT_EQUAL(listed(&fixture, first, NULL), 0);
    CU_ASSERT_NOT_EQUAL(access(status, F_OK), 0);
    CU_ASSERT_EQUAL(kill(getppid(), 0), 0);
    fixture_close(&fixture);
}

/* libvirt forks from the thread that makes a guest, and its child allocates. GCC 12's address sanitizer does
 * not hold the lock of its allocator over fork(), so a child that is forked while another thread allocates
 * can wait for it for ever. */
#ifdef __SANITIZE_ADDRESS__
#define WORKERS_AT_ONCE 1
#else
#define WORKERS_AT_ONCE 4
#endif

typedef struct {
    Fixture *fixture;
    guint number;
} Worker;

static gpointer create_and_destroy(gpointer data)
{
    Worker *worker = data;
    g_autofree char *name = g_strdup_printf("%04u%060u", worker->number, worker->number);
    gboolean good = create(worker->fixture, name, NULL) && listed(worker->fixture, name, NULL) != 0;

    return GINT_TO_POINTER(vmm_destroy(worker->fixture->vmm, name, NULL, NULL) && good);
}

static void many_at_once(void)
{
    Worker workers[WORKERS_AT_ONCE];
    GThread *threads[G_N_ELEMENTS(workers)];
    Fixture fixture;

    fixture_make(&fixture);
    for (guint i = 0; i < G_N_ELEMENTS(workers); i++) {
        workers[i] = (Worker){&fixture, i};
        threads[i] = g_thread_new("worker", create_and_destroy, &workers[i]);
    }
    for (guint i = 0; i < G_N_ELEMENTS(workers); i++)
        CU_ASSERT_TRUE(GPOINTER_TO_INT(g_thread_join(threads[i])));
    CU_ASSERT_TRUE(ends_wait(&fixture.ends, G_N_ELEMENTS(workers), WAIT_MS));
    fixture_close(&fixture);
}

/* libvirt's embedded driver keeps its root until the process ends: each test has a process of its own. */
static int run_each(const TestCase *cases, gsize n_cases)
{
    guint failed = 0;

    for (gsize i = 0; i < n_cases; i++) {
        const char *argv[] = {self, cases[i].sentence, NULL};
        int status = -1;

        g_spawn_sync(NULL, (char **)(void *)argv, NULL, G_SPAWN_CHILD_INHERITS_STDIN, NULL, NULL, NULL, NULL,
                     &status, NULL);
        failed += status != 0;
    }
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a guest is created paused and unprivileged, runs, and is destroyed", life_of_a_guest},
        {"QEMU and its files belong to the user that the specification names", runs_as_a_user_of_its_own},
        {"destroying an unknown guest succeeds", unknown_guests},
        {"the state of a guest is restored into another VM, which continues with it", state_moves},
        {"a guest's pages of zeros are given back to the node, and no other page",
         pages_of_zeros_are_given_back},
        {"a file that is not a saved state is refused", bad_state_is_refused},
        {"the end of a VM that waits for its state is reported to its watcher, and not as a stop",
         killed_while_waiting},
        {"a caller that waits for a guest gets QEMU's last message when QEMU ends", last_message_arrives},
        {"the end of a QEMU that its seccomp filter kills names the signal", the_signal_arrives},
        {"a killed QEMU is reported as a crash within two seconds", killed_qemu},
        {"a guest that panics is reported as such, and its console has the panic", panicking_kernel},
        {"an error about a missing or wrong kernel names the file", missing_files},
        {"guests survive close and reopen", survives_close},
        {"a guest that died while no daemon ran is not listed", died_meanwhile},
        {"guests survive kill -9 of the process that created them", survives_sigkill},
        {"disks are attached by LUN, with a serial", disks},
        {"what a killed daemon was attaching is taken out of QEMU, and can be attached again", leftovers},
        {"a share is attached with its server, which ends with the guest", shares},
        {"a state directory cannot be opened twice", one_at_a_time},
        {"the errors for missing accounts and closed directories say what to do", accounts},
        {"a process that has got the id of a dead QEMU is left alone", forgets_the_last_boot},
        {"several threads create and destroy guests at once", many_at_once},
    };

    self = argv[0];
    if (argc == 3 && strcmp(argv[1], "--child") == 0)
        return run_child(argv[2]);
    if (argc == 1)
        return run_each(cases, G_N_ELEMENTS(cases));
    return test_main_args("vmm", cases, G_N_ELEMENTS(cases), argc, argv);
}

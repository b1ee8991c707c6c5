#include "agent/guest/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/guest/fault.h"
#include "agent/guest/paths.h"
#include "agent/guest/sysfile.h"

static void mount_or_complain(const char *type, const char *path, unsigned long flags, const char *options)
{
    mkdir(path, 0755);
    if (mount(type, path, type, flags, options) < 0 && errno != EBUSY)
        complain("mounting %s on %s: %s", type, path, strerror(errno));
}

/* pivot_root refuses the initramfs: a bind mount of it, moved over it, is an ordinary root. */
static void leave_initramfs_root(void)
{
    mkdir("/.root", 0755);
    if (mount("/", "/.root", NULL, MS_BIND, NULL) < 0 || chdir("/.root") < 0 ||
        mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        complain("moving the root: %s", strerror(errno));
}

/* The kernel opens /dev/console for us only if the initramfs has that node. */
static void open_console(void)
{
    int fd = open("/dev/console", O_RDWR | O_NOCTTY);
    if (fd < 0)
        fd = open("/dev/null", O_RDWR);
    for (int i = 0; fd >= 0 && i <= 2; i++)
        dup2(fd, i);
    if (fd > 2)
        close(fd);
}

static void delegate_cgroup_controllers(void)
{
    char names[512];
    if (!sysfile_read("/sys/fs/cgroup/cgroup.controllers", names, sizeof names)) {
        complain("no cgroup v2 controllers: %s", strerror(errno));
        return;
    }
    char *rest = NULL;
    for (char *name = strtok_r(names, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest)) {
        char enable[64];
        snprintf(enable, sizeof enable, "+%s", name);
        if (!sysfile_write("/sys/fs/cgroup/cgroup.subtree_control", enable))
            complain("delegating cgroup controller %s: %s", name, strerror(errno));
    }
}

void boot_mounts(void)
{
    leave_initramfs_root();
    mount_or_complain("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
    open_console();
    mount_or_complain("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_or_complain("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_or_complain("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666");
    mount_or_complain("mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_or_complain("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
    mount_or_complain("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755");
    mount_or_complain("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777");
    mount_or_complain("cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate");
    delegate_cgroup_controllers();
    boot_directories();
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
}

void boot_directories(void)
{
    static const char *const directories[] = {RUN_DIR,      SANDBOX_DIR, CONTAINERS_DIR, LAYERS_DIR,
                                              NO_LAYER_DIR, UPPER_DIR,   SHARE_DIR,      CONSOLES_DIR};
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
        if (mkdir(directories[i], 0755) < 0 && errno != EEXIST)
            complain("creating %s: %s", directories[i], strerror(errno));
}

static void load_module(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
        complain("loading module %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

void boot_modules(void)
{
    FILE *list = fopen("/etc/modules.crivirt", "re");
    char line[512];
    while (list != NULL && fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "#\r\n")] = '\0';
        size_t length = strlen(line);
        while (length > 0 && line[length - 1] == ' ')
            line[--length] = '\0';
        if (length > 0)
            load_module(line);
    }
    if (list != NULL)
        fclose(list);
    /* The guest has what it needs, and its containers may have CAP_SYS_MODULE. */
    if (!sysfile_write("/proc/sys/kernel/modules_disabled", "1") && errno != ENOENT)
        complain("closing the kernel to modules: %s", strerror(errno));
}

void boot_process_limits(void)
{
    static const int per_user[] = {RLIMIT_NPROC, RLIMIT_SIGPENDING};
    const struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

    for (size_t i = 0; i < sizeof per_user / sizeof *per_user; i++)
        if (setrlimit(per_user[i], &none) < 0)
            complain("setting the limits of users: %s", strerror(errno));
    /* As many as systemd allows on a node; a small kernel (CONFIG_BASE_SMALL) counts no further than 32768.
     */
    if (!sysfile_write("/proc/sys/kernel/threads-max", "4194304") ||
        (!sysfile_write("/proc/sys/kernel/pid_max", "4194304") &&
         !sysfile_write("/proc/sys/kernel/pid_max", "32768")))
        complain("setting the number of processes: %s", strerror(errno));
}

enum { AGENT_NICE = -10 };

void boot_limits(void)
{
    if (!sysfile_write("/proc/self/oom_score_adj", "-1000"))
        complain("setting oom_score_adj: %s", strerror(errno));
    /* What systemd gives services: room to ask for more, but no huge soft limit that programs loop over. */
    const struct rlimit files = {.rlim_cur = 1024, .rlim_max = 524288};
    setrlimit(RLIMIT_NOFILE, &files);
    umask(022);
    /* Many processes that want the processor must not keep the daemon waiting for an answer. What we start is
     * as nice as anything. */
    const struct sched_param usual = {.sched_priority = 0};
    if (sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &usual) != 0 ||
        setpriority(PRIO_PROCESS, 0, AGENT_NICE) != 0)
        complain("setting our priority: %s", strerror(errno));
}

/* SPDX-License-Identifier: Apache-2.0 */
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

static void boot_mount(const char *type, const char *path, unsigned long flags, const char *options)
{
    mkdir(path, 0755);
    if (mount(type, path, type, flags, options) < 0 && errno != EBUSY)
        complain("cannot mount %s on %s: %s", type, path, strerror(errno));
}

/* pivot_root refuses the initramfs. A bind mount of it that is moved over it is an ordinary root. */
static void boot_leave_initramfs(void)
{
    mkdir("/.root", 0755);
    if (mount("/", "/.root", NULL, MS_BIND, NULL) < 0 || chdir("/.root") < 0 ||
        mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        complain("cannot move the root file system: %s", strerror(errno));
}

/* The kernel opens /dev/console for PID 1 only if the initramfs has that node. */
static void boot_open_console(void)
{
    int fd = open("/dev/console", O_RDWR | O_NOCTTY);
    if (fd < 0)
        fd = open("/dev/null", O_RDWR);
    for (int i = 0; fd >= 0 && i <= 2; i++)
        dup2(fd, i);
    if (fd > 2)
        close(fd);
}

static void boot_delegate_cgroups(void)
{
    char names[512];
    if (!sysfile_read("/sys/fs/cgroup/cgroup.controllers", names, sizeof names)) {
        complain("cannot read the cgroup v2 controllers: %s", strerror(errno));
        return;
    }
    char *rest = NULL;
    for (char *name = strtok_r(names, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest)) {
        char enable[64];
        snprintf(enable, sizeof enable, "+%s", name);
        if (!sysfile_write("/sys/fs/cgroup/cgroup.subtree_control", enable))
            complain("cannot enable cgroup controller %s for containers: %s", name, strerror(errno));
    }
}

void boot_mounts(void)
{
    boot_leave_initramfs();
    boot_mount("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
    boot_open_console();
    boot_mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    boot_mount("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    boot_mount("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666");
    boot_mount("mqueue", "/dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    boot_mount("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
    boot_mount("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755");
    boot_mount("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777");
    boot_mount("cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate");
    boot_delegate_cgroups();
    boot_directories();
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
}

void boot_directories(void)
{
    static const char *const directories[] = {RUN_DIR,      SANDBOX_DIR, CONTAINERS_DIR, LAYERS_DIR,
                                              NO_LAYER_DIR, UPPER_DIR,   SHARE_DIR,      CONSOLES_DIR};
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
        if (mkdir(directories[i], 0755) < 0 && errno != EEXIST)
            complain("cannot create %s: %s", directories[i], strerror(errno));
}

static void boot_load_module(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
        complain("cannot load kernel module %s: %s", path, strerror(errno));
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
            boot_load_module(line);
    }
    if (list != NULL)
        fclose(list);
    /* The guest needs no more modules, and a container may have CAP_SYS_MODULE. */
    if (!sysfile_write("/proc/sys/kernel/modules_disabled", "1") && errno != ENOENT)
        complain("cannot disable the loading of kernel modules: %s", strerror(errno));
}

void boot_process_limits(void)
{
    static const int per_user[] = {RLIMIT_NPROC, RLIMIT_SIGPENDING};
    const struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

    for (size_t i = 0; i < sizeof per_user / sizeof *per_user; i++)
        if (setrlimit(per_user[i], &none) < 0)
            complain("cannot lift the process limits of users: %s", strerror(errno));
    /* As many as systemd allows on a node; a kernel with CONFIG_BASE_SMALL allows 32768.
     */
    if (!sysfile_write("/proc/sys/kernel/threads-max", "4194304") ||
        (!sysfile_write("/proc/sys/kernel/pid_max", "4194304") &&
         !sysfile_write("/proc/sys/kernel/pid_max", "32768")))
        complain("cannot raise the limit of processes: %s", strerror(errno));
}

enum { AGENT_NICE = -10 };

void boot_limits(void)
{
    /* The limits that systemd gives services. Programs that close all descriptors up to the soft limit need
     * it small. */
    const struct rlimit files = {.rlim_cur = 1024, .rlim_max = 524288};
    setrlimit(RLIMIT_NOFILE, &files);
    umask(022);
}

void boot_protection(void)
{
    if (!sysfile_write("/proc/self/oom_score_adj", "-1000"))
        complain("cannot set the agent's oom_score_adj: %s", strerror(errno));
    /* The agent answers the daemon also while many processes use the processors. Its children have the usual
     * priority (SCHED_RESET_ON_FORK). */
    const struct sched_param usual = {.sched_priority = 0};
    if (sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &usual) != 0 ||
        setpriority(PRIO_PROCESS, 0, AGENT_NICE) != 0)
        complain("cannot set the agent's priority: %s", strerror(errno));
}

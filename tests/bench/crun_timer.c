/* SPDX-License-Identifier: Apache-2.0 */
/* The first program of the guests of the benchmark. It starts a child and becomes the agent (/init.agent).
 * The child measures crun inside the guest. When a file `bench` appears in the root of a container, it makes
 * a second container with the same configuration and root file system by running `crun create` and `crun
 * start` itself, writes what they took to the guest's console, which is a file on the node, and removes the
 * file. When a file `bench-exec` appears, it times `crun exec` of /bin/true in that container.
 */
#include <fcntl.h>
#include <glob.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUNDLE "/run/bench"

extern char **environ;

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* crun COMMAND FIRST [SECOND] */
static int crun(char *command, char *first, char *second)
{
    char *argv[] = {"crun", "--cgroup-manager=cgroupfs", command, first, second, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = 0;

    posix_spawn_file_actions_init(&actions);
    for (int fd = 0; fd <= 2; fd++)
        posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    if (posix_spawn(&pid, "/usr/bin/crun", &actions, NULL, argv, environ) != 0 ||
        waitpid(pid, &status, 0) != pid)
        return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* The same bundle under another id of the same length, for its cgroup too. */
static void make_bundle(const char *container, const char *id, size_t id_length)
{
    static char text[1 << 20];
    char path[300];
    size_t length;
    FILE *file;

    mkdir(BUNDLE, 0700);
    snprintf(path, sizeof path, "%s/rootfs", container);
    unlink(BUNDLE "/rootfs");
    if (symlink(path, BUNDLE "/rootfs") != 0)
        perror(BUNDLE "/rootfs");
    snprintf(path, sizeof path, "%s/config.json", container);
    file = fopen(path, "re");
    length = fread(text, 1, sizeof text - 1, file);
    text[length] = '\0';
    fclose(file);
    for (char *at = strstr(text, container + strlen(container) - id_length); at != NULL;
         at = strstr(at, container + strlen(container) - id_length))
        memcpy(at, id, id_length);
    file = fopen(BUNDLE "/config.json", "we");
    fwrite(text, 1, length, file);
    fclose(file);
}

static void time_directly(char *trigger)
{
    char id[65];
    double begin, created, started;
    int failed, console;
    char *container = trigger;

    strrchr(trigger, '/')[0] = '\0'; /* …/c/ID/rootfs */
    strrchr(trigger, '/')[0] = '\0';
    snprintf(id, sizeof id, "%064d", 1);
    id[strlen(strrchr(container, '/') + 1)] = '\0';
    make_bundle(container, id, strlen(id));
    begin = now_ms();
    failed = crun("create", "--bundle=" BUNDLE, id);
    created = now_ms();
    failed = failed != 0 ? failed : crun("start", id, NULL);
    started = now_ms();
    crun("delete", "--force", id);
    console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
    dprintf(console, "\nbench: crun %d %.3f %.3f\n", failed, created - begin, started - created);
    close(console);
}

static void time_exec(char *trigger)
{
    char *id;
    double begin, ended;
    int failed, console;

    strrchr(trigger, '/')[0] = '\0'; /* …/c/ID/rootfs */
    strrchr(trigger, '/')[0] = '\0';
    id = strrchr(trigger, '/') + 1;
    begin = now_ms();
    failed = crun("exec", id, "/bin/true");
    ended = now_ms();
    console = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
    dprintf(console, "\nbench: exec %d %.3f\n", failed, ended - begin);
    close(console);
}

static void serve_one(const char *name, void (*measure)(char *trigger))
{
    char pattern[100];
    glob_t found;

    snprintf(pattern, sizeof pattern, "/run/crivirt/c/*/rootfs/%s", name);
    if (glob(pattern, 0, NULL, &found) != 0)
        return;
    unlink(found.gl_pathv[0]);
    measure(found.gl_pathv[0]);
    globfree(&found);
}

static void serve(void)
{
    for (;; usleep(200000)) {
        /* The agent mounts a root over ours: "/.." is what lies on top. */
        if (chdir("/..") != 0 || chroot(".") != 0)
            continue;
        serve_one("bench", time_directly);
        serve_one("bench-exec", time_exec);
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    if (fork() == 0)
        serve();
    execv("/init.agent", argv);
    return 127;
}

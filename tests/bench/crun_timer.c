/* Stands in for crun in the bench's guests, to time crun where it really runs: /usr/bin/crun is this program,
 * the real one is beside it as crun.real. Every call is passed on. When a container is deleted its bundle is
 * still there, so the same configuration, root file system and id are then given to crun directly, and what
 * `crun create` and `crun start` took is written to the guest's console, which is a file on the node.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REAL "/usr/bin/crun.real"

extern char **environ;

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int run(char *const argv[], int quiet)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = 0;

    posix_spawn_file_actions_init(&actions);
    for (int fd = 0; quiet && fd <= 2; fd++)
        posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
    if (posix_spawn(&pid, REAL, &actions, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) != pid)
        return 127;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void time_directly(char *id)
{
    char bundle[256];
    char *create[] = {"crun", "--cgroup-manager=cgroupfs", "create", bundle, id, NULL};
    char *start[] = {"crun", "--cgroup-manager=cgroupfs", "start", id, NULL};
    char *end[] = {"crun", "--cgroup-manager=cgroupfs", "delete", "--force", id, NULL};
    double begin, created, started;
    int failed, console;

    snprintf(bundle, sizeof bundle, "--bundle=/run/crivirt/c/%s", id);
    begin = now_ms();
    failed = run(create, 1);
    created = now_ms();
    failed = failed != 0 ? failed : run(start, 1);
    started = now_ms();
    run(end, 1);
    console = open("/dev/console", O_WRONLY | O_NOCTTY);
    dprintf(console, "\nbench: crun %d %.3f %.3f\n", failed, created - begin, started - created);
}

int main(int argc, char **argv)
{
    int status;

    if (argc < 4 || (strcmp(argv[2], "delete") != 0 && strcmp(argv[3], "delete") != 0)) {
        execv(REAL, argv);
        return 127;
    }
    status = run(argv, 0);
    time_directly(argv[argc - 1]);
    return status;
}

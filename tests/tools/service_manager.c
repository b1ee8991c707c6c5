/* SPDX-License-Identifier: Apache-2.0 */
/* What integration tests need of a service manager, and what a hang of the daemon looks like.
 *
 *   service_manager notify SOCKET      receives what a service sends to $NOTIFY_SOCKET, and prints a line for
 *                                      each message, in which "|" stands for a line break
 *   service_manager freeze PID THREAD  stops the threads of the process that have that name, and only these,
 *                                      until it is killed; prints "frozen"
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int notify(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    char message[4096];
    ssize_t length;

    if (strlen(path) >= sizeof address.sun_path)
        return EXIT_FAILURE;
    memcpy(address.sun_path, path, strlen(path));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return EXIT_FAILURE;
    while ((length = recv(fd, message, sizeof message - 1, 0)) >= 0) {
        message[length] = '\0';
        for (char *c = message; *c != '\0'; c++)
            if (*c == '\n')
                *c = '|';
        puts(message);
        fflush(stdout);
    }
    return EXIT_FAILURE;
}

static int has_name(const char *pid, const char *thread, const char *name)
{
    char path[300];
    char text[32] = "";
    FILE *file;

    snprintf(path, sizeof path, "/proc/%.20s/task/%.20s/comm", pid, thread);
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fgets(text, sizeof text, file) == NULL)
        text[0] = '\0';
    fclose(file);
    text[strcspn(text, "\n")] = '\0';
    return strcmp(text, name) == 0;
}

static int stop_thread(const char *thread)
{
    const pid_t id = (pid_t)strtol(thread, NULL, 10);

    return ptrace(PTRACE_SEIZE, id, NULL, NULL) == 0 && ptrace(PTRACE_INTERRUPT, id, NULL, NULL) == 0 &&
           waitpid(id, NULL, __WALL) == id;
}

static int freeze(const char *pid, const char *name)
{
    char path[64];
    const struct dirent *entry;
    DIR *threads;
    int frozen = 0;

    snprintf(path, sizeof path, "/proc/%.20s/task", pid);
    threads = opendir(path);
    while (threads != NULL && (entry = readdir(threads)) != NULL)
        if (has_name(pid, entry->d_name, name))
            frozen += stop_thread(entry->d_name);
    if (threads != NULL)
        closedir(threads);
    if (frozen == 0)
        return EXIT_FAILURE;
    puts("frozen");
    fflush(stdout);
    for (;;)
        pause(); /* the kernel lets the threads go on when this process ends */
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "notify") == 0)
        return notify(argv[2]);
    if (argc == 4 && strcmp(argv[1], "freeze") == 0)
        return freeze(argv[2], argv[3]);
    return 2;
}

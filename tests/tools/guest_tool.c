/* What busybox has not, for tests in containers; static, so that it runs in any.
 *   guest_tool watch DIRECTORY    names that are made in it, a line each, as inotify tells
 *   guest_tool listen SOCKET      says "hello" to who connects, for ever
 *   guest_tool connect SOCKET     prints what it is told */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int watch(const char *directory)
{
    union { /* aligned for the first event */
        struct inotify_event event;
        char bytes[4096];
    } buffer;
    int fd = inotify_init();
    ssize_t length;

    if (fd < 0 || inotify_add_watch(fd, directory, IN_CREATE) < 0)
        return perror(directory), 1;
    puts("watching");
    fflush(stdout);
    while ((length = read(fd, &buffer, sizeof buffer)) > 0) {
        for (char *at = buffer.bytes; at < buffer.bytes + length;) {
            struct inotify_event event;

            memcpy(&event, at, sizeof event);
            puts(at + sizeof event);
            at += sizeof event + event.len;
        }
        fflush(stdout);
    }
    return 1;
}

static int serve(int fd)
{
    for (;;) {
        int client = accept(fd, NULL, NULL);

        if (client < 0 || write(client, "hello\n", 6) != 6)
            return perror("serving"), 1;
        close(client);
    }
}

static int say(int fd)
{
    char text[100];
    ssize_t length = read(fd, text, sizeof text);

    return length > 0 && write(STDOUT_FILENO, text, (size_t)length) == length ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (argc != 3 || strlen(argv[2]) >= sizeof address.sun_path || fd < 0)
        return 2;
    if (strcmp(argv[1], "watch") == 0)
        return watch(argv[2]);
    strcpy(address.sun_path, argv[2]); /* NOLINT: its length has been checked */
    if (strcmp(argv[1], "listen") == 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        listen(fd, 5) == 0)
        return serve(fd);
    if (strcmp(argv[1], "connect") == 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return say(fd);
    return perror(argv[2]), 1;
}

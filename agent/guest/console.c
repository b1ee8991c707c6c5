/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/console.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/guest/paths.h"

int console_listen(char *ret_path, size_t room, Fault *ret_fault)
{
    static unsigned serial;
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof address.sun_path, CONSOLES_DIR "/%u", serial++);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) {
        fault_errno(ret_fault, "making the console socket %s", address.sun_path);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    snprintf(ret_path, room, "%s", address.sun_path);
    return fd;
}

static int receive_fd(int connection)
{
    char byte[256];
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {.iov_base = byte, .iov_len = sizeof byte};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int fd = -1;

    if (recvmsg(connection, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
        return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return fd;
}

int console_take(int listen_fd)
{
    struct sockaddr_un address;
    socklen_t length = sizeof address;
    int fd = -1;

    int connection = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (connection >= 0) {
        fd = receive_fd(connection);
        close(connection);
    }
    if (getsockname(listen_fd, (struct sockaddr *)&address, &length) == 0)
        unlink(address.sun_path);
    close(listen_fd);
    return fd;
}

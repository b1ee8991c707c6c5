/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/fsguard/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef union {
    struct cmsghdr header;
    uint8_t bytes[CMSG_SPACE(sizeof(int))];
} Control;

bool control_send(int connection, const void *message, size_t size, int fd)
{
    struct iovec whole = {.iov_base = (void *)message, .iov_len = size};
    Control control = {.bytes = {0}};
    struct msghdr header = {.msg_iov = &whole, .msg_iovlen = 1};

    if (fd >= 0) {
        header.msg_control = &control;
        header.msg_controllen = sizeof control;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    return sendmsg(connection, &header, MSG_NOSIGNAL) == (ssize_t)size;
}

bool control_receive(int connection, void *ret_message, size_t size, int *ret_fd)
{
    struct iovec whole = {.iov_base = ret_message, .iov_len = size};
    Control control = {.bytes = {0}};
    struct msghdr header = {
        .msg_iov = &whole, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;

    *ret_fd = -1;
    do {
        n = recvmsg(connection, &header, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n >= 0 && header.msg_controllen >= CMSG_LEN(sizeof(int)) && control.header.cmsg_level == SOL_SOCKET &&
        control.header.cmsg_type == SCM_RIGHTS)
        memcpy(ret_fd, CMSG_DATA(&control.header), sizeof(int));
    return n == (ssize_t)size;
}

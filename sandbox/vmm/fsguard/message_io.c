/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/fsguard/message_io.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool read_all(int fd, void *data, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = read(fd, (uint8_t *)data + done, length - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

typedef union {
    struct cmsghdr header;
    uint8_t bytes[CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
} Control;

static size_t copy_fds(struct msghdr *header, int *ret_fds)
{
    size_t n_fds = 0;

    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL; part = CMSG_NXTHDR(header, part))
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS) {
            n_fds = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(ret_fds, CMSG_DATA(part), n_fds * sizeof(int));
        }
    return n_fds;
}

/* The descriptors arrive with the first byte. */
bool message_read(int fd, Message *ret_message, int *ret_fds, size_t *ret_n_fds)
{
    struct iovec whole = {.iov_base = ret_message, .iov_len = MESSAGE_HEADER_BYTES};
    Control control;
    struct msghdr header = {
        .msg_iov = &whole, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n;

    do {
        n = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return false;
    *ret_n_fds = copy_fds(&header, ret_fds);
    return read_all(fd, (uint8_t *)ret_message + n, MESSAGE_HEADER_BYTES - (size_t)n) &&
           ret_message->size <= MESSAGE_PAYLOAD_MAX && read_all(fd, ret_message->payload, ret_message->size);
}

bool message_write(int fd, const Message *message, const int *fds, size_t n_fds)
{
    struct iovec whole = {.iov_base = (void *)message, .iov_len = MESSAGE_HEADER_BYTES + message->size};
    Control control = {.bytes = {0}};
    struct msghdr header = {.msg_iov = &whole, .msg_iovlen = 1};

    if (n_fds > 0) {
        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
    }
    /* A message is far smaller than the buffer of a socket, so that it is sent whole or not at all. */
    return sendmsg(fd, &header, MSG_NOSIGNAL) == (ssize_t)whole.iov_len;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/sysfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool sysfile_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t length = strlen(text);
    ssize_t written = write(fd, text, length);
    int error = written < 0 ? errno : EIO;
    close(fd);
    errno = error;
    return written == (ssize_t)length;
}

bool sysfile_read(const char *path, char *ret_text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    size_t length = 0;
    while (length < room - 1) {
        ssize_t n = read(fd, ret_text + length, room - 1 - length);
        if (n <= 0)
            break;
        length += (size_t)n;
    }
    close(fd);
    while (length > 0 && strchr(" \t\r\n", ret_text[length - 1]) != NULL)
        length--;
    ret_text[length] = '\0';
    return true;
}

int64_t sysfile_read_key(const char *path, const char *key)
{
    char text[1024];
    if (!sysfile_read(path, text, sizeof text))
        return 0;
    size_t key_length = strlen(key);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, key_length) == 0 && line[key_length] == ' ')
            return strtoll(line + key_length + 1, NULL, 10);
    }
    return 0;
}

int64_t sysfile_meminfo_bytes(const char *key)
{
    return sysfile_read_key("/proc/meminfo", key) * 1024;
}

static bool write_all(int fd, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0)
            return false;
        data += n;
        length -= (size_t)n;
    }
    return true;
}

bool file_put(const char *path, mode_t mode, const Piece *pieces, size_t n_pieces, Fault *ret_fault)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return fault_errno(ret_fault, "creating %s", path);
    for (size_t i = 0; i < n_pieces; i++) {
        if (!write_all(fd, pieces[i].data, pieces[i].length)) {
            fault_errno(ret_fault, "writing %s", path);
            close(fd);
            return false;
        }
    }
    close(fd);
    return true;
}

bool dir_put(const char *path, mode_t mode, Fault *ret_fault)
{
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return fault_errno(ret_fault, "creating the directory %s", path);
    return true;
}

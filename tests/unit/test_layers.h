/* SPDX-License-Identifier: Apache-2.0 */
/* Tars for tests, made with libarchive's writer, which lets every name through. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef struct TestTar TestTar;

/* format: "pax", "gnutar", "ustar"; filter: "none", "gzip", "zstd", "xz", "bzip2". Format "raw": the content
 * of its one file is compressed as it is. */
TestTar *test_tar_new(const char *format, const char *filter);
/* text: a file's content, a symbolic link's target; NULL for others. mode with its type bits. */
void test_tar_add(TestTar *tar, const char *path, mode_t mode, const char *text);
void test_tar_add_bytes(TestTar *tar, const char *path, const void *data, gsize length);
void test_tar_add_hardlink(TestTar *tar, const char *path, const char *target);

/* An entry with all its attributes. */
typedef struct {
    const char *path;
    mode_t mode;
    const char *text;
    gint64 uid;
    gint64 gid;
    gint64 mtime_s;
    long mtime_ns;
    guint rdev_major;
    guint rdev_minor;
    const char *xattr_name;
    const char *xattr_value;
    gsize xattr_length; /* 0: a string */
    gint64 sparse_size; /* a hole of that size, then text at its end */
} TestTarEntry;
void test_tar_add_entry(TestTar *tar, const TestTarEntry *entry);

/* A tar of one entry whose headers take two MiB: GNU's map of a sparse file, which goes on in as many blocks
 * as it wants. */
GString *test_tar_with_large_headers(void);

/* Frees the tar. Return: a descriptor of an unnamed file, at its start; the digest of its content. */
int test_tar_finish(TestTar *tar);
char *test_digest_of_fd(int fd);
/* The digest of the tar inside (the same for filter "none"). */
char *test_diff_id_of_fd(int fd);
/* The whole content of the file. */
GBytes *test_bytes_of_fd(int fd);

/* SPDX-License-Identifier: Apache-2.0 */
/* Parses the head of an HTTP/1.1 request (RFC 9112). A request here has no body: the bytes after it belong to
 * another protocol. The input is untrusted and is checked here. Pure. */
#pragma once

#include <glib.h>

enum { HTTP_HEAD_BYTES = 32 << 10, HTTP_MAX_HEADERS = 100 };

typedef struct {
    char *method;
    char *path;        /* without the query; not decoded */
    GPtrArray *names;  /* in lower case */
    GPtrArray *values; /* one for each name */
} HttpRequest;

/* Return: the length up to the end of the empty line; 0 while it has not arrived. */
gsize http_head_length(const guint8 *bytes, gsize length);
/* head has that length. Errors: INVALID_ARGUMENT for bytes that are no request, or a request that announces a
 * body. */
HttpRequest *http_request_parse(const guint8 *head, gsize length, GError **error);
void http_request_free(HttpRequest *request); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HttpRequest, http_request_free)

/* Return: the first header of that name (in lower case), or NULL; borrowed. */
const char *http_request_header(const HttpRequest *request, const char *name);
/* Return: the elements of the comma-separated lists in all headers of that name; the caller frees them. */
char **http_request_words(const HttpRequest *request, const char *name);
/* Return: whether one of them is that word, without regard to case. */
gboolean http_request_has_word(const HttpRequest *request, const char *name, const char *word);

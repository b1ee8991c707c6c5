/* SPDX-License-Identifier: Apache-2.0 */
/* Parses the request line and the headers of an HTTP/1.1 request (RFC 9112). Requests of the streaming
 * server have no body: bytes after the empty line belong to another protocol. The input is untrusted and is
 * checked here. Pure. */
#pragma once

#include <glib.h>

enum { HTTP_HEAD_BYTES = 32 << 10, HTTP_MAX_HEADERS = 100 };

typedef struct {
    char *method;
    char *path;        /* without the query; not decoded */
    GPtrArray *names;  /* in lower case */
    GPtrArray *values; /* the value at an index belongs to the name at that index */
} HttpRequest;

/* Return: the length of the request line and the headers with the empty line after them; 0 while the empty
 * line has not arrived. */
gsize http_head_length(const guint8 *bytes, gsize length);
/* Parses a head of the length that http_head_length() returned. Return: NULL on failure; the caller frees
 * the request. Errors: INVALID_ARGUMENT when the bytes are not a request, or the request announces a body. */
HttpRequest *http_request_parse(const guint8 *head, gsize length, GError **error);
void http_request_free(HttpRequest *request); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HttpRequest, http_request_free)

/* name: in lower case. Return: the value of the first header of that name, borrowed; NULL when there is
 * none. */
const char *http_request_header(const HttpRequest *request, const char *name);
/* Return: the elements of the comma-separated lists in all headers of that name; the caller frees them. */
char **http_request_words(const HttpRequest *request, const char *name);
/* Return: whether http_request_words() contains the word in any case. */
gboolean http_request_has_word(const HttpRequest *request, const char *name, const char *word);

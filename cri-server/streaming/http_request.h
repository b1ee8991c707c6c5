/* The head of an HTTP/1.1 request (RFC 9112), which is all of a request here: it has no body, and the bytes
 * after it are another protocol's. What comes is hostile and is checked here. Pure.
 */
#pragma once

#include <glib.h>

enum { HTTP_HEAD_BYTES = 32 << 10, HTTP_MAX_HEADERS = 100 };

typedef struct {
    char *method;
    char *path;        /* without its query; not decoded */
    GPtrArray *names;  /* in lower case */
    GPtrArray *values; /* as many */
} HttpRequest;

/* Up to the end of the empty line; 0 while that has not come. */
gsize http_head_length(const guint8 *bytes, gsize length);
/* head: of that length. INVALID_ARGUMENT for what is none, or announces a body. */
HttpRequest *http_request_parse(const guint8 *head, gsize length, GError **error);
void http_request_free(HttpRequest *request); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HttpRequest, http_request_free)

/* The first header of that name (in lower case), or NULL; borrowed. */
const char *http_request_header(const HttpRequest *request, const char *name);
/* Elements of the comma-separated list that all headers of that name are; the caller frees. */
char **http_request_words(const HttpRequest *request, const char *name);
/* Whether one of them is that word, in whatever case. */
gboolean http_request_has_word(const HttpRequest *request, const char *name, const char *word);
